//! From an encoded volume and a question to tokens.
use crate::checked::Checked;
use crate::decoding::{Head, Row};
use crate::finite::{check_id, check_scores};
use crate::kv::{PrefixKey, Sequence};
use crate::llm::{OnLayer, PromptRows};
use crate::running::{Chosen, OnToken, Running};
use crate::tgis::{Aggregation, GuideWeights};
use crate::trace::{Recorder, Trace};
use crate::{Answer, EncodedVolume, Engine, Progress, Request, Result, TokenEvent};
use med2e3_kernels::DECODE_ROWS_MAX;
use med2e3_kernels::ops::{AvgPool, Copy, Sample};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Instant;

/// A question, and the volume that it is about.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// What was seen.
    pub volume: &'a EncodedVolume,
    /// What is asked.
    pub request: &'a Request,
}

/// A question that can be answered and has no place yet.
struct Waiting<'a> {
    /// Its place among the questions.
    index: usize,
    question: Question<'a>,
    checked: Checked,
}

impl Engine {
    /// Answers one question; `on_token` sees each token at once and may break off.
    ///
    /// # Errors
    /// [`crate::Error::Request`] if the model cannot answer it, [`crate::Error::Foreign`] if the volume is another
    /// engine's, both before anything runs; [`crate::Error::NonFinite`] at the first token or score that depends on NaN
    /// or an infinity; [`crate::Error::Device`].
    pub fn ask(
        &mut self,
        volume: &EncodedVolume,
        request: &Request,
        on_token: &mut dyn FnMut(TokenEvent<'_>) -> ControlFlow<()>,
    ) -> Result<Answer> {
        self.ask_with_progress(volume, request, on_token, &mut |_| ())
    }

    /// As [`Engine::ask`], and reports how far the prompt has come.
    ///
    /// # Errors
    /// As [`Engine::ask`].
    pub fn ask_with_progress(
        &mut self,
        volume: &EncodedVolume,
        request: &Request,
        on_token: &mut dyn FnMut(TokenEvent<'_>) -> ControlFlow<()>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Answer> {
        self.answer(&[Question { volume, request }], &mut |_, token| on_token(token), progress).remove(0)
    }

    /// Answers questions, [`crate::LoadOptions::batch`] of them at a time: a decoding step reads the weights once for
    /// all of them, and the next question takes the place of the first that ends. `on_token` also gets the question's
    /// place in `questions`, as the results have it. Each question gets the tokens that it would get alone.
    ///
    /// All questions are checked before any of them is begun. Each has a result of its own, as of [`Engine::ask`]: one
    /// that cannot be answered takes nothing from the others, and those that have ended when the device fails keep
    /// their answers.
    pub fn ask_many(
        &mut self,
        questions: &[Question<'_>],
        on_token: &mut dyn FnMut(usize, TokenEvent<'_>) -> ControlFlow<()>,
    ) -> Vec<Result<Answer>> {
        self.answer(questions, on_token, &mut |_| ())
    }

    fn answer(
        &mut self,
        questions: &[Question<'_>],
        on_token: OnToken<'_>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Vec<Result<Answer>> {
        let called = Instant::now();
        let mut results: Vec<Option<Result<Answer>>> = questions.iter().map(|_| None).collect();
        let mut waiting = VecDeque::new();
        for (index, &question) in questions.iter().enumerate() {
            match self.checked_question(&question) {
                Ok(checked) => waiting.push_back(Waiting { index, question, checked }),
                Err(error) => results[index] = Some(Err(error)),
            }
        }
        let mut running: Vec<Running<'_>> = Vec::new();
        let tokenizer = self.tokenizer.clone();
        loop {
            while waiting.front().is_some_and(|next| self.has_room(next, &running)) {
                let next = waiting.pop_front().expect("looked at");
                let mut begun = Running::new(next.question.request, &next.checked, &tokenizer, next.index, called);
                let first =
                    self.begin(&mut begun, &next, progress).and_then(|()| self.choose_first(&mut begun, on_token));
                if let Err(error) = first {
                    begun.fail(self.located(error, next.question.volume));
                }
                running.push(begun);
                self.end(&mut running, &mut results);
            }
            if running.is_empty() {
                break;
            }
            let started = Instant::now();
            if let Err(error) = self.step(&mut running, on_token) {
                running.iter_mut().for_each(|one| one.fail(error.clone()));
            }
            let took = started.elapsed().as_secs_f64() * 1e3;
            running.iter_mut().for_each(|one| one.timings.decode_ms += took);
            self.end(&mut running, &mut results);
        }
        results.into_iter().map(|result| result.expect("every question has come to its end")).collect()
    }

    /// Whether the next question can join those that run: there is a row for it, and pages for all that it and they may
    /// still become.
    fn has_room(&self, next: &Waiting<'_>, running: &[Running<'_>]) -> bool {
        // A step reads one rotary table; those that need the other wait until it is free.
        let joins = running.iter().all(|one| one.sequence.long() == next.checked.long);
        let promised: usize = running.iter().map(|one| one.sequence.lacks(one.tokens_max)).sum();
        let lacks = Sequence::new(next.checked.long).lacks(next.checked.rows + next.checked.new_tokens);
        joins && running.len() < self.batch && promised + lacks <= self.pages.available()
    }

    /// Runs a question's prompt, which leaves the first token's logits.
    fn begin(
        &mut self,
        begun: &mut Running<'_>,
        next: &Waiting<'_>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<()> {
        let Checked { prompt, rows, long, .. } = &next.checked;
        let volume = next.question.volume;
        let shared = (prompt.before.len() + volume.z_3d.dims().as_slice()[0]).min(rows - 1);
        let key = PrefixKey { volume: volume.id, before: prompt.before.clone(), long: *long };
        let mut trace = next.question.request.trace.then(Trace::default);
        // A trace shows every row, so those of the prefix are computed again.
        let known = trace.is_none() && self.pages.has_prefix(&key);
        let device = self.device.clone();
        let recorder = &mut Recorder { device: &*device, trace: trace.as_mut() };
        begun.slice_scores = self.place_prompt(volume, &next.checked, recorder)?;
        check_scores(begun.slice_scores.as_deref())?;
        begun.note_guided();
        recorder.record("prompt_embeddings", self.llm.hidden.view().rows(0..*rows))?;
        let layers = self.config.llm.num_hidden_layers as u64;
        let (before, total) = if known { (0, layers) } else { (layers, 2 * layers) };
        if !known {
            let on_layer = &mut |done| progress(Progress { stage: "prefill", done, total });
            self.prefill_prefix(key.clone(), shared, recorder, on_layer)?;
        }
        let llm = &mut self.llm;
        let fork = self.pages.fork(&key, |from, to| llm.copy_page(&*device, from, to));
        begun.sequence = fork.expect("it was there, or has just been kept")?;
        assert!(self.pages.grow(&mut begun.sequence, *rows), "admitted questions fit the cache");
        let prompt = PromptRows { first: shared, end: *rows, long: *long, pages: begun.sequence.pages() };
        let on_layer = &mut |done| progress(Progress { stage: "prefill", done: before + done, total });
        self.llm.prefill(prompt, recorder, on_layer)?;
        begun.sequence.append(rows - shared);
        recorder.record("prompt_logits", self.llm.logits.view().rows(0..1))?;
        begun.trace = trace;
        Ok(())
    }

    /// Runs the first `rows` rows of the prompt, which all questions about a volume share, and keeps what they leave in
    /// the cache.
    fn prefill_prefix(
        &mut self,
        key: PrefixKey,
        rows: usize,
        recorder: &mut Recorder<'_>,
        on_layer: OnLayer<'_>,
    ) -> Result<()> {
        let mut prefix = Sequence::new(key.long);
        assert!(self.pages.grow(&mut prefix, rows), "admitted questions fit the cache");
        let prompt = PromptRows { first: 0, end: rows, long: key.long, pages: prefix.pages() };
        self.llm.prefill_prefix(prompt, recorder, on_layer)?;
        prefix.append(rows);
        self.pages.keep(key, prefix);
        Ok(())
    }

    /// Embeds the prompt around the image rows and gives the slice scores.
    fn place_prompt(
        &mut self,
        volume: &EncodedVolume,
        checked: &Checked,
        recorder: &mut Recorder<'_>,
    ) -> Result<Option<Vec<f32>>> {
        let device = recorder.device;
        let prompt = &checked.prompt;
        recorder.record("volume", volume.volume.view())?;
        recorder.record("z_3d", volume.z_3d.view())?;
        self.guide(&checked.guide, recorder)?;
        let first = prompt.before.len();
        let image = self.image_tokens();
        let middle = first + volume.z_3d.dims().as_slice()[0];
        let out = self.llm.hidden.view_mut().rows(first..middle);
        device.copy(Copy { x: volume.z_3d.view(), out })?;
        let mut slice_scores = None;
        if let (Some(aggregation), Some(z_2d_slices)) = (&mut self.aggregation, &volume.z_2d_slices) {
            recorder.record("z_2d_slices", z_2d_slices.view())?;
            let out = self.llm.hidden.view_mut().rows(middle..first + image);
            slice_scores = aggregation.combine(device, volume, out, recorder)?;
            recorder.record("z_2d", self.llm.hidden.view().rows(middle..first + image))?;
        }
        recorder.record("z_i", self.llm.hidden.view().rows(first..first + image))?;
        self.llm.embed(device, &prompt.before, 0)?;
        self.llm.embed(device, &prompt.after, first + image)?;
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

    fn ends_answer(&self, id: u32) -> bool {
        self.config.llm.eos_token_ids.contains(&id) || self.tokenizer.eos_token_id() == Some(id)
    }

    /// Takes the first token of the question that was begun last, whose logits are the only ones.
    fn choose_first(&mut self, begun: &mut Running<'_>, on_token: OnToken<'_>) -> Result<()> {
        if begun.new_tokens == 0 {
            begun.close(on_token);
            return Ok(());
        }
        self.choose(0, begun, on_token)
    }

    /// One more token for each. More rows than ops take in one step take turns.
    fn step(&mut self, running: &mut [Running<'_>], on_token: OnToken<'_>) -> Result<()> {
        running.chunks_mut(DECODE_ROWS_MAX).try_for_each(|rows| self.step_together(rows, on_token))
    }

    /// A step of the device, then what it chose.
    fn step_together(&mut self, running: &mut [Running<'_>], on_token: OnToken<'_>) -> Result<()> {
        let device = self.device.clone();
        for one in running.iter_mut() {
            let tokens = one.sequence.tokens() + 1;
            assert!(self.pages.grow(&mut one.sequence, tokens), "admitted questions fit the cache");
        }
        let long = running.iter().any(|one| one.sequence.long());
        // Where only the most likely token matters, no logits are stored.
        let greedy = running.iter().all(Running::is_greedy);
        let rows: Vec<Row<'_>> = running.iter().map(Running::row).collect();
        self.llm.step(&*device, &rows, long, if greedy { Head::Greedy } else { Head::Logits })?;
        running.iter_mut().for_each(|one| one.sequence.append(1));
        if greedy {
            let chosen = self.llm.decoding.chosen(&*device)?;
            for (one, id) in running.iter_mut().zip(chosen) {
                match check_id(id, one.token_ids.len() + 1) {
                    Ok(id) => one.take(Chosen { id, ends: self.ends_answer(id), logits: None }, on_token),
                    Err(error) => one.fail(error),
                }
            }
        } else {
            for (row, one) in running.iter_mut().enumerate() {
                if let Err(error) = self.choose(row, one, on_token) {
                    one.fail(error);
                }
            }
        }
        Ok(())
    }

    /// Chooses the next token of an answer from its row of logits.
    fn choose(&mut self, row: usize, one: &mut Running<'_>, on_token: OnToken<'_>) -> Result<()> {
        let device = self.device.clone();
        let logits = self.llm.logits.view().rows(row..row + 1);
        let step = one.token_ids.len() as u64;
        device.sample(Sample { logits, sampling: one.request.sampling, step, out: self.llm.chosen.view_mut() })?;
        // Also where the request names the token: the choice says whether the logits are finite.
        let chosen = check_id(device.read_u32(self.llm.chosen.view())?[0], one.token_ids.len() + 1)?;
        let logits = (one.request.logprobs > 0).then(|| device.read(logits)).transpose()?;
        let id = one.forced().unwrap_or(chosen);
        let ends = one.forced().is_none() && self.ends_answer(id);
        one.take(Chosen { id, ends, logits: logits.as_deref() }, on_token);
        Ok(())
    }

    /// Moves the answers that have ended to their places.
    fn end(&self, running: &mut Vec<Running<'_>>, results: &mut [Option<Result<Answer>>]) {
        for ended in running.extract_if(.., |one| one.ended) {
            let index = ended.index;
            results[index] = Some(ended.finish(&self.tokenizer));
        }
    }
}
