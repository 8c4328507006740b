//! A value that is being taken: by a task, which its readers follow and which goes on when they leave.

use std::{fmt, sync::Arc, time::Duration};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::{fresh::away, notices::Stamp};
use crate::cache::Failure;

/// When the origin was last heard of.
#[derive(Debug, Clone)]
pub(super) struct Heard(Arc<Mutex<Instant>>);

impl Heard {
    pub(super) fn new(at: Instant) -> Self {
        Self(Arc::new(Mutex::new(at)))
    }

    /// It has sent something.
    pub(super) fn now(&self) {
        *self.0.lock() = Instant::now();
    }

    /// Whether nothing has been heard for so long.
    fn is_silent(&self, silence: Duration) -> bool {
        let last = *self.0.lock();
        last.elapsed() >= silence
    }

    /// Waits until nothing has been heard for so long.
    pub(super) async fn silence(&self, silence: Duration) {
        loop {
            let until = *self.0.lock() + silence;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// What an attempt begins with.
#[derive(Debug)]
pub(super) struct Begin<T> {
    /// What was taken last, unless anything may have happened since.
    pub(super) before: Option<Arc<T>>,
    /// To be told of whatever the origin sends.
    pub(super) heard: Heard,
}

/// An attempt that is under way. Clones are one; it ends with the last of them.
pub(super) struct Attempt<T> {
    /// Of the attempts at one value those that began later have higher ones.
    pub(super) number: u64,
    /// What notices said before it began.
    pub(super) stamp: Stamp,
    /// When it began.
    pub(super) at: Instant,
    heard: Heard,
    done: Shared<BoxFuture<'static, Result<Arc<T>, Failure>>>,
}

// Derived, both would ask the same of T.
impl<T> Clone for Attempt<T> {
    fn clone(&self) -> Self {
        Self {
            number: self.number,
            stamp: self.stamp,
            at: self.at,
            heard: self.heard.clone(),
            done: self.done.clone(),
        }
    }
}

impl<T> fmt::Debug for Attempt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("stamp", &self.stamp)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Attempt<T> {
    pub(super) fn new(
        number: u64,
        stamp: Stamp,
        at: Instant,
        heard: Heard,
        task: AbortOnDropHandle<Result<Arc<T>, Failure>>,
    ) -> Self {
        let done = async move {
            let ended = task.await;
            ended.unwrap_or_else(|error| Err(Failure::new(away(&error.to_string()))))
        };
        Self {
            number,
            stamp,
            at,
            heard,
            done: done.boxed().shared(),
        }
    }

    /// Whether the origin has been silent for so long.
    pub(super) fn is_silent(&self, silence: Duration) -> bool {
        self.heard.is_silent(silence)
    }

    /// What it took, however long that lasts.
    pub(super) async fn end(&self) -> Result<Arc<T>, Failure> {
        self.done.clone().await
    }

    /// The same, unless the origin is silent for so long. The attempt goes on then.
    pub(super) async fn end_or_silence(&self, silence: Duration) -> Result<Arc<T>, Failure> {
        tokio::select! {
            biased;
            ended = self.end() => ended,
            () = self.heard.silence(silence) => {
                Err(Failure::new(away(&format!("nothing was heard for {silence:?}"))))
            }
        }
    }
}
