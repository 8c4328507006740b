//! Listings: how many are made at a time, and whether there is anything to list.
//!
//! A listing holds what the store says of a whole folder, and the store may take its time. So there are few at a time, and of these one folder has a
//! quarter, or four if that is more: what hangs in one table leaves room for listings of the others, many of which are answered from memory.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use object_store::path::Path;
use object_store::{Error, ObjectStore};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::answer::Failure;
use crate::metrics::{DialectLabel, HttpMetrics, Refused};

/// Time that a listing waits for its permit: those before it may wait for a store that hangs.
const WAIT: Duration = Duration::from_secs(5);

/// Answers to listings that are sent while they are written, at a time. What the store says of such a folder is held for as long as its client reads,
/// and a slow one keeps nobody from listings of the usual length.
const LONG: usize = 4;

/// Listings that one folder may have at least: a deployment may have one table alone.
const SHARE_MIN: usize = 4;

/// Segments of a path that tell folders apart: those of a table's log, or of a table where a bucket holds catalogs.
const FOLDER_PARTS: usize = 4;

/// With so many folders known, those that nobody lists are forgotten.
const FOLDERS_KNOWN: usize = 64;

/// Permits for the listings of one dialect. Who gets none in time is told to slow down.
#[derive(Debug)]
pub(crate) struct Listings {
    all: Semaphore,
    /// Permits of one folder.
    share: usize,
    folders: Mutex<HashMap<Box<str>, Weak<Semaphore>>>,
    long: Arc<Semaphore>,
    dialect: DialectLabel,
    metrics: HttpMetrics,
}

/// A permit to list, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    _of_folder: OwnedSemaphorePermit,
    _of_all: SemaphorePermit<'a>,
}

impl Listings {
    /// At most `at_once` listings of `dialect` at a time; those that come to nothing are counted in `metrics`.
    pub(crate) fn new(dialect: DialectLabel, at_once: usize, metrics: HttpMetrics) -> Self {
        Self {
            all: Semaphore::new(at_once),
            share: (at_once / 4).max(SHARE_MIN).min(at_once),
            folders: Mutex::default(),
            long: Arc::new(Semaphore::new(LONG)),
            dialect,
            metrics,
        }
    }

    /// Waits for a permit to list what lies below `folder`; `None` if there is none in time.
    pub(crate) async fn permit(&self, folder: &str) -> Option<Permit<'_>> {
        let acquired = tokio::time::timeout(WAIT, self.acquire(folder));
        let permit = acquired.await.ok().flatten();
        if permit.is_none() {
            self.refused();
        }
        permit
    }

    async fn acquire(&self, folder: &str) -> Option<Permit<'_>> {
        // Neither is ever closed. The folder's comes first: who waits for it takes none of the others' permits.
        Some(Permit {
            _of_folder: self.folder(folder).acquire_owned().await.ok()?,
            _of_all: self.all.acquire().await.ok()?,
        })
    }

    /// The permits of a folder.
    fn folder(&self, folder: &str) -> Arc<Semaphore> {
        let end = folder.match_indices('/').nth(FOLDER_PARTS - 1);
        let name = end.and_then(|(at, _)| folder.get(..at)).unwrap_or(folder);
        // Never held over an await.
        let mut folders = self.folders.lock();
        if let Some(known) = folders.get(name).and_then(Weak::upgrade) {
            return known;
        }
        if folders.len() >= FOLDERS_KNOWN {
            folders.retain(|_, permits| permits.strong_count() > 0);
        }
        let permits = Arc::new(Semaphore::new(self.share));
        folders.insert(name.into(), Arc::downgrade(&permits));
        permits
    }

    /// The permit of an answer that is too long to be written before it is sent, to be kept until it is sent; `None` if there is none now.
    pub(crate) fn long_permit(&self) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.long).try_acquire_owned().ok();
        if permit.is_none() {
            self.refused();
        }
        permit
    }

    fn refused(&self) {
        self.metrics.refused(self.dialect, Refused::Listings);
    }
}

/// Reports whether something lies below `folder`.
///
/// # Errors
/// [`Failure`] when the store fails.
pub(crate) async fn exists(store: &dyn ObjectStore, folder: &Path) -> Result<bool, Failure> {
    // One level: a bucket has few folders, and a store that keeps listings can answer while what is behind it is away.
    match store.list_with_delimiter(Some(folder)).await {
        Ok(level) => Ok(!level.common_prefixes.is_empty() || !level.objects.is_empty()),
        Err(Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
