//! Turns at listings. A listing holds what the store says of a whole folder, and the store may take its time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::edge::Gate;
use crate::metrics::DialectLabel;

/// Time that a listing waits for its turn. Those before it may wait for a store that hangs.
const WAIT: Duration = Duration::from_secs(5);

/// Answers to listings that are sent while they are written, at a time. What the store says of such a folder is held for as long as its client reads,
/// and a slow one keeps nobody from listings of the usual length.
const LONG: usize = 4;

/// Turns at the listings of one dialect. Who gets none in time is told to slow down.
#[derive(Debug)]
pub(crate) struct Listings {
    turns: Semaphore,
    long: Arc<Semaphore>,
    dialect: DialectLabel,
    gate: Gate,
}

impl Listings {
    /// At most `at_once` listings of `dialect` at a time; those that come to nothing are counted at `gate`.
    pub(crate) fn new(dialect: DialectLabel, at_once: usize, gate: Gate) -> Self {
        Self {
            turns: Semaphore::new(at_once),
            long: Arc::new(Semaphore::new(LONG)),
            dialect,
            gate,
        }
    }

    /// Waits for a turn, which ends when it is dropped; `None` if there is none in time.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let turn = tokio::time::timeout(WAIT, self.turns.acquire());
        let turn = turn.await.ok().and_then(Result::ok);
        if turn.is_none() {
            self.gate.busy(self.dialect);
        }
        turn
    }

    /// The turn of an answer that is too long to be written before it is sent, to be kept until it is sent; `None` if there is none now.
    pub(crate) fn long_turn(&self) -> Option<OwnedSemaphorePermit> {
        let turn = Arc::clone(&self.long).try_acquire_owned().ok();
        if turn.is_none() {
            self.gate.busy(self.dialect);
        }
        turn
    }
}
