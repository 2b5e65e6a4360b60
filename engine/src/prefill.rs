//! Prompts through the model: several go together, each with the rows that all questions about its volume share, unless
//! an earlier question left them in the cache, and with its own.
use crate::facts::Checked;
use crate::finite::check_scores;
use crate::kv::{PrefixKey, Sequence};
use crate::llm::{PromptRows, Prompts};
use crate::model::Model;
use crate::running::{Question, Running};
use crate::tgis::{Aggregation, GuideWeights};
use crate::trace::{Recorder, Trace};
use crate::{Event, Progress, ProgressStage, Result};
use med2e3_kernels::DECODE_ROWS_MAX;
use med2e3_kernels::ops::{AvgPool, Copy};
use std::ops::Range;
use std::time::Duration;

/// Prompts that go through the model together, a few layers at a time.
#[derive(Default)]
pub(crate) struct Pass {
    /// In the order of their rows.
    pub prompts: Vec<Prompt>,
    /// Whether their embeddings are in place, so that no other prompt can join.
    is_placed: bool,
    /// The next layer.
    layer: usize,
}

/// A prompt of a pass.
pub(crate) struct Prompt {
    pub running: Running,
    cut: Cut,
    /// The positions that go through in this pass.
    rows: Range<usize>,
    /// The first one's row among all rows of the pass.
    at: usize,
}

/// Where a prompt is cut: the rows that questions about a volume share, and the question's own.
#[derive(Clone)]
struct Cut {
    key: PrefixKey,
    /// The first row of the question's own.
    shared: usize,
    /// One past the last row.
    end: usize,
    /// Whether the cache holds the shared rows.
    cached: bool,
}

impl Cut {
    /// The positions that are not in the cache.
    fn missing(&self) -> Range<usize> {
        if self.cached { self.shared..self.end } else { 0..self.end }
    }

    /// Whether all of the prompt takes the path of many rows, as other prompts do. The parts of one that does not run
    /// one after the other, and alone.
    fn joins_others(&self) -> bool {
        let few = |rows: usize| rows <= DECODE_ROWS_MAX;
        !few(self.end - self.shared) && (self.cached || !few(self.shared))
    }

    /// What runs first of the missing rows.
    fn first_rows(&self) -> Range<usize> {
        if self.cached || self.joins_others() { self.missing() } else { 0..self.shared }
    }
}

impl Prompt {
    /// Pages that the question may still take besides those of its options.
    pub fn lacks(&self) -> usize {
        self.running.sequence.lacks(self.running.tokens_max())
    }

    fn rows(&self) -> PromptRows<'_> {
        let Range { start: first, end } = self.rows;
        let cut = if self.rows.contains(&self.cut.shared) { self.cut.shared } else { first };
        PromptRows { first, cut, end, sequence: self.running.sequence.id(), pages: self.running.sequence.pages() }
    }

    /// Whether the pass takes it to its last row.
    fn ends(&self) -> bool {
        self.rows.end == self.cut.end
    }
}

impl Model {
    fn cut(&self, question: &Question) -> Cut {
        let Checked { prompt, rows, long, .. } = &question.checked;
        let before = prompt.before.clone();
        let key = PrefixKey { volume: question.place.id, before, long: *long };
        // A trace shows every row, so those that are shared are computed for it.
        let cached = !question.request.trace && self.pages.has_prefix(&key);
        // The last row of a prompt is always the question's: its logits choose the first token.
        let shared = (prompt.before.len() + self.facts.config.rows_3d()).min(rows - 1);
        Cut { key, shared, end: *rows, cached }
    }

    /// Whether a question's prompt can join a pass.
    pub fn can_join(&self, pass: &Pass, question: &Question) -> bool {
        let Some(first) = pass.prompts.first() else { return true };
        let cut = self.cut(question);
        let is_traced = question.request.trace || first.running.question.request.trace;
        if pass.is_placed || is_traced || !cut.joins_others() || !first.cut.joins_others() {
            return false;
        }
        // A question waits for the shared rows that another one is about to compute.
        let is_computed = pass.prompts.iter().any(|prompt| !prompt.cut.cached && prompt.cut.key == cut.key);
        let rows: usize = pass.prompts.iter().map(|prompt| prompt.rows.len()).sum();
        !is_computed
            && cut.key.long == first.cut.key.long
            && pass.prompts.len() < DECODE_ROWS_MAX
            && rows + cut.missing().len() <= self.llm.prompt_rows()
            && self.units.take(self.layer_flops(pass) + self.llm.layer_flops(cut.missing().len(), cut.end))
    }

    /// Adds a question's prompt to a pass that it [can join](Model::can_join); tells whether the shared rows were in
    /// the cache. `None` if a page could not be copied, which the question was told.
    pub fn join(&mut self, pass: &mut Pass, mut running: Running) -> Option<bool> {
        let cut = self.cut(&running.question);
        let cached = cut.cached;
        if cached && let Err(error) = self.fork_prefix(&mut running, &cut.key) {
            running.fail(error);
            return None;
        }
        if running.question.request.trace {
            running.trace = Some(Trace::default());
        }
        let rows = cut.first_rows();
        pass.prompts.push(Prompt { running, cut, rows, at: 0 });
        Some(cached)
    }

    /// Multiplications and additions of a layer over all rows of a pass.
    fn layer_flops(&self, pass: &Pass) -> usize {
        pass.prompts.iter().map(|prompt| self.llm.layer_flops(prompt.rows.len(), prompt.rows.end)).sum()
    }

    /// Puts the embeddings of a pass in place, unless they are. Gives the questions back that this fails for, with what
    /// was found to be the cause before the next one's guide took the place of theirs.
    pub fn place(&mut self, pass: &mut Pass) -> Vec<(Running, crate::Error)> {
        if std::mem::replace(&mut pass.is_placed, true) {
            return Vec::new();
        }
        let mut failed = Vec::new();
        let mut at = 0;
        for mut prompt in std::mem::take(&mut pass.prompts) {
            prompt.at = at;
            match self.place_prompt(&mut prompt) {
                Ok(()) => {
                    at += prompt.rows.len();
                    pass.prompts.push(prompt);
                }
                Err(error) => {
                    let place = prompt.running.question.place.index;
                    failed.push((prompt.running, self.located(error, place)));
                }
            }
        }
        failed
    }

    fn place_prompt(&mut self, prompt: &mut Prompt) -> Result<()> {
        let mut trace = prompt.running.trace.take();
        let device = self.device.clone();
        let recorder = &mut Recorder { device: &*device, trace: trace.as_mut() };
        if prompt.rows.start == 0 {
            self.place_shared(prompt, recorder)?;
        }
        if prompt.ends() {
            let slice_scores = self.place_own(prompt, recorder)?;
            check_scores(slice_scores.as_deref())?;
            prompt.running.slice_scores = slice_scores.map(Into::into);
            prompt.running.note_guided();
        }
        let rows = self.llm.hidden.view().rows(prompt.at..prompt.at + prompt.rows.len());
        recorder.record("prompt_embeddings", rows)?;
        prompt.running.trace = trace;
        let tokens = prompt.rows.end;
        assert!(self.pages.grow(&mut prompt.running.sequence, tokens), "admitted questions fit the cache");
        Ok(())
    }

    /// Runs a unit of a pass; tells whether it was the last one. After that, row i of the LLM's logits is the one that
    /// prompt i's first token is chosen from, where the pass took it to its end.
    pub fn prefill(&mut self, pass: &mut Pass) -> Result<bool> {
        let device = self.device.clone();
        self.close_gaps(pass)?;
        let end = self.llm.depth().min(pass.layer + self.units.layers(self.layer_flops(pass)));
        let mut trace = pass.prompts[0].running.trace.take();
        let rows: Vec<PromptRows<'_>> = pass.prompts.iter().map(Prompt::rows).collect();
        let first = &pass.prompts[0];
        let prompts = Prompts { rows: &rows, long: first.cut.key.long, are_ends: first.ends() };
        let mut notes: Vec<_> = pass.prompts.iter().map(|prompt| note_layers(prompt, self.llm.depth())).collect();
        let recorder = &mut Recorder { device: &*device, trace: trace.as_mut() };
        let on_layer = &mut |done| notes.iter_mut().for_each(|note| note(done));
        self.llm.prefill(prompts, pass.layer..end, recorder, on_layer)?;
        pass.prompts[0].running.trace = trace;
        pass.layer = end;
        Ok(end == self.llm.depth())
    }

    /// Closes the gaps that prompts have left which are no longer in the pass.
    fn close_gaps(&mut self, pass: &mut Pass) -> Result<()> {
        let device = self.device.clone();
        let mut at = 0;
        for prompt in &mut pass.prompts {
            let count = prompt.rows.len();
            if prompt.at != at {
                self.llm.move_rows(&*device, prompt.at..prompt.at + count, at)?;
                prompt.at = at;
            }
            at += count;
        }
        Ok(())
    }

    /// Ends a pass whose layers have all run: the shared rows of its prompts stay in the cache, and the prompts that it
    /// took to their ends come out in the order of their logits. The pass is left with what remains.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if a page cannot be copied.
    pub fn end_pass(&mut self, pass: &mut Pass) -> Result<Vec<Running>> {
        let mut ended = Vec::new();
        for mut prompt in std::mem::take(pass).prompts {
            let Prompt { running, cut, rows, .. } = &mut prompt;
            running.sequence.append(rows.len());
            if rows.start == 0 {
                let llm = &mut self.llm;
                let device = &*self.device;
                let copy = |from, to| llm.copy_page(device, from, to);
                self.pages.keep(cut.key.clone(), &running.sequence, cut.shared, copy)?;
            }
            if rows.end < cut.end {
                *rows = rows.end..cut.end;
                pass.prompts.push(prompt);
                continue;
            }
            let cached = cut.cached;
            let end = cut.end;
            let cached_tokens = if cached { cut.shared } else { 0 };
            let mut running = prompt.running;
            if let Some(trace) = &mut running.trace {
                let logits = self.llm.logits.view().rows(ended.len()..ended.len() + 1);
                Recorder { device: &*self.device, trace: Some(trace) }.record("prompt_logits", logits)?;
                trace.sort();
            }
            running.question.stream.push(Event::Begun {
                slice_scores: running.slice_scores.clone(),
                prompt_tokens: end,
                cached_tokens,
                queued: Duration::from_secs_f64(running.timings.queued_ms / 1e3),
            });
            ended.push(running);
        }
        Ok(ended)
    }

    /// Another sequence behind all tokens of one. The scheduler begins none that there is no page for.
    pub fn fork(&mut self, sequence: &Sequence) -> Result<Sequence> {
        let llm = &mut self.llm;
        let device = &*self.device;
        let fork = self.pages.fork_of(sequence, |from, to| llm.copy_page(device, from, to));
        fork.expect("admitted options fit the cache")
    }

    /// Lets a question go on behind a kept prefix.
    fn fork_prefix(&mut self, running: &mut Running, key: &PrefixKey) -> Result<()> {
        let llm = &mut self.llm;
        let device = &*self.device;
        let fork = self.pages.fork(key, |from, to| llm.copy_page(device, from, to));
        running.sequence = fork.expect("nothing ran since it was found")?;
        Ok(())
    }

    /// Embeds the rows that questions about the volume share.
    fn place_shared(&mut self, prompt: &Prompt, recorder: &mut Recorder<'_>) -> Result<()> {
        let device = recorder.device;
        let features = &self.volumes[prompt.running.question.place.index];
        let before = &prompt.running.question.checked.prompt.before;
        recorder.record("volume", features.volume.view())?;
        recorder.record("z_3d", features.z_3d.view())?;
        self.llm.embed(device, before, prompt.at)?;
        let image = prompt.at + before.len()..prompt.at + prompt.cut.shared;
        let z_3d = features.z_3d.view().rows(0..image.len());
        device.copy(Copy { x: z_3d, out: self.llm.hidden.view_mut().rows(image.clone()) })?;
        recorder.record("z_i", self.llm.hidden.view().rows(image))
    }

    /// Embeds the question's own rows and gives the slice scores.
    fn place_own(&mut self, prompt: &Prompt, recorder: &mut Recorder<'_>) -> Result<Option<Vec<f32>>> {
        let device = recorder.device;
        let Checked { prompt: ids, guide, rows, .. } = &prompt.running.question.checked;
        self.guide(guide, recorder)?;
        let features = &self.volumes[prompt.running.question.place.index];
        // Positions, and the row of the pass that a position has.
        let before = ids.before.len();
        let rows_3d = features.z_3d.dims().as_slice()[0];
        let first = prompt.cut.shared;
        let row = |position: usize| prompt.at + position - prompt.rows.start;
        let middle = before + rows_3d;
        if first < middle {
            let z_3d = features.z_3d.view().rows(first - before..rows_3d);
            device.copy(Copy { x: z_3d, out: self.llm.hidden.view_mut().rows(row(first)..row(middle)) })?;
        }
        let after = rows - ids.after.len();
        let mut slice_scores = None;
        if let (Some(aggregation), Some(z_2d_slices)) = (&mut self.aggregation, &features.z_2d_slices) {
            recorder.record("z_2d_slices", z_2d_slices.view())?;
            let out = self.llm.hidden.view_mut().rows(row(middle)..row(after));
            let keys = features.keys.as_ref().map(|keys| keys.view());
            slice_scores = aggregation.combine(device, z_2d_slices.view(), keys, out, recorder)?;
            recorder.record("z_2d", self.llm.hidden.view().rows(row(middle)..row(after)))?;
        }
        if first < after {
            recorder.record("z_i", self.llm.hidden.view().rows(row(first)..row(after)))?;
        }
        self.llm.embed(device, &ids.after, row(after))?;
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
                let x = self.llm.embed_apart(device, ids)?;
                let grid = [ids.len(), 1, 1];
                Ok(device.avg_pool(AvgPool { x, grid, window: grid, out: z_t.view_mut() })?)
            }
        }
    }
}

/// Tells a prompt's reader how many layers are done, of which there are as many again where the prompt takes two
/// passes.
fn note_layers(prompt: &Prompt, layers: usize) -> impl FnMut(u64) + use<> {
    let stream = prompt.running.question.stream.clone();
    let passes = if prompt.cut.cached || prompt.cut.joins_others() { 1 } else { 2 };
    let earlier = if passes == 2 && prompt.rows.start > 0 { 1 } else { 0 };
    let before = (earlier * layers) as u64;
    let total = (passes * layers) as u64;
    move |done| stream.push(Event::Progress(Progress { stage: ProgressStage::Prefill, done: before + done, total }))
}
