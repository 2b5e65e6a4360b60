//! A named weight's element type, shape and bytes, borrowed from whatever holds them (usually a memory map).

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use half::slice::HalfFloatSliceExt;

/// What keeps a tensor's bytes alive.
pub type Owner = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Element types that we load. Stored little-endian, as in every checkpoint format here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an F32.
    Bf16,
}

impl DType {
    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Bytes of a tensor of this type, or `None` where the number does not fit a `usize`.
    pub fn bytes_of(self, shape: &[usize]) -> Option<usize> {
        shape.iter().try_fold(self.size(), |bytes, &dim| bytes.checked_mul(dim))
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

/// A dense row-major tensor. Cloning shares the bytes.
#[derive(Clone)]
pub struct Tensor {
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    owner: Owner,
    range: Range<usize>,
}

impl Tensor {
    /// The tensor at `range` of `owner`; `None` where the range lies outside or does not hold exactly `shape`.
    pub fn new(dtype: DType, shape: Vec<usize>, owner: Owner, range: Range<usize>) -> Option<Self> {
        let held = (*owner).as_ref().get(range.clone())?.len();
        (dtype.bytes_of(&shape)? == held).then_some(Self { dtype, shape, owner, range })
    }

    /// The elements, little-endian. No alignment is promised: safetensors headers may have any length.
    pub fn bytes(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }

    /// What holds the bytes, and where in it they are: lets a device borrow them without a copy.
    pub fn owner(&self) -> (Owner, Range<usize>) {
        (self.owner.clone(), self.range.clone())
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.range.len() / self.dtype.size()
    }

    /// Every element as f32 (exact for all three types).
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.elements());
        f32_chunks(self.dtype, self.bytes(), |chunk| out.extend_from_slice(chunk));
        out
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {:?}, {} bytes)", self.dtype, self.shape, self.range.len())
    }
}

/// One tensor as a checkpoint file describes it, before it is known whether we use it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Name in the file.
    pub name: String,
    /// Element type, or the file's own word for a type that we do not load.
    pub dtype: Result<DType, String>,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Its bytes.
    pub data: Data,
}

/// Where a tensor's bytes are.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// At these positions of the file, in row-major order.
    InFile(Range<usize>),
    /// Copied out of a file that stores them in another order.
    Gathered(Vec<u8>),
}

/// Elements converted at a time: 16 KiB of f32, which stays in the first-level cache.
const CHUNK: usize = 4096;

/// Hands the elements in `bytes` to `sink` as f32, a cache-sized chunk at a time.
pub(crate) fn f32_chunks(dtype: DType, bytes: &[u8], mut sink: impl FnMut(&[f32])) {
    let mut floats = [0f32; CHUNK];
    let mut halves = [half::f16::ZERO; CHUNK];
    for chunk in bytes.chunks(CHUNK * dtype.size()) {
        let count = chunk.len() / dtype.size();
        let floats = &mut floats[..count];
        match dtype {
            DType::F32 => {
                for (float, raw) in floats.iter_mut().zip(chunk.as_chunks::<4>().0) {
                    *float = f32::from_le_bytes(*raw);
                }
            }
            DType::Bf16 => {
                for (float, raw) in floats.iter_mut().zip(chunk.as_chunks::<2>().0) {
                    *float = half::bf16::from_le_bytes(*raw).to_f32();
                }
            }
            DType::F16 => {
                for (half, raw) in halves.iter_mut().zip(chunk.as_chunks::<2>().0) {
                    *half = half::f16::from_le_bytes(*raw);
                }
                halves[..count].convert_to_f32_slice(floats);
            }
        }
        sink(floats);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(bytes: Vec<u8>) -> Owner {
        Arc::new(bytes)
    }

    #[test]
    fn converts_each_type_across_a_chunk_boundary_and_off_alignment() {
        let wanted: Vec<f32> = (0..CHUNK + 3).map(|i| ((i % 3000) as f32 - 1000.0) * 0.25).collect();
        let f32s: Vec<u8> = wanted.iter().flat_map(|v| v.to_le_bytes()).collect();
        let f16s: Vec<u8> = wanted.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
        let bf16s: Vec<u8> = wanted.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect();
        let rounded: Vec<f32> = wanted.iter().map(|v| half::bf16::from_f32(*v).to_f32()).collect();
        // f16 has 11 significant bits: it holds every quarter up to 512 exactly.
        let cases = [(DType::F32, f32s, &wanted), (DType::F16, f16s, &wanted), (DType::Bf16, bf16s, &rounded)];
        for (dtype, bytes, want) in cases {
            let mut shifted = vec![0xff];
            shifted.extend(bytes);
            let end = shifted.len();
            let tensor = Tensor::new(dtype, vec![want.len()], owner(shifted), 1..end).unwrap();
            assert!(&tensor.to_f32() == want, "{dtype}");
        }
    }

    #[test]
    fn refuses_ranges_that_do_not_hold_the_shape() {
        let bytes = owner(vec![0; 12]);
        assert!(Tensor::new(DType::F32, vec![3], bytes.clone(), 0..12).is_some());
        assert!(Tensor::new(DType::F32, vec![4], bytes.clone(), 0..16).is_none(), "past the end");
        assert!(Tensor::new(DType::F32, vec![2], bytes.clone(), 0..12).is_none(), "too many bytes");
        assert!(Tensor::new(DType::F32, vec![usize::MAX, 2], bytes.clone(), 0..12).is_none(), "overflow");
        assert_eq!(Tensor::new(DType::F32, vec![], bytes, 4..8).unwrap().elements(), 1, "a scalar has one element");
    }
}
