//! The norm, the product, the rotation.
use super::RmsQkvRopeAppend;
use crate::ops::rms_linear::cpu::{buffer, normed};
use crate::ops::{Epilogue, Linear, QkvRopeAppend, linear, qkv_rope_append};
use crate::{Precision, Result};

pub(crate) fn run(op: RmsQkvRopeAppend<'_>, precision: Precision) -> Result<()> {
    op.check()?;
    let normed = normed(op.x, op.norm, op.eps)?;
    let mut qkv = buffer(&[op.x.dims().as_slice()[0], op.weight.dims().as_slice()[0]])?;
    let x = normed.view();
    let weight = op.weight;
    let out = qkv.view_mut();
    linear::cpu::run(Linear { x, weight, bias: None, epilogue: Epilogue::None, out }, precision)?;
    qkv_rope_append::cpu::run(QkvRopeAppend {
        qkv: qkv.view(),
        cos: op.cos,
        sin: op.sin,
        positions: op.positions,
        block_table: op.block_table,
        heads: op.heads,
        kv_heads: op.kv_heads,
        q: op.q,
        k_pages: op.k_pages,
        v_pages: op.v_pages,
    })
}
