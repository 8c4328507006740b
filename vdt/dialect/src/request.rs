//! What every dialect does with a request's body: read a little of it, use none of it.

use std::time::Duration;

use http_body_util::BodyExt;

/// Bytes of an unwanted body that are read before the refusal is sent. A client that is still sending when the connection
/// closes may never see the answer; a small upload, such as a commit, fits. More is not worth a reader's time.
const DRAIN_BYTES_MAX: u64 = 1024 * 1024;

/// Time for the same.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

/// Reads and forgets a request's body, within bounds.
pub(crate) async fn drain<B: http_body::Body<Data = bytes::Bytes>>(body: B) {
    if body.is_end_stream() {
        return;
    }
    let mut body = std::pin::pin!(body);
    let mut left = DRAIN_BYTES_MAX;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // A client too slow to finish gets its answer now.
    let _ = tokio::time::timeout(DRAIN_TIME_MAX, reading).await;
}
