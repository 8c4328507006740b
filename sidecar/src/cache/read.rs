//! Reading an object block by block: from the tiers, from a fetch that is under way, or from one that is begun.

use std::{
    iter,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::sync::OwnedSemaphorePermit;
use vdt_rope::ReadContext;

use super::{
    Shared, budget_units,
    error::Failure,
    fetch,
    fill::{Fill, Order, Target},
    object::Object,
    pack::Layout,
    piece::Piece,
};
use crate::tiers::{Class, Entry, Insert, Key, Tier};

/// A read of an object.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) shared: Arc<Shared>,
    pub(super) object: Object,
    pub(super) how: Insert,
    /// Blocks before this one were asked for by this very read, or lie before it: to wait for them is to join nobody.
    pub(super) begun: AtomicU64,
}

impl Read {
    pub(super) fn new(shared: &Arc<Shared>, object: Object, how: Insert) -> Self {
        Self {
            shared: Arc::clone(shared),
            object,
            how,
            begun: AtomicU64::new(0),
        }
    }

    fn block_bytes(&self) -> u64 {
        self.shared.options.block_bytes_of(self.object.size)
    }

    fn key_of(&self, block: u64) -> Key {
        self.object.identity.block_key(self.block_bytes(), block)
    }

    pub(super) fn block_of(&self, at: u64) -> u64 {
        at / self.block_bytes()
    }

    /// The bytes of a block, half-open.
    pub(super) fn span(&self, block: u64) -> Range<u64> {
        let start = block * self.block_bytes();
        start..self.object.size.min(start + self.block_bytes())
    }

    /// Room for a block that is held before it is passed on.
    pub(super) fn room(&self, block: u64) -> Option<OwnedSemaphorePermit> {
        let span = self.span(block);
        let units = budget_units(span.end - span.start);
        let overlap = Arc::clone(&self.shared.overlap_budget);
        overlap.try_acquire_many_owned(units).ok()
    }

    /// Whether a block seems to be held.
    pub(super) fn may_be_held(&self, block: u64) -> bool {
        self.shared.may_hold(self.object.class, self.key_of(block))
    }

    /// A block; `last` is the last one that this read wants. `alone`: not by a run.
    pub(super) async fn piece(&self, block: u64, last: u64, alone: bool) -> Result<Piece, Failure> {
        match self.object.context() {
            Some(context) if self.object.size <= self.shared.options.whole_bytes && !alone => {
                self.neighbour(context).await
            }
            _ => self.block(block, last).await,
        }
    }

    /// An entry of a tier, if it is of this object.
    async fn find(&self, class: Class, key: Key, length: u64) -> Option<(Entry, Tier)> {
        let found = self.shared.tiers.get_for(class, key, self.how).await;
        found.filter(|(entry, _)| self.is_of_object(entry, length))
    }

    /// The same of memory only.
    fn find_now(&self, class: Class, key: Key, length: u64) -> Option<Entry> {
        let found = self.shared.tiers.get_memory(class, key);
        found.filter(|entry| self.is_of_object(entry, length))
    }

    /// Whether an entry has the sizes that it should have: two objects may share an ETag.
    fn is_of_object(&self, entry: &Entry, length: u64) -> bool {
        entry.meta.size == self.object.size && entry.bytes.len() as u64 == length
    }

    fn held(&self, class: Class, key: Key, entry: Entry, tier: Tier) -> Piece {
        self.hit(class, key, tier);
        Piece::Held(entry.meta, entry.bytes)
    }

    /// `key` is that of the object's block, whichever entry it was found in.
    fn hit(&self, class: Class, key: Key, tier: Tier) {
        match self.shared.unasked.is_first(key) {
            true => self.shared.counters.miss(class),
            false => self.shared.counters.hit(class, tier),
        }
    }

    /// Whoever asks next is not the first, whatever became of it when it was asked for without a reader.
    fn missed(&self, class: Class, key: Key) {
        self.shared.unasked.is_first(key);
        self.shared.counters.miss(class);
    }

    /// What was begun by this very read is missed too: nobody has asked for it before.
    fn joined(&self, class: Class, key: Key) {
        if self.shared.unasked.is_first(key) {
            self.shared.counters.miss(class);
        } else {
            self.shared.counters.joins.inc();
        }
    }

    /// A block of an entry of its own. Missing ones behind it, up to `last`, come with the same request.
    async fn block(&self, block: u64, last: u64) -> Result<Piece, Failure> {
        let (shared, object) = (&self.shared, &self.object);
        let (class, key) = (object.class, self.key_of(block));
        let length = self.span(block).end - self.span(block).start;
        if let Some((entry, tier)) = self.find(class, key, length).await {
            return Ok(self.held(class, key, entry, tier));
        }
        let (fill, range, follower) = {
            let mut registry = shared.flights.lock();
            if let Some(follower) = registry.follow(key, object.size) {
                if block >= self.begun.load(Relaxed) {
                    self.joined(class, key);
                }
                return Ok(Piece::Flying(follower));
            }
            // It may have become resident since.
            if let Some(entry) = self.find_now(class, key, length) {
                return Ok(self.held(class, key, entry, Tier::Memory));
            }
            let end = (last + 1).min(block.saturating_add(shared.options.segment_blocks));
            let behind = (block + 1..end).take_while(|&next| {
                let key = self.key_of(next);
                !registry.contains(key) && !shared.may_hold(class, key)
            });
            let blocks = block..block + 1 + behind.count() as u64;
            let target = |block| {
                let span = [self.span(block)];
                Target::new(self.key_of(block), class, object.size, None, span)
            };
            let order = Order::of(shared, &object.location, self.how);
            let asked = target(block);
            // Not by its key, which may have a flight of another object.
            let follower = order.interest.follow(&asked.flight);
            let behind = (block + 1..blocks.end).map(target);
            let targets = iter::once(asked).chain(behind).collect();
            let fill = Fill::start(shared, &mut registry, order, targets);
            self.begun.store(blocks.end, Relaxed);
            let range = self.span(blocks.start).start..self.span(blocks.end - 1).end;
            (fill, range, follower)
        };
        self.missed(class, key);
        shared.spawn(fetch::segment(fill, object.clone(), range));
        Ok(Piece::Flying(follower))
    }

    /// A small object in a file: by itself, in a pack, or in a run of its neighbours.
    async fn neighbour(&self, context: &ReadContext) -> Result<Piece, Failure> {
        let (shared, object) = (&self.shared, &self.object);
        let is_tiny = object.size < shared.options.tiny_bytes;
        if !is_tiny && shared.options.files.is_none() {
            // Nobody composes a run, and there are no packs of these.
            return self.block(0, 0).await;
        }
        let key = self.key_of(0);
        if !is_tiny {
            if let Some((entry, tier)) = self.find(Class::Block, key, object.size).await {
                return Ok(self.held(Class::Block, key, entry, tier));
            }
        } else if self.how == Insert::Resident
            && let Some(entry) = self.find_now(Class::Block, key, object.size)
        {
            return Ok(self.held(Class::Block, key, entry, Tier::Memory));
        }
        // A frame that cannot be read again is no reason to fail: the object is read by itself.
        let Ok(Some(frame)) = context.map.frame(context.at).await else {
            return self.block(0, 0).await;
        };
        let layout = shared.layout(context, &frame).await;
        if is_tiny && let Some(piece) = self.tiny(context, &layout, key).await {
            return Ok(piece);
        }
        match shared.fetch_asked(context, &frame, &layout, (key, object.size), self.how) {
            Some(followed) => {
                self.joined(followed.class, key);
                let (follower, base) = (followed.follower, followed.base);
                Ok(Piece::Packed(follower, base, object.meta()))
            }
            None => self.block(0, 0).await,
        }
    }

    /// A tiny object that is held or under way, alone or in its pack.
    async fn tiny(&self, context: &ReadContext, layout: &Layout, key: Key) -> Option<Piece> {
        let (shared, object) = (&self.shared, &self.object);
        let pack = layout
            .find(context.at)
            .filter(|(_, member)| member.object == context.object);
        let unpack = |entry: &Entry, offset: u64| {
            let start = usize::try_from(offset).ok()?;
            let end = start.checked_add(object.size as usize)?;
            let is_whole = end <= entry.bytes.len();
            let part = || shared.loans.part_of(&entry.bytes, start..end);
            is_whole.then(|| Piece::Held(object.meta(), part()))
        };
        if self.how == Insert::Resident
            && let Some((pack, member)) = pack
            && let Some(entry) = shared.tiers.get_memory(Class::Pack, pack.key)
        {
            self.hit(Class::Pack, key, Tier::Memory);
            return unpack(&entry, member.offset);
        }
        {
            let registry = shared.flights.lock();
            if let Some(follower) = registry.follow(key, object.size) {
                self.joined(Class::Block, key);
                return Some(Piece::Packed(follower, 0, object.meta()));
            }
            if let Some((pack, member)) = pack
                && let Some(follower) = registry.follow(pack.key, pack.bytes)
            {
                self.joined(Class::Pack, key);
                return Some(Piece::Packed(follower, member.offset, object.meta()));
            }
        }
        if let Some((entry, tier)) = self.find(Class::Block, key, object.size).await {
            return Some(self.held(Class::Block, key, entry, tier));
        }
        let (pack, member) = pack?;
        let (entry, tier) = shared
            .tiers
            .get_for(Class::Pack, pack.key, self.how)
            .await?;
        self.hit(Class::Pack, key, tier);
        unpack(&entry, member.offset)
    }
}
