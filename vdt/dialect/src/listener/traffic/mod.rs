//! What a connection is doing, as its clocks see it: waiting for a request, reading one, answering, held up by its client.
//!
//! ```text
//!   socket ── Watched ── (TLS) ── hyper ── Tracked ── service
//!                │                           │
//!                └───────── Traffic ─────────┘        looked at by the connection's task
//! ```
//!
//! - `Watched` counts the time in which a client that is owed bytes takes none; every [`PROGRESS_BYTES`](super::PROGRESS_BYTES) that it takes give it a new start.
//! - Over HTTP/2 one stream can be held up while the socket is not, so there bodies are cut into pieces of
//!   [`PROGRESS_BYTES`](super::PROGRESS_BYTES), and each body has a clock that runs while any piece of it is on its way: hyper lets go of a body when
//!   it has its last piece, and the client's windows may keep that back. Each piece that is gone gives its body a new start. Streams share the
//!   line, so while a piece of one is sent the clocks of the others run slower, by the number of those that wait.

mod body;
mod socket;
#[cfg(test)]
mod tests;

pub(super) use body::Tracked;
pub(super) use socket::Watched;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
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
    /// Over HTTP/2: bodies of which pieces are on their way.
    handed: Mutex<Handed>,
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
            handed: Mutex::default(),
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
        let is_sending = self.stalled_since.load(Ordering::Relaxed) != 0
            || self.oldest_handed().is_some()
            || self.holds();
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

    /// Since when the client has taken nothing of the body that waits longest.
    fn oldest_handed(&self) -> Option<u64> {
        self.handed
            .lock()
            .bodies
            .values()
            .map(|body| body.since)
            .min()
    }

    /// A request's headers are complete. The returned guard ends it.
    pub(super) fn begin(self: &Arc<Self>) -> RequestGuard {
        self.requests.fetch_add(1, Ordering::AcqRel);
        self.served.store(true, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        let mut handed = self.handed.lock();
        handed.next += 1;
        let number = handed.next;
        drop(handed);
        RequestGuard {
            traffic: Arc::clone(self),
            number,
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
        let handed = self.oldest_handed();
        if handed.is_some_and(|since| passed(since, limits.progress_timeout)) {
            return Some(Overdue::Reader);
        }
        if self.requests.load(Ordering::Acquire) > 0 || stalled != 0 || handed.is_some() {
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

    /// An answer got on. If it was the last, the connection is idle from now on.
    fn rests(&self) {
        if self.requests.load(Ordering::Acquire) == 0 {
            self.idle_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// The client took something after a stall, or there was none.
    fn resumed(&self, enough: bool) {
        let since = self.stalled_since.swap(0, Ordering::Relaxed);
        // The end of an answer may still be on its way when its request has ended. What else is written, such as answers to PING, is no use of the
        // connection: a client could keep it for ever.
        if since != 0 {
            self.rests();
        }
        if enough {
            self.stalled_before.store(0, Ordering::Relaxed);
        } else if since != 0 {
            let stalled = self.now().saturating_sub(since);
            self.stalled_before.fetch_add(stalled, Ordering::Relaxed);
        }
    }
}

/// Bodies of which pieces are on their way, by the number of their request.
#[derive(Debug, Default)]
struct Handed {
    next: u64,
    bodies: HashMap<u64, Waiting>,
    /// When a piece of any body was gone last.
    gone_at: u64,
}

/// A body of which pieces are on their way.
#[derive(Debug)]
struct Waiting {
    pieces: usize,
    /// Since when the client has taken nothing of it. Later than that by what the line was given to others.
    since: u64,
}

impl Handed {
    /// A piece of a body is on its way.
    fn piece(&mut self, number: u64, now: u64) {
        let body = self.bodies.entry(number).or_insert(Waiting {
            pieces: 0,
            since: now,
        });
        body.pieces += 1;
    }

    /// A piece of a body is gone. It is no more progress of the others than their share of the line is smaller: a client that takes one body must not
    /// keep another for ever.
    fn gone(&mut self, number: u64, now: u64) {
        let sharing = self.bodies.len() as u64;
        let Some(body) = self.bodies.get_mut(&number) else {
            return;
        };
        let begun = body.since.max(self.gone_at);
        body.since = now;
        body.pieces = body.pieces.saturating_sub(1);
        if body.pieces == 0 {
            self.bodies.remove(&number);
        }
        self.gone_at = now;
        for (_, other) in self.bodies.iter_mut().filter(|(of, _)| **of != number) {
            let both = now.saturating_sub(begun.max(other.since));
            other.since += both - both / sharing;
        }
    }
}

/// One request of a connection; dropping it ends it.
#[derive(Debug)]
pub(super) struct RequestGuard {
    traffic: Arc<Traffic>,
    number: u64,
}

impl RequestGuard {
    /// Whether bodies are cut into pieces and have clocks of their own.
    fn cuts(&self) -> bool {
        self.traffic.multiplexed.load(Ordering::Relaxed)
    }

    /// Counts a piece until the connection has let go of it.
    fn give(&self, piece: Bytes) -> Bytes {
        match &self.traffic.holder {
            Some(holder) => holder.give(piece),
            None => piece,
        }
    }

    /// Starts the clock of the body, unless it runs; it runs until nobody has a piece of it any more.
    fn hand(&self, bytes: Bytes) -> Bytes {
        if bytes.is_empty() {
            return bytes;
        }
        let traffic = Arc::clone(&self.traffic);
        traffic.handed.lock().piece(self.number, traffic.now());
        Bytes::from_owner(Piece {
            bytes,
            number: self.number,
            traffic,
        })
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let idle_since = &self.traffic.idle_since;
        idle_since.store(self.traffic.now(), Ordering::Relaxed);
        self.traffic.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A piece of a body over HTTP/2, and the number of its request.
struct Piece {
    bytes: Bytes,
    number: u64,
    traffic: Arc<Traffic>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let now = self.traffic.now();
        self.traffic.handed.lock().gone(self.number, now);
        self.traffic.rests();
    }
}
