//! Reading an object: block by block, from the tiers, from a fetch that is under way, or from one that is begun.
//!
//! [`Body`] holds the block that is passed on and at most the next one. Dropping it leaves its fetches; those that nobody else follows
//! end.

use std::{
    ops::Range,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use object_store::Result as ObjectResult;
use vdt_rope::ReadContext;

use super::{
    Shared,
    error::Failure,
    fetch::{self, Object},
    fill::{Fill, Target},
    flight::given_up,
    piece::{Piece, part_of},
};
use crate::tiers::{Class, Entry, Insert, Key, Tier};

/// So many runs may fail a reader: the first one that its object is fetched by, and those of others that it joins when it reads the object by
/// itself. The last failure is told then; more would make a reader of an origin that fails wait for one run after another.
pub(super) const RUNS_FAILED_MAX: u32 = 4;

/// A read of an object.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) shared: Arc<Shared>,
    pub(super) object: Object,
    /// What it is for; source objects only.
    pub(super) context: Option<ReadContext>,
    pub(super) how: Insert,
    /// Blocks before this one were asked for by this very read, or lie before it: to wait for them is to join nobody.
    pub(super) begun: AtomicU64,
}

impl Read {
    pub(super) fn block_of(&self, at: u64) -> u64 {
        at / self.shared.options.block_bytes
    }

    /// The bytes of a block, half-open.
    fn span(&self, block: u64) -> Range<u64> {
        let start = block * self.shared.options.block_bytes;
        start
            ..self
                .object
                .meta
                .size
                .min(start + self.shared.options.block_bytes)
    }

    /// A block; `last` is the last one that this read wants. `alone`: not by a run.
    pub(super) async fn piece(&self, block: u64, last: u64, alone: bool) -> Result<Piece, Failure> {
        match &self.context {
            Some(context) if self.object.meta.size <= self.shared.options.block_bytes && !alone => {
                self.neighbour(context).await
            }
            _ => self.block(block, last).await,
        }
    }

    /// An entry of a tier, if it has the length that it should have: two objects may share an ETag.
    async fn find(&self, class: Class, key: Key, length: u64) -> Option<(Entry, Tier)> {
        let found = self.shared.tiers.get_for(class, key, self.how).await;
        found.filter(|(entry, _)| entry.bytes.len() as u64 == length)
    }

    /// The same of memory only.
    fn find_now(&self, class: Class, key: Key, length: u64) -> Option<Entry> {
        let found = self.shared.tiers.get_memory(class, key);
        found.filter(|entry| entry.bytes.len() as u64 == length)
    }

    fn held(&self, class: Class, entry: Entry, tier: Tier) -> Piece {
        self.shared.counters.hit(class, tier);
        Piece::Held(Arc::new(entry.meta), entry.bytes)
    }

    /// A block of an entry of its own. Missing ones behind it, up to `last`, come with the same request.
    async fn block(&self, block: u64, last: u64) -> Result<Piece, Failure> {
        let (shared, object) = (&self.shared, &self.object);
        let block_bytes = shared.options.block_bytes;
        let (class, key_of) = (object.class, |block| {
            object.identity.block_key(block_bytes, block)
        });
        let key = key_of(block);
        let length = self.span(block).end - self.span(block).start;
        if let Some((entry, tier)) = self.find(class, key, length).await {
            return Ok(self.held(class, entry, tier));
        }
        let (fill, range, follower) = {
            let mut registry = shared.flights.lock();
            if let Some(follower) = registry.follow(key) {
                if block >= self.begun.load(Relaxed) {
                    shared.counters.joined();
                }
                return Ok(Piece::Flying(follower, 0));
            }
            // It may have become resident since.
            if let Some(entry) = self.find_now(class, key, length) {
                return Ok(self.held(class, entry, Tier::Memory));
            }
            let end = (last + 1).min(block.saturating_add(shared.options.segment_blocks));
            let behind = (block + 1..end).take_while(|&next| {
                let key = key_of(next);
                !registry.contains(key) && !shared.may_hold(class, key)
            });
            let blocks = block..block + 1 + behind.count() as u64;
            let targets = blocks
                .clone()
                .map(|block| Target::new(key_of(block), class, None, [self.span(block)]));
            let fill = Fill::start(
                shared,
                &mut registry,
                object.location.clone(),
                targets.collect(),
                self.how,
            );
            self.begun.store(blocks.end, Relaxed);
            let range = self.span(blocks.start).start..self.span(blocks.end - 1).end;
            let Some(follower) = registry.follow(key) else {
                return Err(given_up(&object.location));
            };
            (fill, range, follower)
        };
        shared.counters.miss(class);
        shared.spawn(fetch::segment(fill, object.clone(), range));
        Ok(Piece::Flying(follower, 0))
    }

    /// A small object in a file: by itself, in a pack, or in a run of its neighbours.
    async fn neighbour(&self, context: &ReadContext) -> Result<Piece, Failure> {
        let (shared, object) = (&self.shared, &self.object);
        let block_bytes = shared.options.block_bytes;
        let key = object.identity.block_key(block_bytes, 0);
        let is_tiny = object.meta.size < shared.options.tiny_bytes;
        if !is_tiny && shared.options.files.is_none() {
            // Nobody composes a run, and there are no packs of these.
            return self.block(0, 0).await;
        }
        if !is_tiny {
            if let Some((entry, tier)) = self.find(Class::Block, key, object.meta.size).await {
                return Ok(self.held(Class::Block, entry, tier));
            }
        } else if self.how == Insert::Resident
            && let Some(entry) = self.find_now(Class::Block, key, object.meta.size)
        {
            return Ok(self.held(Class::Block, entry, Tier::Memory));
        }
        // A frame that cannot be read again is no reason to fail: the object is read by itself.
        let Ok(Some(frame)) = context.map.frame(context.at).await else {
            return self.block(0, 0).await;
        };
        let layout = shared.layout(context, &frame).await;
        if is_tiny && let Some(piece) = self.tiny(context, &layout).await {
            return Ok(piece);
        }
        let joined = shared.flights.follow(key).map(|follower| (follower, 0));
        let is_join = joined.is_some();
        let found = joined.or_else(|| shared.fetch_asked(context, &frame, &layout, key, self.how));
        match found {
            Some((follower, base)) => {
                if is_join {
                    shared.counters.joined();
                } else {
                    shared.counters.miss(Class::Block);
                }
                let meta = Arc::clone(&object.meta);
                Ok(Piece::Packed(follower, base, meta))
            }
            None => self.block(0, 0).await,
        }
    }

    /// A tiny object that is held or under way, alone or in its pack.
    async fn tiny(&self, context: &ReadContext, layout: &super::pack::Layout) -> Option<Piece> {
        let (shared, object) = (&self.shared, &self.object);
        let key = object.identity.block_key(shared.options.block_bytes, 0);
        let pack = layout
            .find(context.at)
            .filter(|(_, member)| member.object == context.object);
        let unpack = |entry: &Entry, offset: u64| {
            let start = usize::try_from(offset).ok()?;
            let end = start.checked_add(object.meta.size as usize)?;
            let bytes = (end <= entry.bytes.len()).then(|| match self.how {
                // A scan takes the neighbours as well.
                Insert::Candidate => entry.bytes.slice(start..end),
                Insert::Resident => part_of(&entry.bytes, start..end),
            })?;
            Some(Piece::Held(Arc::clone(&object.meta), bytes))
        };
        if self.how == Insert::Resident
            && let Some((pack, member)) = pack
            && let Some(entry) = shared.tiers.get_memory(Class::Pack, pack.key)
        {
            shared.counters.hit(Class::Pack, Tier::Memory);
            return unpack(&entry, member.offset);
        }
        {
            let registry = shared.flights.lock();
            if let Some(follower) = registry.follow(key) {
                shared.counters.joined();
                let meta = Arc::clone(&object.meta);
                return Some(Piece::Packed(follower, 0, meta));
            }
            if let Some((pack, member)) = pack
                && let Some(follower) = registry.follow(pack.key)
            {
                shared.counters.joined();
                let meta = Arc::clone(&object.meta);
                return Some(Piece::Packed(follower, member.offset, meta));
            }
        }
        if let Some((entry, tier)) = self.find(Class::Block, key, object.meta.size).await {
            return Some(self.held(Class::Block, entry, tier));
        }
        let (pack, member) = pack?;
        let (entry, tier) = shared
            .tiers
            .get_for(Class::Pack, pack.key, self.how)
            .await?;
        shared.counters.hit(Class::Pack, tier);
        unpack(&entry, member.offset)
    }
}

/// The bytes of a range of an object. After an error or the end it yields nothing more.
pub(super) struct Body {
    read: Arc<Read>,
    /// What is left, half-open.
    range: Range<u64>,
    current: Option<BoxStream<'static, Result<Bytes, Failure>>>,
    /// The block that comes next, and the work to get it.
    block: u64,
    next: Option<BoxFuture<'static, Result<Piece, Failure>>>,
    ready: Option<Result<Piece, Failure>>,
    /// Runs that have failed: after the first one the object is read by itself.
    runs_failed: u32,
    is_over: bool,
}

impl Body {
    /// `first` is the block that the range begins in.
    pub(super) fn new(
        read: Arc<Read>,
        range: Range<u64>,
        first: Option<Piece>,
        runs_failed: u32,
    ) -> Self {
        let block = read.block_of(range.start);
        Self {
            read,
            range,
            current: None,
            block,
            next: None,
            ready: first.map(Ok),
            runs_failed,
            is_over: false,
        }
    }

    fn last(&self) -> u64 {
        self.read.block_of(self.range.end - 1)
    }

    fn begin_next(&mut self) {
        if self.next.is_none() && self.ready.is_none() && self.block <= self.last() {
            let (read, block, last, alone) = (
                Arc::clone(&self.read),
                self.block,
                self.last(),
                self.runs_failed > 0,
            );
            self.next = Some(async move { read.piece(block, last, alone).await }.boxed());
        }
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
        if failure.is_of_run && self.runs_failed < RUNS_FAILED_MAX {
            (self.current, self.next, self.ready) = (None, None, None);
            self.block = self.read.block_of(self.range.start);
            return None;
        }
        self.is_over = true;
        (self.current, self.next, self.ready) = (None, None, None);
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
            if let Some(current) = &mut this.current {
                match ready!(current.poll_next_unpin(cx)) {
                    Some(Ok(chunk)) => {
                        let bytes = chunk.len() as u64;
                        this.range.start += bytes;
                        this.read.shared.counters.served.fetch_add(bytes, Relaxed);
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                    Some(Err(failure)) => {
                        if let Some(error) = this.failed(&failure) {
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                    None => this.current = None,
                }
                continue;
            }
            match this.ready.take() {
                Some(Ok(piece)) => {
                    let span = this.read.span(this.block);
                    let range =
                        this.range.start - span.start..this.range.end.min(span.end) - span.start;
                    this.current = Some(piece.into_stream(range));
                    this.block += 1;
                }
                Some(Err(failure)) => {
                    if let Some(error) = this.failed(&failure) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                None => return Poll::Pending,
            }
        }
    }
}
