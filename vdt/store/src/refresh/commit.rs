//! The actions of the version after a snapshot, in the order in which they stand in the log: those of `t` and of `t_meta` alike.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vdt_table::{TableSchema, delta};

use super::files::LaidOut;
use crate::log::Snapshot;

/// What a version says besides its files.
pub(super) struct Header<'a> {
    /// `commitInfo.operation`.
    pub(super) operation: &'static str,
    pub(super) columns: &'a TableSchema,
    pub(super) configuration: &'a BTreeMap<String, String>,
    /// Whether columns or configuration are others than those of the snapshot.
    pub(super) is_edited: bool,
    /// Application id and version of the `txn` action.
    pub(super) transaction: (&'static str, i64),
}

/// A version that is ready to be put.
pub(super) struct Commit {
    pub(super) version: u64,
    pub(super) actions: Vec<Value>,
    /// What its `.crc` says.
    pub(super) checksum: Value,
}

impl Header<'_> {
    /// The `metaData` action, where there is one: the table keeps its id and its time for ever.
    fn metadata(&self, snapshot: Option<&Snapshot>, now_ms: i64) -> Option<Value> {
        let (id, created_ms) = match snapshot {
            None => (uuid::Uuid::new_v4().to_string(), now_ms),
            Some(snapshot) if self.is_edited => snapshot.identity(now_ms),
            Some(_) => return None,
        };
        let action = delta::metadata(&id, self.columns, self.configuration, created_ms);
        Some(action)
    }
}

impl LaidOut {
    /// The version after `snapshot` that adds and removes these files.
    pub(super) fn commit(
        self,
        snapshot: Option<&Snapshot>,
        header: &Header<'_>,
        now_ms: i64,
    ) -> Commit {
        let metadata = header.metadata(snapshot, now_ms);
        let checksum = self.checksum(snapshot, metadata.as_ref());
        let mut actions = vec![delta::commit_info(
            now_ms,
            header.operation,
            &self.metrics(),
        )];
        if snapshot.is_none() {
            actions.push(delta::protocol());
        }
        actions.extend(metadata);
        let (app_id, transaction) = header.transaction;
        actions.push(delta::transaction(app_id, transaction, now_ms));
        let removes = self.removes.iter();
        actions.extend(
            removes.map(|file| delta::remove(&file.path, file.size, now_ms, file.data_change)),
        );
        actions.extend(self.adds.into_iter().map(|file| file.action));
        Commit {
            version: snapshot.map_or(0, |snapshot| snapshot.version + 1),
            actions,
            checksum,
        }
    }

    /// `operationMetrics` of the commit.
    fn metrics(&self) -> Value {
        let rows: u64 = self.adds.iter().map(|file| file.rows).sum();
        let bytes: u64 = self.adds.iter().map(|file| file.size).sum();
        json!({
            "numFiles": self.adds.len().to_string(),
            "numRemovedFiles": self.removes.len().to_string(),
            "numOutputRows": rows.to_string(),
            "numOutputBytes": bytes.to_string(),
        })
    }

    /// The checksum of the version; `metadata` is its `metaData` action if it has one.
    fn checksum(&self, snapshot: Option<&Snapshot>, metadata: Option<&Value>) -> Value {
        let before = snapshot.map_or(&[][..], |snapshot| &snapshot.files);
        let mut bytes: u64 = before.iter().map(|file| file.size).sum();
        bytes += self.adds.iter().map(|file| file.size).sum::<u64>();
        bytes -= self.removes.iter().map(|file| file.size).sum::<u64>();
        let files = before.len() + self.adds.len() - self.removes.len();
        let metadata = metadata
            .map(|action| &action["metaData"])
            .or(snapshot.map(|snapshot| &snapshot.metadata));
        delta::checksum(metadata.unwrap_or(&Value::Null), bytes, files as u64)
    }
}
