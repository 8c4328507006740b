//! Tables as the operator and the page read them. Pure.

use vdt_crds::{
    ConditionStatus, SourceStatus,
    api::{CacheReport, SourceReport, TableReport, condition, time},
    status::{condition as kind, reason},
};
use vdt_store::{RefreshReport, TableStatus};

use crate::tables::remedied;

/// What `GET /api/v1/tables` says of one table, whose folder or bucket may be `given` without a manifest. `started_ms` is when what has not changed since
/// began.
pub(super) fn table(
    path: &str,
    is_given: bool,
    status: &TableStatus,
    cache: Option<&CacheReport>,
    now_ms: i64,
    started_ms: i64,
) -> TableReport {
    let last = status.last.as_deref();
    // A version that stands without a listing says nothing about sources.
    let listed = last.filter(|last| !last.sources.is_empty());
    let (ready, why, message) = sources_ready(status, is_given);
    let mut conditions = vec![
        condition(
            kind::SOURCES_READY,
            ready,
            why,
            message,
            status.since_ms.unwrap_or(started_ms),
        ),
        condition(
            kind::SCHEMA_ACCEPTED,
            ConditionStatus::True,
            reason::ACCEPTED,
            "the declared columns can be made",
            started_ms,
        ),
    ];
    conditions.extend(cache.map(|cache| cache.condition(started_ms)));
    TableReport {
        table: path.to_owned(),
        version: last.and_then(|last| i64::try_from(last.version).ok()),
        artifacts: last.map(|last| last.artifacts),
        lag_seconds: status
            .last_success_ms
            .map(|success| now_ms.saturating_sub(success).max(0).unsigned_abs() / 1000),
        last_success: status.last_success_ms.map(time),
        conditions,
        sources: listed.map_or_else(Vec::new, |listed| sources(listed, is_given)),
        manifest: None,
    }
}

/// What it says where a table would stand whose manifest is bad.
pub(super) fn problem(manifest: &str, message: &str, started_ms: i64) -> TableReport {
    TableReport {
        table: manifest.to_owned(),
        version: None,
        artifacts: None,
        lag_seconds: None,
        last_success: None,
        conditions: vec![condition(
            kind::SOURCES_READY,
            ConditionStatus::False,
            "ManifestInvalid",
            message,
            started_ms,
        )],
        sources: Vec::new(),
        manifest: None,
    }
}

fn sources_ready(status: &TableStatus, is_given: bool) -> (ConditionStatus, &'static str, String) {
    if let Some((why, message)) = &status.error {
        return (ConditionStatus::False, why, message.clone());
    }
    let Some(last) = status.last.as_deref() else {
        let message = "the first listing is under way".to_owned();
        return (ConditionStatus::Unknown, reason::LISTING, message);
    };
    if last.sources.is_empty() {
        let message = format!("nothing is listed; version {} stands", last.version);
        return (ConditionStatus::Unknown, reason::SUSPENDED, message);
    }
    let held = held(last, is_given);
    if held.is_empty() {
        let message = "every source is shown as it was listed".to_owned();
        return (ConditionStatus::True, reason::LISTED, message);
    }
    let mut away = last.sources.iter().filter(|source| !source.is_current());
    let why = match away.all(|source| source.is_held()) {
        true => reason::SOURCE_SHRUNK,
        false => reason::SOURCE_FAILED,
    };
    (ConditionStatus::False, why, held.join("; "))
}

/// Sources that the newest version does not show as they are, and why.
pub(super) fn held(report: &RefreshReport, is_given: bool) -> Vec<String> {
    let sources = report.sources.iter().filter(|source| !source.is_current());
    sources
        .map(|source| format!("{}: {}", source.name, remedied(source, is_given)))
        .collect()
}

fn sources(report: &RefreshReport, is_given: bool) -> Vec<SourceReport> {
    let one = |source: &vdt_store::SourceOutcome| SourceReport {
        status: SourceStatus {
            name: source.name.clone(),
            status: match source.is_current() {
                true => ConditionStatus::True,
                false => ConditionStatus::False,
            },
            reason: Some(source.reason.to_owned()),
            message: Some(remedied(source, is_given)),
        },
        artifacts: source.artifacts,
        skipped: source.skipped.clone(),
    };
    report.sources.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vdt_store::SourceOutcome;

    use super::*;

    fn outcome(name: &str, reason: &'static str) -> SourceOutcome {
        SourceOutcome {
            name: name.to_owned(),
            reason,
            message: format!("{name} says {reason}"),
            artifacts: Some(3),
            skipped: [("trailing-slash".to_owned(), 2)].into(),
        }
    }

    fn status(sources: Vec<SourceOutcome>) -> TableStatus {
        let mut report = RefreshReport::of_version("main/docs/t", 7);
        report.sources = sources;
        report.artifacts = 3;
        TableStatus::after(report, 10_000)
    }

    fn sources_ready_of(status: &TableStatus) -> (String, String) {
        let report = table("main/docs/t", false, status, None, 15_900, 1_000);
        let condition = &report.conditions[0];
        assert_eq!(condition.type_, "SourcesReady");
        (condition.status.clone(), condition.reason.clone())
    }

    #[test]
    fn a_table_whose_sources_are_listed() {
        let report = table(
            "main/docs/t",
            false,
            &status(vec![outcome("a", "Listed")]),
            None,
            15_900,
            1_000,
        );
        assert_eq!(
            (report.version, report.artifacts, report.lag_seconds),
            (Some(7), Some(3), Some(5))
        );
        assert_eq!(report.last_success, Some(time(10_000)));
        assert_eq!(report.conditions[0].last_transition_time, time(10_000));
        assert_eq!(report.sources[0].skipped["trailing-slash"], 2);
        assert_eq!(report.sources[0].status.status, ConditionStatus::True);
    }

    #[test]
    fn what_is_held_tells_the_flag_where_there_is_no_manifest() {
        let status = status(vec![outcome("a", "Shrunk"), outcome("b", "NoSuchBucket")]);
        let flag = "--on-shrink apply";
        for is_given in [false, true] {
            let report = table("main/docs/t", is_given, &status, None, 15_900, 1_000);
            let message = &report.conditions[0].message;
            assert!(message.contains("a says Shrunk"), "{message}");
            assert_eq!(message.matches(flag).count(), usize::from(is_given));
            let tells = |source: &SourceReport| {
                let message = source.status.message.as_deref();
                message.is_some_and(|message| message.contains(flag))
            };
            assert_eq!(tells(&report.sources[0]), is_given);
            assert!(!tells(&report.sources[1]), "it is not held");
        }
    }

    #[test]
    fn reasons_say_why_sources_are_not_ready() {
        let ok = outcome("a", "Listed");
        let failed = TableStatus {
            error: Some(("StateUnavailable", "no".to_owned())),
            ..status(vec![ok.clone()])
        };
        let suspended = TableStatus {
            last: Some(Arc::new(RefreshReport::of_version("main/docs/t", 7))),
            ..TableStatus::default()
        };
        for (status, expected) in [
            (status(vec![ok.clone()]), ("True", "Listed")),
            (
                status(vec![ok.clone(), outcome("b", "Shrunk")]),
                ("False", "SourceShrunk"),
            ),
            (
                status(vec![outcome("b", "Shrunk"), outcome("c", "NoSuchBucket")]),
                ("False", "SourceFailed"),
            ),
            (failed, ("False", "StateUnavailable")),
            (suspended, ("Unknown", "Suspended")),
            (TableStatus::default(), ("Unknown", "Listing")),
        ] {
            let (state, reason) = sources_ready_of(&status);
            assert_eq!((state.as_str(), reason.as_str()), expected);
        }
    }
}
