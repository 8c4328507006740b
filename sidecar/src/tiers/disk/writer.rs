//! Hands entries to foyer as fast as it writes them, and no faster.
//!
//! foyer copies entries into a buffer of fixed size while another is being written, and drops what does not fit. So no more than a
//! buffer full is handed over before all of it lies on the disk; then each entry is looked for, and one that is not there has not been
//! written. All comes from one task: sequence numbers ascend in each region, as recovery wants.

use std::{
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
    time::Duration,
};

use tokio::time::timeout;
use tracing::warn;

use super::{
    Inner,
    fault::{Fault, Growth},
    queue::Job,
    store::Opened,
    volume::high_percent,
};
use crate::tiers::{Class, key::ByHash, reason};

/// How long a batch may take. A disk that needs longer for a few megabytes is of no use.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);

/// How long a look at the directory may take.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);

/// Writes what comes through the queue, until that is closed and empty.
pub(super) async fn run(inner: Arc<Inner>) {
    loop {
        // Not held while nothing comes: what is left has to end.
        let bytes = match inner.opened.load().as_ref() {
            Some(opened) => batch_bytes(&inner, opened),
            None => inner.budget.buffer_bytes,
        };
        let jobs = inner.queue.next(bytes).await;
        if jobs.is_empty() {
            return;
        }
        let taken = jobs.len();
        match inner.opened.load_full() {
            Some(opened) => write(&inner, &opened, jobs).await,
            None => {
                inner
                    .counters
                    .failed_writes
                    .fetch_add(taken as u64, Relaxed);
            }
        }
        inner.queue.done(taken);
    }
}

/// Bytes handed over at once: what fits the buffer, and not so much that a small disk would go round.
fn batch_bytes(inner: &Inner, opened: &Opened) -> u64 {
    inner.budget.buffer_bytes.min(opened.geometry.bytes() / 8)
}

async fn write(inner: &Inner, opened: &Arc<Opened>, jobs: Vec<Job>) {
    let counters = &inner.counters;
    let fail = |fault: Fault, count: usize| {
        counters.failed_writes.fetch_add(count as u64, Relaxed);
        inner.leave(opened, &fault);
    };
    let bytes = jobs.iter().map(Job::disk_bytes).sum();
    if let Err(fault) = inner.inspect(opened, Some(bytes)).await {
        return fail(fault, jobs.len());
    }
    let storage = opened.store.storage();
    // Leaving regions are freed by the time that the wait below ends, since it waits for that too.
    let leaving = opened.census.take_leaving();
    let jobs: Vec<Job> = jobs
        .into_iter()
        .filter(|job| job.rescue || !storage.may_contains(&job.key))
        .collect();
    make_room(inner, opened, jobs.len() as u64);
    // A removal that begins after this is counted; one that began before and has not ended is seen by the second.
    let removals = inner.removals.load(SeqCst);
    let is_removing = inner.removing.load(SeqCst) > 0;
    let written: Vec<(u64, bool)> = jobs
        .iter()
        .map(|job| (job.key.hash64(), job.rescue))
        .collect();
    // Until it is judged: who drops one of them counts it.
    let _written_now = WrittenNow::begin(inner, written.iter().map(|(hash, _)| *hash));
    for job in jobs {
        opened
            .store
            .storage_writer(job.key)
            .force()
            .insert(job.held);
    }
    if timeout(WRITE_DEADLINE, storage.wait()).await.is_err() {
        return fail(
            Fault::new(
                reason::DISK_FAILED,
                "writes to the cache directory do not end.",
            ),
            written.len(),
        );
    }
    settle(inner, opened, &leaving);
    let mut failed = 0u64;
    for (hash, rescued) in &written {
        if !opened.holds(*hash) {
            failed += 1;
            continue;
        }
        opened.census.written(*hash);
        counters.writes.fetch_add(1, Relaxed);
        if *rescued {
            counters.rescued_writes.fetch_add(1, Relaxed);
        }
    }
    // Flushers that fail are noticed with the next entries too.
    if !is_removing {
        judge(inner, opened, failed, removals).await;
    }
}

/// Leaves the tier where `missing` of the entries just written are not on the disk, unless as many have been removed since there were `removals`, by
/// name or by a read that found them damaged: those were written all the same.
pub(super) async fn judge(inner: &Inner, opened: &Arc<Opened>, missing: u64, removals: u64) {
    let are_removed = || inner.removals.load(SeqCst).saturating_sub(removals) >= missing;
    if are_removed() {
        return;
    }
    let fault = match inner.probe(opened).await {
        Err(fault) => fault,
        // A read counts what it drops a moment later.
        Ok(()) if are_removed() => return,
        // A flusher that failed once is not to be trusted with more.
        Ok(()) => Fault::new(reason::DISK_FAILED, "writes to the cache directory fail."),
    };
    inner.counters.failed_writes.fetch_add(missing, Relaxed);
    inner.leave(opened, &fault);
}

/// What is being written, until it is dropped.
pub(super) struct WrittenNow<'a>(&'a Inner);

impl<'a> WrittenNow<'a> {
    pub(super) fn begin(inner: &'a Inner, hashes: impl Iterator<Item = u64>) -> Self {
        *inner.written_now.lock() = hashes.collect();
        Self(inner)
    }
}

impl Drop for WrittenNow<'_> {
    fn drop(&mut self) {
        self.0.written_now.lock().clear();
    }
}

/// Takes note of what has left, and queues what memory holds of it as hot, up to half.
fn settle(inner: &Inner, opened: &Opened, leaving: &[u64]) {
    let mut found = Vec::new();
    for hash in leaving {
        // An entry that was written again since is held elsewhere.
        if opened.holds(*hash) || !opened.census.gone(*hash) {
            continue;
        }
        match inner.memory.find_hot(*hash) {
            Some(entry) => found.push(entry),
            None => drop(inner.counters.disk_evictions.fetch_add(1, Relaxed)),
        }
    }
    found.sort_by_key(|(_, held)| held.class != Class::Metadata);
    for (at, (key, held)) in found.into_iter().enumerate() {
        // A full queue means that there is enough that is new.
        if at >= leaving.len().div_ceil(2)
            || inner
                .queue
                .push(Job {
                    key,
                    held,
                    rescue: true,
                })
                .is_err()
        {
            inner.counters.disk_evictions.fetch_add(1, Relaxed);
        }
    }
}

/// Removes the oldest entries where the memory for the index would be exceeded.
fn make_room(inner: &Inner, opened: &Opened, coming: u64) {
    let over = (opened.census.entries() + coming).saturating_sub(inner.budget.entries_max());
    for _ in 0..over {
        let Some(hash) = opened.census.pop_oldest() else {
            return;
        };
        opened.store.storage().delete(&ByHash(hash));
        inner.counters.disk_evictions.fetch_add(1, Relaxed);
    }
}

impl Inner {
    /// Returns whether an entry is one of those that are being written.
    pub(super) fn is_written_now(&self, hash: u64) -> bool {
        self.written_now.lock().contains(&hash)
    }

    /// Looks at the directory, as it is or before so many bytes are written.
    pub(super) async fn inspect(
        &self,
        opened: &Arc<Opened>,
        bytes: Option<u64>,
    ) -> Result<(), Fault> {
        let (unwritten, geometry) = (opened.census.unwritten(), opened.geometry);
        let left_percent = 100 - high_percent(&self.options);
        let growth = bytes.and_then(|bytes| Growth::of(bytes, unwritten, geometry, left_percent));
        let place = opened.place.clone();
        blocking(move || place.inspect(growth)).await
    }

    /// Looks at the directory and tries to write to it.
    pub(super) async fn probe(&self, opened: &Arc<Opened>) -> Result<(), Fault> {
        let place = opened.place.clone();
        blocking(move || place.inspect(None).and_then(|()| place.probe())).await
    }
}

async fn blocking(look: impl FnOnce() -> Result<(), Fault> + Send + 'static) -> Result<(), Fault> {
    // Late, it goes on on its thread. The tier is left then, so there are few of those.
    match timeout(LOOK_DEADLINE, tokio::task::spawn_blocking(look)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            warn!(%error, "cache directory cannot be looked at");
            Ok(())
        }
        Err(_) => Err(Fault::new(
            reason::DISK_FAILED,
            "the cache directory does not answer.",
        )),
    }
}
