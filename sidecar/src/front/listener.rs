//! The data listener, the same in both binaries.

use std::{sync::Arc, time::Duration};

use object_store::ObjectStore;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use vdt_dialect::{
    DataSurface, DrainReport, HttpMetrics, Limits, ServeOptions, TlsReload, Workers,
};

use super::Front;

impl Front {
    /// Serves `files` on `listener` until `stop`, by TLS where there is some; then bodies have `drain` to end. Connections have a
    /// thread for each core, or share the runtime's where those cannot be started.
    pub fn serve(
        &self,
        listener: TcpListener,
        tls: Option<Arc<TlsReload>>,
        files: Arc<dyn ObjectStore>,
        metrics: HttpMetrics,
        stop: CancellationToken,
        drain: Duration,
    ) -> JoinHandle<DrainReport> {
        let limits = Limits::default();
        let surface = DataSurface::new(files, metrics.clone(), self.edge(limits.clone()));
        let options = ServeOptions {
            limits,
            tls,
            metrics: Some(metrics),
            workers: Workers::for_each_core()
                .inspect_err(|error| warn!(%error, "connections have no threads of their own"))
                .ok(),
        };
        tokio::spawn(vdt_dialect::serve(
            listener,
            surface,
            options,
            stop.cancelled_owned(),
            drain,
        ))
    }
}
