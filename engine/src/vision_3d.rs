//! The 3D ViT of M3D-CLIP: the whole volume as boxes of voxels.
use crate::encoder::{Block, Buffers, Names, Qkv, Style, load_block};
use crate::weights::{Affine, Loading};
use crate::{Progress, ProgressStage, Result};
use med2e3_kernels::ops::{Epilogue, PatchEmbed3d};
use med2e3_kernels::{Device, Tensor, View};
use med2e3_loaders::ModelConfig;
use std::ops::Range;

const NAMES: Names =
    Names { norm1: "norm1", out: "attn.out_proj", norm2: "norm2", linear1: "mlp.linear1", linear2: "mlp.linear2" };

/// Weights and buffers. The tap is a block's output, before the final norm; the class token is dropped.
pub(crate) struct Vision3d {
    patch: [usize; 3],
    embedding: Affine,
    positions: Tensor,
    class_token: Tensor,
    blocks: Vec<Block>,
    style: Style,
    tokens: usize,
    buffers: Buffers,
}

impl Vision3d {
    pub fn load(loading: &mut Loading<'_>, config: &ModelConfig) -> Result<Self> {
        let part = &loading.folder.vision_3d;
        let vit = &config.vision_3d;
        let hidden = vit.hidden_size;
        let prefix = "vision_encoder";
        let patches = vit.tokens();
        let blocks = (0..vit.layers_run).map(|i| {
            let block = format!("{prefix}.blocks.{i}");
            let fused = format!("{block}.attn.qkv.weight");
            load_block(loading, part, &block, &NAMES, |loading| Ok(Qkv::Fused(loading.tensor(part, &fused)?)))
        });
        let blocks = blocks.collect::<Result<_>>()?;
        let positions = format!("{prefix}.patch_embedding.position_embeddings");
        Ok(Self {
            patch: vit.patch_size,
            embedding: loading.affine(part, &format!("{prefix}.patch_embedding.patch_embeddings.1"))?,
            positions: loading.shaped(part, &positions, &[patches, hidden])?,
            class_token: loading.shaped(part, &format!("{prefix}.cls_token"), &[1, hidden])?,
            blocks,
            style: Style { heads: vit.num_heads, eps: vit.layer_norm_eps, gelu: Epilogue::GeluErf },
            tokens: patches + 1,
            buffers: Buffers::new(loading.device, [patches + 1, hidden, vit.mlp_dim], true)?,
        })
    }

    /// Embeds a volume `[slices, height, width]`.
    pub fn begin(&mut self, device: &dyn Device, volume: View<'_>) -> Result<()> {
        device.patch_embed_3d(PatchEmbed3d {
            volume,
            patch: self.patch,
            weight: self.embedding.weight.view(),
            bias: self.embedding.bias.view(),
            positions: self.positions.view(),
            class_token: self.class_token.view(),
            out: self.buffers.x.view_mut(),
        })?;
        Ok(())
    }

    /// Runs blocks, in order from the first; after the last see [`Vision3d::tokens`].
    pub fn run(&mut self, device: &dyn Device, blocks: Range<usize>, progress: &mut dyn FnMut(Progress)) -> Result<()> {
        let total = self.blocks.len() as u64;
        for index in blocks {
            self.blocks[index].forward(device, &mut self.buffers, self.style, [1, self.tokens])?;
            progress(Progress { stage: ProgressStage::Vision3d, done: index as u64 + 1, total });
        }
        Ok(())
    }

    /// How many blocks there are.
    pub fn depth(&self) -> usize {
        self.blocks.len()
    }

    /// Multiplications and additions of a block.
    pub fn block_flops(&self) -> usize {
        self.blocks[0].flops([1, self.tokens])
    }

    /// The patch tokens of the last volume, `[patches, hidden]`.
    pub fn tokens(&self) -> View<'_> {
        self.buffers.x.view().rows(1..self.tokens)
    }
}
