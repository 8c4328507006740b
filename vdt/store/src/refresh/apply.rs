//! From a plan to a version: files laid out, ropes put, actions committed.

use std::sync::Arc;

use futures::future;
use serde_json::Value;
use vdt_table::{FileGroup, delta};

use super::{
    TableRefresh, files,
    mirror::Mirror,
    plan::{Contexts, Planned},
    report::{RefreshReport, report},
};
use crate::{
    error::StoreError,
    log::{APP_ID, Snapshot},
    plan::CommittedFile,
    rows::Rows,
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
        } = planned;
        let changes = plan.changes.clone();
        let artifacts = plan.artifacts();
        let table = self.log.table().to_string();
        let report = |version: u64, committed: bool, bytes: u64, unparsed: u64| {
            report(
                &table,
                version,
                committed,
                (artifacts, bytes, unparsed),
                changes.clone(),
                outcomes.clone(),
            )
        };
        if let Some(snapshot) = snapshot
            .as_ref()
            .filter(|_| plan.is_empty() && !metadata_changed)
        {
            let rows = rows(&contexts, plan.keep, Vec::new());
            let bytes = rows.artifact_bytes();
            self.finish(snapshot.version, Mirror::Rows(rows), None)
                .await?;
            return Ok(Some(report(snapshot.version, false, bytes, 0)));
        }
        let next_id = plan.next_id;
        let puts = self.state.puts_from_now();
        let groups: Vec<_> = plan.add.into_iter().map(Arc::new).collect();
        let rows = rows(&contexts, plan.keep, groups.clone());
        let bytes = rows.artifact_bytes();
        let put_meta_files = async {
            let snapshot = self.meta_log.snapshot().await?;
            let files = self.put_meta_files(rows, snapshot.as_ref(), now_ms).await?;
            Ok((files, snapshot))
        };
        let (laid_out, (files, snapshot_of_meta)) = future::try_join(
            self.lay_out(groups, &plan.remove, snapshot.as_ref(), now_ms),
            put_meta_files,
        )
        .await?;
        let mut actions = vec![delta::commit_info(
            now_ms,
            operation(&snapshot, &laid_out),
            &laid_out.metrics(),
        )];
        let metadata = match &snapshot {
            None => Some(delta::metadata(
                &uuid::Uuid::new_v4().to_string(),
                &self.definition.columns,
                &configuration,
                now_ms,
            )),
            Some(snapshot) if metadata_changed => Some(delta::metadata(
                snapshot
                    .metadata
                    .get("id")
                    .and_then(Value::as_str)
                    .unwrap_or_default(),
                &self.definition.columns,
                &configuration,
                snapshot
                    .metadata
                    .get("createdTime")
                    .and_then(Value::as_i64)
                    .unwrap_or(now_ms),
            )),
            Some(_) => None,
        };
        if snapshot.is_none() {
            actions.push(delta::protocol());
        }
        let checksum = laid_out.checksum(snapshot.as_ref(), metadata.as_ref());
        actions.extend(metadata);
        actions.push(delta::transaction(APP_ID, next_id, now_ms));
        actions.extend(
            laid_out
                .removes
                .iter()
                .map(|file| delta::remove(&file.path, file.size, now_ms)),
        );
        actions.extend(laid_out.adds.into_iter().map(|add| add.action));
        self.state.flush(puts).await?;
        let version = snapshot.map_or(0, |snapshot| snapshot.version + 1);
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
        Ok(Some(report(version, true, bytes, laid_out.unparsed)))
    }
}

/// All rows of the version that keeps the files `keep` and adds `groups`.
fn rows(contexts: &Contexts, keep: Vec<CommittedFile>, mut groups: Vec<Arc<FileGroup>>) -> Rows {
    groups.extend(keep.into_iter().filter_map(|file| {
        Some(Arc::new(FileGroup {
            source: contexts.get(&file.source)?.clone(),
            artifacts: file.artifacts,
        }))
    }));
    Rows::new(groups)
}

fn operation(snapshot: &Option<Snapshot>, laid_out: &files::LaidOut) -> &'static str {
    match snapshot {
        None => "CREATE TABLE",
        Some(_) if laid_out.removes.is_empty() => "WRITE",
        Some(_) => "REPLACE FILES",
    }
}
