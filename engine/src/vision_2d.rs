//! SigLIP: every slice as a grey image, a few slices per pass.
use crate::Result;
use crate::encoder::{Block, Buffers, Names, Qkv, Style, load_block};
use crate::weights::{Affine, Loading, host};
use med2e3_kernels::ops::{Epilogue, PatchEmbed2d};
use med2e3_kernels::{Device, Tensor, View};
use med2e3_loaders::ModelConfig;
use std::ops::Range;

const NAMES: Names = Names {
    norm1: "layer_norm1",
    out: "self_attn.out_proj",
    norm2: "layer_norm2",
    linear1: "mlp.fc1",
    linear2: "mlp.fc2",
};

/// Slices that go through the encoder together: enough rows to amortise reading the weights, and small buffers.
pub(crate) const SLICES_PER_PASS: usize = 8;

/// Weights and buffers. The tap is a layer's output; `post_layernorm` only where asked for.
pub(crate) struct Vision2d {
    patch: usize,
    /// `[hidden, patch·patch]`: summed over the three input channels, which are equal here.
    folded: Tensor,
    bias: Tensor,
    positions: Tensor,
    blocks: Vec<Block>,
    post_norm: Option<Affine>,
    style: Style,
    /// Tokens of one slice.
    tokens: usize,
    buffers: Buffers,
    normed: Option<Tensor>,
}

impl Vision2d {
    pub fn load(loading: &mut Loading<'_>, config: &ModelConfig, post_norm: bool) -> Result<Option<Self>> {
        let (Some(part), Some(siglip)) = (&loading.folder.vision_2d, &config.vision_2d) else { return Ok(None) };
        let hidden = siglip.hidden_size;
        let patch = siglip.patch_size;
        let prefix = "vision_model";
        let tokens = siglip.tokens();
        let rows = SLICES_PER_PASS.min(config.vision_3d.img_size[0]) * tokens;
        let blocks = (0..siglip.layers_run).map(|i| {
            let block = format!("{prefix}.encoder.layers.{i}");
            load_block(loading, part, &block, &NAMES, |loading| {
                let mut projection = |name: &str| loading.affine(part, &format!("{block}.self_attn.{name}_proj"));
                Ok(Qkv::Separate(Box::new([projection("q")?, projection("k")?, projection("v")?])))
            })
        });
        let blocks = blocks.collect::<Result<_>>()?;
        let embeddings = format!("{prefix}.embeddings");
        let convolution = host(loading.folder, part, &format!("{embeddings}.patch_embedding.weight"))?.to_f32();
        let post_norm = post_norm.then(|| loading.affine(part, &format!("{prefix}.post_layernorm"))).transpose()?;
        let normed = post_norm.is_some().then(|| loading.device.activations(&[rows, hidden])).transpose()?;
        Ok(Some(Self {
            patch,
            folded: loading.computed(&[hidden, patch * patch], &fold_channels(&convolution, hidden, patch * patch))?,
            bias: loading.tensor(part, &format!("{embeddings}.patch_embedding.bias"))?,
            positions: loading.tensor(part, &format!("{embeddings}.position_embedding.weight"))?,
            blocks,
            post_norm,
            style: Style { heads: siglip.num_attention_heads, eps: siglip.layer_norm_eps, gelu: Epilogue::GeluTanh },
            tokens,
            buffers: Buffers::new(loading.device, [rows, hidden, siglip.intermediate_size], false)?,
            normed,
        }))
    }

    /// Tokens of one slice.
    pub fn tokens_per_slice(&self) -> usize {
        self.tokens
    }

    /// Embeds at most [`SLICES_PER_PASS`] slices, `[slices, height, width]`.
    pub fn begin(&mut self, device: &dyn Device, slices: View<'_>) -> Result<()> {
        let rows = slices.dims().as_slice()[0] * self.tokens;
        device.patch_embed_2d(PatchEmbed2d {
            volume: slices,
            patch: self.patch,
            weight: self.folded.view(),
            bias: self.bias.view(),
            positions: self.positions.view(),
            out: self.buffers.x.view_mut().rows(0..rows),
        })?;
        Ok(())
    }

    /// Runs blocks over `slices` slices, in order from the first.
    pub fn run(&mut self, device: &dyn Device, slices: usize, blocks: Range<usize>) -> Result<()> {
        for block in &self.blocks[blocks] {
            block.forward(device, &mut self.buffers, self.style, [slices, self.tokens])?;
        }
        Ok(())
    }

    /// How many blocks there are.
    pub fn depth(&self) -> usize {
        self.blocks.len()
    }

    /// Multiplications and additions of a block over `slices` slices.
    pub fn block_flops(&self, slices: usize) -> usize {
        self.blocks.first().map_or(0, |block| block.flops([slices, self.tokens]))
    }

    /// The tokens of `slices` slices behind the last block, `[slices·tokens, hidden]`.
    pub fn finish(&mut self, device: &dyn Device, slices: usize) -> Result<View<'_>> {
        let rows = slices * self.tokens;
        let (Some(norm), Some(normed)) = (&self.post_norm, &mut self.normed) else {
            return Ok(self.buffers.x.view().rows(0..rows));
        };
        device.layer_norm(norm.layer_norm(&self.buffers.x, self.style.eps, normed, rows))?;
        Ok(normed.view().rows(0..rows))
    }
}

/// Sums a `[hidden, channels, pixels]` kernel over its channels: exact up to rounding, since the channels are equal.
fn fold_channels(kernel: &[f32], hidden: usize, pixels: usize) -> Vec<f32> {
    let channels = kernel.len() / (hidden * pixels);
    let folded = |at: usize| {
        let row = at / pixels;
        let pixel = at % pixels;
        (0..channels).map(|channel| f64::from(kernel[(row * channels + channel) * pixels + pixel])).sum::<f64>() as f32
    };
    (0..hidden * pixels).map(folded).collect()
}

#[cfg(test)]
mod tests {
    use super::fold_channels;

    #[test]
    fn channels_are_summed_per_pixel() {
        // Two outputs, three channels, two pixels.
        let kernel = [1., 2., 10., 20., 100., 200., -1., 0., -2., 0., -4., 0.5];
        assert_eq!(fold_channels(&kernel, 2, 2), [111., 222., -7., 0.5]);
    }
}
