//! What is kept of ropes that were read lately: parsed indexes and decoded frames, each bounded by the bytes they take.
//!
//! A rope's name is its content, so an entry can become useless but never wrong. Whoever finds that the bytes below no
//! longer fit an index (a rope that was removed and written again by another version of vdt) removes it; a frame is used
//! only if the index gives it the same place.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::mem::size_of;
use std::sync::Arc;

use object_store::ObjectMeta;
use object_store::path::Path;
use parking_lot::Mutex;

use super::context::Frame;
use crate::name::FileName;
use crate::stored::Index;

/// Indexes by the path of the file, as shown.
pub(super) type IndexCache = Lru<Path, Arc<KnownRope>>;

/// Frames by the rope's name and their number.
pub(super) type FrameCache = Lru<(FileName, usize), Arc<Frame>>;

/// A rope that can be read without its tail.
#[derive(Debug)]
pub(super) struct KnownRope {
    /// Its index.
    pub(super) index: Index,
    /// Its file in the origin.
    pub(super) meta: ObjectMeta,
    /// The file that it makes, as shown.
    pub(super) shown: Arc<Path>,
}

/// The bytes that an entry takes.
pub(super) trait Weigh {
    /// An estimate, in bytes.
    fn bytes(&self) -> usize;
}

impl Weigh for Arc<KnownRope> {
    fn bytes(&self) -> usize {
        // Two paths here, and one held twice, by the entry and by the order of use.
        size_of::<KnownRope>()
            + std::mem::size_of_val(self.index.frames())
            + 4 * self.meta.location.as_ref().len()
            + 128
    }
}

/// Least recently used entries go first.
#[derive(Debug)]
pub(super) struct Lru<K, V> {
    bytes_max: usize,
    /// Every state between two statements is a valid one.
    state: Mutex<State<K, V>>,
}

#[derive(Debug)]
struct State<K, V> {
    entries: HashMap<K, (u64, V)>,
    by_use: BTreeMap<u64, K>,
    uses: u64,
    bytes: usize,
}

impl<K: Clone + Eq + Hash, V: Clone + Weigh> Lru<K, V> {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            state: Mutex::new(State {
                entries: HashMap::new(),
                by_use: BTreeMap::new(),
                uses: 0,
                bytes: 0,
            }),
        }
    }

    pub(super) fn find(&self, key: &K) -> Option<V> {
        let mut state = self.state.lock();
        let (last, now) = (state.uses, state.uses + 1);
        let (used, value) = state.entries.get_mut(key)?;
        let value = value.clone();
        if *used == last {
            // It goes last already.
            return Some(value);
        }
        let before = std::mem::replace(used, now);
        state.uses = now;
        if let Some(key) = state.by_use.remove(&before) {
            state.by_use.insert(now, key);
        }
        Some(value)
    }

    pub(super) fn insert(&self, key: K, value: V) {
        let bytes = value.bytes();
        if bytes > self.bytes_max {
            return;
        }
        let mut state = self.state.lock();
        state.remove(&key);
        let now = state.tick();
        state.bytes += bytes;
        state.by_use.insert(now, key.clone());
        state.entries.insert(key, (now, value));
        while state.bytes > self.bytes_max {
            let Some((_, oldest)) = state.by_use.pop_first() else {
                break;
            };
            state.remove(&oldest);
        }
    }

    pub(super) fn remove(&self, key: &K) {
        self.state.lock().remove(key);
    }
}

impl<K: Eq + Hash, V: Weigh> State<K, V> {
    fn tick(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    fn remove(&mut self, key: &K) {
        if let Some((used, value)) = self.entries.remove(key) {
            self.by_use.remove(&used);
            self.bytes -= value.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weigh for &str {
        fn bytes(&self) -> usize {
            self.len()
        }
    }

    #[test]
    fn least_recently_used_goes_first_and_bytes_are_bounded() {
        let cache = Lru::new(6);
        cache.insert('a', "aaa");
        cache.insert('b', "bbb");
        assert_eq!(cache.find(&'a'), Some("aaa"));
        cache.insert('c', "ccc");
        assert_eq!(cache.find(&'b'), None);
        assert_eq!(
            (cache.find(&'a'), cache.find(&'c')),
            (Some("aaa"), Some("ccc"))
        );
        cache.insert('c', "cc");
        assert_eq!(cache.state.lock().bytes, 5);
        cache.remove(&'a');
        cache.remove(&'c');
        let state = cache.state.lock();
        assert_eq!(
            (state.bytes, state.entries.len(), state.by_use.len()),
            (0, 0, 0)
        );
    }

    #[test]
    fn nothing_over_the_bound_is_kept() {
        let cache = Lru::new(2);
        cache.insert('a', "aaa");
        assert_eq!(cache.find(&'a'), None);
    }
}
