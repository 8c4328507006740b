//! The listeners of a process, the same in both binaries: they end together, and bodies have a while to end.

use std::time::Duration;

use anyhow::Context;
use axum::Router;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use vdt_dialect::{DrainReport, HttpService, Listen, ServeOptions, admin::Gate};

/// What listens, each by a task of its own.
#[derive(Debug)]
pub struct Listeners {
    stop: CancellationToken,
    drain: Duration,
    tasks: Vec<JoinHandle<DrainReport>>,
}

impl Listeners {
    /// None yet. They serve until `stop`; then bodies have `drain` to end.
    #[must_use]
    pub fn new(stop: CancellationToken, drain: Duration) -> Self {
        Self {
            stop,
            drain,
            tasks: Vec::new(),
        }
    }

    /// Serves `service` on a listener.
    pub fn serve<L, S>(&mut self, listener: L, service: S, options: ServeOptions)
    where
        L: Listen,
        S: HttpService,
    {
        self.tasks.push(tokio::spawn(vdt_dialect::serve(
            listener,
            service,
            options,
            self.stop.clone().cancelled_owned(),
            self.drain,
        )));
    }

    /// Serves an admin surface on a listener, behind `gate`.
    pub fn serve_admin(&mut self, listener: TcpListener, gate: Gate, router: Router) {
        self.serve(listener, gate.protect(router), ServeOptions::of_admin());
    }

    /// Ends all that goes on until `stop`, and waits for the listeners: for bodies under way, that is.
    ///
    /// # Errors
    /// When a listener has panicked.
    pub async fn drained(self) -> anyhow::Result<()> {
        info!(
            "no new connections, bodies may end within {} s",
            self.drain.as_secs()
        );
        self.stop.cancel();
        for listener in self.tasks {
            let drained = listener.await.context("a listener")?;
            if drained.cut > 0 {
                warn!(cut = drained.cut, "bodies were cut at the drain deadline");
            }
        }
        Ok(())
    }
}
