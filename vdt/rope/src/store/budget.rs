//! What all bodies of a store hold ahead of their readers, together.
//!
//! A body that is slow to be taken holds what was read ahead for it, and there may be thousands. So all of them count against
//! one total. A body may hold a quarter of what the others leave of it: the more is held, the less each one reads ahead, and
//! however many stand still there is always a little left for those that do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A body may hold this part of what is left.
const PART: u64 = 4;

/// The bytes that the bodies of a store hold.
#[derive(Debug)]
pub(super) struct ReadAheadBudget {
    total: u64,
    held: AtomicU64,
}

impl ReadAheadBudget {
    /// Bodies may hold `total` bytes.
    pub(super) fn new(total: u64) -> Self {
        Self {
            total,
            held: AtomicU64::new(0),
        }
    }
}

/// The bytes that one body holds. Dropping it gives them back.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<ReadAheadBudget>,
    bytes: u64,
}

impl Share {
    /// A body that holds nothing yet.
    pub(super) fn new(budget: &Arc<ReadAheadBudget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            bytes: 0,
        }
    }

    /// The body holds so many bytes now.
    pub(super) fn set(&mut self, bytes: u64) {
        if bytes > self.bytes {
            self.budget.held.fetch_add(bytes - self.bytes, Relaxed);
        } else if bytes < self.bytes {
            self.budget.held.fetch_sub(self.bytes - bytes, Relaxed);
        }
        self.bytes = bytes;
    }

    /// Whether the body may hold more than it does. Others may take the room meanwhile: the total is exceeded by a piece for
    /// each body that asks at the same moment.
    pub(super) fn has_room(&self) -> bool {
        let left = self
            .budget
            .total
            .saturating_sub(self.budget.held.load(Relaxed));
        self.bytes < left / PART
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes pieces of 10 bytes while there is room.
    fn fill(share: &mut Share) -> u64 {
        while share.has_room() {
            share.set(share.bytes + 10);
        }
        share.bytes
    }

    #[test]
    fn who_comes_later_gets_less_and_never_nothing_while_there_is_room() {
        let budget = Arc::new(ReadAheadBudget::new(1000));
        let mut shares: Vec<Share> = (0..8).map(|_| Share::new(&budget)).collect();
        let held: Vec<u64> = shares.iter_mut().map(fill).collect();
        assert_eq!(held[0], 200, "a fifth: a quarter of what it leaves itself");
        assert!(held.is_sorted_by(|one, next| one >= next), "{held:?}");
        assert!(held.iter().all(|&bytes| bytes > 0), "{held:?}");
        let sum: u64 = held.iter().sum();
        assert_eq!(budget.held.load(Relaxed), sum);
        assert!(sum < 1000, "{held:?}");
        shares.clear();
        assert_eq!(budget.held.load(Relaxed), 0);
    }
}
