//! What a connection is doing, as its clocks see it: waiting for a request, reading one, answering, held up by its client.
//!
//! ```text
//!   socket ── Watched ── (TLS) ── hyper ── Tracked ── service
//!                │                           │
//!                └───────── Traffic ─────────┘        looked at by the connection's task
//! ```
//!
//! - `Watched` counts the time in which a client that is owed bytes takes none; every [`PROGRESS_BYTES`](super::PROGRESS_BYTES) that it takes give it a new start.
//! - Over HTTP/2 one stream can be held up while the socket is not, so there every body carries a clock of its own, and is cut into pieces of
//!   [`PROGRESS_BYTES`](super::PROGRESS_BYTES) so that the same pace is asked of it.

mod body;
mod socket;

pub(super) use body::Tracked;
pub(super) use socket::Watched;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::limits::Limits;
use crate::metrics::Holder;

/// The clocks of one connection. Times are milliseconds since its start, and one more so that 0 means never.
#[derive(Debug)]
pub(super) struct Traffic {
    start: Instant,
    /// Requests whose answer has not ended.
    requests: AtomicUsize,
    /// Whether a request has come at all.
    served: AtomicBool,
    /// Since when there is no request.
    idle_since: AtomicU64,
    /// Since when a request's headers are being sent.
    head_since: AtomicU64,
    /// Since when the client takes nothing.
    stalled_since: AtomicU64,
    /// Milliseconds of earlier stalls since the last progress.
    stalled_before: AtomicU64,
    /// Over HTTP/2: since when each body waits for its client.
    bodies: Mutex<HashMap<u64, Arc<AtomicU64>>>,
    /// Whether one connection carries many requests at a time.
    multiplexed: AtomicBool,
    /// Counts what the connection is given.
    holder: Option<Arc<Holder>>,
}

/// Why a connection is ended by its clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Nothing came between requests.
    Idle,
    /// The headers of a request did not end.
    Header,
    /// The client does not take what it asked for.
    Reader,
}

impl Traffic {
    pub(super) fn new(holder: Option<Arc<Holder>>) -> Self {
        Self {
            start: Instant::now(),
            requests: AtomicUsize::new(0),
            served: AtomicBool::new(false),
            idle_since: AtomicU64::new(1),
            head_since: AtomicU64::new(0),
            stalled_since: AtomicU64::new(0),
            stalled_before: AtomicU64::new(0),
            bodies: Mutex::default(),
            multiplexed: AtomicBool::new(false),
            holder,
        }
    }

    fn now(&self) -> u64 {
        let elapsed = self.start.elapsed().as_millis();
        u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// The connection is ready for its first request; over HTTP/2, which carries many at a time, `multiplexed`.
    pub(super) fn ready(&self, multiplexed: bool) {
        self.multiplexed.store(multiplexed, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        self.idle_since.store(self.now(), Ordering::Relaxed);
    }

    /// How long the connection has been without a request, and whether it ever had one; `None` while it has one, or the answer to the last is
    /// still being sent: hyper lets go of a body when it has its last piece, of which nothing may be written yet.
    pub(super) fn idle(&self) -> Option<(bool, u64)> {
        let is_sending = self.stalled_since.load(Ordering::Relaxed) != 0 || self.holds();
        (self.requests.load(Ordering::Acquire) == 0 && !is_sending).then(|| {
            (
                self.served.load(Ordering::Relaxed),
                self.now()
                    .saturating_sub(self.idle_since.load(Ordering::Relaxed)),
            )
        })
    }

    /// Whether the connection has bytes of an answer that are not taken, where that is counted.
    fn holds(&self) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.holds())
    }

    /// A request's headers are complete. The returned guard ends it.
    pub(super) fn begin(self: &Arc<Self>) -> RequestGuard {
        self.requests.fetch_add(1, Ordering::AcqRel);
        self.served.store(true, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        RequestGuard {
            traffic: Arc::clone(self),
            body: None,
        }
    }

    /// Says which clock has run out.
    pub(super) fn overdue(&self, limits: &Limits) -> Option<Overdue> {
        let now = self.now();
        let passed = |since: u64, limit: Duration| {
            since != 0 && u128::from(now.saturating_sub(since)) >= limit.as_millis()
        };
        let stalled = self.stalled_since.load(Ordering::Relaxed);
        if stalled != 0 {
            let before = self.stalled_before.load(Ordering::Relaxed);
            if passed(
                stalled.saturating_sub(before).max(1),
                limits.progress_timeout,
            ) {
                return Some(Overdue::Reader);
            }
        }
        if self.requests.load(Ordering::Acquire) > 0 {
            let bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
            return bodies
                .values()
                .any(|since| passed(since.load(Ordering::Relaxed), limits.progress_timeout))
                .then_some(Overdue::Reader);
        }
        if stalled != 0 {
            // The end of an answer waits for its client, who has the time of any reader.
            return None;
        }
        let idle = self.idle_since.load(Ordering::Relaxed);
        if passed(
            self.head_since.load(Ordering::Relaxed),
            limits.header_timeout,
        ) || (!self.served.load(Ordering::Relaxed) && passed(idle, limits.header_timeout))
        {
            return Some(Overdue::Header);
        }
        passed(idle, limits.idle_timeout).then_some(Overdue::Idle)
    }

    fn read(&self) {
        if self.requests.load(Ordering::Acquire) == 0 && !self.multiplexed.load(Ordering::Relaxed) {
            let _ = self.head_since.compare_exchange(
                0,
                self.now(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }

    fn stalled(&self) {
        let _ = self.stalled_since.compare_exchange(
            0,
            self.now(),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// The client took something after a stall, or there was none.
    fn resumed(&self, enough: bool) {
        let since = self.stalled_since.swap(0, Ordering::Relaxed);
        // The end of an answer may still be on its way when its request has ended. What else is written, such as answers to PING, is no use of the
        // connection: a client could keep it for ever.
        if self.requests.load(Ordering::Acquire) == 0 && (since != 0 || self.holds()) {
            self.idle_since.store(self.now(), Ordering::Relaxed);
        }
        if enough {
            self.stalled_before.store(0, Ordering::Relaxed);
        } else if since != 0 {
            let stalled = self.now().saturating_sub(since);
            self.stalled_before.fetch_add(stalled, Ordering::Relaxed);
        }
    }
}

/// One request of a connection; dropping it ends it.
#[derive(Debug)]
pub(super) struct RequestGuard {
    traffic: Arc<Traffic>,
    /// Number and clock of its body.
    body: Option<(u64, Arc<AtomicU64>)>,
}

impl RequestGuard {
    /// Gives the body a clock of its own, if the connection needs that. `number` is unique in the connection.
    fn watch_body(&mut self, number: u64) {
        if self.traffic.multiplexed.load(Ordering::Relaxed) {
            let clock = Arc::new(AtomicU64::new(0));
            self.traffic
                .bodies
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(number, Arc::clone(&clock));
            self.body = Some((number, clock));
        }
    }

    /// Counts a piece until the connection has let go of it.
    fn give(&self, piece: Bytes) -> Bytes {
        match &self.traffic.holder {
            Some(holder) => holder.give(piece),
            None => piece,
        }
    }

    /// The client is, or is not, owed the piece that it was given last.
    fn waits(&self, waits: bool) {
        if let Some((_, clock)) = &self.body {
            clock.store(
                if waits { self.traffic.now() } else { 0 },
                Ordering::Relaxed,
            );
        }
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        if let Some((number, _)) = self.body.take() {
            self.traffic
                .bodies
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&number);
        }
        self.traffic
            .idle_since
            .store(self.traffic.now(), Ordering::Relaxed);
        self.traffic.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::HttpMetrics;
    use tokio::time::advance;

    fn limits() -> Limits {
        Limits {
            header_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(60),
            progress_timeout: Duration::from_secs(30),
            ..Limits::default()
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_fresh_connection_must_ask_and_an_old_one_may_wait() {
        let (traffic, limits) = (Arc::new(Traffic::new(None)), limits());
        advance(14 * SECOND).await;
        assert_eq!(traffic.overdue(&limits), None);
        advance(SECOND).await;
        assert_eq!(traffic.overdue(&limits), Some(Overdue::Header));
        drop(traffic.begin());
        advance(59 * SECOND).await;
        assert_eq!(traffic.overdue(&limits), None);
        advance(SECOND).await;
        assert_eq!(traffic.overdue(&limits), Some(Overdue::Idle));
        let request = traffic.begin();
        advance(600 * SECOND).await;
        assert_eq!(
            traffic.overdue(&limits),
            None,
            "a request takes what it takes"
        );
        drop(request);
        traffic.read();
        advance(15 * SECOND).await;
        assert_eq!(traffic.overdue(&limits), Some(Overdue::Header));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_must_take_enough_in_time_however_it_trickles() {
        let (traffic, limits) = (Arc::new(Traffic::new(None)), limits());
        let _request = traffic.begin();
        // The store's pauses are not the client's.
        advance(100 * SECOND).await;
        assert_eq!(traffic.overdue(&limits), None);
        // A byte every ten seconds is no progress.
        for _ in 0..2 {
            traffic.stalled();
            advance(10 * SECOND).await;
            traffic.resumed(false);
            assert_eq!(traffic.overdue(&limits), None);
        }
        traffic.stalled();
        advance(9 * SECOND).await;
        assert_eq!(traffic.overdue(&limits), None);
        advance(SECOND).await;
        assert_eq!(traffic.overdue(&limits), Some(Overdue::Reader));
        // Enough is a new start.
        traffic.resumed(true);
        traffic.stalled();
        advance(29 * SECOND).await;
        assert_eq!(traffic.overdue(&limits), None);
        advance(SECOND).await;
        assert_eq!(traffic.overdue(&limits), Some(Overdue::Reader));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_not_idle_while_the_end_of_an_answer_is_on_its_way() {
        let limits = Limits {
            idle_timeout: 10 * SECOND,
            ..limits()
        };
        let holding = HttpMetrics::default().holding();
        let traffic = Arc::new(Traffic::new(Some(Arc::clone(&holding.holder))));
        let request = traffic.begin();
        let piece = request.give(Bytes::from_static(b"the last piece"));
        drop(request);
        assert_eq!(traffic.idle(), None, "hyper has it, the client has not");
        traffic.stalled();
        drop(piece);
        assert_eq!(traffic.idle(), None, "TLS has it, the client has not");
        advance(29 * SECOND).await;
        assert_eq!(traffic.overdue(&limits), None);
        advance(SECOND).await;
        assert_eq!(traffic.overdue(&limits), Some(Overdue::Reader));
        traffic.resumed(true);
        assert_eq!(traffic.idle(), Some((true, 0)));
        advance(10 * SECOND).await;
        assert_eq!(traffic.overdue(&limits), Some(Overdue::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_without_a_request_does_not_keep_a_connection() {
        let limits = limits();
        let holding = HttpMetrics::default().holding();
        let traffic = Arc::new(Traffic::new(Some(Arc::clone(&holding.holder))));
        traffic.ready(true);
        drop(traffic.begin());
        for _ in 0..5 {
            advance(10 * SECOND).await;
            traffic.read();
            traffic.resumed(false);
            assert_eq!(traffic.overdue(&limits), None);
        }
        advance(10 * SECOND).await;
        traffic.resumed(false);
        assert_eq!(traffic.overdue(&limits), Some(Overdue::Idle));
        // A piece of an answer is something else.
        let piece = traffic.begin().give(Bytes::from_static(b"the last piece"));
        advance(50 * SECOND).await;
        traffic.resumed(false);
        drop(piece);
        assert_eq!(traffic.idle(), Some((true, 0)));
    }

    #[tokio::test(start_paused = true)]
    async fn over_http2_each_body_has_its_clock() {
        let (traffic, limits) = (Arc::new(Traffic::new(None)), limits());
        traffic.ready(true);
        let (mut one, mut two) = (traffic.begin(), traffic.begin());
        one.watch_body(1);
        two.watch_body(2);
        one.waits(true);
        two.waits(true);
        advance(20 * SECOND).await;
        one.waits(false);
        two.waits(true);
        advance(20 * SECOND).await;
        assert_eq!(traffic.overdue(&limits), None);
        advance(10 * SECOND).await;
        assert_eq!(traffic.overdue(&limits), Some(Overdue::Reader));
        drop(two);
        assert_eq!(traffic.overdue(&limits), None);
    }
}
