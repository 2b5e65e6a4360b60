//! The engine, as its callers have it.
use crate::answering::Stream;
use crate::facts::Facts;
use crate::model::{MemoryPlan, Model};
use crate::prompt::Conversation;
use crate::running::Question;
use crate::schedule::{EncodeJob, Inbox, Scheduler, Stats, Thread};
use crate::scoring::{Scored, best};
use crate::volumes::Volumes;
use crate::{Answer, Answering, Error, LoadOptions, OnProgress, Request, Result, Scoring, Volume};
use med2e3_kernels::{Device, Plan};
use med2e3_loaders::ModelFolder;
use med2e3_loaders::tokenizer::LlmTokenizer;
use rayon::{ThreadPool, ThreadPoolBuilder};
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Numbers engines.
static ENGINES: AtomicU64 = AtomicU64::new(0);

/// The most options of one question that are scored.
pub const OPTIONS_MAX: usize = 1024;

/// A loaded model, and the one thread that runs it. Clones share it; when the last one goes, what still runs ends with
/// [`Error::Stopped`], and the memory comes back.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    /// No other engine of the process has it; its volumes carry it.
    id: u64,
    facts: Arc<Facts>,
    device: Arc<dyn Device>,
    inbox: Arc<Inbox>,
    volumes: Arc<Mutex<Volumes>>,
    /// Joined when the last engine goes.
    _thread: Thread,
}

impl Engine {
    /// What [`Engine::load`] would take on a device like `plan`, to the byte, without loading.
    ///
    /// # Errors
    /// As [`Engine::load`], but for lack of memory.
    pub fn plan(plan: Plan, folder: &ModelFolder, options: &LoadOptions) -> Result<MemoryPlan> {
        Model::plan(plan, folder, options)
    }

    /// Checks the folder, makes its weights usable on the device, allocates every buffer and starts the thread.
    /// `progress` is called on this thread and may break off.
    ///
    /// # Errors
    /// [`Error::Loaders`] with all that is missing or misshapen, [`Error::Device`] if memory does not suffice,
    /// [`Error::Request`] for options that no engine has, [`Error::Cancelled`].
    pub fn load(
        device: Arc<dyn Device>,
        folder: &ModelFolder,
        options: &LoadOptions,
        progress: OnProgress<'_>,
    ) -> Result<Self> {
        let model = Model::load(device.clone(), folder, options, progress)?;
        let id = ENGINES.fetch_add(1, Ordering::Relaxed);
        let facts = model.facts.clone();
        let inbox = Arc::new(Inbox::new(options.queue));
        let volumes = Arc::new(Mutex::new(Volumes::new(id, options.volumes)));
        let pool = options.threads.map(|threads| pool(threads.get())).transpose()?;
        let scheduler = Scheduler::new(model, inbox.clone(), volumes.clone(), options.batch);
        let thread = Thread::start(scheduler, pool)?;
        Ok(Self { shared: Arc::new(Shared { id, facts, device, inbox, volumes, _thread: thread }) })
    }

    /// Slices, height and width of the volumes it takes.
    pub fn img_size(&self) -> [usize; 3] {
        self.shared.facts.img_size()
    }

    /// Slices per volume, N.
    pub fn slices(&self) -> usize {
        self.img_size()[0]
    }

    /// LLM tokens that stand for the image.
    pub fn image_tokens(&self) -> usize {
        self.shared.facts.image_tokens()
    }

    /// The language model's tokenizer.
    pub fn tokenizer(&self) -> &LlmTokenizer {
        &self.shared.facts.tokenizer
    }

    /// Where it runs.
    pub fn device(&self) -> &dyn Device {
        &*self.shared.device
    }

    /// What it is doing.
    pub fn stats(&self) -> Stats {
        let [encoded_volumes, held_volumes] = self.table().counts();
        Stats { encoded_volumes, held_volumes, ..self.shared.inbox.stats() }
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Volumes> {
        self.shared.volumes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs both vision encoders and their connectors, the question-independent part of every answer, or finds what
    /// they gave for the same voxels before. Returns at once: the work is done between the steps of running answers.
    ///
    /// `volume` is [`Engine::img_size`] voxels in 0..1, as [`crate::prepare`] makes them; it never rounds past either
    /// end, so none is allowed here.
    ///
    /// # Errors
    /// [`Error::Request`] if the size differs or a voxel is not in that range; [`Error::Busy`] if handles keep every
    /// place, see [`LoadOptions::volumes`]; [`Error::Stopped`] or what the engine has failed with.
    pub fn encode(&self, volume: impl Into<Arc<[f32]>>) -> Result<Volume> {
        self.encode_as(volume.into(), false)
    }

    /// As [`Engine::encode`], and records the encoders' tokens before the connectors, for [`Volume::take_trace`].
    /// Nothing that was found before is used.
    ///
    /// # Errors
    /// As [`Engine::encode`].
    pub fn encode_traced(&self, volume: impl Into<Arc<[f32]>>) -> Result<Volume> {
        self.encode_as(volume.into(), true)
    }

    fn encode_as(&self, voxels: Arc<[f32]>, traced: bool) -> Result<Volume> {
        self.shared.facts.check_volume(&voxels)?;
        let mut sha = Sha256::new();
        voxels
            .chunks(1 << 14)
            .for_each(|part| sha.update(part.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()));
        let hash = sha.finalize().into();
        let mut table = self.table();
        if let Some(inner) = (!traced).then(|| table.find(&hash)).flatten() {
            return Ok(Volume { inner });
        }
        let Some(inner) = table.give(hash, !traced) else {
            return Err(Error::Busy { waiting: self.shared.inbox.stats().waiting });
        };
        drop(table);
        let place = inner.place;
        let state = inner.state.clone();
        let queued =
            self.shared.inbox.encode(EncodeJob { volume: Arc::downgrade(&inner), place, state, voxels, traced });
        if let Err(error) = queued {
            // Another caller may have found the volume in the meantime.
            self.table().note(place, false);
            inner.state.end(Err(error.clone()));
            return Err(error);
        }
        Ok(Volume { inner })
    }

    /// Whether [`Engine::submit`] would take the request, about a volume of this engine.
    ///
    /// # Errors
    /// [`Error::Request`] if not.
    pub fn check(&self, request: &Request) -> Result<()> {
        self.shared.facts.checked(request).map(drop)
    }

    /// Asks a question: checks and tokenises it on this thread, then lets it wait for its turn. What is accepted here
    /// can fail only by the device, by its deadline, or by numbers that are not finite.
    ///
    /// # Errors
    /// [`Error::Request`] if the model cannot answer it, [`Error::Foreign`] if the volume is another engine's,
    /// [`Error::Busy`] if the queue is full, [`Error::Stopped`] or what the engine has failed with.
    pub fn submit(&self, volume: &Volume, request: Request) -> Result<Answering> {
        self.submit_all([(volume, request)]).remove(0)
    }

    /// [`Engine::submit`] for several questions, which come to the engine at the same time. Each has a result of its
    /// own.
    pub fn submit_all<'a>(&self, questions: impl IntoIterator<Item = (&'a Volume, Request)>) -> Vec<Result<Answering>> {
        let mut accepted = Vec::new();
        let checked = questions.into_iter().map(|(volume, request)| {
            let (question, answering) = self.question(volume, request, None)?;
            accepted.push(question);
            Ok(answering)
        });
        let checked: Vec<Result<Answering>> = checked.collect();
        let mut queued = self.shared.inbox.submit(accepted).into_iter();
        let mut next = || queued.next().expect("one for each that was accepted");
        checked.into_iter().map(|one| one.and_then(|answering| next().map(|()| answering))).collect()
    }

    /// [`Engine::submit`], and waits for the answer.
    ///
    /// # Errors
    /// As [`Engine::submit`] and [`Answering::finish`].
    pub fn ask(&self, volume: &Volume, request: Request) -> Result<Answer> {
        self.submit(volume, request)?.finish()
    }

    /// A question that can be answered, and where its answer will come.
    fn question(
        &self,
        volume: &Volume,
        request: Request,
        scored: Option<Arc<Scored>>,
    ) -> Result<(Question, Answering)> {
        let called = Instant::now();
        let Shared { id, facts, inbox, .. } = &*self.shared;
        let volume = volume.inner.clone();
        let place = volume.place;
        if volume.engine != *id {
            return Err(Error::Foreign);
        }
        let mut checked = facts.checked(&request)?;
        if let Some(scored) = &scored {
            facts.check_options(&checked, scored.longest())?;
            checked.new_tokens = 0;
        }
        let stream = Arc::new(Stream::default());
        let answering = Answering::new(stream.clone(), inbox.clone(), checked.prompt.ids_with_image());
        Ok((Question { volume: Some(volume), place, request, checked, stream, called, scored }, answering))
    }

    /// Log-probability of each option as the answer to the request's last question, its end included. The prompt runs
    /// once, and the tokens of the options go through the model over its pages, as many at a time as a step takes.
    /// An option is a text as the model would answer it (`B. Kidney`); options may be equal, or begin one another.
    ///
    /// # Errors
    /// As [`Engine::ask`]; [`Error::Request`] also if there are no options, more than [`OPTIONS_MAX`], an empty one, or
    /// one that does not fit behind the prompt.
    pub fn score<T: AsRef<str>>(&self, volume: &Volume, request: Request, options: &[T]) -> Result<Scoring> {
        if options.is_empty() || options.len() > OPTIONS_MAX {
            let found = options.len();
            return Err(Error::Request(format!("{found} options, 1 to {OPTIONS_MAX} can be scored")));
        }
        let ids = |option: &T| self.shared.facts.option_ids(&request.conversation, option.as_ref());
        let ids = options.iter().map(ids).collect::<Result<Vec<_>>>()?;
        let scored = Arc::new(Scored::new(ids));
        let (question, answering) = self.question(volume, request, Some(scored.clone()))?;
        self.shared.inbox.submit(vec![question]).remove(0)?;
        let answer = answering.finish()?;
        if !scored.is_complete() {
            return Err(Error::Cancelled);
        }
        let options = scored.scores();
        Ok(Scoring {
            best: best(&options),
            options,
            slice_scores: answer.slice_scores,
            prompt_tokens: answer.prompt_tokens,
            cached_tokens: answer.cached_tokens,
            prompt_ids: answer.prompt_ids,
            timings: answer.timings,
        })
    }

    /// The tokens of an answer to a conversation's last question, as training joins the two, and the one that ends it.
    ///
    /// # Errors
    /// [`Error::Request`] if there are none.
    pub fn answer_ids(&self, conversation: &Conversation, answer: &str) -> Result<Vec<u32>> {
        self.shared.facts.option_ids(conversation, answer)
    }
}

/// A pool of the engine's own.
fn pool(threads: usize) -> Result<ThreadPool> {
    let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|at| format!("med2e3-{at}")).build();
    pool.map_err(|error| Error::Failed(format!("no {threads} threads could be started: {error}").into()))
}
