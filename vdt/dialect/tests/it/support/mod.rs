//! A server on a free port, a raw client, and a store whose faults are told by the names of its objects.

mod raw;
mod shelf;

pub(crate) use raw::{Reply, exchange, get, request};
pub(crate) use shelf::shelf;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use vdt_dialect::{DataSurface, DrainReport, HttpMetrics, Limits, serve_with};

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
}

pub(crate) async fn serve(store: Arc<dyn ObjectStore>) -> Served {
    serve_with_limits(store, Limits::default(), Duration::from_secs(5)).await
}

pub(crate) async fn serve_with_limits(
    store: Arc<dyn ObjectStore>,
    limits: Limits,
    drain: Duration,
) -> Served {
    let mut registry = Registry::default();
    let surface = DataSurface::new(store, HttpMetrics::register(&mut registry));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        let shutdown = async move {
            let _ = stopped.await;
        };
        serve_with(listener, surface, &limits, shutdown, drain).await
    });
    Served {
        address,
        registry,
        stop,
        task,
    }
}
