//! `copy`: rows from one tensor to another.
use crate::{DimCheck, Result, View, ViewMut, Work};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
#[cfg(test)]
mod tests;

/// `out = x`, element for element.
///
/// # Errors
/// [`crate::Error::Contract`] if dims or element types differ.
pub struct Copy<'a> {
    /// `[rows, width]`.
    pub x: View<'a>,
    /// `[rows, width]`, of the same element type.
    pub out: ViewMut<'a>,
}

impl Copy<'_> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        Work::of(&[&self.x], &[&self.out], 0)
    }

    /// Checks the contract.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<()> {
        let mut dims = DimCheck::new("copy");
        dims.typed("x", &self.x, self.out.dtype(), &["rows", "width"])?;
        dims.output("out", &self.out, &["rows", "width"])
    }
}
