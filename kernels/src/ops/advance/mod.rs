//! `advance`: what changes from one decoding step to the next, changed on the device.
use crate::{DType, DimCheck, Result, ViewMut, Work};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
#[cfg(test)]
mod tests;

/// `counters[i] += 1`, wrapping: positions that a recorded step reads must not come from the host.
///
/// # Errors
/// [`crate::Error::Contract`] if `counters` has another rank or element type.
pub struct Advance<'a> {
    /// `[count]`, u32, in place.
    pub counters: ViewMut<'a>,
}

impl Advance<'_> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        Work { bytes: 2 * self.counters.bytes(), flops: 0 }
    }

    /// Checks the contract; gives `count`.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<usize> {
        let mut dims = DimCheck::new("advance");
        dims.output("counters", &self.counters, &["count"])?;
        let found = self.counters.dtype();
        dims.require(found == DType::U32, || format!("counters hold {found:?}, wanted U32"))?;
        Ok(dims.size("count"))
    }
}
