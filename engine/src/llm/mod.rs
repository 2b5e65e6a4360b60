//! Phi-3: a pre-norm decoder with fused projections over the paged cache.
use crate::Result;
use crate::decoding::{Decoding, Head, Kind, Row};
use crate::kv_cache::KvCache;
use crate::rope::RopeTables;
use crate::trace::Recorder;
use crate::weights::Loading;
use med2e3_kernels::ops::{
    Advance, AttentionPaged, EmbedTokens, Epilogue, Linear, QkvRopeAppend, RmsLinear, RmsLinearArgmax, RmsNorm,
    RmsQkvRopeAppend, rms_linear_argmax,
};
use med2e3_kernels::{DECODE_ROWS_MAX, DType, Device, PAGE_TOKENS, Tensor, View};
use med2e3_loaders::ModelConfig;
use med2e3_loaders::config::LlmConfig;
use std::ops::Range;

struct Layer {
    input_norm: Tensor,
    qkv: Tensor,
    out: Tensor,
    post_attention_norm: Tensor,
    gate_up: Tensor,
    down: Tensor,
}

/// Weights, cache and buffers for `batch` sequences of at most `llm_max_length` tokens.
pub(crate) struct Llm {
    config: LlmConfig,
    embeddings: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    /// `None` where the output shares the input's table.
    lm_head: Option<Tensor>,
    rope: RopeTables,
    cache: KvCache,
    /// `[logical pages]`, u32: the pages of the prompt that runs.
    prompt_table: Tensor,
    /// `[kv_heads·64, head_dim]`, activations: where a page stands while it is copied.
    copied: Tensor,
    /// `[llm_max_length]`, u32: 0, 1, 2 and so on; the host names a prompt's positions by a window of it.
    every_position: Tensor,
    pub decoding: Decoding,
    /// `[llm_max_length, hidden]`: a prompt's residual stream; callers put embeddings here before [`Llm::prefill`].
    pub hidden: Tensor,
    /// `[rows of a step, hidden]`: the residual stream of a step, which may run between two layers of a prompt.
    stepping: Tensor,
    ids: Tensor,
    normed: Tensor,
    qkv: Tensor,
    q: Tensor,
    mixed: Tensor,
    ffn: Tensor,
    /// `[rows of a step, vocab]`, f32.
    pub logits: Tensor,
    candidates: Tensor,
    /// `[1]`, u32: what was drawn last.
    pub chosen: Tensor,
}

/// Rows of one prompt that go through the model rows_of_a_step. Row i of a prompt lies in row i of `hidden`.
#[derive(Clone, Copy)]
pub(crate) struct PromptRows<'a> {
    /// The first of them, and where it goes in its sequence.
    pub first: usize,
    /// One past the last of them.
    pub end: usize,
    /// Whether the keys of the sequence are rotated by the long factors.
    pub long: bool,
    /// The sequence's physical page of each logical page.
    pub pages: &'a [u32],
    /// Whether they are the prompt's last rows, behind which the answer begins.
    pub is_end: bool,
}

/// Which rows an op works on, and whose tokens they are.
#[derive(Clone, Copy)]
enum Rows {
    /// Those of one prompt, in `hidden`; `prompt_table` holds its pages.
    Prompt { first: usize, end: usize, long: bool },
    /// The first rows of `stepping`: one of each running sequence.
    Step(Kind),
}

impl Rows {
    fn window(self) -> Range<usize> {
        match self {
            Rows::Prompt { first, end, .. } => first..end,
            Rows::Step(kind) => 0..kind.rows,
        }
    }

    fn is_prompt(self) -> bool {
        matches!(self, Rows::Prompt { .. })
    }

    fn long(self) -> bool {
        match self {
            Rows::Prompt { long, .. } => long,
            Rows::Step(kind) => kind.long,
        }
    }
}

/// Who hears how many layers are done.
pub(crate) type OnLayer<'a> = &'a mut dyn FnMut(u64);

impl Llm {
    /// `pages` pages of cache, for sequences of at most `llm_max_length` tokens.
    pub fn load(loading: &mut Loading<'_>, config: &ModelConfig, pages: usize) -> Result<Self> {
        let (part, device, rows) = (&loading.folder.llm, loading.device, config.llm_max_length);
        let llm = config.llm.clone();
        let (hidden, queries) = (llm.hidden_size, llm.num_attention_heads * llm.head_dim);
        let fused = queries + 2 * llm.num_key_value_heads * llm.head_dim;
        let layers = (0..llm.num_hidden_layers).map(|i| Layer::load(loading, i)).collect::<Result<_>>()?;
        let untied = !llm.tie_word_embeddings;
        let heads = [llm.num_key_value_heads, llm.head_dim];
        let mut every_position = device.tensor(&[rows], DType::U32)?;
        device.write(&mut every_position, &(0..rows as u32).collect::<Vec<u32>>())?;
        Ok(Self {
            embeddings: loading.tensor(part, "model.embed_tokens.weight")?,
            layers,
            norm: loading.tensor(part, "model.norm.weight")?,
            lm_head: untied.then(|| loading.tensor(part, "lm_head.weight")).transpose()?,
            rope: RopeTables::new(device, &llm, rows)?,
            cache: KvCache::new(device, llm.num_hidden_layers, pages, heads)?,
            prompt_table: device.tensor(&[rows.div_ceil(PAGE_TOKENS)], DType::U32)?,
            copied: device.activations(&[heads[0] * PAGE_TOKENS, heads[1]])?,
            every_position,
            decoding: Decoding::new(device, DECODE_ROWS_MAX, rows)?,
            hidden: device.activations(&[rows, hidden])?,
            stepping: device.activations(&[DECODE_ROWS_MAX, hidden])?,
            ids: device.tensor(&[rows], DType::U32)?,
            normed: device.activations(&[rows, hidden])?,
            qkv: device.activations(&[rows, fused])?,
            q: device.activations(&[rows, queries])?,
            mixed: device.activations(&[rows, queries])?,
            ffn: device.activations(&[rows, llm.intermediate_size])?,
            logits: device.tensor(&[DECODE_ROWS_MAX, llm.vocab_size], DType::F32)?,
            candidates: device.tensor(&[DECODE_ROWS_MAX, rms_linear_argmax::candidates(llm.vocab_size)], DType::U32)?,
            chosen: device.tensor(&[1], DType::U32)?,
            config: llm,
        })
    }

    /// The most tokens that a sequence may grow to with the long factors, or without them.
    pub fn limit(&self, long: bool) -> usize {
        self.rope.limit(long)
    }

    /// Pages of the cache.
    pub fn pages(&self) -> usize {
        self.cache.pages()
    }

    /// Shows a plan the widest step of decoding, whose attention needs the most room.
    pub fn rehearse(&mut self, device: &dyn Device) -> Result<()> {
        let end = DECODE_ROWS_MAX.min(self.ids.dims().count());
        Ok(self.attention(device, 0, Rows::Prompt { first: 0, end, long: false }, 0)?)
    }

    /// Copies a page of the cache.
    pub fn copy_page(&mut self, device: &dyn Device, from: u32, to: u32) -> Result<()> {
        self.cache.copy_page(device, from, to, &mut self.copied)
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

    /// Runs layers of a prompt, in place in `hidden`: appends the rows' keys and values to their sequence and, after
    /// the last layer of a prompt's end, leaves the last row's logits in the first row of `logits`. The layers of a
    /// prompt run in order; only steps may run between them. `progress` gets the number of layers done.
    pub fn prefill(
        &mut self,
        prompt: PromptRows<'_>,
        layers: Range<usize>,
        recorder: &mut Recorder<'_>,
        progress: OnLayer<'_>,
    ) -> Result<()> {
        let PromptRows { first, end, long, pages, is_end } = prompt;
        let (device, last) = (recorder.device, end - 1);
        if layers.start == 0 {
            let mut table = vec![0u32; self.prompt_table.dims().count()];
            table[..pages.len()].copy_from_slice(pages);
            device.write(&mut self.prompt_table, &table)?;
        }
        let rows = Rows::Prompt { first, end, long };
        for index in layers.clone() {
            match (index + 1 == self.layers.len(), is_end) {
                (false, _) => self.prompt_layer(index, rows, first, recorder)?,
                // Only the last row goes on to the logits, so it alone needs more than keys and values.
                (true, true) => self.prompt_layer(index, rows, last, recorder)?,
                (true, false) => self.project(device, index, rows)?,
            }
            progress(index as u64 + 1);
        }
        if layers.end < self.layers.len() || !is_end {
            return Ok(());
        }
        if recorder.trace.is_some() {
            // The fused op below keeps the normed row to itself.
            let (x, weight, eps) = (self.hidden.view().rows(last..end), self.norm.view(), self.config.rms_norm_eps);
            device.rms_norm(RmsNorm { x, weight, eps, out: self.normed.view_mut().rows(0..1) })?;
            recorder.record("llm_norm", self.normed.view().rows(0..1))?;
        }
        Ok(self.logits_of(device, Rows::Prompt { first: last, end, long })?)
    }

    /// Layers of the decoder.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// Multiplications and additions of a layer over rows of a prompt of which the last stands at `end`.
    pub fn layer_flops(&self, rows: usize, end: usize) -> usize {
        let layer = &self.layers[0];
        let weights = [&layer.qkv, &layer.out, &layer.gate_up, &layer.down];
        let products: usize = weights.iter().map(|weight| weight.dims().count()).sum();
        2 * rows * products + 4 * rows * end * self.config.num_attention_heads * self.config.head_dim
    }

    /// Bytes of weights that a step reads.
    pub fn step_bytes(&self) -> usize {
        let weights = self.layers.iter().flat_map(|layer| [&layer.qkv, &layer.out, &layer.gate_up, &layer.down]);
        weights.map(Tensor::bytes).sum::<usize>() + self.lm_head.as_ref().unwrap_or(&self.embeddings).bytes()
    }

    /// A layer of a prompt: keys and values of all its rows, the rest for the rows `from` on.
    fn prompt_layer(&mut self, index: usize, rows: Rows, from: usize, recorder: &mut Recorder<'_>) -> Result<()> {
        let (device, end) = (recorder.device, rows.window().end);
        self.project(device, index, rows)?;
        self.attention(device, index, rows, from)?;
        self.mlp(device, index, rows, from)?;
        if index == 0 {
            recorder.record("llm_layer_0", self.hidden.view().rows(from..end))?;
        }
        Ok(())
    }

    /// Logits of rows, into the first rows of `logits`.
    fn logits_of(&mut self, device: &dyn Device, rows: Rows) -> med2e3_kernels::Result<()> {
        let window = rows.window();
        let hidden = if rows.is_prompt() { &self.hidden } else { &self.stepping };
        device.rms_linear(RmsLinear {
            x: hidden.view().rows(window.clone()),
            norm: self.norm.view(),
            eps: self.config.rms_norm_eps,
            weight: self.lm_head.as_ref().unwrap_or(&self.embeddings).view(),
            epilogue: Epilogue::None,
            out: self.logits.view_mut().rows(0..window.len()),
        })
    }

    /// Appends a token to each of up to [`DECODE_ROWS_MAX`] sequences, of which all read the same rotary table, and
    /// leaves what `head` says. Nothing in it comes from the host but what [`Decoding::place`] wrote, so a device that
    /// records ops replays the step from its second time on.
    pub fn step(&mut self, device: &dyn Device, rows: &[Row<'_>], long: bool, head: Head) -> Result<()> {
        self.decoding.place(device, rows)?;
        let kind = Kind { rows: rows.len(), head, long };
        let graph = match self.decoding.steps.remove(&kind) {
            Some(None) => device.capture(&mut || self.enqueue(device, kind))?,
            known => known.flatten(),
        };
        let ran = match &graph {
            Some(graph) => graph.launch(),
            None => self.enqueue(device, kind),
        };
        if let Err(error) = ran {
            self.decoding.forget();
            return Err(error.into());
        }
        self.decoding.steps.insert(kind, graph);
        self.decoding.advance(head);
        Ok(())
    }

    /// The ops of a step.
    fn enqueue(&mut self, device: &dyn Device, kind: Kind) -> med2e3_kernels::Result<()> {
        let (count, rows) = (kind.rows, Rows::Step(kind));
        device.embed_tokens(EmbedTokens {
            table: self.embeddings.view(),
            ids: self.decoding.tokens.view().rows(0..count),
            out: self.stepping.view_mut().rows(0..count),
        })?;
        for index in 0..self.layers.len() {
            self.project(device, index, rows)?;
            self.attention(device, index, rows, 0)?;
            self.mlp(device, index, rows, 0)?;
        }
        match kind.head {
            Head::Logits => self.logits_of(device, rows)?,
            Head::Greedy => device.rms_linear_argmax(RmsLinearArgmax {
                x: self.stepping.view().rows(0..count),
                norm: self.norm.view(),
                eps: self.config.rms_norm_eps,
                weight: self.lm_head.as_ref().unwrap_or(&self.embeddings).view(),
                scratch: self.candidates.view_mut().rows(0..count),
                out: self.decoding.tokens.view_mut().rows(0..count),
            })?,
        }
        device.advance(Advance { counters: self.decoding.positions.view_mut().rows(0..count) })
    }

    /// Positions and block table of rows.
    fn places<'a>(
        prompt_table: &'a Tensor,
        every_position: &'a Tensor,
        decoding: &'a Decoding,
        rows: Rows,
    ) -> [View<'a>; 2] {
        match rows {
            Rows::Prompt { first, end, .. } => [every_position.view().rows(first..end), prompt_table.view()],
            Rows::Step(kind) => {
                [decoding.positions.view().rows(0..kind.rows), decoding.block_tables.view().rows(0..kind.rows)]
            }
        }
    }

    /// Queries into `q`, keys and values into the cache.
    fn project(&mut self, device: &dyn Device, index: usize, rows: Rows) -> med2e3_kernels::Result<()> {
        let (layer, cache, config) = (&self.layers[index], &mut self.cache.layers[index], &self.config);
        let (window, norm, eps) = (rows.window(), layer.input_norm.view(), config.rms_norm_eps);
        let [cos, sin] = self.rope.angles(rows.long());
        let [positions, block_table] = Self::places(&self.prompt_table, &self.every_position, &self.decoding, rows);
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        let hidden = if rows.is_prompt() { &self.hidden } else { &self.stepping };
        let (x, q) = (hidden.view().rows(window.clone()), self.q.view_mut().rows(window.clone()));
        let (k_pages, v_pages) = (cache.k_pages.view_mut(), cache.v_pages.view_mut());
        if window.len() <= DECODE_ROWS_MAX {
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

    /// Attention of the rows from `from` on, added to the residual stream.
    fn attention(&mut self, device: &dyn Device, index: usize, rows: Rows, from: usize) -> med2e3_kernels::Result<()> {
        let (layer, cache, config) = (&self.layers[index], &self.cache.layers[index], &self.config);
        let [positions, block_table] = Self::places(&self.prompt_table, &self.every_position, &self.decoding, rows);
        let Range { start, end } = rows.window();
        let kept = from..end;
        device.attention_paged(AttentionPaged {
            q: self.q.view().rows(kept.clone()),
            k_pages: cache.k_pages.view(),
            v_pages: cache.v_pages.view(),
            block_table,
            positions: positions.rows(from - start..end - start),
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            scale: 1.0 / (config.head_dim as f32).sqrt(),
            out: self.mixed.view_mut().rows(kept.clone()),
        })?;
        let hidden = if rows.is_prompt() { &mut self.hidden } else { &mut self.stepping };
        device.linear(plain(&layer.out, &self.mixed, hidden, Epilogue::Residual, kept))?;
        Ok(())
    }

    /// The second half of a layer for the rows from `from` on, added to the residual stream.
    fn mlp(&mut self, device: &dyn Device, index: usize, rows: Rows, from: usize) -> med2e3_kernels::Result<()> {
        let (layer, window, eps) = (&self.layers[index], from..rows.window().end, self.config.rms_norm_eps);
        let hidden = if rows.is_prompt() { &mut self.hidden } else { &mut self.stepping };
        let (x, norm) = (hidden.view().rows(window.clone()), layer.post_attention_norm.view());
        if window.len() <= DECODE_ROWS_MAX {
            let (weight, out) = (layer.gate_up.view(), self.ffn.view_mut().rows(window.clone()));
            device.rms_linear(RmsLinear { x, norm, eps, weight, epilogue: Epilogue::SwiGlu, out })?;
        } else {
            device.rms_norm(RmsNorm { x, weight: norm, eps, out: self.normed.view_mut().rows(window.clone()) })?;
            device.linear(plain(&layer.gate_up, &self.normed, &mut self.ffn, Epilogue::SwiGlu, window.clone()))?;
        }
        device.linear(plain(&layer.down, &self.ffn, hidden, Epilogue::Residual, window))?;
        Ok(())
    }
}

/// A linear op without bias over the same rows of input and output.
fn plain<'a>(
    weight: &'a Tensor,
    x: &'a Tensor,
    out: &'a mut Tensor,
    epilogue: Epilogue,
    rows: Range<usize>,
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
