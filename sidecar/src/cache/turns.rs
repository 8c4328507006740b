//! Whose turn it is to ask the origin.
//!
//! Every request under way has a turn. It fills one entry at a time, of 1 MiB at most, so turns bound the memory of all fetches too. A
//! bucket that no longer answers keeps its turns until its clients give up, which takes a minute. Readers of others must not wait for that:
//!
//! ```text
//!   64 turns   16 of the state     ropes and log files, without which no table is read
//!              48 of the sources   each begins with 16, and has 40 at most
//! ```
//!
//! A source earns a turn by each request that it answers, and loses one by each that ends without an answer. So a bucket that is read
//! alone is read by as many requests as before, one that hangs from the start takes a quarter of all, and one that stops in the middle of
//! a scan leaves an eighth to others. Within a source whoever came first is first, but read-ahead leaves half of the turns that a source begins with to
//! those who ask: a scan that hangs keeps no lookup waiting. A source of which nothing is under way begins anew.
//!
//! The state may be asked within a turn of a source, when an object is looked for in its file; no source is asked within one of the state.
//! So nobody waits for a turn that waits for theirs.
//!
//! Whoever stops waiting, or drops a turn, leaves it to the next.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use object_store::path::Path;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// With so many sources known, those of which nothing is under way are forgotten.
const SOURCES_KNOWN: usize = 64;

/// All turns.
#[derive(Debug)]
pub(super) struct Turns {
    /// Turns that a source begins with, and the most that it has.
    bounds: (usize, usize),
    /// Requests of a source at once for read-ahead.
    ahead: usize,
    /// Those of the sources together.
    all: Arc<Semaphore>,
    state: Arc<Asked>,
    sources: Mutex<HashMap<Box<str>, Weak<Asked>>>,
}

impl Turns {
    /// `all` turns, 2 or more; for read-ahead a source has `ahead` at most.
    pub(super) fn new(all: usize, ahead: usize) -> Self {
        let state = (all / 4).max(1);
        let sources = all.saturating_sub(state).max(1);
        let first = state.min(sources);
        Self {
            bounds: (first, (all / 8 * 5).clamp(first, sources)),
            ahead,
            all: Arc::new(Semaphore::new(sources)),
            state: Asked::new((state, state), ahead, &Arc::new(Semaphore::new(state))),
            sources: Mutex::default(),
        }
    }

    /// Who is asked for an object of the origin.
    pub(super) fn of(&self, location: &Path) -> Arc<Asked> {
        let below = location.as_ref().strip_prefix("sources/");
        match below.and_then(|below| below.split_once('/')) {
            Some((source, _)) => self.source(source),
            None => Arc::clone(&self.state),
        }
    }

    /// The source with this id.
    pub(super) fn source(&self, id: &str) -> Arc<Asked> {
        // Never held over an await. Every state between two statements is a valid one.
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sources.get(id).and_then(Weak::upgrade) {
            return known;
        }
        if sources.len() >= SOURCES_KNOWN {
            sources.retain(|_, source| source.strong_count() > 0);
        }
        let source = Asked::new(self.bounds, self.ahead, &self.all);
        sources.insert(id.into(), Arc::downgrade(&source));
        source
    }
}

/// Who is asked: the state, or one source.
#[derive(Debug)]
pub(super) struct Asked {
    bounds: (usize, usize),
    /// Turns that it has now, free or not.
    limit: AtomicUsize,
    own: Arc<Semaphore>,
    all: Arc<Semaphore>,
    /// The most for read-ahead, and how many it has.
    ahead_max: usize,
    ahead: AtomicUsize,
    /// Read-ahead may have one more.
    more_ahead: Notify,
}

impl Asked {
    fn new(bounds: (usize, usize), ahead: usize, all: &Arc<Semaphore>) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            limit: AtomicUsize::new(bounds.0),
            own: Arc::new(Semaphore::new(bounds.0)),
            all: Arc::clone(all),
            ahead_max: ahead,
            ahead: AtomicUsize::new(0),
            more_ahead: Notify::new(),
        })
    }

    /// Waits for a turn.
    pub(super) async fn turn(self: &Arc<Self>) -> Option<Turn> {
        // Neither is ever closed.
        let own = Arc::clone(&self.own).acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Turn {
            asked: Arc::clone(self),
            own: Some(own),
            _all: all,
            is_answered: false,
        })
    }

    /// Waits until read-ahead may wait for a turn: it leaves some to those who ask.
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
        let left = self.limit.load(Relaxed).saturating_sub(first / 2);
        let most = left.min(self.ahead_max).max(1);
        let more = |ahead| (ahead < most).then_some(ahead + 1);
        self.ahead.fetch_update(Relaxed, Relaxed, more).is_ok()
    }
}

/// Read-ahead waits for a turn or has it. Dropping it leaves the place to the next.
#[derive(Debug)]
pub(super) struct Ahead(Arc<Asked>);

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.ahead.fetch_sub(1, Relaxed);
        self.0.more_ahead.notify_one();
    }
}

/// A request may be under way. Dropping it ends the turn.
#[derive(Debug)]
pub(super) struct Turn {
    asked: Arc<Asked>,
    own: Option<OwnedSemaphorePermit>,
    _all: OwnedSemaphorePermit,
    is_answered: bool,
}

impl Turn {
    /// The origin has answered.
    pub(super) fn answered(&mut self) {
        let (_, most) = self.asked.bounds;
        let more = |limit| (limit < most).then_some(limit + 1);
        let limit = &self.asked.limit;
        let is_first = !std::mem::replace(&mut self.is_answered, true);
        if is_first && limit.fetch_update(Relaxed, Relaxed, more).is_ok() {
            self.asked.own.add_permits(1);
            self.asked.more_ahead.notify_one();
        }
    }

    /// The answer has not come to its end.
    pub(super) fn failed(&mut self) {
        self.is_answered = false;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (first, _) = self.asked.bounds;
        let less = |limit| (limit > first).then_some(limit - 1);
        let limit = &self.asked.limit;
        if !self.is_answered
            && limit.fetch_update(Relaxed, Relaxed, less).is_ok()
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

    fn source(turns: &Turns, id: &str) -> Arc<Asked> {
        turns.of(&Path::from(format!("sources/{id}/a/b")))
    }

    /// Takes turns while there are any.
    fn take(asked: &Arc<Asked>) -> Vec<Turn> {
        std::iter::from_fn(|| asked.turn().now_or_never().flatten()).collect()
    }

    #[test]
    fn sources_that_hang_leave_turns_to_others_and_to_the_state() {
        let turns = Turns::new(64, 32);
        let hung = [source(&turns, "a"), source(&turns, "b")];
        let held: Vec<_> = hung.iter().map(take).collect();
        assert!(held.iter().all(|turns| turns.len() == 16));
        assert_eq!(take(&source(&turns, "c")).len(), 16);
        assert_eq!(take(&turns.of(&Path::from("log/c/s/t/x.rope"))).len(), 16);
    }

    #[test]
    fn a_source_that_answers_earns_turns_and_loses_them_when_it_does_not() {
        let turns = Turns::new(64, 32);
        let asked = source(&turns, "a");
        for _ in 0..100 {
            let mut turn = asked.turn().now_or_never().flatten().unwrap();
            // One request earns one turn, however many chunks it brings.
            turn.answered();
            turn.answered();
        }
        let mut held = take(&asked);
        assert_eq!(held.len(), 40);
        assert_eq!(take(&source(&turns, "b")).len(), 8);
        // Some are cut short, others never answered.
        for turn in &mut held[..8] {
            turn.answered();
            turn.failed();
        }
        drop(held);
        assert_eq!(take(&asked).len(), 16);
    }

    #[test]
    fn read_ahead_that_hangs_leaves_turns_to_those_who_ask() {
        let ahead = |asked: &Arc<Asked>| -> Vec<Ahead> {
            std::iter::from_fn(|| asked.ahead().now_or_never()).collect()
        };
        let turns = Turns::new(64, 32);
        let asked = source(&turns, "a");
        let mut hung = ahead(&asked);
        assert_eq!(hung.len(), 8);
        let of_ahead: Vec<_> = hung
            .iter()
            .map(|_| asked.turn().now_or_never().flatten().unwrap())
            .collect();
        assert_eq!(take(&asked).len(), 8);
        // One that ends leaves its place to one that waits.
        let waiting = asked.ahead();
        let mut waiting = std::pin::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        hung.pop();
        assert!(waiting.now_or_never().is_some());
        drop((hung, of_ahead));
        // What answers is read ahead by as many as before.
        for _ in 0..100 {
            asked.turn().now_or_never().flatten().unwrap().answered();
        }
        assert_eq!(ahead(&asked).len(), 32);
        assert_eq!(ahead(&source(&Turns::new(2, 1), "a")).len(), 1);
    }

    #[test]
    fn sources_of_which_nothing_is_under_way_are_forgotten() {
        let turns = Turns::new(64, 32);
        let kept = source(&turns, "kept");
        let _turn = kept.turn().now_or_never().flatten().unwrap();
        for number in 0..1000 {
            source(&turns, &number.to_string());
        }
        assert!(turns.sources.lock().unwrap().len() <= SOURCES_KNOWN);
        assert!(Arc::ptr_eq(&kept, &source(&turns, "kept")));
    }

    #[test]
    fn the_fewest_turns_are_one_for_the_state_and_one_for_the_sources() {
        let turns = Turns::new(2, 1);
        assert_eq!(take(&turns.state).len(), 1);
        let held = take(&source(&turns, "a"));
        assert_eq!((held.len(), take(&source(&turns, "b")).len()), (1, 0));
    }
}
