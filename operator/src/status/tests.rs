//! What the conditions say.

mod generation;
mod pods;
mod sources;

use serde_json::json;
use vdt_crds::{
    api::{CacheReport, TableReport, TierReport, TierState, condition as make},
    status::{condition, reason},
};

use super::*;

fn pod(ordinal: u32, is_ready: bool) -> PodView {
    let status = if is_ready { "True" } else { "False" };
    let seen = json!({
        "metadata": {"name": format!("t-{ordinal}"), "uid": "u"},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": status}]},
    });
    PodView::of("t", &seen).unwrap()
}

fn says(ready: ConditionStatus) -> PodReport {
    let table = TableReport {
        manifest: None,
        table: "main/docs/t".to_owned(),
        version: Some(3),
        artifacts: Some(412),
        lag_seconds: None,
        last_success: None,
        conditions: vec![
            make(
                condition::READY,
                ready,
                reason::SERVING,
                "serves version 3",
                0,
            ),
            make(condition::SOURCES_READY, ready, reason::LISTED, "listed", 0),
            make(
                condition::SCHEMA_ACCEPTED,
                ConditionStatus::True,
                reason::ACCEPTED,
                "accepted",
                0,
            ),
        ],
        sources: Vec::new(),
    };
    PodReport {
        pod: "t-0".to_owned(),
        uid: "u".to_owned(),
        tables: Some(vec![table]),
        cache: Some(CacheReport::default()),
    }
}

fn observed<'a>(pods: &'a [PodView], reports: &'a [PodReport]) -> Observed<'a> {
    Observed {
        table_path: "main/docs/t",
        generation: Some(2),
        replicas: 2,
        pods,
        reports,
        updated: Some(2),
        outdated: 0,
        latest: &[],
        absent: None,
        refusal: None,
        failure: None,
        waiting: None,
        missing: None,
        held: None,
        problems: Vec::new(),
        endpoint: None,
        selector: String::new(),
        config_hash: None,
        may_count: true,
    }
}

#[test]
fn pods_that_have_a_version_and_object_to_nothing_serve_the_table() {
    let pods = [pod(0, true), pod(1, true)];
    let mut report = says(ConditionStatus::True);
    for table in report.tables.iter_mut().flatten() {
        table.conditions.retain(|one| one.type_ != condition::READY);
    }
    let ready = lines(&compute_new(&observed(&pods, &[report.clone()])));
    assert!(
        ready.contains(&"Ready=True/Serving".to_owned()),
        "{ready:?}"
    );
    for table in report.tables.iter_mut().flatten() {
        table.version = None;
    }
    let ready = lines(&compute_new(&observed(&pods, &[report])));
    assert!(
        ready.contains(&format!("Ready=Unknown/{UNKNOWN}")),
        "{ready:?}"
    );
}

/// `Type=Status/Reason` of every condition.
fn lines(status: &VirtualTableStatus) -> Vec<String> {
    status
        .conditions
        .iter()
        .map(|one| format!("{}={}/{}", one.type_, one.status, one.reason))
        .collect()
}

fn compute_new(observed: &Observed<'_>) -> VirtualTableStatus {
    compute(
        observed,
        &VirtualTableStatus::default(),
        Timestamp::UNIX_EPOCH,
    )
}

#[test]
fn serving_pods_make_a_ready_table() {
    let (pods, reports) = ([pod(0, true), pod(1, true)], [says(ConditionStatus::True)]);
    let status = compute_new(&observed(&pods, &reports));
    assert_eq!(
        lines(&status),
        [
            "Ready=True/Serving",
            "Available=True/Serving",
            "SourcesReady=True/Listed",
            "SchemaAccepted=True/Accepted",
            "CacheReady=True/Ready",
        ]
    );
    assert_eq!(
        (status.artifacts, status.version, status.observed_generation),
        (Some(412), Some(3), Some(2))
    );
    assert!(
        status
            .conditions
            .iter()
            .all(|one| one.observed_generation == Some(2))
    );
}

#[test]
fn a_refusal_stalls_and_nothing_else_is_under_way() {
    let refusal = Refusal {
        reason: reason::INVALID_SPEC,
        message: "spec.x: no".to_owned(),
    };
    let mut seen = observed(&[], &[]);
    seen.refusal = Some(&refusal);
    let status = compute_new(&seen);
    assert_eq!(lines(&status)[0], "Ready=False/InvalidSpec");
    assert_eq!(lines(&status).last().unwrap(), "Stalled=True/InvalidSpec");
    assert!(
        !lines(&status)
            .iter()
            .any(|line| line.starts_with("Reconciling"))
    );
}

#[test]
fn a_table_that_sleeps_is_ready() {
    let mut seen = observed(&[], &[]);
    seen.replicas = 0;
    let status = compute_new(&seen);
    assert_eq!(
        lines(&status)[..2],
        ["Ready=True/ScaledToZero", "Available=Unknown/ScaledToZero"]
    );
    // Also without a Secret that it refers to.
    seen.missing = Some(("SecretMissing", "Secret x is not there".to_owned()));
    let status = compute_new(&seen);
    assert_eq!(lines(&status)[1], "Available=Unknown/ScaledToZero");
}

#[test]
fn a_degraded_tier_says_so_and_serves_on() {
    let pods = [pod(0, true), pod(1, true)];
    let mut report = says(ConditionStatus::True);
    report.cache.as_mut().unwrap().tiers.disk = TierReport {
        state: TierState::Degraded,
        reason: Some("DiskFull".to_owned()),
        message: Some("no space left".to_owned()),
        ..TierReport::default()
    };
    let reports = [report];
    let status = compute_new(&observed(&pods, &reports));
    assert_eq!(lines(&status)[0], "Ready=True/Serving");
    assert_eq!(lines(&status)[4], "CacheReady=False/DiskFull");
    assert_eq!(status.conditions[4].message, "pod t-0: no space left");
}

#[test]
fn times_move_with_the_status_alone() {
    let pods = [pod(0, true), pod(1, true)];
    let reports = [says(ConditionStatus::True)];
    let seen = observed(&pods, &reports);
    let first = compute(&seen, &VirtualTableStatus::default(), Timestamp::UNIX_EPOCH);
    let later = Timestamp::from_second(100).unwrap();
    assert_eq!(compute(&seen, &first, later), first);
    let mut held = observed(&pods, &reports);
    held.held = Some(Held::Suspended);
    let suspended = compute(&held, &first, later);
    assert_eq!(lines(&suspended)[0], "Ready=True/Suspended");
    assert_eq!(
        suspended.conditions[0].last_transition_time,
        first.conditions[0].last_transition_time
    );
    let mut down = observed(&pods[..1], &reports);
    down.updated = Some(1);
    assert_eq!(
        compute(&down, &first, later).conditions[0]
            .last_transition_time
            .0,
        later
    );
}

#[test]
fn counts_wait_their_turn_and_stay_when_nobody_answers() {
    let pods = [pod(0, true), pod(1, true)];
    let reports = [says(ConditionStatus::True)];
    let last = VirtualTableStatus {
        version: Some(1),
        artifacts: Some(7),
        ..VirtualTableStatus::default()
    };
    let mut seen = observed(&pods, &reports);
    seen.may_count = false;
    let status = compute(&seen, &last, Timestamp::UNIX_EPOCH);
    assert_eq!((status.version, status.artifacts), (Some(1), Some(7)));
    let silent = observed(&pods, &[]);
    let status = compute(&silent, &last, Timestamp::UNIX_EPOCH);
    assert_eq!(
        (status.version, status.conditions[0].status.as_str()),
        (Some(1), "Unknown")
    );
}

#[test]
fn what_is_on_its_way_out_is_said_and_keeps_a_table_from_being_ready() {
    let pods = [pod(0, true), pod(1, true)];
    let reports = [says(ConditionStatus::True)];
    let mut seen = observed(&pods, &reports);
    seen.waiting = Some("Service t is being deleted");
    let lines = lines(&compute_new(&seen));
    for line in ["Ready=False/Terminating", "Reconciling=True/Terminating"] {
        assert!(lines.contains(&line.to_owned()), "{lines:?}");
    }
}
