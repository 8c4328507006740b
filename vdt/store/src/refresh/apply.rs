//! From a plan to a version: files laid out, ropes put, actions committed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future;
use vdt_table::FileGroup;

use super::{
    TableRefresh,
    commit::{Commit, Header},
    files::{self, Change},
    mirror::Mirror,
    plan::{Contexts, Planned},
    report::RefreshReport,
};
use crate::{
    error::StoreError,
    log::{APP_ID, Snapshot},
    plan::{CommittedFile, UnreadFile},
    rows::{Rows, read_unread},
};

impl TableRefresh {
    /// Carries a plan out. `None`: somebody else committed the version that it was made for.
    pub(super) async fn apply(
        &self,
        snapshot: Option<Snapshot>,
        planned: Planned,
        now_ms: i64,
    ) -> Result<Option<RefreshReport>, StoreError> {
        let Planned {
            plan,
            outcomes,
            contexts,
            configuration,
            metadata_changed,
            recheck_time,
            rows_time,
        } = planned;
        let (changes, merged) = (plan.changes.clone(), plan.merge.remove.len() as u64);
        let artifacts = plan.artifacts();
        let table = self.log.table().to_string();
        let report = |version, committed, bytes, unparsed, rows_time: Duration| RefreshReport {
            artifacts,
            artifact_bytes: Some(bytes),
            committed,
            new: changes.new,
            changed: changes.changed,
            deleted: changes.deleted,
            unsettled: changes.unsettled,
            merged,
            unparsed,
            sources: outcomes,
            listing_seconds: recheck_time.as_secs_f64(),
            rows_seconds: rows_time.as_secs_f64(),
            ..RefreshReport::of_version(&table, version)
        };
        if let Some(snapshot) = snapshot
            .as_ref()
            .filter(|_| plan.is_empty() && !metadata_changed)
        {
            let rows = KeptRows {
                contexts,
                files: plan.keep,
                unread: plan.unread,
            };
            let bytes = rows.artifact_bytes();
            self.finish(snapshot.version, Mirror::Rows(rows), None)
                .await?;
            return Ok(Some(report(snapshot.version, false, bytes, 0, rows_time)));
        }
        let next_id = plan.next_id;
        let puts = self.state.puts_from_now();
        let shared = |groups: Vec<FileGroup>| groups.into_iter().map(Arc::new).collect::<Vec<_>>();
        let (groups, merged) = (shared(plan.add), shared(plan.merge.add));
        let all = groups.iter().chain(&merged).cloned().collect();
        let rows = KeptRows {
            contexts,
            files: plan.keep,
            unread: plan.unread,
        };
        let began = Instant::now();
        let rows = self.rows(rows, all).await?;
        let rows_time = rows_time + began.elapsed();
        let bytes = rows.artifact_bytes();
        let put_meta_files = async {
            let snapshot = self.meta_log.snapshot().await?;
            let files = self.put_meta_files(rows, snapshot.as_ref(), now_ms).await?;
            Ok((files, snapshot))
        };
        let changed = Change {
            data_change: true,
            at_ms: now_ms,
        };
        let rearranged = Change {
            data_change: false,
            ..changed
        };
        let put_files = async {
            let before = snapshot.as_ref();
            let laid_out = self.lay_out(groups, &plan.remove, before, changed).await?;
            let merging = self.lay_out(merged, &plan.merge.remove, before, rearranged);
            Ok::<_, StoreError>(laid_out.and(merging.await?))
        };
        let (laid_out, (files, snapshot_of_meta)) =
            future::try_join(put_files, put_meta_files).await?;
        let unparsed = laid_out.unparsed;
        let header = Header {
            operation: operation(&snapshot, &laid_out, metadata_changed),
            columns: &self.definition.columns,
            configuration: &configuration,
            is_edited: metadata_changed,
            transaction: (APP_ID, next_id),
        };
        let Commit {
            version,
            actions,
            checksum,
        } = laid_out.commit(snapshot.as_ref(), &header, now_ms);
        self.state.flush(puts).await?;
        if !self.log.commit(version, &actions).await? {
            return Ok(None);
        }
        self.finish(
            version,
            Mirror::Files {
                files,
                snapshot: snapshot_of_meta,
            },
            Some(checksum),
        )
        .await?;
        Ok(Some(report(version, true, bytes, unparsed, rows_time)))
    }

    /// All rows of the version that keeps the files `kept` and adds `groups`.
    pub(super) async fn rows(
        &self,
        kept: KeptRows,
        mut groups: Vec<Arc<FileGroup>>,
    ) -> Result<Rows, StoreError> {
        let read = read_unread(&self.state, &self.log, &self.known, kept.unread).await?;
        groups.extend(kept.files.into_iter().chain(read).filter_map(|file| {
            Some(Arc::new(FileGroup {
                source: kept.contexts.get(&file.source)?.clone(),
                artifacts: file.artifacts,
            }))
        }));
        Ok(Rows::new(groups))
    }
}

/// Rows of the files that stay, some of which are read when they are needed.
pub(super) struct KeptRows {
    contexts: Contexts,
    files: Vec<CommittedFile>,
    unread: Vec<UnreadFile>,
}

impl KeptRows {
    fn artifact_bytes(&self) -> u64 {
        let artifacts = self.files.iter().flat_map(|file| &file.artifacts);
        let sizes = artifacts.map(|artifact| artifact.object.size);
        let unread = self.unread.iter().map(|file| file.artifact_bytes);
        sizes.chain(unread).fold(0, u64::saturating_add)
    }
}

fn operation(
    snapshot: &Option<Snapshot>,
    laid_out: &files::LaidOut,
    is_edited: bool,
) -> &'static str {
    match snapshot {
        None => "CREATE TABLE",
        Some(_) if !is_edited && laid_out.is_merge() => "OPTIMIZE",
        Some(_) if laid_out.removes.iter().any(|file| file.data_change) => "REPLACE FILES",
        Some(_) => "WRITE",
    }
}
