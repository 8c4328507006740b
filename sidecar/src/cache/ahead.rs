//! Reading ahead: what a scan will ask for is fetched before it does, frame by frame, within its source's share of the room.
//!
//! Those who ask are served first: without room nothing is read ahead. The entries that are begun of a frame have no more bytes than the room that is
//! taken for them; where a run has them fetched, what is held of the gaps between them passes by and is not counted. What was begun for a scan is wanted
//! until it ends, whether the scan goes on or not; the room is given back by the last fetch of the frame from that source.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
    sync::Arc,
};

use futures::FutureExt;
use parking_lot::Mutex;
use vdt_rope::ReadContext;

use super::{
    BUDGET_UNIT_BYTES, Shared, budget_units, fetch,
    fill::{Fill, Order},
    flight::Registry,
    limits::Room,
    object::Object,
    pack::Layout,
    run::{Begun, Cause},
    unit::Unit,
};
use crate::tiers::{Insert, Key};

/// Objects known to have been asked of the origin by nobody in particular. Scans ask soon: those that are forgotten are of scans that ended.
const UNASKED_MAX: usize = 65_536;

/// Objects that were read ahead, or asked of the origin with their neighbours, and that nobody has asked for since: by the keys of the blocks that they
/// are by themselves. Whoever does so first has missed them, however soon they came.
#[derive(Debug, Default)]
pub(super) struct Unasked(Mutex<Keys>);

/// The older half goes when the younger one is full.
#[derive(Debug, Default)]
struct Keys {
    older: HashSet<Key>,
    younger: HashSet<Key>,
}

impl Unasked {
    /// The origin is asked for these.
    pub(super) fn add(&self, objects: impl IntoIterator<Item = Key>) {
        let mut keys = self.0.lock();
        if keys.younger.len() >= UNASKED_MAX / 2 {
            keys.older = std::mem::take(&mut keys.younger);
        }
        keys.younger.extend(objects);
    }

    /// Whether the origin was asked for the object, and this is the first who asks for it since.
    pub(super) fn is_first(&self, key: Key) -> bool {
        let mut keys = self.0.lock();
        let is_young = keys.younger.remove(&key);
        keys.older.remove(&key) || is_young
    }
}

impl Shared {
    /// Starts to fetch what of a frame is missed in the window, ahead of whoever will ask for it, as far as there is room for it. Returns whether there
    /// was for all.
    fn fetch_ahead(
        self: &Arc<Self>,
        context: &ReadContext,
        layout: &Layout,
        window: &Range<u64>,
        how: Insert,
    ) -> bool {
        let mut registry = self.flights.lock();
        let end_max = if window.start < context.body.end {
            context.body.end
        } else {
            context.map.bytes()
        };
        let mut units = self.missed(&registry, layout, window, end_max);
        let missed = units.len();
        if missed == 0 {
            return true;
        }
        let causes = self.cut_to_room(&mut units, how);
        let has_all = units.len() == missed;
        let references: usize = units.iter().map(Unit::references).sum();
        let mut begun: Vec<Begun> = Vec::new();
        if let Some(files) = &self.options.files
            && references >= self.options.run_min
        {
            for run in self.runs(units) {
                let source = run.first().map_or("", Unit::source);
                if let Some(cause) = causes.get(source) {
                    let bytes = run.iter().map(Unit::bytes).sum();
                    self.counters.read_ahead.inc_by(bytes);
                    begun.extend(self.start_run(&mut registry, context, files, run, cause));
                }
            }
        } else {
            for unit in &units {
                let cause = causes.get(unit.source());
                let fetch =
                    cause.and_then(|cause| self.start_unit(&mut registry, context, unit, cause));
                if fetch.is_some() {
                    self.counters.read_ahead.inc_by(unit.bytes());
                }
                begun.extend(fetch);
            }
        }
        drop(registry);
        self.spawn_all(begun);
        has_all
    }

    /// Starts to fetch an entry from its source, if it can be asked for.
    fn start_unit(
        self: &Arc<Self>,
        registry: &mut Registry<'_>,
        context: &ReadContext,
        unit: &Unit,
        cause: &Cause,
    ) -> Option<Begun> {
        let (at, object) = match unit {
            Unit::Pack(pack) => return self.start_members(registry, context, pack, cause),
            Unit::Single { at, object, .. } => (*at, object),
        };
        let found = Object::neighbour(context, object, at)?;
        let range = 0..object.size;
        let mut target = unit.target();
        target.spans = [range.clone()].into();
        self.unasked.add(unit.object_keys());
        let order = Order {
            is_run: false,
            ..cause.order(&found.location, &self.limits.of(&found.location))
        };
        let fill = Fill::start(self, registry, order, [target].into());
        let held = cause.held();
        let fetch = async move {
            let _held = held;
            fetch::segment(fill, found, range).await;
        };
        Some(fetch.boxed())
    }

    /// Takes room for the entries, for those of each source its own, and leaves out the first one that does not fit into it and all behind that. None for
    /// less than one block, unless that is all of its source: what comes in crumbs is in the way of those who ask.
    fn cut_to_room(&self, units: &mut Vec<Unit>, how: Insert) -> BTreeMap<Box<str>, Cause> {
        let mut wanted: BTreeMap<Box<str>, u64> = BTreeMap::new();
        for unit in units.iter() {
            *wanted.entry(unit.source().into()).or_default() += unit.bytes();
        }
        let mut rooms: BTreeMap<Box<str>, (Room, u64)> = BTreeMap::new();
        for (source, bytes) in wanted {
            let least = bytes.min(self.options.whole_bytes);
            let (most, least) = (budget_units(bytes), budget_units(least));
            if let Some(room) = self.limits.room(&source, most, least) {
                let left = room.units() as u64 * BUDGET_UNIT_BYTES;
                rooms.insert(source, (room, left));
            }
        }
        let mut fits = |unit: &&Unit| {
            let room = rooms.get_mut(unit.source());
            let taken = room.and_then(|(_, left)| {
                *left = left.checked_sub(unit.bytes())?;
                Some(())
            });
            taken.is_some()
        };
        let fitting = units.iter().take_while(&mut fits).count();
        units.truncate(fitting);
        let cause = |(source, (room, _))| (source, Cause::ahead(how, &Arc::new(room)));
        rooms.into_iter().map(cause).collect()
    }

    /// Reads a window of a file ahead, frame by frame, as far as there is room for it.
    pub(super) fn read_ahead(
        self: &Arc<Self>,
        context: &ReadContext,
        window: Range<u64>,
        how: Insert,
    ) {
        if !self.limits.has_room(&context.object.source) {
            return;
        }
        let (shared, context) = (Arc::clone(self), context.clone());
        self.spawn(async move {
            let mut at = window.start;
            while at < window.end && !shared.stop.is_cancelled() {
                // Whoever asks for the frame is told what is wrong with it.
                let Ok(Some(frame)) = context.map.frame(at).await else {
                    break;
                };
                let layout = shared.layout(&context, &frame).await;
                // Those who ask are served first.
                if !shared.fetch_ahead(&context, &layout, &window, how) {
                    break;
                }
                at = frame.covers().end.max(at + 1);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_objects_that_nobody_asked_for_the_oldest_are_forgotten() {
        let unasked = Unasked::default();
        let all = 3 * UNASKED_MAX as u128;
        for key in 0..all {
            unasked.add([Key(key)]);
        }
        let known = (0..all).filter(|&key| unasked.is_first(Key(key)));
        let known: Vec<_> = known.collect();
        assert!(known.len() <= UNASKED_MAX, "{}", known.len());
        let newest = all - UNASKED_MAX as u128 / 2..all;
        assert!(known.ends_with(&newest.collect::<Vec<_>>()));
        assert!(!unasked.is_first(Key(all - 1)), "only once");
    }
}
