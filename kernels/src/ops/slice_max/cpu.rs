//! Slices one after the other over a running maximum.
use super::SliceMax;
use crate::Result;

pub(crate) fn run(mut op: SliceMax<'_>) -> Result<()> {
    let slice = op.check()?;
    let tokens = op.z_2d_slices.host::<f32>()?;
    let out = op.out.host::<f32>()?;
    out.copy_from_slice(&tokens[..slice]);
    for slice in tokens.chunks_exact(slice.max(1)).skip(1) {
        for (out, &value) in out.iter_mut().zip(slice) {
            *out = largest(*out, value);
        }
    }
    Ok(())
}

/// Of finite values.
fn largest(a: f32, b: f32) -> f32 {
    if a.is_finite() && b.is_finite() { a.max(b) } else { f32::NAN }
}
