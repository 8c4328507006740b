//! The memory tier: three caches that do not push each other out.
//!
//! ```text
//!   metadata   its reserved share
//!   hot        what lookups asked for (S3-FIFO)
//!   passing    what scans passed by (FIFO), an eighth of the rest, and what hot does not use yet
//! ```
//!
//! A block of a scan is asked for several times within moments, once for each range that a reader takes of it. Any eviction that
//! counts touches would therefore take it for hot. So candidates stay in `passing` until a lookup asks for them; that moves them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use foyer::{Cache, CacheBuilder, Event, EventListener, EvictionConfig, FifoConfig, S3FifoConfig};
use parking_lot::Mutex;

use super::{
    Class, Insert, Key,
    entry::Held,
    key::{ByHash, KeyHash},
    stats::{Counters, MemoryStats},
};

/// Bytes of a shard at least. Keys fall into shards by chance: with shards of 256 of the largest entries one shard has rarely a tenth more than
/// another, with shards of 32 entries some overflowed while a third of the memory was free. A lock is held for less than a microsecond.
const SHARD_BYTES_MIN: usize = 256 << 20;
const SHARDS_MAX: usize = 16;

/// The part of the memory that metadata has to itself.
const METADATA_SHARE: usize = 4;

/// The part of the memory for blocks and packs that candidates pass through, at least.
const PASSING_SHARE: usize = 8;

/// Memory that hot comes to use is taken from candidates in steps of this part.
const STEPS: usize = 16;

type Pool = Cache<Key, Held, KeyHash>;

#[derive(Debug)]
pub(super) struct Memory {
    metadata: Pool,
    hot: Pool,
    passing: Pool,
    /// Bytes of hot and passing together.
    blocks: usize,
    /// Bytes that passing may use now; foyer goes on telling what it was made with.
    passing_bytes: AtomicUsize,
    /// Held while passing is made smaller.
    yielding: Mutex<()>,
}

impl Memory {
    /// Makes the memory tier out of `bytes` in all.
    pub(super) fn new(bytes: u64, counters: &Arc<Counters>) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let metadata = bytes / METADATA_SHARE;
        let blocks = bytes - metadata;
        let passing = blocks / PASSING_SHARE;
        let pool = |name: &'static str, bytes: usize, least: usize, eviction: EvictionConfig| {
            CacheBuilder::new(bytes)
                .with_name(name)
                .with_shards((least / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX))
                .with_hash_builder(KeyHash::default())
                .with_weighter(|_: &Key, held: &Held| held.weight())
                .with_event_listener(Arc::new(Leaving(counters.clone())))
                .with_eviction_config(eviction)
                .build()
        };
        Self {
            metadata: pool(
                "metadata",
                metadata,
                metadata,
                S3FifoConfig::default().into(),
            ),
            hot: pool(
                "hot",
                blocks - passing,
                blocks - passing,
                S3FifoConfig::default().into(),
            ),
            passing: pool("passing", blocks, passing, FifoConfig::default().into()),
            blocks,
            passing_bytes: AtomicUsize::new(blocks),
            yielding: Mutex::default(),
        }
    }

    /// Returns what is held under a key, and takes note that it was asked for.
    pub(super) fn get(
        &self,
        class: Class,
        key: Key,
        counters: &Counters,
        how: Insert,
    ) -> Option<Held> {
        if class == Class::Metadata {
            return self.metadata.get(&key).map(|found| found.value().clone());
        }
        if let Some(found) = self.hot.get(&key) {
            return Some(found.value().clone());
        }
        let found = self.passing.get(&key)?.value().clone();
        if how == Insert::Resident {
            self.passing.remove(&key);
            self.put_hot(key, found.clone(), counters);
        }
        Some(found)
    }

    /// Returns whether something is held under a key.
    pub(super) fn holds(&self, class: Class, key: Key) -> bool {
        if class == Class::Metadata {
            return self.metadata.contains(&key);
        }
        self.hot.contains(&key) || self.passing.contains(&key)
    }

    /// Keeps an entry, if it fits.
    pub(super) fn insert(&self, key: Key, held: Held, counters: &Counters, how: Insert) {
        match (held.class, how) {
            (Class::Metadata, _) => put(&self.metadata, key, held, counters),
            (_, Insert::Resident) => {
                self.passing.remove(&key);
                self.put_hot(key, held, counters);
            }
            (_, Insert::Candidate) => {
                if !self.hot.contains(&key) {
                    put(&self.passing, key, held, counters);
                }
            }
        }
    }

    fn put_hot(&self, key: Key, held: Held, counters: &Counters) {
        put(&self.hot, key, held, counters);
        self.make_way();
    }

    /// Takes from passing what hot uses now, in steps, for each costs threads.
    fn make_way(&self) {
        let least = self.blocks / PASSING_SHARE;
        let is_over = || {
            let passing = self.passing_bytes.load(Relaxed);
            passing > least && self.hot.usage() + passing > self.blocks
        };
        // Whoever else is at it does it for both.
        if is_over()
            && let Some(_yielding) = self.yielding.try_lock()
            && is_over()
        {
            let left = self.blocks.saturating_sub(self.hot.usage());
            let smaller = left.saturating_sub(self.blocks / STEPS).max(least);
            if let Err(error) = self.passing.resize(smaller) {
                tracing::debug!(%error, "memory for what scans pass by stays as it is");
            }
            self.passing_bytes.store(smaller, Relaxed);
        }
    }

    /// Forgets an entry.
    pub(super) fn remove(&self, key: Key) {
        for pool in [&self.metadata, &self.hot, &self.passing] {
            pool.remove(&key);
        }
    }

    /// Returns whether an entry is held as a candidate.
    pub(super) fn passes(&self, key: Key) -> bool {
        self.passing.contains(&key)
    }

    /// Returns the bytes that candidates may take now.
    pub(super) fn passing_bytes(&self) -> u64 {
        self.passing_bytes.load(Relaxed) as u64
    }

    /// Returns an entry by the hash of its key.
    pub(super) fn find(&self, hash: u64) -> Option<(Key, Held)> {
        self.find_hot(hash).or_else(|| find(&self.passing, hash))
    }

    /// Returns an entry by the hash of its key, unless nothing but a scan has asked for it.
    pub(super) fn find_hot(&self, hash: u64) -> Option<(Key, Held)> {
        find(&self.metadata, hash).or_else(|| find(&self.hot, hash))
    }

    pub(super) fn stats(&self) -> MemoryStats {
        let pools = [&self.metadata, &self.hot, &self.passing];
        MemoryStats {
            capacity_bytes: (self.metadata.capacity() + self.blocks) as u64,
            metadata_capacity_bytes: self.metadata.capacity() as u64,
            bytes: pools.iter().map(|pool| pool.usage() as u64).sum(),
            entries: pools.iter().map(|pool| pool.entries() as u64).sum(),
            ..MemoryStats::default()
        }
    }
}

fn find(pool: &Pool, hash: u64) -> Option<(Key, Held)> {
    let found = pool.get(&ByHash(hash))?;
    Some((*found.key(), found.value().clone()))
}

fn put(pool: &Pool, key: Key, held: Held, counters: &Counters) {
    let weight = held.weight();
    if weight > pool.capacity() / pool.shards() {
        return;
    }
    let by = counters.class(held.class);
    by.entries.fetch_add(1, Relaxed);
    by.bytes.fetch_add(weight as u64, Relaxed);
    pool.insert(key, held);
}

/// Counts what leaves memory.
struct Leaving(Arc<Counters>);

impl EventListener for Leaving {
    type Key = Key;
    type Value = Held;

    fn on_leave(&self, event: Event, _: &Key, held: &Held) {
        let by = self.0.class(held.class);
        by.entries.fetch_sub(1, Relaxed);
        by.bytes.fetch_sub(held.weight() as u64, Relaxed);
        if event == Event::Evict {
            by.evictions.fetch_add(1, Relaxed);
        }
    }
}
