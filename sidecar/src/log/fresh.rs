//! When what is kept is taken again, by whom, and what is served meanwhile.
//!
//! One task takes a value, and whoever wants it follows that. Readers have patience with an origin that goes on sending, however long all of it takes.
//! Of one that is silent they are served what is kept; what it sends in the end is kept all the same.
//!
//! Nobody waits twice for an origin that does not answer. The reader who found it so has waited; from then on what is kept is served at once, and a task
//! tries in place of readers, after pauses that grow. A notice ends that: who tells of a version has heard from the origin, so the next reader tries.
//! The task ends with the first answer, and with what it tries for.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use object_store::{Error, Result, path::Path};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Shared,
    kept::Kept,
    taking::{Begin, Heard, Taking},
};
use crate::cache::Failure;

/// Silence of the origin after which a reader is served what is kept.
const PATIENCE: Duration = Duration::from_secs(5);
/// Silence after which an attempt ends: longer than the clocks of whatever the origin asks, so that its own words are heard.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// The first pause between attempts at an origin that does not answer, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// What a reader gets.
enum Found<T> {
    AtHand(Arc<T>),
    Taking(Taking<T>),
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
        T: Send + Sync + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (asked, stamp) = (Instant::now(), self.notices.stamp(folder));
        let failure = loop {
            let taking = match self.find(folder, kept, &take) {
                Found::AtHand(value) => return Ok(value),
                Found::Taking(taking) => taking,
            };
            let ended = match kept.last() {
                None => taking.end().await,
                Some(_) => taking.end_or_silence(PATIENCE).await,
            };
            let was_trusted = taking.stamp == stamp
                && asked.saturating_duration_since(taking.at) < self.options.staleness;
            match ended {
                // One attempt answers for everybody who waited for it.
                Err(failure) if is_away(failure.error()) => break failure,
                ended if taking.at >= asked || was_trusted => {
                    return ended.map_err(|failure| failure.share());
                }
                // What it took may be older than allowed; the next one begins now.
                Ok(_) | Err(_) => {}
            }
        };
        let last = kept.last().ok_or_else(|| failure.share())?;
        self.metrics.stale_answer();
        Ok(last.value)
    }

    /// What is kept, if that is the answer: it is trusted, or there is nothing newer to be had.
    fn at_hand<T>(&self, folder: &Path, kept: &Kept<T>) -> Option<Arc<T>> {
        let last = kept.last()?;
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
        T: Send + Sync + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        // Under the lock: an attempt that has just ended has left what it took.
        let mut taking = kept.taking();
        match self.at_hand(folder, kept) {
            Some(value) => Found::AtHand(value),
            None => Found::Taking(
                taking
                    .get_or_insert_with(|| self.begin(folder, kept, take, true))
                    .clone(),
            ),
        }
    }

    /// Begins to ask the origin. Where it does not answer, `is_first` has a task try again.
    fn begin<T, F>(
        self: &Arc<Self>,
        folder: &Path,
        kept: &Arc<Kept<T>>,
        take: &(impl Fn(Begin<T>) -> F + Clone + Send + Sync + 'static),
        is_first: bool,
    ) -> Taking<T>
    where
        T: Send + Sync + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        // Before the first request: a notice that comes meanwhile makes what is taken stale at once.
        let (stamp, at) = (self.notices.stamp(folder), Instant::now());
        let heard = Heard::new(at);
        self.metrics.snapshot_taken();
        let last = kept.last().filter(|last| last.stamp.is_of_the_run(stamp));
        let asking = take(Begin {
            before: last.map(|last| last.value),
            heard: heard.clone(),
        });
        let (shared, silence) = (Arc::downgrade(self), heard.clone());
        let (kept, folder, take) = (Arc::downgrade(kept), folder.clone(), take.clone());
        let task = self.runtime.spawn(async move {
            // Ends last: whoever finds no attempt finds what it left. Made here and not before: a task that never runs is dropped by
            // whoever holds the lock.
            let _under_way = UnderWay(Weak::clone(&kept));
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
                Ok(value) => return Ok(kept.put(value, stamp, at)),
                Err(error) => error,
            };
            tracing::debug!(%folder, %error, "the origin has nothing newer");
            if !is_away(&error) {
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
        });
        Taking::new(stamp, at, heard, AbortOnDropHandle::new(task))
    }

    /// Asks again and again, in place of readers, until the origin answers anybody.
    fn try_later<T, F>(
        self: &Arc<Self>,
        folder: &Path,
        kept: &Arc<Kept<T>>,
        take: impl Fn(Begin<T>) -> F + Clone + Send + Sync + 'static,
    ) where
        T: Send + Sync + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (shared, tried, folder) = (Arc::downgrade(self), Arc::downgrade(kept), folder.clone());
        let trying = self.runtime.spawn(async move {
            let mut pause = PAUSES.0;
            loop {
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
                let (Some(shared), Some(kept)) = (shared.upgrade(), tried.upgrade()) else {
                    return;
                };
                if kept.refused().is_none() {
                    return;
                }
                if !shared.notices.is_origin_up() {
                    continue;
                }
                let taking = kept
                    .taking()
                    .get_or_insert_with(|| shared.begin(&folder, &kept, &take, false))
                    .clone();
                drop((shared, kept));
                // What it says is kept, whatever it is.
                let _ = taking.end().await;
            }
        });
        kept.tried_by(AbortOnDropHandle::new(trying));
    }
}

/// An attempt is under way until this is dropped.
struct UnderWay<T>(Weak<Kept<T>>);

impl<T> Drop for UnderWay<T> {
    fn drop(&mut self) {
        if let Some(kept) = self.0.upgrade() {
            let ended = kept.taking().take();
            // Without the lock: it may be the last that holds the attempt.
            drop(ended);
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
