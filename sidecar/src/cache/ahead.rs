//! Reading ahead: what a scan will ask for is fetched before it does, frame by frame, within its source's share of the room.
//!
//! Those who ask are served first: without room nothing is read ahead. The entries that are begun of a frame have no more bytes than the room that is
//! taken for them; where a run has them fetched, what is held of the gaps between them passes by and is not counted. What was begun for a scan is wanted
//! until it ends, whether the scan goes on or not; the room is given back by the last fetch of the frame.

use std::{collections::HashSet, ops::Range, sync::Arc};

use parking_lot::Mutex;
use vdt_rope::ReadContext;

use super::{
    BUDGET_UNIT_BYTES, Shared, budget_units, fetch,
    fill::{Fill, Order},
    limits::Room,
    object::Object,
    pack::Layout,
    run::Cause,
    unit::Unit,
};
use crate::tiers::{Insert, Key};

/// Entries known to be read ahead. Scans ask soon: those that are forgotten are of scans that ended.
const UNASKED_MAX: usize = 16_384;

/// Entries that were read ahead and that nobody has asked for yet. Whoever does so first has missed them, however soon they came.
#[derive(Debug, Default)]
pub(super) struct Unasked(Mutex<HashSet<Key>>);

impl Unasked {
    fn add(&self, key: Key) {
        let mut keys = self.0.lock();
        if keys.len() >= UNASKED_MAX {
            keys.clear();
        }
        keys.insert(key);
    }

    /// Whether the entry was read ahead and this is the first who asks for it.
    pub(super) fn is_first(&self, key: Key) -> bool {
        self.0.lock().remove(&key)
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
        let Some(room) = self.cut_to_room(&context.object.source, &mut units) else {
            return false;
        };
        let has_all = units.len() == missed;
        for unit in &units {
            self.unasked.add(unit.key());
        }
        let bytes = units.iter().map(Unit::bytes).sum();
        self.counters.read_ahead.inc_by(bytes);
        let references: usize = units.iter().map(Unit::references).sum();
        let cause = Cause::ahead(how, &Arc::new(room));
        if let Some(files) = &self.options.files
            && references >= self.options.run_min
        {
            for run in self.runs(units) {
                self.start_run(&mut registry, context, files, run, &cause);
            }
            return has_all;
        }
        for unit in units {
            match &unit {
                Unit::Pack(pack) => self.start_members(&mut registry, context, pack, &cause),
                Unit::Single { at, object, .. } => {
                    let Some(found) = Object::neighbour(context, object, *at) else {
                        continue;
                    };
                    let range = 0..object.size;
                    let mut target = unit.target();
                    target.spans = [range.clone()].into();
                    let limit = self.limits.of(&found.location);
                    let order = Order {
                        is_run: false,
                        ..cause.order(&found.location, &limit)
                    };
                    let fill = Fill::start(self, &mut registry, order, [target].into());
                    let held = cause.held();
                    self.spawn(async move {
                        let _held = held;
                        let _place = limit.ahead().await;
                        fetch::segment(fill, found, range).await;
                    });
                }
            }
        }
        has_all
    }

    /// Takes room for the entries, and leaves out those at the end that do not fit into it. None for less than one block, unless that is all: what
    /// comes in crumbs is in the way of those who ask.
    fn cut_to_room(&self, source: &str, units: &mut Vec<Unit>) -> Option<Room> {
        let bytes: u64 = units.iter().map(Unit::bytes).sum();
        let least = bytes.min(self.options.block_bytes);
        let (most, least) = (budget_units(bytes), budget_units(least));
        let room = self.limits.room(source, most, least)?;
        let mut left = room.units() as u64 * BUDGET_UNIT_BYTES;
        let fits = |unit: &&Unit| {
            let rest = left.checked_sub(unit.bytes());
            left = rest.unwrap_or(left);
            rest.is_some()
        };
        let fitting = units.iter().take_while(fits).count();
        units.truncate(fitting);
        Some(room)
    }

    /// Reads a window of a file ahead, frame by frame, as far as there is room for it.
    pub(super) fn read_ahead(
        self: &Arc<Self>,
        context: &ReadContext,
        window: Range<u64>,
        how: Insert,
    ) {
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
