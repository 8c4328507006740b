//! How many requests the origin is asked at once, and how much is read ahead, source by source.
//!
//! Every request under way has a permit. It fills one entry at a time, of 1 MiB at most, so permits bound the memory of all fetches too. A
//! bucket that no longer answers keeps its permits until its clients give up, which takes a minute. Readers of others must not wait for that:
//!
//! ```text
//!   64 permits   16 of the state     ropes and log files, without which no table is read
//!                48 of the sources   each begins with 16, and has 40 at most
//! ```
//!
//! A source earns a permit by each request that it answers, and loses one by each that ends without an answer. So a bucket that is read
//! alone is read by as many requests as before, one that hangs from the start takes a quarter of all, and one that stops in the middle of
//! a scan leaves an eighth to others. Within a source whoever came first is first, but read-ahead leaves half of the permits that a source begins with
//! to those who ask: a scan that hangs keeps no lookup waiting. A source of which nothing is under way begins anew.
//!
//! What is read ahead is bounded in bytes as well, for all sources together. A source holds at most [`AHEAD_SHARE`] times what it leaves, so scans of
//! one that is slow do not take all of it.
//!
//! The state may be asked within a permit of a source, when an object is looked for in its file; no source is asked within one of the state.
//! So nobody waits for a permit that waits for theirs.
//!
//! Whoever stops waiting, or drops a permit, leaves it to the next.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use object_store::path::Path;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// What read-ahead of a source holds is at most so many times what it leaves of the room.
const AHEAD_SHARE: usize = 3;

/// With so many sources known, those of which nothing is under way are forgotten.
const SOURCES_KNOWN: usize = 64;

/// All of them.
#[derive(Debug)]
pub(super) struct Limits {
    /// Permits that a source begins with, and the most that it has.
    bounds: (usize, usize),
    /// Requests of a source at once for read-ahead.
    ahead: usize,
    /// What all sources together may have read ahead.
    room: Arc<Semaphore>,
    /// Permits of the sources together.
    all: Arc<Semaphore>,
    state: Arc<Limit>,
    sources: Mutex<HashMap<Box<str>, Weak<Limit>>>,
}

impl Limits {
    /// `all` permits, 2 or more; for read-ahead a source has `ahead` at most, and all of them together `ahead_units` of room.
    pub(super) fn new(all: usize, ahead: usize, ahead_units: usize) -> Self {
        let state = (all / 4).max(1);
        let sources = all.saturating_sub(state).max(1);
        let first = state.min(sources);
        Self {
            bounds: (first, (all / 8 * 5).clamp(first, sources)),
            ahead,
            room: Arc::new(Semaphore::new(ahead_units)),
            all: Arc::new(Semaphore::new(sources)),
            state: Limit::new((state, state), ahead, &Arc::new(Semaphore::new(state))),
            sources: Mutex::default(),
        }
    }

    /// That of whoever is asked for an object of the origin.
    pub(super) fn of(&self, location: &Path) -> Arc<Limit> {
        let below = location.as_ref().strip_prefix("sources/");
        match below.and_then(|below| below.split_once('/')) {
            Some((source, _)) => self.source(source),
            None => Arc::clone(&self.state),
        }
    }

    /// That of the source with this id.
    pub(super) fn source(&self, id: &str) -> Arc<Limit> {
        let mut sources = self.sources.lock();
        if let Some(known) = sources.get(id).and_then(Weak::upgrade) {
            return known;
        }
        if sources.len() >= SOURCES_KNOWN {
            sources.retain(|_, source| source.strong_count() > 0);
        }
        let source = Limit::new(self.bounds, self.ahead, &self.all);
        sources.insert(id.into(), Arc::downgrade(&source));
        source
    }

    /// Room to read a source ahead: for `units` at most, and for no more than leaves enough to others.
    pub(super) fn room(&self, id: &str, units: u32) -> Option<Room> {
        let source = self.source(id);
        let held = source.ahead_units.load(Relaxed);
        let left = AHEAD_SHARE * self.room.available_permits();
        let most = left.saturating_sub(held) / (AHEAD_SHARE + 1);
        let units = u32::try_from(most).map_or(units, |most| units.min(most));
        if units == 0 {
            return None;
        }
        let permit = Arc::clone(&self.room).try_acquire_many_owned(units).ok()?;
        source.ahead_units.fetch_add(units as usize, Relaxed);
        Some(Room { source, permit })
    }
}

/// Bytes that a source has read ahead. Dropping it gives them back.
#[derive(Debug)]
pub(super) struct Room {
    source: Arc<Limit>,
    permit: OwnedSemaphorePermit,
}

impl Room {
    pub(super) fn units(&self) -> usize {
        self.permit.num_permits()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.source.ahead_units.fetch_sub(self.units(), Relaxed);
    }
}

/// The limit of the state, or of one source.
#[derive(Debug)]
pub(super) struct Limit {
    bounds: (usize, usize),
    /// Permits that it has now, free or not.
    permits: AtomicUsize,
    own: Arc<Semaphore>,
    all: Arc<Semaphore>,
    /// The most for read-ahead, and how many it has.
    ahead_max: usize,
    ahead: AtomicUsize,
    /// Read-ahead may have one more.
    more_ahead: Notify,
    /// Room that its read-ahead holds.
    ahead_units: AtomicUsize,
}

impl Limit {
    fn new(bounds: (usize, usize), ahead: usize, all: &Arc<Semaphore>) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            permits: AtomicUsize::new(bounds.0),
            own: Arc::new(Semaphore::new(bounds.0)),
            all: Arc::clone(all),
            ahead_max: ahead,
            ahead: AtomicUsize::new(0),
            more_ahead: Notify::new(),
            ahead_units: AtomicUsize::new(0),
        })
    }

    /// Waits for a permit.
    pub(super) async fn permit(self: &Arc<Self>) -> Option<Permit> {
        // Neither is ever closed.
        let own = Arc::clone(&self.own).acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Permit {
            limit: Arc::clone(self),
            own: Some(own),
            _all: all,
            is_answered: false,
        })
    }

    /// Waits until read-ahead may wait for a permit: it leaves some to those who ask.
    pub(super) async fn ahead(self: &Arc<Self>) -> Ahead {
        loop {
            // Before the look: of two places that become free after it, with two who wait, only one would be remembered.
            let mut more = std::pin::pin!(self.more_ahead.notified());
            more.as_mut().enable();
            if self.more_to_read_ahead() {
                return Ahead(Arc::clone(self));
            }
            more.await;
        }
    }

    fn more_to_read_ahead(&self) -> bool {
        let (first, _) = self.bounds;
        let left = self.permits.load(Relaxed).saturating_sub(first / 2);
        let most = left.min(self.ahead_max).max(1);
        let more = |ahead| (ahead < most).then_some(ahead + 1);
        self.ahead.fetch_update(Relaxed, Relaxed, more).is_ok()
    }
}

/// Read-ahead waits for a permit or has it. Dropping it leaves the place to the next.
#[derive(Debug)]
pub(super) struct Ahead(Arc<Limit>);

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.ahead.fetch_sub(1, Relaxed);
        self.0.more_ahead.notify_one();
    }
}

/// A request may be under way. Dropping it ends that.
#[derive(Debug)]
pub(super) struct Permit {
    limit: Arc<Limit>,
    own: Option<OwnedSemaphorePermit>,
    _all: OwnedSemaphorePermit,
    is_answered: bool,
}

impl Permit {
    /// The origin has answered.
    pub(super) fn answered(&mut self) {
        let (_, most) = self.limit.bounds;
        let more = |permits| (permits < most).then_some(permits + 1);
        let permits = &self.limit.permits;
        let is_first = !std::mem::replace(&mut self.is_answered, true);
        if is_first && permits.fetch_update(Relaxed, Relaxed, more).is_ok() {
            self.limit.own.add_permits(1);
            self.limit.more_ahead.notify_one();
        }
    }

    /// The answer has not come to its end.
    pub(super) fn failed(&mut self) {
        self.is_answered = false;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let (first, _) = self.limit.bounds;
        let less = |permits| (permits > first).then_some(permits - 1);
        let permits = &self.limit.permits;
        if !self.is_answered
            && permits.fetch_update(Relaxed, Relaxed, less).is_ok()
            && let Some(own) = self.own.take()
        {
            own.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn source(limits: &Limits, id: &str) -> Arc<Limit> {
        limits.of(&Path::from(format!("sources/{id}/a/b")))
    }

    fn limits_of(all: usize, ahead: usize) -> Limits {
        Limits::new(all, ahead, 32)
    }

    /// Takes permits while there are any.
    fn take(limit: &Arc<Limit>) -> Vec<Permit> {
        std::iter::from_fn(|| limit.permit().now_or_never().flatten()).collect()
    }

    #[test]
    fn sources_that_hang_leave_permits_to_others_and_to_the_state() {
        let limits = limits_of(64, 32);
        let hung = [source(&limits, "a"), source(&limits, "b")];
        let held: Vec<_> = hung.iter().map(take).collect();
        assert!(held.iter().all(|permits| permits.len() == 16));
        assert_eq!(take(&source(&limits, "c")).len(), 16);
        assert_eq!(take(&limits.of(&Path::from("log/c/s/t/x.rope"))).len(), 16);
    }

    #[test]
    fn a_source_that_answers_earns_permits_and_loses_them_when_it_does_not() {
        let limits = limits_of(64, 32);
        let limit = source(&limits, "a");
        for _ in 0..100 {
            let mut permit = limit.permit().now_or_never().flatten().unwrap();
            // One request earns one permit, however many chunks it brings.
            permit.answered();
            permit.answered();
        }
        let mut held = take(&limit);
        assert_eq!(held.len(), 40);
        assert_eq!(take(&source(&limits, "b")).len(), 8);
        // Some are cut short, others never answered.
        for permit in &mut held[..8] {
            permit.answered();
            permit.failed();
        }
        drop(held);
        assert_eq!(take(&limit).len(), 16);
    }

    #[test]
    fn read_ahead_that_hangs_leaves_permits_to_those_who_ask() {
        let ahead = |limit: &Arc<Limit>| -> Vec<Ahead> {
            std::iter::from_fn(|| limit.ahead().now_or_never()).collect()
        };
        let limits = limits_of(64, 32);
        let limit = source(&limits, "a");
        let mut hung = ahead(&limit);
        assert_eq!(hung.len(), 8);
        let of_ahead: Vec<_> = hung
            .iter()
            .map(|_| limit.permit().now_or_never().flatten().unwrap())
            .collect();
        assert_eq!(take(&limit).len(), 8);
        // One that ends leaves its place to one that waits.
        let waiting = limit.ahead();
        let mut waiting = std::pin::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        hung.pop();
        assert!(waiting.now_or_never().is_some());
        drop((hung, of_ahead));
        // What answers is read ahead by as many as before.
        for _ in 0..100 {
            limit.permit().now_or_never().flatten().unwrap().answered();
        }
        assert_eq!(ahead(&limit).len(), 32);
        assert_eq!(ahead(&source(&limits_of(2, 1), "a")).len(), 1);
    }

    #[test]
    fn sources_of_which_nothing_is_under_way_are_forgotten() {
        let limits = limits_of(64, 32);
        let kept = source(&limits, "kept");
        let _permit = kept.permit().now_or_never().flatten().unwrap();
        for number in 0..1000 {
            source(&limits, &number.to_string());
        }
        assert!(limits.sources.lock().len() <= SOURCES_KNOWN);
        assert!(Arc::ptr_eq(&kept, &source(&limits, "kept")));
    }

    #[test]
    fn the_fewest_permits_are_one_for_the_state_and_one_for_the_sources() {
        let limits = limits_of(2, 1);
        assert_eq!(take(&limits.state).len(), 1);
        let held = take(&source(&limits, "a"));
        assert_eq!((held.len(), take(&source(&limits, "b")).len()), (1, 0));
    }

    #[test]
    fn a_source_leaves_others_room_to_read_ahead() {
        let limits = limits_of(64, 32);
        // As much as there is for it, in windows of a quarter of all.
        let fill = |id: &str| -> Vec<Room> { std::iter::from_fn(|| limits.room(id, 8)).collect() };
        let units = |rooms: &[Room]| rooms.iter().map(Room::units).sum::<usize>();
        let slow = fill("slow");
        assert_eq!(units(&slow), 24);
        let (one, two) = (fill("one"), fill("two"));
        assert_eq!((units(&one), units(&two)), (6, 1));
        drop((slow, two));
        assert_eq!(units(&fill("two")), 19, "three times what it leaves");
        drop(one);
        assert_eq!(units(&fill("two")), 24, "alone");
    }
}
