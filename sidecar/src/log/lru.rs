//! Values by path: a bounded number of them, and of bytes that they take. The one that was used longest ago goes first; the one used last stays, however
//! large it is, for whoever reads it next would take it anew.
//!
//! For the same reason none goes for its bytes that was used just now, or while the origin is away, up to [`BYTES_MAX_FACTOR`] times as many bytes: values that are
//! read in turn would push each other out at each read, and what is let go without an origin is not to be had again.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use object_store::path::Path;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use super::Notices;

/// How long a value is needed after it was used.
const NEEDED_FOR: Duration = Duration::from_secs(60);
/// Times the bytes that values may take while they are needed.
const BYTES_MAX_FACTOR: u64 = 2;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct LruMap<T> {
    values_max: usize,
    bytes_max: u64,
    clock: AtomicU64,
    places: Mutex<Places<T>>,
    /// Told of the bytes that they take.
    gauge: Gauge,
    /// Where it is heard whether the origin is away.
    notices: Notices,
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
    used: Used,
}

/// When a value was used, and which use it was.
type Used = (Instant, u64);

impl<T> Places<T> {
    fn remove(&mut self, path: &Path) -> Option<Place<T>> {
        let place = self.by_path.remove(path)?;
        self.bytes -= place.bytes;
        Some(place)
    }
}

impl<T> LruMap<T> {
    /// For so many values of so many bytes. `gauge`, which others may share, is told of the bytes; `notices` tell whether the origin is away.
    pub(super) fn new(values_max: usize, bytes_max: u64, gauge: &Gauge, notices: &Notices) -> Self {
        Self {
            values_max,
            bytes_max,
            clock: AtomicU64::new(0),
            places: Mutex::new(Places {
                by_path: HashMap::new(),
                bytes: 0,
            }),
            gauge: gauge.clone(),
            notices: notices.clone(),
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

    /// Says how many bytes the value at `path`, which is used, takes by now, if it still is `value`.
    pub(super) fn weigh(&self, path: &Path, value: &Arc<T>, bytes: u64) {
        let used = self.now();
        self.change(|places| {
            if let Some(place) = places.by_path.get_mut(path)
                && Arc::ptr_eq(&place.value, value)
            {
                places.bytes = places.bytes - place.bytes + bytes;
                (place.bytes, place.used) = (bytes, used);
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
            let Some((oldest, place)) = oldest.map(|(path, place)| (path.clone(), place)) else {
                break;
            };
            let is_needed = place.used.0.elapsed() < NEEDED_FOR || !self.notices.is_origin_up();
            if is_needed
                && places.by_path.len() <= self.values_max
                && places.bytes <= self.bytes_max.saturating_mul(BYTES_MAX_FACTOR)
            {
                break;
            }
            gone.extend(places.remove(&oldest));
        }
        let signed = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.gauge.inc_by(signed(places.bytes) - signed(before));
        // Without the lock: these may be the last that hold a value.
        drop(places);
        drop(gone);
    }

    fn now(&self) -> Used {
        (Instant::now(), self.clock.fetch_add(1, Ordering::Relaxed))
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
    use tokio::time::advance;

    use super::*;

    fn path(name: &str) -> Path {
        Path::from(name)
    }

    #[test]
    fn the_value_used_longest_ago_goes_first() {
        let shelf = LruMap::new(2, 100, &Gauge::default(), &Notices::new());
        shelf.put(&path("a"), 1, 1);
        shelf.put(&path("b"), 2, 1);
        assert!(shelf.get(&path("a")).is_some());
        shelf.put(&path("c"), 3, 1);
        assert!(shelf.get(&path("b")).is_none());
        assert_eq!(shelf.get(&path("a")).as_deref(), Some(&1));
        shelf.put(&path("a"), 4, 1);
        assert_eq!(shelf.get(&path("c")).as_deref(), Some(&3));
    }

    #[tokio::test(start_paused = true)]
    async fn values_that_grow_push_out_others_and_what_was_used_last_stays() {
        let gauge = Gauge::<i64>::default();
        let shelf: LruMap<u64> = LruMap::new(100, 100, &gauge, &Notices::new());
        let (a, b) = (shelf.of(&path("a")), shelf.of(&path("b")));
        shelf.weigh(&path("a"), &a, 60);
        shelf.weigh(&path("b"), &b, 40);
        assert_eq!(gauge.get(), 100);
        advance(NEEDED_FOR).await;
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

    #[tokio::test(start_paused = true)]
    async fn values_that_are_read_in_turn_stay_within_the_hard_bound() {
        let gauge = Gauge::<i64>::default();
        let shelf: LruMap<u64> = LruMap::new(100, 100, &gauge, &Notices::new());
        let values = ["a", "b", "c"].map(|name| (path(name), shelf.of(&path(name))));
        for _ in 0..3 {
            for (path, value) in &values {
                assert!(Arc::ptr_eq(&shelf.of(path), value));
                shelf.weigh(path, value, 60);
                advance(NEEDED_FOR / 4).await;
            }
        }
        assert_eq!(gauge.get(), 180);
        // What is weighed has been read, whoever was there before.
        let [(a, _), (b, of_b), (c, of_c)] = &values;
        shelf.weigh(b, of_b, 130);
        assert!(shelf.get(a).is_none() && shelf.get(b).is_some());
        assert_eq!(gauge.get(), 190);
        shelf.weigh(c, of_c, 101);
        assert!(shelf.get(b).is_none() && shelf.get(c).is_some());
        assert_eq!(gauge.get(), 101);
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_origin_is_away_nothing_goes_for_its_bytes_within_the_hard_bound() {
        let (gauge, notices) = (Gauge::<i64>::default(), Notices::new());
        let shelf: LruMap<u64> = LruMap::new(100, 100, &gauge, &notices);
        notices.set_origin_up(false);
        for name in ["a", "b"] {
            shelf.put(&path(name), 1, 100);
            advance(NEEDED_FOR).await;
        }
        assert_eq!(gauge.get(), 200);
        shelf.put(&path("e"), 1, 1);
        assert_eq!(gauge.get(), 101);
        notices.set_origin_up(true);
        shelf.put(&path("f"), 1, 98);
        assert_eq!(gauge.get(), 99, "as much as is allowed");
    }
}
