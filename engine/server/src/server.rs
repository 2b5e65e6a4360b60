//! Listening, and ending in good order.
use crate::Config;
use crate::http::router;
use crate::shared::{Shared, now};
use crate::tls;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use med2e3::Engine;
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tower_http::timeout::RequestBodyTimeout;

/// The most bytes of a request's head, and of a part of a body that is read at a time.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// The most headers of a request.
const HEADERS_MAX: usize = 100;
/// How often files that have expired are dropped.
const SWEEP: Duration = Duration::from_secs(1);
/// How often a server that ends looks whether it may.
const LOOK: Duration = Duration::from_millis(20);
/// How long replies that are complete may take to be sent when the server ends.
const FLUSH: Duration = Duration::from_secs(2);
/// How long to wait after a connection could not be accepted, for lack of file descriptors, say.
const PAUSE: Duration = Duration::from_millis(50);

/// A server, which clones share.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
    tls: Option<TlsAcceptor>,
}

impl Server {
    /// A server without a model: it answers that it is not ready.
    ///
    /// # Errors
    /// No file can be made in the spool's folder, the audit cannot be gone on with, or the certificate cannot be used
    /// with its key.
    pub fn new(config: Config) -> Result<Self> {
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        Ok(Self { shared: Arc::new(Shared::new(config)?), tls })
    }

    /// Gives it the model, after which it is ready. `weights` is the SHA-256 of the model's files, for the audit.
    pub fn set_engine(&self, engine: Engine, weights: Option<String>) {
        self.shared.set_engine(engine, weights);
        self.tell_audit();
        tracing::info!("ready");
    }

    /// Logs how far the audit goes, for whoever keeps that.
    fn tell_audit(&self) {
        if let Some(chain) = self.shared.audit.as_ref().map(|audit| audit.chain()) {
            tracing::info!(head = chain.head, lines = chain.lines, "audit");
        }
    }

    /// Answers until `stop` comes; then answers that are in the making may go on for [`crate::Limits::drain`].
    ///
    /// # Errors
    /// The listener's address can be reached from other machines, and there are no keys.
    pub async fn run(&self, listener: TcpListener, stop: impl Future<Output = ()>) -> Result<()> {
        let shared = &self.shared;
        if shared.config.keys.is_empty() && !listener.local_addr()?.ip().is_loopback() {
            let message = "an address that other machines reach wants keys; give --api-key-file";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let connections = Connections::new(shared, listener, self.tls.clone());
        let mut sweeps = interval(SWEEP);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                () = connections.accept() => {}
                _ = sweeps.tick() => shared.store.sweep(now()),
            }
        }
        shared.drain();
        let until = Instant::now() + shared.config.limits.drain;
        tracing::info!(questions = shared.admitted(), "draining");
        // Still answering: that the server is not ready is an answer too.
        while shared.busy() && Instant::now() < until {
            tokio::select! {
                () = connections.accept() => {}
                () = sleep(LOOK) => {}
            }
        }
        shared.cut.cancel();
        let _ = timeout(FLUSH, connections.end()).await;
        self.tell_audit();
        tracing::info!("ended");
        Ok(())
    }
}

/// What listens, and what came.
struct Connections {
    shared: Arc<Shared>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    app: axum::Router,
    places: Arc<Semaphore>,
    graceful: GracefulShutdown,
}

impl Connections {
    fn new(shared: &Arc<Shared>, listener: TcpListener, tls: Option<TlsAcceptor>) -> Self {
        let places = Arc::new(Semaphore::new(shared.config.limits.connections));
        let graceful = GracefulShutdown::new();
        Self { shared: shared.clone(), listener, tls, app: router(shared), places, graceful }
    }

    /// Waits for a connection and starts to serve it.
    async fn accept(&self) {
        // Nothing closes the semaphore. Whoever waits in the system's queue holds nothing of ours.
        let Ok(place) = self.places.clone().acquire_owned().await else { return };
        match self.listener.accept().await {
            Ok((stream, _)) => self.serve(stream, place),
            Err(error) => {
                tracing::warn!(reason = %error, "a connection could not be accepted");
                sleep(PAUSE).await;
            }
        }
    }

    fn serve(&self, stream: TcpStream, place: OwnedSemaphorePermit) {
        let idle = self.shared.config.limits.idle;
        // Parts of an answer are small, and each one is waited for.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        // A client that reads nothing: what it holds comes free. That it sends nothing is known by head and body.
        stream.set_write_timeout(Some(idle));
        let service = RequestBodyTimeout::new(self.app.clone(), idle);
        let tls = self.tls.clone();
        let watcher = self.graceful.watcher();
        tokio::spawn(async move {
            let stream = Box::pin(stream);
            match tls {
                None => speak(stream, service, watcher, idle).await,
                Some(tls) => {
                    // A handshake that fails, or does not come, is the client's affair.
                    if let Ok(Ok(stream)) = timeout(idle, tls.accept(stream)).await {
                        speak(stream, service, watcher, idle).await;
                    }
                }
            }
            drop(place);
        });
    }

    /// Waits until what was begun is sent.
    async fn end(self) {
        self.graceful.shutdown().await;
    }
}

/// Serves one connection to its end.
async fn speak(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    service: RequestBodyTimeout<axum::Router>,
    watcher: Watcher,
    idle: Duration,
) {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(idle).max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    // How a connection ends is its client's affair.
    let _ = watcher.watch(connection).await;
}
