//! `slice_keys`: what is scored, one vector per slice (paper, Eq. 4 and Table 5).
use crate::{DType, DimCheck, Result, View, ViewMut, Work};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
#[cfg(test)]
mod tests;

/// `keys[j]` = mean of the 3D tokens and the 2D tokens that stand for slice j.
///
/// Depth layer k of `z_3d` covers `slices / layers` neighbouring slices. Either tensor may be absent: the mean is then
/// over the other alone (Table 5's rows). With `whole_volume` every slice counts all 3D tokens, not its layer's
/// (`score12`).
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below, both tensors are absent, or the layers do not
/// divide the slices.
pub struct SliceKeys<'a> {
    /// `[layers, layer tokens, dim]`, activations; z_3D by depth.
    pub z_3d: Option<View<'a>>,
    /// `[slices, slice tokens, dim]`, activations; z_2D^j.
    pub z_2d_slices: Option<View<'a>>,
    /// Whether each slice counts every 3D token.
    pub whole_volume: bool,
    /// `[slices, dim]`, f32.
    pub keys: ViewMut<'a>,
}

impl SliceKeys<'_> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        let inputs = [self.z_3d, self.z_2d_slices].into_iter().flatten();
        let (bytes, flops) =
            inputs.fold((0, 0), |(bytes, flops), view| (bytes + view.bytes(), flops + view.dims().count()));
        Work::of(&[], &[&self.keys], flops).and_bytes(bytes)
    }

    /// Checks the contract; gives `slices` and `dim`.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<(usize, usize)> {
        let mut dims = DimCheck::new("slice_keys");
        dims.output("keys", &self.keys, &["slices", "dim"])?;
        dims.optional("z_3d", &self.z_3d, &["layers", "layer tokens", "dim"])?;
        dims.optional("z_2d_slices", &self.z_2d_slices, &["slices", "slice tokens", "dim"])?;
        let slices = dims.size("slices");
        dims.require(self.z_3d.is_some() || self.z_2d_slices.is_some(), || "neither z_3d nor z_2d_slices".into())?;
        dims.require(self.keys.dtype() == DType::F32, || format!("keys hold {:?}, wanted F32", self.keys.dtype()))?;
        if self.z_3d.is_some() {
            let layers = dims.size("layers");
            dims.require(layers > 0 && slices.is_multiple_of(layers), || {
                format!("{layers} depth layers do not divide {slices} slices")
            })?;
        }
        Ok((slices, dims.size("dim")))
    }
}
