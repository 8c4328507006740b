//! When what is kept is taken again, by whom, and what is served meanwhile.
//!
//! One task takes a value, and whoever wants it follows that. Readers have patience with an origin that goes on sending, however long all of it takes.
//! Of one that is silent they are served what is kept; what it sends in the end is kept all the same.
//!
//! Nobody waits twice for an origin that does not answer. The reader who found it so has waited; from then on what is kept is served at once, and a task
//! tries in place of readers, after pauses that grow. A notice ends that: who tells of a version has heard from the origin, so the next reader tries.
//! The task ends with the first answer, and with what it tries for.
//!
//! An attempt that hangs is in nobody's way: after a notice, or in the end without one, another takes its place, and what either brings is kept.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder};
use object_store::{Error, Result, path::Path};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;
use vdt_dialect::in_current_trace;

use super::{
    Shared,
    attempt::{Attempt, Begin, Heard},
    kept::{Kept, Taken},
};
use crate::cache::Failure;

/// Silence of the origin after which a reader is served what is kept.
const PATIENCE: Duration = Duration::from_secs(5);
/// Silence after which an attempt ends: longer than the clocks of whatever the origin asks, so that its own words are heard.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Age of a silent attempt at which another one takes its place.
const SILENT_AGE: Duration = Duration::from_secs(10);
/// The pauses between attempts at an origin that does not answer.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_secs(1))
    .with_max_delay(Duration::from_secs(10))
    .without_max_times();

/// What a reader gets.
enum Found<T> {
    AtHand(Arc<T>),
    Attempt(Attempt<T>),
}

/// What is taken of an origin and kept.
pub(super) trait Weighed: Send + Sync + Sized + 'static {
    /// Tells the bytes that it takes, now that `kept` has it.
    fn weigh(&self, shared: &Shared, folder: &Path, kept: &Arc<Kept<Self>>);
}

impl Shared {
    /// What is kept, if it is still trusted; else what `take` takes; else, with the origin away, what is kept all the same.
    pub(super) async fn fresh<T, F>(
        self: &Arc<Self>,
        folder: &Path,
        kept: &Arc<Kept<T>>,
        take: impl Fn(Begin<T>) -> F + Clone + Send + Sync + 'static,
    ) -> Result<Arc<T>>
    where
        T: Weighed,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (asked, stamp) = (Instant::now(), self.notices.stamp(folder));
        let failure = loop {
            let attempt = match self.find(folder, kept, &take) {
                Found::AtHand(value) => return Ok(value),
                Found::Attempt(attempt) => attempt,
            };
            let ended = match self.last(folder, kept) {
                None => attempt.end().await,
                Some(_) => attempt.end_or_silence(PATIENCE).await,
            };
            let was_trusted = attempt.stamp == stamp
                && asked.saturating_duration_since(attempt.at) < self.options.staleness;
            match ended {
                // One attempt answers for everybody who waited for it.
                Err(failure) if is_away(failure.error()) => break failure,
                ended if attempt.at >= asked || was_trusted => {
                    return ended.map_err(|failure| failure.share());
                }
                // What it took may be older than allowed; the next one begins now.
                Ok(_) | Err(_) => {}
            }
        };
        let last = self.last(folder, kept);
        let last = last.ok_or_else(|| failure.share())?;
        self.metrics.stale_answer();
        Ok(last.value)
    }

    /// What is kept, if it was taken of the table of whoever has it now.
    fn last<T>(&self, folder: &Path, kept: &Kept<T>) -> Option<Taken<T>> {
        let stamp = self.notices.stamp(folder);
        kept.last().filter(|last| last.stamp.is_of_the_owner(stamp))
    }

    /// What is kept, if that is the answer: it is trusted, or there is nothing newer to be had.
    fn at_hand<T>(&self, folder: &Path, kept: &Kept<T>) -> Option<Arc<T>> {
        let last = self.last(folder, kept)?;
        let (stamp, is_up) = (self.notices.stamp(folder), self.notices.is_origin_up());
        if is_up && last.stamp == stamp && last.at.elapsed() < self.options.staleness {
            return Some(last.value);
        }
        if is_up && kept.refused() != Some(stamp) {
            return None;
        }
        self.metrics.stale_answer();
        Some(last.value)
    }

    fn find<T, F>(
        self: &Arc<Self>,
        folder: &Path,
        kept: &Arc<Kept<T>>,
        take: &(impl Fn(Begin<T>) -> F + Clone + Send + Sync + 'static),
    ) -> Found<T>
    where
        T: Weighed,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        // Under the lock: an attempt that has just ended has left what it took.
        let mut slot = kept.under_way();
        if let Some(value) = self.at_hand(folder, kept) {
            return Found::AtHand(value);
        }
        let (attempt, silent) = self.in_slot(&mut slot, folder, kept, take, true);
        drop(slot);
        if let Some(silent) = silent {
            kept.replaced(silent);
        }
        Found::Attempt(attempt)
    }

    /// The attempt that is under way, or that begins now, and the silent one whose place it takes.
    fn in_slot<T, F>(
        self: &Arc<Self>,
        slot: &mut Option<Attempt<T>>,
        folder: &Path,
        kept: &Arc<Kept<T>>,
        take: &(impl Fn(Begin<T>) -> F + Clone + Send + Sync + 'static),
        is_first: bool,
    ) -> (Attempt<T>, Option<Attempt<T>>)
    where
        T: Weighed,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let silent = slot.take_if(|attempt| {
            let is_old = attempt.at.elapsed() >= SILENT_AGE;
            attempt.is_silent(PATIENCE) && (is_old || attempt.stamp != self.notices.stamp(folder))
        });
        let attempt = slot.get_or_insert_with(|| self.begin(folder, kept, take, is_first));
        (attempt.clone(), silent)
    }

    /// Begins to ask the origin. Where it does not answer, `is_first` has a task try again.
    fn begin<T, F>(
        self: &Arc<Self>,
        folder: &Path,
        kept: &Arc<Kept<T>>,
        take: &(impl Fn(Begin<T>) -> F + Clone + Send + Sync + 'static),
        is_first: bool,
    ) -> Attempt<T>
    where
        T: Weighed,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        // Before the first request: a notice that comes meanwhile makes what is taken stale at once.
        let (stamp, at) = (self.notices.stamp(folder), Instant::now());
        let (heard, number) = (Heard::new(at), kept.next_attempt());
        self.metrics.snapshot_taken();
        let last = kept.last().filter(|last| last.stamp.is_of_the_run(stamp));
        let asking = take(Begin {
            before: last.map(|last| last.value),
            heard: heard.clone(),
        });
        let (shared, silence) = (Arc::downgrade(self), heard.clone());
        let (kept, folder, take) = (Arc::downgrade(kept), folder.clone(), take.clone());
        let task = self.runtime.spawn(in_current_trace(async move {
            // Ends last: whoever finds no attempt finds what it left. Made here and not before: a task that never runs is dropped by
            // whoever holds the lock.
            let _under_way = UnderWay(Weak::clone(&kept), number);
            let taken = tokio::select! {
                biased;
                taken = asking => taken,
                () = silence.silence(SILENCE_MAX) => {
                    Err(away(&format!("nothing was heard for {SILENCE_MAX:?}")))
                }
            };
            let Some(kept) = kept.upgrade() else {
                return Err(Failure::new(away("the log is not served any longer")));
            };
            let error = match taken {
                Ok(value) => {
                    let value = kept.put(value, stamp, at, number);
                    // Here, for the reader may have left; and what is kept, which a later attempt may have taken.
                    if let (Some(shared), Some(last)) = (shared.upgrade(), kept.last()) {
                        last.value.weigh(&shared, &folder, &kept);
                    }
                    return Ok(value);
                }
                Err(error) => error,
            };
            tracing::debug!(%folder, %error, "the origin has nothing newer");
            if !kept.is_newest(number) {
                // What the origin says now is for the one to find that has taken its place.
            } else if !is_away(&error) {
                kept.answered();
            } else {
                kept.refuse(stamp);
                if is_first
                    && kept.last().is_some()
                    && let Some(shared) = shared.upgrade()
                {
                    shared.try_later(&folder, &kept, take);
                }
            }
            Err(Failure::new(error))
        }));
        Attempt::new(number, stamp, at, heard, AbortOnDropHandle::new(task))
    }

    /// Asks again and again, in place of readers, until the origin answers anybody.
    fn try_later<T, F>(
        self: &Arc<Self>,
        folder: &Path,
        kept: &Arc<Kept<T>>,
        take: impl Fn(Begin<T>) -> F + Clone + Send + Sync + 'static,
    ) where
        T: Weighed,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (shared, tried, folder) = (Arc::downgrade(self), Arc::downgrade(kept), folder.clone());
        let trying = self.runtime.spawn(async move {
            for pause in PAUSES.build() {
                sleep(pause).await;
                let (Some(shared), Some(kept)) = (shared.upgrade(), tried.upgrade()) else {
                    return;
                };
                if kept.refused().is_none() {
                    return;
                }
                if !shared.notices.is_origin_up() {
                    continue;
                }
                let (attempt, silent) =
                    shared.in_slot(&mut kept.under_way(), &folder, &kept, &take, false);
                if let Some(silent) = silent {
                    kept.replaced(silent);
                }
                drop((shared, kept));
                // What it says is kept, whatever it is.
                let _ = attempt.end_or_silence(SILENT_AGE).await;
            }
        });
        kept.tried_by(AbortOnDropHandle::new(trying));
    }
}

/// An attempt is under way until this is dropped.
struct UnderWay<T>(Weak<Kept<T>>, u64);

impl<T> Drop for UnderWay<T> {
    fn drop(&mut self) {
        if let Some(kept) = self.0.upgrade() {
            kept.ended(self.1);
        }
    }
}

/// Whether an error says that the origin cannot answer, rather than what it answered.
fn is_away(error: &Error) -> bool {
    !matches!(
        error,
        Error::NotFound { .. }
            | Error::Precondition { .. }
            | Error::NotModified { .. }
            | Error::NotSupported { .. }
            | Error::InvalidPath { .. }
    )
}

pub(super) fn away(message: &str) -> Error {
    Error::Generic {
        store: "LogStore",
        source: message.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

    use futures::future;
    use object_store::memory::InMemory;

    use super::*;
    use crate::log::{LogMetrics, LogOptions, LogStore, Notices};

    impl Weighed for usize {
        fn weigh(&self, _: &Shared, _: &Path, _: &Arc<Kept<Self>>) {}
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_hangs_is_in_nobodys_way() {
        let (notices, metrics) = (Notices::new(), LogMetrics::default());
        let origin = Arc::new(InMemory::new());
        let store = LogStore::new(origin, LogOptions::default(), notices.clone(), metrics);
        let (folder, kept) = (Path::from("log/c/s/t/_delta_log"), Arc::default());
        let (hang, attempts) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
        let (hangs, attempts) = (Arc::clone(&hang), Arc::new(attempts));
        // Says the number of the attempt.
        let take = move |_: Begin<usize>| {
            let (number, hangs) = (attempts.fetch_add(1, Relaxed), hangs.load(Relaxed));
            async move {
                if hangs {
                    future::pending::<()>().await;
                }
                Ok(number)
            }
        };
        let read = async || {
            *store
                .shared
                .fresh(&folder, &kept, take.clone())
                .await
                .unwrap()
        };
        assert_eq!(read().await, 0);
        let next = async || {
            hang.store(true, Relaxed);
            sleep(Duration::from_secs(2)).await;
            read().await
        };
        assert_eq!(next().await, 0, "one hangs");
        hang.store(false, Relaxed);
        notices.committed("c/s/t", 1);
        assert_eq!(read().await, 2, "a notice is worth another one");
        assert_eq!(next().await, 2, "one hangs");
        hang.store(false, Relaxed);
        sleep(SILENT_AGE).await;
        assert_eq!(read().await, 4, "it has hung for long enough");
        notices.set_origin_up(false);
        assert_eq!(read().await, 4, "the last one while the origin is away");
        notices.changed_hands("c/s/t");
        assert_eq!(read().await, 5, "what was another's is not served");
    }
}
