//! Values by path: a bounded number of them, and of bytes that they take. The one that was used longest ago goes first; the one used last stays, however
//! large it is, for whoever reads it next would take it anew.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use object_store::path::Path;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct LruMap<T> {
    values_max: usize,
    bytes_max: u64,
    clock: AtomicU64,
    places: Mutex<Places<T>>,
    /// Told of the bytes that they take.
    gauge: Gauge,
}

#[derive(Debug)]
struct Places<T> {
    by_path: HashMap<Path, Place<T>>,
    bytes: u64,
}

#[derive(Debug)]
struct Place<T> {
    value: Arc<T>,
    bytes: u64,
    used: u64,
}

impl<T> Places<T> {
    fn remove(&mut self, path: &Path) -> Option<Place<T>> {
        let place = self.by_path.remove(path)?;
        self.bytes -= place.bytes;
        Some(place)
    }
}

impl<T> LruMap<T> {
    /// For so many values of so many bytes. `gauge`, which others may share, is told of the bytes.
    pub(super) fn new(values_max: usize, bytes_max: u64, gauge: &Gauge) -> Self {
        Self {
            values_max,
            bytes_max,
            clock: AtomicU64::new(0),
            places: Mutex::new(Places {
                by_path: HashMap::new(),
                bytes: 0,
            }),
            gauge: gauge.clone(),
        }
    }

    /// The value at `path`.
    pub(super) fn get(&self, path: &Path) -> Option<Arc<T>> {
        let used = self.now();
        let mut places = self.places.lock();
        let place = places.by_path.get_mut(path)?;
        place.used = used;
        Some(Arc::clone(&place.value))
    }

    /// Puts a value of so many bytes at `path`.
    pub(super) fn put(&self, path: &Path, value: T, bytes: u64) -> Arc<T> {
        let value = Arc::new(value);
        let place = Place {
            value: Arc::clone(&value),
            bytes,
            used: self.now(),
        };
        self.change(|places| {
            let before = places.remove(path);
            places.bytes += bytes;
            places.by_path.insert(path.clone(), place);
            before
        });
        value
    }

    /// Says how many bytes the value at `path` takes by now, if it still is `value`.
    pub(super) fn weigh(&self, path: &Path, value: &Arc<T>, bytes: u64) {
        self.change(|places| {
            if let Some(place) = places.by_path.get_mut(path)
                && Arc::ptr_eq(&place.value, value)
            {
                places.bytes = places.bytes - place.bytes + bytes;
                place.bytes = bytes;
            }
            None
        });
    }

    /// Forgets what is at `path`.
    pub(super) fn forget(&self, path: &Path) {
        self.change(|places| places.remove(path));
    }

    /// Changes what there is, which may let one go, and lets go of those that are too many then.
    fn change(&self, change: impl FnOnce(&mut Places<T>) -> Option<Place<T>>) {
        let mut gone = Vec::new();
        let mut places = self.places.lock();
        let before = places.bytes;
        gone.extend(change(&mut places));
        while places.by_path.len() > self.values_max
            || (places.bytes > self.bytes_max && places.by_path.len() > 1)
        {
            // Rare, and a thousand places are looked through in microseconds.
            let oldest = places.by_path.iter().min_by_key(|(_, place)| place.used);
            let Some(oldest) = oldest.map(|(path, _)| path.clone()) else {
                break;
            };
            gone.extend(places.remove(&oldest));
        }
        let signed = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.gauge.inc_by(signed(places.bytes) - signed(before));
        // Without the lock: these may be the last that hold a value.
        drop(places);
        drop(gone);
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }
}

impl<T: Default> LruMap<T> {
    /// The value at `path`, made if there is none. What it takes is to be told by [`LruMap::weigh`].
    pub(super) fn of(&self, path: &Path) -> Arc<T> {
        self.get(path)
            .unwrap_or_else(|| self.put(path, T::default(), 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> Path {
        Path::from(name)
    }

    #[test]
    fn the_value_used_longest_ago_goes_first() {
        let shelf = LruMap::new(2, 100, &Gauge::default());
        shelf.put(&path("a"), 1, 1);
        shelf.put(&path("b"), 2, 1);
        assert!(shelf.get(&path("a")).is_some());
        shelf.put(&path("c"), 3, 1);
        assert!(shelf.get(&path("b")).is_none());
        assert_eq!(shelf.get(&path("a")).as_deref(), Some(&1));
        shelf.put(&path("a"), 4, 1);
        assert_eq!(shelf.get(&path("c")).as_deref(), Some(&3));
    }

    #[test]
    fn values_that_grow_push_out_others_and_what_was_used_last_stays() {
        let gauge = Gauge::<i64>::default();
        let shelf: LruMap<u64> = LruMap::new(100, 100, &gauge);
        let (a, b) = (shelf.of(&path("a")), shelf.of(&path("b")));
        shelf.weigh(&path("a"), &a, 60);
        shelf.weigh(&path("b"), &b, 40);
        assert_eq!(gauge.get(), 100);
        assert!(shelf.get(&path("b")).is_some());
        shelf.weigh(&path("b"), &b, 41);
        assert_eq!(gauge.get(), 41);
        assert!(shelf.get(&path("a")).is_none());
        // Another one has its place by now.
        shelf.of(&path("a"));
        shelf.weigh(&path("a"), &a, 60);
        assert_eq!(gauge.get(), 41);
        shelf.put(&path("large"), 7, 1000);
        assert_eq!(shelf.get(&path("large")).as_deref(), Some(&7));
        assert_eq!(gauge.get(), 1000);
        shelf.put(&path("c"), 8, 1);
        assert_eq!(gauge.get(), 1);
        shelf.forget(&path("c"));
        assert_eq!(gauge.get(), 0);
    }
}
