//! Phi-3: a pre-norm decoder with fused projections over the paged cache.
mod prompts;

use crate::Result;
use crate::decoding::{Decoding, Head, Kind, Picks, Row};
use crate::kv_cache::KvCache;
use crate::rope::RopeTables;
use crate::weights::Loading;
use med2e3_kernels::ops::{
    Advance, AttentionPaged, Choice, EmbedTokens, Epilogue, Linear, LogProbs, RmsLinear, RmsLinearArgmax, RmsNorm,
    RmsQkvRopeAppend, Sample,
    attention_paged::{RUNS_MAX, SINGLE_ROWS},
    rms_linear_argmax,
};
use med2e3_kernels::{DECODE_ROWS_MAX, DType, Device, PAGE_TOKENS, Tensor, View};
use med2e3_loaders::ModelConfig;
use med2e3_loaders::config::LlmConfig;
pub(crate) use prompts::{PromptRows, Prompts};

struct Layer {
    input_norm: Tensor,
    qkv: Tensor,
    out: Tensor,
    post_attention_norm: Tensor,
    gate_up: Tensor,
    down: Tensor,
}

/// Weights, cache and buffers for sequences of at most `llm_max_length` tokens.
pub(crate) struct Llm {
    config: LlmConfig,
    embeddings: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    /// `None` where the output shares the input's table.
    lm_head: Option<Tensor>,
    rope: RopeTables,
    cache: KvCache,
    /// `[runs of a pass, logical pages]`, u32: the pages of the prompts that run, once for each part of each.
    prompt_tables: Tensor,
    /// `[prompt rows]`, u32: where in its sequence each row of the prompts that run goes.
    prompt_positions: Tensor,
    /// `[kv_heads·64, head_dim]`, activations: where a page stands while it is copied.
    copied: Tensor,
    pub decoding: Decoding,
    /// `[prompt rows, hidden]`: the residual stream of prompts, one behind the other; callers put embeddings here
    /// before [`Llm::prefill`].
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
    /// Where the first tokens of options are judged.
    judged: Judged,
}

/// Tokens that are judged by one row of logits at a time.
const JUDGED: usize = 64;

/// Log-probabilities of several tokens behind the same ones.
struct Judged {
    /// `[1, JUDGED]`, u32.
    ids: Tensor,
    /// `[1, 1]`, u32: the most likely token, which nobody asks for.
    top: Tensor,
    /// `[1, JUDGED + 1]`, f32.
    log_probs: Tensor,
}

impl Judged {
    fn new(device: &dyn Device) -> Result<Self> {
        Ok(Self {
            ids: device.tensor(&[1, JUDGED], DType::U32)?,
            top: device.tensor(&[1, 1], DType::U32)?,
            log_probs: device.tensor(&[1, JUDGED + 1], DType::F32)?,
        })
    }
}

/// Which residual stream an op works on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    /// That of the prompts that run, `hidden`.
    Prompts,
    /// That of a step, `stepping`.
    Step,
}

impl Llm {
    /// `pages` pages of cache, for sequences of at most `llm_max_length` tokens, and buffers for passes over
    /// `prompt_rows` rows of prompts, of which the longest must be one.
    pub fn load(loading: &mut Loading<'_>, config: &ModelConfig, pages: usize, prompt_rows: usize) -> Result<Self> {
        let part = &loading.folder.llm;
        let device = loading.device;
        let length = config.llm_max_length;
        let rows = prompt_rows.max(length);
        let llm = config.llm.clone();
        let hidden = llm.hidden_size;
        let queries = llm.num_attention_heads * llm.head_dim;
        let fused = queries + 2 * llm.num_key_value_heads * llm.head_dim;
        let layers = (0..llm.num_hidden_layers).map(|i| Layer::load(loading, i)).collect::<Result<_>>()?;
        let untied = !llm.tie_word_embeddings;
        let heads = [llm.num_key_value_heads, llm.head_dim];
        Ok(Self {
            embeddings: loading.tensor(part, "model.embed_tokens.weight")?,
            layers,
            norm: loading.tensor(part, "model.norm.weight")?,
            lm_head: untied.then(|| loading.tensor(part, "lm_head.weight")).transpose()?,
            rope: RopeTables::new(device, &llm, length)?,
            cache: KvCache::new(device, llm.num_hidden_layers, pages, heads)?,
            prompt_tables: device.tensor(&[RUNS_MAX, length.div_ceil(PAGE_TOKENS)], DType::U32)?,
            prompt_positions: device.tensor(&[rows], DType::U32)?,
            copied: device.activations(&[heads[0] * PAGE_TOKENS, heads[1]])?,
            decoding: Decoding::new(device, DECODE_ROWS_MAX, length)?,
            hidden: device.activations(&[rows, hidden])?,
            stepping: device.activations(&[DECODE_ROWS_MAX, hidden])?,
            ids: device.tensor(&[length], DType::U32)?,
            normed: device.activations(&[rows, hidden])?,
            qkv: device.activations(&[rows, fused])?,
            q: device.activations(&[rows, queries])?,
            mixed: device.activations(&[rows, queries])?,
            ffn: device.activations(&[rows, llm.intermediate_size])?,
            logits: device.tensor(&[DECODE_ROWS_MAX, llm.vocab_size], DType::F32)?,
            candidates: device.tensor(&[DECODE_ROWS_MAX, rms_linear_argmax::candidates(llm.vocab_size)], DType::U32)?,
            judged: Judged::new(device)?,
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

    /// Rows that a pass over prompts takes.
    pub fn prompt_rows(&self) -> usize {
        self.hidden.dims().as_slice()[0]
    }

    /// Shows a plan the widest step of decoding, whose attention needs the most room.
    pub fn rehearse(&mut self, device: &dyn Device) -> Result<()> {
        let kind = Kind { rows: DECODE_ROWS_MAX, head: Head::Ranked, long: false };
        Ok(self.attention(device, 0, kind)?)
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
        self.write_ids(device, ids)?;
        device.embed_tokens(EmbedTokens {
            table: self.embeddings.view(),
            ids: self.ids.view().rows(0..ids.len()),
            out: self.hidden.view_mut().rows(at..at + ids.len()),
        })?;
        Ok(())
    }

    /// Embeds the `ids` of a text that no prompt holds; `[ids, hidden]`, until the next layer runs.
    pub fn embed_apart(&mut self, device: &dyn Device, ids: &[u32]) -> Result<View<'_>> {
        self.write_ids(device, ids)?;
        device.embed_tokens(EmbedTokens {
            table: self.embeddings.view(),
            ids: self.ids.view().rows(0..ids.len()),
            out: self.normed.view_mut().rows(0..ids.len()),
        })?;
        Ok(self.normed.view().rows(0..ids.len()))
    }

    fn write_ids(&mut self, device: &dyn Device, ids: &[u32]) -> Result<()> {
        let mut padded = vec![0; self.ids.dims().count()];
        padded[..ids.len()].copy_from_slice(ids);
        Ok(device.write(&mut self.ids, &padded)?)
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

    /// Logits of the first `count` rows of `stepping`, into as many rows of `logits`.
    fn logits_of(&mut self, device: &dyn Device, count: usize) -> med2e3_kernels::Result<()> {
        device.rms_linear(RmsLinear {
            x: self.stepping.view().rows(0..count),
            norm: self.norm.view(),
            eps: self.config.rms_norm_eps,
            weight: self.lm_head.as_ref().unwrap_or(&self.embeddings).view(),
            epilogue: Epilogue::None,
            out: self.logits.view_mut().rows(0..count),
        })
    }

    /// Appends a token to each of up to [`DECODE_ROWS_MAX`] sequences, of which all read the same rotary table, and
    /// chooses the next ones as `head` and, but for [`Head::Greedy`], each row's choice say. Nothing in it comes from
    /// the host but what [`Decoding`] wrote before, so a device that records ops replays the step from its second time
    /// on.
    pub fn step(
        &mut self,
        device: &dyn Device,
        rows: &[Row<'_>],
        choices: &[Choice],
        long: bool,
        head: Head,
    ) -> Result<Picks> {
        self.decoding.place(device, rows)?;
        if head != Head::Greedy {
            self.decoding.place_choices(device, choices)?;
        }
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
        self.decoding.advance();
        self.decoding.forget_tokens();
        self.decoding.picks(device, rows.len(), head)
    }

    /// Chooses tokens from the first rows of `logits`, which a pass over prompts left there.
    pub fn choose_first(&mut self, device: &dyn Device, choices: &[Choice], head: Head) -> Result<Picks> {
        self.decoding.place_choices(device, choices)?;
        self.decoding.forget_tokens();
        self.choose(device, choices.len(), head)?;
        self.decoding.picks(device, choices.len(), head)
    }

    /// The log-probability of each of `ids` by a row of `logits`; NaN where the row is not finite.
    pub fn judge(&mut self, device: &dyn Device, row: usize, ids: &[u32]) -> Result<Vec<f32>> {
        let mut log_probs = Vec::with_capacity(ids.len());
        for ids in ids.chunks(JUDGED) {
            let mut padded = [0; JUDGED];
            padded[..ids.len()].copy_from_slice(ids);
            device.write(&mut self.judged.ids, &padded)?;
            device.log_probs(LogProbs {
                logits: self.logits.view().rows(row..row + 1),
                ids: self.judged.ids.view(),
                top: self.judged.top.view_mut(),
                out: self.judged.log_probs.view_mut(),
            })?;
            log_probs.extend(&device.read(self.judged.log_probs.view())?[..ids.len()]);
        }
        Ok(log_probs)
    }

    /// Chooses tokens from the first `count` rows of `logits`.
    fn choose(&mut self, device: &dyn Device, count: usize, head: Head) -> med2e3_kernels::Result<()> {
        let rows = 0..count;
        let logits = self.logits.view().rows(rows.clone());
        let decoding = &mut self.decoding;
        device.sample(Sample {
            logits,
            choices: decoding.choices.view().rows(rows.clone()),
            out: decoding.tokens.view_mut().rows(rows.clone()),
        })?;
        if head != Head::Ranked {
            return Ok(());
        }
        device.log_probs(LogProbs {
            logits,
            ids: decoding.tokens.view().rows(rows.clone()).reshape(&[count, 1]),
            top: decoding.top.view_mut().rows(rows.clone()),
            out: decoding.log_probs.view_mut().rows(rows),
        })
    }

    /// The ops of a step.
    fn enqueue(&mut self, device: &dyn Device, kind: Kind) -> med2e3_kernels::Result<()> {
        let count = kind.rows;
        device.embed_tokens(EmbedTokens {
            table: self.embeddings.view(),
            ids: self.decoding.tokens.view().rows(0..count),
            out: self.stepping.view_mut().rows(0..count),
        })?;
        for index in 0..self.layers.len() {
            self.project(device, index, kind)?;
            self.attention(device, index, kind)?;
            self.mlp(device, index, Stream::Step, count)?;
        }
        match kind.head {
            Head::Chosen | Head::Ranked => {
                self.logits_of(device, count)?;
                self.choose(device, count, kind.head)?;
            }
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

    /// Queries of a step's rows into `q`, keys and values into the cache.
    fn project(&mut self, device: &dyn Device, index: usize, kind: Kind) -> med2e3_kernels::Result<()> {
        let rows = 0..kind.rows;
        let layer = &self.layers[index];
        let cache = &mut self.cache.layers[index];
        let [cos, sin] = self.rope.angles(kind.long);
        device.rms_qkv_rope_append(RmsQkvRopeAppend {
            x: self.stepping.view().rows(rows.clone()),
            norm: layer.input_norm.view(),
            eps: self.config.rms_norm_eps,
            weight: layer.qkv.view(),
            cos,
            sin,
            positions: self.decoding.positions.view().rows(rows.clone()),
            block_table: self.decoding.block_tables.view().rows(rows.clone()),
            heads: self.config.num_attention_heads,
            kv_heads: self.config.num_key_value_heads,
            q: self.q.view_mut().rows(rows),
            k_pages: cache.k_pages.view_mut(),
            v_pages: cache.v_pages.view_mut(),
        })
    }

    /// Attention of a step's rows, added to the residual stream.
    fn attention(&mut self, device: &dyn Device, index: usize, kind: Kind) -> med2e3_kernels::Result<()> {
        let rows = 0..kind.rows;
        let cache = &self.cache.layers[index];
        device.attention_paged(AttentionPaged {
            q: self.q.view().rows(rows.clone()),
            k_pages: cache.k_pages.view(),
            v_pages: cache.v_pages.view(),
            block_table: self.decoding.block_tables.view().rows(rows.clone()),
            runs: &SINGLE_ROWS[rows.clone()],
            positions: self.decoding.positions.view().rows(rows.clone()),
            heads: self.config.num_attention_heads,
            kv_heads: self.config.num_key_value_heads,
            scale: 1.0 / (self.config.head_dim as f32).sqrt(),
            out: self.mixed.view_mut().rows(rows),
        })?;
        self.project_out(device, index, Stream::Step, kind.rows)
    }

    /// Adds what attention left in `mixed` to the residual stream.
    fn project_out(
        &mut self,
        device: &dyn Device,
        index: usize,
        stream: Stream,
        count: usize,
    ) -> med2e3_kernels::Result<()> {
        let hidden = if stream == Stream::Prompts { &mut self.hidden } else { &mut self.stepping };
        device.linear(plain(&self.layers[index].out, &self.mixed, hidden, Epilogue::Residual, count))
    }

    /// The second half of a layer for the first `count` rows of a residual stream, added to it.
    fn mlp(&mut self, device: &dyn Device, index: usize, stream: Stream, count: usize) -> med2e3_kernels::Result<()> {
        let layer = &self.layers[index];
        let eps = self.config.rms_norm_eps;
        let hidden = if stream == Stream::Prompts { &mut self.hidden } else { &mut self.stepping };
        let x = hidden.view().rows(0..count);
        let norm = layer.post_attention_norm.view();
        if count <= DECODE_ROWS_MAX {
            let weight = layer.gate_up.view();
            let out = self.ffn.view_mut().rows(0..count);
            device.rms_linear(RmsLinear { x, norm, eps, weight, epilogue: Epilogue::SwiGlu, out })?;
        } else {
            device.rms_norm(RmsNorm { x, weight: norm, eps, out: self.normed.view_mut().rows(0..count) })?;
            device.linear(plain(&layer.gate_up, &self.normed, &mut self.ffn, Epilogue::SwiGlu, count))?;
        }
        device.linear(plain(&layer.down, &self.ffn, hidden, Epilogue::Residual, count))
    }
}

/// A linear op without bias over the first `count` rows of input and output.
fn plain<'a>(weight: &'a Tensor, x: &'a Tensor, out: &'a mut Tensor, epilogue: Epilogue, count: usize) -> Linear<'a> {
    let x = x.view().rows(0..count);
    let out = out.view_mut().rows(0..count);
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
