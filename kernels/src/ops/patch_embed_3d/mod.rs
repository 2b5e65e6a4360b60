//! `patch_embed_3d`: the 3D ViT's input, one token per box of voxels and the class token.
use crate::{DType, DimCheck, Result, View, ViewMut, Work};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
#[cfg(test)]
mod tests;

/// `out[0] = class_token`; `out[1 + t] = W · patch_t + b + position_t`.
///
/// Patch t covers box (n, y, x) of the grid, x fastest; within it voxels run slice, row, column (MONAI's
/// "perceptron" embedding with one channel).
/// On the GPU voxels are rounded to bf16 on the way in.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below or a patch does not divide the volume.
pub struct PatchEmbed3d<'a> {
    /// `[slices, height, width]`, f32 in [0, 1].
    pub volume: View<'a>,
    /// Voxels per patch along slices, rows and columns.
    pub patch: [usize; 3],
    /// `[hidden, patch voxels]`.
    pub weight: View<'a>,
    /// `[hidden]`.
    pub bias: View<'a>,
    /// `[patches, hidden]`.
    pub positions: View<'a>,
    /// `[1, hidden]`.
    pub class_token: View<'a>,
    /// `[1 + patches, hidden]`, activations.
    pub out: ViewMut<'a>,
}

impl PatchEmbed3d<'_> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        let elements: usize = self.patch.iter().product();
        let inputs = [&self.volume, &self.weight, &self.bias, &self.positions, &self.class_token];
        Work::of(&inputs, &[&self.out], 2 * self.positions.dims().count() * elements)
    }

    /// Checks the contract; gives the grid of patches.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<[usize; 3]> {
        let mut dims = DimCheck::new("patch_embed_3d");
        dims.typed("volume", &self.volume, DType::F32, &["slices", "height", "width"])?;
        let size = ["slices", "height", "width"].map(|name| dims.size(name));
        let patch = self.patch;
        let divides = size.iter().zip(&patch).all(|(&size, &part)| part > 0 && size % part == 0);
        dims.require(divides, || format!("patch {patch:?} does not divide the volume {size:?}"))?;
        let grid = [0, 1, 2].map(|axis| size[axis] / patch[axis]);
        let voxels = dims.product("patch", &patch)?;
        dims.bind("patch", "patch voxels", voxels)?;
        dims.bind("volume", "patches", grid.iter().product())?;
        dims.bind("volume", "1 + patches", 1 + dims.size("patches"))?;
        dims.input("weight", &self.weight, &["hidden", "patch voxels"])?;
        dims.input("bias", &self.bias, &["hidden"])?;
        dims.input("positions", &self.positions, &["patches", "hidden"])?;
        dims.bind("class_token", "1", 1)?;
        dims.input("class_token", &self.class_token, &["1", "hidden"])?;
        dims.output("out", &self.out, &["1 + patches", "hidden"])?;
        Ok(grid)
    }
}
