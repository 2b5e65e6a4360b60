//! `serve`: answers over HTTP, until it is told to stop.

mod log;

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use med2e3::volume::WindowChoice;
use med2e3::{Device, DeviceChoice, Engine, LoadOptions, Precision, TgisMode};
use med2e3_loaders as loaders;
use med2e3_loaders::ModelFolder;
use med2e3_server::{AuditConfig, Config, Keys, Limits, ReaderProgram, Server, TlsFiles, audit};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::args::bytes::bytes;
use crate::args::device::PrecisionChoice;
use crate::args::sampling;
use crate::failure::{Failure, Result};
use crate::generate::demo::TemporaryModel;
use crate::interrupt;

/// Threads that speak HTTP; the model has its own.
const HTTP_THREADS: usize = 2;
/// How long what was begun may take when the server ends.
const LAST_WORK: Duration = Duration::from_secs(2);
/// The command that decodes one scan.
const READ_SCAN: &str = "read-scan";

/// Answer questions over HTTP, as OpenAI's clients ask them
#[derive(Debug, Args)]
pub struct Serve {
    /// The model's folder
    #[arg(long, value_name = "DIR", required_unless_present = "demo", conflicts_with = "demo")]
    model: Option<PathBuf>,
    /// Serve the built-in model, which is tiny and trained on made-up patients
    #[arg(long)]
    demo: bool,
    /// The address to listen at; one that other machines reach wants --api-key-file
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: IpAddr,
    /// The port to listen at; 0 for any that is free
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,
    /// A file with a name and a key on each line: who may ask
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// A certificate in PEM, with those that vouch for it: the server speaks TLS
    #[arg(long, value_name = "FILE.pem", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE.pem", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Another name by which browsers may call a server without keys
    #[arg(long = "allow-host", value_name = "NAME")]
    hosts: Vec<String>,
    /// What the model is called [default: the folder's name]
    #[arg(long, value_name = "NAME")]
    served_model_name: Option<String>,
    /// auto, cpu, cuda, cuda:N or emulated
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// exact never rounds an activation, fast may [default: exact for f32 checkpoints and small models]
    #[arg(long, value_enum)]
    precision: Option<PrecisionChoice>,
    /// How slices are weighted: checkpoint, uniform, max or random:SEED
    #[arg(long, value_name = "HOW", default_value = "checkpoint", value_parser = sampling::tgis)]
    tgis: TgisMode,
    /// Answer N questions at a time, 1 to 256
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = sampling::batch)]
    batch: usize,
    /// Tokens in the KV cache [default: the model's limit for each of --batch]
    #[arg(long, value_name = "N", value_parser = sampling::at_least_one)]
    cache_tokens: Option<usize>,
    /// Volumes that stay encoded
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = sampling::volumes)]
    volumes: usize,
    /// Questions that may wait for their turn; one more is refused with 429
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = sampling::at_least_one)]
    queue: usize,
    /// The window of scans whose upload says none, as `generate` takes it
    #[arg(long, value_name = "WINDOW", default_value = "auto", allow_hyphen_values = true)]
    window: WindowChoice,
    /// Take special tokens in a user's text for those tokens, as the official code does, and not for text
    #[arg(long)]
    official_tokens: bool,
    /// Record every question in a chain of hashes, without its text; see `engine-cli audit`
    #[arg(long, value_name = "FILE.jsonl")]
    audit: Option<PathBuf>,
    #[command(flatten)]
    limits: LimitArgs,
}

/// What clients may take.
#[derive(Debug, Args)]
struct LimitArgs {
    /// Where uploads are kept, in files without names that end with the process [default: TMPDIR]
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// The most bytes of an upload
    #[arg(long, value_name = "BYTES", default_value = "2GiB", value_parser = bytes)]
    max_upload: u64,
    /// The most bytes of a body of JSON
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = bytes)]
    max_body: u64,
    /// The most bytes of all uploads and decoded scans together
    #[arg(long, value_name = "BYTES", default_value = "32GiB", value_parser = bytes)]
    max_spool: u64,
    /// How long a file is kept unless its upload says otherwise
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(1..))]
    expire: u64,
    /// How long a question may take, waiting included
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = seconds(1))]
    timeout: u64,
    /// How long answers may go on after TERM or Ctrl-C
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = seconds(0))]
    drain: u64,
    /// The most memory of the process that decodes a scan
    #[arg(long, value_name = "BYTES", default_value = "8GiB", value_parser = bytes)]
    decode_memory: u64,
    /// How long that process may take
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = seconds(1))]
    decode_timeout: u64,
}

/// A day at most, so that no sum of times runs over.
fn seconds(least: u64) -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(least..=86_400)
}

/// Decode a scan for a server
#[derive(Debug, Args)]
#[command(hide = true)]
pub struct ReadScan {
    job: String,
}

impl ReadScan {
    /// Decodes standard input to standard output; whether it could say what became of it.
    pub fn run(&self) -> bool {
        med2e3_server::reader::run(&self.job)
    }
}

/// A model that is ready.
struct Loaded {
    engine: Engine,
    /// SHA-256 of its files, where that is recorded.
    weights: Option<String>,
}

/// The model's folder, which a demo's takes along when it goes.
struct Model {
    path: PathBuf,
    _made: Option<TemporaryModel>,
}

impl Serve {
    /// Answers until a signal comes.
    pub fn run(&self) -> Result<()> {
        let keys = self.keys()?;
        if keys.is_empty() && !self.host.is_loopback() {
            let finding = format!("--host {} can be reached from other machines", self.host);
            return Err(Failure::usage(format!("{finding}; give --api-key-file, or listen at 127.0.0.1")));
        }
        let gpu = self.device.gpu()?;
        let model = self.model()?;
        let folder = ModelFolder::open(&model.path)?;
        let server = Server::new(self.config(keys, &folder)?).map_err(|error| {
            let remedy = "give --spool a folder that can be written, --audit a file that is whole, and --tls-cert and \
                 --tls-key two files that belong together";
            Failure::runtime(format!("the server cannot start: {error}; {remedy}"))
        })?;
        log::start();
        let failed = |error: std::io::Error| Failure::runtime(format!("cannot start threads: {error}; free memory"));
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(HTTP_THREADS).enable_all().build().map_err(failed)?;
        let (stop, stopped) = oneshot::channel::<()>();
        interrupt::instead(move || drop(stop));
        let loading = self.load(gpu, folder, model.path.clone()).map_err(failed)?;
        let done = runtime.block_on(self.answer(&server, loading, async { stopped.await.unwrap_or_default() }));
        // A question that is scored may still hold a thread; the audit's last lines take less.
        runtime.shutdown_timeout(LAST_WORK);
        done
    }

    async fn answer(
        &self,
        server: &Server,
        loading: oneshot::Receiver<Result<Loaded>>,
        stop: impl Future<Output = ()>,
    ) -> Result<()> {
        let at = format!("{} port {}", self.host, self.port);
        let bound = TcpListener::bind((self.host, self.port)).await;
        let listener = bound.map_err(|error| {
            Failure::runtime(format!("cannot listen at {at}: {error}; give another --port, or end what listens there"))
        })?;
        let failed = |error: std::io::Error| Failure::runtime(format!("cannot listen at {at}: {error}"));
        tracing::info!(address = %listener.local_addr().map_err(failed)?, "listening");
        let loaded = async {
            match loading.await {
                Ok(Ok(Loaded { engine, weights })) => server.set_engine(engine, weights),
                Ok(Err(failure)) => return failure,
                Err(_) => return Failure::runtime("loading the model has failed; the line before says why"),
            }
            std::future::pending().await
        };
        tokio::select! {
            ended = server.run(listener, stop) => ended.map_err(failed),
            failure = loaded => Err(failure),
        }
    }

    /// Loads the model on a thread of its own.
    fn load(
        &self,
        gpu: Option<Arc<dyn Device>>,
        folder: ModelFolder,
        path: PathBuf,
    ) -> std::io::Result<oneshot::Receiver<Result<Loaded>>> {
        let options = LoadOptions {
            batch: self.batch,
            cache_tokens: self.cache_tokens,
            volumes: self.volumes,
            queue: self.batch + self.queue,
            tgis: self.tgis,
            ..LoadOptions::default()
        };
        let precision = self.precision.map(Precision::from);
        let (send, loading) = oneshot::channel();
        let is_recorded = self.audit.is_some();
        let load = move || {
            let device = gpu.unwrap_or_else(|| med2e3::device::cpu(precision, &folder));
            let load = || {
                let engine = Engine::load(device, &folder, &options, &mut |_| ControlFlow::Continue(()))?;
                let hash = || audit::folder_sha256(&path).map_err(|error| loaders::Error::io(&path, "read", error));
                Ok(Loaded { engine, weights: is_recorded.then(hash).transpose()? })
            };
            let _ = send.send(load());
        };
        std::thread::Builder::new().name("load".into()).spawn(load)?;
        Ok(loading)
    }

    fn model(&self) -> Result<Model> {
        match &self.model {
            Some(path) => Ok(Model { path: path.clone(), _made: None }),
            None => {
                let made = TemporaryModel::make()?;
                Ok(Model { path: made.path().to_owned(), _made: Some(made) })
            }
        }
    }

    fn keys(&self) -> Result<Keys> {
        let Some(path) = &self.api_key_file else { return Ok(Keys::default()) };
        let text = std::fs::read_to_string(path).map_err(|error| med2e3_loaders::Error::io(path, "read", error))?;
        Keys::parse(&text).map_err(|finding| Failure::input(format!("{}: {finding}", path.display())))
    }

    fn config(&self, keys: Keys, folder: &ModelFolder) -> Result<Config> {
        let given = &self.limits;
        let body = usize::try_from(given.max_body).unwrap_or(usize::MAX);
        let limits = Limits {
            upload: given.max_upload,
            body,
            spool: given.max_spool,
            expire: Duration::from_secs(given.expire),
            questions: self.batch + self.queue,
            question: Duration::from_secs(given.timeout),
            decode_memory: given.decode_memory,
            decode_time: Duration::from_secs(given.decode_timeout),
            drain: Duration::from_secs(given.drain),
            ..Limits::default()
        };
        let program = format!("engine-cli {}", env!("CARGO_PKG_VERSION"));
        let own = std::env::current_exe()
            .map_err(|error| Failure::runtime(format!("cannot find this program's own file: {error}")))?;
        let certificate = self.tls_cert.clone().zip(self.tls_key.clone());
        Ok(Config {
            model: self.name(),
            keys,
            hosts: self.hosts.clone(),
            spool: given.spool.clone().unwrap_or_else(std::env::temp_dir),
            reader: ReaderProgram { program: own, arguments: vec![READ_SCAN.into()] },
            window: self.window,
            model_window: folder.window,
            official_tokens: self.official_tokens,
            metrics_prefix: "med2e3".into(),
            tls: certificate.map(|(certificate, key)| TlsFiles { certificate, key }),
            audit: self.audit.clone().map(|file| AuditConfig { file, program }),
            limits,
        })
    }

    /// What the model is called.
    fn name(&self) -> String {
        let folder = || self.model.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        let default = if self.demo { "demo" } else { "med2e3" };
        self.served_model_name.clone().or_else(folder).unwrap_or_else(|| default.into())
    }
}
