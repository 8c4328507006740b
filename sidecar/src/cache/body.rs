//! The bytes of a range of an object, block after block.
//!
//! A [`Body`] holds the block that is passed on. While that is taken the next one is got, and with it those behind it that a tier has, for a disk is
//! faster at several reads than at one after the other. All of it where there is room: what bodies hold of their next blocks is bounded for all of them
//! together, for readers may stand still. Without room the next one is got when it is needed, which costs nothing where memory has it.
//!
//! Dropping a body leaves its fetches; those that nobody else follows end.

use std::{
    collections::VecDeque,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::{
    FutureExt, Stream, StreamExt,
    future::{BoxFuture, MaybeDone},
};
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

/// Blocks that are got while another one is passed on, at most.
const NEXT_MAX: usize = 3;

/// A block that comes next, and the room that it takes until it is passed on.
struct Next {
    piece: MaybeDone<BoxFuture<'static, Result<Piece, Failure>>>,
    _room: Option<OwnedSemaphorePermit>,
}

/// See the module's documentation. After an error or the end it yields nothing more.
pub(super) struct Body {
    read: Arc<Read>,
    /// What is left, half-open.
    range: Range<u64>,
    current: Option<Part>,
    /// The block that comes next, and those that are got or held, that one first.
    block: u64,
    next: VecDeque<Next>,
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
            next: VecDeque::new(),
            runs_failed: 0,
            is_over: false,
        }
    }

    /// Gets the first block, or has it under way; what the object is, as the origin has answered.
    pub(super) async fn open(&mut self) -> ObjectResult<EntryMeta> {
        loop {
            let mut piece = self.piece(self.block).await;
            let meta = match &mut piece {
                Ok(piece) => piece.meta().await,
                Err(failure) => Err(failure.clone()),
            };
            match meta {
                Ok(meta) => {
                    self.next.push_back(Next {
                        piece: MaybeDone::Done(piece),
                        _room: None,
                    });
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

    fn piece(&self, block: u64) -> impl Future<Output = Result<Piece, Failure>> + Send + use<> {
        let (read, last, alone) = (Arc::clone(&self.read), self.last(), self.runs_failed > 0);
        async move { read.piece(block, last, alone).await }
    }

    /// Begins to get what comes next.
    fn begin_next(&mut self) {
        while self.next.len() < NEXT_MAX {
            let block = self.block + self.next.len() as u64;
            let is_first = self.next.is_empty();
            if block > self.last() || (!is_first && !self.read.may_be_held(block)) {
                return;
            }
            // The block that is needed now takes no room.
            let room = match is_first && self.current.is_none() {
                true => None,
                false => match self.read.room(block) {
                    None => return,
                    room => room,
                },
            };
            self.next.push_back(Next {
                piece: MaybeDone::Future(self.piece(block).boxed()),
                _room: room,
            });
        }
    }

    /// The block that comes next, once it is there.
    fn poll_block(&mut self, cx: &mut Context<'_>) -> Option<Result<Piece, Failure>> {
        self.begin_next();
        for next in &mut self.next {
            // What is done stays until it is taken.
            let _ = next.piece.poll_unpin(cx);
        }
        if self.current.is_some() {
            return None;
        }
        let piece = Pin::new(&mut self.next.front_mut()?.piece).take_output()?;
        self.next.pop_front();
        Some(piece)
    }

    /// After the failure of a run the object is read by itself, from where the body stands, which may mean by the run of another; else the error.
    fn failed(&mut self, failure: &Failure) -> Option<object_store::Error> {
        self.runs_failed += 1;
        self.current = None;
        self.next.clear();
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
            let block = this.poll_block(cx);
            let chunk = match &mut this.current {
                Some(Part::Held(bytes)) => match std::mem::take(bytes) {
                    bytes if bytes.is_empty() => None,
                    bytes => Some(Ok(bytes)),
                },
                Some(Part::Flying(chunks)) => ready!(chunks.poll_next_unpin(cx)),
                None => match block {
                    Some(Ok(piece)) => {
                        let span = this.read.span(this.block);
                        let end = this.range.end.min(span.end);
                        let part = this.range.start - span.start..end - span.start;
                        this.current = Some(piece.part(part, &this.read.shared.loans));
                        this.block += 1;
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
