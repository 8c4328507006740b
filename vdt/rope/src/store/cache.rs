//! Parsed indexes of ropes that were read lately, bounded by the bytes they take.
//!
//! A rope's name is its content, so an entry can become useless but never wrong. Whoever finds that the bytes below no
//! longer fit an index (a rope that was removed and written again by another version of vdt) removes it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use object_store::ObjectMeta;
use object_store::path::Path;

use crate::stored::Index;

/// A rope that can be read without its tail.
#[derive(Debug)]
pub(super) struct KnownRope {
    /// Its index.
    pub(super) index: Index,
    /// Its file in the origin.
    pub(super) meta: ObjectMeta,
}

impl KnownRope {
    fn bytes(&self) -> usize {
        // The path is held twice, by the entry and by the order of use.
        std::mem::size_of::<Self>()
            + std::mem::size_of_val(self.index.frames())
            + 3 * self.meta.location.as_ref().len()
            + 128
    }
}

/// Least recently used indexes go first.
#[derive(Debug)]
pub(super) struct IndexCache {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ropes: HashMap<Path, (u64, Arc<KnownRope>)>,
    by_use: BTreeMap<u64, Path>,
    uses: u64,
    bytes: usize,
}

impl IndexCache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            state: Mutex::default(),
        }
    }

    pub(super) fn find(&self, rope: &Path) -> Option<Arc<KnownRope>> {
        let mut state = self.state();
        let now = state.tick();
        let (used, known) = state.ropes.get_mut(rope)?;
        let known = Arc::clone(known);
        let before = std::mem::replace(used, now);
        if let Some(path) = state.by_use.remove(&before) {
            state.by_use.insert(now, path);
        }
        Some(known)
    }

    pub(super) fn insert(&self, known: Arc<KnownRope>) {
        let bytes = known.bytes();
        if bytes > self.bytes_max {
            return;
        }
        let path = known.meta.location.clone();
        let mut state = self.state();
        state.remove(&path);
        let now = state.tick();
        state.bytes += bytes;
        state.by_use.insert(now, path.clone());
        state.ropes.insert(path, (now, known));
        while state.bytes > self.bytes_max {
            let Some((_, oldest)) = state.by_use.pop_first() else {
                break;
            };
            state.remove(&oldest);
        }
    }

    pub(super) fn remove(&self, rope: &Path) {
        self.state().remove(rope);
    }

    /// Every state between two statements is a valid one, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    fn remove(&mut self, rope: &Path) {
        if let Some((used, known)) = self.ropes.remove(rope) {
            self.by_use.remove(&used);
            self.bytes -= known.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::{Tail, encode};

    fn known(name: &str) -> Arc<KnownRope> {
        let stored = encode(&crate::Rope::default(), b"");
        let Ok(Tail::Index(index)) = Index::parse(&stored.bytes, stored.bytes.len() as u64) else {
            panic!("a stored rope");
        };
        let meta = ObjectMeta {
            location: Path::from(name),
            last_modified: Default::default(),
            size: 0,
            e_tag: None,
            version: None,
        };
        Arc::new(KnownRope { index, meta })
    }

    #[test]
    fn least_recently_used_goes_first_and_bytes_are_bounded() {
        let each = known("a").bytes();
        let cache = IndexCache::new(2 * each);
        cache.insert(known("a"));
        cache.insert(known("b"));
        assert!(cache.find(&Path::from("a")).is_some());
        cache.insert(known("c"));
        assert!(cache.find(&Path::from("b")).is_none());
        assert!(cache.find(&Path::from("a")).is_some() && cache.find(&Path::from("c")).is_some());
        cache.insert(known("c"));
        assert_eq!(cache.state().bytes, 2 * each);
        cache.remove(&Path::from("a"));
        cache.remove(&Path::from("c"));
        let state = cache.state();
        assert_eq!(
            (state.bytes, state.ropes.len(), state.by_use.len()),
            (0, 0, 0)
        );
    }

    #[test]
    fn nothing_over_the_bound_is_kept() {
        let cache = IndexCache::new(10);
        cache.insert(known("a"));
        assert!(cache.find(&Path::from("a")).is_none());
    }
}
