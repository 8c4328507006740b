//! What every dialect does with a request's body: read a little of it, use none of it.

use std::time::Duration;

use futures::poll;
use http_body_util::BodyExt;
use tokio::sync::Semaphore;

/// Bytes of an unwanted body that are read before the refusal is sent. A client that is still sending when the connection
/// closes may never see the answer; a small upload, such as a commit, fits. More is not worth a reader's time.
const DRAIN_BYTES_MAX: u64 = 1024 * 1024;

/// Time for the same.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

/// Bodies that are waited for at a time. A request is one of those in flight meanwhile, and nobody has asked yet who sends it: these are 1/32 of what
/// may be in flight, so that those who promise bodies and send none keep nobody out.
const DRAINS: usize = 64;

/// Permits to wait for bodies that nobody wants.
#[derive(Debug)]
pub(crate) struct Drains {
    permits: Semaphore,
}

impl Default for Drains {
    fn default() -> Self {
        Self {
            permits: Semaphore::new(DRAINS),
        }
    }
}

impl Drains {
    /// Reads and forgets a request's body, within bounds: what has come, and what comes soon if there is a permit to wait for it. Who gets none has its
    /// answer at once.
    pub(crate) async fn drain<B: http_body::Body<Data = bytes::Bytes>>(&self, body: B) {
        if body.is_end_stream() {
            return;
        }
        let mut reading = std::pin::pin!(forget(body));
        if poll!(reading.as_mut()).is_ready() {
            return;
        }
        let Ok(_permit) = self.permits.try_acquire() else {
            return;
        };
        // A client too slow to finish gets its answer now.
        let _ = tokio::time::timeout(DRAIN_TIME_MAX, reading).await;
    }
}

async fn forget<B: http_body::Body<Data = bytes::Bytes>>(body: B) {
    let mut body = std::pin::pin!(body);
    let mut left = DRAIN_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
