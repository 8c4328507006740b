//! One refresh of one table: list, plan, lay out, commit, mirror.
//!
//! ```text
//!                                         ┌ lay out t ──── put ropes ┐                    ┌ .crc ─────────────────┐
//!   read snapshot ── list sources ── plan ┴ lay out t_meta ─ put ropes ┴ flush ─ commit t ┴ commit t_meta ─ .crc ─┴ checkpoints
//!     ^                                                                        │
//!     └───────────────────────────── somebody was first ───────────────────────┘
//! ```
//!
//! Promises: any number of refreshers may run on one state store. A version is planned on its predecessor, which was read
//! *before* its sources were listed: what somebody else listed later and committed first is never undone by an older listing.
//! A refresher whose manifest was replaced by a newer one commits nothing. Cancelled or killed anywhere, the last whole commit stands, and the next refresh carries on.
//! Nothing changed: no commit, unless small files are merged. Invariant 5 is kept here too: a real Delta log, in which two
//! replicas never publish different versions of one number.

mod apply;
mod commit;
mod files;
mod mirror;
mod plan;
mod report;

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::{FutureExt, future};
use parking_lot::Mutex;
use serde_json::Value;
use vdt_table::delta;

pub use self::report::{RefreshReport, SourceOutcome};

use self::mirror::Mirror;
use crate::{
    definition::Definition,
    error::StoreError,
    log::{Snapshot, TableLog},
    plan::{ListedAt, is_settled},
    rows::KnownRows,
    source::{Listing, SourceError},
    state::StateStore,
};

/// Commits lost in a row before a refresh gives up until its next turn.
const ATTEMPTS: usize = 16;
/// The pause after a first lost commit, and the longest one: who lists as fast as the others would go on meeting them.
const LOST_PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(2));
/// The first version waits for artifacts that are just being written, if that takes no longer than this.
const FIRST_VERSION_WAIT: Duration = Duration::from_secs(10);

/// Unix time in milliseconds. A parameter, so that tests own the clock.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Told while sources are listed: artifacts and bytes so far, over all sources of the table.
pub type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// Refreshes one table.
#[derive(Clone)]
pub struct TableRefresh {
    definition: Arc<Definition>,
    state: StateStore,
    log: TableLog,
    meta_log: TableLog,
    clock: Clock,
    /// What was read and laid out of the table's files before.
    known: KnownRows,
    /// All ropes of the mirror were there once.
    is_mirror_seen: Arc<AtomicBool>,
}

impl std::fmt::Debug for TableRefresh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableRefresh")
            .field("table", self.log.table())
            .finish_non_exhaustive()
    }
}

impl TableRefresh {
    /// A refresh of `definition` in `state`.
    pub fn new(definition: Arc<Definition>, state: StateStore, clock: Clock) -> Self {
        let log = TableLog::new(state.clone(), definition.path());
        let meta_log = TableLog::new(state.clone(), definition.meta_path());
        Self {
            definition,
            state,
            log,
            meta_log,
            clock,
            known: KnownRows::default(),
            is_mirror_seen: Arc::default(),
        }
    }

    /// What is refreshed.
    pub fn definition(&self) -> &Arc<Definition> {
        &self.definition
    }

    /// The table's log.
    pub fn log(&self) -> &TableLog {
        &self.log
    }

    /// Lists, plans, commits; see the module's documentation. Cancel-safe: what is committed is whole.
    ///
    /// # Errors
    /// Those of the state store; those of a source only while there is no version yet, since the first one needs every
    /// source. Later a source that cannot be listed is in the report and stays at its last state. A panic is an error as well: who
    /// refreshes a table goes on doing so.
    pub async fn run(&self, progress: Option<Progress>) -> Result<RefreshReport, StoreError> {
        // What outlives a refresh are handles, and facts that hold whenever they are written.
        let done = AssertUnwindSafe(self.run_to_end(progress).boxed()).catch_unwind();
        done.await.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            Err(StoreError::Panicked {
                table: self.log.table().to_string(),
                message: text.unwrap_or("no message").to_owned(),
            })
        })
    }

    async fn run_to_end(&self, progress: Option<Progress>) -> Result<RefreshReport, StoreError> {
        let started = Instant::now();
        // A commit checks it as well: here it spares what no commit would follow.
        self.state.check().await?;
        self.state
            .claim(self.log.table(), &self.definition.owner)
            .await?;
        let mut waited = false;
        let pauses = ExponentialBuilder::new()
            .with_jitter()
            .with_max_times(ATTEMPTS - 1)
            .with_min_delay(LOST_PAUSES.0)
            .with_max_delay(LOST_PAUSES.1);
        let mut pauses = pauses.build();
        loop {
            let snapshot = self.log.snapshot().await?;
            if snapshot.is_none() {
                self.refuse_remains().await?;
            }
            if let Some(report) = self.superseded(snapshot.as_ref()) {
                return Ok(report);
            }
            let (began, began_ms) = (Instant::now(), (self.clock)());
            let listings = self.list(progress.clone()).await;
            let listing_time = began.elapsed();
            let listed_at = ListedAt {
                began_ms,
                ended_ms: (self.clock)(),
            };
            if !waited && snapshot.is_none() && self.must_settle(&listings, listed_at) {
                waited = true;
                tokio::time::sleep(self.definition.refresh.settle).await;
                continue;
            }
            if let Some(done) = self.run_listed(snapshot, listings, listed_at).await? {
                return Ok(RefreshReport {
                    listing_seconds: listing_time.as_secs_f64() + done.listing_seconds,
                    seconds: started.elapsed().as_secs_f64(),
                    ..done
                });
            }
            match pauses.next() {
                Some(pause) => tokio::time::sleep(pause).await,
                None => {
                    return Err(StoreError::Contended {
                        table: self.log.table().to_string(),
                        attempts: ATTEMPTS,
                    });
                }
            }
        }
    }

    /// The part of [`TableRefresh::run`] after the listing: one attempt, with the listings of the definition's sources in
    /// their order, on `snapshot`, the newest version when listing began. `None`: somebody else committed since; read and
    /// list again. The table must have been claimed.
    ///
    /// # Errors
    /// As [`TableRefresh::run`].
    pub async fn run_listed(
        &self,
        snapshot: Option<Snapshot>,
        listings: Vec<Result<Listing, SourceError>>,
        listed_at: ListedAt,
    ) -> Result<Option<RefreshReport>, StoreError> {
        let now_ms = (self.clock)();
        let planned = self.plan(snapshot.as_ref(), listings, listed_at).await?;
        let Some(done) = self.apply(snapshot, planned, now_ms).await? else {
            return Ok(None);
        };
        self.meta_log.checkpoint_when_due().await?;
        self.log.checkpoint_when_due().await?;
        Ok(Some(done))
    }

    /// A table begins once: where its twin has versions, or this process has met some, it has lost its own, and its artifacts would get other
    /// ids.
    async fn refuse_remains(&self) -> Result<(), StoreError> {
        let meta = self.meta_log.files().await?;
        let met = self.state.versions().of(self.log.table());
        // Somebody else may have begun it since it was looked for.
        if (meta.newest.is_none() && met.is_none()) || self.log.files().await?.newest.is_some() {
            return Ok(());
        }
        let table = self.log.table().to_string();
        Err(match met.filter(|_| meta.newest.is_none()) {
            Some(version) => StoreError::LogGone { table, version },
            None => StoreError::LogMissing {
                table,
                meta: self.meta_log.table().to_string(),
            },
        })
    }

    /// Whether the first version should wait a moment: something is just being written.
    fn must_settle(&self, listings: &[Result<Listing, SourceError>], listed_at: ListedAt) -> bool {
        let settle = self.definition.refresh.settle;
        let settle_ms = i64::try_from(settle.as_millis()).unwrap_or(i64::MAX);
        let entries = listings
            .iter()
            .flatten()
            .flat_map(|listing| &listing.entries);
        let is_young = entries
            .into_iter()
            .any(|entry| !is_settled(entry, settle_ms, listed_at));
        is_young && settle <= FIRST_VERSION_WAIT
    }

    async fn list(&self, progress: Option<Progress>) -> Vec<Result<Listing, SourceError>> {
        let total = Arc::new(Mutex::new((0_u64, 0_u64)));
        let listings = self.definition.sources.iter().map(|source| {
            let total = total.clone();
            let progress = progress.clone();
            async move {
                let last = Mutex::new((0_u64, 0_u64));
                source
                    .list_beside(self.state.directory(), &move |artifacts, bytes| {
                        let Some(progress) = &progress else { return };
                        let (mut total, mut last) = (total.lock(), last.lock());
                        total.0 += artifacts.saturating_sub(last.0);
                        total.1 = total.1.saturating_add(bytes.saturating_sub(last.1));
                        *last = (artifacts, bytes);
                        progress(total.0, total.1);
                    })
                    .await
            }
        });
        future::join_all(listings).await
    }

    /// What follows a commit and is repaired by any later refresh: the checksum file, and the table without `data`.
    /// `checksum` is at hand right after a commit.
    async fn finish(
        &self,
        version: u64,
        mirror: Mirror,
        checksum: Option<Value>,
    ) -> Result<(), StoreError> {
        let checksum = async {
            match checksum {
                Some(checksum) => self.log.write_checksum(version, &checksum).await,
                None => self.write_checksum(&self.log).await,
            }
        };
        future::try_join(checksum, self.mirror(version, mirror)).await?;
        Ok(())
    }

    async fn write_checksum(&self, log: &TableLog) -> Result<(), StoreError> {
        if log.files().await?.has_crc {
            return Ok(());
        }
        let Some(snapshot) = log.snapshot().await? else {
            return Ok(());
        };
        let bytes = snapshot.files.iter().map(|file| file.size).sum();
        let checksum = delta::checksum(&snapshot.metadata, bytes, snapshot.files.len() as u64);
        log.write_checksum(snapshot.version, &checksum).await
    }

    /// The report of a table that a newer edition of its resource, or a newer vdt, has edited: it is served as committed, and its
    /// next version is theirs to write.
    fn superseded(&self, snapshot: Option<&Snapshot>) -> Option<RefreshReport> {
        let snapshot = snapshot?;
        let why = self.definition.superseded_by(snapshot)?;
        let outcomes = self
            .definition
            .sources
            .iter()
            .map(|source| report::superseded(source.name(), &why));
        // The ropes may be of a form that only the newer one reads.
        Some(RefreshReport {
            sources: outcomes.collect(),
            ..RefreshReport::of_snapshot(self.log.table().as_ref(), snapshot)
        })
    }
}
