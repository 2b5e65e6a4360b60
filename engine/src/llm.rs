//! Phi-3: a pre-norm decoder with fused projections over the paged cache.
use crate::kv_cache::{KvCache, Sequence};
use crate::rope::RopeTables;
use crate::trace::Recorder;
use crate::weights::Loading;
use crate::{Progress, Result};
use kernels::ops::{
    Advance, AttentionPaged, EmbedTokens, Epilogue, Linear, QkvRopeAppend, RmsLinear, RmsLinearArgmax, RmsNorm,
    RmsQkvRopeAppend, rms_linear_argmax,
};
use kernels::{DType, Device, FEW_ROWS, Graph, Tensor};
use loaders::ModelConfig;
use loaders::config::LlmConfig;

struct Layer {
    input_norm: Tensor,
    qkv: Tensor,
    out: Tensor,
    post_attention_norm: Tensor,
    gate_up: Tensor,
    down: Tensor,
}

/// Weights, cache and buffers for one sequence of at most `llm_max_length` tokens.
pub(crate) struct Llm {
    config: LlmConfig,
    embeddings: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    /// `None` where the output shares the input's table.
    lm_head: Option<Tensor>,
    rope: RopeTables,
    cache: KvCache,
    pub sequence: Sequence,
    /// `[llm_max_length, hidden]`: the residual stream; callers put embeddings here before [`Llm::forward`].
    pub hidden: Tensor,
    ids: Tensor,
    normed: Tensor,
    qkv: Tensor,
    q: Tensor,
    mixed: Tensor,
    ffn: Tensor,
    /// `[1, vocab]`, f32.
    pub logits: Tensor,
    candidates: Tensor,
    /// `[1]`, u32: the token that was chosen last.
    pub token: Tensor,
    /// Whether a greedy step has run: what it needs of the device's workspace is there.
    warm: bool,
    step: Option<RecordedStep>,
}

/// A greedy step as the device recorded it.
struct RecordedStep {
    /// Address of the rotary table that it reads: a prompt past longrope's limit takes another.
    cos: usize,
    graph: Box<dyn Graph>,
}

impl Llm {
    pub fn load(loading: &mut Loading<'_>, config: &ModelConfig) -> Result<Self> {
        let (part, device, rows) = (&loading.folder.llm, loading.device, config.llm_max_length);
        let llm = config.llm.clone();
        let (hidden, queries) = (llm.hidden_size, llm.num_attention_heads * llm.head_dim);
        let fused = queries + 2 * llm.num_key_value_heads * llm.head_dim;
        let layers = (0..llm.num_hidden_layers).map(|i| Layer::load(loading, i)).collect::<Result<_>>()?;
        let untied = !llm.tie_word_embeddings;
        Ok(Self {
            embeddings: loading.tensor(part, "model.embed_tokens.weight")?,
            layers,
            norm: loading.tensor(part, "model.norm.weight")?,
            lm_head: untied.then(|| loading.tensor(part, "lm_head.weight")).transpose()?,
            rope: RopeTables::new(device, &llm, rows)?,
            cache: KvCache::new(device, llm.num_hidden_layers, [rows, llm.num_key_value_heads, llm.head_dim])?,
            sequence: Sequence::new(device, rows)?,
            hidden: device.activations(&[rows, hidden])?,
            ids: device.tensor(&[rows], DType::U32)?,
            normed: device.activations(&[rows, hidden])?,
            qkv: device.activations(&[rows, fused])?,
            q: device.activations(&[rows, queries])?,
            mixed: device.activations(&[rows, queries])?,
            ffn: device.activations(&[rows, llm.intermediate_size])?,
            logits: device.tensor(&[1, llm.vocab_size], DType::F32)?,
            candidates: device.tensor(&[1, rms_linear_argmax::candidates(llm.vocab_size)], DType::U32)?,
            token: device.tensor(&[1], DType::U32)?,
            warm: false,
            step: None,
            config: llm,
        })
    }

    /// Forgets the last sequence and prepares for one whose prompt has `rows` rows; gives the most tokens that it may
    /// grow to.
    pub fn start(&mut self, rows: usize) -> usize {
        self.cache.release(&mut self.sequence);
        self.rope.choose(rows)
    }

    /// Takes cache pages for the `tokens` tokens that the sequence may grow to.
    pub fn reserve(&mut self, device: &dyn Device, tokens: usize) -> Result<()> {
        self.sequence.reserve(device, &mut self.cache, tokens)
    }

    /// Shows a plan the widest step of decoding, whose attention needs the most room.
    pub fn rehearse(&mut self, device: &dyn Device) -> Result<()> {
        let rows = FEW_ROWS.min(self.ids.dims().count());
        self.reserve(device, rows)?;
        self.sequence.append(rows);
        Ok(self.attention(device, 0, [0, rows])?)
    }

    /// Embeds `ids` into rows `at..` of `hidden`.
    pub fn embed(&mut self, device: &dyn Device, ids: &[u32], at: usize) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut padded = vec![0; self.ids.dims().count()];
        padded[..ids.len()].copy_from_slice(ids);
        device.write(&mut self.ids, &padded)?;
        device.embed_tokens(EmbedTokens {
            table: self.embeddings.view(),
            ids: self.ids.view().rows(0..ids.len()),
            out: self.hidden.view_mut().rows(at..at + ids.len()),
        })?;
        Ok(())
    }

    /// Appends the first `rows` rows of `hidden` to the sequence and leaves the last one's logits in `logits`.
    pub fn forward(
        &mut self,
        rows: usize,
        recorder: &mut Recorder<'_>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<()> {
        self.run_layers(rows, recorder, progress)?;
        let (device, eps) = (recorder.device, self.config.rms_norm_eps);
        let (x, norm) = (self.hidden.view().rows(rows - 1..rows), self.norm.view());
        if recorder.trace.is_some() {
            // The fused op below keeps the normed row to itself.
            device.rms_norm(RmsNorm { x, weight: norm, eps, out: self.normed.view_mut().rows(0..1) })?;
            recorder.record("llm_norm", self.normed.view().rows(0..1))?;
        }
        let weight = self.lm_head.as_ref().unwrap_or(&self.embeddings).view();
        device.rms_linear(RmsLinear { x, norm, eps, weight, epilogue: Epilogue::None, out: self.logits.view_mut() })?;
        Ok(())
    }

    /// Appends the token in `token` and leaves the most likely next one there; `logits` are left as they were. Nothing
    /// in it comes from the host, so a device that records ops replays the step from its second time on.
    pub fn step_greedy(&mut self, device: &dyn Device) -> Result<()> {
        self.sequence.count_on_device(device)?;
        let (cos, warm) = (self.rope.cos().addr().addr(), std::mem::replace(&mut self.warm, true));
        self.step = self.step.take().filter(|step| step.cos == cos);
        if self.step.is_none() && warm {
            let graph = device.capture(&mut || self.enqueue_greedy(device))?;
            self.step = graph.map(|graph| RecordedStep { cos, graph });
        }
        match &self.step {
            Some(step) => step.graph.launch()?,
            None => self.enqueue_greedy(device)?,
        }
        self.sequence.append(1);
        Ok(())
    }

    /// The ops of a greedy step.
    fn enqueue_greedy(&mut self, device: &dyn Device) -> kernels::Result<()> {
        let (table, ids, out) = (self.embeddings.view(), self.token.view(), self.hidden.view_mut().rows(0..1));
        device.embed_tokens(EmbedTokens { table, ids, out })?;
        for index in 0..self.layers.len() {
            self.project(device, index, 1)?;
            self.attention(device, index, [0, 1])?;
            self.mlp(device, index, [0, 1])?;
        }
        device.rms_linear_argmax(RmsLinearArgmax {
            x: self.hidden.view().rows(0..1),
            norm: self.norm.view(),
            eps: self.config.rms_norm_eps,
            weight: self.lm_head.as_ref().unwrap_or(&self.embeddings).view(),
            scratch: self.candidates.view_mut(),
            out: self.token.view_mut(),
        })?;
        device.advance(Advance { counters: self.sequence.next() })
    }

    /// Appends the first `rows` rows of `hidden` to the sequence and turns the last one into what the head reads.
    fn run_layers(
        &mut self,
        rows: usize,
        recorder: &mut Recorder<'_>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<()> {
        let device = recorder.device;
        self.sequence.append(rows);
        let total = self.layers.len() as u64;
        for index in 0..self.layers.len() {
            // Only the last row goes on to the logits, so in the last layer only it needs more than keys and values.
            let first = if index + 1 == self.layers.len() { rows - 1 } else { 0 };
            self.project(device, index, rows)?;
            self.attention(device, index, [first, rows])?;
            self.mlp(device, index, [first, rows])?;
            if index == 0 {
                recorder.record("llm_layer_0", self.hidden.view().rows(first..rows))?;
            }
            progress(Progress { stage: "prefill", done: index as u64 + 1, total });
        }
        Ok(())
    }

    /// Queries into `q`, keys and values into the cache.
    fn project(&mut self, device: &dyn Device, index: usize, rows: usize) -> kernels::Result<()> {
        let (layer, cache, config) = (&self.layers[index], &mut self.cache.layers[index], &self.config);
        let (window, norm, eps) = (0..rows, layer.input_norm.view(), config.rms_norm_eps);
        let (cos, sin) = (self.rope.cos(), self.rope.sin());
        let (positions, block_table) = (self.sequence.positions(rows), self.sequence.block_table());
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        let (x, q) = (self.hidden.view().rows(window.clone()), self.q.view_mut().rows(window.clone()));
        let (k_pages, v_pages) = (cache.k_pages.view_mut(), cache.v_pages.view_mut());
        if rows <= FEW_ROWS {
            let weight = layer.qkv.view();
            device.rms_qkv_rope_append(RmsQkvRopeAppend {
                x,
                norm,
                eps,
                weight,
                cos,
                sin,
                positions,
                block_table,
                heads,
                kv_heads,
                q,
                k_pages,
                v_pages,
            })?;
            return Ok(());
        }
        device.rms_norm(RmsNorm { x, weight: norm, eps, out: self.normed.view_mut().rows(window.clone()) })?;
        device.linear(plain(&layer.qkv, &self.normed, &mut self.qkv, Epilogue::None, window.clone()))?;
        let qkv = self.qkv.view().rows(window);
        device.qkv_rope_append(QkvRopeAppend {
            qkv,
            cos,
            sin,
            positions,
            block_table,
            heads,
            kv_heads,
            q,
            k_pages,
            v_pages,
        })?;
        Ok(())
    }

    fn attention(&mut self, device: &dyn Device, index: usize, [first, rows]: [usize; 2]) -> kernels::Result<()> {
        let (layer, cache, config) = (&self.layers[index], &self.cache.layers[index], &self.config);
        let kept = first..rows;
        device.attention_paged(AttentionPaged {
            q: self.q.view().rows(kept.clone()),
            k_pages: cache.k_pages.view(),
            v_pages: cache.v_pages.view(),
            block_table: self.sequence.block_table(),
            positions: self.sequence.positions(rows).rows(kept.clone()),
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            scale: 1.0 / (config.head_dim as f32).sqrt(),
            out: self.mixed.view_mut().rows(kept.clone()),
        })?;
        device.linear(plain(&layer.out, &self.mixed, &mut self.hidden, Epilogue::Residual, kept))?;
        Ok(())
    }

    fn mlp(&mut self, device: &dyn Device, index: usize, [first, end]: [usize; 2]) -> kernels::Result<()> {
        let (layer, window, eps) = (&self.layers[index], first..end, self.config.rms_norm_eps);
        let (x, norm) = (self.hidden.view().rows(window.clone()), layer.post_attention_norm.view());
        if window.len() <= FEW_ROWS {
            let (weight, out) = (layer.gate_up.view(), self.ffn.view_mut().rows(window.clone()));
            device.rms_linear(RmsLinear { x, norm, eps, weight, epilogue: Epilogue::SwiGlu, out })?;
        } else {
            device.rms_norm(RmsNorm { x, weight: norm, eps, out: self.normed.view_mut().rows(window.clone()) })?;
            device.linear(plain(&layer.gate_up, &self.normed, &mut self.ffn, Epilogue::SwiGlu, window.clone()))?;
        }
        device.linear(plain(&layer.down, &self.ffn, &mut self.hidden, Epilogue::Residual, window))?;
        Ok(())
    }
}

/// A linear op without bias over the same rows of input and output.
fn plain<'a>(
    weight: &'a Tensor,
    x: &'a Tensor,
    out: &'a mut Tensor,
    epilogue: Epilogue,
    rows: std::ops::Range<usize>,
) -> Linear<'a> {
    let (x, out) = (x.view().rows(rows.clone()), out.view_mut().rows(rows));
    Linear { x, weight: weight.view(), bias: None, epilogue, out }
}

impl Layer {
    fn load(loading: &mut Loading<'_>, index: usize) -> Result<Self> {
        let part = &loading.folder.llm;
        let mut tensor = |name: &str| loading.tensor(part, &format!("model.layers.{index}.{name}.weight"));
        Ok(Self {
            input_norm: tensor("input_layernorm")?,
            qkv: tensor("self_attn.qkv_proj")?,
            out: tensor("self_attn.o_proj")?,
            post_attention_norm: tensor("post_attention_layernorm")?,
            gate_up: tensor("mlp.gate_up_proj")?,
            down: tensor("mlp.down_proj")?,
        })
    }
}
