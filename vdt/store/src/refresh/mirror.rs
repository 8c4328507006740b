//! `t_meta`: the same rows without `data`, in a log of its own.
//!
//! Its files are a pure function of the rows of `t`, so the mirror of a version is the same whoever makes it and however often.
//! The `txn` action `vdt-of` holds the version of `t` that is mirrored: a mirror that is behind is made again, one that is
//! ahead is left alone. Ropes that were lost or damaged are looked for once, by the first refresh that finds nothing to do, and put again.

use std::{collections::BTreeSet, sync::atomic::Ordering::Relaxed};

use futures::stream;
use tokio::sync::mpsc;
use vdt_crds::chain;
use vdt_table::{VirtualFile, meta_files};

use super::{
    TableRefresh,
    apply::KeptRows,
    commit::{Commit, Header},
    files::{Change, PutFile, difference, paths, put_all},
};
use crate::{
    error::StoreError,
    log::{APP_ID_META, Snapshot},
    rows::{Rows, count_lost},
};

/// Files laid out ahead of the puts.
const AHEAD: usize = 2;
/// Commits lost in a row before the next refresh tries.
const ATTEMPTS: usize = 8;

/// What `t_meta` is made of: its ropes are put while those of `t` are, or made from the rows if a mirror turns out to be missing.
pub(super) enum Mirror {
    /// Put by the difference to `snapshot`, which was the newest of `t_meta` then.
    Files {
        files: Vec<PutFile>,
        snapshot: Option<Snapshot>,
    },
    Rows(KeptRows),
}

impl TableRefresh {
    /// Brings `t_meta` to `version`, which `mirror` was made of, and writes its checksum file.
    pub(super) async fn mirror(&self, version: u64, mirror: Mirror) -> Result<(), StoreError> {
        let of = i64::try_from(version).unwrap_or(i64::MAX);
        let mirrored = |snapshot: &Option<Snapshot>| {
            let transactions = snapshot.as_ref().map(|snapshot| &snapshot.transactions)?;
            transactions.get(APP_ID_META).copied()
        };
        let is_current =
            |snapshot: &Option<Snapshot>| mirrored(snapshot).is_some_and(|mirrored| mirrored >= of);
        let now_ms = (self.clock)();
        let (files, mut snapshot) = match mirror {
            // Durable before `t` was committed, as `snapshot` was read: it cannot mirror this version yet.
            Mirror::Files { files, snapshot } => (files, snapshot),
            Mirror::Rows(rows) => {
                let snapshot = self.meta_log.snapshot().await?;
                let is_lossy = mirrored(&snapshot) == Some(of)
                    && self.has_lost_ropes(snapshot.as_ref()).await?;
                if is_current(&snapshot) && !is_lossy {
                    return self.write_checksum(&self.meta_log).await;
                }
                let rows = self.rows(rows, Vec::new()).await?;
                let puts = self.state.puts_from_now();
                let there = snapshot.as_ref().filter(|_| !is_lossy);
                let files = self.put_meta_files(rows, there, now_ms).await?;
                self.state.flush(puts).await?;
                if is_lossy && is_made_of(snapshot.as_ref(), &files) {
                    return self.write_checksum(&self.meta_log).await;
                }
                (files, snapshot)
            }
        };
        for _ in 0..ATTEMPTS {
            if self
                .commit_mirror(snapshot.as_ref(), files.clone(), of, now_ms)
                .await?
            {
                return Ok(());
            }
            snapshot = self.meta_log.snapshot().await?;
            if is_current(&snapshot) {
                return self.write_checksum(&self.meta_log).await;
            }
        }
        Err(StoreError::Contended {
            table: self.meta_log.table().to_string(),
            attempts: ATTEMPTS,
        })
    }

    /// Whether a rope of `snapshot` is missing or damaged. Looks until all were whole once.
    async fn has_lost_ropes(&self, snapshot: Option<&Snapshot>) -> Result<bool, StoreError> {
        let Some(snapshot) = snapshot.filter(|_| !self.is_mirror_seen.load(Relaxed)) else {
            return Ok(false);
        };
        let table = self.meta_log.table();
        let lost = match count_lost(&self.state, &self.meta_log, snapshot).await {
            Ok(lost) => lost,
            // `t` is whole: a look that fails is made again by the next refresh, and fails none.
            Err(error) => {
                tracing::warn!(%table, error = chain(&error), "ropes cannot be looked at");
                return Ok(false);
            }
        };
        if lost == 0 {
            self.is_mirror_seen.store(true, Relaxed);
        } else {
            tracing::warn!(%table, lost, "ropes are lost or damaged, they are made again");
        }
        Ok(lost > 0)
    }

    /// Lays out `t_meta` and puts the ropes that its `snapshot` lacks. Harmless before `t` is committed: no commit names them yet.
    pub(super) async fn put_meta_files(
        &self,
        rows: Rows,
        snapshot: Option<&Snapshot>,
        now_ms: i64,
    ) -> Result<Vec<PutFile>, StoreError> {
        let (columns, layout) = (
            self.definition.columns.without_data(),
            self.definition.layout.clone(),
        );
        let table = self.meta_log.table().to_string();
        let (send, mut receive) = mpsc::channel::<Result<VirtualFile, StoreError>>(AHEAD);
        let laying = tokio::task::spawn_blocking(move || {
            for file in meta_files(&columns, &layout, rows) {
                let file = file.map_err(|source| StoreError::Layout {
                    table: table.clone(),
                    source: Box::new(source),
                });
                if send.blocking_send(file).is_err() {
                    return;
                }
            }
        });
        let files = stream::poll_fn(move |context| receive.poll_recv(context));
        let change = Change {
            data_change: true,
            at_ms: now_ms,
        };
        let put = put_all(&self.state, &self.meta_log, files, snapshot, change).await;
        laying
            .await
            .map_err(|source| StoreError::task("layout of the table without data", source))?;
        put
    }

    async fn commit_mirror(
        &self,
        snapshot: Option<&Snapshot>,
        files: Vec<PutFile>,
        of: i64,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let columns = self.definition.columns.without_data();
        let configuration = self.definition.layout_configuration();
        let wanted: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let gone: BTreeSet<String> = snapshot
            .iter()
            .flat_map(|snapshot| &snapshot.files)
            .filter(|file| !wanted.contains(file.path.as_str()))
            .map(|file| file.path.clone())
            .collect();
        drop(wanted);
        let laid_out = difference(files, &gone, snapshot, true);
        let is_of = |snapshot: &Snapshot| {
            configuration
                .iter()
                .all(|(key, value)| snapshot.configuration(key) == Some(value))
        };
        let header = Header {
            operation: "WRITE",
            columns: &columns,
            configuration: &configuration,
            is_edited: !snapshot.is_some_and(is_of),
            transaction: (APP_ID_META, of),
        };
        let Commit {
            version,
            actions,
            checksum,
        } = laid_out.commit(snapshot, &header, now_ms);
        if !self.meta_log.commit(version, &actions).await? {
            return Ok(false);
        }
        self.meta_log.write_checksum(version, &checksum).await?;
        Ok(true)
    }
}

/// Whether `snapshot` has these files and no other.
fn is_made_of(snapshot: Option<&Snapshot>, files: &[PutFile]) -> bool {
    paths(snapshot) == files.iter().map(|file| file.path.as_str()).collect()
}
