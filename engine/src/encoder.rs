//! The pre-norm transformer block that the 3D ViT and SigLIP share, and its buffers.
use crate::Result;
use crate::weights::{Affine, Loading};
use med2e3_kernels::ops::{AttentionFull, Epilogue, Linear};
use med2e3_kernels::{Device, Tensor, View};
use med2e3_loaders::Checkpoint;

/// Queries, keys and values: one fused projection without bias, or three with.
pub(crate) enum Qkv {
    Fused(Tensor),
    Separate(Box<[Affine; 3]>),
}

/// `x += out(attention(norm1(x)))`, then `x += linear2(gelu(linear1(norm2(x))))`.
pub(crate) struct Block {
    pub norm1: Affine,
    pub qkv: Qkv,
    pub out: Affine,
    pub norm2: Affine,
    pub linear1: Affine,
    pub linear2: Affine,
}

/// What distinguishes the two encoders.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    pub heads: usize,
    pub eps: f32,
    pub gelu: Epilogue,
}

/// Buffers for one pass; `[rows, ...]`, rows = sequences · tokens.
pub(crate) struct Buffers {
    /// The residual stream, `[rows, hidden]`.
    pub x: Tensor,
    normed: Tensor,
    /// `[rows, 3·hidden]` for a fused projection, otherwise `[rows, hidden]` each.
    qkv: Vec<Tensor>,
    mixed: Tensor,
    ffn: Tensor,
}

impl Buffers {
    pub fn new(device: &dyn Device, [rows, hidden, ffn]: [usize; 3], fused: bool) -> Result<Self> {
        let qkv = if fused {
            vec![device.activations(&[rows, 3 * hidden])?]
        } else {
            (0..3).map(|_| device.activations(&[rows, hidden])).collect::<med2e3_kernels::Result<_>>()?
        };
        Ok(Self {
            x: device.activations(&[rows, hidden])?,
            normed: device.activations(&[rows, hidden])?,
            qkv,
            mixed: device.activations(&[rows, hidden])?,
            ffn: device.activations(&[rows, ffn])?,
        })
    }
}

/// The three column windows of the fused projection, or the three tensors; first `rows` rows.
fn qkv_views(qkv: &[Tensor], rows: usize) -> [View<'_>; 3] {
    match qkv {
        [fused] => {
            let hidden = fused.dims().as_slice()[1] / 3;
            [0, 1, 2].map(|part| fused.view().rows(0..rows).cols(part * hidden..(part + 1) * hidden))
        }
        parts => [0, 1, 2].map(|part| parts[part].view().rows(0..rows)),
    }
}

impl Block {
    /// Multiplications and additions over `sequences` sequences of `tokens` tokens.
    pub fn flops(&self, [sequences, tokens]: [usize; 2]) -> usize {
        let qkv = match &self.qkv {
            Qkv::Fused(weight) => weight.dims().count(),
            Qkv::Separate(parts) => parts.iter().map(|part| part.weight.dims().count()).sum(),
        };
        let others = [&self.out, &self.linear1, &self.linear2].map(|part| part.weight.dims().count());
        let rows = sequences * tokens;
        let width = self.norm1.weight.dims().count();
        2 * rows * (qkv + others.iter().sum::<usize>()) + 4 * rows * tokens * width
    }

    /// Runs over the first `sequences · tokens` rows of `buffers.x`, in place.
    pub fn forward(
        &self,
        device: &dyn Device,
        buffers: &mut Buffers,
        style: Style,
        [sequences, tokens]: [usize; 2],
    ) -> Result<()> {
        let rows = sequences * tokens;
        let Buffers { x, normed, qkv, mixed, ffn } = buffers;
        device.layer_norm(self.norm1.layer_norm(x, style.eps, normed, rows))?;
        let input = normed.view().rows(0..rows);
        match &self.qkv {
            Qkv::Fused(weight) => device.linear(Linear {
                x: input,
                weight: weight.view(),
                bias: None,
                epilogue: Epilogue::None,
                out: qkv[0].view_mut().rows(0..rows),
            })?,
            Qkv::Separate(parts) => {
                for (part, out) in parts.iter().zip(qkv.iter_mut()) {
                    device.linear(part.linear(input, Epilogue::None, out.view_mut().rows(0..rows)))?;
                }
            }
        }
        let [q, k, v] = qkv_views(qkv, rows);
        let head_dim = q.dims().as_slice()[1] / style.heads;
        device.attention_full(AttentionFull {
            q,
            k,
            v,
            sequences,
            heads: style.heads,
            scale: 1.0 / (head_dim as f32).sqrt(),
            out: mixed.view_mut().rows(0..rows),
        })?;
        device.linear(self.out.linear(mixed.view().rows(0..rows), Epilogue::Residual, x.view_mut().rows(0..rows)))?;
        device.layer_norm(self.norm2.layer_norm(x, style.eps, normed, rows))?;
        device.linear(self.linear1.linear(normed.view().rows(0..rows), style.gelu, ffn.view_mut().rows(0..rows)))?;
        device.linear(self.linear2.linear(ffn.view().rows(0..rows), Epilogue::Residual, x.view_mut().rows(0..rows)))?;
        Ok(())
    }
}

/// Where each part of a block is found in the checkpoint, after `<prefix>.`.
pub(crate) struct Names {
    pub norm1: &'static str,
    pub out: &'static str,
    pub norm2: &'static str,
    pub linear1: &'static str,
    pub linear2: &'static str,
}

/// Loads a block; `qkv` does so for its projections.
pub(crate) fn load_block(
    loading: &mut Loading<'_>,
    part: &Checkpoint,
    prefix: &str,
    names: &Names,
    qkv: impl FnOnce(&mut Loading<'_>) -> Result<Qkv>,
) -> Result<Block> {
    let affine = |loading: &mut Loading<'_>, name: &str| loading.affine(part, &format!("{prefix}.{name}"));
    Ok(Block {
        norm1: affine(loading, names.norm1)?,
        qkv: qkv(loading)?,
        out: affine(loading, names.out)?,
        norm2: affine(loading, names.norm2)?,
        linear1: affine(loading, names.linear1)?,
        linear2: affine(loading, names.linear2)?,
    })
}
