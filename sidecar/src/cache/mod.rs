//! `CacheStore`: blocks of immutable objects, kept in the tiers, around another `ObjectStore`.
//!
//! ```text
//!   RopeStore   GET sources/<id>/<key> 3 MiB..5 MiB, If-Match, for this body of that file
//!   CacheStore  blocks 3 and 4: in memory? on the disk? under way? else one request for both
//!   origin      GET sources/<id>/<key> 3 MiB..5 MiB, If-Match
//! ```
//!
//! What it caches never changes under its name: source objects by (source, key, ETag or size and time, version), ropes by (store id, path).
//! Commits and checkpoints too, and what they were when they were first read: the origin's HEAD tells whether they still are that. Everything
//! else (listings, the hint, `.crc`, HEAD of what is not known, sources without a condition) is the origin's to answer, and so are writes.
//!
//! Promises:
//! - Never a wrong byte (invariant 2). What the origin sends is compared with what was asked for (ETag, or time, and size; the range; the length) before
//!   an entry becomes resident. An object that changed is another object: blocks of both never meet in one response.
//! - A hit asks the origin nothing, not even HEAD but for a log's files, and goes on when the origin is away: of a log's files those that the listing
//!   shows which was kept. A miss then gives the origin's error.
//! - A bucket that does not answer holds up those who ask for what it has, and nobody else.
//! - Each byte is fetched once: whoever wants what is under way follows it. Readers that leave or are slow hold nobody up.
//! - Memory in flight is bounded (invariant 6): by the permits, each of which fills one entry at a time; for each body by its block; and for all bodies together by
//!   what they may hold of their next ones.
//! - Neighbours are fetched together, scans are read ahead and are no residents.
//!
//! Cancelling a read ends the fetches that nobody else follows. A crash loses what the tiers had not written.

mod ahead;
mod answer;
mod body;
mod error;
mod fetch;
mod fill;
mod flight;
mod key;
mod limits;
mod loan;
mod metrics;
mod object;
mod options;
mod pack;
mod piece;
mod read;
mod report;
mod run;
mod scan;
mod stats;
mod store;
mod subject;
mod unit;
mod warm;

use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStore;
use tokio::{runtime::Handle, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vdt_dialect::in_current_trace;

pub use error::CacheError;
pub(crate) use error::Failure;
pub use metrics::CacheMetrics;
pub use options::CacheOptions;
pub use warm::WarmReport;

use self::{
    ahead::Unasked,
    flight::Flights,
    key::Identity,
    limits::Limits,
    loan::{LENT_BYTES, Loans},
    pack::Layouts,
    scan::Scans,
    stats::Counters,
};
use crate::tiers::{Class, Entry, EntryMeta, Insert, Key, Tiers};

/// Bytes of one permit of a budget.
const BUDGET_UNIT_BYTES: u64 = 1024;

/// Permits of a budget of so many bytes.
fn budget_permits(bytes: u64) -> usize {
    let units = usize::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES)).unwrap_or(usize::MAX);
    units.min(Semaphore::MAX_PERMITS)
}

/// Permits that so many bytes take of a budget.
fn budget_units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES)).unwrap_or(u32::MAX)
}

/// A cache around an origin. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct CacheStore {
    shared: Arc<Shared>,
}

/// What every request shares.
#[derive(Debug)]
struct Shared {
    origin: Arc<dyn ObjectStore>,
    tiers: Arc<Tiers>,
    options: CacheOptions,
    flights: Flights,
    layouts: Layouts,
    scans: Scans,
    counters: Counters,
    unasked: Unasked,
    limits: Limits,
    /// Bytes of the next blocks that bodies hold.
    overlap_budget: Arc<Semaphore>,
    loans: Loans,
    tasks: TaskTracker,
    /// Where they run, whichever thread a request is answered on.
    runtime: Handle,
    stop: CancellationToken,
}

impl Shared {
    /// Not under the lock of the flights: a runtime that shuts down drops the task here, and a fetch that is dropped takes the lock.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // What is fetched is fetched for whoever asked first.
        self.tasks.spawn_on(in_current_trace(task), &self.runtime);
    }

    /// Keeps an object's properties under its name.
    fn remember(&self, name: Identity, meta: &EntryMeta) {
        let entry = Entry {
            meta: meta.clone(),
            bytes: Bytes::new(),
        };
        self.tiers
            .insert(Class::Metadata, name.meta_key(), entry, Insert::Resident);
    }

    /// Whether an entry is held, as far as can be said without reading it.
    fn may_hold(&self, class: Class, key: Key) -> bool {
        self.tiers.may_hold(class, key)
    }
}

impl CacheStore {
    /// Puts a cache before `origin`. Needs a runtime: fetches are tasks on it.
    pub fn new(origin: Arc<dyn ObjectStore>, tiers: Arc<Tiers>, options: CacheOptions) -> Self {
        let options = options.bounded();
        let shared = Shared {
            limits: Limits::new(
                options.concurrent_fetches,
                options.concurrent_reads,
                budget_permits(options.read_ahead_total_bytes),
            ),
            overlap_budget: Arc::new(Semaphore::new(budget_permits(options.overlap_bytes))),
            loans: Loans::new(LENT_BYTES),
            scans: Scans::new(options.read_ahead_bytes, options.run_bytes),
            origin,
            tiers,
            options,
            flights: Flights::default(),
            layouts: Layouts::default(),
            counters: Counters::default(),
            unasked: Unasked::default(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            stop: CancellationToken::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Ends all fetches and waits for them. Readers that follow one get an error; the tiers stay open.
    pub async fn close(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Entries that are being fetched.
    pub fn in_flight(&self) -> usize {
        self.shared.flights.len()
    }
}
