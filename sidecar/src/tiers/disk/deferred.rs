//! Entries that are written later: candidates, which wait for a quiet moment, and whatever comes faster than the disk takes it.
//!
//! Writing what a scan passes by costs CPU and disk that the scan itself needs: entries are copied, hashed and written. So candidates stay
//! where they are, in memory, and only their keys wait here. When no candidate has come for a while they are written, a buffer full at a
//! time. Where more wait than memory can be trusted to keep, the oldest are written without such a pause, as fast as the disk
//! takes them and no faster: those that have left memory before their turn are dropped, and whoever asks for one next fetches it.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{Inner, queue::Job};
use crate::tiers::{Key, key::KeyHash};

/// No entry has come for so long: the scan is over, or waits for its reader.
const QUIET: Duration = Duration::from_millis(250);

/// Memory is trusted with so many bytes of those that wait, where it has room for `bytes_max`: others come in meanwhile.
fn trusted(bytes_max: u64) -> u64 {
    bytes_max / 4
}

/// Keys of entries that are in memory, in the order in which they came, each once.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    waiting: Mutex<Waiting>,
    came: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<(Key, u64)>,
    keys: HashSet<Key, KeyHash>,
    bytes: u64,
    last: Option<Instant>,
}

impl Waiting {
    fn pop(&mut self) -> Option<Key> {
        let (key, bytes) = self.order.pop_front()?;
        self.keys.remove(&key);
        self.bytes -= bytes;
        Some(key)
    }
}

impl Deferred {
    /// Lets an entry of so many bytes wait. Returns how many of the oldest are given up where that makes more than `bytes_max`, which
    /// is what memory has room for. Who writes them is woken by the first one, and when there are more than can wait; of all others it takes
    /// note when it looks again.
    pub(super) fn push(&self, key: Key, bytes: u64, bytes_max: u64) -> u64 {
        let mut given_up = 0;
        let is_news = {
            let mut waiting = self.waiting.lock();
            let is_first = waiting.order.is_empty();
            waiting.last = Some(Instant::now());
            if waiting.keys.insert(key) {
                waiting.order.push_back((key, bytes));
                waiting.bytes += bytes;
            }
            while waiting.bytes > bytes_max && waiting.pop().is_some() {
                given_up += 1;
            }
            is_first || waiting.bytes > trusted(bytes_max)
        };
        if is_news {
            self.came.notify_one();
        }
        given_up
    }

    fn is_empty(&self) -> bool {
        self.waiting.lock().order.is_empty()
    }

    /// The oldest ones, up to `bytes_max`, one at least.
    fn take(&self, bytes_max: u64) -> Vec<Key> {
        let mut waiting = self.waiting.lock();
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some((_, size)) = waiting.order.front()
            && (taken.is_empty() || bytes + size <= bytes_max)
        {
            bytes += size;
            taken.extend(waiting.pop());
        }
        taken
    }

    /// Waits until some are to be written: none has come for a while, or more wait than memory is trusted with, which has room for `bytes_max`.
    /// May be dropped while it waits.
    async fn due(&self, bytes_max: impl Fn() -> u64) {
        loop {
            let came = self.came.notified();
            let (last, bytes) = {
                let waiting = self.waiting.lock();
                (waiting.last, waiting.bytes)
            };
            match last {
                Some(last) if bytes > 0 => {
                    if bytes > trusted(bytes_max()) || last.elapsed() >= QUIET {
                        return;
                    }
                    tokio::select! {
                        () = sleep_until(last + QUIET) => {}
                        () = came => {}
                    }
                }
                _ => came.await,
            }
        }
    }
}

/// Writes what waits whenever it is due, until `stop`.
pub(super) async fn run(inner: Arc<Inner>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = inner.deferred.due(|| inner.memory.passing_bytes()) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = inner.hand_over_some() => {}
        }
    }
}

impl Inner {
    /// Lets an entry wait that is in memory.
    pub(super) fn defer(&self, key: Key, bytes: u64) {
        let given_up = self.deferred.push(key, bytes, self.memory.passing_bytes());
        self.counters.dropped_writes.fetch_add(given_up, Relaxed);
    }

    /// Hands some that still are in memory to the queue, as many as are written at once, when it has room for them: some wait there while
    /// others are written. Dropped while it waits, it has handed over nothing.
    async fn hand_over_some(&self) {
        self.queue.below(self.budget.buffer_bytes).await;
        for key in self.deferred.take(self.budget.buffer_bytes) {
            let found = self.memory.find(key.hash64());
            let pushed = found.filter(|(found, _)| *found == key).map(|(key, held)| {
                let rescue = false;
                self.queue.push(Job { key, held, rescue })
            });
            if !matches!(pushed, Some(Ok(()))) {
                self.counters.dropped_writes.fetch_add(1, Relaxed);
            }
        }
    }

    /// Hands all over, as fast as they are written.
    pub(super) async fn write_deferred(&self) {
        while !self.deferred.is_empty() {
            self.hand_over_some().await;
        }
        self.queue.idle().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_each_once() {
        let deferred = Deferred::default();
        for number in [1, 2, 1, 3] {
            assert_eq!(deferred.push(Key(number), 10, 30), 0);
        }
        assert_eq!(deferred.push(Key(4), 10, 30), 1, "the oldest is given up");
        assert_eq!(deferred.take(25), [Key(2), Key(3)]);
        assert_eq!(deferred.take(1), [Key(4)]);
        assert!(deferred.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn they_are_due_when_none_has_come_for_a_while() {
        let deferred = Deferred::default();
        deferred.push(Key(1), 10, 300);
        let began = Instant::now();
        for number in 2..4 {
            tokio::select! {
                () = deferred.due(|| 300) => panic!("candidates come"),
                () = tokio::time::sleep(QUIET / 2) => drop(deferred.push(Key(number), 10, 300)),
            }
        }
        deferred.due(|| 300).await;
        assert_eq!(began.elapsed(), QUIET * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn they_are_due_when_more_wait_than_memory_is_trusted_with() {
        let deferred = Deferred::default();
        let began = Instant::now();
        let push = async {
            for number in 1..=3 {
                tokio::time::sleep(QUIET / 10).await;
                deferred.push(Key(number), 10, 100);
            }
        };
        tokio::join!(deferred.due(|| 100), push);
        assert_eq!(began.elapsed(), QUIET / 10 * 3);
        assert_eq!(deferred.take(10), [Key(1)]);
        deferred.due(|| 100).await;
        assert_eq!(began.elapsed(), QUIET / 10 * 13, "two can wait");
    }

    /// Counts how often a task is woken.
    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_writes_them_is_not_woken_by_each() {
        let deferred = Deferred::default();
        deferred.push(Key(0), 1, 400);
        let woken = Arc::new(Woken::default());
        let waker = Arc::clone(&woken).into();
        let mut context = std::task::Context::from_waker(&waker);
        let mut due = std::pin::pin!(deferred.due(|| 400));
        // Once for the first of them, which came before anybody waited.
        while due.as_mut().poll(&mut context).is_pending() && woken.0.swap(0, Relaxed) > 0 {}
        for number in 1..100 {
            deferred.push(Key(number), 1, 400);
        }
        assert_eq!(woken.0.load(Relaxed), 0);
        deferred.push(Key(100), 1, 400);
        assert_eq!(woken.0.load(Relaxed), 1, "more than can wait");
        assert!(due.as_mut().poll(&mut context).is_ready());
    }
}
