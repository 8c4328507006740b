//! The bytes of a range of an object, block after block.
//!
//! A [`Body`] holds the block that is passed on. While that is taken the next one is got, where there is room for it: what bodies hold of their next
//! blocks is bounded for all of them together, for readers may stand still. Without room the next one is got when it is needed, which costs nothing
//! where memory has it.
//!
//! Dropping a body leaves its fetches; those that nobody else follows end.

use std::{
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt, future::BoxFuture};
use object_store::Result as ObjectResult;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    error::Failure,
    piece::{Part, Piece},
    read::Read,
};
use crate::tiers::EntryMeta;

/// So many runs may fail a reader: the first one that its object is fetched by, and those of others that it joins when it reads the object by
/// itself. The last failure is told then; more would make a reader of an origin that fails wait for one run after another.
const RUNS_FAILED_MAX: u32 = 4;

/// See the module's documentation. After an error or the end it yields nothing more.
pub(super) struct Body {
    read: Arc<Read>,
    /// What is left, half-open.
    range: Range<u64>,
    current: Option<Part>,
    /// The block that comes next, the work to get it, and the room that it takes meanwhile.
    block: u64,
    next: Option<BoxFuture<'static, Result<Piece, Failure>>>,
    ready: Option<Result<Piece, Failure>>,
    room: Option<OwnedSemaphorePermit>,
    /// Runs that have failed: after the first one the object is read by itself.
    runs_failed: u32,
    is_over: bool,
}

impl Body {
    /// The bytes of `range`, of which there are some.
    pub(super) fn new(read: Read, range: Range<u64>) -> Self {
        Self {
            block: read.block_of(range.start),
            read: Arc::new(read),
            range,
            current: None,
            next: None,
            ready: None,
            room: None,
            runs_failed: 0,
            is_over: false,
        }
    }

    /// Gets the first block, or has it under way; what the object is, as the origin has answered.
    pub(super) async fn open(&mut self) -> ObjectResult<EntryMeta> {
        loop {
            let mut piece = self.piece().await;
            let meta = match &mut piece {
                Ok(piece) => piece.meta().await,
                Err(failure) => Err(failure.clone()),
            };
            match meta {
                Ok(meta) => {
                    self.ready = Some(piece);
                    return Ok(meta);
                }
                Err(failure) => match self.failed(&failure) {
                    Some(error) => return Err(error),
                    None => continue,
                },
            }
        }
    }

    fn last(&self) -> u64 {
        self.read.block_of(self.range.end - 1)
    }

    /// The block that comes next.
    fn piece(&self) -> impl Future<Output = Result<Piece, Failure>> + Send + use<> {
        let (read, block, last, alone) = (
            Arc::clone(&self.read),
            self.block,
            self.last(),
            self.runs_failed > 0,
        );
        async move { read.piece(block, last, alone).await }
    }

    fn begin_next(&mut self) {
        if self.next.is_some() || self.ready.is_some() || self.block > self.last() {
            return;
        }
        // The block that is needed now takes no room.
        if self.current.is_some() {
            self.room = self.read.room(self.block);
            if self.room.is_none() {
                return;
            }
        }
        self.next = Some(self.piece().boxed());
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) {
        self.begin_next();
        if let Some(next) = &mut self.next
            && let Poll::Ready(piece) = next.poll_unpin(cx)
        {
            (self.next, self.ready) = (None, Some(piece));
        }
    }

    /// After the failure of a run the object is read by itself, from where the body stands, which may mean by the run of another; else the error.
    fn failed(&mut self, failure: &Failure) -> Option<object_store::Error> {
        self.runs_failed += 1;
        (self.current, self.next, self.ready, self.room) = (None, None, None, None);
        if failure.is_of_run && self.runs_failed < RUNS_FAILED_MAX {
            self.block = self.read.block_of(self.range.start);
            return None;
        }
        self.is_over = true;
        Some(failure.share())
    }
}

impl Stream for Body {
    type Item = ObjectResult<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.is_over || this.range.is_empty() {
                return Poll::Ready(None);
            }
            this.poll_ready(cx);
            let chunk = match &mut this.current {
                Some(Part::Held(bytes)) => match std::mem::take(bytes) {
                    bytes if bytes.is_empty() => None,
                    bytes => Some(Ok(bytes)),
                },
                Some(Part::Flying(chunks)) => ready!(chunks.poll_next_unpin(cx)),
                None => match this.ready.take() {
                    Some(Ok(piece)) => {
                        let span = this.read.span(this.block);
                        let end = this.range.end.min(span.end);
                        let part = this.range.start - span.start..end - span.start;
                        this.current = Some(piece.part(part, &this.read.shared.loans));
                        this.block += 1;
                        this.room = None;
                        continue;
                    }
                    Some(Err(failure)) => Some(Err(failure)),
                    None => return Poll::Pending,
                },
            };
            match chunk {
                Some(Ok(chunk)) => {
                    let bytes = chunk.len() as u64;
                    this.range.start += bytes;
                    this.read.shared.counters.served.inc_by(bytes);
                    return Poll::Ready(Some(Ok(chunk)));
                }
                Some(Err(failure)) => {
                    if let Some(error) = this.failed(&failure) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                None => this.current = None,
            }
        }
    }
}
