//! The data listener, the same in both binaries.

use std::sync::Arc;

use object_store::ObjectStore;
use tokio::net::TcpListener;
use tracing::warn;
use vdt_dialect::{DataSurface, HttpMetrics, Limits, ServeOptions, TlsReload, Workers};

use super::Front;
use crate::listeners::Listeners;

impl Front {
    /// Serves `files` on `listener`, one of `listeners`, by TLS where there is some. Connections have a thread for each core, or share the runtime's
    /// where those cannot be started.
    pub fn serve(
        &self,
        listener: TcpListener,
        tls: Option<Arc<TlsReload>>,
        files: Arc<dyn ObjectStore>,
        metrics: HttpMetrics,
        listeners: &mut Listeners,
    ) {
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
        listeners.serve(listener, surface, options);
    }
}
