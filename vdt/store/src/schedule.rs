//! When a table is refreshed: on a timer, on request, and when a read met a changed source. One task a table.
//!
//! Requests that arrive while a refresh runs share the next one. A look at the sources costs money, and so does one at the rows that are
//! known, so the timer leaves at least ten times the time of both between two, and so do changed sources; requests do not wait for it.
//! Changed sources ask for a refresh a second after the last one, or as the timer would where the last one that they asked for changed
//! nothing. Artifacts that settle are looked at sooner than the timer would, a few times in a row. A refresh that failed, or that could not
//! list a source, is tried again with growing pauses. A suspended table is not refreshed at all. Shutdown ends the task between two steps;
//! what is committed is whole.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tracing::{Instrument, info, info_span, warn};
use vdt_crds::chain;

use crate::{
    definition::Definition,
    error::StoreError,
    refresh::{Clock, RefreshReport, TableRefresh},
};

/// Requests waiting for one table. More than this and a caller is told to come back.
const QUEUE: usize = 256;
/// Least time between refreshes that changed sources ask for.
const DRIFT_GAP: Duration = Duration::from_secs(1);
/// Refreshes in a row that found artifacts not settled, after which those that settle no longer ask for one. A source that is written all the time never
/// settles: it is listed in its interval. Without one, whatever a request met has settled by then, unless it was written again.
const SETTLES_MAX: u32 = 3;
/// Multiple of the last look's time that the timer leaves between two.
const LOOK_COST: u32 = 10;
/// Longest wait after a failure; it doubles from a second up to here, or to the interval if that is longer. Without an interval also the
/// least one between refreshes that changed sources ask for in vain.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Why a refresh was asked for.
#[derive(Debug)]
enum Request {
    /// Somebody asked; they may wait for the outcome.
    Asked(Option<oneshot::Sender<Outcome>>),
    /// A read met a source that had changed.
    Drift,
}

/// Outcome of a refresh, shared by all who waited for it.
pub type Outcome = Result<Arc<RefreshReport>, Arc<StoreError>>;

/// A table as its last refreshes left it.
#[derive(Debug, Clone, Default)]
pub struct TableStatus {
    /// The last refresh that succeeded.
    pub last: Option<Arc<RefreshReport>>,
    /// When the last one ended that listed every source, Unix time in milliseconds.
    pub last_success_ms: Option<i64>,
    /// Why the newest refresh failed, if it did: reason and message.
    pub error: Option<(&'static str, String)>,
    /// When [`TableStatus::is_current`] last changed, Unix time in milliseconds; `None` before a refresh has ended.
    pub since_ms: Option<i64>,
    /// Refreshes that ended, well or not.
    pub refreshes: u64,
    /// Refreshes that failed.
    pub failures: u64,
}

/// Asks one table's task for refreshes and sees how it is doing. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Refresher {
    requests: mpsc::Sender<Request>,
    status: watch::Receiver<TableStatus>,
    definition: Arc<Definition>,
}

/// The task's end of a [`Refresher`].
#[derive(Debug)]
pub struct RefreshTask {
    refresh: TableRefresh,
    requests: mpsc::Receiver<Request>,
    status: watch::Sender<TableStatus>,
}

/// Makes the handle of a table and the task that serves it. `first` is the outcome of a refresh that has run already.
pub fn schedule(refresh: TableRefresh, first: TableStatus) -> (Refresher, RefreshTask) {
    let (send, requests) = mpsc::channel(QUEUE);
    let (status, seen) = watch::channel(first);
    let handle = Refresher {
        requests: send,
        status: seen,
        definition: refresh.definition().clone(),
    };
    let task = RefreshTask {
        refresh,
        requests,
        status,
    };
    (handle, task)
}

/// A request that could not be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Too many wait already.
    #[error("too many refreshes wait already; ask again in a moment")]
    Busy,
    /// The server is going down.
    #[error("the server is shutting down")]
    Closed,
}

impl Refresher {
    /// Asks for a refresh and does not wait.
    ///
    /// # Errors
    /// [`RequestError`] when it cannot be taken.
    pub fn ask(&self) -> Result<(), RequestError> {
        self.send(Request::Asked(None))
    }

    /// Asks for a refresh that starts after this call, and waits for it.
    ///
    /// # Errors
    /// [`RequestError`] when it cannot be taken; the refresh's own error is in the outcome.
    pub async fn ask_and_wait(&self) -> Result<Outcome, RequestError> {
        let (send, outcome) = oneshot::channel();
        self.send(Request::Asked(Some(send)))?;
        outcome.await.map_err(|_| RequestError::Closed)
    }

    /// Tells that a read met a changed source. Never waits; a full queue will refresh anyway.
    pub fn drift(&self) {
        let _ = self.send(Request::Drift);
    }

    /// How the table is doing.
    pub fn status(&self) -> TableStatus {
        self.status.borrow().clone()
    }

    /// Longest time that the timer leaves between two refreshes while all is well; `None` while it asks for none.
    pub fn interval(&self) -> Option<Duration> {
        interval(&self.definition, look_time(&self.status.borrow()))
    }

    /// Why no refresh is made whoever asks, if so.
    pub fn refusal(&self) -> Option<StoreError> {
        refusal(&self.definition)
    }

    fn send(&self, request: Request) -> Result<(), RequestError> {
        self.requests
            .try_send(request)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => RequestError::Busy,
                mpsc::error::TrySendError::Closed(_) => RequestError::Closed,
            })
    }
}

impl RefreshTask {
    /// Serves the table until `shutdown` resolves.
    pub async fn run(mut self, clock: Clock, shutdown: impl Future<Output = ()>) {
        let span = info_span!("refresh", table = %self.refresh.log().table());
        async {
            tokio::pin!(shutdown);
            let mut failures = u32::from(self.status.borrow().has_failed());
            let (mut last_end, mut took) = (Instant::now(), Duration::ZERO);
            let (mut drift_gap, mut drift_due) = (DRIFT_GAP, None);
            let mut settles = 0;
            loop {
                let timer = self.wait(took, failures, settles);
                let timer = timer.map(|wait| last_end + wait);
                let due = timer.into_iter().chain(drift_due).min();
                let (mut waiting, mut is_asked) = (Vec::new(), false);
                tokio::select! {
                    () = &mut shutdown => return,
                    () = wait_for(due) => {}
                    request = self.requests.recv() => match request {
                        None => return,
                        Some(Request::Asked(reply)) => {
                            is_asked = true;
                            waiting.extend(reply);
                        }
                        Some(Request::Drift) => {
                            drift_due.get_or_insert(last_end + drift_gap);
                            continue;
                        }
                    },
                }
                while let Ok(request) = self.requests.try_recv() {
                    if let Request::Asked(reply) = request {
                        is_asked = true;
                        waiting.extend(reply);
                    }
                }
                let is_drift = drift_due.take().is_some();
                if let Some(refused) = refusal(self.refresh.definition()) {
                    let refused = Arc::new(refused);
                    for reply in waiting {
                        drop(reply.send(Err(refused.clone())));
                    }
                    continue;
                }
                let began = Instant::now();
                // A retry of what failed may come too soon to tell what has settled.
                let is_early = began - last_end < self.settle_pause();
                let outcome = tokio::select! {
                    () = &mut shutdown => return,
                    outcome = self.refresh.run(None) => outcome.map(Arc::new).map_err(Arc::new),
                };
                let before = version_of(&self.status.borrow());
                record(&self.status, &outcome, clock());
                (last_end, took) = (Instant::now(), began.elapsed());
                failures = match self.status.borrow().has_failed() {
                    true => failures.saturating_add(1),
                    false => 0,
                };
                settles = match self.is_settling() {
                    false => 0,
                    true if is_asked || is_drift => 0,
                    true if is_early => settles,
                    true => settles.saturating_add(1),
                };
                drift_gap = self.gap_after(is_drift, before, &outcome);
                for reply in waiting {
                    drop(reply.send(outcome.clone()));
                }
            }
        }
        .instrument(span)
        .await;
    }

    /// How long after the last refresh, which took so long, the timer fires: the interval; sooner while artifacts settle or after a failure.
    /// Without an interval it finishes what was asked for: artifacts that were held back are shown once they have settled, and what failed is
    /// tried again. Where one source failed the others are listed again with it, which costs what it costs.
    fn wait(&self, took: Duration, failures: u32, settles: u32) -> Option<Duration> {
        let definition = self.refresh.definition();
        if definition.suspend {
            return None;
        }
        let status = self.status.borrow();
        let look_time = look_time(&status);
        let cost = look_time * LOOK_COST;
        let mut wait = interval(definition, look_time);
        if failures > 0 {
            let backoff = Duration::from_secs(1) * 2_u32.saturating_pow(failures.min(16) - 1);
            let most = wait.map_or(BACKOFF_MAX, |interval| interval.max(BACKOFF_MAX));
            let backoff = backoff.min(most);
            if status.error.is_some() {
                // What took no less than a look has looked, and then failed.
                return Some(backoff.max(took.min(look_time) * LOOK_COST));
            }
            wait = Some(wait.map_or(backoff, |timer| timer.min(backoff)).max(cost));
        }
        let may_settle = settles < SETTLES_MAX && self.is_settling();
        let settle = may_settle.then(|| self.settle_pause());
        wait.into_iter().chain(settle).min()
    }

    /// How long after a refresh what it held back has settled, if it was not written again.
    fn settle_pause(&self) -> Duration {
        let cost = look_time(&self.status.borrow()) * LOOK_COST;
        let settle = self.refresh.definition().refresh.settle;
        settle.max(cost).max(DRIFT_GAP)
    }

    /// Whether the last refresh held artifacts back, as they were just being written.
    fn is_settling(&self) -> bool {
        let status = self.status.borrow();
        status.last.as_ref().is_some_and(|last| last.unsettled > 0)
    }

    /// Least time until a changed source may ask again. One that a refresh does not cure (a reader stays with an old version, an artifact is
    /// written all the time) is looked at no more often than the timer would.
    /// `before` is the version that was known: another process may have committed the cure.
    fn gap_after(&self, is_drift: bool, before: Option<u64>, outcome: &Outcome) -> Duration {
        let is_cured = outcome
            .as_ref()
            .is_ok_and(|report| report.committed || Some(report.version) > before);
        let cost = look_time(&self.status.borrow()) * LOOK_COST;
        if !is_drift || is_cured {
            return DRIFT_GAP.max(cost);
        }
        let declared = self.refresh.definition().refresh.interval;
        declared.unwrap_or(BACKOFF_MAX).max(cost)
    }
}

/// The version that the last refresh left.
fn version_of(status: &TableStatus) -> Option<u64> {
    status.last.as_ref().map(|report| report.version)
}

/// How long the last look that succeeded took, at the sources and at the rows that were known; a day at most.
fn look_time(status: &TableStatus) -> Duration {
    let last = status.last.as_ref();
    let seconds = last.map_or(0.0, |report| report.listing_seconds + report.rows_seconds);
    Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0))
}

/// What the timer leaves between two listings, unless artifacts settle or a refresh failed.
fn interval(definition: &Definition, look_time: Duration) -> Option<Duration> {
    let declared = definition.refresh.interval?;
    (!definition.suspend).then(|| declared.max(look_time * LOOK_COST))
}

/// Writes an outcome into the status, and into the log when it is news.
fn record(status: &watch::Sender<TableStatus>, outcome: &Outcome, now_ms: i64) {
    status.send_modify(|status| {
        let was = (status.refreshes > 0).then(|| status.is_current());
        status.refreshes += 1;
        match outcome {
            Ok(report) => {
                if report.committed {
                    info!(
                        version = report.version,
                        artifacts = report.artifacts,
                        new = report.new,
                        changed = report.changed,
                        deleted = report.deleted,
                        merged = report.merged,
                        unparsed = report.unparsed,
                        "committed a version"
                    );
                }
                let before = status.last.as_ref().map(|last| &last.sources);
                for source in report.sources.iter().filter(|source| !source.is_current()) {
                    let known = before.is_some_and(|before| before.contains(source));
                    if !known {
                        warn!(
                            source = source.name,
                            reason = source.reason,
                            "{}",
                            source.message
                        );
                    }
                }
                status.last = Some(report.clone());
                if !report.has_failed() {
                    status.last_success_ms = Some(now_ms);
                }
                status.error = None;
            }
            Err(error) => {
                status.failures += 1;
                let news = (error.reason(), chain(error.as_ref()));
                if status.error.as_ref() != Some(&news) {
                    warn!(reason = news.0, "refresh failed: {}", news.1);
                }
                status.error = Some(news);
            }
        }
        if was != Some(status.is_current()) {
            status.since_ms = Some(now_ms);
        }
    });
}

/// A suspended table is not refreshed, whoever asks.
fn refusal(definition: &Definition) -> Option<StoreError> {
    definition.suspend.then(|| StoreError::Suspended {
        table: definition.path().to_string(),
    })
}

async fn wait_for(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl TableStatus {
    /// The status after a first refresh.
    pub fn after(report: RefreshReport, now_ms: i64) -> Self {
        Self {
            last_success_ms: (!report.has_failed()).then_some(now_ms),
            last: Some(Arc::new(report)),
            error: None,
            since_ms: Some(now_ms),
            refreshes: 1,
            failures: 0,
        }
    }

    /// Whether the newest version shows every source as it was last listed.
    pub fn is_current(&self) -> bool {
        let last = self.last.as_ref();
        self.error.is_none() && last.is_some_and(|last| last.is_current())
    }

    /// Whether the newest refresh failed, or could not list a source.
    fn has_failed(&self) -> bool {
        let last = self.last.as_ref();
        self.error.is_some() || last.is_some_and(|last| last.has_failed())
    }
}
