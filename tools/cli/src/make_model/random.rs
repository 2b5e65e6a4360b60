//! Seeded random weights: each element depends on the seed, its tensor's name and its position alone, so that any
//! part of any tensor can be made by any thread.

use half::bf16;

/// What a tensor's elements look like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distribution {
    /// The mean.
    pub mean: f32,
    /// The standard deviation, of a uniform distribution.
    pub deviation: f32,
}

/// A tensor's elements.
#[derive(Debug, Clone, Copy)]
pub struct Elements {
    key: u64,
    distribution: Distribution,
}

impl Distribution {
    /// What keeps activations near unit size: one over the square root of the inputs for a matrix, near one for a
    /// norm's scale, near zero for a bias. `llm_hidden` is the width in which slices and question are compared.
    pub fn of(name: &str, shape: &[usize], llm_hidden: usize) -> Self {
        let last = shape.last().copied().unwrap_or(1);
        let is_norm = name.to_ascii_lowercase().contains("norm");
        if is_norm && name.ends_with(".weight") {
            return Self { mean: 1.0, deviation: 0.05 };
        }
        if name.ends_with("bias") || shape.len() == 1 {
            return Self { mean: 0.0, deviation: 0.02 };
        }
        if shape.is_empty() {
            return Self { mean: 1.0, deviation: 0.0 };
        }
        // A convolution's filter sums over everything but its first dim; a table's or token's width is its last.
        let inputs = if shape.len() == 4 { shape[1..].iter().product() } else { last };
        // Dot products over few dims would leave all slices alike: widen them to what the release's width gives.
        let gain = if name == "text_mlp.weight" { (3072.0 / llm_hidden as f32).sqrt() } else { 1.0 };
        Self { mean: 0.0, deviation: gain / (inputs as f32).sqrt() }
    }
}

impl Elements {
    /// The elements of the tensor `name` of the folder `part`.
    pub fn new(seed: u64, part: &str, name: &str, distribution: Distribution) -> Self {
        let bytes = part.bytes().chain([b'/']).chain(name.bytes());
        let key = bytes.fold(mix(seed), |key, byte| mix(key ^ u64::from(byte)));
        Self { key, distribution }
    }

    /// Writes elements `first..` as little-endian bf16 over `bytes`; `first` is even, as one draw makes two elements.
    pub fn fill(&self, first: u64, bytes: &mut [u8]) {
        debug_assert!(first.is_multiple_of(2), "one draw makes two elements");
        let Distribution { mean, deviation } = self.distribution;
        // A uniform distribution of this half-width has the wanted deviation.
        let half_width = deviation * 3f32.sqrt();
        let element = |bits: u32| {
            let unit = (bits >> 8) as f32 / (1 << 23) as f32 - 1.0;
            bf16::from_f32(mean + half_width * unit).to_le_bytes()
        };
        for (pair, out) in bytes.chunks_mut(4).enumerate() {
            let draw = mix(self.key.wrapping_add((first / 2 + pair as u64).wrapping_mul(GOLDEN)));
            for (half, element) in out.chunks_mut(2).zip([element(draw as u32), element((draw >> 32) as u32)]) {
                half.copy_from_slice(&element);
            }
        }
    }
}

/// An odd number whose multiples visit every 64-bit value.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's finaliser: every bit of the input reaches every bit of the output.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(GOLDEN);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(elements: Elements, first: u64, count: usize) -> Vec<f32> {
        let mut bytes = vec![0; count * 2];
        elements.fill(first, &mut bytes);
        bytes.as_chunks::<2>().0.iter().map(|raw| bf16::from_le_bytes(*raw).to_f32()).collect()
    }

    #[test]
    fn any_part_of_a_tensor_is_the_same_part() {
        let elements = Elements::new(7, "llm", "lm_head.weight", Distribution { mean: 0.0, deviation: 1.0 });
        let whole = values(elements, 0, 1001);
        assert_eq!(values(elements, 500, 501), whole[500..]);
        let other = Elements::new(7, "llm", "lm_head.weighs", Distribution { mean: 0.0, deviation: 1.0 });
        assert!(values(other, 0, 1001).iter().zip(&whole).filter(|(a, b)| a == b).count() < 20);
    }

    #[test]
    fn elements_have_the_wanted_moments() {
        let count = 1 << 18;
        let drawn = values(Elements::new(1, "a", "b", Distribution { mean: 0.5, deviation: 0.25 }), 0, count);
        let mean = drawn.iter().map(|&v| f64::from(v)).sum::<f64>() / count as f64;
        let variance = drawn.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count as f64;
        // The mean's standard error is 0.25 / 512; five of them.
        assert!((mean - 0.5).abs() < 0.0025, "{mean}");
        assert!((variance.sqrt() / 0.25 - 1.0).abs() < 0.01, "{variance}");
    }

    #[test]
    fn names_decide_the_distribution() {
        let of = |name: &str, shape: &[usize]| Distribution::of(name, shape, 192);
        assert_eq!(of("model.layers.0.input_layernorm.weight", &[192]).mean, 1.0);
        assert_eq!(of("vision_encoder.blocks.0.norm1.bias", &[128]), Distribution { mean: 0.0, deviation: 0.02 });
        assert_eq!(of("lm_head.weight", &[512, 256]).deviation, 1.0 / 16.0);
        assert_eq!(of("vision_model.embeddings.patch_embedding.weight", &[128, 1, 16, 16]).deviation, 1.0 / 16.0);
        assert_eq!(of("text_mlp.weight", &[192, 256]).deviation, 4.0 / 16.0);
        assert_eq!(of("logit_scale", &[]), Distribution { mean: 1.0, deviation: 0.0 });
    }
}
