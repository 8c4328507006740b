//! A server of the socket: the S3 dialect over memory, and versions as the test publishes them.

use std::{
    convert::Infallible,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use object_store::memory::InMemory;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use vdt_dialect::{BoxError, DataSurface, Edge, HttpMetrics, Listen, Peer, ServeOptions};
use vdt_sidecar::link::{
    Socket,
    wire::{VERSIONS_PATH, Version, Versions},
};

/// See the module's documentation.
pub(crate) struct Server {
    pub(crate) store: Arc<InMemory>,
    pub(crate) store_id: String,
    folder: tempfile::TempDir,
    runs: u64,
    connections: Arc<AtomicUsize>,
    traces: Arc<Mutex<Vec<String>>>,
    running: Option<Running>,
}

struct Running {
    versions: Arc<watch::Sender<Versions>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let mut server = Self {
            store: Arc::new(InMemory::new()),
            store_id: "a store".to_owned(),
            folder: tempfile::tempdir().unwrap(),
            runs: 0,
            connections: Arc::default(),
            traces: Arc::default(),
            running: None,
        };
        server.start_again().await;
        server
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("origin.sock")
    }

    pub(crate) fn socket(&self) -> Socket {
        Socket::new(self.path())
    }

    /// Connections that were accepted in all.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The `traceparent` of each request since the last call, but for those for versions.
    pub(crate) fn traces(&self) -> Vec<String> {
        std::mem::take(&mut *self.traces.lock())
    }

    pub(crate) async fn start_again(&mut self) {
        self.runs += 1;
        let versions = Arc::new(watch::Sender::new(Versions {
            epoch: format!("run {}", self.runs).replace(' ', "-"),
            store_id: Some(self.store_id.clone()),
            ..Versions::default()
        }));
        let metrics = HttpMetrics::register(&mut Registry::default());
        let surface = DataSurface::new(self.store.clone(), metrics, Edge::default());
        let listener = Counting {
            listener: UnixListener::bind(self.path()).unwrap(),
            accepted: self.connections.clone(),
        };
        let stop = CancellationToken::new();
        let service = Service {
            surface,
            versions: versions.clone(),
            traces: self.traces.clone(),
        };
        let serving = vdt_dialect::serve(
            listener,
            service,
            ServeOptions::default(),
            stop.clone().cancelled_owned(),
            Duration::ZERO,
        );
        let task = tokio::spawn(async move {
            serving.await;
        });
        self.running = Some(Running {
            versions,
            stop,
            task,
        });
    }

    /// As kill -9 does it: every connection breaks, and the socket's file stays. It is removed here, as the next server would.
    pub(crate) async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        running.stop.cancel();
        running.task.await.unwrap();
        std::fs::remove_file(self.path()).unwrap();
    }

    pub(crate) fn publish(&self, table: &str, version: u64) {
        self.running.as_ref().unwrap().versions.send_modify(|told| {
            told.seq += 1;
            told.versions = vec![Version {
                seq: told.seq,
                table: table.to_owned(),
                version,
            }];
        });
    }
}

struct Counting {
    listener: UnixListener,
    accepted: Arc<AtomicUsize>,
}

impl Listen for Counting {
    type Stream = UnixStream;

    async fn accept(&mut self) -> std::io::Result<(UnixStream, Peer)> {
        let accepted = Listen::accept(&mut self.listener).await?;
        self.accepted.fetch_add(1, Ordering::SeqCst);
        Ok(accepted)
    }
}

#[derive(Clone)]
struct Service {
    surface: DataSurface,
    versions: Arc<watch::Sender<Versions>>,
    traces: Arc<Mutex<Vec<String>>>,
}

type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

impl Service {
    async fn handle(self, request: Request<Incoming>) -> Answer {
        if request.uri().path() != VERSIONS_PATH {
            let trace = request.headers().get("traceparent");
            let trace = trace.map_or("", |trace| trace.to_str().unwrap());
            self.traces.lock().push(trace.to_owned());
            return self.surface.handle(request).await.map(UnsyncBoxBody::new);
        }
        let query = request.uri().query().unwrap().to_owned();
        let parameter = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.strip_prefix(&format!("{name}=")))
                .unwrap()
                .to_owned()
        };
        let mut seen = self.versions.subscribe();
        if parameter("epoch") == self.versions.borrow().epoch {
            let after: u64 = parameter("after").parse().unwrap();
            let wait = Duration::from_secs(parameter("wait").parse().unwrap());
            let _ = tokio::time::timeout(wait, seen.wait_for(|told| told.seq > after)).await;
        }
        let body = serde_json::to_vec(&*seen.borrow()).unwrap();
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {});
        Response::new(UnsyncBoxBody::new(body))
    }
}

impl tower::Service<Request<Incoming>> for Service {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.handle(request).await) })
    }
}
