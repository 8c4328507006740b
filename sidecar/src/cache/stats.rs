//! What the cache did: totals, the last hour by minute, the artifacts that are read most.

use std::{
    collections::{HashMap, VecDeque},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use vdt_crds::api::{HOTTEST_MAX, HOUR_MINUTES, HotArtifact, MinuteSample};

use crate::tiers::{Class, Tier};

/// Totals since the start, and what is made of them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    hits: [[Counter; 2]; 3],
    misses: [Counter; 3],
    pub(super) joins: Counter,
    pub(super) requests: Counter,
    pub(super) bytes: Counter,
    pub(super) served: Counter,
    pub(super) read_ahead: Counter,
    pub(super) runs: Counter,
    pub(super) given_up: Counter,
    minute: AtomicU64,
    hour: Mutex<Hour>,
    hottest: Mutex<Sketch>,
}

fn now_minute() -> u64 {
    u64::try_from(chrono::Utc::now().timestamp() / 60).unwrap_or(0)
}

impl Counters {
    pub(super) fn hit(&self, class: Class, tier: Tier) {
        self.roll(now_minute());
        self.hits[class.index()][tier as usize].inc();
    }

    pub(super) fn miss(&self, class: Class) {
        self.roll(now_minute());
        self.misses[class.index()].inc();
    }

    pub(super) fn hits_of(&self, class: Class, tier: Tier) -> u64 {
        self.hits[class.index()][tier as usize].get()
    }

    pub(super) fn misses_of(&self, class: Class) -> u64 {
        self.misses[class.index()].get()
    }

    pub(super) fn hits(&self, tier: Tier) -> u64 {
        Class::ALL
            .map(|class| self.hits_of(class, tier))
            .iter()
            .sum()
    }

    pub(super) fn misses(&self) -> u64 {
        Class::ALL.map(|class| self.misses_of(class)).iter().sum()
    }

    /// An artifact was read.
    pub(super) fn touched(&self, source: &str, key: &str, size: u64) {
        self.hottest.lock().touch(source, key, size);
    }

    /// The last hour, oldest first.
    pub(super) fn hour(&self) -> Vec<MinuteSample> {
        let now = now_minute();
        self.roll(now);
        self.hour.lock().samples(now, self.totals())
    }

    pub(super) fn hottest(&self) -> Vec<HotArtifact> {
        self.hottest.lock().top()
    }

    /// What a minute began with is written down by the first who counts in it.
    fn roll(&self, now: u64) {
        if self.minute.load(Relaxed) != now && self.minute.swap(now, Relaxed) != now {
            self.hour.lock().begin(now, self.totals());
        }
    }

    fn totals(&self) -> MinuteSample {
        MinuteSample {
            minute: 0,
            hits_memory: self.hits(Tier::Memory),
            hits_disk: self.hits(Tier::Disk),
            misses: self.misses(),
            origin_requests: self.requests.get(),
            origin_bytes: self.bytes.get(),
            served_bytes: self.served.get(),
        }
    }
}

/// Totals at the beginning of minutes in which something was counted, oldest first.
#[derive(Debug, Default)]
struct Hour(VecDeque<MinuteSample>);

impl Hour {
    fn begin(&mut self, minute: u64, totals: MinuteSample) {
        if self.0.back().is_none_or(|last| last.minute < minute) {
            self.0.push_back(MinuteSample { minute, ..totals });
        }
        if self.0.len() > HOUR_MINUTES {
            self.0.pop_front();
        }
    }

    /// A sample for every minute from the first that is known, at most an hour ago.
    fn samples(&self, now: u64, totals: MinuteSample) -> Vec<MinuteSample> {
        let Some(first) = self.0.front() else {
            return Vec::new();
        };
        let start = first
            .minute
            .max((now + 1).saturating_sub(HOUR_MINUTES as u64));
        let sample = |minute: u64| {
            let Ok(at) = self.0.binary_search_by_key(&minute, |begun| begun.minute) else {
                return MinuteSample {
                    minute,
                    ..MinuteSample::default()
                };
            };
            let (from, to) = (&self.0[at], self.0.get(at + 1).unwrap_or(&totals));
            MinuteSample {
                minute,
                hits_memory: to.hits_memory.saturating_sub(from.hits_memory),
                hits_disk: to.hits_disk.saturating_sub(from.hits_disk),
                misses: to.misses.saturating_sub(from.misses),
                origin_requests: to.origin_requests.saturating_sub(from.origin_requests),
                origin_bytes: to.origin_bytes.saturating_sub(from.origin_bytes),
                served_bytes: to.served_bytes.saturating_sub(from.served_bytes),
            }
        };
        (start..=now).map(sample).collect()
    }
}

/// Counters of a [`Sketch`].
const SKETCH_COUNTERS: usize = 256;

/// Keys in full are kept up to this length, bytes; S3 allows no longer ones.
const KEY_BYTES_MAX: usize = 1024;

/// Space-saving (Metwally et al. 2005): whoever is not counted yet takes over the smallest counter. Every artifact that was read more
/// than one time in 256 is in it.
#[derive(Debug, Default)]
struct Sketch {
    places: HashMap<(String, String), usize>,
    counters: Vec<HotArtifact>,
}

impl Sketch {
    fn touch(&mut self, source: &str, key: &str, size: u64) {
        if key.len() > KEY_BYTES_MAX {
            return;
        }
        let name = (source.to_owned(), key.to_owned());
        if let Some(&place) = self.places.get(&name) {
            self.counters[place].reads += 1;
            return;
        }
        let mut counter = HotArtifact {
            key: key.to_owned(),
            source: source.to_owned(),
            reads: 1,
            bytes: size,
        };
        if self.counters.len() < SKETCH_COUNTERS {
            self.places.insert(name, self.counters.len());
            self.counters.push(counter);
            return;
        }
        let smallest = (0..self.counters.len()).min_by_key(|&at| self.counters[at].reads);
        if let Some(place) = smallest {
            counter.reads += self.counters[place].reads;
            let old = std::mem::replace(&mut self.counters[place], counter);
            self.places.remove(&(old.source, old.key));
            self.places.insert(name, place);
        }
    }

    fn top(&self) -> Vec<HotArtifact> {
        let mut top = self.counters.clone();
        top.sort_by(|a, b| b.reads.cmp(&a.reads).then_with(|| a.key.cmp(&b.key)));
        top.truncate(HOTTEST_MAX);
        top
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_most_is_found_among_many() {
        let mut sketch = Sketch::default();
        for round in 0..5_000 {
            sketch.touch("s", &format!("cold/{round}"), 1);
            if round % 10 == 0 {
                sketch.touch("s", "hot", 9);
            }
        }
        let top = sketch.top();
        assert_eq!((top[0].key.as_str(), top[0].bytes), ("hot", 9));
        assert!(top[0].reads >= 500, "an estimate is never too low");
        assert_eq!(
            (top.len(), sketch.places.len()),
            (HOTTEST_MAX, SKETCH_COUNTERS)
        );
    }

    #[test]
    fn an_hour_has_every_minute_and_no_more() {
        let totals = |misses| MinuteSample {
            misses,
            ..MinuteSample::default()
        };
        let mut hour = Hour::default();
        hour.begin(100, totals(0));
        hour.begin(101, totals(5));
        hour.begin(104, totals(6));
        let told: Vec<_> = hour
            .samples(105, totals(9))
            .iter()
            .map(|sample| (sample.minute, sample.misses))
            .collect();
        assert_eq!(
            told,
            [(100, 5), (101, 1), (102, 0), (103, 0), (104, 3), (105, 0)]
        );
        for minute in 105..300 {
            hour.begin(minute, totals(minute));
        }
        let samples = hour.samples(300, totals(400));
        assert_eq!((samples.len(), samples[0].minute), (HOUR_MINUTES, 241));
    }
}
