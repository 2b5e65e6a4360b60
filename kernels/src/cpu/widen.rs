//! Reading f16, bf16 and f32 elements as f32.
use crate::{DType, Error, Result, View};
use half::{bf16, f16};
use std::borrow::Cow;

/// The elements of a contiguous view as f32; borrowed where they are f32 already. For vectors and small tables.
pub(crate) fn floats<'a>(view: &View<'a>) -> Result<Cow<'a, [f32]>> {
    Ok(match view.dtype() {
        DType::F32 => Cow::Borrowed(view.host::<f32>()?),
        DType::F16 => Cow::Owned(view.host::<f16>()?.iter().map(|v| v.to_f32()).collect()),
        DType::Bf16 => Cow::Owned(view.host::<bf16>()?.iter().map(|v| v.to_f32()).collect()),
        DType::U32 => {
            return Err(Error::Contract { op: "view", detail: "elements are U32, wanted a float type".into() });
        }
    })
}

/// Raw little-endian elements of a float type as f32; `u32` elements are not floats and give their bits' value.
pub(crate) fn to_f32(bytes: &[u8], dtype: DType) -> Vec<f32> {
    let pairs = || bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let quads = || bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    match dtype {
        DType::F32 => quads().map(f32::from_bits).collect(),
        DType::F16 => pairs().map(|bits| f16::from_bits(bits).to_f32()).collect(),
        DType::Bf16 => pairs().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
        DType::U32 => quads().map(|value| value as f32).collect(),
    }
}

/// One row of a table of any float type, widened into `out`.
pub(crate) fn row_into(table: &View<'_>, row: usize, out: &mut [f32]) -> Result<()> {
    let view = table.rows(row..row + 1);
    match view.dtype() {
        DType::F32 => out.copy_from_slice(view.host::<f32>()?),
        DType::F16 => widen(out, view.host::<f16>()?, |v| v.to_f32()),
        DType::Bf16 => widen(out, view.host::<bf16>()?, |v| v.to_f32()),
        DType::U32 => {
            return Err(Error::Contract { op: "view", detail: "elements are U32, wanted a float type".into() });
        }
    }
    Ok(())
}

fn widen<T: Copy>(out: &mut [f32], src: &[T], to: impl Fn(T) -> f32) {
    for (out, &value) in out.iter_mut().zip(src) {
        *out = to(value);
    }
}
