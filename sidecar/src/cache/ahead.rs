//! Reading ahead: what a scan will ask for is fetched before it does, frame by frame, within its source's share of the room.
//!
//! Those who ask are served first: without room nothing is read ahead. What was begun for a scan is wanted until it ends, whether the scan goes on or
//! not; the room is given back by the last fetch that it was taken for.

use std::{collections::HashSet, ops::Range, sync::Arc};

use parking_lot::Mutex;
use vdt_rope::ReadContext;

use super::{
    BUDGET_UNIT_BYTES, Shared, fetch,
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
    /// Starts to fetch what of a frame is missed in the window, ahead of whoever will ask for it.
    fn fetch_ahead(
        self: &Arc<Self>,
        context: &ReadContext,
        layout: &Layout,
        window: &Range<u64>,
        how: Insert,
        room: &Arc<Room>,
    ) -> u64 {
        let mut registry = self.flights.lock();
        let end_max = if window.start < context.body.end {
            context.body.end
        } else {
            context.map.bytes()
        };
        let units = self.missed(&registry, layout, window, end_max);
        for unit in &units {
            self.unasked.add(unit.key());
        }
        let references: usize = units.iter().map(Unit::references).sum();
        let cause = Cause::ahead(how, room);
        let mut bytes = 0;
        if let Some(files) = &self.options.files
            && references >= self.options.run_min
        {
            for run in self.runs(units) {
                bytes += self.start_run(&mut registry, context, files, run, &cause);
            }
            return bytes;
        }
        for unit in units {
            match &unit {
                Unit::Pack(pack) => {
                    bytes += pack.bytes;
                    self.start_members(&mut registry, context, pack, &cause);
                }
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
                    bytes += object.size;
                    self.spawn(async move {
                        let _held = held;
                        let _place = limit.ahead().await;
                        fetch::segment(fill, found, range).await;
                    });
                }
            }
        }
        bytes
    }

    /// Reads a window of a file ahead, frame by frame, as far as there is room for it.
    pub(super) fn read_ahead(
        self: &Arc<Self>,
        context: &ReadContext,
        mut window: Range<u64>,
        how: Insert,
    ) {
        let units = self.budget_units(window.end - window.start);
        // Those who ask are served first.
        let Some(room) = self.limits.room(&context.object.source, units) else {
            return;
        };
        let bytes = room.units() as u64 * BUDGET_UNIT_BYTES;
        window.end = window.end.min(window.start + bytes);
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
                shared.counters.read_ahead.inc_by(bytes);
                at = frame.covers().end.max(at + 1);
            }
        });
    }
}
