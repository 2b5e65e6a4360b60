//! Patches of a volume as rows of a matrix.
use crate::{DType, Dims, Result, Tensor};
use rayon::prelude::*;

/// `[patches, voxels per patch]`: patches in grid order, voxels within a patch slice by slice, row by row.
pub(crate) fn patches(volume: &[f32], grid: [usize; 3], patch: [usize; 3]) -> Result<Tensor> {
    let count = grid.iter().product::<usize>();
    let voxels = patch.iter().product::<usize>();
    let dims = Dims::new(&[count, voxels]);
    let mut gathered = Tensor::new(super::allocate(dims.count() * DType::F32.bytes())?, dims, DType::F32);
    let height = grid[1] * patch[1];
    let width = grid[2] * patch[2];
    gathered.view_mut().host::<f32>()?.par_chunks_exact_mut(voxels).enumerate().for_each(|(index, out)| {
        let n = index / (grid[1] * grid[2]);
        let y = index / grid[2] % grid[1];
        let x = index % grid[2];
        for (row, out) in out.chunks_exact_mut(patch[2]).enumerate() {
            let slice = n * patch[0] + row / patch[1];
            let line = y * patch[1] + row % patch[1];
            let start = (slice * height + line) * width + x * patch[2];
            out.copy_from_slice(&volume[start..start + patch[2]]);
        }
    });
    Ok(gathered)
}
