//! The tiers of the cache: memory, then a local disk.
//!
//! They hold immutable entries under keys that name their bytes, and promise:
//!
//! - A lookup gives exactly what was inserted under its key, or nothing. What is on the disk is verified at every read; an entry that
//!   does not verify or cannot be read is dropped, counted and a miss. No lookup ever fails.
//! - An insertion never waits. What the disk does not take in time is dropped and counted.
//! - Memory and disk stay within their bounds. What scans pass by does not push out what lookups ask for.
//! - A disk tier that breaks is left; reads go on from memory. [`TiersStats`] says so, with a reason for a condition.
//! - Whatever is on the disk is found again after a stop, clean or not.
//!
//! One process has a cache directory at a time; a second one is refused.

mod disk;
mod entry;
mod error;
mod key;
mod memory;
mod metrics;
mod options;
mod stats;
mod stored;

use std::sync::Arc;

use chrono::Utc;
use prometheus_client::registry::Registry;

use self::{
    disk::{Budget, Disk},
    entry::Held,
    memory::Memory,
    stats::Counters,
};
pub use self::{
    entry::{Class, Entry, EntryMeta, Insert, MAX_ENTRY_BYTES, MAX_TEXT_BYTES, Tier},
    error::TiersError,
    key::Key,
    options::{DiskOptions, TiersOptions},
    stats::{ClassStats, DiskState, DiskStats, MemoryStats, TiersStats, reason},
};

/// The tiers. Shared by `Arc`.
#[derive(Debug)]
pub struct Tiers {
    memory: Arc<Memory>,
    disk: Option<Disk>,
    counters: Arc<Counters>,
    opened_ms: i64,
}

impl Tiers {
    /// Opens the tiers and recovers what the disk holds. Needs a runtime; tasks live on it until [`Tiers::close`].
    ///
    /// A disk tier that does not work is reported in [`Tiers::stats`], not an error, unless its options are strict.
    ///
    /// # Errors
    ///
    /// [`TiersError::Locked`] where another process has the directory; with strict options whatever keeps the disk tier from being
    /// as asked.
    pub async fn open(options: TiersOptions) -> Result<Self, TiersError> {
        let counters = Arc::new(Counters::default());
        let budget = options
            .disk
            .as_ref()
            .map(|disk| Budget::of(options.memory_bytes, disk));
        let reserved = budget.map_or(0, Budget::reserved_bytes);
        let memory = Memory::new(options.memory_bytes.saturating_sub(reserved), &counters);
        let memory = Arc::new(memory);
        let disk = match (&options.disk, budget) {
            (Some(disk), Some(budget)) => {
                Some(Disk::open(disk, budget, memory.clone(), counters.clone()).await?)
            }
            _ => None,
        };
        Ok(Self {
            memory,
            disk,
            counters,
            opened_ms: Utc::now().timestamp_millis(),
        })
    }

    /// Looks a key up on behalf of a lookup: what is found on the disk or among candidates becomes resident in memory.
    ///
    /// Never fails: what cannot be read is a miss. May be dropped at any time; others that wait for the same read still get it.
    pub async fn get(&self, class: Class, key: Key) -> Option<(Entry, Tier)> {
        self.get_for(class, key, Insert::Resident).await
    }

    /// Looks a key up on behalf of a lookup or, with [`Insert::Candidate`], of a scan, which leaves entries where they are.
    pub async fn get_for(&self, class: Class, key: Key, how: Insert) -> Option<(Entry, Tier)> {
        if let Some(entry) = self.memory_get(class, key, how) {
            return Some((entry, Tier::Memory));
        }
        let found = match &self.disk {
            Some(disk) => disk.get(key, how).await,
            None => None,
        };
        match found.filter(|held| held.class == class) {
            Some(held) => {
                self.counters.hit(class, Tier::Disk);
                self.memory.insert(key, held.clone(), &self.counters, how);
                Some((held.entry, Tier::Disk))
            }
            None => {
                self.counters.miss(class, Tier::Disk);
                None
            }
        }
    }

    /// Returns whether an entry seems to be held, without reading it or counting a lookup: an answer may be wrong when hashes collide.
    pub fn may_hold(&self, class: Class, key: Key) -> bool {
        self.memory.holds(class, key) || self.disk.as_ref().is_some_and(|disk| disk.may_hold(key))
    }

    /// Looks a key up in memory alone.
    pub fn get_memory(&self, class: Class, key: Key) -> Option<Entry> {
        self.memory_get(class, key, Insert::Resident)
    }

    fn memory_get(&self, class: Class, key: Key, how: Insert) -> Option<Entry> {
        let held = self.memory.get(class, key, &self.counters, how);
        let found = held
            .or_else(|| self.disk.as_ref()?.waiting(key))
            .filter(|held| held.class == class);
        match found {
            Some(held) => {
                self.counters.hit(class, Tier::Memory);
                Some(held.entry)
            }
            None => {
                self.counters.miss(class, Tier::Memory);
                None
            }
        }
    }

    /// Keeps an entry in memory, and on the disk if that takes it. Never waits.
    ///
    /// An entry larger than [`MAX_ENTRY_BYTES`], or with texts longer than [`MAX_TEXT_BYTES`], is kept in memory only.
    pub fn insert(&self, class: Class, key: Key, entry: Entry, how: Insert) {
        let held = Held { class, entry };
        self.memory.insert(key, held.clone(), &self.counters, how);
        if let Some(disk) = &self.disk {
            disk.insert(key, held, how);
        }
    }

    /// Forgets an entry whose bytes are not what they should be. One that is being written may come back.
    pub fn remove(&self, key: Key) {
        self.memory.remove(key);
        if let Some(disk) = &self.disk {
            disk.remove(key);
        }
    }

    /// Adds the metrics `vdt_cache_*` to a registry that puts no prefix before names. They last as long as the tiers.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        metrics::register(self, registry);
    }

    /// Returns what the tiers hold and did.
    pub fn stats(&self) -> TiersStats {
        TiersStats {
            memory: MemoryStats {
                since_ms: self.opened_ms,
                ..self.memory.stats()
            },
            disk: self.disk.as_ref().map(Disk::stats).unwrap_or_default(),
            classes: self.counters.class_stats(),
        }
    }

    /// Waits until what was inserted so far is on the disk, or given up. Insertions that go on meanwhile are waited for too.
    pub async fn flush(&self) {
        if let Some(disk) = &self.disk {
            disk.flush().await;
        }
    }

    /// Looks at the cache directory now, in place of within seconds: a disk tier that is broken is left, one that was left is tried again.
    pub async fn check_disk(&self) {
        if let Some(disk) = &self.disk {
            disk.check().await;
        }
    }

    /// Writes what waits for the disk and closes it, within a deadline of ten seconds. Lookups in memory still work.
    pub async fn close(&self) {
        if let Some(disk) = &self.disk {
            disk.close().await;
        }
    }
}
