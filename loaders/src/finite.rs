//! Counts the numbers of a tensor that are NaN or infinite: damage, since no training ends with them.

use rayon::prelude::*;

use crate::tensor::{DType, Tensor};

/// Bytes that one thread looks at between two steals: much more than a steal costs, little beside the tensors of a
/// model. A multiple of every element's size.
const STRIPE: usize = 1 << 20;
/// Elements whose counts fit 16 bits, so that a vector register counts as many elements as it holds.
const BLOCK: usize = 8192;

/// How many numbers of a tensor are not finite.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NonFinite {
    /// Not numbers.
    pub nan: u64,
    /// Positive and negative infinities.
    pub infinite: u64,
}

impl NonFinite {
    /// Whether there are any.
    pub fn any(self) -> bool {
        self.nan + self.infinite > 0
    }

    fn plus(self, other: Self) -> Self {
        Self { nan: self.nan + other.nan, infinite: self.infinite + other.infinite }
    }
}

/// Counts with all threads. `progress` gets the bytes just read, from any of them.
pub fn count_non_finite(tensor: &Tensor, progress: &(impl Fn(u64) + Sync)) -> NonFinite {
    let count = |bytes: &[u8]| {
        let found = match tensor.dtype {
            DType::F32 => count_in::<4>(bytes, |raw| u32::from_le_bytes(raw) << 1, 0xff00_0000),
            DType::F16 => count_in::<2>(bytes, |raw| u32::from(u16::from_le_bytes(raw) << 1), 0xf800),
            DType::Bf16 => count_in::<2>(bytes, |raw| u32::from(u16::from_le_bytes(raw) << 1), 0xff00),
        };
        progress(bytes.len() as u64);
        found
    };
    tensor.bytes().par_chunks(STRIPE).map(count).reduce(NonFinite::default, NonFinite::plus)
}

/// Counts elements of `SIZE` bytes. `unsigned` gives an element's bits without the sign; `infinity` is what an infinity
/// has there, and only NaN has more.
fn count_in<const SIZE: usize>(bytes: &[u8], unsigned: impl Fn([u8; SIZE]) -> u32, infinity: u32) -> NonFinite {
    let mut found = NonFinite::default();
    for block in bytes.as_chunks::<SIZE>().0.chunks(BLOCK) {
        let mut nan = 0u16;
        let mut infinite = 0u16;
        for raw in block {
            let bits = unsigned(*raw);
            nan += u16::from(bits > infinity);
            infinite += u16::from(bits == infinity);
        }
        found = found.plus(NonFinite { nan: nan.into(), infinite: infinite.into() });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn count(dtype: DType, bytes: &[u8]) -> NonFinite {
        // An odd address, as safetensors headers may give.
        let shifted: Vec<u8> = [0].into_iter().chain(bytes.iter().copied()).collect();
        let elements = bytes.len() / dtype.size();
        let tensor = Tensor::new(dtype, vec![elements], Arc::new(shifted), 1..bytes.len() + 1).unwrap();
        let seen = AtomicU64::new(0);
        let found = count_non_finite(&tensor, &|bytes| {
            seen.fetch_add(bytes, Ordering::Relaxed);
        });
        assert_eq!(seen.into_inner(), bytes.len() as u64, "progress comes to all bytes");
        found
    }

    /// Each of the 65 536 values of the two 16-bit types, against their own classification.
    #[test]
    fn every_value_of_16_bits() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let of = |is: fn(u16) -> bool| (0..=u16::MAX).filter(|&bits| is(bits)).count() as u64;
        let nan = of(|bits| bf16::from_bits(bits).is_nan());
        let infinite = of(|bits| bf16::from_bits(bits).is_infinite());
        assert_eq!(count(DType::Bf16, &bytes), NonFinite { nan, infinite });
        let nan = of(|bits| f16::from_bits(bits).is_nan());
        assert_eq!(count(DType::F16, &bytes), NonFinite { nan, infinite: 2 });
    }

    /// The edges of both classes in f32: the first and last NaN of each sign, the infinities, the largest numbers.
    #[test]
    fn the_edges_of_f32() {
        let of = |bits: &[u32]| count(DType::F32, &bits.iter().flat_map(|b| b.to_le_bytes()).collect::<Vec<u8>>());
        assert_eq!(of(&[0x7f80_0001, 0x7fff_ffff, 0xff80_0001, 0xffff_ffff]), NonFinite { nan: 4, infinite: 0 });
        assert_eq!(of(&[0x7f80_0000, 0xff80_0000]), NonFinite { nan: 0, infinite: 2 });
        assert_eq!(of(&[0x7f7f_ffff, 0xff7f_ffff, 0, 0x8000_0000, 1, 0x7f00_0000]), NonFinite::default());
    }

    /// First, last and at the boundaries of blocks and stripes; a block full of them; nothing at all.
    #[test]
    fn none_is_missed_wherever_it_stands() {
        let elements = 2 * STRIPE / 2 + 3;
        for at in [0, BLOCK - 1, BLOCK, STRIPE / 2 - 1, STRIPE / 2, elements - 1] {
            let mut bytes = vec![0x3f; 2 * elements];
            bytes[2 * at..][..2].copy_from_slice(&bf16::NAN.to_le_bytes());
            assert_eq!(count(DType::Bf16, &bytes), NonFinite { nan: 1, infinite: 0 }, "at {at}");
        }
        let full: Vec<u8> = bf16::INFINITY.to_le_bytes().repeat(3 * BLOCK + 1);
        assert_eq!(count(DType::Bf16, &full), NonFinite { nan: 0, infinite: 3 * BLOCK as u64 + 1 });
        assert_eq!(count(DType::F16, &[]), NonFinite::default());
    }
}
