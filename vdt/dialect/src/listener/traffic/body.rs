//! Bodies that keep their request open, and over HTTP/2 have a clock of their own.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::RequestGuard;
use crate::listener::limits::PROGRESS_BYTES;

/// Numbers bodies. One for the process: they need be unique only within a connection.
static BODIES: AtomicU64 = AtomicU64::new(0);

/// A response's body that keeps its request open until it ends.
#[derive(Debug)]
pub(in crate::listener) struct Tracked<B> {
    inner: B,
    request: RequestGuard,
    /// What of the last piece is not handed on yet; always empty over HTTP/1.1.
    rest: Bytes,
}

impl<B> Tracked<B> {
    pub(in crate::listener) fn new(inner: B, mut request: RequestGuard) -> Self {
        request.watch_body(BODIES.fetch_add(1, Ordering::Relaxed));
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
        this.request.waits(false);
        if this.rest.is_empty() {
            let frame = std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => this.rest = this.request.give(data),
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let piece = if this.request.body.is_some() {
            let length = usize::try_from(PROGRESS_BYTES).unwrap_or(usize::MAX);
            this.rest.split_to(length.min(this.rest.len()))
        } else {
            std::mem::take(&mut this.rest)
        };
        this.request.waits(true);
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
