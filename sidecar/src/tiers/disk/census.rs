//! What the disk holds: how many entries, in which order they came, which region is the oldest.
//!
//! foyer's engine keeps an index in memory, about 130 bytes an entry, without a bound and without a count. It does tell, through the
//! two traits implemented here, when a region is full and when it is about to be freed with which entries. From that the census
//! follows, and with it a bound: where the memory for the index is used up, the oldest entries leave before their region does.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use foyer::{
    EvictionInfo, EvictionPicker, Statistics, StorageFilterCondition, StorageFilterResult,
};
use parking_lot::Mutex;

use crate::tiers::key::KeyHash;

/// Counts what the disk holds. Shared with foyer.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// Regions without entries.
    clean: AtomicU64,
    /// Regions whose files do not take their space yet.
    unwritten: AtomicU64,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    /// The places of the entries that can be found, by their hashes.
    places: HashMap<u64, u64, KeyHash>,
    /// Hashes by their places, in the order in which they came; some have left, or have another place by now, but never the first one.
    order: VecDeque<u64>,
    /// The place of the first one.
    first: u64,
    /// Hashes in regions that are being freed, and those taken last.
    leaving: Vec<u64>,
    left: HashSet<u64, KeyHash>,
}

impl Inside {
    fn trim(&mut self) {
        while let Some(hash) = self.order.front()
            && self.places.get(hash) != Some(&self.first)
        {
            self.order.pop_front();
            self.first += 1;
        }
    }
}

impl Census {
    /// Starts with entries that were recovered, each once, the oldest first.
    pub(super) fn start(&self, hashes: Vec<u64>) {
        let mut inside = self.inside.lock();
        inside.places = hashes.iter().copied().zip(0..).collect();
        inside.order = hashes.into();
        inside.first = 0;
    }

    /// Returns the number of entries that can be found.
    pub(super) fn entries(&self) -> u64 {
        self.inside.lock().places.len() as u64
    }

    /// Returns the number of regions without entries.
    pub(super) fn clean(&self) -> u64 {
        self.clean.load(Relaxed)
    }

    /// Returns the number of regions that have never been full: writing them takes space of the volume.
    pub(super) fn unwritten(&self) -> u64 {
        self.unwritten.load(Relaxed)
    }

    /// Takes note of an entry that was written, perhaps not for the first time.
    pub(super) fn written(&self, hash: u64) {
        let mut inside = self.inside.lock();
        let place = inside.first + inside.order.len() as u64;
        inside.order.push_back(hash);
        inside.places.insert(hash, place);
        inside.trim();
    }

    /// Takes note of an entry that can no longer be found. Returns whether it could before.
    pub(super) fn gone(&self, hash: u64) -> bool {
        let mut inside = self.inside.lock();
        let was_held = inside.places.remove(&hash).is_some();
        inside.trim();
        was_held
    }

    /// Takes the oldest entry that can still be found, for it to be removed.
    pub(super) fn pop_oldest(&self) -> Option<u64> {
        let mut inside = self.inside.lock();
        let hash = *inside.order.front()?;
        inside.places.remove(&hash);
        inside.trim();
        Some(hash)
    }

    /// Takes the hashes in regions freed since the last call. They leave the index when the freeing ends.
    pub(super) fn take_leaving(&self) -> Vec<u64> {
        let mut inside = self.inside.lock();
        let leaving = std::mem::take(&mut inside.leaving);
        if !leaving.is_empty() {
            inside.left = leaving.iter().copied().collect();
        }
        leaving
    }

    /// Returns whether an entry was in a region that is being freed, or was freed just now.
    pub(super) fn is_leaving(&self, hash: u64) -> bool {
        let inside = self.inside.lock();
        inside.left.contains(&hash) || inside.leaving.contains(&hash)
    }
}

/// Told of each entry of a region that is about to be freed. Lets all go.
///
/// foyer would write again what this admits, but under its old sequence number, and recovery takes a number that goes back for the end
/// of a region: a restart would lose what lies behind. Hot entries are written anew before, see the module's parent.
#[derive(Debug)]
pub(super) struct Leaving(pub(super) Arc<Census>);

impl StorageFilterCondition for Leaving {
    fn filter(&self, _: &Arc<Statistics>, hash: u64, _: usize) -> StorageFilterResult {
        self.0.inside.lock().leaving.push(hash);
        StorageFilterResult::Reject
    }
}

/// Frees the region that was written first, across restarts, and marks the older half as on probation: what is read from there is
/// told to be old, so that it can be written anew.
#[derive(Debug)]
pub(super) struct OldestFirst {
    census: Arc<Census>,
    /// The newest sequence number of each region that was recovered.
    recovered: HashMap<u32, u64>,
    /// Regions whose files took space before.
    known: HashSet<u32>,
    /// Regions whose files do not yet.
    unwritten: HashSet<u32>,
    /// Regions that are kept without entries.
    spare: usize,
    /// Regions in the order of their age.
    order: BTreeSet<(u8, u64, u32)>,
    places: HashMap<u32, (u8, u64, u32)>,
    written: u64,
    regions: usize,
}

impl OldestFirst {
    /// `recovered` has the newest sequence number of each region with entries, `known` the regions whose files take space.
    pub(super) fn new(
        census: Arc<Census>,
        (recovered, known): (HashMap<u32, u64>, HashSet<u32>),
        spare: u64,
    ) -> Self {
        Self {
            census,
            recovered,
            known,
            unwritten: HashSet::new(),
            spare: usize::try_from(spare).unwrap_or(usize::MAX),
            order: BTreeSet::new(),
            places: HashMap::new(),
            written: 0,
            regions: 0,
        }
    }

    fn mark(&self, info: &EvictionInfo<'_>) {
        self.census.clean.store(info.clean as u64, Relaxed);
        self.census
            .unwritten
            .store(self.unwritten.len() as u64, Relaxed);
        // Half of those that hold entries, when as many are clean as are to be.
        let old = (self.regions.saturating_add(self.spare) / 2).saturating_sub(info.clean);
        for (_, _, id) in self.order.iter().take(old) {
            if let Some(region) = info.blocks.get(*id as usize) {
                region.statistics().probation.store(true, Relaxed);
            }
        }
    }
}

impl EvictionPicker for OldestFirst {
    fn init(&mut self, regions: &[u32], _: usize) {
        self.regions = regions.len();
        self.census.clean.store(regions.len() as u64, Relaxed);
        let is_new = |region: &&u32| !self.known.contains(region);
        self.unwritten = regions.iter().filter(is_new).copied().collect();
        self.census
            .unwritten
            .store(self.unwritten.len() as u64, Relaxed);
    }

    fn pick(&mut self, info: EvictionInfo<'_>) -> Option<u32> {
        self.mark(&info);
        self.order
            .iter()
            .map(|(_, _, id)| *id)
            .find(|id| info.evictable.contains(id))
    }

    fn on_block_evictable(&mut self, info: EvictionInfo<'_>, region: u32) {
        self.unwritten.remove(&region);
        let place = match self.recovered.remove(&region) {
            Some(sequence) => (0, sequence, region),
            None => {
                self.written += 1;
                (1, self.written, region)
            }
        };
        self.order.insert(place);
        self.places.insert(region, place);
        self.mark(&info);
    }

    fn on_block_evict(&mut self, info: EvictionInfo<'_>, region: u32) {
        self.recovered.remove(&region);
        if let Some(place) = self.places.remove(&region) {
            self.order.remove(&place);
        }
        self.mark(&info);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_counted_once_however_often_they_are_written() {
        let census = Census::default();
        census.start(vec![1, 2]);
        census.written(2);
        census.written(3);
        assert_eq!(census.entries(), 3);
        assert!(census.gone(1));
        assert!(!census.gone(1));
        assert_eq!(census.entries(), 2);
    }

    #[test]
    fn the_oldest_goes_first_and_what_was_written_again_is_young() {
        let census = Census::default();
        census.start(vec![1, 2, 3]);
        census.written(1);
        census.gone(2);
        assert_eq!(census.pop_oldest(), Some(3));
        assert_eq!(census.pop_oldest(), Some(1));
        assert_eq!(census.pop_oldest(), None);
        assert_eq!(census.entries(), 0);
    }

    #[test]
    fn places_of_what_has_left_are_forgotten() {
        let census = Census::default();
        census.start(vec![1, 2, 3, 4]);
        census.written(2);
        assert_eq!(census.inside.lock().order, [1, 2, 3, 4, 2]);
        census.gone(1);
        assert_eq!(census.inside.lock().order, [3, 4, 2]);
        census.written(3);
        census.written(5);
        assert_eq!(census.inside.lock().order, [4, 2, 3, 5]);
        assert_eq!(census.pop_oldest(), Some(4));
        census.gone(3);
        census.gone(2);
        assert_eq!(census.inside.lock().order, [5]);
    }

    #[test]
    fn what_leaves_is_known_until_others_leave() {
        let census = Arc::new(Census::default());
        Leaving(census.clone()).0.inside.lock().leaving.push(9);
        assert!(census.is_leaving(9));
        assert_eq!(census.take_leaving(), [9]);
        assert!(census.is_leaving(9), "until the next are taken");
    }
}
