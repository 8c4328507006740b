//! Sockets whose traffic is watched.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Traffic;
use crate::listener::limits::PROGRESS_BYTES;

/// A socket that tells [`Traffic`] what goes over it.
#[derive(Debug)]
pub(in crate::listener) struct Watched<IO> {
    inner: IO,
    traffic: Arc<Traffic>,
    /// A byte that was read to see what the client speaks.
    first: Option<u8>,
    /// Bytes taken since the last progress.
    taken: u64,
}

impl<IO> Watched<IO> {
    pub(in crate::listener) fn new(inner: IO, traffic: Arc<Traffic>) -> Self {
        Self {
            inner,
            traffic,
            first: None,
            taken: 0,
        }
    }

    /// Gives a byte back to whoever reads next.
    pub(in crate::listener) fn unread(&mut self, byte: u8) {
        self.first = Some(byte);
    }

    fn wrote(&mut self, polled: &Poll<io::Result<usize>>) {
        match polled {
            Poll::Pending => self.traffic.stalled(),
            Poll::Ready(Ok(bytes)) => {
                self.taken = self.taken.saturating_add(*bytes as u64);
                let enough = self.taken >= PROGRESS_BYTES;
                if enough {
                    self.taken = 0;
                }
                self.traffic.resumed(enough);
            }
            Poll::Ready(Err(_)) => {}
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buffer.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.traffic.read();
        }
        polled
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.wrote(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.wrote(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
