//! The BERT of M3D-CLIP: one vector for the question that guides TG-IS.
use crate::Result;
use crate::weights::{Affine, Loading};
use med2e3_kernels::ops::{AttentionFull, EmbedBert, Epilogue};
use med2e3_kernels::{DType, Device, Tensor, View};
use med2e3_loaders::ModelConfig;

/// `h = norm(h + out(attention(h)))`, then `h = norm(h + linear2(gelu(linear1(h))))`.
struct Layer {
    qkv: [Affine; 3],
    out: Affine,
    attention_norm: Affine,
    linear1: Affine,
    linear2: Affine,
    output_norm: Affine,
}

/// Weights and buffers for one question of at most as many tokens as BERT has positions.
pub(crate) struct TextEncoder {
    words: Tensor,
    positions: Tensor,
    types: Tensor,
    norm: Affine,
    layers: Vec<Layer>,
    pooler: Affine,
    heads: usize,
    eps: f32,
    ids: Tensor,
    x: Tensor,
    summed: Tensor,
    qkv: [Tensor; 3],
    mixed: Tensor,
    ffn: Tensor,
    pooled: Tensor,
}

impl TextEncoder {
    pub fn load(loading: &mut Loading<'_>, config: &ModelConfig) -> Result<Self> {
        let part = &loading.folder.vision_3d;
        let bert = &config.bert;
        let device = loading.device;
        let hidden = bert.hidden_size;
        let rows = bert.max_position_embeddings;
        let embeddings = "language_encoder.embeddings";
        let layers = (0..bert.num_hidden_layers).map(|i| Layer::load(loading, i)).collect::<Result<_>>()?;
        let buffer = |width| device.activations(&[rows, width]);
        Ok(Self {
            words: loading.tensor(part, &format!("{embeddings}.word_embeddings.weight"))?,
            positions: loading.tensor(part, &format!("{embeddings}.position_embeddings.weight"))?,
            types: loading.tensor(part, &format!("{embeddings}.token_type_embeddings.weight"))?,
            norm: loading.affine(part, &format!("{embeddings}.LayerNorm"))?,
            layers,
            pooler: loading.affine(part, "language_encoder.pooler.dense")?,
            heads: bert.num_attention_heads,
            eps: bert.layer_norm_eps,
            ids: device.tensor(&[rows], DType::U32)?,
            x: buffer(hidden)?,
            summed: buffer(hidden)?,
            qkv: [buffer(hidden)?, buffer(hidden)?, buffer(hidden)?],
            mixed: buffer(hidden)?,
            ffn: buffer(bert.intermediate_size)?,
            pooled: device.activations(&[1, hidden])?,
        })
    }

    /// Most tokens of one question, `[CLS]` and `[SEP]` included.
    pub fn tokens_max(&self) -> usize {
        self.ids.dims().count()
    }

    /// Ids that its embedding table has.
    pub fn vocabulary(&self) -> usize {
        self.words.dims().as_slice()[0]
    }

    /// `tanh(W · h[CLS] + b)`, `[1, hidden]`. Padding would only be masked, so there is none.
    pub fn pool(&mut self, device: &dyn Device, ids: &[u32]) -> Result<View<'_>> {
        let rows = ids.len();
        let mut padded = vec![0; self.tokens_max()];
        padded[..rows].copy_from_slice(ids);
        device.write(&mut self.ids, &padded)?;
        device.embed_bert(EmbedBert {
            words: self.words.view(),
            positions: self.positions.view(),
            types: self.types.view(),
            weight: self.norm.weight.view(),
            bias: self.norm.bias.view(),
            eps: self.eps,
            ids: self.ids.view().rows(0..rows),
            out: self.x.view_mut().rows(0..rows),
        })?;
        for index in 0..self.layers.len() {
            self.layer(device, index, rows)?;
        }
        device.linear(self.pooler.linear(self.x.view().rows(0..1), Epilogue::Tanh, self.pooled.view_mut()))?;
        Ok(self.pooled())
    }

    /// What [`TextEncoder::pool`] gave last.
    pub fn pooled(&self) -> View<'_> {
        self.pooled.view()
    }

    fn layer(&mut self, device: &dyn Device, index: usize, rows: usize) -> Result<()> {
        let Self { layers, x, summed, qkv, mixed, ffn, heads, eps, .. } = self;
        let layer = &layers[index];
        let window = 0..rows;
        let mut hidden = x.view().rows(0..rows);
        for (projection, out) in layer.qkv.iter().zip(qkv.iter_mut()) {
            device.linear(projection.linear(hidden, Epilogue::None, out.view_mut().rows(window.clone())))?;
        }
        let [q, k, v] = [0, 1, 2].map(|part| qkv[part].view().rows(window.clone()));
        let head_dim = hidden.dims().as_slice()[1] / *heads;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let out = mixed.view_mut().rows(window.clone());
        device.attention_full(AttentionFull { q, k, v, sequences: 1, heads: *heads, scale, out })?;
        device.copy(med2e3_kernels::ops::Copy { x: hidden, out: summed.view_mut().rows(window.clone()) })?;
        device.linear(layer.out.linear(
            mixed.view().rows(window.clone()),
            Epilogue::Residual,
            summed.view_mut().rows(window.clone()),
        ))?;
        device.layer_norm(layer.attention_norm.layer_norm(summed, *eps, x, rows))?;
        hidden = x.view().rows(window.clone());
        device.linear(layer.linear1.linear(hidden, Epilogue::GeluErf, ffn.view_mut().rows(window.clone())))?;
        device.copy(med2e3_kernels::ops::Copy { x: hidden, out: summed.view_mut().rows(window.clone()) })?;
        device.linear(layer.linear2.linear(
            ffn.view().rows(window.clone()),
            Epilogue::Residual,
            summed.view_mut().rows(window),
        ))?;
        device.layer_norm(layer.output_norm.layer_norm(summed, *eps, x, rows))?;
        Ok(())
    }
}

impl Layer {
    fn load(loading: &mut Loading<'_>, index: usize) -> Result<Self> {
        let part = &loading.folder.vision_3d;
        let mut affine = |name: &str| loading.affine(part, &format!("language_encoder.encoder.layer.{index}.{name}"));
        Ok(Self {
            qkv: [affine("attention.self.query")?, affine("attention.self.key")?, affine("attention.self.value")?],
            out: affine("attention.output.dense")?,
            attention_norm: affine("attention.output.LayerNorm")?,
            linear1: affine("intermediate.dense")?,
            linear2: affine("output.dense")?,
            output_norm: affine("output.LayerNorm")?,
        })
    }
}
