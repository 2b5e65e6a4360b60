//! From a request that was understood to an answer on its way.
mod running;
pub(crate) mod text;

use crate::audit::Entry;
use crate::error::{ApiError, Result};
use crate::files;
use crate::keys::Caller;
use crate::reader::{self, ReadOptions, Scan};
use crate::shared::{Shared, hex, now};
use bytes::Bytes;
use med2e3::volume::WindowChoice;
use med2e3::{ContentHash, Engine, Request, Sampling, Scoring, Volume};
pub(crate) use running::Running;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;

/// How long to wait before looking again for a place for a volume: the engine frees it a moment after a question went.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Which scan a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// One that was uploaded.
    File(String),
    /// The bytes of its file.
    Inline(Bytes),
}

/// What a question says of how its scan is read.
pub(crate) struct Reading {
    pub window: Option<WindowChoice>,
    pub series: Option<String>,
    pub index: Option<usize>,
}

/// A question, understood.
pub(crate) struct Asked {
    pub source: Source,
    pub reading: Reading,
    pub request: Request,
}

/// A place among the questions, and the volume.
struct Placed {
    permit: OwnedSemaphorePermit,
    scan: Arc<Scan>,
    until: Instant,
    request: Request,
    /// Its line in the audit, where there is one.
    entry: Option<Entry>,
}

impl Asked {
    /// Asks; the answer comes from what is returned, and is cancelled with it.
    pub async fn submit(self, shared: &Arc<Shared>, caller: &Caller) -> Result<Running> {
        let started = Instant::now();
        let engine = shared.model()?.engine.clone();
        let placed = self.place(shared, caller).await?;
        let Placed { permit, scan, until, request, entry } = placed;
        let submit = move |volume: Volume, engine: Engine| engine.submit(&volume, request.clone());
        let mut entry = entry;
        let answering = with_volume(shared, engine, &scan, until, submit).await;
        let answering = answering.inspect_err(|error| fail(&mut entry, error))?;
        Ok(Running::new(shared.clone(), answering, permit, scan.hash, started).recorded(entry))
    }

    /// Has options scored.
    pub async fn score(
        self,
        shared: &Arc<Shared>,
        caller: &Caller,
        options: Vec<String>,
    ) -> Result<(Scoring, ContentHash)> {
        let started = Instant::now();
        let engine = shared.model()?.engine.clone();
        let placed = self.place(shared, caller).await?;
        let Placed { permit, scan, until, request, entry } = placed;
        let texts = options.clone();
        let score = move |volume: Volume, engine: Engine| {
            let _permit = &permit;
            engine.score(&volume, request.clone(), &options)
        };
        let mut entry = entry;
        let scoring = tokio::select! {
            scoring = with_volume(shared, engine, &scan, until, score) => scoring,
            () = shared.cut.cancelled() => Err(med2e3::Error::Stopped.into()),
        };
        let scoring = scoring.inspect_err(|error| fail(&mut entry, error))?;
        if let Some(entry) = entry {
            entry.end(Sha256::digest(&texts[scoring.best]).into()).await?;
        }
        shared.freed.notify_waiters();
        shared.metrics.finished("stop", started.elapsed(), &scoring.timings, scoring.prompt_tokens);
        Ok((scoring, scan.hash))
    }

    /// Takes a place and has the scan read.
    async fn place(self, shared: &Shared, caller: &Caller) -> Result<Placed> {
        let permit = shared.admit()?;
        let size = shared.model()?.engine.img_size();
        let until = Instant::now() + shared.config.limits.question;
        let Self { source, reading, mut request } = self;
        let options = |known: &ReadOptions| ReadOptions {
            window: reading.window.map_or_else(|| known.window.clone(), |window| window.to_string()),
            series: reading.series.clone().or_else(|| known.series.clone()),
            index: reading.index.or(known.index),
            ..known.clone()
        };
        let read = async {
            match source {
                Source::File(id) => {
                    let stored = shared.store.get(&id, caller.owner, now())?;
                    stored.scan(shared, &options(&stored.options), size).await
                }
                Source::Inline(bytes) => {
                    let raw = files::inline(shared, bytes).await?;
                    let scan = reader::read(shared, &raw, &options(&files::unsaid(shared)?), size).await?;
                    Ok(Arc::new(scan))
                }
            }
        };
        let late = |_| Err(med2e3::Error::Deadline.into());
        let scan = tokio::select! {
            scan = tokio::time::timeout_at(until.into(), read) => scan.unwrap_or_else(late)?,
            () = shared.cut.cancelled() => return Err(med2e3::Error::Stopped.into()),
        };
        request.deadline = Some(until);
        request.tenant = caller.owner.0 as u64;
        let entry = record(shared, caller, &scan, &request).await?;
        Ok(Placed { permit, scan, until, request, entry })
    }
}

/// Leaves the first line in the audit, where there is one.
async fn record(shared: &Shared, caller: &Caller, scan: &Scan, request: &Request) -> Result<Option<Entry>> {
    let (Some(audit), Some(config)) = (&shared.audit, &shared.config.audit) else { return Ok(None) };
    let model = shared.model()?;
    let mut question = Sha256::new();
    for turn in &request.conversation.turns {
        // Each text with its length, so that no two conversations are one.
        for text in [Some(&turn.question), turn.answer.as_ref()].into_iter().flatten() {
            question.update((text.len() as u64).to_le_bytes());
            question.update(text);
        }
    }
    let Sampling { temperature, top_k, top_p, seed } = request.sampling;
    let facts = json!({
        "key": shared.config.keys.name(caller.owner),
        "model": shared.config.model,
        "weights_sha256": model.weights,
        "program": config.program,
        "device": model.engine.device().describe(),
        "window": scan.report["window"],
        "input_sha256": hex(&scan.hash),
        "question_sha256": hex(&question.finalize()),
        "guide_sha256": request.guide.as_ref().map(|guide| hex(&Sha256::digest(guide))),
        "sampling": { "temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed },
        "max_tokens": request.max_new_tokens,
    });
    let Value::Object(facts) = facts else { unreachable!("an object") };
    Entry::begin(audit, &caller.request, facts).await.map(Some)
}

/// Records the error that takes the place of an answer.
fn fail(entry: &mut Option<Entry>, error: &ApiError) {
    if let Some(entry) = entry {
        entry.fail(error.code);
    }
}

/// Has `scan` encoded, or found, and calls the engine, on a thread that may block. Waits for a place for the volume.
async fn with_volume<T: Send + 'static>(
    shared: &Arc<Shared>,
    engine: Engine,
    scan: &Arc<Scan>,
    until: Instant,
    call: impl Fn(Volume, Engine) -> med2e3::Result<T> + Send + Sync + 'static,
) -> Result<T> {
    let call = Arc::new(call);
    let attempt = || {
        let engine = engine.clone();
        let scan = scan.clone();
        let shared = shared.clone();
        let call = call.clone();
        async move {
            let work = move || -> Result<Option<T>> {
                let encoded = match engine.encode(scan.voxels()?) {
                    Err(med2e3::Error::Busy { .. }) => return Ok(None),
                    encoded => encoded,
                };
                let done = encoded.and_then(|volume| call(volume, engine));
                done.map(Some).map_err(|error| {
                    shared.note(&error);
                    error.into()
                })
            };
            let done = tokio::task::spawn_blocking(work).await;
            done.unwrap_or_else(|_| Err(ApiError::internal("engine_failed", "the question made the server stumble")))
        }
    };
    if let Some(done) = attempt().await? {
        return Ok(done);
    }
    // All places are taken by volumes that are asked about. Whoever came first gets the next one.
    let late = || ApiError::from(med2e3::Error::Deadline);
    let turn = tokio::time::timeout_at(until.into(), shared.places.lock());
    let _turn = turn.await.map_err(|_| late())?;
    loop {
        if let Some(done) = attempt().await? {
            return Ok(done);
        }
        if Instant::now() >= until {
            return Err(late());
        }
        let _ = tokio::time::timeout(LOOK_AGAIN, shared.freed.notified()).await;
    }
}
