//! Runs: neighbours in a file that are missed are fetched together.
//!
//! Under the lock of the flights a window of the file is looked through: what of it is neither held nor under way is missed. Missed
//! members of a pack that lies wholly in the window become that pack, others entries of their own. Where the origin composes files and
//! the misses are many, one request for the part of the file that holds them brings all; else the sources are asked one by one.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use tokio::sync::OwnedSemaphorePermit;
use vdt_rope::{Frame, ReadContext, SourceObject};

use super::{
    Shared,
    fetch::{self, Object},
    fill::{Fill, Target},
    flight::{Follower, Registry},
    key::Identity,
    pack::{Layout, Pack, Placed, Sizes},
};
use crate::tiers::{Class, EntryMeta, Insert, Key};

/// References before the one asked for that may be asked for at the same time, so that they belong to the same run.
const BACK_MAX: usize = 16;

/// Bytes that are held and lie between missed ones are fetched again up to this.
const GAP_BYTES_MAX: u64 = 256 << 10;

/// Bytes of the read-ahead budget, given back by the last fetch that they were taken for.
type Room = Arc<OwnedSemaphorePermit>;

/// What is missed: a pack, or an object that is one entry.
enum Unit {
    Pack(Arc<Pack>),
    Single {
        at: u64,
        object: Arc<SourceObject>,
        key: Key,
    },
}

impl Unit {
    /// The half-open range of the file that its bytes lie in.
    fn span(&self) -> Range<u64> {
        match self {
            Self::Pack(pack) => pack.begin()..pack.end(),
            Self::Single { at, object, .. } => *at..at + object.size,
        }
    }

    fn references(&self) -> usize {
        match self {
            Self::Pack(pack) => pack.members.len(),
            Self::Single { .. } => 1,
        }
    }

    fn target(&self) -> Target {
        match self {
            Self::Pack(pack) => {
                let spans = pack.members.iter();
                let spans = spans.map(|member| member.at..member.at + member.object.size);
                Target::new(pack.key, Class::Pack, Some(pack_meta(pack)), spans)
            }
            Self::Single { object, key, .. } => {
                let meta = Some(Arc::new(listed_meta(object)));
                Target::new(*key, Class::Block, meta, [self.span()])
            }
        }
    }
}

fn pack_meta(pack: &Pack) -> Arc<EntryMeta> {
    Arc::new(EntryMeta {
        size: pack.bytes,
        last_modified_ms: 0,
        etag: None,
        version: None,
    })
}

/// What the origin would say of an object, as far as the listing knows.
pub(super) fn listed_meta(object: &SourceObject) -> EntryMeta {
    EntryMeta {
        size: object.size,
        last_modified_ms: object.last_modified_ms,
        etag: object
            .etag
            .as_deref()
            .map(|etag| format!("\"{etag}\"").into()),
        version: object.version.as_deref().map(Into::into),
    }
}

/// The object that a read is about, as it was listed; `None` for a key that no path can hold.
pub(super) fn listed(context: &ReadContext) -> Option<Object> {
    let object = &*context.object;
    let raw = format!("sources/{}/{}", object.source, object.key);
    let location = object_store::path::Path::parse(&raw).ok()?;
    Some(listed_at(location, context))
}

/// The same, where its path is known.
pub(super) fn listed_at(location: object_store::path::Path, context: &ReadContext) -> Object {
    let object = &*context.object;
    Object {
        location,
        class: Class::Block,
        identity: Identity::listed(object),
        meta: Arc::new(listed_meta(object)),
        if_match: object.etag.as_deref().map(Into::into),
        version: object.version.as_deref().map(Into::into),
        name: None,
        context: Some(context.clone()),
    }
}

/// A neighbour of the object that a read is about: it begins at `at` of the same file.
fn neighbour(context: &ReadContext, object: &Arc<SourceObject>, at: u64) -> ReadContext {
    ReadContext {
        at,
        object: Arc::clone(object),
        ..context.clone()
    }
}

impl Shared {
    /// The half-open window of the file to look through for a read of the byte `at`.
    fn window(&self, context: &ReadContext, frame: &Frame) -> Range<u64> {
        let at = context.at;
        let mut before = VecDeque::new();
        for (start, reference) in frame.references() {
            if start + reference.length <= context.body.start {
                continue;
            }
            if start >= at {
                break;
            }
            before.push_back(start);
            if before.len() > BACK_MAX {
                before.pop_front();
            }
        }
        let start = before.front().map_or(at, |&start| start.min(at));
        start
            ..at.saturating_add(self.options.run_bytes)
                .min(context.body.end)
    }

    /// What of the window is missed, in order. A pack that begins in the window comes whole, if it ends before `end_max`.
    fn missed(
        &self,
        registry: &Registry<'_>,
        layout: &Layout,
        window: &Range<u64>,
        end_max: u64,
    ) -> Vec<Unit> {
        let last = window.end.saturating_sub(1);
        let whole = layout.find(last).map(|(pack, _)| pack).filter(|pack| {
            pack.begin() >= window.start && pack.end() > window.end && pack.end() <= end_max
        });
        let window = window.start..whole.map_or(window.end, |pack| pack.end());
        let mut units = Vec::new();
        let mut pending: Vec<&Placed> = Vec::new();
        let mut pack: Option<&Arc<Pack>> = None;
        // Members of one pack that lie in the window, all of them.
        let mut members = 0;
        let mut close = |pending: &mut Vec<&Placed>, pack: Option<&Arc<Pack>>, members: usize| {
            match pack {
                // All of it is missed, so nothing is fetched that is held.
                Some(pack) if members == pack.members.len() && pending.len() == members => {
                    pending.clear();
                    units.push(Unit::Pack(Arc::clone(pack)));
                }
                Some(_) | None => units.extend(pending.drain(..).map(|placed| Unit::Single {
                    at: placed.at,
                    object: Arc::clone(&placed.object),
                    key: placed.key,
                })),
            }
        };
        for placed in &layout.objects {
            if placed.at >= window.end || placed.at + placed.object.size <= window.start {
                continue;
            }
            let of = layout.find(placed.at).map(|(pack, _)| pack);
            if of.map(|pack| pack.key) != pack.map(|pack| pack.key) {
                close(&mut pending, pack, members);
                (pack, members) = (of, 0);
            }
            members += 1;
            let is_there = self.is_there(registry, Class::Block, placed.key)
                || of.is_some_and(|pack| self.is_there(registry, Class::Pack, pack.key));
            if !is_there {
                pending.push(placed);
            }
        }
        close(&mut pending, pack, members);
        units
    }

    fn is_there(&self, registry: &Registry<'_>, class: Class, key: Key) -> bool {
        registry.contains(key) || self.may_hold(class, key)
    }

    /// Starts to fetch what of the neighbourhood of a read is missed, the read's object included; its follower, and where the
    /// object begins in the entry.
    pub(super) fn fetch_asked(
        self: &Arc<Self>,
        context: &ReadContext,
        frame: &Frame,
        layout: &Layout,
        key: Key,
        how: Insert,
    ) -> Option<(Follower, u64)> {
        let mut registry = self.flights.lock();
        let member = layout.find(context.at);
        let follow = |registry: &Registry<'_>| {
            let single = registry.follow(key).map(|follower| (follower, 0));
            single.or_else(|| {
                let (pack, member) = member?;
                Some((registry.follow(pack.key)?, member.offset))
            })
        };
        if let Some(found) = follow(&registry) {
            return Some(found);
        }
        let window = self.window(context, frame);
        let units = self.missed(&registry, layout, &window, context.body.end);
        let references: usize = units.iter().map(Unit::references).sum();
        if let Some(files) = &self.options.files
            && references >= self.options.run_min
        {
            for run in self.runs(units) {
                self.start_run(&mut registry, context, files, run, how, None);
            }
        } else {
            for unit in &units {
                if let Unit::Pack(pack) = unit {
                    self.start_members(&mut registry, context, pack, how, None);
                }
            }
        }
        follow(&registry)
    }

    /// Starts to fetch what of a frame is missed in the window, ahead of whoever will ask for it.
    pub(super) fn fetch_ahead(
        self: &Arc<Self>,
        context: &ReadContext,
        layout: &Layout,
        window: &Range<u64>,
        how: Insert,
        room: &Room,
    ) -> u64 {
        let mut registry = self.flights.lock();
        let end_max = if window.start < context.body.end {
            context.body.end
        } else {
            context.map.bytes()
        };
        let units = self.missed(&registry, layout, window, end_max);
        let references: usize = units.iter().map(Unit::references).sum();
        let mut bytes = 0;
        if let Some(files) = &self.options.files
            && references >= self.options.run_min
        {
            for run in self.runs(units) {
                bytes += self.start_run(&mut registry, context, files, run, how, Some(room));
            }
            return bytes;
        }
        for unit in units {
            match &unit {
                Unit::Pack(pack) => {
                    bytes += pack.bytes;
                    self.start_members(&mut registry, context, pack, how, Some(room));
                }
                Unit::Single { at, object, .. } => {
                    let Some(found) = listed(&neighbour(context, object, *at)) else {
                        continue;
                    };
                    let range = 0..object.size;
                    let mut target = unit.target();
                    target.spans = [range.clone()].into();
                    let fill = Fill::start(
                        self,
                        &mut registry,
                        found.location.clone(),
                        [target].into(),
                        how,
                    );
                    bytes += object.size;
                    let (shared, wanted, room) = (Arc::clone(self), fill.want(), Arc::clone(room));
                    self.spawn(async move {
                        let _kept = (wanted, room);
                        // The gate is never closed.
                        let _turn = shared.ahead_reads.acquire().await;
                        fetch::segment(fill, found, range).await;
                    });
                }
            }
        }
        bytes
    }

    /// Cuts missed units into requests.
    fn runs(&self, units: Vec<Unit>) -> Vec<Vec<Unit>> {
        let mut runs: Vec<Vec<Unit>> = Vec::new();
        for unit in units {
            let span = unit.span();
            let fits = runs.last().and_then(|run| {
                let (first, last) = (run.first()?.span(), run.last()?.span());
                let is_near = span.start.saturating_sub(last.end) <= GAP_BYTES_MAX;
                Some(is_near && span.end.saturating_sub(first.start) <= self.options.run_bytes)
            });
            match (fits, runs.last_mut()) {
                (Some(true), Some(run)) => run.push(unit),
                _ => runs.push(vec![unit]),
            }
        }
        runs
    }

    fn start_run(
        self: &Arc<Self>,
        registry: &mut Registry<'_>,
        context: &ReadContext,
        files: &Arc<dyn object_store::ObjectStore>,
        run: Vec<Unit>,
        how: Insert,
        room: Option<&Room>,
    ) -> u64 {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return 0;
        };
        let range = first.span().start..last.span().end;
        let targets: VecDeque<_> = run.iter().map(Unit::target).collect();
        let bytes = targets.iter().map(|target| target.flight.length()).sum();
        let mut fill = Fill::start(self, registry, (*context.file).clone(), targets, how);
        fill.is_run = true;
        // Read-ahead wants its own; what somebody asked for is wanted as long as somebody does.
        let kept = room.map(|room| (fill.want(), Arc::clone(room)));
        let (files, file, file_bytes) = (
            Arc::clone(files),
            (*context.file).clone(),
            context.map.bytes(),
        );
        self.counters.began_run();
        self.spawn(async move {
            let _kept = kept;
            fetch::run(fill, files, file, file_bytes, range).await;
        });
        bytes
    }

    fn start_members(
        self: &Arc<Self>,
        registry: &mut Registry<'_>,
        context: &ReadContext,
        pack: &Arc<Pack>,
        how: Insert,
        room: Option<&Room>,
    ) {
        let members: Option<Vec<_>> = pack
            .members
            .iter()
            .map(|member| listed(&neighbour(context, &member.object, member.at)))
            .collect();
        let Some(members) = members else {
            return;
        };
        let Some(location) = members.first().map(|member| member.location.clone()) else {
            return;
        };
        let meta = Some(pack_meta(pack));
        let target = Target::new(pack.key, Class::Pack, meta, std::iter::once(0..pack.bytes));
        let mut fill = Fill::start(self, registry, location, [target].into(), how);
        fill.is_run = true;
        let kept = room.map(|room| (fill.want(), Arc::clone(room)));
        let concurrent = self.options.concurrent_reads;
        self.spawn(async move {
            let _kept = kept;
            fetch::members(fill, members, concurrent).await;
        });
    }

    /// Reads a window of a file ahead, frame by frame, as far as the budget goes.
    pub(super) fn read_ahead(
        self: &Arc<Self>,
        context: &ReadContext,
        window: Range<u64>,
        how: Insert,
    ) {
        let units = self.budget_units(window.end - window.start);
        // Without room nothing is read ahead: those who ask are served first.
        let Ok(room) = Arc::clone(&self.ahead_budget).try_acquire_many_owned(units) else {
            return;
        };
        let room = Arc::new(room);
        let (shared, context) = (Arc::clone(self), context.clone());
        self.spawn(async move {
            let mut at = window.start;
            while at < window.end && !shared.stop.is_cancelled() {
                // Whoever asks for the frame is told what is wrong with it.
                let Ok(Some(frame)) = context.map.frame(at).await else {
                    break;
                };
                let layout = shared.layout(&context, &frame).await;
                let bytes = shared.fetch_ahead(&context, &layout, &window, how, &room);
                shared.counters.read_ahead_began(bytes);
                at = frame.covers().end.max(at + 1);
            }
        });
    }

    /// What of a frame is kept as which entry.
    pub(super) async fn layout(&self, context: &ReadContext, frame: &Frame) -> Arc<Layout> {
        let covers = frame.covers();
        if let Some(layout) = self.layouts.find(&context.file, covers.start) {
            return layout;
        }
        let options = &self.options;
        let sizes = Sizes {
            tiny_bytes: options.tiny_bytes,
            pack_bytes: options.pack_bytes,
            block_bytes: options.block_bytes,
        };
        let (mut previous, mut next) = (None, None);
        if Layout::reaches_out(frame, sizes) {
            // One that cannot be read cuts the packs at its edge, which costs a miss.
            if let Some(last) = covers.start.checked_sub(1) {
                previous = context.map.frame(last).await.ok().flatten();
            }
            next = context.map.frame(covers.end).await.ok().flatten();
        }
        let layout = Layout::of(previous.as_deref(), frame, next.as_deref(), sizes);
        let layout = Arc::new(layout);
        self.layouts.keep(&context.file, covers.start, &layout);
        layout
    }
}
