//! Prompts through the decoder: several as one set of rows, so that the weights are read once for all of them.
//!
//! Rows meet in the products alone. Attention takes runs of rows, one for each prompt, or two where it is cut behind
//! what questions share, so that no row's bits depend on the other rows of a pass.
use super::{Llm, Stream, plain};
use crate::Result;
use crate::decoding::{Head, Kind, Row};
use crate::trace::Recorder;
use med2e3_kernels::ops::{AttentionPaged, Copy, Epilogue, QkvRopeAppend, RmsNorm, RmsQkvRopeAppend};
use med2e3_kernels::{DECODE_ROWS_MAX, Device};
use std::ops::Range;

/// Rows of a prompt that go through the model, all at once.
#[derive(Clone, Copy)]
pub(crate) struct PromptRows<'a> {
    /// The position of the first row.
    pub first: usize,
    /// The position of the first row that is the question's own, where others are before it; else `first`.
    pub cut: usize,
    /// One past the last row's position.
    pub end: usize,
    /// What tells the sequence from all others of the process.
    pub sequence: u64,
    /// Physical page of each logical page.
    pub pages: &'a [u32],
}

impl PromptRows<'_> {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.end - self.first
    }

    /// The rows before the cut and behind it, but for none.
    fn parts(&self) -> impl Iterator<Item = usize> + use<> {
        [self.cut - self.first, self.end - self.cut].into_iter().filter(|&rows| rows > 0)
    }
}

/// Prompts whose rows lie in `hidden` one behind the other. More than one only if each has more than
/// [`DECODE_ROWS_MAX`] rows before its cut, or none, and as many behind it: fewer rows take another path.
#[derive(Clone, Copy)]
pub(crate) struct Prompts<'a> {
    /// At least one, at most [`DECODE_ROWS_MAX`].
    pub rows: &'a [PromptRows<'a>],
    /// Whether their keys are rotated by the long factors.
    pub long: bool,
    /// Whether the last row of each is its prompt's last, behind which the answer begins.
    pub are_ends: bool,
}

impl<'a> Prompts<'a> {
    /// All rows.
    fn count(&self) -> usize {
        self.rows.iter().map(PromptRows::len).sum()
    }

    /// Each prompt's rows in `hidden`.
    fn places(&self) -> impl Iterator<Item = Range<usize>> + use<'a> {
        self.rows.iter().scan(0, |at, rows| {
            let place = *at..*at + rows.len();
            *at = place.end;
            Some(place)
        })
    }
}

/// Who hears how many layers are done.
pub(crate) type OnLayer<'a> = &'a mut dyn FnMut(u64);

impl Llm {
    /// Runs layers over prompts, in place in `hidden`: appends the rows' keys and values to their sequences and, after
    /// the last layer of prompts' ends, leaves the last row's logits of each in the first rows of `logits`. The layers
    /// of a pass run in order; only steps may run between them. `on_layer` gets the number of layers done.
    pub fn prefill(
        &mut self,
        prompts: Prompts<'_>,
        layers: Range<usize>,
        recorder: &mut Recorder<'_>,
        on_layer: OnLayer<'_>,
    ) -> Result<()> {
        let device = recorder.device;
        self.write_tables(device, prompts)?;
        for index in layers {
            self.project_prompts(device, index, prompts)?;
            match (index + 1 == self.layers.len(), prompts.are_ends) {
                (false, _) => {
                    self.attend_prompts(device, index, prompts)?;
                    self.mlp(device, index, Stream::Prompts, prompts.count())?;
                    if index == 0 {
                        recorder.record("llm_layer_0", self.hidden.view().rows(0..prompts.count()))?;
                    }
                }
                (true, true) => self.end_prompts(index, prompts, recorder)?,
                // Nothing but the keys and values of these rows is ever read.
                (true, false) => {}
            }
            on_layer(index as u64 + 1);
        }
        Ok(())
    }

    /// Moves rows of prompts to the place of others that are no longer wanted, before or between layers.
    pub fn move_rows(&mut self, device: &dyn Device, from: Range<usize>, to: usize) -> Result<()> {
        let count = from.len();
        let moved = 0..count;
        device.copy(Copy { x: self.hidden.view().rows(from), out: self.normed.view_mut().rows(moved.clone()) })?;
        let out = self.hidden.view_mut().rows(to..to + count);
        Ok(device.copy(Copy { x: self.normed.view().rows(moved), out })?)
    }

    /// Tells the device where the rows of prompts go.
    fn write_tables(&mut self, device: &dyn Device, prompts: Prompts<'_>) -> Result<()> {
        let width = self.prompt_tables.dims().as_slice()[1];
        let mut tables = vec![0u32; self.prompt_tables.dims().count()];
        let runs = prompts.rows.iter().flat_map(|rows| rows.parts().map(|_| rows.pages));
        for (table, pages) in tables.chunks_exact_mut(width).zip(runs) {
            table[..pages.len()].copy_from_slice(pages);
        }
        device.write(&mut self.prompt_tables, &tables)?;
        let mut positions: Vec<u32> = Vec::with_capacity(self.prompt_rows());
        positions.extend(prompts.rows.iter().flat_map(|rows| rows.first as u32..rows.end as u32));
        positions.resize(self.prompt_rows(), 0);
        Ok(device.write(&mut self.prompt_positions, &positions)?)
    }

    /// Queries into `q`, keys and values into the cache.
    fn project_prompts(
        &mut self,
        device: &dyn Device,
        index: usize,
        prompts: Prompts<'_>,
    ) -> med2e3_kernels::Result<()> {
        let count = prompts.count();
        let layer = &self.layers[index];
        let config = &self.config;
        let heads = config.num_attention_heads;
        let kv_heads = config.num_key_value_heads;
        let eps = config.rms_norm_eps;
        let [cos, sin] = self.rope.angles(prompts.long);
        let width = self.prompt_tables.dims().as_slice()[1];
        let x = self.hidden.view().rows(0..count);
        let norm = layer.input_norm.view();
        if count > DECODE_ROWS_MAX {
            device.rms_norm(RmsNorm { x, weight: norm, eps, out: self.normed.view_mut().rows(0..count) })?;
            device.linear(plain(&layer.qkv, &self.normed, &mut self.qkv, Epilogue::None, count))?;
        }
        let mut run = 0;
        for (rows, place) in prompts.rows.iter().zip(prompts.places()) {
            let cache = &mut self.cache.layers[index];
            let positions = self.prompt_positions.view().rows(place.clone());
            let block_table = self.prompt_tables.view().rows(run..run + 1).reshape(&[width]);
            run += rows.parts().count();
            let k_pages = cache.k_pages.view_mut();
            let v_pages = cache.v_pages.view_mut();
            let q = self.q.view_mut().rows(place.clone());
            if count > DECODE_ROWS_MAX {
                device.qkv_rope_append(QkvRopeAppend {
                    qkv: self.qkv.view().rows(place),
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
            } else {
                device.rms_qkv_rope_append(RmsQkvRopeAppend {
                    x,
                    norm,
                    eps,
                    weight: layer.qkv.view(),
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
            }
        }
        Ok(())
    }

    /// Attention of all rows, added to the residual stream.
    fn attend_prompts(
        &mut self,
        device: &dyn Device,
        index: usize,
        prompts: Prompts<'_>,
    ) -> med2e3_kernels::Result<()> {
        let count = prompts.count();
        let cache = &self.cache.layers[index];
        let tables = self.prompt_tables.view();
        let runs: Vec<usize> = prompts.rows.iter().flat_map(PromptRows::parts).collect();
        // Few rows are those of one sequence.
        let (block_table, runs) = match runs.len() {
            1 => (tables.rows(0..1).reshape(&[tables.dims().as_slice()[1]]), &[][..]),
            several => (tables.rows(0..several), &runs[..]),
        };
        device.attention_paged(AttentionPaged {
            q: self.q.view().rows(0..count),
            k_pages: cache.k_pages.view(),
            v_pages: cache.v_pages.view(),
            block_table,
            runs,
            positions: self.prompt_positions.view().rows(0..count),
            heads: self.config.num_attention_heads,
            kv_heads: self.config.num_key_value_heads,
            scale: 1.0 / (self.config.head_dim as f32).sqrt(),
            out: self.mixed.view_mut().rows(0..count),
        })?;
        self.project_out(device, index, Stream::Prompts, count)
    }

    /// The last layer and the head, for the last row of each prompt: it goes on as a row of a step, since its logits
    /// are all that is needed.
    fn end_prompts(&mut self, index: usize, prompts: Prompts<'_>, recorder: &mut Recorder<'_>) -> Result<()> {
        let device = recorder.device;
        let count = prompts.rows.len();
        let row = |rows: &PromptRows<'_>| rows.end - 1;
        let rows = prompts.rows.iter();
        let rows = rows.map(|rows| Row { sequence: rows.sequence, position: row(rows), pages: rows.pages, id: 0 });
        self.decoding.place(device, &rows.collect::<Vec<_>>())?;
        for (prompt, place) in prompts.places().enumerate() {
            let last = place.end - 1..place.end;
            let to = prompt..prompt + 1;
            let x = self.hidden.view().rows(last.clone());
            device.copy(Copy { x, out: self.stepping.view_mut().rows(to.clone()) })?;
            device.copy(Copy { x: self.q.view().rows(last), out: self.mixed.view_mut().rows(to) })?;
        }
        device.copy(Copy { x: self.mixed.view().rows(0..count), out: self.q.view_mut().rows(0..count) })?;
        self.attention(device, index, Kind { rows: count, head: Head::Chosen, long: prompts.long })?;
        self.mlp(device, index, Stream::Step, count)?;
        if index == 0 {
            recorder.record("llm_layer_0", self.stepping.view().rows(0..count))?;
        }
        if recorder.trace.is_some() {
            // The fused op below keeps the normed row to itself.
            let x = self.stepping.view().rows(0..count);
            let weight = self.norm.view();
            let eps = self.config.rms_norm_eps;
            device.rms_norm(RmsNorm { x, weight, eps, out: self.normed.view_mut().rows(0..count) })?;
            recorder.record("llm_norm", self.normed.view().rows(0..count))?;
        }
        Ok(self.logits_of(device, count)?)
    }
}
