//! Who of the candidates is written once the disk is full: those seen a second time, soon enough.
//!
//! A table of fixed size holds for each slot a part of the hash that was seen there last and when. Time is measured in bytes of
//! candidates gone by: an entry that comes again after more than a disk full of others would have been pushed out in between, so
//! writing it would serve nobody. A slot that two entries fight for forgets one of them, which costs a miss and nothing else.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Slots: 256 Ki of four bytes, enough for a disk of 128 GiB in blocks of 512 KiB.
const SLOTS: usize = 1 << 18;
/// A turn of the clock is this part of the disk.
const EPOCHS_IN_DISK: u64 = 8;

#[derive(Debug)]
pub(super) struct Doorkeeper {
    slots: Box<[AtomicU32]>,
    seen_bytes: AtomicU64,
}

impl Default for Doorkeeper {
    fn default() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| AtomicU32::new(0)).collect(),
            seen_bytes: AtomicU64::new(0),
        }
    }
}

impl Doorkeeper {
    /// Takes note of an entry and returns whether it was seen before. The disk has `disk_bytes`, as it is now.
    pub(super) fn knows(&self, hash: u64, bytes: u64, disk_bytes: u64) -> bool {
        let epoch_bytes = (disk_bytes / EPOCHS_IN_DISK).max(1);
        let epoch = (self.seen_bytes.fetch_add(bytes, Relaxed) / epoch_bytes) as u8;
        let tag = ((hash >> 40) as u32) | 1;
        let slot = &self.slots[hash as usize % SLOTS];
        let before = slot.swap((tag << 8) | u32::from(epoch), Relaxed);
        let age = u64::from(epoch.wrapping_sub(before as u8));
        before >> 8 == tag && age <= EPOCHS_IN_DISK
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiers::Key;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_second_sight_is_known() {
        let door = Doorkeeper::default();
        let knows = |number| door.knows(Key(number).hash64(), MIB, 1 << 30);
        assert!(!knows(7));
        assert!(!knows(8));
        assert!(knows(7));
    }

    #[test]
    fn what_comes_after_more_than_a_disk_full_is_new() {
        let door = Doorkeeper::default();
        let knows = |number| door.knows(Key(number).hash64(), MIB, 64 * MIB);
        for number in 0..80 {
            assert!(!knows(number), "{number}");
        }
        assert!(!knows(0), "80 MiB ago, the disk holds 64");
        assert!(knows(40), "40 MiB ago");
    }
}
