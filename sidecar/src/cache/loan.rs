//! Parts of entries that are passed on without a copy.
//!
//! A slice keeps its whole entry in memory for as long as its reader leaves it untaken, though the cache may have let it go long ago. So a small
//! part is passed on as a slice only while there is room for such entries, which is given back with the last reader's clone; else it is copied,
//! as every part is that costs less to copy than to account for.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{budget_permits, budget_units};

/// Bytes of entries that are kept because a small part of them is being sent; beyond it small parts are copied.
pub(super) const LENT_BYTES: u64 = 32 << 20;

/// Parts below this are copied. Estimated: what a copy of so little costs was measured at 4 KiB only, a twenty-fifth of a request's CPU.
const LENT_MIN_BYTES: usize = 16 << 10;

/// Room for entries that are kept by small parts of them. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Loans(Arc<Semaphore>);

impl Loans {
    /// Room for entries of so many bytes together.
    pub(super) fn new(bytes: u64) -> Self {
        Self(Arc::new(Semaphore::new(budget_permits(bytes))))
    }

    /// A part of an entry, which keeps as much of the entry as there is room for. `whole` may itself be a part, which is then accounted for as an entry of
    /// that size: whoever took it from its entry has accounted for that.
    pub(super) fn part_of(&self, whole: &Bytes, part: Range<usize>) -> Bytes {
        if !is_small(part.len() as u64, whole.len() as u64) {
            return whole.slice(part);
        }
        let units = budget_units(whole.len() as u64);
        if part.len() >= LENT_MIN_BYTES
            && let Ok(room) = Arc::clone(&self.0).try_acquire_many_owned(units)
        {
            let bytes = whole.slice(part);
            return Bytes::from_owner(Lent { bytes, _room: room });
        }
        Bytes::copy_from_slice(&whole[part])
    }
}

/// Whether a part of an entry keeps much more in memory than it is.
pub(super) fn is_small(part: u64, whole: u64) -> bool {
    part < whole / 4
}

/// A slice of an entry, and the room that the entry takes.
struct Lent {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn entry() -> Bytes {
        (0..MIB).map(|at| at as u8).collect()
    }

    fn is_slice_of(whole: &Bytes, part: &Bytes) -> bool {
        whole.as_ptr_range().contains(&part.as_ptr())
    }

    #[test]
    fn entries_are_kept_by_small_parts_as_far_as_there_is_room() {
        let loans = Loans::new(2 * MIB as u64);
        let whole = entry();
        let part = || loans.part_of(&whole, 5..5 + LENT_MIN_BYTES);
        let lent = [part(), part()];
        assert!(lent.iter().all(|part| is_slice_of(&whole, part)));
        let copied = part();
        assert!(!is_slice_of(&whole, &copied));
        assert_eq!(copied, whole[5..5 + LENT_MIN_BYTES]);
        let [first, second] = lent;
        // A clone keeps the entry as well.
        let clone = first.clone();
        drop(first);
        assert!(!is_slice_of(&whole, &part()));
        assert_eq!((&clone, &second), (&copied, &copied));
        drop((clone, second));
        assert!(is_slice_of(&whole, &part()));
        assert_eq!(loans.0.available_permits(), budget_permits(2 * MIB as u64));
    }

    #[test]
    fn what_is_cheap_to_copy_takes_no_room_and_what_is_most_of_an_entry_needs_none() {
        let loans = Loans::new(MIB as u64);
        let whole = entry();
        let tiny = loans.part_of(&whole, 0..LENT_MIN_BYTES - 1);
        let half = loans.part_of(&whole, 0..MIB / 2);
        assert!(!is_slice_of(&whole, &tiny) && is_slice_of(&whole, &half));
        assert_eq!(loans.0.available_permits(), budget_permits(MIB as u64));
    }
}
