//! Elements on their way to a GPU: copied, or rounded to bf16, by all cores, without a copy of the whole tensor.
use crate::DType;
use half::{bf16, f16};
use rayon::prelude::*;

/// Elements that one thread handles at a time.
const STRIPE: usize = 1 << 16;

/// Fills `dst` with the elements of `src`, of types `[from, into]`: the same type, or a float type into bf16. Neither
/// side needs to be aligned.
///
/// # Panics
/// If the counts differ or the types are others: a device of ours is broken.
pub(super) fn fill(dst: &mut [u8], src: &[u8], [from, into]: [DType; 2]) {
    assert_eq!(dst.len() / into.bytes(), src.len() / from.bytes(), "counts of elements");
    let convert = |dst: &mut [u8], src: &[u8]| match (from, into) {
        _ if from == into => dst.copy_from_slice(src),
        (DType::F32, DType::Bf16) => round(dst, src, f32::from_le_bytes),
        (DType::F16, DType::Bf16) => round(dst, src, |bytes| f16::from_le_bytes(bytes).to_f32()),
        _ => panic!("{from:?} into {into:?}"),
    };
    if dst.len() <= STRIPE * into.bytes() {
        return convert(dst, src);
    }
    let stripes = dst.par_chunks_mut(STRIPE * into.bytes()).zip(src.par_chunks(STRIPE * from.bytes()));
    stripes.for_each(|(dst, src)| convert(dst, src));
}

fn round<const N: usize>(dst: &mut [u8], src: &[u8], value: impl Fn([u8; N]) -> f32) {
    for (to, from) in dst.as_chunks_mut::<2>().0.iter_mut().zip(src.as_chunks::<N>().0) {
        *to = bf16::from_f32(value(*from)).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against conversion value by value, at counts around a stripe and from an odd address.
    #[test]
    fn every_element_is_rounded_once() {
        for count in [0, 1, 63, STRIPE, STRIPE + 1, 3 * STRIPE + 7] {
            let values: Vec<f32> = (0..count).map(|i| (i as f32 - 900.0) * 1.003).collect();
            let singles = values.iter().flat_map(|v| v.to_le_bytes());
            let halves = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes());
            let from_half = values.iter().map(|&v| bf16::from_f32(f16::from_f32(v).to_f32()));
            let cases = [
                (DType::F32, singles.collect::<Vec<u8>>(), values.iter().map(|&v| bf16::from_f32(v)).collect()),
                (DType::F16, halves.collect(), from_half.collect::<Vec<bf16>>()),
            ];
            for (from, bytes, want) in cases {
                let want: Vec<u8> = want.iter().flat_map(|v| v.to_le_bytes()).collect();
                let shifted: Vec<u8> = [0].into_iter().chain(bytes).collect();
                let mut got = vec![0xa5; 2 * count];
                fill(&mut got, &shifted[1..], [from, DType::Bf16]);
                assert!(got == want, "{count} of {from:?}");
                let mut copied = vec![0xa5; 2 * count];
                fill(&mut copied, &want, [DType::Bf16; 2]);
                assert!(copied == want, "{count} copied");
            }
        }
    }

    #[test]
    fn nan_and_infinity_stay() {
        let mut got = [0u8; 6];
        let src: Vec<u8> = [f32::NAN, f32::INFINITY, f32::MAX].iter().flat_map(|v| v.to_le_bytes()).collect();
        fill(&mut got, &src, [DType::F32, DType::Bf16]);
        let got: Vec<f32> = got.as_chunks().0.iter().map(|&v| bf16::from_le_bytes(v).to_f32()).collect();
        assert!(got[0].is_nan() && got[1] == f32::INFINITY && got[2] == f32::INFINITY);
    }
}
