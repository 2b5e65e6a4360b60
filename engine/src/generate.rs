//! From an encoded volume and a question to tokens.
use crate::decoding::Head;
use crate::prompt::{Prompt, guiding_question};
use crate::running::Running;
use crate::tgis::{Aggregation, GuideWeights};
use crate::trace::{Recorder, Trace};
use crate::{Answer, EncodedVolume, Engine, Error, Progress, Request, Result, TokenEvent};
use kernels::Device;
use kernels::ops::{AvgPool, Copy, Sample};
use std::ops::ControlFlow;

/// A question, and the volume that it is about.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// What was seen.
    pub volume: &'a EncodedVolume,
    /// What is asked.
    pub request: &'a Request,
}

impl Engine {
    /// Answers one question; `on_token` sees each token at once and may break off.
    ///
    /// # Errors
    /// [`Error::Request`] if the prompt does not fit the model; [`Error::Device`].
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
        let mut answers = self.answer(&[Question { volume, request }], &mut |_, token| on_token(token), progress)?;
        Ok(answers.remove(0))
    }

    /// Answers questions, [`crate::LoadOptions::batch`] of them at a time: a decoding step reads the weights once for
    /// all of them, and the next question takes the place of the first that ends. `on_token` also gets the question's
    /// place in `questions`, as the answers have it. Each question gets the tokens that it would get alone.
    ///
    /// # Errors
    /// As [`Engine::ask`], before any of them is begun.
    pub fn ask_many(
        &mut self,
        questions: &[Question<'_>],
        on_token: &mut dyn FnMut(usize, TokenEvent<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Answer>> {
        self.answer(questions, on_token, &mut |_| ())
    }

    fn answer(
        &mut self,
        questions: &[Question<'_>],
        on_token: &mut dyn FnMut(usize, TokenEvent<'_>) -> ControlFlow<()>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Vec<Answer>> {
        let prompts = questions.iter().map(|question| self.prompt(question.request)).collect::<Result<Vec<_>>>()?;
        let mut waiting = questions.iter().zip(prompts).enumerate().peekable();
        let mut answers: Vec<Option<Answer>> = questions.iter().map(|_| None).collect();
        let mut running: Vec<Running<'_>> = Vec::new();
        let tokenizer = self.tokenizer.clone();
        loop {
            while let Some((_, (_, prompt))) = waiting.peek()
                && let Some(slot) = (0..self.llm.batch()).find(|&slot| running.iter().all(|one| one.slot != slot))
                // A step reads one rotary table; those that need the other wait until it is free.
                && let (long, _) = self.llm.limit(prompt.rows(self.image_tokens()))
                && running.iter().all(|one| one.long == long)
            {
                let (index, (question, prompt)) = waiting.next().expect("peeked");
                let mut begun = Running::new(question.request, &tokenizer, [index, slot]);
                self.begin(&mut begun, question, &prompt, progress)?;
                running.push(begun);
                self.choose_first(&mut running, on_token)?;
                self.end(&mut running, &mut answers)?;
            }
            if running.is_empty() {
                break;
            }
            self.step(&mut running, on_token)?;
            self.end(&mut running, &mut answers)?;
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// The prompt of a request that this model can answer.
    fn prompt(&self, request: &Request) -> Result<Prompt> {
        let prompt = Prompt::build(&request.conversation, &self.tokenizer)?;
        let (rows, limit) = (prompt.rows(self.image_tokens()), self.config.llm_max_length);
        if rows > limit {
            return Err(Error::Request(format!(
                "the prompt has {rows} tokens with the image's, but the model takes at most {limit}; cut it"
            )));
        }
        self.check_ids(prompt.before.iter().chain(&prompt.after).chain(request.forced.iter().flatten()))?;
        Ok(prompt)
    }

    /// Whether [`Engine::ask`] would take the request.
    ///
    /// # Errors
    /// [`Error::Request`] if not.
    pub fn check(&self, request: &Request) -> Result<()> {
        self.prompt(request).map(drop)
    }

    /// Runs a question's prompt, which leaves the first token's logits.
    fn begin(
        &mut self,
        begun: &mut Running<'_>,
        question: &Question<'_>,
        prompt: &Prompt,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<()> {
        let (request, rows) = (question.request, prompt.rows(self.image_tokens()));
        let (long, limit) = self.llm.limit(rows);
        let forced = request.forced.as_ref().map_or(usize::MAX, Vec::len);
        begun.new_tokens = request.max_new_tokens.unwrap_or(usize::MAX).min(limit - rows).min(forced);
        (begun.long, begun.prompt_tokens, begun.prompt_ids) = (long, rows, prompt.ids_with_image());
        let device = self.device.clone();
        self.llm.start(&*device, begun.slot, rows + begun.new_tokens)?;
        let mut trace = request.trace.then(Trace::default);
        let recorder = &mut Recorder { device: &*device, trace: trace.as_mut() };
        begun.slice_scores = self.place_prompt(question.volume, prompt, request, recorder)?;
        begun.timings.tgis_ms = begun.elapsed_ms();
        recorder.record("prompt_embeddings", self.llm.hidden.view().rows(0..rows))?;
        self.llm.prefill([begun.slot, rows], recorder, progress)?;
        recorder.record("prompt_logits", self.llm.logits.view().rows(0..1))?;
        begun.timings.prefill_ms = begun.elapsed_ms() - begun.timings.tgis_ms;
        begun.trace = trace;
        Ok(())
    }

    /// Embeds the prompt around the image rows and gives the slice scores.
    fn place_prompt(
        &mut self,
        volume: &EncodedVolume,
        prompt: &Prompt,
        request: &Request,
        recorder: &mut Recorder<'_>,
    ) -> Result<Option<Vec<f32>>> {
        let device = recorder.device;
        recorder.record("volume", volume.volume.view())?;
        recorder.record("z_3d", volume.z_3d.view())?;
        self.guide(request, recorder)?;
        let (first, image) = (prompt.before.len(), self.image_tokens());
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

    /// Prepares the vector that guides TG-IS, where a question does.
    fn guide(&mut self, request: &Request, recorder: &mut Recorder<'_>) -> Result<()> {
        let Some(Aggregation::Scored(scorer)) = &mut self.aggregation else { return Ok(()) };
        let device = recorder.device;
        let question = guiding_question(&request.conversation, request.question.as_deref());
        match &mut scorer.guide {
            GuideWeights::Linear { .. } => Ok(()),
            guide @ GuideWeights::BertPooler { .. } => {
                let (Some(encoder), Some(tokenizer)) = (&mut self.text_encoder, &self.bert_tokenizer) else {
                    unreachable!("a model guided by BERT is loaded with it")
                };
                let ids = tokenizer.encode(&question, encoder.tokens_max())?;
                let pooled = encoder.pool(device, &ids)?;
                recorder.record("bert_pooler", pooled)?;
                guide.project(device, pooled)
            }
            GuideWeights::LlmMean { z_t } => {
                let mut ids = self.tokenizer.encode_chunk(&question)?;
                ids.truncate(self.config.llm_max_length);
                if ids.is_empty() {
                    return Err(Error::Request(
                        "the question that guides TG-IS is empty; give one with --question".into(),
                    ));
                }
                self.llm.embed(device, &ids, 0)?;
                let x = self.llm.hidden.view().rows(0..ids.len());
                let grid = [ids.len(), 1, 1];
                Ok(device.avg_pool(AvgPool { x, grid, window: grid, out: z_t.view_mut() })?)
            }
        }
    }

    /// A tokenizer of another model could give ids that the table does not have.
    fn check_ids<'a>(&self, mut ids: impl Iterator<Item = &'a u32>) -> Result<()> {
        let vocab = self.config.llm.vocab_size;
        match ids.find(|&&id| id as usize >= vocab) {
            Some(id) => Err(Error::Request(format!(
                "the tokenizer gives id {id}, but the model's table has {vocab} rows; use the tokenizer of this model"
            ))),
            None => Ok(()),
        }
    }

    fn ends_answer(&self, id: u32) -> bool {
        self.config.llm.eos_token_ids.contains(&id) || self.tokenizer.eos_token_id() == Some(id)
    }

    /// Takes the first token of the question that was begun last, whose logits are the only ones.
    fn choose_first(
        &mut self,
        running: &mut [Running<'_>],
        on_token: &mut dyn FnMut(usize, TokenEvent<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let last = running.len() - 1;
        if running[last].new_tokens == 0 {
            return running[last].close(on_token);
        }
        self.choose(&mut running[last..], on_token)
    }

    /// One more token for each: a step, then what it chose.
    fn step(
        &mut self,
        running: &mut [Running<'_>],
        on_token: &mut dyn FnMut(usize, TokenEvent<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let device = self.device.clone();
        let slots: Vec<usize> = running.iter().map(|one| one.slot).collect();
        let ids: Vec<u32> = running.iter().map(Running::last_id).collect();
        // Nobody sees the logits of such answers, so they are never stored.
        if running.iter().all(Running::is_greedy) {
            self.llm.step(&*device, &slots, &ids, Head::Greedy)?;
            let chosen = self.llm.decoding.chosen(&*device)?;
            return running.iter_mut().zip(chosen).try_for_each(|(one, id)| {
                let ends = self.ends_answer(id);
                one.take(id, ends, None, on_token)
            });
        }
        self.llm.step(&*device, &slots, &ids, Head::Logits)?;
        self.choose(running, on_token)
    }

    /// Chooses a token for each from its row of logits.
    fn choose(
        &mut self,
        running: &mut [Running<'_>],
        on_token: &mut dyn FnMut(usize, TokenEvent<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let device = self.device.clone();
        let device: &dyn Device = &*device;
        for (row, one) in running.iter_mut().enumerate() {
            let id = match one.forced() {
                Some(id) => id,
                None => {
                    let (sampling, step) = (one.request.sampling, one.token_ids.len() as u64);
                    let logits = self.llm.logits.view().rows(row..row + 1);
                    let out = self.llm.chosen.view_mut();
                    device.sample(Sample { logits, sampling, step, out })?;
                    device.read_u32(self.llm.chosen.view())?[0]
                }
            };
            let logits = self.llm.logits.view().rows(row..row + 1);
            let logits = (one.request.logprobs > 0).then(|| device.read(logits)).transpose()?;
            let ends = one.forced().is_none() && self.ends_answer(id);
            one.take(id, ends, logits.as_deref(), on_token)?;
        }
        Ok(())
    }

    /// Moves the answers that have ended to their places.
    fn end(&self, running: &mut Vec<Running<'_>>, answers: &mut [Option<Answer>]) -> Result<()> {
        for ended in running.extract_if(.., |one| one.ended) {
            let index = ended.index;
            answers[index] = Some(ended.finish(&self.tokenizer)?);
        }
        Ok(())
    }
}
