//! A small NIfTI file written by hand, to be changed, cut and bent.

/// A NIfTI file of 4 x 5 x 6 voxels, int16, rising.
pub fn nifti(version: u8) -> Vec<u8> {
    let header_bytes = if version == 1 { 348 } else { 540 };
    let mut bytes = vec![0; header_bytes + 4];
    let mut put = |offset: usize, field: &[u8]| bytes[offset..offset + field.len()].copy_from_slice(field);
    put(0, &(header_bytes as u32).to_le_bytes());
    let dims = [3i16, 4, 5, 6, 1, 1, 1, 1];
    if version == 1 {
        dims.iter().enumerate().for_each(|(axis, dim)| put(40 + 2 * axis, &dim.to_le_bytes()));
        put(70, &4i16.to_le_bytes());
        put(72, &16i16.to_le_bytes());
        (0..4).for_each(|axis| put(76 + 4 * axis, &1f32.to_le_bytes()));
        put(108, &352f32.to_le_bytes());
        put(254, &1i16.to_le_bytes());
        (0..3).for_each(|axis| put(280 + 20 * axis, &1f32.to_le_bytes()));
        put(344, b"n+1\0");
    } else {
        put(4, b"n+2\0\r\n\x1a\n");
        put(12, &4i16.to_le_bytes());
        put(14, &16i16.to_le_bytes());
        dims.iter().enumerate().for_each(|(axis, dim)| put(16 + 8 * axis, &i64::from(*dim).to_le_bytes()));
        (0..4).for_each(|axis| put(104 + 8 * axis, &1f64.to_le_bytes()));
        put(168, &544i64.to_le_bytes());
        put(348, &1i32.to_le_bytes());
        (0..3).for_each(|axis| put(400 + 40 * axis, &1f64.to_le_bytes()));
    }
    bytes.extend((0..120i16).flat_map(|voxel| voxel.to_le_bytes()));
    bytes
}
