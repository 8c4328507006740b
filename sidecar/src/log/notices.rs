//! What has been heard of new versions, and whether the origin is there.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use chrono::Utc;
use object_store::path::Path;
use parking_lot::Mutex;
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use vdt_crds::{
    META_SUFFIX,
    api::{OriginError, OriginReport, time},
};

/// Tables whose notices are counted one by one. They are declared ones; with more all are counted as one.
const TABLES_MAX: usize = 65_536;

/// Told of commits by the link, or by the refresher in the same process. Cheap to clone; clones are one.
#[derive(Debug, Clone)]
pub struct Notices {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tables: Mutex<HashMap<Box<str>, u64>>,
    /// How often tables have changed hands, of those that have.
    hands: Mutex<HashMap<Box<str>, u64>>,
    all: AtomicU64,
    up: AtomicBool,
    met: Mutex<Met>,
    peers: AtomicBool,
    gauge: Gauge,
}

/// How the origin was last met.
#[derive(Debug)]
struct Met {
    /// Since when it is up, or not; Unix ms.
    since_ms: i64,
    last_error: Option<OriginError>,
}

/// What had been heard at a moment. Anything heard since makes it another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    all: u64,
    table: u64,
    hands: u64,
}

impl Stamp {
    /// Whether nothing but versions of the table has been heard between the two: not that anything may have happened.
    pub(super) fn is_of_the_run(self, other: Self) -> bool {
        self.all == other.all && self.is_of_the_owner(other)
    }

    /// Whether the table has not changed hands between the two.
    pub(super) fn is_of_the_owner(self, other: Self) -> bool {
        self.hands == other.hands
    }
}

impl Default for Notices {
    fn default() -> Self {
        Self::new()
    }
}

impl Notices {
    /// Nothing heard yet, and an origin that is taken to be there.
    #[must_use]
    pub fn new() -> Self {
        let gauge = Gauge::default();
        gauge.set(1);
        Self {
            shared: Arc::new(Shared {
                tables: Mutex::default(),
                hands: Mutex::default(),
                all: AtomicU64::new(0),
                up: AtomicBool::new(true),
                met: Mutex::new(Met {
                    since_ms: Utc::now().timestamp_millis(),
                    last_error: None,
                }),
                peers: AtomicBool::new(false),
                gauge,
            }),
        }
    }

    /// Tells that `table` (`<catalog>/<schema>/<table>`) has a new version.
    pub fn committed(&self, table: &str, version: u64) {
        tracing::debug!(table, version, "notice of a version");
        let mut tables = self.shared.tables.lock();
        if let Some(count) = tables.get_mut(table) {
            *count += 1;
        } else if tables.len() < TABLES_MAX {
            tables.insert(table.into(), 1);
        } else {
            self.invalidate_all();
        }
    }

    /// Tells that `table` is another resource's from now on, or nobody's: what was taken of it is not for the readers of the next one, also while the
    /// origin does not answer.
    pub fn changed_hands(&self, table: &str) {
        *self.shared.hands.lock().entry(table.into()).or_default() += 1;
    }

    /// Tells that anything may have happened.
    pub fn invalidate_all(&self) {
        self.shared.all.fetch_add(1, Ordering::AcqRel);
    }

    /// Tells whether the origin answers.
    pub fn set_origin_up(&self, up: bool) {
        if self.shared.up.swap(up, Ordering::AcqRel) != up {
            self.shared.met.lock().since_ms = Utc::now().timestamp_millis();
        }
        self.shared.gauge.set(i64::from(up));
    }

    /// Tells that the origin does not answer, and in what words.
    pub fn origin_failed(&self, message: String) {
        self.set_origin_up(false);
        self.shared.met.lock().last_error = Some(OriginError {
            time: time(Utc::now().timestamp_millis()),
            message,
        });
    }

    /// How the origin was last met; what was asked of it is not known here.
    #[must_use]
    pub fn origin(&self) -> OriginReport {
        let met = self.shared.met.lock();
        OriginReport {
            up: self.is_origin_up(),
            since: Some(time(met.since_ms)),
            last_error: met.last_error.clone(),
            ..OriginReport::default()
        }
    }

    /// Whether the origin is known to answer, or not known to be away.
    #[must_use]
    pub fn is_origin_up(&self) -> bool {
        self.shared.up.load(Ordering::Acquire)
    }

    /// Adds the metric that tells the same: `vdt_origin_up`.
    pub fn register(&self, registry: &mut Registry) {
        let up = self.shared.gauge.clone();
        registry.register("vdt_origin_up", "1 while the origin answers", up);
    }

    /// Tells whether other processes answer for the same logs.
    pub fn set_peers(&self, peers: bool) {
        self.shared.peers.store(peers, Ordering::Release);
    }

    /// Whether other processes answer for the same logs.
    #[must_use]
    pub fn has_peers(&self) -> bool {
        self.shared.peers.load(Ordering::Acquire)
    }

    /// What has been heard of the table that `folder` (`log/<catalog>/<schema>/<table>/...`) belongs to. A table without `data` changes hands with the
    /// one that it is of.
    pub(super) fn stamp(&self, folder: &Path) -> Stamp {
        let table: Path = folder.parts().skip(1).take(3).collect();
        let table = table.as_ref();
        let count = |counts: &Mutex<HashMap<Box<str>, u64>>, table: &str| {
            counts.lock().get(table).copied().unwrap_or(0)
        };
        Stamp {
            all: self.shared.all.load(Ordering::Acquire),
            table: count(&self.shared.tables, table),
            hands: count(
                &self.shared.hands,
                table.strip_suffix(META_SUFFIX).unwrap_or(table),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_without_data_changes_hands_with_the_one_that_it_is_of() {
        let notices = Notices::new();
        let stamp = |table: &str| notices.stamp(&Path::from(format!("log/c/s/{table}/_delta_log")));
        let before = ["t", "t_meta", "other"].map(stamp);
        notices.changed_hands("c/s/t");
        let is_of_the_owner = |(table, before): (&str, &Stamp)| stamp(table).hands == before.hands;
        let after = ["t", "t_meta", "other"].into_iter().zip(&before);
        assert_eq!(
            after.map(is_of_the_owner).collect::<Vec<_>>(),
            [false, false, true]
        );
    }

    #[test]
    fn since_when_the_origin_is_away_and_its_last_words_are_told() {
        let notices = Notices::new();
        let came_ms = |ms| notices.shared.met.lock().since_ms = ms;
        came_ms(0);
        notices.set_origin_up(true);
        assert_eq!(notices.origin().since, Some(time(0)));
        assert_eq!(notices.origin().last_error, None);
        notices.origin_failed("one".to_owned());
        let away = notices.origin();
        assert!(!away.up && away.since > Some(time(0)));
        came_ms(0);
        notices.origin_failed("other".to_owned());
        assert_eq!(notices.origin().since, Some(time(0)), "it is as it was");
        notices.set_origin_up(true);
        let back = notices.origin();
        assert!(back.up && back.since > Some(time(0)));
        let said = back.last_error.map(|error| error.message);
        assert_eq!(said.as_deref(), Some("other"), "it is told later too");
    }
}
