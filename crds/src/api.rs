//! JSON of the admin API, spoken by the server and the sidecar, read by the operator and by the page.
//!
//! | request | answer |
//! |---|---|
//! | `GET /api/v1/tables` | a list of [`TableReport`] |
//! | `GET /api/v1/tables/<catalog>/<schema>/<table>/files?after=&limit=` | [`FilesReport`] |
//! | `GET /api/v1/tables/<catalog>/<schema>/<table>/files/<name>` | [`RopeReport`] |
//! | `GET /api/v1/cache` | [`CacheReport`], or `null` of a process without a cache |
//! | `POST /refresh?table=&wait=` | a list of [`RefreshReport`] |
//!
//! Fields are camelCase, times RFC 3339 in UTC, unknown values absent.

mod cache;
mod files;
mod refresh;

use std::collections::BTreeMap;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use serde::{Deserialize, Serialize};

pub use cache::*;
pub use files::*;
pub use refresh::*;

use crate::status::{ConditionStatus, SourceStatus};

/// One table as it is served now.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TableReport {
    /// `<catalog>/<schema>/<table>`.
    pub table: String,
    /// Version of the log that is served; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Artifacts in that version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<u64>,
    /// Seconds since every source was last listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<u64>,
    /// End of the last refresh that listed every source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Time>,
    /// Conditions, as in the resource's status.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Sources as last listed.
    #[serde(default)]
    pub sources: Vec<SourceReport>,
    /// The manifest that it is served by; absent where a manifest has no generation and none is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<ManifestReport>,
}

/// Which manifest a table is served by.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ManifestReport {
    /// `metadata.generation` of the manifest that the newest refresh followed; absent before the first refresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// A newer manifest that is not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedManifest>,
}

/// A manifest that is not followed. The last good one stands.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RefusedManifest {
    /// Its `metadata.generation`; absent where it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Why, in CamelCase. [`RESTART_NEEDED`] is no fault of the manifest.
    pub reason: String,
    /// The field, its value and what to do.
    pub message: String,
}

/// Reason: the process takes the change when it is started again, which is the operator's work.
pub const RESTART_NEEDED: &str = "RestartNeeded";

impl ManifestReport {
    /// The report, unless it says nothing.
    #[must_use]
    pub fn if_any(self) -> Option<Self> {
        (self != Self::default()).then_some(self)
    }

    /// What two processes follow of one manifest: the older generation, and the first refusal.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            generation: match (self.generation, other.generation) {
                (Some(one), Some(two)) => Some(one.min(two)),
                (one, two) => one.or(two),
            },
            refused: self.refused.or(other.refused),
        }
    }
}

/// One source as last listed.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SourceReport {
    /// Name, status, reason and message, as in the resource's status.
    #[serde(flatten)]
    pub status: SourceStatus,
    /// Artifacts that the last complete listing found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<u64>,
    /// Objects that were left out, counted by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<String, u64>,
}

/// Makes a condition. `kind` and `reason` are constants of [`crate::status`]; `since_ms` (Unix, ms) is when its status last changed: the caller keeps
/// the old time while the status stays the same.
#[must_use]
pub fn condition(
    kind: &str,
    status: ConditionStatus,
    reason: &str,
    message: impl Into<String>,
    since_ms: i64,
) -> Condition {
    Condition {
        type_: kind.to_owned(),
        status: status.as_str().to_owned(),
        reason: reason.to_owned(),
        message: message.into(),
        last_transition_time: time(since_ms),
        observed_generation: None,
    }
}

/// Makes a time of the API from Unix milliseconds. Times outside the years that RFC 3339 can write become the epoch.
#[must_use]
pub fn time(unix_ms: i64) -> Time {
    Time(Timestamp::from_millisecond(unix_ms).unwrap_or(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::status::{condition as types, reason};

    #[test]
    fn a_report_is_written_as_agreed_and_read_back() {
        let report = TableReport {
            table: "main/docs/manuals".to_owned(),
            version: Some(3),
            artifacts: Some(412),
            lag_seconds: Some(0),
            last_success: Some(time(1_767_225_600_000)),
            conditions: vec![condition(
                types::READY,
                ConditionStatus::True,
                reason::SERVING,
                "serves version 3",
                0,
            )],
            sources: vec![SourceReport {
                status: SourceStatus {
                    name: "bucket".to_owned(),
                    status: ConditionStatus::True,
                    reason: None,
                    message: None,
                },
                artifacts: Some(412),
                skipped: BTreeMap::from([("trailing-slash".to_owned(), 2)]),
            }],
            manifest: Some(ManifestReport {
                generation: Some(7),
                refused: None,
            }),
        };
        let written = serde_json::to_value(&report).unwrap();
        let expected = json!({
            "table": "main/docs/manuals", "version": 3, "artifacts": 412, "lagSeconds": 0, "lastSuccess": "2026-01-01T00:00:00Z",
            "conditions": [{"type": "Ready", "status": "True", "reason": "Serving", "message": "serves version 3",
                "lastTransitionTime": "1970-01-01T00:00:00Z"}],
            "sources": [{"name": "bucket", "status": "True", "artifacts": 412, "skipped": {"trailing-slash": 2}}],
            "manifest": {"generation": 7},
        });
        assert_eq!(written, expected);
        assert_eq!(
            serde_json::from_value::<TableReport>(written).unwrap(),
            report
        );
    }
}
