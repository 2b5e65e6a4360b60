//! A server over the demo's model, on a port of its own.
use crate::client::{Client, FORM, JSON, Reply, form, request};
use crate::schema;
use med2e3::volume::{VolumeOptions, read_volume, write_npy};
use med2e3::{DeviceChoice, Engine, LoadOptions, ModelFolder, Volume, prepare};
use med2e3_phantom::{Case, DIMS, Scan};
use med2e3_server::{Config, Keys, Limits, ReaderProgram, Server};
use serde_json::Value;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A question that the demo's model answers in a word.
pub const QUESTION: &str = "Which plane is shown?";

/// A server that runs, and the engine below it.
pub struct Rig {
    pub address: SocketAddr,
    pub engine: Engine,
    pub folder: TempDir,
    pub server: Server,
    document: OnceLock<Value>,
    runtime: Runtime,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<std::io::Result<()>>>,
}

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/research/demo/model")
}

/// The demo's model in `folder`, with another end of answers, which it does not know: it goes on to its limit.
fn endless(folder: &Path) -> PathBuf {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            let from = entry.path();
            let to = to.join(entry.file_name());
            if from.is_dir() {
                copy(&from, &to);
            } else {
                std::fs::copy(&from, &to).unwrap();
            }
        }
    }
    let model = folder.join("endless");
    copy(&demo(), &model);
    for (file, from, to) in [
        ("args/config.json", "\"eos_token_id\": 678", "\"eos_token_id\": 0"),
        ("llm/config.json", "\"eos_token_id\": 678", "\"eos_token_id\": 0"),
        ("tokenizer_config.json", "\"eos_token\": \"<|endoftext|>\"", "\"eos_token\": \"<unk>\""),
    ] {
        let text = std::fs::read_to_string(model.join(file)).unwrap();
        assert!(text.contains(from), "{file}");
        std::fs::write(model.join(file), text.replace(from, to)).unwrap();
    }
    model
}

fn engine(model: &Path, options: &LoadOptions) -> Engine {
    let folder = ModelFolder::open(model).unwrap();
    let device = DeviceChoice::Cpu.open(None, &folder).unwrap();
    Engine::load(device, &folder, options, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// A made-up patient as a .npy file.
pub fn patient(seed: u64) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("patient.npy");
    write_npy(&path, DIMS, &Scan::new(&Case::new(seed), DIMS).prepared()).unwrap();
    std::fs::read(path).unwrap()
}

/// The patient whom most tests ask about.
pub fn scan() -> &'static [u8] {
    static SCAN: OnceLock<Vec<u8>> = OnceLock::new();
    SCAN.get_or_init(|| patient(3_000_000))
}

/// What a server is told unless a test says otherwise.
fn config(folder: &Path) -> Config {
    let spool = folder.join("spool");
    std::fs::create_dir(&spool).unwrap();
    Config {
        model: "demo".into(),
        keys: Keys::default(),
        hosts: Vec::new(),
        spool,
        reader: ReaderProgram { program: reader(), arguments: Vec::new() },
        window: Default::default(),
        model_window: None,
        official_tokens: false,
        metrics_prefix: "med2e3".into(),
        tls: None,
        audit: None,
        limits: Limits::default(),
    }
}

impl Rig {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    /// A server whose configuration `change` has changed.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::new(&LoadOptions { batch: 4, ..LoadOptions::default() }, change)
    }

    pub fn new(options: &LoadOptions, change: impl FnOnce(&mut Config)) -> Self {
        let rig = Self::without_model(options, change);
        rig.server.set_engine(rig.engine.clone(), None);
        rig
    }

    /// Why a server with such a configuration does not start.
    pub fn refused(change: impl FnOnce(&mut Config)) -> std::io::Error {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        change(&mut config);
        Server::new(config).err().expect("a refusal")
    }

    /// A server whose model never ends an answer before its limit of a few hundred tokens.
    pub fn endless(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = endless(folder.path());
        let rig = Self::over(&model, &LoadOptions { batch: 4, ..LoadOptions::default() }, change);
        rig.server.set_engine(rig.engine.clone(), None);
        rig
    }

    pub fn without_model(options: &LoadOptions, change: impl FnOnce(&mut Config)) -> Self {
        Self::over(&demo(), options, change)
    }

    fn over(model: &Path, options: &LoadOptions, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        change(&mut config);
        let engine = engine(model, options);
        let server = Server::new(config).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let runs = server.clone();
        let running = runtime.spawn(async move { runs.run(listener, async { drop(stopped.await) }).await });
        Self {
            address,
            engine,
            folder,
            server,
            document: OnceLock::new(),
            runtime,
            stop: Some(stop),
            running: Some(running),
        }
    }

    /// Tells the server to stop.
    pub fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until it has ended.
    pub fn ended(&mut self) {
        let running = self.running.take().expect("once");
        self.runtime.block_on(running).unwrap().unwrap();
    }

    /// One request on a connection of its own.
    pub fn ask(&self, method: &str, path: &str, head: &str, body: &[u8]) -> Reply {
        let mut client = Client::connect(self.address);
        client.send(&request(method, path, head, body));
        let reply = client.reply();
        if reply.status != 431 {
            schema::check(self.document.get_or_init(|| self.document()), method, path, &reply);
        }
        reply
    }

    /// What the server says of itself.
    fn document(&self) -> Value {
        let mut client = Client::connect(self.address);
        client.send(&request("GET", "/openapi.json", "", b""));
        client.reply().json()
    }

    pub fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "", b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.ask("POST", path, JSON, body.to_string().as_bytes())
    }

    /// Uploads a file; its id.
    pub fn upload(&self, file: &[u8]) -> String {
        let reply = self.ask("POST", "/v1/files", FORM, &form("scan.npy", file, &[]));
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["id"].as_str().unwrap().to_owned()
    }

    /// The same scan as the engine's callers have it.
    pub fn volume(&self, file: &[u8]) -> Volume {
        let path = self.folder.path().join("volume.npy");
        std::fs::write(&path, file).unwrap();
        let options = VolumeOptions::default();
        let raw = read_volume(&path, &options).unwrap();
        let prepared = prepare(self.engine.device(), &raw, self.engine.img_size(), &options).unwrap();
        self.engine.encode(prepared.voxels).unwrap()
    }

    /// Waits until `done`, and fails after a while.
    pub fn wait(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let until = Instant::now() + Duration::from_secs(30);
        while !done(self) {
            assert!(Instant::now() < until, "{what} did not happen");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A number of `/metrics`.
    pub fn metric(&self, name: &str) -> f64 {
        let page = self.get("/metrics").text();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
    }

    /// Nothing waits or runs, and every page of the cache is free or kept for its beginning alone.
    pub fn is_idle(&self) -> bool {
        let stats = self.engine.stats();
        stats.running == 0 && stats.waiting == 0 && stats.available_pages == stats.pages && stats.held_volumes == 0
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The program that decodes scans.
pub fn reader() -> PathBuf {
    env!("CARGO_BIN_EXE_read-scan").into()
}

/// A reader that waits until there is a file at `gate`.
pub fn gated(gate: &Path) -> ReaderProgram {
    let script =
        format!("while [ ! -e '{}' ]; do /bin/sleep 0.01; done; exec '{}' \"$1\"", gate.display(), reader().display());
    ReaderProgram { program: "/bin/sh".into(), arguments: ["-c", &script, "sh"].map(Into::into).to_vec() }
}
