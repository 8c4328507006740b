//! What a refresh did, for those who asked and for the status.

use std::collections::BTreeMap;

use serde::Serialize;
use vdt_crds::chain;

use crate::{
    log::Snapshot,
    source::{Listing, SourceError},
};

/// A source after a refresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceOutcome {
    /// Name in the manifest.
    pub name: String,
    /// Reason in CamelCase: `Listed`, `Shrunk`, `Superseded`, or why it could not be listed.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// Artifacts listed, if it was.
    pub artifacts: Option<u64>,
    /// Keys that cannot be served, by reason.
    pub skipped: BTreeMap<String, u64>,
}

impl SourceOutcome {
    /// Whether the table shows what the source holds.
    pub fn is_current(&self) -> bool {
        self.reason == LISTED
    }

    /// Whether the source is held at its last state because it shrank.
    pub fn is_held(&self) -> bool {
        self.reason == SHRUNK
    }

    /// Whether another process decides about it.
    pub fn is_superseded(&self) -> bool {
        self.reason == SUPERSEDED
    }
}

const LISTED: &str = "Listed";
pub(super) const SHRUNK: &str = "Shrunk";
const SUPERSEDED: &str = "Superseded";

/// What a refresh did.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefreshReport {
    /// `<catalog>/<schema>/<table>`.
    pub table: String,
    /// Newest version.
    pub version: u64,
    /// Whether this refresh committed it.
    pub committed: bool,
    /// Artifacts in it.
    pub artifacts: u64,
    /// Bytes of those artifacts, where they are known: a version that was not read tells its rows alone.
    pub artifact_bytes: Option<u64>,
    /// New artifacts.
    pub new: u64,
    /// Changed artifacts.
    pub changed: u64,
    /// Deleted artifacts.
    pub deleted: u64,
    /// Artifacts that are held back until they have settled.
    pub unsettled: u64,
    /// Small files that were merged without a change.
    pub merged: u64,
    /// Path parts that did not parse and are null, in files laid out by this refresh.
    pub unparsed: u64,
    /// Sources, by name.
    pub sources: Vec<SourceOutcome>,
    /// Seconds that listing took.
    pub listing_seconds: f64,
    /// Seconds that the rows of the version before were read for.
    pub rows_seconds: f64,
    /// Seconds in all.
    pub seconds: f64,
}

impl RefreshReport {
    /// The report of a version of which nothing else is known.
    pub fn of_version(table: &str, version: u64) -> Self {
        Self {
            table: table.to_owned(),
            version,
            ..Self::default()
        }
    }

    /// The report of a table that is served as it was committed, without a refresh of this process.
    pub fn of_snapshot(table: &str, snapshot: &Snapshot) -> Self {
        Self {
            artifacts: snapshot.rows(),
            ..Self::of_version(table, snapshot.version)
        }
    }

    /// Whether the table shows every source as it was listed.
    pub fn is_current(&self) -> bool {
        self.sources.iter().all(SourceOutcome::is_current)
    }

    /// Whether a source could not be listed. One that is held was, and of one that is superseded another process decides.
    pub fn has_failed(&self) -> bool {
        let settled = [LISTED, SHRUNK, SUPERSEDED];
        let mut sources = self.sources.iter();
        sources.any(|source| !settled.contains(&source.reason))
    }
}

pub(super) fn outcome(name: &str, listing: Result<&Listing, &SourceError>) -> SourceOutcome {
    match listing {
        Ok(listing) => SourceOutcome {
            name: name.to_owned(),
            reason: LISTED,
            message: format!(
                "listed {} artifacts, {} bytes, in {} requests",
                listing.entries.len(),
                listing.bytes,
                listing.requests
            ),
            artifacts: Some(listing.entries.len() as u64),
            skipped: listing
                .skipped
                .iter()
                .map(|(reason, skipped)| (reason.to_string(), skipped.count))
                .collect(),
        },
        Err(error) => SourceOutcome {
            name: name.to_owned(),
            reason: error.reason(),
            message: chain(error),
            artifacts: None,
            skipped: BTreeMap::new(),
        },
    }
}

/// A source that was not listed, as somebody else decides about the table: `why`.
pub(super) fn superseded(name: &str, why: &str) -> SourceOutcome {
    SourceOutcome {
        name: name.to_owned(),
        reason: SUPERSEDED,
        message: why.to_owned(),
        artifacts: None,
        skipped: BTreeMap::new(),
    }
}
