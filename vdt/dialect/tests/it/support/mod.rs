//! A server on a free port, a raw client, and a store whose faults are told by the names of its objects.

mod raw;
mod shelf;
pub(crate) mod tls;

pub(crate) use raw::{Reply, exchange, get, request};
pub(crate) use shelf::{REPLACED, Shelf, shelf};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::ObjectStore;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use vdt_dialect::{
    DataSurface, DrainReport, Edge, HttpMetrics, Limits, ServeOptions, TlsReload, Workers,
};

/// Threads that connections live on, as in the binaries.
pub(crate) const WORKERS: usize = 2;

/// A data listener under test. Dropping it stops the listener.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    registry: Registry,
    stop: oneshot::Sender<()>,
    task: JoinHandle<DrainReport>,
}

impl Served {
    /// Begins the shutdown; the handle ends with it.
    pub(crate) fn stop(self) -> JoinHandle<DrainReport> {
        self.stop.send(()).unwrap();
        self.task
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// Waits until the metrics hold a line.
    pub(crate) async fn wait_for(&self, line: &str) {
        let started = Instant::now();
        while !self.metrics().lines().any(|known| known == line) {
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "no {line} in\n{}",
                self.metrics()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// How a listener is set up.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) edge: Edge,
    pub(crate) limits: Limits,
    pub(crate) tls: Option<Arc<TlsReload>>,
    pub(crate) drain: Duration,
}

pub(crate) async fn serve(store: Arc<dyn ObjectStore>) -> Served {
    serve_with_limits(store, Limits::default(), Duration::from_secs(5)).await
}

pub(crate) async fn serve_with_limits(
    store: Arc<dyn ObjectStore>,
    limits: Limits,
    drain: Duration,
) -> Served {
    let setup = Setup {
        limits,
        drain,
        ..Setup::default()
    };
    serve_setup(store, setup).await
}

pub(crate) async fn serve_setup(store: Arc<dyn ObjectStore>, setup: Setup) -> Served {
    let mut registry = Registry::default();
    let metrics = HttpMetrics::register(&mut registry);
    let Setup {
        edge,
        limits,
        tls,
        drain,
    } = setup;
    let edge = Edge {
        limits: limits.clone(),
        ..edge
    };
    let surface = DataSurface::new(store, metrics.clone(), edge);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        let shutdown = async move {
            let _ = stopped.await;
        };
        let options = ServeOptions {
            limits,
            tls,
            metrics: Some(metrics),
            workers: Some(Workers::start(WORKERS).unwrap()),
        };
        vdt_dialect::serve(listener, surface, options, shutdown, drain).await
    });
    Served {
        address,
        registry,
        stop,
        task,
    }
}
