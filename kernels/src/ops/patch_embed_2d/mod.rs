//! `patch_embed_2d`: SigLIP's input, every slice a grey image whose three channels are equal.
use crate::{DType, DimCheck, Result, View, ViewMut, Work};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
#[cfg(test)]
mod tests;

/// `out[j, t] = W · patch_t of slice j + b + position_t`.
///
/// The three channels are equal, so the convolution's kernel is folded to one channel by the caller: the sum over
/// channels, exact up to rounding. Patches run row by row; no class token.
/// On the GPU voxels are rounded to bf16 on the way in.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below or the patch does not divide a slice.
pub struct PatchEmbed2d<'a> {
    /// `[slices, height, width]`, f32 in [0, 1].
    pub volume: View<'a>,
    /// Pixels per side of a patch.
    pub patch: usize,
    /// `[hidden, patch·patch]`, channels folded.
    pub weight: View<'a>,
    /// `[hidden]`.
    pub bias: View<'a>,
    /// `[patches, hidden]`.
    pub positions: View<'a>,
    /// `[slices·patches, hidden]`, activations.
    pub out: ViewMut<'a>,
}

impl PatchEmbed2d<'_> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        let elements = self.patch * self.patch;
        let inputs = [&self.volume, &self.weight, &self.bias, &self.positions];
        Work::of(&inputs, &[&self.out], 2 * self.out.dims().count() * elements)
    }

    /// Checks the contract; gives slices and the grid of patches of one slice.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<[usize; 3]> {
        let mut dims = DimCheck::new("patch_embed_2d");
        dims.typed("volume", &self.volume, DType::F32, &["slices", "height", "width"])?;
        let [slices, height, width] = ["slices", "height", "width"].map(|name| dims.size(name));
        let patch = self.patch;
        let divides = patch > 0 && height % patch == 0 && width % patch == 0;
        dims.require(divides, || format!("patch {patch} does not divide a slice of {height} x {width}"))?;
        let grid = [slices, height / patch, width / patch];
        let pixels = dims.product("patch", &[patch, patch])?;
        dims.bind("patch", "patch·patch", pixels)?;
        dims.bind("volume", "patches", grid[1] * grid[2])?;
        dims.bind("volume", "slices·patches", slices * dims.size("patches"))?;
        dims.input("weight", &self.weight, &["hidden", "patch·patch"])?;
        dims.input("bias", &self.bias, &["hidden"])?;
        dims.input("positions", &self.positions, &["patches", "hidden"])?;
        dims.output("out", &self.out, &["slices·patches", "hidden"])?;
        Ok(grid)
    }
}
