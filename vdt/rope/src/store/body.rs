//! The body of a GET: segments become bytes, in order, with bounded read-ahead.
//!
//! The body is a queue of pieces. Literals wait in it as they are; references are read, at most
//! [`concurrent_reads`](super::RopeStoreOptions::concurrent_reads) at a time, and only those that begin less than
//! [`read_ahead_bytes`](super::RopeStoreOptions::read_ahead_bytes) ahead. The read at the front passes its chunks on as
//! they come; those behind it buffer theirs, together no more than the same number of bytes and one chunk. Frames of the
//! rope are read in batches, one batch ahead. So memory depends neither on the size of an artifact nor on their number,
//! and with what all bodies may hold together ([`Share`]) it does not grow with that of readers who take nothing either.
//! What is next to be passed on is read whatever others hold, so no body waits for another.
//!
//! Everything happens inside `poll_next`: no task is spawned, and dropping the body cancels all it has in flight.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use object_store::{Error, Result};

use super::budget::Share;
use super::compose::RopeFile;
use super::context::ReadContext;
use super::frames::Frames;
use super::read::Read;
use crate::segment::Reference;

/// Zeros are passed on in chunks of this.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// A stream of exactly the bytes of a range. After an error or the end it yields nothing more, however often it is polled.
pub(super) struct Body {
    file: Arc<RopeFile>,
    /// The half-open range of the virtual file that was asked for.
    asked: Range<u64>,
    concurrent_reads: usize,
    read_ahead_bytes: u64,
    frames: Frames,
    /// Pieces that are not passed on yet.
    queue: VecDeque<Piece>,
    /// Number of the piece at the front of the queue, counted from the first of the body.
    front: u64,
    /// Pieces of the queue that are started: ready, or being read.
    started: usize,
    /// Bytes of the started pieces that are not passed on yet.
    ahead: u64,
    /// Numbers of the pieces whose reads want to be polled, in order.
    active: VecDeque<u64>,
    /// Bytes buffered by reads.
    buffered: u64,
    /// Bytes of the literals in the queue, started or not.
    literals: u64,
    /// Bytes of the references that are started which are not passed on yet.
    reading: u64,
    /// What of all that counts against the other bodies.
    share: Share,
    /// The first reads, which [`Body::poll_primed`] waits for, have numbers below this.
    first_wave: Option<u64>,
    is_over: bool,
}

/// What a segment, or several of them, has become in the queue.
pub(super) enum Piece {
    Literal(Bytes),
    Zeros(u64),
    /// A reference, and where in the virtual file it begins.
    Waiting(u64, Reference),
    Reading(Box<Read>),
}

impl Body {
    pub(super) fn new(file: Arc<RopeFile>, range: Range<u64>) -> Self {
        let options = &file.reader.shared.options;
        let (concurrent_reads, read_ahead_bytes) = (
            options.concurrent_reads.max(1),
            options.read_ahead_bytes.max(1),
        );
        let frames = Frames::new(&file, range.clone());
        let share = Share::new(&file.reader.shared.budget);
        Self {
            file,
            asked: range,
            concurrent_reads,
            read_ahead_bytes,
            frames,
            queue: VecDeque::new(),
            front: 0,
            started: 0,
            ahead: 0,
            active: VecDeque::new(),
            buffered: 0,
            literals: 0,
            reading: 0,
            share,
            first_wave: None,
            is_over: false,
        }
    }

    /// Ready once the first pieces are planned and the sources of the first reads have answered. An error of any of them
    /// comes before the first byte.
    pub(super) fn poll_primed(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let Err(error) = self.drive(cx) {
            self.is_over = true;
            return Poll::Ready(Err(error));
        }
        if self.queue.is_empty() && !self.frames.is_exhausted() {
            return Poll::Pending;
        }
        let end = *self
            .first_wave
            .get_or_insert(self.front + self.started as u64);
        let wave = usize::try_from(end - self.front).unwrap_or(usize::MAX);
        let mut is_waiting = false;
        for piece in self.queue.iter_mut().take(wave) {
            if let Piece::Reading(read) = piece {
                if let Some(error) = read.take_error() {
                    self.is_over = true;
                    return Poll::Ready(Err(error));
                }
                is_waiting |= read.is_opening();
            }
        }
        if is_waiting {
            Poll::Pending
        } else {
            Poll::Ready(Ok(()))
        }
    }

    /// Plans, starts and polls whatever may progress.
    fn drive(&mut self, cx: &mut Context<'_>) -> Result<()> {
        loop {
            self.plan(cx)?;
            self.start_reads();
            // What was started may leave too few pieces behind it.
            self.plan(cx)?;
            self.poll_reads(cx);
            if !self.may_start() {
                return Ok(());
            }
        }
    }

    /// Whether the next piece of the queue may be started: always, when it is the next to be passed on.
    fn may_start(&self) -> bool {
        self.started < self.queue.len()
            && (self.started == 0
                || (self.active.len() < self.concurrent_reads
                    && self.ahead < self.read_ahead_bytes
                    && self.share.has_room()))
    }

    /// Tells what is held behind the piece that is passed on. Reads buffer no more than may be read ahead, however long
    /// the last one of them is.
    fn update_share(&mut self) {
        let front = match self.queue.front() {
            Some(Piece::Reading(read)) => read.left(),
            Some(Piece::Literal(_) | Piece::Zeros(_) | Piece::Waiting(..)) | None => 0,
        };
        let behind = (self.reading - front).min(self.read_ahead_bytes);
        self.share
            .set(self.literals + self.frames.fetching_bytes() + behind);
    }

    /// Keeps one batch of frames more at hand than the reads need, as far as there is room for it.
    fn plan(&mut self, cx: &mut Context<'_>) -> Result<()> {
        while self.queue.len() - self.started < 2 * self.concurrent_reads {
            let has_room = self.share.has_room();
            if !has_room && !self.queue.is_empty() {
                break;
            }
            if !self.frames.fetch(&self.file, has_room) {
                break;
            }
            self.update_share();
            let Poll::Ready(frames) = self.frames.poll_fetched(cx) else {
                break;
            };
            for frame in frames? {
                self.literals += self.frames.enqueue(&frame, &mut self.queue);
            }
            self.update_share();
        }
        Ok(())
    }

    /// Starts what may be started.
    fn start_reads(&mut self) {
        while self.may_start() {
            let piece = &mut self.queue[self.started];
            let length = match piece {
                Piece::Literal(bytes) => bytes.len() as u64,
                Piece::Zeros(length) => *length,
                Piece::Waiting(at, reference) => {
                    let reference = reference.clone();
                    let length = reference.length;
                    let context = ReadContext {
                        file: Arc::clone(&self.file.reader.location),
                        at: *at,
                        object: Arc::clone(&reference.object),
                        body: self.asked.clone(),
                        map: Arc::clone(&self.file) as _,
                    };
                    let read = Read::new(&self.file.reader, reference, context);
                    *piece = Piece::Reading(Box::new(read));
                    self.active.push_back(self.front + self.started as u64);
                    self.reading += length;
                    length
                }
                Piece::Reading(_) => unreachable!("a piece is started once"),
            };
            self.ahead += length;
            self.started += 1;
            self.update_share();
        }
    }

    /// Polls the active reads, each until it is pending or the buffer is full. The one at the front is polled for one
    /// chunk whatever is buffered: it is passed on at once, and others cannot starve it.
    fn poll_reads(&mut self, cx: &mut Context<'_>) {
        let (front, read_ahead) = (self.front, self.read_ahead_bytes);
        let Self {
            queue,
            active,
            buffered,
            ..
        } = self;
        active.retain(|&number| {
            let Some(Piece::Reading(read)) = queue.get_mut((number - front) as usize) else {
                return false;
            };
            let is_front = number == front;
            while !read.is_done() {
                let may_buffer = if is_front {
                    !read.has_chunk()
                } else {
                    read.is_opening() || *buffered < read_ahead
                };
                if !may_buffer {
                    break;
                }
                match read.poll_event(cx) {
                    Poll::Ready(bytes) => *buffered += bytes,
                    Poll::Pending => break,
                }
            }
            !read.is_done()
        });
    }

    /// Drops all that is held, after a failure.
    fn release(&mut self) {
        self.queue.clear();
        self.active.clear();
        self.frames.stop_fetching();
        (self.literals, self.reading) = (0, 0);
        self.update_share();
    }

    /// The next chunk at hand.
    fn emit(&mut self) -> Emit {
        let Some(piece) = self.queue.front_mut() else {
            return if self.frames.is_exhausted() {
                Emit::End
            } else {
                Emit::Wait
            };
        };
        let (chunk, is_finished) = match piece {
            Piece::Literal(bytes) => {
                let bytes = std::mem::take(bytes);
                self.literals -= bytes.len() as u64;
                (bytes, true)
            }
            Piece::Zeros(left) => {
                let length = (*left).min(ZEROS.len() as u64);
                *left -= length;
                (Bytes::from_static(&ZEROS[..length as usize]), *left == 0)
            }
            Piece::Reading(read) => match read.pop() {
                Some(chunk) => {
                    self.buffered -= chunk.len() as u64;
                    self.reading -= chunk.len() as u64;
                    (
                        chunk,
                        read.is_done() && !read.has_failed() && !read.has_chunk(),
                    )
                }
                None => match read.take_error() {
                    Some(error) => return Emit::Fail(error),
                    None => return Emit::Wait,
                },
            },
            Piece::Waiting(..) => return Emit::Wait,
        };
        self.ahead -= chunk.len() as u64;
        if is_finished {
            self.queue.pop_front();
            self.front += 1;
            self.started -= 1;
        }
        self.update_share();
        Emit::Chunk(chunk)
    }
}

enum Emit {
    Chunk(Bytes),
    Wait,
    Fail(Error),
    End,
}

impl Stream for Body {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let this = &mut *self;
        if this.is_over {
            return Poll::Ready(None);
        }
        let driven = this.drive(cx);
        let emit = match driven {
            Ok(()) => this.emit(),
            Err(error) => Emit::Fail(error),
        };
        match emit {
            Emit::Chunk(chunk) => Poll::Ready(Some(Ok(chunk))),
            Emit::Wait => Poll::Pending,
            Emit::Fail(error) => {
                this.is_over = true;
                this.release();
                Poll::Ready(Some(Err(error)))
            }
            Emit::End => {
                this.is_over = true;
                Poll::Ready(None)
            }
        }
    }
}
