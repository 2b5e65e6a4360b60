//! The size of a volume, as typed.

use super::list::list;

/// The released model's input.
pub const RELEASED_SIZE: [usize; 3] = [32, 256, 256];

/// Largest side asked for: 2048 slices of 2048 by 2048 would be 32 GiB, so the product is bounded as well.
const SIDE_MAX: usize = 4096;
const VOXELS_MAX: usize = 1 << 29;

/// Three sides within bounds.
pub fn size(text: &str) -> Result<[usize; 3], String> {
    let size: [usize; 3] = list(text)?;
    let sides = size.iter().all(|side| (1..=SIDE_MAX).contains(side));
    if sides && size.iter().product::<usize>() <= VOXELS_MAX {
        Ok(size)
    } else {
        Err(format!("wanted three sides of 1 to {SIDE_MAX}, with at most {VOXELS_MAX} voxels in all"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(size("32,256,256"), Ok([32, 256, 256]));
        for bad in ["0,1,1", "4096,4096,4096", "32,256", "1,1,99999", "-1,2,3"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
