//! M3D's prepared format, written.

use std::io::{BufWriter, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// Writes `voxels` as M3D's prepared format: a .npy of shape (1, slices, rows, columns), f32.
///
/// # Errors
/// The file cannot be written; `dims` does not multiply to the number of voxels.
pub fn write_npy(path: &Path, dims: [usize; 3], voxels: &[f32]) -> Result<()> {
    let count = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    if count != Some(voxels.len()) {
        let finding = format!("is to hold {} voxels of the sizes {dims:?}", voxels.len());
        return Err(Error::bad_input(path, finding, "give as many voxels as the product of the sizes"));
    }
    let [slices, rows, columns] = dims;
    let dict = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': (1, {slices}, {rows}, {columns}), }}");
    // The data starts at a multiple of 64 bytes; the header ends with a newline.
    let padded = (10 + dict.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((padded as u16).to_le_bytes());
    bytes.extend(format!("{dict:<width$}\n", width = padded - 1).bytes());
    let write = || {
        let mut file = BufWriter::new(std::fs::File::create(path)?);
        file.write_all(&bytes)?;
        voxels.iter().try_for_each(|voxel| file.write_all(&voxel.to_le_bytes()))?;
        file.flush()
    };
    write().map_err(|error| Error::io(path, "write", error))
}
