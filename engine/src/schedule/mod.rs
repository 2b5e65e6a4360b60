//! The thread that owns the device: it takes what callers hand over and runs it unit by unit.
mod admission;
mod inbox;
mod policy;
mod queue;
mod thread;

use crate::answering::Stream;
use crate::decoding::{Head, Picks, Row};
use crate::encoded::{Place, VolumeInner, VolumeState};
use crate::finite::check_id;
use crate::kv::Sequence;
use crate::model::{EncodeUnit, Model};
use crate::prefill::Pass;
use crate::running::Running;
use crate::scoring::{OptionRun, ScoredPrompt};
use crate::trace::Trace;
use crate::volumes::Volumes;
use crate::{Error, FinishReason, Result};
pub use inbox::Stats;
pub(crate) use inbox::{EncodeJob, Inbox};
use med2e3_kernels::DECODE_ROWS_MAX;
use med2e3_kernels::ops::Choice;
use policy::{Policy, State, Work};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;
pub(crate) use thread::Thread;

/// A volume that is being encoded.
struct Encoding {
    volume: Weak<VolumeInner>,
    place: Place,
    state: Arc<VolumeState>,
    unit: EncodeUnit,
    trace: Option<Trace>,
    voxels: Option<Arc<[f32]>>,
}

/// What a row of a step belongs to.
enum Active {
    Answer(Box<Running>),
    Option(Box<OptionRun>),
}

impl Active {
    fn sequence(&self) -> &Sequence {
        match self {
            Active::Answer(one) => &one.sequence,
            Active::Option(one) => &one.sequence,
        }
    }

    fn sequence_mut(&mut self) -> &mut Sequence {
        match self {
            Active::Answer(one) => &mut one.sequence,
            Active::Option(one) => &mut one.sequence,
        }
    }

    fn row(&self) -> Row<'_> {
        match self {
            Active::Answer(one) => one.row(),
            Active::Option(one) => one.row(),
        }
    }

    /// How its next token is chosen.
    fn choice(&self) -> Choice {
        match self {
            Active::Answer(one) => one.choice(),
            Active::Option(one) => one.choice(),
        }
    }

    /// What its row needs of a step.
    fn head(&self) -> Head {
        match self {
            Active::Answer(one) if one.is_greedy() => Head::Greedy,
            Active::Answer(one) if one.question.request.logprobs == 0 => Head::Chosen,
            Active::Answer(_) | Active::Option(_) => Head::Ranked,
        }
    }

    /// Pages that it may still take.
    fn promised(&self) -> usize {
        match self {
            Active::Answer(one) => one.sequence.lacks(one.tokens_max()),
            Active::Option(one) => {
                let left = one.scored.options[one.option].len() - 1 - one.done;
                one.sequence.lacks(one.sequence.tokens() + left)
            }
        }
    }
}

/// Everything that the thread knows.
pub(crate) struct Scheduler {
    model: Model,
    inbox: Arc<Inbox>,
    volumes: Arc<Mutex<Volumes>>,
    batch: usize,
    pages: usize,
    policy: Policy,
    /// The prompts that are being read.
    pass: Pass,
    encoding: Option<Encoding>,
    active: VecDeque<Active>,
    scored: Vec<ScoredPrompt>,
    /// Who waits for what has begun. A panic takes that along, but not these, which are told of it.
    streams: Vec<Weak<Stream>>,
    encoded: Option<(Place, Arc<VolumeState>)>,
    stats: Stats,
}

impl Scheduler {
    pub fn new(model: Model, inbox: Arc<Inbox>, volumes: Arc<Mutex<Volumes>>, batch: usize) -> Self {
        let pages = model.pages.available();
        Self {
            model,
            inbox,
            volumes,
            batch,
            pages,
            policy: Policy::new(),
            pass: Pass::default(),
            encoding: None,
            active: VecDeque::new(),
            scored: Vec::new(),
            streams: Vec::new(),
            encoded: None,
            stats: Stats::default(),
        }
    }

    /// Runs one unit of work, or waits for a call. False when the engine was dropped.
    ///
    /// # Errors
    /// What the engine cannot go on from.
    pub fn turn(&mut self) -> Result<bool> {
        if self.inbox.is_stopped() {
            return Ok(false);
        }
        self.reap();
        self.begin_next();
        let state = State {
            decode: !self.active.is_empty(),
            prompt: !self.pass.prompts.is_empty(),
            encode: self.encoding.is_some() || self.inbox.has_encodes(),
        };
        let started = Instant::now();
        let ran = match self.policy.next(state) {
            Work::Decode => self.decode(),
            Work::Prompt => self.prompt(),
            Work::Encode => self.encode(),
            Work::Wait => {
                self.note();
                return Ok(self.inbox.wait(self.inbox.first_deadline()));
            }
        };
        self.stats.longest_unit = self.stats.longest_unit.max(started.elapsed());
        self.note();
        ran.map(|()| true)
    }

    /// Ends everything that runs and waits with an error.
    pub fn fail(&mut self, error: &Error) {
        if let Some((place, state)) = self.encoded.take().filter(|(_, state)| state.readiness().is_none()) {
            self.note_volume(place, false);
            state.end(Err(error.clone()));
        }
        self.streams.iter().filter_map(Weak::upgrade).for_each(|stream| stream.end(Err(error.clone())));
        self.inbox.fail(error);
    }

    /// Says what the engine is doing.
    fn note(&mut self) {
        let answers = self.active.iter().filter(|active| matches!(active, Active::Answer(_))).count();
        self.stats.running = answers + self.scored.len() + self.pass.prompts.len();
        self.stats.available_pages = self.model.pages.available();
        self.stats.pages = self.pages;
        self.inbox.note(self.stats);
    }

    /// Ends what is no longer wanted, or too late.
    fn reap(&mut self) {
        let now = Instant::now();
        for question in self.inbox.extract(|question| question.expired(now).is_some()) {
            let result = question.expired(now).unwrap_or(Ok(()));
            question.end(result);
        }
        let expired = |running: &mut Running| {
            match running.question.expired(now) {
                None => return false,
                Some(Ok(())) => running.end(FinishReason::Cancelled, None),
                Some(Err(error)) => running.fail(error),
            }
            true
        };
        self.pass.prompts.retain_mut(|prompt| !expired(&mut prompt.running));
        self.active.retain_mut(|active| match active {
            Active::Answer(one) => !expired(one),
            Active::Option(_) => true,
        });
        self.scored.retain_mut(|scored| !expired(&mut scored.prompt));
        let owners: Vec<u64> = self.scored.iter().map(|scored| scored.prompt.sequence.id()).collect();
        self.active.retain(|active| !matches!(active, Active::Option(one) if !owners.contains(&one.owner)));
        self.encoding.take_if(|encoding| encoding.volume.strong_count() == 0);
    }

    /// Layers over the prompts that have begun.
    fn prompt(&mut self) -> Result<()> {
        let mut fatal = None;
        for (running, error) in self.model.place(&mut self.pass) {
            fatal = self.fail_prompt(running, error).err().or(fatal);
        }
        if let Some(error) = fatal {
            return Err(error);
        }
        if self.pass.prompts.is_empty() {
            return Ok(());
        }
        let ended = match self.model.prefill(&mut self.pass) {
            Ok(false) => return Ok(()),
            Ok(true) => self.model.end_pass(&mut self.pass),
            Err(error) => Err(error),
        };
        match ended {
            Ok(ended) => self.begin_answers(ended),
            Err(error) => {
                let failed = std::mem::take(&mut self.pass).prompts;
                failed.into_iter().for_each(|mut prompt| prompt.running.fail(error.clone()));
                if Model::is_fatal(&error) { Err(error) } else { Ok(()) }
            }
        }
    }

    /// The first tokens of answers whose prompts a pass took to their ends, in the order of their rows of logits.
    fn begin_answers(&mut self, mut ended: Vec<Running>) -> Result<()> {
        let choices: Vec<Choice> = ended.iter().map(Running::choice).collect();
        let ranked = ended.iter().any(|running| running.question.request.logprobs > 0);
        let picks = match self.model.choose_first(&choices, if ranked { Head::Ranked } else { Head::Chosen }) {
            Ok(picks) => picks,
            Err(error) => {
                ended.iter_mut().for_each(|running| running.fail(error.clone()));
                return if Model::is_fatal(&error) { Err(error) } else { Ok(()) };
            }
        };
        let mut rows = ended.into_iter().enumerate();
        rows.try_for_each(|(row, running)| self.begin_answer(row, &picks, running))
    }

    /// An answer's first token, or its options' first log-probabilities.
    fn begin_answer(&mut self, row: usize, picks: &Picks, mut running: Running) -> Result<()> {
        match self.first_token(row, picks, &mut running) {
            Ok(Some(first)) => self.begin_scoring(running, &first),
            Ok(None) if running.ended => {}
            Ok(None) => self.active.push_back(Active::Answer(Box::new(running))),
            Err(error) => {
                let place = running.question.place.index;
                let error = self.model.located(error, place);
                return self.fail_prompt(running, error);
            }
        }
        Ok(())
    }

    /// Ends a question that fails before its second token.
    ///
    /// # Errors
    /// The same if the engine cannot go on from it.
    fn fail_prompt(&mut self, mut running: Running, error: Error) -> Result<()> {
        if let (Error::NonFinite { .. }, Some(encoding)) = (&error, &mut self.encoding) {
            // To find the part that failed the encoders have run again, over what they had done of another volume.
            encoding.unit = EncodeUnit::FIRST;
            encoding.trace = encoding.trace.as_ref().map(|_| Trace::default());
        }
        running.fail(error.clone());
        if Model::is_fatal(&error) { Err(error) } else { Ok(()) }
    }

    /// Gives an answer its first token; where options are scored, gives the log-probabilities of theirs.
    fn first_token(&mut self, row: usize, picks: &Picks, running: &mut Running) -> Result<Option<Vec<f32>>> {
        if let Some(scored) = &running.question.scored {
            check_id(picks.id(row), 1)?;
            let first: Vec<u32> = scored.options.iter().map(|option| option[0]).collect();
            return self.model.judge_first(row, &first).map(Some);
        }
        if running.question.checked.new_tokens == 0 {
            running.close(FinishReason::Length, None);
        } else {
            self.model.take(row, picks, running)?;
            self.stats.tokens += running.tokens() as u64;
        }
        Ok(None)
    }

    /// The first tokens of all options.
    fn begin_scoring(&mut self, mut running: Running, first: &[f32]) {
        running.note_first_token();
        let Some(scored) = running.question.scored.clone() else { return };
        self.scored.push(ScoredPrompt::new(running, scored, first));
        self.end_scored();
    }

    /// One more token for up to [`DECODE_ROWS_MAX`] of those that run; more take turns.
    fn decode(&mut self) -> Result<()> {
        let started = Instant::now();
        let Some(long) = self.active.front().map(|one| one.sequence().long()) else { return Ok(()) };
        let mut rows: Vec<Active> = Vec::new();
        let mut rest = VecDeque::new();
        for one in std::mem::take(&mut self.active) {
            let joins = one.sequence().long() == long && rows.len() < DECODE_ROWS_MAX;
            if joins { rows.push(one) } else { rest.push_back(one) }
        }
        self.active = rest;
        let result = self.step(&mut rows, long);
        let took = started.elapsed().as_secs_f64() * 1e3;
        let failure = result.as_ref().err().cloned();
        for mut one in rows {
            if let Active::Answer(answer) = &mut one {
                answer.timings.decode_ms += took;
            }
            match (&failure, one) {
                (Some(error), Active::Answer(mut answer)) => answer.fail(error.clone()),
                (Some(error), Active::Option(option)) => self.fail_scored(option.owner, error),
                (None, Active::Answer(answer)) if answer.ended => {}
                (None, Active::Option(option)) if option.is_over() => self.end_option(&option),
                (None, one) => self.active.push_back(one),
            }
        }
        self.end_scored();
        match result {
            Err(error) if Model::is_fatal(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// A step of the device, then what it chose.
    fn step(&mut self, rows: &mut [Active], long: bool) -> Result<()> {
        rows.iter_mut().for_each(|one| self.model.grow(one.sequence_mut()));
        let places: Vec<Row<'_>> = rows.iter().map(Active::row).collect();
        let choices: Vec<Choice> = rows.iter().map(Active::choice).collect();
        // A step does what any of its rows needs; the most likely token needs no logits.
        let head = rows.iter().map(Active::head).max().unwrap_or(Head::Greedy);
        let picks = self.model.step(&places, &choices, long, head)?;
        rows.iter_mut().for_each(|one| one.sequence_mut().append(1));
        for (row, one) in rows.iter_mut().enumerate() {
            match one {
                Active::Answer(one) => {
                    if let Err(error) = self.model.take(row, &picks, one) {
                        let fatal = Model::is_fatal(&error);
                        one.fail(error.clone());
                        if fatal {
                            return Err(error);
                        }
                    }
                }
                Active::Option(one) => {
                    if let Err(error) = one.take(picks.id(row), picks.log_prob(row)) {
                        self.fail_scored(one.owner, &error);
                    }
                }
            }
            self.stats.tokens += u64::from(matches!(one, Active::Answer(_)));
        }
        Ok(())
    }

    /// An option's log-probabilities are all known.
    fn end_option(&mut self, option: &OptionRun) {
        if let Some(scored) = self.scored.iter_mut().find(|scored| scored.prompt.sequence.id() == option.owner) {
            scored.running -= 1;
        }
    }

    /// Ends a question whose options cannot be scored. Those that run end with it, as the next turn begins.
    fn fail_scored(&mut self, owner: u64, error: &Error) {
        if let Some(at) = self.scored.iter().position(|scored| scored.prompt.sequence.id() == owner) {
            self.scored.swap_remove(at).prompt.fail(error.clone());
        }
    }

    /// Ends the questions whose options are all scored.
    fn end_scored(&mut self) {
        for mut scored in self.scored.extract_if(.., |scored| scored.scored.is_complete() || scored.prompt.ended) {
            if !scored.prompt.ended {
                scored.prompt.end(FinishReason::Stop, None);
            }
        }
    }

    /// A pass of an encoder.
    fn encode(&mut self) -> Result<()> {
        if self.encoding.is_none() {
            self.encoding = self.inbox.next_encode().map(|EncodeJob { volume, place, state, voxels, traced }| {
                let trace = traced.then(Trace::default);
                Encoding { volume, place, state, unit: EncodeUnit::FIRST, trace, voxels: Some(voxels) }
            });
        }
        let Some(mut encoding) = self.encoding.take() else { return Ok(()) };
        self.encoded = Some((encoding.place, encoding.state.clone()));
        let Encoding { place, unit, .. } = encoding;
        let placed = match encoding.voxels.take() {
            Some(voxels) => self.model.place_volume(place.index, &voxels),
            None => Ok(()),
        };
        let state = encoding.state.clone();
        let progress = &mut |progress| state.note(progress);
        let result = placed.and_then(|()| self.model.encode(place.index, unit, encoding.trace.as_mut(), progress));
        match result {
            Ok(Some(unit)) => {
                encoding.unit = unit;
                self.encoding = Some(encoding);
                Ok(())
            }
            Ok(None) => {
                self.note_volume(place, true);
                state.end(Ok(encoding.trace));
                Ok(())
            }
            Err(error) => {
                self.note_volume(place, false);
                state.end(Err(error.clone()));
                if Model::is_fatal(&error) { Err(error) } else { Ok(()) }
            }
        }
    }

    fn note_volume(&self, place: Place, encoded: bool) {
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner).note(place, encoded);
    }
}
