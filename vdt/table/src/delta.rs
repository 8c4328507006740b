//! Actions of a Delta log as JSON values (Delta PROTOCOL "Actions"); the `add` of a file is [`VirtualFile::add`](crate::VirtualFile::add).
//!
//! Tables are of protocol (1,2): no feature that any reader refuses. Times are given by the caller: nothing here reads a clock.
//!
//! ```text
//! 00000000000000000000.json    one action a line
//!   {"commitInfo":{...}}       what happened, for people
//!   {"protocol":{...}}         first version only
//!   {"metaData":{...}}         first version, and when the columns change
//!   {"txn":{...}}              numbers that must survive, by application
//!   {"remove":{...}} {"add":{...}} ...
//! 00000000000000000000.crc     the version's checksum
//! ```

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::schema::TableSchema;

/// Who wrote a commit.
const ENGINE: &str = concat!("vdt/", env!("CARGO_PKG_VERSION"));

/// Returns the `protocol` action: readers of version 1, writers of version 2.
pub fn protocol() -> Value {
    json!({"protocol": protocol_fields()})
}

fn protocol_fields() -> Value {
    json!({"minReaderVersion": 1, "minWriterVersion": 2})
}

/// Returns the `metaData` action. `id` is a UUID that the table keeps for ever, `created_ms` Unix time in milliseconds.
pub fn metadata(
    id: &str,
    schema: &TableSchema,
    configuration: &BTreeMap<String, String>,
    created_ms: i64,
) -> Value {
    json!({"metaData": {
        "id": id,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": schema.delta_schema_json(),
        "partitionColumns": [],
        "configuration": configuration,
        "createdTime": created_ms,
    }})
}

/// Returns a `txn` action: the newest number of an application, of the time `updated_ms`.
pub fn transaction(app_id: &str, version: i64, updated_ms: i64) -> Value {
    json!({"txn": {"appId": app_id, "version": version, "lastUpdated": updated_ms}})
}

/// Returns the `remove` action of a file of `size` bytes, whose rows leave the table with it (`data_change`) or stay in others.
pub fn remove(path: &str, size: u64, deleted_ms: i64, data_change: bool) -> Value {
    json!({"remove": {
        "path": path,
        "deletionTimestamp": deleted_ms,
        "dataChange": data_change,
        "extendedFileMetadata": true,
        "partitionValues": {},
        "size": size,
    }})
}

/// Returns the `commitInfo` action. `metrics` are an object of text values, as Delta's own writers have them.
pub fn commit_info(time_ms: i64, operation: &str, metrics: &Value) -> Value {
    json!({"commitInfo": {
        "timestamp": time_ms,
        "operation": operation,
        "operationParameters": match operation {
            "OPTIMIZE" => json!({"predicate": "[]"}),
            _ => json!({"mode": "Append", "partitionBy": "[]"}),
        },
        "operationMetrics": metrics,
        "engineInfo": ENGINE,
    }})
}

/// Returns the version checksum (Delta PROTOCOL "Version Checksum File") of a snapshot: its `metaData` fields, the bytes of its
/// files and their count.
pub fn checksum(metadata: &Value, table_bytes: u64, files: u64) -> Value {
    json!({
        "tableSizeBytes": table_bytes,
        "numFiles": files,
        "numMetadata": 1,
        "numProtocol": 1,
        "metadata": metadata,
        "protocol": protocol_fields(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_holds_the_schema_as_text() {
        let configuration = BTreeMap::from([("vdt.layout".to_owned(), "0123".to_owned())]);
        let action = metadata("an-id", &TableSchema::artifacts(), &configuration, 7);
        let text = action["metaData"]["schemaString"]
            .as_str()
            .unwrap_or_default();
        let schema: Value = serde_json::from_str(text).unwrap_or_default();
        assert_eq!(schema["fields"][5]["name"], "data");
        assert_eq!(action["metaData"]["configuration"]["vdt.layout"], "0123");
        assert_eq!(action["metaData"]["createdTime"], 7);
    }

    #[test]
    fn every_action_is_wrapped_in_its_name() {
        for (action, name) in [
            (protocol(), "protocol"),
            (transaction("vdt", 3, 0), "txn"),
            (remove("a.parquet", 1, 0, true), "remove"),
            (commit_info(0, "WRITE", &json!({})), "commitInfo"),
        ] {
            let object = action
                .as_object()
                .map(|object| object.keys().cloned().collect::<Vec<_>>());
            assert_eq!(object, Some(vec![name.to_owned()]));
        }
    }
}
