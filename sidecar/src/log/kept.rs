//! What was taken from the origin last, and what is being taken.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{attempt::Attempt, notices::Stamp};

/// Attempts at an origin that is silent that go on beside the newest: it may take longer to answer than readers wait.
const SILENT_MAX: usize = 8;

/// A value and when it was taken.
#[derive(Debug)]
pub(super) struct Taken<T> {
    pub(super) value: Arc<T>,
    /// What notices said before it was taken.
    pub(super) stamp: Stamp,
    /// When taking it began.
    pub(super) at: Instant,
    /// Of the attempt that took it.
    pub(super) number: u64,
}

// Derived, it would ask for T: Clone.
impl<T> Clone for Taken<T> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            stamp: self.stamp,
            at: self.at,
            number: self.number,
        }
    }
}

/// One value that is taken again and again.
#[derive(Debug)]
pub(super) struct Kept<T> {
    last: Mutex<Option<Taken<T>>>,
    /// What notices said before the last attempt, if the origin did not answer that.
    refused: Mutex<Option<Stamp>>,
    /// The attempt that is under way.
    under_way: Mutex<Option<Attempt<T>>>,
    /// Attempts before it at an origin that is silent, which may be answered yet, oldest first. Those that are one too many end.
    silent: Mutex<VecDeque<Attempt<T>>>,
    /// Attempts that have begun.
    attempts: AtomicU64,
    /// Who tries in place of readers. It ends with this.
    trying: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            last: Mutex::default(),
            refused: Mutex::default(),
            under_way: Mutex::default(),
            silent: Mutex::default(),
            attempts: AtomicU64::new(0),
            trying: Mutex::default(),
        }
    }
}

impl<T> Kept<T> {
    /// What was taken last.
    pub(super) fn last(&self) -> Option<Taken<T>> {
        self.last.lock().clone()
    }

    /// The attempt that is under way, locked. What it leaves is there before it is not.
    pub(super) fn under_way(&self) -> MutexGuard<'_, Option<Attempt<T>>> {
        self.under_way.lock()
    }

    /// The number of an attempt that begins.
    pub(super) fn next_attempt(&self) -> u64 {
        self.attempts.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether no attempt has begun after this one.
    pub(super) fn is_newest(&self, number: u64) -> bool {
        self.attempts.load(Ordering::Relaxed) == number + 1
    }

    /// Has an attempt go on that another one has taken the place of.
    pub(super) fn replaced(&self, attempt: Attempt<T>) {
        let mut silent = self.silent.lock();
        silent.push_back(attempt);
        let gone = (silent.len() > SILENT_MAX).then(|| silent.pop_front());
        // Without the lock, which the end of an attempt takes.
        drop(silent);
        drop(gone);
    }

    /// An attempt has ended.
    pub(super) fn ended(&self, number: u64) {
        let is_it = |attempt: &mut Attempt<T>| attempt.number == number;
        let under_way = self.under_way().take_if(is_it);
        let mut silent = self.silent.lock();
        let at = silent.iter().position(|attempt| attempt.number == number);
        let replaced = at.and_then(|at| silent.remove(at));
        // Without the locks: these may be the last that hold the attempt.
        drop(silent);
        drop((under_way, replaced));
    }

    /// What notices said before the last attempt, if the origin did not answer that.
    pub(super) fn refused(&self) -> Option<Stamp> {
        *self.refused.lock()
    }

    /// The origin did not answer an attempt, before which notices said `stamp`.
    pub(super) fn refuse(&self, stamp: Stamp) {
        *self.refused.lock() = Some(stamp);
    }

    /// The origin has answered.
    pub(super) fn answered(&self) {
        *self.refused.lock() = None;
    }

    /// Has a task try in place of readers; one that did so before ends.
    pub(super) fn tried_by(&self, task: AbortOnDropHandle<()>) {
        *self.trying.lock() = Some(task);
    }

    /// Keeps what an attempt took, unless one that began later has left something.
    pub(super) fn put(&self, value: T, stamp: Stamp, at: Instant, number: u64) -> Arc<T> {
        let value = Arc::new(value);
        let taken = Taken {
            value: Arc::clone(&value),
            stamp,
            at,
            number,
        };
        let mut last = self.last.lock();
        if last.as_ref().is_none_or(|last| last.number < number) {
            *last = Some(taken);
            self.answered();
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;

    use super::*;
    use crate::log::Notices;

    #[test]
    fn what_an_older_attempt_took_does_not_overwrite_what_a_newer_one_did() {
        let kept = Kept::default();
        let stamp = Notices::default().stamp(&Path::from("log/c/s/t"));
        let (old, new) = (kept.next_attempt(), kept.next_attempt());
        kept.put("new", stamp, Instant::now(), new);
        kept.put("old", stamp, Instant::now(), old);
        assert_eq!(*kept.last().unwrap().value, "new");
    }
}
