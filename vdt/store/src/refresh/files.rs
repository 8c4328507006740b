//! Laying files out and putting their ropes, a few at a time: memory holds that many files, not a table.

use std::{collections::BTreeSet, sync::Arc, thread};

use futures::{Stream, StreamExt, TryStreamExt, stream};
use object_store::{ObjectStoreExt, PutPayload};
use serde_json::Value;
use vdt_table::{FileGroup, VirtualFile, lay_out};

use super::TableRefresh;
use crate::{
    error::StoreError,
    log::{Snapshot, TableLog},
    state::StateStore,
};

/// A file whose rope is in the state store, not yet in the log.
#[derive(Debug, Clone)]
pub(super) struct PutFile {
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) rows: u64,
    pub(super) unparsed: u64,
    /// Whether it has rows that the table did not have before.
    pub(super) data_change: bool,
    pub(super) action: Value,
}

/// What a plan became.
#[derive(Debug)]
pub(super) struct LaidOut {
    pub(super) adds: Vec<PutFile>,
    pub(super) removes: Vec<RemovedFile>,
    pub(super) unparsed: u64,
}

/// A file that leaves the table.
#[derive(Debug)]
pub(super) struct RemovedFile {
    pub(super) path: String,
    pub(super) size: u64,
    /// Whether its rows leave with it, or others take their place.
    pub(super) data_change: bool,
}

impl LaidOut {
    /// Whether it has the same rows in other files, and nothing else.
    pub(super) fn is_merge(&self) -> bool {
        let adds = self.adds.iter().map(|file| file.data_change);
        let removes = self.removes.iter().map(|file| file.data_change);
        let mut changes = adds.chain(removes).peekable();
        changes.peek().is_some() && changes.all(|data_change| !data_change)
    }

    /// With files that were merged.
    pub(super) fn and(mut self, merged: Self) -> Self {
        self.adds.extend(merged.adds);
        self.removes.extend(merged.removes);
        self.unparsed += merged.unparsed;
        self
    }
}

impl TableRefresh {
    /// Lays groups out, puts their ropes, and says what the commit adds and removes, with or without a change of the data. A file that comes
    /// out as it was is neither.
    pub(super) async fn lay_out(
        &self,
        groups: Vec<Arc<FileGroup>>,
        removes: &BTreeSet<String>,
        snapshot: Option<&Snapshot>,
        change: Change,
    ) -> Result<LaidOut, StoreError> {
        let columns = Arc::new(self.definition.columns.clone());
        let layout = Arc::new(self.definition.layout.clone());
        let table = self.log.table().to_string();
        let known = self.known.clone();
        let laid_out = stream::iter(groups)
            .map(move |group| {
                let (columns, layout, table) = (columns.clone(), layout.clone(), table.clone());
                let known = known.clone();
                tokio::task::spawn_blocking(move || {
                    let file = lay_out(&columns, &layout, &group);
                    let file = file.map_err(|source| StoreError::Layout {
                        table,
                        source: Box::new(source),
                    })?;
                    // Committed or not: what the rows of a file of this name are.
                    known.keep(file.name, &group.source.name, &group.artifacts);
                    Ok(file)
                })
            })
            .buffered(files_at_once())
            .map(|joined| joined.map_err(|source| StoreError::task("layout", source))?);
        let adds = put_all(&self.state, &self.log, laid_out, snapshot, change).await?;
        Ok(difference(adds, removes, snapshot, change.data_change))
    }
}

/// What actions say of files besides what these are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    /// Whether rows are added or removed with them.
    pub(super) data_change: bool,
    /// When, Unix milliseconds.
    pub(super) at_ms: i64,
}

/// Files under way at most, on however large a machine: each is some megabytes, reckoned.
const FILES_AT_ONCE_MAX: usize = 8;

/// Files that are laid out at once, and as many that are put: twice the cores, as one that is done waits for those before it.
fn files_at_once() -> usize {
    (2 * thread::available_parallelism().map_or(1, usize::from)).min(FILES_AT_ONCE_MAX)
}

/// Puts the ropes of `files` as they come, but for those that `snapshot` names: a committed rope is durable, and is never
/// written again. Others may be there from a refresh that was cut short; the name is the hash of the content, so putting
/// them again changes nothing.
pub(super) async fn put_all(
    state: &StateStore,
    log: &TableLog,
    files: impl Stream<Item = Result<VirtualFile, StoreError>>,
    snapshot: Option<&Snapshot>,
    change: Change,
) -> Result<Vec<PutFile>, StoreError> {
    let committed = paths(snapshot);
    let committed = &committed;
    files
        .map_ok(|file| async move {
            let path = log.table().clone().join(file.name.rope_file());
            let put = PutFile {
                path: file.name.parquet_file(),
                size: file.name.size,
                rows: file.rows,
                unparsed: file.unparsed,
                data_change: change.data_change,
                action: file.add(change.at_ms, change.data_change),
            };
            if !committed.contains(put.path.as_str()) {
                state
                    .objects()
                    .put(&path, PutPayload::from(file.stored))
                    .await
                    .map_err(|source| StoreError::object(&path, source))?;
            }
            Ok(put)
        })
        .try_buffered(files_at_once())
        .try_collect()
        .await
}

/// Paths of the files of a snapshot.
pub(super) fn paths(snapshot: Option<&Snapshot>) -> BTreeSet<&str> {
    let files = snapshot.iter().flat_map(|snapshot| &snapshot.files);
    files.map(|file| file.path.as_str()).collect()
}

/// Adds that the snapshot does not have, removes that it has: what Delta demands and nobody else checks.
pub(super) fn difference(
    mut adds: Vec<PutFile>,
    removes: &BTreeSet<String>,
    snapshot: Option<&Snapshot>,
    data_change: bool,
) -> LaidOut {
    let present = paths(snapshot);
    let again: BTreeSet<&str> = adds.iter().map(|file| file.path.as_str()).collect();
    let removes = snapshot
        .iter()
        .flat_map(|snapshot| &snapshot.files)
        .filter(|file| removes.contains(&file.path) && !again.contains(file.path.as_str()))
        .map(|file| RemovedFile {
            path: file.path.clone(),
            size: file.size,
            data_change,
        })
        .collect();
    drop(again);
    adds.retain(|file| !present.contains(file.path.as_str()));
    adds.sort_by(|a, b| a.path.cmp(&b.path));
    adds.dedup_by(|a, b| a.path == b.path);
    let unparsed = adds.iter().map(|file| file.unparsed).sum();
    LaidOut {
        adds,
        removes,
        unparsed,
    }
}
