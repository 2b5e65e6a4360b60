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

/// What of a prompt runs at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PromptUnit {
    /// The rows that all questions about the volume share.
    Prefix,
    /// The rest, behind a prefix that was computed for this question, or that an earlier one had left.
    Suffix { cached: bool },
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
    pub fn first_unit(&self, running: &Running) -> PromptUnit {
        let known = !running.question.request.trace && self.pages.has_prefix(&self.shared(running).key);
        if known { PromptUnit::Suffix { cached: true } } else { PromptUnit::Prefix }
    }

    /// Runs a unit of a prompt; gives the next one. After the last, the first row of the LLM's logits is the one that the
    /// first token is chosen from.
    pub fn prefill(&mut self, running: &mut Running, unit: PromptUnit) -> Result<Option<PromptUnit>> {
        let shared = self.shared(running);
        match unit {
            PromptUnit::Prefix => {
                running.trace = running.question.request.trace.then(Trace::default);
                self.prefix(running, shared)?;
                Ok(Some(PromptUnit::Suffix { cached: false }))
            }
            PromptUnit::Suffix { cached } => {
                if cached {
                    self.fork_prefix(running, &shared.key)?;
                }
                self.suffix(running, shared, cached)?;
                Ok(None)
            }
        }
    }

    /// Runs the shared rows and keeps what they leave in the cache.
    fn prefix(&mut self, running: &mut Running, Shared { key, rows }: Shared) -> Result<()> {
        let device = self.device.clone();
        let mut trace = running.trace.take();
        let recorder = &mut Recorder { device: &*device, trace: trace.as_mut() };
        let features = &self.volumes[running.question.place.index];
        let before = &running.question.checked.prompt.before;
        recorder.record("volume", features.volume.view())?;
        recorder.record("z_3d", features.z_3d.view())?;
        self.llm.embed(&*device, before, 0)?;
        let z_3d = features.z_3d.view().rows(0..rows - before.len());
        device.copy(Copy { x: z_3d, out: self.llm.hidden.view_mut().rows(before.len()..rows) })?;
        recorder.record("z_i", self.llm.hidden.view().rows(before.len()..rows))?;
        recorder.record("prompt_embeddings", self.llm.hidden.view().rows(0..rows))?;
        let mut sequence = Sequence::new(key.long);
        assert!(self.pages.grow(&mut sequence, rows), "admitted questions fit the cache");
        let prompt = PromptRows { first: 0, end: rows, long: key.long, pages: sequence.pages() };
        let mut on_layer = note_layers(running, self.facts.config.llm.num_hidden_layers, 0, 2);
        self.llm.prefill_prefix(prompt, recorder, &mut on_layer)?;
        sequence.append(rows);
        running.trace = trace;
        self.pages.keep(key.clone(), sequence);
        self.fork_prefix(running, &key)
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

    /// Runs the rows that are the question's own.
    fn suffix(&mut self, running: &mut Running, Shared { key, rows: first }: Shared, cached: bool) -> Result<()> {
        let device = self.device.clone();
        let mut trace = running.trace.take();
        let recorder = &mut Recorder { device: &*device, trace: trace.as_mut() };
        let slice_scores = self.place_suffix(running, first, recorder)?;
        check_scores(slice_scores.as_deref())?;
        running.note_guided();
        let end = running.question.checked.rows;
        recorder.record("prompt_embeddings", self.llm.hidden.view().rows(first..end))?;
        assert!(self.pages.grow(&mut running.sequence, end), "admitted questions fit the cache");
        let prompt = PromptRows { first, end, long: key.long, pages: running.sequence.pages() };
        let (part, parts) = if cached { (0, 1) } else { (1, 2) };
        let mut on_layer = note_layers(running, self.facts.config.llm.num_hidden_layers, part, parts);
        self.llm.prefill(prompt, recorder, &mut on_layer)?;
        running.sequence.append(end - first);
        recorder.record("prompt_logits", self.llm.logits.view().rows(0..1))?;
        if let Some(trace) = &mut trace {
            trace.sort();
        }
        running.trace = trace;
        let queued = Duration::from_secs_f64(running.timings.queued_ms / 1e3);
        let cached_tokens = if cached { first } else { 0 };
        running.question.stream.push(Event::Begun {
            slice_scores: slice_scores.map(Into::into),
            prompt_tokens: end,
            cached_tokens,
            queued,
        });
        Ok(())
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
