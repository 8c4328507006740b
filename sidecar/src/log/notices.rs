//! What has been heard of new versions, and whether the origin is there.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use object_store::path::Path;
use prometheus_client::metrics::gauge::Gauge;

/// Tables whose notices are counted one by one. They are declared ones; with more all are counted as one.
const TABLES_MAX: usize = 65_536;

/// Told of commits by the link, or by the refresher in the same process. Cheap to clone; clones are one.
#[derive(Debug, Clone)]
pub struct Notices {
    heard: Arc<Heard>,
}

#[derive(Debug)]
struct Heard {
    tables: Mutex<HashMap<Box<str>, u64>>,
    all: AtomicU64,
    up: AtomicBool,
    peers: AtomicBool,
    gauge: Gauge,
}

/// What had been heard at a moment. Anything heard since makes it another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    all: u64,
    table: u64,
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
            heard: Arc::new(Heard {
                tables: Mutex::default(),
                all: AtomicU64::new(0),
                up: AtomicBool::new(true),
                peers: AtomicBool::new(false),
                gauge,
            }),
        }
    }

    /// Tells that `table` (`<catalog>/<schema>/<table>`) has a new version.
    pub fn committed(&self, table: &str, version: u64) {
        tracing::debug!(table, version, "notice of a version");
        let mut tables = self.lock();
        if let Some(count) = tables.get_mut(table) {
            *count += 1;
        } else if tables.len() < TABLES_MAX {
            tables.insert(table.into(), 1);
        } else {
            self.invalidate_all();
        }
    }

    /// Tells that anything may have happened.
    pub fn invalidate_all(&self) {
        self.heard.all.fetch_add(1, Ordering::AcqRel);
    }

    /// Tells whether the origin answers.
    pub fn set_origin_up(&self, up: bool) {
        self.heard.up.store(up, Ordering::Release);
        self.heard.gauge.set(i64::from(up));
    }

    /// Whether the origin is known to answer, or not known to be away.
    #[must_use]
    pub fn is_origin_up(&self) -> bool {
        self.heard.up.load(Ordering::Acquire)
    }

    /// Tells whether other processes answer for the same logs.
    pub fn set_peers(&self, peers: bool) {
        self.heard.peers.store(peers, Ordering::Release);
    }

    /// Whether other processes answer for the same logs.
    #[must_use]
    pub fn has_peers(&self) -> bool {
        self.heard.peers.load(Ordering::Acquire)
    }

    /// The gauge that tells the same.
    pub(super) fn gauge(&self) -> Gauge {
        self.heard.gauge.clone()
    }

    /// What has been heard of the table that `folder` (`log/<catalog>/<schema>/<table>/...`) belongs to.
    pub(super) fn stamp(&self, folder: &Path) -> Stamp {
        let table: Path = folder.parts().skip(1).take(3).collect();
        Stamp {
            all: self.heard.all.load(Ordering::Acquire),
            table: self.lock().get(table.as_ref()).copied().unwrap_or(0),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Box<str>, u64>> {
        self.heard
            .tables
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
