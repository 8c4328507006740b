//! What was taken from the origin last, and what is being taken.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use object_store::path::Path;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{notices::Stamp, taking::Taking};

/// A value and when it was taken.
#[derive(Debug)]
pub(super) struct Taken<T> {
    pub(super) value: Arc<T>,
    /// What notices said before it was taken.
    pub(super) stamp: Stamp,
    /// When taking it began.
    pub(super) at: Instant,
}

// Derived, it would ask for T: Clone.
impl<T> Clone for Taken<T> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            stamp: self.stamp,
            at: self.at,
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
    taking: Mutex<Option<Taking<T>>>,
    /// Who tries in place of readers. It ends with this.
    trying: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            last: Mutex::default(),
            refused: Mutex::default(),
            taking: Mutex::default(),
            trying: Mutex::default(),
        }
    }
}

impl<T> Kept<T> {
    /// What was taken last.
    pub(super) fn last(&self) -> Option<Taken<T>> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The attempt that is under way, locked. What it leaves is there before it is not.
    pub(super) fn taking(&self) -> MutexGuard<'_, Option<Taking<T>>> {
        self.taking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What notices said before the last attempt, if the origin did not answer that.
    pub(super) fn refused(&self) -> Option<Stamp> {
        *self.lock_refused()
    }

    /// The origin did not answer an attempt, before which notices said `stamp`.
    pub(super) fn refuse(&self, stamp: Stamp) {
        *self.lock_refused() = Some(stamp);
    }

    /// The origin has answered.
    pub(super) fn answered(&self) {
        *self.lock_refused() = None;
    }

    /// Has a task try in place of readers; one that did so before ends.
    pub(super) fn tried_by(&self, task: AbortOnDropHandle<()>) {
        *self.trying.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    fn lock_refused(&self) -> MutexGuard<'_, Option<Stamp>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what was taken.
    pub(super) fn put(&self, value: T, stamp: Stamp, at: Instant) -> Arc<T> {
        let value = Arc::new(value);
        let taken = Taken {
            value: Arc::clone(&value),
            stamp,
            at,
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
        self.answered();
        value
    }
}

/// A bounded number of values by path; the one that was used longest ago goes first.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    limit: usize,
    clock: AtomicU64,
    places: Mutex<HashMap<Path, (Arc<T>, u64)>>,
}

impl<T> Shelf<T> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            clock: AtomicU64::new(0),
            places: Mutex::default(),
        }
    }

    /// The value at `path`.
    pub(super) fn get(&self, path: &Path) -> Option<Arc<T>> {
        let now = self.now();
        let mut places = self.lock();
        let (value, used) = places.get_mut(path)?;
        *used = now;
        Some(Arc::clone(value))
    }

    /// Puts a value at `path`.
    pub(super) fn put(&self, path: &Path, value: T) -> Arc<T> {
        let (value, now) = (Arc::new(value), self.now());
        let mut places = self.lock();
        if places.len() >= self.limit && !places.contains_key(path) {
            // Rare, and a thousand places are looked through in microseconds.
            let oldest = places.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(path, _)| path.clone()) {
                places.remove(&oldest);
            }
        }
        places.insert(path.clone(), (Arc::clone(&value), now));
        value
    }

    /// Forgets what is at `path`.
    pub(super) fn forget(&self, path: &Path) {
        self.lock().remove(path);
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Path, (Arc<T>, u64)>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Default> Shelf<T> {
    /// The value at `path`, made if there is none.
    pub(super) fn of(&self, path: &Path) -> Arc<T> {
        self.get(path)
            .unwrap_or_else(|| self.put(path, T::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_used_longest_ago_goes_first() {
        let shelf = Shelf::new(2);
        let path = |name: &str| Path::from(name);
        shelf.put(&path("a"), 1);
        shelf.put(&path("b"), 2);
        assert!(shelf.get(&path("a")).is_some());
        shelf.put(&path("c"), 3);
        assert!(shelf.get(&path("b")).is_none());
        assert_eq!(shelf.get(&path("a")).as_deref(), Some(&1));
        shelf.put(&path("a"), 4);
        assert_eq!(shelf.get(&path("c")).as_deref(), Some(&3));
    }
}
