//! Bytes that connections were given and have not taken, and which connections give way when there are too many.
//!
//! A piece of a body counts from when its connection gets it until the last of it is written or thrown away: hyper drops a body with its last
//! piece still in the buffer, and a piece of [`Bytes`] tells when its last reader is gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What all connections of a listener hold.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    now: AtomicU64,
    gauge: Gauge,
    holders: Mutex<HashMap<u64, Arc<Holder>>>,
    next: AtomicU64,
}

impl Ledger {
    /// One that `gauge` shows.
    pub(super) fn shown_by(gauge: Gauge) -> Self {
        Self {
            gauge,
            ..Self::default()
        }
    }

    /// A connection is open, until the answer is dropped.
    pub(super) fn open(self: &Arc<Self>) -> Holding {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let holder = Arc::new(Holder {
            ledger: Arc::clone(self),
            pieces: Mutex::default(),
            leaving: AtomicBool::new(false),
            told: Notify::new(),
        });
        self.holders.lock().insert(number, Arc::clone(&holder));
        Holding { number, holder }
    }

    /// Reports whether no more than `limit` bytes are held. If there are more, the connections that have held theirs for longest, and longer than
    /// `patience`, are told to give way; where that is enough there is room as soon as they are told.
    pub(super) fn has_room(&self, limit: u64, patience: Duration) -> bool {
        let now = self.now.load(Ordering::Acquire);
        if now <= limit {
            return true;
        }
        let holders = self.holders.lock();
        let mut over = now - limit;
        let mut slow = Vec::new();
        for holder in holders.values() {
            let (bytes, since) = holder.held();
            if holder.leaving.load(Ordering::Acquire) {
                over = over.saturating_sub(bytes);
            } else if let Some(since) = since.filter(|since| since.elapsed() >= patience) {
                slow.push((since, bytes, holder));
            }
        }
        slow.sort_unstable_by_key(|(since, _, _)| *since);
        let mut freed = 0_u64;
        let enough: Vec<_> = slow
            .into_iter()
            .take_while(|(_, bytes, _)| {
                let needed = freed < over;
                freed = freed.saturating_add(*bytes);
                needed
            })
            .collect();
        // Nobody is cut for nothing.
        if freed < over {
            return false;
        }
        enough.iter().for_each(|(_, _, holder)| holder.leave());
        true
    }

    /// Tells the connection that has held what it was given for longest, and longer than `patience`, to give way, unless one is about to.
    pub(super) fn free_one(&self, patience: Duration) {
        let holders = self.holders.lock();
        if holders
            .values()
            .any(|holder| holder.leaving.load(Ordering::Acquire))
        {
            return;
        }
        let slowest = holders
            .values()
            .filter_map(|holder| Some((holder.held().1?, holder)))
            .min_by_key(|(since, _)| *since);
        if let Some((since, holder)) = slowest
            && since.elapsed() >= patience
        {
            holder.leave();
        }
    }
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Holding {
    number: u64,
    pub(crate) holder: Arc<Holder>,
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.holder.ledger.holders.lock().remove(&self.number);
    }
}

/// What one connection holds.
#[derive(Debug)]
pub(crate) struct Holder {
    ledger: Arc<Ledger>,
    pieces: Mutex<Pieces>,
    leaving: AtomicBool,
    told: Notify,
}

/// Few: one over HTTP/1.1, one for each stream over HTTP/2.
#[derive(Debug, Default)]
struct Pieces {
    next: u64,
    bytes: u64,
    held: Vec<(u64, Instant)>,
}

impl Holder {
    /// Counts `bytes`, which the connection is given, until nobody has them any more.
    pub(crate) fn give(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        if bytes.is_empty() {
            return bytes;
        }
        let length = bytes.len() as u64;
        let number = {
            let mut pieces = self.pieces.lock();
            pieces.next += 1;
            pieces.bytes += length;
            let number = pieces.next;
            pieces.held.push((number, Instant::now()));
            number
        };
        self.ledger.now.fetch_add(length, Ordering::AcqRel);
        self.ledger.gauge.inc_by(gauge(length));
        let holder = Arc::clone(self);
        Bytes::from_owner(Piece {
            bytes,
            number,
            holder,
        })
    }

    /// Reports whether the connection has bytes that are not taken.
    pub(crate) fn holds(&self) -> bool {
        self.pieces.lock().bytes > 0
    }

    /// Waits until the connection is told to give way.
    pub(crate) async fn told_to_leave(&self) {
        self.told.notified().await;
    }

    fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        self.told.notify_one();
    }

    /// Bytes, and since when the oldest are held.
    fn held(&self) -> (u64, Option<Instant>) {
        let pieces = self.pieces.lock();
        let since = pieces.held.iter().map(|(_, since)| *since).min();
        (pieces.bytes, since)
    }
}

/// Bytes that are counted while they are there.
struct Piece {
    bytes: Bytes,
    number: u64,
    holder: Arc<Holder>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let length = self.bytes.len() as u64;
        let mut pieces = self.holder.pieces.lock();
        pieces.bytes -= length;
        pieces.held.retain(|(number, _)| *number != self.number);
        drop(pieces);
        let ledger = &self.holder.ledger;
        ledger.now.fetch_sub(length, Ordering::AcqRel);
        ledger.gauge.dec_by(gauge(length));
    }
}

fn gauge(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::time::advance;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn told(holding: &Holding) -> bool {
        holding.holder.told_to_leave().now_or_never().is_some()
    }

    #[test]
    fn a_piece_counts_until_its_last_part_is_gone() {
        let ledger = Arc::new(Ledger::default());
        let holding = ledger.open();
        let mut piece = holding.holder.give(Bytes::from_static(b"0123456789"));
        let part = piece.split_to(4);
        drop(piece);
        assert_eq!(ledger.now.load(Ordering::Acquire), 10);
        drop(holding);
        drop(part);
        assert_eq!(ledger.now.load(Ordering::Acquire), 0);
        assert_eq!(ledger.gauge.get(), 0);
        assert!(ledger.holders.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_holds_for_longest_gives_way_and_no_more_than_need_be() {
        let ledger = Arc::new(Ledger::default());
        let piece = || Bytes::from_static(&[0; 10]);
        let (first, second, third) = (ledger.open(), ledger.open(), ledger.open());
        let _second = second.holder.give(piece());
        advance(Duration::from_secs(1)).await;
        let held = first.holder.give(piece());
        advance(PATIENCE).await;
        let _young = third.holder.give(piece());
        assert!(ledger.has_room(30, PATIENCE));
        assert!(!told(&first) && !told(&second) && !told(&third));
        // Two of three would not be enough: nobody is cut for nothing.
        assert!(!ledger.has_room(5, PATIENCE));
        assert!(!told(&first) && !told(&second) && !told(&third));
        assert!(ledger.has_room(25, PATIENCE));
        assert!(told(&second) && !told(&first) && !told(&third));
        // What is about to be free counts as free.
        assert!(ledger.has_room(20, PATIENCE));
        assert!(!told(&first) && !told(&third));
        assert!(ledger.has_room(19, PATIENCE));
        assert!(told(&first) && !told(&third));
        drop(held);
        assert!(!ledger.has_room(9, PATIENCE), "the young one stays");
    }

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_is_freed() {
        let ledger = Arc::new(Ledger::default());
        let (first, second) = (ledger.open(), ledger.open());
        let _pieces = [&first, &second].map(|one| one.holder.give(Bytes::from_static(b"x")));
        ledger.free_one(PATIENCE);
        assert!(!told(&first) && !told(&second), "not slow yet");
        advance(PATIENCE).await;
        ledger.free_one(PATIENCE);
        ledger.free_one(PATIENCE);
        assert!(told(&first) != told(&second));
    }
}
