//! The part of a body that is not in its queue yet: frames of the rope, fetched in batches.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::Result;

use super::body::Piece;
use super::compose::RopeFile;
use super::context::Frame;
use crate::segment::Segment;

/// Frames of one ranged read have at most this many bytes after decompression, unless a single one has more.
const BATCH_RAW_BYTES: u64 = 1024 * 1024;

/// The part of the rope that is not planned yet.
pub(super) struct Frames {
    /// Half-open range of the virtual file that is still to be planned.
    range: Range<u64>,
    /// Frames of that range.
    left: Range<usize>,
    fetching: Option<BoxFuture<'static, Result<Vec<Arc<Frame>>>>>,
    /// Bytes of those that are being fetched, after decompression.
    fetching_bytes: u64,
}

impl Frames {
    /// The half-open `range` of `file`, of which nothing is planned.
    pub(super) fn new(file: &RopeFile, range: Range<u64>) -> Self {
        let left = if range.is_empty() {
            0..0
        } else {
            file.known.index.frames_for(range.clone())
        };
        Self {
            range,
            left,
            fetching: None,
            fetching_bytes: 0,
        }
    }

    /// Whether all is planned.
    pub(super) fn is_exhausted(&self) -> bool {
        self.left.is_empty() && self.fetching.is_none()
    }

    /// Has the next batch fetched, a single frame where there is no room for more; false when there is none.
    pub(super) fn fetch(&mut self, file: &Arc<RopeFile>, has_room: bool) -> bool {
        if self.fetching.is_some() {
            return true;
        }
        if self.left.is_empty() {
            return false;
        }
        let bytes_max = if has_room { BATCH_RAW_BYTES } else { 0 };
        let mut batch = self.left.start..self.left.start;
        for frame in &file.known.index.frames()[self.left.clone()] {
            let bytes = self.fetching_bytes + u64::from(frame.raw_bytes);
            if bytes > bytes_max && !batch.is_empty() {
                break;
            }
            self.fetching_bytes = bytes;
            batch.end += 1;
        }
        self.left.start = batch.end;
        let file = Arc::clone(file);
        self.fetching = Some(async move { file.frames(batch).await }.boxed());
        true
    }

    /// The batch that is being fetched.
    pub(super) fn poll_fetched(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<Arc<Frame>>>> {
        let Some(fetching) = &mut self.fetching else {
            return Poll::Pending;
        };
        let fetched = ready!(fetching.poll_unpin(cx));
        self.stop_fetching();
        Poll::Ready(fetched)
    }

    /// Bytes that are being fetched, after decompression.
    pub(super) fn fetching_bytes(&self) -> u64 {
        self.fetching_bytes
    }

    /// Lets go of what is being fetched.
    pub(super) fn stop_fetching(&mut self) {
        (self.fetching, self.fetching_bytes) = (None, 0);
    }

    /// Appends the segments of a frame, as far as they lie in the range, and returns the bytes of the literals among them.
    /// References that continue each other become one read.
    pub(super) fn enqueue(&mut self, frame: &Frame, queue: &mut VecDeque<Piece>) -> u64 {
        let mut literals = 0;
        for (at, segment) in frame.segments() {
            let length = segment.len();
            let cut = self.range.start.clamp(at, at + length) - at
                ..self.range.end.clamp(at, at + length) - at;
            if cut.is_empty() {
                continue;
            }
            let at = at + cut.start;
            let segment = if cut == (0..length) {
                segment.clone()
            } else {
                segment.slice(cut)
            };
            match (segment, queue.back_mut()) {
                (Segment::Reference(next), Some(Piece::Waiting(_, last)))
                    if last.is_continued_by(&next) =>
                {
                    last.length += next.length;
                }
                (Segment::Reference(reference), _) => {
                    queue.push_back(Piece::Waiting(at, reference))
                }
                (Segment::Literal(bytes), _) => {
                    literals += bytes.len() as u64;
                    queue.push_back(Piece::Literal(bytes));
                }
                (Segment::Zeros(length), _) => queue.push_back(Piece::Zeros(length)),
            }
        }
        literals
    }
}
