//! Tells the server of source objects that have changed, so that their tables are refreshed at once.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header::CONTENT_TYPE};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use vdt_rope::Drift;

use super::{
    pool::Socket,
    wire::{DRIFT_PATH, DriftReport, MESSAGE_BYTES_MAX},
};

/// Reports waiting. Beyond it they are dropped: the server needs one a table, not one a read.
const QUEUE: usize = 256;
/// Time for one report.
const REPORT_MAX: Duration = Duration::from_secs(5);

/// Takes reports. Never blocks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DriftReporter {
    reports: mpsc::Sender<DriftReport>,
}

impl DriftReporter {
    /// A reporter, and the task that sends what it takes until `stop`.
    pub fn new(
        socket: Socket,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (reports, waiting) = mpsc::channel(QUEUE);
        (Self { reports }, send_all(socket, waiting, stop))
    }

    /// Takes a report. One that finds the queue full is dropped.
    pub fn report(&self, drift: &Drift) {
        // Full or closed: the server refreshes anyway, or is about to go.
        let _ = self.reports.try_send(DriftReport {
            file: drift.location.to_string(),
            source: drift.source.to_string(),
            key: drift.key.clone(),
            reason: drift.reason.to_string(),
        });
    }
}

async fn send_all(
    socket: Socket,
    mut waiting: mpsc::Receiver<DriftReport>,
    stop: CancellationToken,
) {
    while let Some(Some(report)) = stop.run_until_cancelled(waiting.recv()).await {
        let Ok(body) = serde_json::to_vec(&report) else {
            continue;
        };
        let request = Request::post(DRIFT_PATH)
            .header(CONTENT_TYPE, "application/json")
            .body(Bytes::from(body));
        let Ok(request) = request else { continue };
        let sending = socket.exchange(request, MESSAGE_BYTES_MAX, REPORT_MAX);
        // A server that is away lists everything when it comes back.
        if let Some(Err(error)) = stop.run_until_cancelled(sending).await {
            tracing::debug!(%error, "a changed source was not reported");
        }
    }
}
