//! The disk tier: foyer's block engine over a directory that this process has to itself.
//!
//! ```text
//!   insert -> doorkeeper -> queue -> writer -> foyer's flusher -> regions, filled in turn
//!                                      ^                             |
//!   get <- foyer's index and regions   +---- hot entries again <-----+ the oldest region is freed
//! ```
//!
//! What scans pass by waits in memory until it is quiet ([`deferred`]).
//!
//! **What stays.** All regions together are what lies below the high watermark. They are freed whole, the oldest first, until no more hold entries
//! than lie below the low one; what lies between the two takes writes that come faster than regions are freed. Their files keep their space.
//! An entry lives on if it is hot: one that a lookup reads from the older half
//! of the regions is written again, and so is one that memory holds as hot when its region is freed, up to half of that region.
//!
//! **Faults.** An entry that does not verify, cannot be read or is no longer there is dropped, and nothing else for its sake. A directory that is
//! full, read-only, gone, broken or does not answer is left: the tier closes, says why, and is tried again after a while that doubles; a full one
//! comes back smaller. Lookups never see an error.
//!
//! **Crash.** What was written before is found again, verified entry by entry as it is read. What waited in the queue is lost.

mod census;
mod deferred;
mod doorkeeper;
mod fault;
mod health;
mod layout;
mod load;
mod queue;
mod scan;
mod store;
#[cfg(test)]
mod tests;
mod volume;
mod writer;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{
    deferred::Deferred,
    doorkeeper::Doorkeeper,
    health::{Status, watch},
    load::{Loaded, Loading, load},
    queue::{Job, Queue},
    store::Opened,
};
use super::{
    DiskOptions, Insert, Key, MAX_ENTRY_BYTES, TiersError,
    entry::Held,
    key::KeyHash,
    memory::Memory,
    stats::{Counters, DiskStats},
};

/// How long closing may take: what waits is written, then foyer is closed.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);
/// What reading an entry takes in memory, bytes: the pages that it lies on, and the entry that is copied out of them.
const READ_BYTES: u64 = 2 * (MAX_ENTRY_BYTES as u64 + 4096);
/// Reads of the disk at once: more only wait in the kernel, each on a thread, and fewer leave a disk idle.
const READS_MAX: u64 = 64;
const READS_MIN: u64 = 4;
/// What an entry on the disk costs in memory, bytes: foyer's index and the census.
const INDEX_ENTRY_BYTES: u64 = 160;

/// Memory that the disk tier uses, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    /// For the index of what is on the disk.
    index_bytes: u64,
    /// For each of the two buffers that foyer writes from.
    buffer_bytes: u64,
    /// For entries that wait to be written; most of them are in the memory tier too.
    queue_bytes: u64,
    /// Entries that are read at once. What they take, up to [`READ_BYTES`] each, is for moments only, and beside the memory of the tiers.
    reads: u64,
}

impl Budget {
    /// Divides the memory of the tiers: at most an eighth for the index, a sixteenth for the buffers. A sixteenth more, within bounds, is for
    /// what waits to be written, and one for what is being read.
    pub(super) fn of(memory_bytes: u64, options: &DiskOptions) -> Self {
        const MIB: u64 = 1 << 20;
        let entries = options.capacity / 8192;
        Self {
            index_bytes: (memory_bytes / 8).min(entries * INDEX_ENTRY_BYTES),
            buffer_bytes: (memory_bytes / 32).clamp(4 * MIB, 32 * MIB),
            queue_bytes: (memory_bytes / 16).clamp(16 * MIB, 64 * MIB),
            reads: (memory_bytes / 16 / READ_BYTES).clamp(READS_MIN, READS_MAX),
        }
    }

    /// Returns what is taken from the memory for entries.
    pub(super) fn reserved_bytes(self) -> u64 {
        self.index_bytes + 2 * self.buffer_bytes
    }

    fn entries_max(self) -> u64 {
        self.index_bytes / INDEX_ENTRY_BYTES
    }
}

/// The disk tier.
#[derive(Debug)]
pub(super) struct Disk {
    inner: Arc<Inner>,
    stop: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Inner {
    options: DiskOptions,
    budget: Budget,
    memory: Arc<Memory>,
    counters: Arc<Counters>,
    opened: ArcSwapOption<Opened>,
    status: Mutex<Status>,
    /// Held while the tier is opened again.
    opening: tokio::sync::Mutex<()>,
    queue: Queue,
    /// Entries that are to be written later, and are in memory.
    deferred: Deferred,
    /// Entries that are removed by name, and those that were, or that a read has dropped: such a one is not found after it was written.
    removing: AtomicU64,
    removals: AtomicU64,
    /// Hashes of what is being written: the census does not know them yet.
    written_now: Mutex<HashSet<u64, KeyHash>>,
    doorkeeper: Doorkeeper,
    loading: Mutex<HashMap<Key, Loading>>,
    reads: Arc<Semaphore>,
    /// Reads that are late and have their turns still.
    hung: AtomicU64,
    /// Where entries are read and decoded, whichever thread asks for them.
    runtime: Handle,
}

impl Disk {
    /// Opens the disk tier. A broken one is reported in its state, unless the options are strict; a locked one is an error always.
    pub(super) async fn open(
        options: &DiskOptions,
        budget: Budget,
        memory: Arc<Memory>,
        counters: Arc<Counters>,
    ) -> Result<Self, TiersError> {
        let status = Status::new();
        let inner = Arc::new(Inner {
            options: options.clone(),
            budget,
            memory,
            counters,
            opened: ArcSwapOption::empty(),
            status: Mutex::new(status),
            opening: tokio::sync::Mutex::default(),
            queue: Queue::new(budget.queue_bytes),
            deferred: Deferred::default(),
            removing: AtomicU64::default(),
            removals: AtomicU64::default(),
            written_now: Mutex::default(),
            doorkeeper: Doorkeeper::default(),
            loading: Mutex::default(),
            reads: Arc::new(Semaphore::new(budget.reads as usize)),
            hung: AtomicU64::default(),
            runtime: Handle::current(),
        });
        match inner.open(true).await {
            Ok(()) => {}
            Err(error @ TiersError::Locked { .. }) => return Err(error),
            Err(error) if options.strict => return Err(error),
            Err(_) => {}
        }
        let stop = CancellationToken::new();
        let tasks = vec![
            tokio::spawn(writer::run(inner.clone())),
            tokio::spawn(deferred::run(inner.clone(), stop.clone())),
            tokio::spawn(watch(inner.clone(), stop.clone())),
        ];
        Ok(Self {
            inner,
            stop,
            tasks: Mutex::new(tasks),
        })
    }

    /// Returns an entry that waits to be written.
    pub(super) fn waiting(&self, key: Key) -> Option<Held> {
        self.inner.queue.get(key)
    }

    /// Returns what the disk holds under a key. Errors are misses.
    pub(super) async fn get(&self, key: Key, how: Insert) -> Option<Held> {
        let opened = self.inner.opened.load_full()?;
        if !opened.store.storage().may_contains(&key) {
            return None;
        }
        let loading = self
            .inner
            .loading
            .lock()
            .entry(key)
            .or_insert_with(|| load(&self.inner, opened, key))
            .clone();
        let Loaded { held, is_old } = loading.await?;
        if is_old && how == Insert::Resident {
            // A full queue means that there is enough that is new.
            let _ = self.inner.queue.push(Job {
                key,
                held: held.clone(),
                rescue: true,
            });
        }
        Some(held)
    }

    /// Returns whether the index knows the key, or the entry waits to be written.
    pub(super) fn may_hold(&self, key: Key) -> bool {
        let opened = self.inner.opened.load();
        let is_there = |opened: &Arc<Opened>| opened.store.storage().may_contains(&key);
        opened.as_ref().is_some_and(is_there) || self.waiting(key).is_some()
    }

    /// Forgets an entry.
    pub(super) fn remove(&self, key: Key) {
        self.inner.removing.fetch_add(1, SeqCst);
        self.inner.removals.fetch_add(1, SeqCst);
        self.inner.queue.remove(key);
        if let Some(opened) = self.inner.opened.load_full() {
            opened.store.storage().delete(&key);
        }
        self.inner.removing.fetch_sub(1, SeqCst);
    }

    /// Hands an entry to the disk, if it is to be there and is not. A candidate is written later, if memory has it, and so is what comes
    /// faster than the disk takes it.
    pub(super) fn insert(&self, key: Key, held: Held, how: Insert) {
        let Some(opened) = self.inner.opened.load_full() else {
            return;
        };
        if !held.is_storable() || opened.store.storage().may_contains(&key) {
            return;
        }
        let job = Job {
            key,
            held,
            rescue: false,
        };
        let bytes = job.disk_bytes();
        let is_candidate = how == Insert::Candidate;
        let (doorkeeper, disk) = (&self.inner.doorkeeper, opened.geometry);
        if is_candidate
            && !opened.has_room()
            && !doorkeeper.knows(key.hash64(), bytes, disk.bytes())
        {
            self.inner.counters.rejected_writes.fetch_add(1, Relaxed);
        } else if is_candidate && self.inner.memory.passes(key)
            || self.inner.queue.push(job).is_err()
        {
            self.inner.defer(key, bytes);
        }
    }

    /// Looks at the directory now; leaves the tier where it is broken, tries it again where it was left.
    pub(super) async fn check(&self) {
        self.inner.check(true).await;
    }

    /// Waits until all that was handed over is written, or given up.
    pub(super) async fn flush(&self) {
        self.inner.write_deferred().await;
        self.inner.queue.idle().await;
    }

    pub(super) fn stats(&self) -> DiskStats {
        self.inner.stats()
    }

    /// Writes what waits and closes, within a deadline. The directory is free afterwards.
    pub(super) async fn close(&self) {
        let deadline = Instant::now() + CLOSE_DEADLINE;
        self.stop.cancel();
        if timeout_at(deadline, self.inner.write_deferred())
            .await
            .is_err()
        {
            warn!("cache entries of scans that wait for the disk are given up");
        }
        self.inner.queue.close();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for mut task in tasks {
            if timeout_at(deadline, &mut task).await.is_err() {
                warn!("cache entries that wait for the disk are given up");
                task.abort();
            }
        }
        if let Some(opened) = self.inner.opened.swap(None) {
            self.inner.status.lock().past_bytes_of(&opened);
            match timeout_at(deadline, opened.store.close()).await {
                Ok(Ok(())) => {
                    info!(dir = %self.inner.options.dir.display(), "disk cache is closed")
                }
                Ok(Err(error)) => warn!(%error, "disk cache did not close cleanly"),
                Err(_) => warn!("disk cache did not close in time"),
            }
        }
        // A tier that was left holds the directory until it is closed.
        let left = self.inner.status.lock().closing.take();
        if let Some(left) = left
            && timeout_at(deadline, left).await.is_err()
        {
            warn!("a disk cache that was left did not close in time");
        }
        // What is being read holds the directory.
        let turns = u32::try_from(self.inner.budget.reads).unwrap_or(u32::MAX);
        if timeout_at(deadline, self.inner.reads.acquire_many(turns))
            .await
            .is_err()
        {
            warn!("reads of the disk cache did not end in time");
        }
        self.inner.reads.close();
        self.inner.status.lock().layout = None;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.stop.cancel();
        self.inner.queue.close();
    }
}

impl Inner {
    fn stats(&self) -> DiskStats {
        let opened = self.opened.load();
        let status = self.status.lock();
        let (mut write_bytes, mut read_bytes) = status.past_bytes;
        let counters = &self.counters;
        let mut stats = DiskStats {
            state: status.state().clone(),
            since_ms: Some(status.since_ms()),
            entries_max: self.budget.entries_max(),
            writes: counters.writes.load(Relaxed),
            dropped_writes: counters.dropped_writes.load(Relaxed),
            rejected_writes: counters.rejected_writes.load(Relaxed),
            rescued_writes: counters.rescued_writes.load(Relaxed),
            evictions: counters.disk_evictions.load(Relaxed),
            bad_entries: counters.bad_entries.load(Relaxed),
            failed_writes: counters.failed_writes.load(Relaxed),
            ..DiskStats::default()
        };
        if let Some(opened) = opened.as_ref() {
            let device = opened.store.statistics();
            write_bytes += device.disk_write_bytes() as u64;
            read_bytes += device.disk_read_bytes() as u64;
            stats.engine = opened.engine;
            stats.capacity_bytes = opened.geometry.bytes();
            stats.bytes = opened
                .geometry
                .regions
                .saturating_sub(opened.census.clean())
                * opened.geometry.region_bytes;
            stats.entries = opened.census.entries();
        }
        DiskStats {
            write_bytes,
            read_bytes,
            ..stats
        }
    }
}
