//! Runs: neighbours in a file that are missed are fetched together.
//!
//! Under the lock of the flights a window of the file is looked through: what of it is neither held nor under way is missed. Missed
//! members of a pack that lies wholly in the window become that pack, others entries of their own. Where the origin composes files and
//! the misses are many, one request for the part of the file that holds them brings all; else the sources are asked one by one.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use object_store::path::Path;
use vdt_rope::{Frame, ReadContext};

use super::{
    Shared, fetch,
    fill::{Fill, Order, Target},
    flight::{Follower, Interest, Registry, Wanted},
    limits::{Limit, Room},
    object::Object,
    pack::{Layout, Pack, Placed, Sizes},
    unit::{Unit, pack_meta},
};
use crate::tiers::{Class, Insert, Key};

/// References before the one asked for that may be asked for at the same time, so that they belong to the same run.
const BACK_MAX: usize = 16;

/// Bytes that are held and lie between missed ones are fetched again up to this.
const GAP_BYTES_MAX: u64 = 256 << 10;

/// Why neighbours are fetched.
pub(super) struct Cause {
    how: Insert,
    interest: Arc<Interest>,
    /// Given back by the last fetch that it was taken for.
    room: Option<Arc<Room>>,
}

impl Cause {
    /// A read: all that it begins is wanted as long as somebody wants any of it.
    fn read(how: Insert) -> Self {
        Self {
            how,
            interest: Arc::default(),
            room: None,
        }
    }

    /// A scan, of which somebody will ask for it.
    pub(super) fn ahead(how: Insert, room: &Arc<Room>) -> Self {
        Self {
            room: Some(Arc::clone(room)),
            ..Self::read(how)
        }
    }

    pub(super) fn order(&self, location: &Path, limit: &Arc<Limit>) -> Order {
        Order {
            location: location.clone(),
            limit: Arc::clone(limit),
            interest: Arc::clone(&self.interest),
            how: self.how,
            is_run: true,
            is_ahead: self.room.is_some(),
        }
    }

    /// What a fetch holds until it ends: read-ahead wants its own.
    pub(super) fn held(&self) -> Option<(Wanted, Arc<Room>)> {
        let room = self.room.as_ref()?;
        Some((self.interest.want(), Arc::clone(room)))
    }
}

/// A fetch that is to be spawned once the flights are no longer locked.
pub(super) type Begun = BoxFuture<'static, ()>;

/// What a read of an object follows.
pub(super) struct Followed {
    pub(super) follower: Follower,
    /// Where the object begins in the entry.
    pub(super) base: u64,
    pub(super) class: Class,
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
    pub(super) fn missed(
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

    /// Starts to fetch what of the neighbourhood of a read is missed, the read's object included, unless that is under way. `key` and `size` are the
    /// object's.
    pub(super) fn fetch_asked(
        self: &Arc<Self>,
        context: &ReadContext,
        frame: &Frame,
        layout: &Layout,
        (key, size): (Key, u64),
        how: Insert,
    ) -> Option<Followed> {
        let mut registry = self.flights.lock();
        let member = layout.find(context.at);
        let follow = |registry: &Registry<'_>| {
            let (follower, base, class) = match (registry.follow(key, size), member) {
                (Some(follower), _) => (follower, 0, Class::Block),
                (None, Some((pack, member))) => {
                    let follower = registry.follow(pack.key, pack.bytes)?;
                    (follower, member.offset, Class::Pack)
                }
                (None, None) => return None,
            };
            Some(Followed {
                follower,
                base,
                class,
            })
        };
        if let Some(found) = follow(&registry) {
            return Some(found);
        }
        let window = self.window(context, frame);
        let units = self.missed(&registry, layout, &window, context.body.end);
        let references: usize = units.iter().map(Unit::references).sum();
        let cause = Cause::read(how);
        let mut begun: Vec<Begun> = Vec::new();
        if let Some(files) = &self.options.files
            && references >= self.options.run_min
        {
            for run in self.runs(units) {
                begun.extend(self.start_run(&mut registry, context, files, run, &cause));
            }
        } else {
            for unit in &units {
                if let Unit::Pack(pack) = unit {
                    begun.extend(self.start_members(&mut registry, context, pack, &cause));
                }
            }
        }
        let found = follow(&registry);
        drop(registry);
        self.spawn_all(begun);
        found
    }

    pub(super) fn spawn_all(&self, begun: Vec<Begun>) {
        begun.into_iter().for_each(|fetch| self.spawn(fetch));
    }

    /// Cuts missed units into requests, each of one source.
    pub(super) fn runs(&self, units: Vec<Unit>) -> Vec<Vec<Unit>> {
        let mut runs: Vec<Vec<Unit>> = Vec::new();
        for unit in units {
            let span = unit.span();
            let fits = runs.last().and_then(|run| {
                let (first, last) = (run.first()?, run.last()?.span());
                let is_near = span.start.saturating_sub(last.end) <= GAP_BYTES_MAX;
                let bytes = span.end.saturating_sub(first.span().start);
                let is_short = bytes <= self.options.run_bytes;
                Some(is_near && is_short && first.source() == unit.source())
            });
            match (fits, runs.last_mut()) {
                (Some(true), Some(run)) => run.push(unit),
                _ => runs.push(vec![unit]),
            }
        }
        runs
    }

    /// Starts a request for a run.
    pub(super) fn start_run(
        self: &Arc<Self>,
        registry: &mut Registry<'_>,
        context: &ReadContext,
        files: &Arc<dyn object_store::ObjectStore>,
        run: Vec<Unit>,
        cause: &Cause,
    ) -> Option<Begun> {
        let (first, last) = (run.first()?, run.last()?);
        let range = first.span().start..last.span().end;
        self.unasked.add(run.iter().flat_map(Unit::object_keys));
        let targets: VecDeque<_> = run.iter().map(Unit::target).collect();
        let limit = self.limits.source(first.source());
        let order = cause.order(&context.file, &limit);
        let fill = Fill::start(self, registry, order, targets);
        let held = cause.held();
        let (files, file_bytes) = (Arc::clone(files), context.map.bytes());
        self.counters.runs.inc();
        let fetch = async move {
            let _held = held;
            fetch::run(fill, files, file_bytes, range).await;
        };
        Some(fetch.boxed())
    }

    /// Starts requests for the members of a pack, if it can be asked for.
    pub(super) fn start_members(
        self: &Arc<Self>,
        registry: &mut Registry<'_>,
        context: &ReadContext,
        pack: &Arc<Pack>,
        cause: &Cause,
    ) -> Option<Begun> {
        let members = pack.members.iter();
        let members = members.map(|member| Object::neighbour(context, &member.object, member.at));
        let members = members.collect::<Option<Vec<_>>>()?;
        let location = &members.first()?.location;
        self.unasked
            .add(pack.members.iter().map(|member| member.key));
        let meta = Some(pack_meta(pack));
        let span = std::iter::once(0..pack.bytes);
        let target = Target::new(pack.key, Class::Pack, pack.bytes, meta, span);
        let order = cause.order(location, &self.limits.of(location));
        let fill = Fill::start(self, registry, order, [target].into());
        let held = cause.held();
        let concurrent = self.options.concurrent_reads;
        let fetch = async move {
            let _held = held;
            fetch::members(fill, members, concurrent).await;
        };
        Some(fetch.boxed())
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
            whole_bytes: options.whole_bytes,
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
