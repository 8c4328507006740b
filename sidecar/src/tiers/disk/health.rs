//! Whether the tier works: it is opened, left when it breaks, and tried again.

use std::{
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
    time::Duration,
};

use chrono::Utc;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    CLOSE_DEADLINE, Inner,
    fault::Fault,
    layout::Layout,
    store::{Opened, Prepared},
};
use crate::{
    process::every,
    tiers::{DiskState, TiersError, reason},
};

/// How often the directory is looked at without being written to.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// How long a tier that was left is left alone, at first and at most. One that works for longer than the most is trusted again, and left alone as
/// at first when it breaks the next time.
const RETRY_MIN: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(300);
/// Reads that fail one after another before the tier is left.
const READ_ERRORS_MAX: u32 = 16;

#[derive(Debug)]
pub(super) struct Status {
    state: DiskState,
    /// Since when, Unix ms.
    since_ms: i64,
    pub(super) layout: Option<Arc<Layout>>,
    /// Closes what was left.
    pub(super) closing: Option<JoinHandle<()>>,
    pub(super) retry_at: Instant,
    pub(super) retry_after: Duration,
    /// When the tier was opened last.
    pub(super) opened_at: Instant,
    /// Bytes written and read by what was left.
    pub(super) past_bytes: (u64, u64),
}

impl Status {
    /// That of a tier that is about to be opened for the first time.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            state: DiskState::Ok,
            since_ms: Utc::now().timestamp_millis(),
            layout: None,
            closing: None,
            retry_at: now,
            retry_after: RETRY_MIN,
            opened_at: now,
            past_bytes: (0, 0),
        }
    }

    pub(super) fn state(&self) -> &DiskState {
        &self.state
    }

    pub(super) fn since_ms(&self) -> i64 {
        self.since_ms
    }

    /// The tier is like this from now on; for the same reason as before it is as it was.
    fn becomes(&mut self, state: DiskState) {
        if state.degraded().map(|it| it.0) != self.state.degraded().map(|it| it.0) {
            self.since_ms = Utc::now().timestamp_millis();
        }
        self.state = state;
    }

    pub(super) fn past_bytes_of(&mut self, opened: &Opened) {
        let device = opened.store.statistics();
        self.past_bytes.0 += device.disk_write_bytes() as u64;
        self.past_bytes.1 += device.disk_read_bytes() as u64;
    }

    /// The tier is open and was looked at.
    fn works(&mut self) {
        if self.opened_at.elapsed() > RETRY_MAX {
            self.retry_after = RETRY_MIN;
        }
    }

    /// The tier is left alone, unless others need its space: it is opened again, smaller, with the next look.
    fn leave(&mut self, fault: &Fault, shared: bool) {
        if shared && fault.reason == reason::DISK_FULL {
            self.retry_at = Instant::now();
        } else {
            self.leave_alone();
        }
    }

    /// The tier is left alone from now on, the next time for longer.
    fn leave_alone(&mut self) {
        self.retry_at = Instant::now() + self.retry_after;
        self.retry_after = (self.retry_after * 2).min(RETRY_MAX);
    }
}

impl Inner {
    /// Opens the tier; what keeps it from opening is its state from then on.
    pub(super) async fn open(&self, first: bool) -> Result<(), TiersError> {
        let layout = self.status.lock().layout.take();
        match self.try_open(layout, first).await {
            Ok(opened) => {
                let room = opened.room;
                let mut status = self.status.lock();
                status.opened_at = Instant::now();
                status.layout = Some(opened.layout.clone());
                let state = if room.usable < room.wanted {
                    let error = TiersError::Smaller {
                        dir: self.options.dir.clone(),
                        wanted_bytes: room.wanted,
                        usable_bytes: room.usable,
                    };
                    warn!(%error, "disk cache is smaller than asked");
                    DiskState::Degraded {
                        reason: reason::CACHE_SMALLER,
                        message: error.to_string(),
                    }
                } else {
                    DiskState::Ok
                };
                status.becomes(state);
                drop(status);
                self.opened.store(Some(Arc::new(opened)));
                Ok(())
            }
            Err(error) => {
                let fault = Fault::of_error(&error);
                if first {
                    warn!(reason = fault.reason, error = %fault.message, "disk cache is off");
                }
                self.status.lock().becomes(DiskState::Degraded {
                    reason: fault.reason,
                    message: fault.message,
                });
                Err(error)
            }
        }
    }

    async fn try_open(
        &self,
        layout: Option<Arc<Layout>>,
        first: bool,
    ) -> Result<Opened, TiersError> {
        let (options, budget) = (self.options.clone(), self.budget);
        let prepare = move || Prepared::new(&options, budget, layout, first);
        let prepared = tokio::task::spawn_blocking(prepare).await;
        let prepared = prepared.map_err(|error| TiersError::Directory {
            dir: self.options.dir.clone(),
            source: std::io::Error::other(error),
        })??;
        prepared.open(&self.options, budget).await
    }

    /// Leaves a tier that is broken.
    pub(super) fn leave(&self, opened: &Arc<Opened>, fault: &Fault) {
        if opened.is_left.swap(true, Relaxed) {
            return;
        }
        warn!(reason = fault.reason, error = %fault.message, "disk cache is left");
        self.opened.store(None);
        let mut status = self.status.lock();
        status.past_bytes_of(opened);
        status.becomes(DiskState::Degraded {
            reason: fault.reason,
            message: fault.message.clone(),
        });
        status.leave(fault, self.options.shared);
        let opened = opened.clone();
        status.closing = Some(tokio::spawn(async move {
            // What does not close holds its files open until the process ends.
            let _ = timeout(CLOSE_DEADLINE, opened.store.close()).await;
        }));
    }

    /// Looks at the directory; leaves the tier where it is broken, and tries one that was left again once it is time, or `now`.
    pub(super) async fn check(&self, now: bool) {
        if let Some(opened) = self.opened.load_full() {
            match self.inspect(&opened, None).await {
                Ok(_) => self.status.lock().works(),
                Err(fault) => self.leave(&opened, &fault),
            }
            return;
        }
        let _opening = self.opening.lock().await;
        if self.opened.load().is_some() || (!now && Instant::now() < self.status.lock().retry_at) {
            return;
        }
        let closing = self.status.lock().closing.take();
        if let Some(closing) = closing {
            let _ = closing.await;
        }
        // Without a turn nothing could be read.
        if self.hung.load(SeqCst) >= self.budget.reads {
            self.status.lock().leave_alone();
            return;
        }
        match self.open(false).await {
            Ok(()) => info!(dir = %self.options.dir.display(), "disk cache is back"),
            Err(_) => self.status.lock().leave_alone(),
        }
    }

    /// Takes note of a read that is late. Until it ends it is counted.
    pub(super) fn read_hangs(&self, opened: &Arc<Opened>) {
        let hung = self.hung.fetch_add(1, SeqCst) + 1;
        let errors = opened.read_errors.fetch_add(1, Relaxed) + 1;
        if hung >= self.budget.reads || errors >= READ_ERRORS_MAX {
            let message = "reads of the cache directory do not end.";
            self.leave(opened, &Fault::new(reason::DISK_FAILED, message));
        }
    }

    /// Takes note of a read that failed.
    pub(super) async fn read_failed(&self, opened: &Arc<Opened>, error: &foyer::Error) {
        let errors = opened.read_errors.fetch_add(1, Relaxed) + 1;
        if let Err(fault) = self.inspect(opened, None).await {
            self.leave(opened, &fault);
        } else if errors >= READ_ERRORS_MAX {
            let message = format!(
                "{errors} reads of the cache directory failed in a row, the last one with: {error}."
            );
            self.leave(opened, &Fault::new(reason::DISK_FAILED, message));
        }
    }
}

/// Looks at the directory from time to time.
pub(super) async fn watch(inner: Arc<Inner>, stop: CancellationToken) {
    let mut ticks = every(CHECK_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => inner.check(false).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_when_it_is_so_is_told_by_the_reason_alone() {
        let degraded = |reason, message: &str| DiskState::Degraded {
            reason,
            message: message.to_owned(),
        };
        let mut status = Status::new();
        status.since_ms = 0;
        status.becomes(DiskState::Ok);
        assert_eq!(status.since_ms(), 0);
        status.becomes(degraded(reason::DISK_FAILED, "one"));
        assert!(status.since_ms() > 0);
        status.since_ms = 0;
        status.becomes(degraded(reason::DISK_FAILED, "tried again"));
        assert_eq!(status.since_ms(), 0);
        status.becomes(DiskState::Ok);
        assert!(status.since_ms() > 0);
    }

    #[tokio::test(start_paused = true)]
    async fn space_that_others_need_is_given_back_at_once_and_each_time() {
        let waits = |reason, shared| {
            let mut status = Status::new();
            for _ in 0..5 {
                status.leave(&Fault::new(reason, "it is so"), shared);
            }
            status.retry_at - Instant::now()
        };
        assert_eq!(waits(reason::DISK_FULL, true), Duration::ZERO);
        assert!(waits(reason::DISK_FULL, false) > RETRY_MIN);
        assert!(waits(reason::DISK_FAILED, true) > RETRY_MIN);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tier_that_worked_for_long_is_tried_again_as_soon_as_at_first() {
        let mut status = Status::new();
        for _ in 0..10 {
            status.leave_alone();
        }
        assert_eq!(status.retry_after, RETRY_MAX);
        // One that comes and goes is not trusted each time that it comes.
        status.opened_at = Instant::now();
        tokio::time::advance(RETRY_MAX).await;
        status.works();
        assert_eq!(status.retry_after, RETRY_MAX);
        tokio::time::advance(CHECK_EVERY).await;
        status.works();
        status.leave_alone();
        assert_eq!(status.retry_at, Instant::now() + RETRY_MIN);
    }
}
