//! When what is kept is taken again, by whom, and what is served meanwhile.
//!
//! Nobody waits twice for an origin that does not answer. The reader who found it so has waited; from then on what is kept is served at once, and a task
//! tries in place of readers, after pauses that grow. A notice ends that: who tells of a version has heard from the origin, so the next reader tries.
//! The task ends with the first answer, and with what it tries for.

use std::{sync::Arc, time::Duration};

use object_store::{Error, Result, path::Path};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{Shared, kept::Kept};

/// How long an origin that is up may take before what is kept is served.
const TAKE_MAX: Duration = Duration::from_secs(5);
/// The first pause between attempts at an origin that does not answer, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

impl Shared {
    /// What is kept, if it is still trusted; else what `take` takes; else, with the origin away, what is kept all the same.
    pub(super) async fn fresh<T, F>(
        self: &Arc<Self>,
        folder: &Path,
        kept: &Arc<Kept<T>>,
        take: impl Fn() -> F + Send + 'static,
    ) -> Result<Arc<T>>
    where
        T: Send + Sync + 'static,
        F: Future<Output = Result<T>> + Send,
    {
        if let Some(value) = self.at_hand(folder, kept) {
            return Ok(value);
        }
        let asked = Instant::now();
        let _turn = kept.turn().await;
        // Whoever had the turn before may have taken it.
        if let Some(value) = self.at_hand(folder, kept) {
            return Ok(value);
        }
        // One attempt answers for everybody who waited for it.
        let refused = kept.refused().filter(|refused| refused.at > asked);
        let error = match refused {
            Some(refused) => away(&refused.message),
            None => match self.take(folder, kept, take()).await {
                Err(error) if is_away(&error) => {
                    if kept.last().is_some() {
                        self.try_later(folder, kept, take);
                    }
                    error
                }
                answered => return answered,
            },
        };
        let last = kept.last().ok_or(error)?;
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
        let is_refused = || kept.refused().is_some_and(|it| it.stamp == stamp);
        if is_up && !is_refused() {
            return None;
        }
        self.metrics.stale_answer();
        Some(last.value)
    }

    /// Asks the origin. The turn is the caller's.
    async fn take<T>(
        &self,
        folder: &Path,
        kept: &Kept<T>,
        taking: impl Future<Output = Result<T>>,
    ) -> Result<Arc<T>> {
        // Before the first request: a notice that comes meanwhile makes what is taken stale at once.
        let (stamp, at) = (self.notices.stamp(folder), Instant::now());
        self.metrics.snapshot_taken();
        let taken = match kept.last() {
            None => taking.await,
            Some(_) => timeout(TAKE_MAX, taking)
                .await
                .unwrap_or_else(|_| Err(away(&format!("no answer within {TAKE_MAX:?}")))),
        };
        match taken {
            Ok(value) => Ok(kept.put(value, stamp, at)),
            Err(error) => {
                match is_away(&error) {
                    true => kept.refuse(&error.to_string(), stamp),
                    false => kept.answered(),
                }
                tracing::debug!(%folder, %error, "the origin has nothing newer");
                Err(error)
            }
        }
    }

    /// Asks again and again, in place of readers, until the origin answers anybody.
    fn try_later<T, F>(
        self: &Arc<Self>,
        folder: &Path,
        kept: &Arc<Kept<T>>,
        take: impl Fn() -> F + Send + 'static,
    ) where
        T: Send + Sync + 'static,
        F: Future<Output = Result<T>> + Send,
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
                let _turn = kept.turn().await;
                if kept.refused().is_none() {
                    return;
                }
                if shared.notices.is_origin_up() {
                    // What it says is kept, whatever it is.
                    let _ = shared.take(&folder, &kept, take()).await;
                }
            }
        });
        kept.tried_by(AbortOnDropHandle::new(trying));
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

fn away(message: &str) -> Error {
    Error::Generic {
        store: "LogStore",
        source: message.into(),
    }
}
