//! The definition, in f64.
use super::Intensity;

/// A box: first and one past the last index along each axis.
pub type Crop = [[usize; 2]; 3];

/// The box that is kept and the resized voxels; `None` where nothing is above 0.
pub fn preprocess_volume(
    volume: &[f32],
    size: [usize; 3],
    intensity: Intensity,
    out: [usize; 3],
) -> Option<(Crop, Vec<f64>)> {
    let scaled = scaled(volume, intensity)?;
    let at = |slice: usize, row: usize, column: usize| scaled[(slice * size[1] + row) * size[2] + column];
    let mut crop = [[usize::MAX, 0]; 3];
    for i in (0..scaled.len()).filter(|&i| scaled[i] > 0.0) {
        let place = [i / (size[1] * size[2]), i / size[2] % size[1], i % size[2]];
        crop = [0, 1, 2].map(|axis| [crop[axis][0].min(place[axis]), crop[axis][1].max(place[axis] + 1)]);
    }
    if crop[0][1] == 0 {
        return None;
    }
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
    Some((crop, resized))
}

fn scaled(volume: &[f32], intensity: Intensity) -> Option<Vec<f64>> {
    let wide = volume.iter().map(|&v| f64::from(v));
    let clip = match intensity {
        Intensity::Prepared => return Some(wide.collect()),
        Intensity::MinMax => [f64::MIN, f64::MAX],
        Intensity::Window(window) => window.map(f64::from),
    };
    let clipped: Vec<f64> = wide.map(|v| v.clamp(clip[0], clip[1])).collect();
    let low = clipped.iter().copied().fold(f64::MAX, f64::min);
    let high = clipped.iter().copied().fold(f64::MIN, f64::max);
    (low < high).then(|| clipped.iter().map(|v| (v - low) / (high - low)).collect())
}

/// The two voxels, with their weights, between which index `index` of `size` lies along an axis.
fn taps([start, end]: [usize; 2], size: usize, index: usize) -> [(usize, f64); 2] {
    let length = end - start;
    let place = ((index as f64 + 0.5) * length as f64 / size as f64 - 0.5).clamp(0.0, (length - 1) as f64);
    let first = place as usize;
    let weight = place - first as f64;
    [(start + first, 1.0 - weight), (start + (first + 1).min(length - 1), weight)]
}
