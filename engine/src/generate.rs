//! From an encoded volume and a question to tokens.
use crate::prompt::{Prompt, guiding_question};
use crate::sampling::top_logprobs;
use crate::tgis::{Aggregation, GuideWeights};
use crate::trace::{Recorder, Trace};
use crate::{Answer, AskTimings, EncodedVolume, Engine, Error, FinishReason, Progress, Request, Result, TokenEvent};
use kernels::Device;
use kernels::ops::{AvgPool, Copy, Sample};
use loaders::tokenizer::DecodeStream;
use std::ops::ControlFlow;
use std::time::Instant;

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
        let started = Instant::now();
        let prompt = Prompt::build(&request.conversation, &self.tokenizer)?;
        let prompt_tokens = prompt.rows(self.image_tokens());
        let limit = self.config.llm_max_length;
        if prompt_tokens > limit {
            return Err(Error::Request(format!(
                "the prompt has {prompt_tokens} tokens with the image's, but the model takes at most {limit}; cut it"
            )));
        }
        self.check_ids(prompt.before.iter().chain(&prompt.after).chain(request.forced.iter().flatten()))?;
        let new_tokens =
            request.max_new_tokens.unwrap_or(usize::MAX).min(self.llm.start(prompt_tokens) - prompt_tokens);
        let new_tokens = request.forced.as_ref().map_or(new_tokens, |ids| new_tokens.min(ids.len()));
        let mut trace = request.trace.then(Trace::default);
        let device = self.device.clone();
        self.llm.reserve(&*device, prompt_tokens + new_tokens)?;
        let recorder = &mut Recorder { device: &*device, trace: trace.as_mut() };

        let slice_scores = self.place_prompt(volume, &prompt, request, recorder)?;
        let tgis_ms = milliseconds(started);
        recorder.record("prompt_embeddings", self.llm.hidden.view().rows(0..prompt_tokens))?;
        self.llm.forward(prompt_tokens, recorder, progress)?;
        recorder.record("prompt_logits", self.llm.logits.view())?;
        let prefill_ms = milliseconds(started) - tgis_ms;

        let mut generation = Generation::new(request, new_tokens, started);
        self.generate(&mut generation, on_token)?;
        let first_token_ms = generation.first_token_ms.unwrap_or_else(|| milliseconds(started));
        Ok(Answer {
            text: self.tokenizer.decode(&generation.token_ids, true)?,
            token_ids: generation.token_ids,
            finish_reason: generation.finish_reason,
            slice_scores,
            prompt_tokens,
            prompt_ids: prompt.ids_with_image(),
            top_logprobs: generation.top_logprobs,
            timings: AskTimings {
                tgis_ms,
                prefill_ms,
                decode_ms: milliseconds(started) - first_token_ms,
                first_token_ms,
            },
            trace,
        })
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

    /// Chooses tokens from the logits until the answer ends.
    fn generate(
        &mut self,
        generation: &mut Generation<'_>,
        on_token: &mut dyn FnMut(TokenEvent<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let device = self.device.clone();
        let device: &dyn Device = &*device;
        let request = generation.request;
        // Nobody sees the logits of such an answer, so after the prompt's they are never stored.
        let greedy = request.sampling.temperature == 0.0 && request.logprobs == 0 && request.forced.is_none();
        let mut stream = DecodeStream::new(&self.tokenizer, true);
        let recorder = &mut Recorder { device, trace: None };
        while generation.token_ids.len() < generation.new_tokens {
            let step = generation.token_ids.len() as u64;
            let forced = request.forced.as_ref().map(|ids| ids[generation.token_ids.len()]);
            let id = match forced {
                Some(id) => id,
                None => {
                    if step == 0 || !greedy {
                        let (logits, out) = (self.llm.logits.view(), self.llm.token.view_mut());
                        device.sample(Sample { logits, sampling: request.sampling, step, out })?;
                    }
                    device.read_u32(self.llm.token.view())?[0]
                }
            };
            generation.first_token_ms.get_or_insert_with(|| milliseconds(generation.started));
            if forced.is_none() && self.ends_answer(id) {
                generation.finish_reason = FinishReason::Stop;
                break;
            }
            if request.logprobs > 0 {
                let logits = device.read(self.llm.logits.view())?;
                generation.top_logprobs.push(top_logprobs(&logits, request.logprobs));
            }
            generation.token_ids.push(id);
            let text = stream.push(id)?.unwrap_or_default();
            if on_token(TokenEvent { id: Some(id), text: &text }).is_break() {
                generation.finish_reason = FinishReason::Cancelled;
                break;
            }
            if generation.token_ids.len() < generation.new_tokens {
                if greedy {
                    self.llm.step_greedy(device)?;
                } else {
                    self.llm.embed(device, &[id], 0)?;
                    self.llm.forward(1, recorder, &mut |_| ())?;
                }
            }
        }
        if let Some(text) = stream.flush()? {
            // Nothing follows, so there is nothing left to break off.
            let _ = on_token(TokenEvent { id: None, text: &text });
        }
        Ok(())
    }
}

/// One answer in the making.
struct Generation<'a> {
    request: &'a Request,
    new_tokens: usize,
    started: Instant,
    token_ids: Vec<u32>,
    top_logprobs: Vec<Vec<(u32, f32)>>,
    finish_reason: FinishReason,
    first_token_ms: Option<f64>,
}

impl<'a> Generation<'a> {
    fn new(request: &'a Request, new_tokens: usize, started: Instant) -> Self {
        Self {
            request,
            new_tokens,
            started,
            token_ids: Vec::new(),
            top_logprobs: Vec::new(),
            finish_reason: FinishReason::Length,
            first_token_ms: None,
        }
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
