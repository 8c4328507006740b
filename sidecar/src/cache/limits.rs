//! How many requests the origin is asked at once, and how much is read ahead, source by source.
//!
//! Every request under way has a permit. It fills one entry at a time, of 1 MiB at most, so permits bound the memory of all fetches too. A
//! bucket that no longer answers keeps its permits until its clients give up, which takes a minute. Readers of others must not wait for that:
//!
//! ```text
//!   64 permits   16 of the state      ropes and log files, without which no table is read
//!                40 of all sources    each begins with 16, and has 32 at most
//!                 8 in reserve        for sources that have fewer than 2 and find none of those
//! ```
//!
//! A source earns a permit by each request that it answers, and loses one by each that ends without an answer. So a bucket that is read
//! alone is read by up to 32 requests, half of all, and one that hangs from the start takes a quarter of all. One that hangs when it has earned the most
//! leaves 8 to others. When several hang that have taken all of the 40, such as sources of one bucket, the reserve is left: each of four more has 2, and
//! whoever comes after them waits until a request ends. Within a source whoever came first is first, but read-ahead leaves half of
//! the permits that a source begins with to those who ask: a scan that hangs keeps no lookup waiting. A source of which nothing is under way begins anew.
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

/// Of so many permits of the sources one is in reserve.
const RESERVE_PART: usize = 6;

/// So many sources can have a part of the reserve.
const RESERVE_SOURCES: usize = 4;

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
    of_sources: Pool,
    state: Arc<Limit>,
    sources: Mutex<HashMap<Box<str>, Weak<Limit>>>,
}

impl Limits {
    /// `all` permits, 2 or more; for read-ahead a source has `ahead` at most, and all of them together `ahead_units` of room.
    pub(super) fn new(all: usize, ahead: usize, ahead_units: usize) -> Self {
        let state = (all / 4).max(1);
        let sources = all.saturating_sub(state).max(1);
        let reserve = sources / RESERVE_PART;
        let shared = sources - reserve;
        let first = state.min(shared);
        Self {
            bounds: (first, (all / 2).clamp(first, shared)),
            ahead,
            room: Arc::new(Semaphore::new(ahead_units)),
            of_sources: Pool::new(shared, reserve),
            state: Limit::new((state, state), ahead, &Pool::new(state, 0)),
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
        let source = Limit::new(self.bounds, self.ahead, &self.of_sources);
        sources.insert(id.into(), Arc::downgrade(&source));
        source
    }

    /// Whether there is any room to read a source ahead.
    pub(super) fn has_room(&self, id: &str) -> bool {
        self.room_of(&self.source(id)) > 0
    }

    /// Units that a source may read ahead now.
    fn room_of(&self, source: &Limit) -> usize {
        let held = source.ahead_units.load(Relaxed);
        let left = AHEAD_SHARE * self.room.available_permits();
        left.saturating_sub(held) / (AHEAD_SHARE + 1)
    }

    /// Room to read a source ahead: for `units` at most, for no more than leaves enough to others, and none below `least`.
    pub(super) fn room(&self, id: &str, units: u32, least: u32) -> Option<Room> {
        let source = self.source(id);
        let most = self.room_of(&source);
        let units = u32::try_from(most).map_or(units, |most| units.min(most));
        if units < least.max(1) {
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

/// Permits that several share.
#[derive(Debug, Clone)]
struct Pool {
    all: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    /// Whoever has so many has none of the reserve.
    reserved_max: usize,
}

impl Pool {
    fn new(all: usize, reserve: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all)),
            reserve: Arc::new(Semaphore::new(reserve)),
            reserved_max: reserve.div_ceil(RESERVE_SOURCES),
        }
    }
}

/// The limit of the state, or of one source.
#[derive(Debug)]
pub(super) struct Limit {
    bounds: (usize, usize),
    /// Permits that it has now, free or not.
    permits: AtomicUsize,
    own: Arc<Semaphore>,
    pool: Pool,
    /// Permits that it holds, of the reserve or not.
    held: AtomicUsize,
    /// It may hold so few that the reserve is for it too.
    fewer_held: Notify,
    /// The most for read-ahead, and how many it has.
    ahead_max: usize,
    ahead: AtomicUsize,
    /// Read-ahead may have one more.
    more_ahead: Notify,
    /// Room that its read-ahead holds.
    ahead_units: AtomicUsize,
}

impl Limit {
    fn new(bounds: (usize, usize), ahead: usize, pool: &Pool) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            permits: AtomicUsize::new(bounds.0),
            own: Arc::new(Semaphore::new(bounds.0)),
            pool: pool.clone(),
            held: AtomicUsize::new(0),
            fewer_held: Notify::new(),
            ahead_max: ahead,
            ahead: AtomicUsize::new(0),
            more_ahead: Notify::new(),
            ahead_units: AtomicUsize::new(0),
        })
    }

    /// Waits for a permit.
    pub(super) async fn permit(self: &Arc<Self>) -> Option<Permit> {
        // None of them is ever closed.
        let own = Arc::clone(&self.own).acquire_owned().await.ok()?;
        let pooled = tokio::select! {
            biased;
            shared = Arc::clone(&self.pool.all).acquire_owned() => {
                let shared = shared.ok()?;
                self.held.fetch_add(1, Relaxed);
                shared
            }
            reserved = self.reserved() => reserved?,
        };
        Some(Permit {
            limit: Arc::clone(self),
            own: Some(own),
            _pooled: pooled,
            is_answered: false,
        })
    }

    /// Waits for one of the reserve, and until it holds few enough to have one.
    async fn reserved(&self) -> Option<OwnedSemaphorePermit> {
        let more = |held| (held < self.pool.reserved_max).then_some(held + 1);
        loop {
            let fewer = self.fewer_held.notified();
            if self.held.load(Relaxed) < self.pool.reserved_max {
                let reserved = Arc::clone(&self.pool.reserve).acquire_owned().await.ok()?;
                if self.held.fetch_update(Relaxed, Relaxed, more).is_ok() {
                    return Some(reserved);
                }
                // Others of it came first: it is for another source.
                continue;
            }
            fewer.await;
        }
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
    /// Of all, or of the reserve.
    _pooled: OwnedSemaphorePermit,
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
        let held = self.limit.held.fetch_sub(1, Relaxed);
        if held <= self.limit.pool.reserved_max {
            self.limit.fewer_held.notify_waiters();
        }
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
mod tests;
