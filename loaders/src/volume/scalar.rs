//! Element types of volume files, and their bytes turned into f32 as they arrive.

use std::io::Read;

use half::f16;

use super::{Problem, VOXELS_MAX};
use crate::memory;

/// How one voxel is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
}

impl Scalar {
    /// Bytes of one voxel.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// numpy's name of the type.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::U16 => "uint16",
            Self::I16 => "int16",
            Self::U32 => "uint32",
            Self::I32 => "int32",
            Self::U64 => "uint64",
            Self::I64 => "int64",
            Self::F16 => "float16",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }

    /// Appends `slope * value + intercept` of every voxel in `bytes`, computed in f64.
    fn decode(self, bytes: &[u8], big_endian: bool, scale: Scale, out: &mut Vec<f32>) {
        /// The voxels of `bytes`, `N` bytes each, least significant byte first after `flip`.
        fn each<const N: usize>(bytes: &[u8], flip: bool, out: &mut Vec<f32>, value: impl Fn([u8; N]) -> f32) {
            let (voxels, _) = bytes.as_chunks::<N>();
            out.extend(voxels.iter().map(|voxel| {
                let mut voxel = *voxel;
                if flip {
                    voxel.reverse();
                }
                value(voxel)
            }));
        }
        let of = |value: f64| scale.apply(value) as f32;
        match self {
            Self::U8 => each(bytes, false, out, |[b]| of(f64::from(b))),
            Self::I8 => each(bytes, false, out, |[b]| of(f64::from(b as i8))),
            Self::U16 => each(bytes, big_endian, out, |b| of(f64::from(u16::from_le_bytes(b)))),
            Self::I16 => each(bytes, big_endian, out, |b| of(f64::from(i16::from_le_bytes(b)))),
            Self::U32 => each(bytes, big_endian, out, |b| of(f64::from(u32::from_le_bytes(b)))),
            Self::I32 => each(bytes, big_endian, out, |b| of(f64::from(i32::from_le_bytes(b)))),
            Self::U64 => each(bytes, big_endian, out, |b| of(u64::from_le_bytes(b) as f64)),
            Self::I64 => each(bytes, big_endian, out, |b| of(i64::from_le_bytes(b) as f64)),
            Self::F16 => each(bytes, big_endian, out, |b| of(f16::from_le_bytes(b).to_f64())),
            Self::F32 => each(bytes, big_endian, out, |b| of(f64::from(f32::from_le_bytes(b)))),
            Self::F64 => each(bytes, big_endian, out, |b| of(f64::from_le_bytes(b))),
        }
    }
}

/// Stored value to physical value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    pub(crate) slope: f64,
    pub(crate) intercept: f64,
}

impl Scale {
    /// Stored values are physical values.
    pub(crate) const NONE: Self = Self { slope: 1.0, intercept: 0.0 };

    /// The physical value.
    pub(crate) fn apply(self, stored: f64) -> f64 {
        stored * self.slope + self.intercept
    }
}

/// Reads `count` voxels. Memory grows as bytes arrive, so a lying `count` costs nothing.
pub(crate) fn read_voxels(
    source: &mut impl Read,
    count: usize,
    scalar: Scalar,
    big_endian: bool,
    scale: Scale,
) -> Result<Vec<f32>, Problem> {
    const CHUNK_VOXELS: usize = 1 << 17;
    let mut voxels = Vec::new();
    let mut chunk = vec![0; CHUNK_VOXELS.min(count) * scalar.size()];
    while voxels.len() < count {
        let left = count - voxels.len();
        if voxels.capacity() == voxels.len() {
            let more = left.min(voxels.len().max(CHUNK_VOXELS));
            memory::reserve(&mut voxels, more)?;
        }
        let next = left.min(CHUNK_VOXELS).min(voxels.capacity() - voxels.len());
        let bytes = &mut chunk[..next * scalar.size()];
        source.read_exact(bytes).map_err(|error| {
            let got = voxels.len();
            let want = count;
            Problem::cut_short(format!("holds fewer voxels than its header says ({got} of {want} and then: {error})"))
        })?;
        scalar.decode(bytes, big_endian, scale, &mut voxels);
    }
    Ok(voxels)
}

/// The product of `dims` as a count of voxels, refused where it is 0 or more than any scanner makes.
pub(crate) fn voxel_count(dims: &[u64]) -> Result<usize, Problem> {
    let count = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
    match count {
        Some(0) => Err(Problem::new(format!("is empty: its shape is {dims:?}"), "give a volume with voxels in it")),
        Some(count) if count <= VOXELS_MAX => Ok(count as usize),
        _ => Err(Problem::new(
            format!("promises a volume of shape {dims:?}, more than {VOXELS_MAX} voxels"),
            "check the header, or resample the volume to fewer voxels",
        )),
    }
}
