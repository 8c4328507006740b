//! What a refresh came to: the answer of `POST /refresh`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a refresh did to one table, or that it is queued.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RefreshReport {
    /// `<catalog>.<schema>.<table>`.
    pub table: String,
    /// What came of it.
    pub outcome: RefreshOutcome,
    /// The table's version afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Artifacts of that version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<u64>,
    /// Artifacts that are new in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added: Option<u64>,
    /// Artifacts whose content changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<u64>,
    /// Artifacts that are gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<u64>,
    /// A sentence, where the outcome needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl RefreshReport {
    /// A report that says no more than what came of it.
    #[must_use]
    pub fn new(table: String, outcome: RefreshOutcome) -> Self {
        Self {
            table,
            outcome,
            version: None,
            artifacts: None,
            added: None,
            changed: None,
            removed: None,
            message: None,
        }
    }
}

/// What came of a refresh.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshOutcome {
    /// It is done after those that were asked for before.
    Queued,
    /// There is a new version.
    Committed,
    /// The version is as its sources are.
    Unchanged,
    /// The sources are not taken over: `spec.refresh.onShrink`.
    Held,
    /// The sources could not be listed, or the version not be written.
    Failed,
}

impl fmt::Display for RefreshOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "Queued",
            Self::Committed => "Committed",
            Self::Unchanged => "Unchanged",
            Self::Held => "Held",
            Self::Failed => "Failed",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_is_written_as_agreed_and_read_back() {
        let queued = RefreshReport::new("main.docs.t".to_owned(), RefreshOutcome::Queued);
        let done = RefreshReport {
            version: Some(7),
            artifacts: Some(3),
            added: Some(1),
            ..RefreshReport::new("main.docs.t".to_owned(), RefreshOutcome::Committed)
        };
        let written = json!([
            {"table": "main.docs.t", "outcome": "Queued"},
            {"table": "main.docs.t", "outcome": "Committed", "version": 7, "artifacts": 3, "added": 1},
        ]);
        assert_eq!(json!([queued, done]), written);
        let read: Vec<RefreshReport> = serde_json::from_value(written).unwrap();
        assert_eq!(read, [queued, done]);
    }
}
