//! What waits to be written: bounded, in order, each key once.
//!
//! foyer takes what fits its buffer and drops the rest. So entries wait here and are handed over as the buffer empties; what does not
//! fit here either is refused, and counted by the caller.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::tiers::{Key, entry::Held};

/// What an entry waits for.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) key: Key,
    pub(super) held: Held,
    /// It is on the disk already and is to be written again, where it lasts longer.
    pub(super) rescue: bool,
}

impl Job {
    /// Returns what the entry takes on the disk, bytes: foyer's header and the key, in pages.
    pub(super) fn disk_bytes(&self) -> u64 {
        const FOYER_BYTES: u64 = 36 + 16;
        (FOYER_BYTES + foyer::Code::estimated_size(&self.held) as u64).next_multiple_of(4096)
    }
}

#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
    /// Told when something was taken or is done with.
    less: Notify,
    bytes_max: u64,
}

#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<Key>,
    jobs: HashMap<Key, Job>,
    bytes: u64,
    /// Entries that were taken and are not yet done with.
    taken: usize,
    closed: bool,
}

/// The queue has no room.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Queue {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            waiting: Mutex::default(),
            changed: Notify::new(),
            less: Notify::new(),
            bytes_max,
        }
    }

    /// Lets an entry wait. One that waits already, or comes after the queue was closed, is let go without an error.
    pub(super) fn push(&self, job: Job) -> Result<(), Full> {
        {
            let mut waiting = self.waiting.lock();
            if waiting.closed || waiting.jobs.contains_key(&job.key) {
                return Ok(());
            }
            let bytes = job.disk_bytes();
            if waiting.bytes + bytes > self.bytes_max {
                return Err(Full);
            }
            waiting.bytes += bytes;
            waiting.order.push_back(job.key);
            waiting.jobs.insert(job.key, job);
        }
        self.changed.notify_one();
        Ok(())
    }

    /// Returns an entry that waits.
    pub(super) fn get(&self, key: Key) -> Option<Held> {
        self.waiting
            .lock()
            .jobs
            .get(&key)
            .map(|job| job.held.clone())
    }

    /// Lets an entry go that waits.
    pub(super) fn remove(&self, key: Key) {
        let mut waiting = self.waiting.lock();
        if let Some(job) = waiting.jobs.remove(&key) {
            waiting.bytes -= job.disk_bytes();
            waiting.order.retain(|other| *other != key);
            self.less.notify_waiters();
        }
    }

    /// Waits for entries and takes up to `bytes_max` of them, one at least. Returns nothing once the queue is closed and empty.
    ///
    /// May be dropped while it waits; nothing is lost.
    pub(super) async fn next(&self, bytes_max: u64) -> Vec<Job> {
        loop {
            let changed = self.changed.notified();
            {
                let mut waiting = self.waiting.lock();
                let jobs = waiting.take(bytes_max);
                if !jobs.is_empty() || waiting.closed {
                    self.less.notify_waiters();
                    return jobs;
                }
            }
            changed.await;
        }
    }

    /// Takes note that so many entries that were taken are written, or given up.
    pub(super) fn done(&self, jobs: usize) {
        self.waiting.lock().taken -= jobs;
        self.less.notify_waiters();
    }

    /// Waits until nothing waits and nothing is being written.
    pub(super) async fn idle(&self) {
        self.until(|waiting| waiting.order.is_empty() && waiting.taken == 0)
            .await;
    }

    /// Waits until less than `bytes` wait.
    pub(super) async fn below(&self, bytes: u64) {
        self.until(|waiting| waiting.bytes < bytes).await;
    }

    async fn until(&self, is_so: impl Fn(&Waiting) -> bool) {
        loop {
            let less = self.less.notified();
            if is_so(&self.waiting.lock()) {
                return;
            }
            less.await;
        }
    }

    /// Takes nothing more; what waits is still handed out.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.changed.notify_one();
    }
}

impl Waiting {
    fn take(&mut self, bytes_max: u64) -> Vec<Job> {
        let mut jobs = Vec::new();
        let mut bytes = 0;
        while let Some(key) = self.order.front() {
            let size = self.jobs.get(key).map_or(0, Job::disk_bytes);
            if !jobs.is_empty() && bytes + size > bytes_max {
                break;
            }
            let job = self.jobs.remove(key);
            self.order.pop_front();
            bytes += size;
            self.bytes -= size;
            jobs.extend(job);
        }
        self.taken += jobs.len();
        jobs
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::tiers::{Class, Entry, EntryMeta};

    fn job(number: u128, length: usize) -> Job {
        let meta = EntryMeta {
            size: 0,
            last_modified_ms: 0,
            etag: None,
            version: None,
        };
        let held = Held {
            class: Class::Block,
            entry: Entry {
                meta,
                bytes: Bytes::from(vec![0; length]),
            },
        };
        Job {
            key: Key(number),
            held,
            rescue: false,
        }
    }

    #[tokio::test]
    async fn entries_come_out_in_order_and_in_batches() {
        let queue = Queue::new(1 << 20);
        for number in 0..4 {
            queue.push(job(number, 5000)).expect("it fits");
            queue.push(job(number, 5000)).expect("it is there already");
        }
        let keys = |jobs: Vec<Job>| jobs.iter().map(|job| job.key.0).collect::<Vec<_>>();
        assert_eq!(keys(queue.next(3 * 8192).await), [0, 1, 2]);
        assert_eq!(
            queue.get(Key(3)).map(|held| held.entry.bytes.len()),
            Some(5000)
        );
        assert_eq!(keys(queue.next(1).await), [3]);
        assert_eq!(queue.get(Key(3)), None);
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_until_there_is_room() {
        let queue = Queue::new(2 * 8192);
        assert_eq!(queue.push(job(0, 5000)), Ok(()));
        assert_eq!(queue.push(job(1, 5000)), Ok(()));
        assert_eq!(queue.push(job(2, 5000)), Err(Full));
        assert_eq!(queue.next(8192).await.len(), 1);
        assert_eq!(queue.push(job(2, 5000)), Ok(()));
    }

    #[tokio::test]
    async fn a_closed_queue_is_emptied_and_ends() {
        let queue = Queue::new(1 << 20);
        queue.push(job(0, 1)).expect("it fits");
        queue.close();
        queue.push(job(1, 1)).expect("it is let go");
        assert_eq!(queue.next(1 << 20).await.len(), 1);
        assert!(queue.next(1 << 20).await.is_empty());
    }
}
