//! A body of exactly the promised length.
//!
//! Content-Length is sent before the bytes are known to exist, so the body holds the store to it: an error of the store, an early end and
//! a surplus byte are all errors of the body, on which hyper breaks the connection. The client sees a cut transfer, never a padded or short one.
//!
//! Invariant 6 is kept here: bodies stream. No more of one is held than the chunk that was awaited before a status was chosen.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::BoxStream;
use http_body::{Body, Frame, SizeHint};
use object_store::path::Path;
use sync_wrapper::SyncWrapper;

use super::failure::{Chain, is_change, is_refusal, log_change, log_refusal};

/// Why a body was cut.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the store failed in the middle of {location}")]
    Store {
        location: Path,
        source: object_store::Error,
    },
    #[error("the store ended {missing} bytes short in {location}")]
    Short { location: Path, missing: u64 },
    #[error("the store gave more of {location} than was asked for")]
    Surplus { location: Path },
}

/// The bytes of one answer. Polled by hyper as the client takes them; dropped when the client leaves.
#[derive(Debug)]
pub(crate) struct ReadBody {
    location: Path,
    first: Bytes,
    chunks: Option<SyncWrapper<BoxStream<'static, object_store::Result<Bytes>>>>,
    /// Bytes still owed to the client.
    remaining: u64,
}

impl ReadBody {
    /// The body of a HEAD.
    pub(crate) fn empty() -> Self {
        Self {
            location: Path::default(),
            first: Bytes::new(),
            chunks: None,
            remaining: 0,
        }
    }

    /// `length` bytes: those of `first`, then of `chunks`.
    pub(crate) fn new(
        location: Path,
        first: Bytes,
        chunks: BoxStream<'static, object_store::Result<Bytes>>,
        length: u64,
    ) -> Self {
        Self {
            location,
            first,
            chunks: Some(SyncWrapper::new(chunks)),
            remaining: length,
        }
    }

    fn next_chunk(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, object_store::Error>>> {
        if !self.first.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.first))));
        }
        match &mut self.chunks {
            Some(chunks) => chunks.get_mut().as_mut().poll_next(cx),
            None => Poll::Ready(None),
        }
    }

    /// Ends the body with an error; nothing is read any more.
    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.chunks = None;
        self.remaining = 0;
        match &error {
            BodyError::Store { source, .. } if is_change(source) => {
                log_change(&self.location, &error);
            }
            BodyError::Store { source, .. } if is_refusal(source) => {
                log_refusal(&self.location, &error);
            }
            _ => {
                tracing::error!(
                    location = %self.location,
                    error = %Chain(&error),
                    "body cut"
                );
            }
        }
        Poll::Ready(Some(Err(error)))
    }
}

impl Body for ReadBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.remaining == 0 {
            this.chunks = None;
            return Poll::Ready(None);
        }
        loop {
            let chunk = match this.next_chunk(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    let missing = this.remaining;
                    return this.fail(BodyError::Short {
                        location: this.location.clone(),
                        missing,
                    });
                }
                Poll::Ready(Some(Err(source))) => {
                    return this.fail(BodyError::Store {
                        location: this.location.clone(),
                        source,
                    });
                }
                Poll::Ready(Some(Ok(chunk))) => chunk,
            };
            if chunk.is_empty() {
                continue;
            }
            return match this.remaining.checked_sub(chunk.len() as u64) {
                None => this.fail(BodyError::Surplus {
                    location: this.location.clone(),
                }),
                Some(remaining) => {
                    this.remaining = remaining;
                    Poll::Ready(Some(Ok(Frame::data(chunk))))
                }
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}
