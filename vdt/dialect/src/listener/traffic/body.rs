//! Bodies that keep their request open, and over HTTP/2 are cut into pieces, of which their clocks are told.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::RequestGuard;
use crate::listener::limits::PROGRESS_BYTES;

/// A response's body that keeps its request open until it ends.
#[derive(Debug)]
pub(in crate::listener) struct Tracked<B> {
    inner: B,
    request: RequestGuard,
    /// What of the last piece is not handed on yet; always empty over HTTP/1.1.
    rest: Bytes,
}

impl<B> Tracked<B> {
    pub(in crate::listener) fn new(inner: B, request: RequestGuard) -> Self {
        Self {
            inner,
            request,
            rest: Bytes::new(),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            let frame = std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => this.rest = this.request.give(data),
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let piece = if this.request.cuts() {
            let length = usize::try_from(PROGRESS_BYTES).unwrap_or(usize::MAX);
            let piece = this.rest.split_to(length.min(this.rest.len()));
            this.request.hand(piece)
        } else {
            std::mem::take(&mut this.rest)
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.inner.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(exact) = hint.exact() {
            return SizeHint::with_exact(exact + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}
