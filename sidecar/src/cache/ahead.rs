//! Reading ahead: what a scan will ask for is fetched before it does, frame by frame, within a budget of its own.
//!
//! Those who ask are served first: without room nothing is read ahead. What was begun for a scan is wanted until it ends, whether the scan goes on or
//! not; the room is given back by the last fetch that it was taken for.

use std::{
    collections::HashSet,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OwnedSemaphorePermit;
use vdt_rope::ReadContext;

use super::{
    Shared, fetch,
    fill::{Fill, Order},
    object::Object,
    pack::Layout,
    run::Cause,
    unit::Unit,
};
use crate::tiers::{Insert, Key};

/// Bytes of the read-ahead budget, given back by the last fetch that they were taken for.
pub(super) type Room = Arc<OwnedSemaphorePermit>;

/// Entries known to be read ahead. Scans ask soon: those that are forgotten are of scans that ended.
const UNASKED_MAX: usize = 16_384;

/// Entries that were read ahead and that nobody has asked for yet. Whoever does so first has missed them, however soon they came.
#[derive(Debug, Default)]
pub(super) struct Unasked(Mutex<HashSet<Key>>);

impl Unasked {
    fn add(&self, key: Key) {
        // Never held over an await. Every state between two statements is a valid one.
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= UNASKED_MAX {
            keys.clear();
        }
        keys.insert(key);
    }

    /// Whether the entry was read ahead and this is the first who asks for it.
    pub(super) fn is_first(&self, key: Key) -> bool {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.remove(&key)
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
        room: &Room,
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
                    let asked = self.turns.of(&found.location);
                    let order = Order {
                        is_run: false,
                        ..cause.order(&found.location, &asked)
                    };
                    let fill = Fill::start(self, &mut registry, order, [target].into());
                    let held = cause.held();
                    bytes += object.size;
                    self.spawn(async move {
                        let _held = held;
                        let _place = asked.ahead().await;
                        fetch::segment(fill, found, range).await;
                    });
                }
            }
        }
        bytes
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
}
