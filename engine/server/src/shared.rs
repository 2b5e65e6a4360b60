//! What all handlers know.
use crate::Config;
use crate::ask::text::Plain;
use crate::audit::{self, Audit};
use crate::error::{ApiError, Result};
use crate::files::Store;
use crate::metrics::Metrics;
use crate::spool::Spool;
use med2e3::Engine;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Bodies of JSON above this size take turns.
pub(crate) const SMALL_BODY_BYTES: usize = 1 << 20;
/// How many of them are in memory at a time.
const LARGE_BODIES: usize = 4;

/// What all handlers know.
pub(crate) struct Shared {
    pub config: Config,
    pub store: Store,
    pub spool: Spool,
    pub metrics: Metrics,
    pub audit: Option<Arc<Audit>>,
    model: OnceLock<Model>,
    draining: AtomicBool,
    /// The engine must be loaded again.
    failed: AtomicBool,
    /// Ends every answer.
    pub cut: CancellationToken,
    questions: Arc<Semaphore>,
    /// Uploads that are being received or decoded.
    pub uploads: AtomicUsize,
    pub decoders: Semaphore,
    pub large_bodies: Semaphore,
    /// Whoever waits for a place for a volume waits behind this.
    pub places: Mutex<()>,
    /// A question has ended, so that a place may be free.
    pub freed: Notify,
    /// When the server began, seconds since 1970.
    pub started: u64,
}

/// The model, once it is loaded.
pub(crate) struct Model {
    pub engine: Engine,
    pub plain: Plain,
    /// SHA-256 of the model's files, where it is recorded.
    pub weights: Option<String>,
}

impl Shared {
    pub fn new(config: Config) -> std::io::Result<Self> {
        let limits = &config.limits;
        Ok(Self {
            spool: Spool::open(&config.spool, limits.spool)?,
            store: Store::new(limits.files),
            metrics: Metrics::new(&config.metrics_prefix),
            audit: config.audit.as_ref().map(|audit| Audit::open(&audit.file).map(Arc::new)).transpose()?,
            model: OnceLock::new(),
            draining: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            cut: CancellationToken::new(),
            questions: Arc::new(Semaphore::new(limits.questions)),
            uploads: AtomicUsize::new(0),
            decoders: Semaphore::new(limits.decoders),
            large_bodies: Semaphore::new(LARGE_BODIES),
            places: Mutex::new(()),
            freed: Notify::new(),
            started: now(),
            config,
        })
    }

    /// Takes the model, after which the server is ready.
    pub fn set_engine(&self, engine: Engine, weights: Option<String>) {
        let plain = Plain::new(engine.tokenizer());
        let _ = self.model.set(Model { engine, plain, weights });
    }

    /// The model, if it is loaded, whatever else is going on.
    pub fn loaded(&self) -> Option<&Model> {
        self.model.get()
    }

    /// The model, if questions are taken.
    pub fn model(&self) -> Result<&Model> {
        if self.draining.load(Ordering::SeqCst) {
            return Err(ApiError::unavailable("shutting_down", "the server is being stopped; ask another"));
        }
        if self.failed.load(Ordering::SeqCst) {
            let message = "the engine has failed and must be loaded again; the server's log says why";
            return Err(ApiError::unavailable("engine_failed", message));
        }
        if self.audit.as_ref().is_some_and(|audit| audit.has_failed()) {
            return Err(audit::broken());
        }
        self.model.get().ok_or_else(|| ApiError::unavailable("loading", "the model is being loaded; try again soon"))
    }

    /// The engine, for what had begun before the server was told to stop.
    pub fn engine_even_if_draining(&self) -> Result<&Engine> {
        let loaded = self.model.get().map(|model| &model.engine);
        loaded.ok_or_else(|| ApiError::unavailable("loading", "the model is being loaded; try again soon"))
    }

    /// A place among the questions.
    pub fn admit(&self) -> Result<OwnedSemaphorePermit> {
        let most = self.config.limits.questions;
        let full = |_| ApiError::busy(format!("{most} questions wait or run already, as many as may; try again soon"));
        self.questions.clone().try_acquire_owned().map_err(full)
    }

    /// Questions that have a place.
    pub fn admitted(&self) -> usize {
        self.config.limits.questions - self.questions.available_permits()
    }

    /// Whether anything is in the making that a client waits for.
    pub fn busy(&self) -> bool {
        self.admitted() > 0 || self.uploads.load(Ordering::SeqCst) > 0
    }

    /// Takes no new questions.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Looks whether an engine's error is its last: after a launch that failed it gives no right answer any more.
    pub fn note(&self, error: &med2e3::Error) {
        let is_last = match error {
            med2e3::Error::Failed(_) => true,
            med2e3::Error::Device(error) => matches!(error, med2e3::kernels::Error::Launch { .. }),
            _ => false,
        };
        if is_last && !self.failed.swap(true, Ordering::SeqCst) {
            tracing::error!(reason = %error, "the engine has failed");
        }
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `prefix` and 128 random bits.
pub(crate) fn random_id(prefix: &str) -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|_| ApiError::internal("no_randomness", "the system gives no random numbers"))?;
    Ok(format!("{prefix}{}", hex(&bytes)))
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
