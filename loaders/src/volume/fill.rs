//! Values that fill what a scanner did not see, in formats that do not say which these are.

use rayon::prelude::*;

use super::share;

/// Fewer voxels than one in this many are no filled region.
const SHARE_MIN: usize = 100;
/// How far the next value must be: wider than any step between tissues, air to water.
const GAP: f32 = 1000.0;

/// The lowest value, how often it occurs, and the next one up.
#[derive(Debug, Clone, Copy)]
struct Extreme {
    value: f32,
    count: usize,
    next: f32,
}

impl Extreme {
    const NONE: Self = Self { value: f32::INFINITY, count: 0, next: f32::INFINITY };

    /// With `count` voxels of `value` more.
    fn with(self, value: f32, count: usize) -> Self {
        if value < self.value {
            Self { value, count, next: self.value.min(self.next) }
        } else if value == self.value {
            Self { count: self.count + count, ..self }
        } else {
            Self { next: self.next.min(value), ..self }
        }
    }

    /// That of both parts of a volume.
    fn join(self, other: Self) -> Self {
        let whole = self.with(other.value, other.count);
        Self { next: if other.next > whole.value { whole.next.min(other.next) } else { whole.next }, ..whole }
    }

    /// The lowest of the finite voxels times `sign`.
    fn of(voxels: &[f32], sign: f32) -> Self {
        let finite = |chunk: &[f32]| {
            let values = chunk.iter().filter(|voxel| voxel.is_finite());
            values.fold(Self::NONE, |found, voxel| found.with(sign * voxel, 1))
        };
        voxels.par_chunks(1 << 16).map(finite).reduce(|| Self::NONE, Self::join)
    }
}

/// A sentence for each end of the range that looks like a fill value rather than a measurement.
pub(crate) fn notes(voxels: &[f32]) -> Vec<String> {
    let note = |(sign, direction): (f32, &str)| {
        let Extreme { value, count, next } = Extreme::of(voxels, sign);
        let far = next.is_finite() && next - value > GAP;
        (far && count >= voxels.len().div_ceil(SHARE_MIN)).then(|| {
            let share = share(count, voxels.len());
            let gap = next - value;
            let value = sign * value;
            format!(
                "{share} of the voxels are {value}, and the next value is {gap} {direction}: probably a fill value, \
                 which stretches the range; cut it off with --window"
            )
        })
    };
    [(1.0, "higher"), (-1.0, "lower")].into_iter().filter_map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fill_value_is_frequent_and_far_from_the_next() {
        let volume = |fill: f32, filled: usize, next: f32| -> Vec<f32> {
            (0..1000).map(|i| if i < filled { fill } else { next + (i % 7) as f32 }).collect()
        };
        let found = notes(&volume(-3024.0, 10, -1000.0));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("1.0 % of the voxels are -3024, and the next value is 2024 higher"), "{found:?}");
        assert!(found[0].contains("--window"));
        let found = notes(&volume(32767.0, 500, 40.0));
        assert!(found[0].starts_with("50.0 % of the voxels are 32767, and the next value is 32721 lower"), "{found:?}");
        assert_eq!(notes(&volume(-3024.0, 9, -1000.0)), [""; 0], "too few");
        assert_eq!(notes(&volume(-2000.0, 500, -1000.0)), [""; 0], "not far enough");
        assert_eq!(notes(&volume(f32::NAN, 500, -1000.0)), [""; 0], "not a number");
    }

    #[test]
    fn parts_of_a_volume_are_joined_in_any_order() {
        let parts: [&[f32]; 3] = [&[5.0, 5.0, 9.0], &[7.0], &[5.0, 6.0]];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
            let joined = order.map(|part| Extreme::of(parts[part], 1.0)).into_iter().fold(Extreme::NONE, Extreme::join);
            assert_eq!((joined.value, joined.count, joined.next), (5.0, 3, 6.0), "{order:?}");
        }
    }
}
