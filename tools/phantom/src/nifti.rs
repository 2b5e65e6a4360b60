//! A phantom as `.nii.gz`: whole HU, and an affine that says how the body lies.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::{Compression, write::GzEncoder};

use crate::scan::Scan;

/// Bytes of the header, with the four that say that no extension follows.
const HEADER_BYTES: usize = 352;
/// NIfTI's code of i16.
const INT16: i16 = 4;
/// Positions are the scanner's.
const SCANNER: i16 = 1;
/// Units are millimetres.
const MILLIMETRES: u8 = 2;

/// Writes an axial scan in HU: slices (superior first) of rows (anterior first) of columns (the patient's right
/// first).
///
/// # Errors
/// Those of the file system.
pub fn write_nifti(path: &Path, scan: &Scan) -> io::Result<()> {
    let mut stream = GzEncoder::new(BufWriter::new(File::create(path)?), Compression::default());
    stream.write_all(&header(scan.dims, scan.spacing_mm))?;
    let bytes: Vec<u8> = scan.hu.iter().flat_map(|&hu| (hu as i16).to_le_bytes()).collect();
    stream.write_all(&bytes)?;
    stream.finish()?.flush()
}

/// The header of a file whose axes run left, back and down, fastest first.
fn header([slices, rows, columns]: [usize; 3], spacing_mm: [f32; 3]) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &348i32.to_le_bytes());
    for (index, size) in [3, columns, rows, slices, 1, 1, 1, 1].into_iter().enumerate() {
        put(40 + 2 * index, &(size as i16).to_le_bytes());
    }
    put(70, &INT16.to_le_bytes());
    put(72, &16i16.to_le_bytes()); // bits
    let steps = [spacing_mm[2], spacing_mm[1], spacing_mm[0]];
    // The axes are a left-handed triple, which the first number of pixdim says for the quaternion.
    for (index, size) in [-1.0, steps[0], steps[1], steps[2]].into_iter().enumerate() {
        put(76 + 4 * index, &size.to_le_bytes());
    }
    put(108, &(HEADER_BYTES as f32).to_le_bytes());
    put(112, &1f32.to_le_bytes()); // scl_slope
    put(123, &[MILLIMETRES]);
    put(148, b"synthetic phantom, not a patient");
    put(252, &SCANNER.to_le_bytes());
    put(254, &SCANNER.to_le_bytes());
    // Half a turn about z: x and y run against R and A; z against S by the handedness.
    put(264, &1f32.to_le_bytes());
    let sizes = [columns, rows, slices];
    for axis in 0..3 {
        // The middle of the volume is the origin.
        let first = 0.5 * (sizes[axis] - 1) as f32 * steps[axis];
        put(268 + 4 * axis, &first.to_le_bytes());
        put(280 + 16 * axis + 4 * axis, &(-steps[axis]).to_le_bytes());
        put(280 + 16 * axis + 12, &first.to_le_bytes());
    }
    put(344, b"n+1\0");
    bytes
}
