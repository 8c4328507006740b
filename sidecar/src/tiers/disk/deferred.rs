//! Candidates that wait for a quiet moment to be written.
//!
//! Writing what a scan passes by costs CPU and disk that the scan itself needs: entries are copied, hashed and copied into the page
//! cache. So candidates stay where they are, in memory, and only their keys wait here. When no candidate has come for a while they are
//! handed to the queue. Where more wait than memory can be trusted to keep, the oldest are handed over at once. One that has left memory
//! by then is not written: whoever asks for it next fetches it.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{Inner, queue::Job};
use crate::tiers::{Key, key::KeyHash};

/// No candidate has come for so long: the scan is over, or waits for its reader.
const QUIET: Duration = Duration::from_millis(250);

/// Keys of candidates, in the order in which they came, each once.
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
    /// Lets a candidate of so many bytes wait; the oldest ones where that makes more than `bytes_max`.
    pub(super) fn push(&self, key: Key, bytes: u64, bytes_max: u64) -> Vec<Key> {
        let mut over = Vec::new();
        {
            let mut waiting = self.waiting();
            waiting.last = Some(Instant::now());
            if waiting.keys.insert(key) {
                waiting.order.push_back((key, bytes));
                waiting.bytes += bytes;
            }
            while waiting.bytes > bytes_max {
                over.extend(waiting.pop());
            }
        }
        self.came.notify_one();
        over
    }

    fn is_empty(&self) -> bool {
        self.waiting().order.is_empty()
    }

    /// The oldest ones, up to `bytes_max`, one at least.
    fn take(&self, bytes_max: u64) -> Vec<Key> {
        let mut waiting = self.waiting();
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

    /// Waits until some wait and none has come for a while. May be dropped while it waits.
    async fn quiet(&self) {
        loop {
            let came = self.came.notified();
            let last = self.waiting().last;
            match last {
                Some(last) if !self.is_empty() => {
                    if last.elapsed() >= QUIET {
                        return;
                    }
                    sleep_until(last + QUIET).await;
                }
                _ => came.await,
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes candidates whenever it is quiet, until `stop`.
pub(super) async fn run(inner: Arc<Inner>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = inner.deferred.quiet() => {}
        }
        inner.hand_over_some();
        tokio::select! {
            () = stop.cancelled() => return,
            () = inner.queue.idle() => {}
        }
    }
}

impl Inner {
    /// Hands some candidates that still are in memory to the queue: as many as are written at once.
    fn hand_over_some(&self) {
        self.hand_over(self.deferred.take(self.budget.buffer_bytes));
    }

    pub(super) fn hand_over(&self, keys: Vec<Key>) {
        for key in keys {
            let found = self.memory.find(key.hash64());
            let pushed = found.filter(|(found, _)| *found == key).map(|(key, held)| {
                let rescue = false;
                self.queue.push(Job { key, held, rescue })
            });
            if !matches!(pushed, Some(Ok(()))) {
                self.counters
                    .dropped_writes
                    .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }

    /// Hands all candidates over, as fast as they are written.
    pub(super) async fn write_deferred(&self) {
        while !self.deferred.is_empty() {
            self.hand_over_some();
            self.queue.idle().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_each_once() {
        let deferred = Deferred::default();
        for number in [1, 2, 1, 3] {
            assert!(deferred.push(Key(number), 10, 30).is_empty());
        }
        assert_eq!(deferred.push(Key(4), 10, 30), [Key(1)]);
        assert_eq!(deferred.take(25), [Key(2), Key(3)]);
        assert_eq!(deferred.take(1), [Key(4)]);
        assert!(deferred.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_quiet_when_none_has_come_for_a_while() {
        let deferred = Deferred::default();
        deferred.push(Key(1), 10, 30);
        let began = Instant::now();
        for number in 2..4 {
            tokio::select! {
                () = deferred.quiet() => panic!("candidates come"),
                () = tokio::time::sleep(QUIET / 2) => drop(deferred.push(Key(number), 10, 30)),
            }
        }
        deferred.quiet().await;
        assert_eq!(began.elapsed(), QUIET * 2);
    }
}
