//! The definition, in f64.
use super::Crop;

/// Resizes the box `crop` of a whole volume, scaled where `scale` is given.
pub fn preprocess_volume(
    volume: &[f32],
    size: [usize; 3],
    scale: Option<[f32; 2]>,
    crop: Crop,
    out: [usize; 3],
) -> Vec<f64> {
    let scaled = |voxel: f32| match scale.map(|scale| scale.map(f64::from)) {
        Some([low, high]) => (f64::from(voxel).clamp(low, high) - low) / (high - low),
        None => f64::from(voxel),
    };
    let at = |slice: usize, row: usize, column: usize| scaled(volume[(slice * size[1] + row) * size[2] + column]);
    let mut resized = Vec::with_capacity(out.iter().product());
    for i in 0..out.iter().product::<usize>() {
        let place = [i / (out[1] * out[2]), i / out[2] % out[1], i % out[2]];
        let [slices, rows, columns] = [0, 1, 2].map(|axis| taps(crop[axis], out[axis], place[axis]));
        let mut sum = 0.0;
        for (slice, a) in slices {
            for (row, b) in rows {
                for (column, c) in columns {
                    sum += a * b * c * at(slice, row, column);
                }
            }
        }
        resized.push(sum);
    }
    resized
}

/// The two voxels, with their weights, between which index `index` of `size` lies along an axis.
fn taps([start, end]: [usize; 2], size: usize, index: usize) -> [(usize, f64); 2] {
    let length = end - start;
    let place = ((index as f64 + 0.5) * length as f64 / size as f64 - 0.5).clamp(0.0, (length - 1) as f64);
    let first = place as usize;
    let weight = place - first as f64;
    [(start + first, 1.0 - weight), (start + (first + 1).min(length - 1), weight)]
}
