//! Copies within host memory, and between the caller's bytes and a tensor.
use super::Copy;
use crate::{DType, Elem, Error, Result, View, ViewMut};
use half::{bf16, f16};

pub(crate) fn run(mut op: Copy<'_>) -> Result<()> {
    op.check()?;
    match op.x.dtype() {
        DType::F32 => op.out.host::<f32>()?.copy_from_slice(op.x.host()?),
        DType::F16 => op.out.host::<f16>()?.copy_from_slice(op.x.host()?),
        DType::Bf16 => op.out.host::<bf16>()?.copy_from_slice(op.x.host()?),
        DType::U32 => op.out.host::<u32>()?.copy_from_slice(op.x.host()?),
    }
    Ok(())
}

/// Fills a tensor with the caller's bytes.
pub(crate) fn bytes_in(mut out: ViewMut<'_>, wanted: usize, src: &[u8]) -> Result<()> {
    same_size("copy_in", wanted, src.len())?;
    match out.dtype() {
        DType::F32 => bytemuck::cast_slice_mut(out.host::<f32>()?).copy_from_slice(src),
        DType::F16 => bytemuck::cast_slice_mut(out.host::<f16>()?).copy_from_slice(src),
        DType::Bf16 => bytemuck::cast_slice_mut(out.host::<bf16>()?).copy_from_slice(src),
        DType::U32 => bytemuck::cast_slice_mut(out.host::<u32>()?).copy_from_slice(src),
    }
    Ok(())
}

/// Fills the caller's bytes from a tensor, whose rows may lie apart.
pub(crate) fn bytes_out(src: View<'_>, dst: &mut [u8]) -> Result<()> {
    same_size("copy_out", src.bytes(), dst.len())?;
    match src.dtype() {
        DType::F32 => rows_out::<f32>(src, dst),
        DType::F16 => rows_out::<f16>(src, dst),
        DType::Bf16 => rows_out::<bf16>(src, dst),
        DType::U32 => rows_out::<u32>(src, dst),
    }
}

fn rows_out<T: Elem>(src: View<'_>, dst: &mut [u8]) -> Result<()> {
    let (elements, stride) = src.host_strided::<T>()?;
    let bytes: &[u8] = bytemuck::cast_slice(elements);
    let width = src.dims().as_slice().last().copied().unwrap_or(1) * size_of::<T>();
    if bytes.len() == dst.len() {
        dst.copy_from_slice(bytes);
    } else {
        for (row, dst) in dst.chunks_exact_mut(width.max(1)).enumerate() {
            dst.copy_from_slice(&bytes[row * stride * size_of::<T>()..][..width]);
        }
    }
    Ok(())
}

fn same_size(op: &'static str, tensor: usize, host: usize) -> Result<()> {
    if tensor == host {
        return Ok(());
    }
    Err(Error::Contract { op, detail: format!("the tensor has {tensor} bytes, the host side {host}") })
}
