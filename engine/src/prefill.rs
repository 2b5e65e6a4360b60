//! A prompt through the model: the rows that all questions about a volume share, then those of the question.
use crate::facts::Checked;
use crate::finite::check_scores;
use crate::kv::{PrefixKey, Sequence};
use crate::llm::PromptRows;
use crate::model::Model;
use crate::running::Running;
use crate::tgis::{Aggregation, GuideWeights};
use crate::trace::{Recorder, Trace};
use crate::{Event, Progress, ProgressStage, Result};
use med2e3_kernels::ops::{AvgPool, Copy};
use std::time::Duration;

/// What of a prompt runs at once: layers of one part, from `layer` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PromptUnit {
    part: PromptPart,
    layer: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PromptPart {
    /// The rows that all questions about the volume share.
    Prefix,
    /// The rest, behind a prefix that was computed for this question, or that an earlier one had left.
    Suffix { cached: bool },
}

impl PromptUnit {
    /// Whether the prefix was in the cache.
    pub fn is_cached(self) -> bool {
        self.part == PromptPart::Suffix { cached: true }
    }
}

/// The rows of a prompt that questions about a volume share: the ids before the image and the 3D tokens.
struct Shared {
    key: PrefixKey,
    rows: usize,
}

impl Model {
    fn shared(&self, running: &Running) -> Shared {
        let Checked { prompt, rows, long, .. } = &running.question.checked;
        let before = prompt.before.clone();
        let key = PrefixKey { volume: running.question.place.id, before, long: *long };
        // The last row of a prompt is always the question's: its logits choose the first token.
        Shared { rows: (prompt.before.len() + self.facts.config.rows_3d()).min(rows - 1), key }
    }

    /// What of a prompt runs first. A trace shows every row, so those of the prefix are computed for it.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if a page cannot be copied.
    pub fn begin_prompt(&mut self, running: &mut Running) -> Result<PromptUnit> {
        let Shared { key, .. } = self.shared(running);
        let cached = !running.question.request.trace && self.pages.has_prefix(&key);
        if cached {
            self.fork_prefix(running, &key)?;
        } else {
            running.trace = running.question.request.trace.then(Trace::default);
        }
        let part = if cached { PromptPart::Suffix { cached } } else { PromptPart::Prefix };
        Ok(PromptUnit { part, layer: 0 })
    }

    /// Runs a unit of a prompt; gives the next one. After the last, the first row of the LLM's logits is the one that
    /// the first token is chosen from.
    pub fn prefill(&mut self, running: &mut Running, unit: PromptUnit) -> Result<Option<PromptUnit>> {
        let shared = self.shared(running);
        let mut trace = running.trace.take();
        let device = self.device.clone();
        let recorder = &mut Recorder { device: &*device, trace: trace.as_mut() };
        let next = match unit.part {
            PromptPart::Prefix => self.prefix(running, shared, unit.layer, recorder)?,
            PromptPart::Suffix { cached } => self.suffix(running, shared.rows, unit, cached, recorder)?,
        };
        running.trace = trace;
        if next.is_none()
            && let Some(trace) = &mut running.trace
        {
            trace.sort();
        }
        Ok(next)
    }

    /// Runs layers over the shared rows, and keeps what they leave in the cache.
    fn prefix(
        &mut self,
        running: &mut Running,
        Shared { key, rows }: Shared,
        layer: usize,
        recorder: &mut Recorder<'_>,
    ) -> Result<Option<PromptUnit>> {
        let device = recorder.device;
        if layer == 0 {
            let features = &self.volumes[running.question.place.index];
            let before = &running.question.checked.prompt.before;
            recorder.record("volume", features.volume.view())?;
            recorder.record("z_3d", features.z_3d.view())?;
            self.llm.embed(device, before, 0)?;
            let z_3d = features.z_3d.view().rows(0..rows - before.len());
            device.copy(Copy { x: z_3d, out: self.llm.hidden.view_mut().rows(before.len()..rows) })?;
            recorder.record("z_i", self.llm.hidden.view().rows(before.len()..rows))?;
            recorder.record("prompt_embeddings", self.llm.hidden.view().rows(0..rows))?;
            assert!(self.pages.grow(&mut running.sequence, rows), "admitted questions fit the cache");
        }
        let end = self.end_of_unit(layer, rows, rows);
        let pages = running.sequence.pages();
        let prompt = PromptRows { first: 0, end: rows, long: key.long, pages, is_end: false };
        let mut on_layer = note_layers(running, self.llm.depth(), 0, 2);
        self.llm.prefill(prompt, layer..end, recorder, &mut on_layer)?;
        if end < self.llm.depth() {
            return Ok(Some(PromptUnit { part: PromptPart::Prefix, layer: end }));
        }
        running.sequence.append(rows);
        let prefix = std::mem::replace(&mut running.sequence, Sequence::new(key.long));
        self.pages.keep(key.clone(), prefix);
        self.fork_prefix(running, &key)?;
        Ok(Some(PromptUnit { part: PromptPart::Suffix { cached: false }, layer: 0 }))
    }

    /// One past the last layer of the unit that begins with `layer`, over rows of which the last stands at `end`.
    fn end_of_unit(&self, layer: usize, rows: usize, end: usize) -> usize {
        self.llm.depth().min(layer + self.units.layers(self.llm.layer_flops(rows, end)))
    }

    /// Another sequence behind all tokens of one. The scheduler begins none that there is no page for.
    pub fn fork(&mut self, sequence: &Sequence) -> Result<Sequence> {
        let (llm, device) = (&mut self.llm, &*self.device);
        let fork = self.pages.fork_of(sequence, |from, to| llm.copy_page(device, from, to));
        fork.expect("admitted options fit the cache")
    }

    /// Lets a question go on behind a kept prefix.
    fn fork_prefix(&mut self, running: &mut Running, key: &PrefixKey) -> Result<()> {
        let (llm, device) = (&mut self.llm, &*self.device);
        let fork = self.pages.fork(key, |from, to| llm.copy_page(device, from, to));
        running.sequence = fork.expect("nothing ran since it was found")?;
        Ok(())
    }

    /// Runs layers over the rows that are the question's own.
    fn suffix(
        &mut self,
        running: &mut Running,
        first: usize,
        unit: PromptUnit,
        cached: bool,
        recorder: &mut Recorder<'_>,
    ) -> Result<Option<PromptUnit>> {
        let PromptUnit { part, layer } = unit;
        let rows_end = running.question.checked.rows;
        if layer == 0 {
            let slice_scores = self.place_suffix(running, first, recorder)?;
            check_scores(slice_scores.as_deref())?;
            running.slice_scores = slice_scores.map(Into::into);
            running.note_guided();
            recorder.record("prompt_embeddings", self.llm.hidden.view().rows(first..rows_end))?;
            assert!(self.pages.grow(&mut running.sequence, rows_end), "admitted questions fit the cache");
        }
        let end = self.end_of_unit(layer, rows_end - first, rows_end);
        let (long, pages) = (running.sequence.long(), running.sequence.pages());
        let prompt = PromptRows { first, end: rows_end, long, pages, is_end: true };
        let (done, parts) = if cached { (0, 1) } else { (1, 2) };
        let mut on_layer = note_layers(running, self.llm.depth(), done, parts);
        self.llm.prefill(prompt, layer..end, recorder, &mut on_layer)?;
        if end < self.llm.depth() {
            return Ok(Some(PromptUnit { part, layer: end }));
        }
        running.sequence.append(rows_end - first);
        recorder.record("prompt_logits", self.llm.logits.view().rows(0..1))?;
        running.question.stream.push(Event::Begun {
            slice_scores: running.slice_scores.clone(),
            prompt_tokens: rows_end,
            cached_tokens: if cached { first } else { 0 },
            queued: Duration::from_secs_f64(running.timings.queued_ms / 1e3),
        });
        Ok(None)
    }

    /// Embeds the prompt's rows from `first` on and gives the slice scores.
    fn place_suffix(
        &mut self,
        running: &Running,
        first: usize,
        recorder: &mut Recorder<'_>,
    ) -> Result<Option<Vec<f32>>> {
        let device = recorder.device;
        let Checked { prompt, guide, rows, .. } = &running.question.checked;
        self.guide(guide, recorder)?;
        let features = &self.volumes[running.question.place.index];
        let (before, rows_3d) = (prompt.before.len(), features.z_3d.dims().as_slice()[0]);
        let middle = before + rows_3d;
        if first < middle {
            let z_3d = features.z_3d.view().rows(first - before..rows_3d);
            device.copy(Copy { x: z_3d, out: self.llm.hidden.view_mut().rows(first..middle) })?;
        }
        let after = rows - prompt.after.len();
        let mut slice_scores = None;
        if let (Some(aggregation), Some(z_2d_slices)) = (&mut self.aggregation, &features.z_2d_slices) {
            recorder.record("z_2d_slices", z_2d_slices.view())?;
            let out = self.llm.hidden.view_mut().rows(middle..after);
            let keys = features.keys.as_ref().map(|keys| keys.view());
            slice_scores = aggregation.combine(device, z_2d_slices.view(), keys, out, recorder)?;
            recorder.record("z_2d", self.llm.hidden.view().rows(middle..after))?;
        }
        if first < after {
            recorder.record("z_i", self.llm.hidden.view().rows(first..after))?;
        }
        self.llm.embed(device, &prompt.after, after)?;
        Ok(slice_scores)
    }

    /// Prepares the vector that guides TG-IS from the ids of a text, where one does.
    fn guide(&mut self, ids: &[u32], recorder: &mut Recorder<'_>) -> Result<()> {
        let Some(Aggregation::Scored(scorer)) = &mut self.aggregation else { return Ok(()) };
        let device = recorder.device;
        match &mut scorer.guide {
            GuideWeights::Linear { .. } => Ok(()),
            guide @ GuideWeights::BertPooler { .. } => {
                let encoder = self.text_encoder.as_mut().expect("a model guided by BERT is loaded with it");
                let pooled = encoder.pool(device, ids)?;
                recorder.record("bert_pooler", pooled)?;
                guide.project(device, pooled)
            }
            GuideWeights::LlmMean { z_t } => {
                self.llm.embed(device, ids, 0)?;
                let x = self.llm.hidden.view().rows(0..ids.len());
                let grid = [ids.len(), 1, 1];
                Ok(device.avg_pool(AvgPool { x, grid, window: grid, out: z_t.view_mut() })?)
            }
        }
    }
}

/// Tells the reader how many layers of a prompt are done, of which a part of `parts` equal ones runs.
fn note_layers(running: &Running, layers: usize, part: usize, parts: usize) -> impl FnMut(u64) + use<> {
    let stream = running.question.stream.clone();
    let (before, total) = ((part * layers) as u64, (parts * layers) as u64);
    move |done| stream.push(Event::Progress(Progress { stage: ProgressStage::Prefill, done: before + done, total }))
}
