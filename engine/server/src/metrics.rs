//! What the server counts, under vLLM's names, for Prometheus.
use crate::shared::Shared;
use med2e3::Timings;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Why a question or a request ended, or which stage it was.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Finished {
    finished_reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reply {
    status: u16,
}

/// The audit's last line.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Head {
    sha256: String,
}

type Ratio = Gauge<f64, AtomicU64>;

/// Everything that `/metrics` shows.
pub(crate) struct Metrics {
    registry: Registry,
    /// Two pages at a time would count what the engine has counted twice.
    turn: Mutex<()>,
    running: Gauge,
    waiting: Gauge,
    cache: Ratio,
    volumes: Gauge,
    held: Gauge,
    spool: Gauge,
    files: Gauge,
    prefix_queries: Counter,
    prefix_hits: Counter,
    prompt_tokens: Counter,
    generation_tokens: Counter,
    finished: Family<Finished, Counter>,
    rejected: Family<Reason, Counter>,
    replies: Family<Reply, Counter>,
    audit_lines: Gauge,
    audit_head: Family<Head, Gauge>,
    first_token: Histogram,
    between_tokens: Histogram,
    whole: Histogram,
    queue: Histogram,
    prefill: Histogram,
    decode: Histogram,
}

impl Metrics {
    pub fn new(prefix: &str) -> Self {
        // Half a millisecond to half a minute, and the double, and so on to 9 minutes.
        let seconds = || Histogram::new(exponential_buckets(0.0005, 2.0, 21));
        let mut found = Self {
            registry: Registry::default(),
            turn: Mutex::new(()),
            running: Gauge::default(),
            waiting: Gauge::default(),
            cache: Ratio::default(),
            volumes: Gauge::default(),
            held: Gauge::default(),
            spool: Gauge::default(),
            files: Gauge::default(),
            prefix_queries: Counter::default(),
            prefix_hits: Counter::default(),
            prompt_tokens: Counter::default(),
            generation_tokens: Counter::default(),
            finished: Family::default(),
            rejected: Family::default(),
            replies: Family::default(),
            audit_lines: Gauge::default(),
            audit_head: Family::default(),
            first_token: seconds(),
            between_tokens: seconds(),
            whole: seconds(),
            queue: seconds(),
            prefill: seconds(),
            decode: seconds(),
        };
        found.register(prefix);
        found
    }

    fn register(&mut self, prefix: &str) {
        let Self { registry, .. } = self;
        let mut gauge = |name: &str, help: &str, metric: &Gauge| {
            registry.register(format!("{prefix}:{name}"), help, metric.clone());
        };
        gauge("num_requests_running", "Questions whose prompt or answer is in the making", &self.running);
        gauge("num_requests_waiting", "Questions that wait for their turn", &self.waiting);
        gauge("volume_cache_entries", "Volumes that are encoded", &self.volumes);
        gauge("volume_cache_held", "Places for volumes that questions keep", &self.held);
        gauge("spool_bytes", "Bytes of uploads and decoded scans", &self.spool);
        gauge("audit_lines", "Lines of the audit", &self.audit_lines);
        gauge("files", "Files that are kept", &self.files);
        registry.register(
            format!("{prefix}:kv_cache_usage_perc"),
            "Share of the KV cache in use, 0 to 1",
            self.cache.clone(),
        );
        let mut counter = |name: &str, help: &str, metric: &Counter| {
            registry.register(format!("{prefix}:{name}"), help, metric.clone());
        };
        counter("prefix_cache_queries", "Prompts whose beginning was looked for in the cache", &self.prefix_queries);
        counter("prefix_cache_hits", "Prompts whose beginning was in the cache", &self.prefix_hits);
        counter("prompt_tokens", "Rows of prompts that were read, image rows included", &self.prompt_tokens);
        counter("generation_tokens", "Tokens of answers", &self.generation_tokens);
        registry.register(format!("{prefix}:request_success"), "Questions that were answered", self.finished.clone());
        registry.register(format!("{prefix}:requests_rejected"), "Requests that were refused", self.rejected.clone());
        registry.register(format!("{prefix}:http_replies"), "Replies by their status", self.replies.clone());
        registry.register(format!("{prefix}:audit_head"), "The audit's last line", self.audit_head.clone());
        let mut seconds = |name: &str, help: &str, metric: &Histogram| {
            registry.register(format!("{prefix}:{name}_seconds"), help, metric.clone());
        };
        seconds("time_to_first_token", "From the request to the first token", &self.first_token);
        seconds("inter_token_latency", "Between two tokens of an answer", &self.between_tokens);
        seconds("e2e_request_latency", "From the request to the answer's end", &self.whole);
        seconds("request_queue_time", "From the call to the prompt's beginning", &self.queue);
        seconds("request_prefill_time", "Reading the prompt", &self.prefill);
        seconds("request_decode_time", "The steps of all later tokens", &self.decode);
    }

    /// A reply was sent; `code` is why it is a refusal, if it is one.
    pub fn reply(&self, status: u16, code: Option<&'static str>) {
        self.replies.get_or_create(&Reply { status }).inc();
        if let Some(reason) = code {
            self.rejected.get_or_create(&Reason { reason }).inc();
        }
    }

    /// The first token has come so long after the request.
    pub fn first_token(&self, after: Duration) {
        self.first_token.observe(after.as_secs_f64());
    }

    /// Another token has come so long after the one before.
    pub fn next_token(&self, after: Duration) {
        self.between_tokens.observe(after.as_secs_f64());
    }

    /// A question was answered.
    pub fn finished(&self, finished_reason: &'static str, after: Duration, timings: &Timings, prompt_tokens: usize) {
        self.finished.get_or_create(&Finished { finished_reason }).inc();
        self.whole.observe(after.as_secs_f64());
        self.prompt_tokens.inc_by(prompt_tokens as u64);
        self.queue.observe(timings.queued_ms / 1e3);
        self.prefill.observe(timings.prefill_ms / 1e3);
        self.decode.observe(timings.decode_ms / 1e3);
    }

    /// The page.
    pub fn page(&self, shared: &Shared) -> String {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.spool.set(shared.spool.used() as i64);
        self.files.set(shared.store.len() as i64);
        if let Some(model) = shared.loaded() {
            let stats = model.engine.stats();
            self.running.set(stats.running as i64);
            // Those that wait for a volume have not come to the engine yet.
            self.waiting.set(shared.admitted().saturating_sub(stats.running) as i64);
            let taken = stats.pages - stats.available_pages.min(stats.pages);
            self.cache.set(taken as f64 / stats.pages.max(1) as f64);
            self.volumes.set(stats.encoded_volumes as i64);
            self.held.set(stats.held_volumes as i64);
            let queries = stats.prefix_hits + stats.prefix_misses;
            raise(&self.prefix_queries, queries);
            raise(&self.prefix_hits, stats.prefix_hits);
            raise(&self.generation_tokens, stats.tokens);
        }
        if let Some(chain) = shared.audit.as_ref().map(|audit| audit.chain()) {
            self.audit_lines.set(chain.lines as i64);
            self.audit_head.clear();
            self.audit_head.get_or_create(&Head { sha256: chain.head }).set(1);
        }
        let mut page = String::new();
        match prometheus_client::encoding::text::encode(&mut page, &self.registry) {
            Ok(()) => page,
            Err(_) => String::new(),
        }
    }
}

/// Brings a counter to what the engine has counted.
fn raise(counter: &Counter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}
