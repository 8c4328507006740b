//! `GET /api/v1/cache`: what the cache holds and what it saved.
//!
//! The process that has the cache makes a [`CacheReport`]; a process without one answers `null`. Every field has a default, so a reader of another
//! version finds zeros and absent values, never an error. Counts are since the process started, unless they say otherwise.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde::{Deserialize, Serialize};

use super::condition;
use crate::status::{ConditionStatus, condition as kind, reason};

/// Minutes of history in [`CacheReport::hour`], at most.
pub const HOUR_MINUTES: usize = 60;
/// Artifacts in [`CacheReport::hottest`], at most.
pub const HOTTEST_MAX: usize = 20;

/// The cache of one process as it is now.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CacheReport {
    /// The two tiers.
    pub tiers: CacheTiers,
    /// What is cached, by class.
    pub classes: Vec<ClassReport>,
    /// Lookups that were answered, by tier.
    pub hits: TierCounts,
    /// Lookups that went to the origin, and the first one of what was read ahead.
    pub misses: u64,
    /// Lookups that waited for a fetch that another one had begun (single-flight): neither hits nor misses.
    pub joins: u64,
    /// Bytes that were fetched before they were asked for.
    pub read_ahead_bytes: u64,
    /// The last hour by minute, oldest first, at most [`HOUR_MINUTES`]; the last one is under way. Minutes in which nothing happened are there, too.
    pub hour: Vec<MinuteSample>,
    /// Artifacts that were read most, most reads first, at most [`HOTTEST_MAX`].
    pub hottest: Vec<HotArtifact>,
    /// Where misses go.
    pub origin: OriginReport,
}

impl CacheReport {
    /// The condition `CacheReady`. `started_ms` (Unix, ms) is when tiers that do not say since when they are as they are began.
    #[must_use]
    pub fn condition(&self, started_ms: i64) -> Condition {
        let tiers = [&self.tiers.memory, &self.tiers.disk];
        let degraded = tiers.iter().find(|tier| tier.state == TierState::Degraded);
        let mut made = match degraded {
            Some(tier) => condition(
                kind::CACHE_READY,
                ConditionStatus::False,
                tier.reason.as_deref().unwrap_or(reason::CACHE_DEGRADED),
                tier.message.clone().unwrap_or_default(),
                started_ms,
            ),
            None => condition(
                kind::CACHE_READY,
                ConditionStatus::True,
                reason::CACHE_READY,
                "every tier works as asked for",
                started_ms,
            ),
        };
        let since = match degraded {
            Some(tier) => tier.since.clone(),
            None => tiers.iter().filter_map(|tier| tier.since.clone()).max(),
        };
        if let Some(since) = since {
            made.last_transition_time = since;
        }
        made
    }
}

/// Both tiers.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CacheTiers {
    /// In memory.
    pub memory: TierReport,
    /// On a local disk.
    pub disk: TierReport,
}

/// One tier.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct TierReport {
    /// Whether it works.
    pub state: TierState,
    /// Since when it does, or does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Most bytes that it may hold.
    pub capacity: u64,
    /// Bytes that it holds.
    pub bytes: u64,
    /// Entries that it holds.
    pub entries: u64,
    /// Entries that were pushed out.
    pub evictions: u64,
    /// Writes that were dropped because they came faster than the tier takes them.
    pub dropped_writes: u64,
    /// Where the tier is [`TierState::Degraded`]: why, PascalCase, as in the condition `CacheReady`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Whether a tier works.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TierState {
    /// It is not asked for.
    #[default]
    Off,
    /// It works as asked for.
    Ok,
    /// It is smaller than asked for, or out of use.
    Degraded,
}

/// One class of entries, in both tiers.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ClassReport {
    /// `metadata` (ropes, footers, the log), `block`, `pack`.
    pub class: String,
    /// Entries in memory.
    pub memory_entries: u64,
    /// Their bytes.
    pub memory_bytes: u64,
    /// Lookups that were answered, by tier.
    pub hits: TierCounts,
    /// Lookups that went to the origin.
    pub misses: u64,
}

/// A count for each tier.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct TierCounts {
    /// In memory.
    pub memory: u64,
    /// On disk.
    pub disk: u64,
}

/// What happened in one minute.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct MinuteSample {
    /// Start of the minute, in minutes since the Unix epoch.
    pub minute: u64,
    /// Lookups answered from memory.
    pub hits_memory: u64,
    /// Lookups answered from disk.
    pub hits_disk: u64,
    /// Lookups that went to the origin.
    pub misses: u64,
    /// Requests to the origin.
    pub origin_requests: u64,
    /// Bytes read from the origin.
    pub origin_bytes: u64,
    /// Bytes given to readers.
    pub served_bytes: u64,
}

/// An artifact that is read often.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct HotArtifact {
    /// Its full key in the source.
    pub key: String,
    /// Id of its source.
    pub source: String,
    /// Reads; an estimate where many artifacts are read.
    pub reads: u64,
    /// Its size.
    pub bytes: u64,
}

/// The origin as it was last met.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct OriginReport {
    /// Whether the last request was answered.
    pub up: bool,
    /// Since when it is up, or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Requests.
    pub requests: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Answers from the log that were given while the origin was away.
    pub stale_answers: u64,
    /// The last error, whether or not the origin is up again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<OriginError>,
}

/// An error of the origin.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OriginError {
    /// When it was met.
    pub time: Time,
    /// What it says, without addresses or secrets.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_of_another_version_is_read() {
        let report: CacheReport = serde_json::from_value(
            json!({"tiers": {"memory": {"state": "Ok", "bytes": 5}}, "later": 1}),
        )
        .unwrap();
        assert_eq!(
            (report.tiers.memory.state, report.tiers.memory.bytes),
            (TierState::Ok, 5)
        );
        assert_eq!(report.tiers.disk.state, TierState::Off);
    }

    #[test]
    fn a_degraded_tier_is_a_condition() {
        let mut report = CacheReport::default();
        let ready = report.condition(0);
        assert_eq!(
            (ready.status.as_str(), ready.reason.as_str()),
            ("True", "CacheReady")
        );
        report.tiers.disk = TierReport {
            state: TierState::Degraded,
            reason: Some("DiskFull".to_owned()),
            message: Some("no space is left".to_owned()),
            ..TierReport::default()
        };
        let full = report.condition(0);
        assert_eq!(
            (full.status.as_str(), full.reason.as_str()),
            ("False", "DiskFull")
        );
    }

    #[test]
    fn names_are_those_of_the_api() {
        let report = CacheReport {
            hour: vec![MinuteSample {
                minute: 29_000_000,
                hits_memory: 3,
                ..MinuteSample::default()
            }],
            origin: OriginReport {
                up: true,
                since: Some(crate::api::time(0)),
                ..OriginReport::default()
            },
            ..CacheReport::default()
        };
        let written = serde_json::to_value(&report).unwrap();
        assert_eq!(
            written["hour"][0],
            json!({"minute": 29_000_000, "hitsMemory": 3, "hitsDisk": 0, "misses": 0, "originRequests": 0, "originBytes": 0, "servedBytes": 0})
        );
        assert_eq!(
            written["origin"],
            json!({"up": true, "since": "1970-01-01T00:00:00Z", "requests": 0, "bytes": 0, "staleAnswers": 0})
        );
        assert_eq!(
            serde_json::from_value::<CacheReport>(written).unwrap(),
            report
        );
    }
}
