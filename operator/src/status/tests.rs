use serde_json::json;
use vdt_crds::api::{
    CacheReport, RESTART_NEEDED, RefusedManifest, TableReport, TierReport, TierState,
    condition as make,
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
        others: Vec::new(),
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
fn pods_under_way_are_reconciling() {
    let pods = [pod(0, true), pod(1, false)];
    let reports = [says(ConditionStatus::True)];
    let mut seen = observed(&pods, &reports);
    let status = compute_new(&seen);
    assert_eq!(status.conditions[0].reason, PODS_NOT_READY);
    assert_eq!(
        lines(&status).last().unwrap(),
        "Reconciling=True/PodsNotReady"
    );
    assert_eq!(lines(&status)[1], "Available=True/Serving");
    seen.outdated = 1;
    assert_eq!(
        lines(&compute_new(&seen)).last().unwrap(),
        "Reconciling=True/RollingOut"
    );
}

#[test]
fn a_pod_that_is_not_made_says_where_to_read_why() {
    let (pods, reports) = ([pod(0, true)], [says(ConditionStatus::True)]);
    let mut seen = observed(&pods, &reports);
    seen.absent = Some(Absent {
        pod: "t-1",
        set: "t",
    });
    let why = "pod t-1 is not there: kubectl describe statefulset t says why";
    for (outdated, message) in [
        (0, format!("1 of 2 pods are ready; {why}")),
        (1, format!("1 of 2 pods run the latest template; {why}")),
    ] {
        (seen.outdated, seen.updated) = (outdated, Some(1));
        let status = compute_new(&seen);
        assert_eq!(status.conditions[0].message, message);
        let last = status.conditions.last().unwrap();
        assert_eq!(
            (last.type_.as_str(), &last.message),
            ("Reconciling", &message)
        );
    }
}

#[test]
fn pods_that_drain_take_nothing_from_a_table_that_is_ready() {
    let reports = [says(ConditionStatus::True)];
    let going = |mut pod: PodView| {
        pod.is_terminating = true;
        pod
    };
    for (pods, message) in [
        (
            vec![pod(0, true), pod(1, true), pod(2, true)],
            "1 pod drains",
        ),
        (
            vec![
                pod(0, true),
                pod(1, true),
                going(pod(2, false)),
                pod(3, true),
            ],
            "2 pods drain",
        ),
    ] {
        let status = compute_new(&observed(&pods, &reports));
        assert_eq!(lines(&status)[0], "Ready=True/Serving");
        let last = status.conditions.last().unwrap();
        assert_eq!(
            (last.type_.as_str(), last.message.as_str()),
            ("Reconciling", message)
        );
    }
    // One that is wanted goes: it is missed.
    let pods = [pod(0, true), going(pod(1, true))];
    let status = compute_new(&observed(&pods, &reports));
    assert_eq!(lines(&status)[0], "Ready=False/PodsNotReady");
    assert_eq!(status.conditions[0].message, "1 of 2 pods are ready");
    // One that is not wanted stands in for none that is.
    let pods = [pod(0, true), pod(1, false), pod(2, true)];
    let status = compute_new(&observed(&pods, &reports));
    assert_eq!(status.conditions[0].message, "1 of 2 pods are ready");
    // The last one of a table that goes to sleep.
    let pods = [going(pod(0, true))];
    let mut seen = observed(&pods, &reports);
    seen.replicas = 0;
    let status = compute_new(&seen);
    assert_eq!(lines(&status)[0], "Ready=True/ScaledToZero");
    assert_eq!(status.conditions.last().unwrap().message, "1 pod drains");
}

#[test]
fn a_pod_on_its_way_out_need_not_follow() {
    let last = last_of_generation_1();
    let mut pods = [pod(0, true), pod(1, true), pod(2, true)];
    pods[2].is_terminating = true;
    let mut behind = follows(1, None);
    behind.pod = "t-2".to_owned();
    let reports = [follows(2, None), behind];
    let status = compute(&observed(&pods, &reports), &last, Timestamp::UNIX_EPOCH);
    assert_eq!(status.observed_generation, Some(2));
    pods[2].is_terminating = false;
    let status = compute(&observed(&pods, &reports), &last, Timestamp::UNIX_EPOCH);
    assert_eq!(status.observed_generation, Some(1));
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
fn a_missing_secret_is_the_sources_problem_and_names_it() {
    let pods = [pod(0, true), pod(1, true)];
    let reports = [says(ConditionStatus::True)];
    let mut seen = observed(&pods, &reports);
    seen.missing = Some((
        "SecretNotFound",
        "Secret corp-ro does not exist in this namespace".to_owned(),
    ));
    let status = compute_new(&seen);
    assert_eq!(lines(&status)[0], "Ready=False/SecretNotFound");
    let sources = status
        .conditions
        .iter()
        .find(|one| one.type_ == "SourcesReady")
        .unwrap();
    assert!(sources.message.contains("corp-ro"));
}

#[test]
fn a_table_that_sleeps_is_ready() {
    let mut seen = observed(&[], &[]);
    seen.replicas = 0;
    let status = compute_new(&seen);
    assert_eq!(
        lines(&status)[..2],
        ["Ready=True/ScaledToZero", "Available=False/ScaledToZero"]
    );
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
    held.held = Some(reason::SUSPENDED);
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
fn pods_that_nobody_looked_at_are_as_up_to_date_as_they_were() {
    let (pods, reports) = ([pod(0, true), pod(1, true)], [says(ConditionStatus::True)]);
    let last = compute_new(&observed(&pods, &reports));
    let mut seen = observed(&pods, &reports);
    seen.updated = None;
    seen.failure = Some("following references failed".to_owned());
    let status = compute(&seen, &last, Timestamp::UNIX_EPOCH);
    assert_eq!(status.updated_replicas, Some(2));
    assert_eq!(compute_new(&seen).updated_replicas, None);
}

#[test]
fn the_generation_of_a_table_that_is_paused_stays() {
    let last = last_of_generation_1();
    let pods = [pod(0, true), pod(1, true)];
    let reports = [follows(1, None), follows(1, None)];
    let mut seen = observed(&pods, &reports);
    // What a look makes of it.
    (seen.held, seen.generation) = (Some(PAUSED), last.observed_generation);
    let status = compute(&seen, &last, Timestamp::UNIX_EPOCH);
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(lines(&status)[0], "Ready=True/Paused");
    assert_eq!(status.conditions[0].observed_generation, Some(1));
}

fn follows(generation: i64, refused: Option<RefusedManifest>) -> PodReport {
    let mut report = says(ConditionStatus::True);
    for table in report.tables.iter_mut().flatten() {
        table.manifest = Some(vdt_crds::api::ManifestReport {
            generation: Some(generation),
            refused: refused.clone(),
        });
    }
    report
}

fn last_of_generation_1() -> VirtualTableStatus {
    let (pods, reports) = ([pod(0, true), pod(1, true)], [says(ConditionStatus::True)]);
    let mut seen = observed(&pods, &reports);
    seen.generation = Some(1);
    compute_new(&seen)
}

#[test]
fn a_generation_is_observed_when_every_pod_follows_it() {
    let last = last_of_generation_1();
    let pods = [pod(0, true), pod(1, true)];
    for (reports, generation, following) in [
        (vec![follows(2, None), follows(1, None)], 1, true),
        (vec![follows(2, None), follows(2, None)], 2, false),
        // A pod that was told more than was looked at.
        (vec![follows(3, None)], 2, false),
        // Pods of before say nothing of it.
        (vec![says(ConditionStatus::True)], 2, false),
    ] {
        let status = compute(&observed(&pods, &reports), &last, Timestamp::UNIX_EPOCH);
        assert_eq!(status.observed_generation, Some(generation));
        assert!(
            status
                .conditions
                .iter()
                .all(|one| one.observed_generation == Some(generation))
        );
        assert_eq!(lines(&status)[0], "Ready=True/Serving");
        let told = lines(&status).contains(&"Reconciling=True/Following".to_owned());
        assert_eq!(told, following);
    }
}

#[test]
fn a_manifest_that_pods_refuse_stalls_and_names_the_field() {
    let last = last_of_generation_1();
    let pods = [pod(0, true), pod(1, true)];
    let refused = |reason: &str, generation| RefusedManifest {
        generation,
        reason: reason.to_owned(),
        message: "spec.x: is 1; write 2".to_owned(),
    };
    let reports = [
        follows(2, None),
        follows(1, Some(refused("InvalidSpec", Some(2)))),
    ];
    let status = compute(&observed(&pods, &reports), &last, Timestamp::UNIX_EPOCH);
    let lines_of = |status: &VirtualTableStatus| lines(status).join(" ");
    assert!(
        lines_of(&status).contains("Ready=False/InvalidSpec"),
        "{:?}",
        lines(&status)
    );
    assert!(lines_of(&status).contains("SchemaAccepted=False/InvalidSpec Cache"));
    assert!(lines_of(&status).contains("Stalled=True/InvalidSpec"));
    assert_eq!(status.observed_generation, Some(2));
    assert!(status.conditions[0].message.contains("spec.x"));
    // Refused before the edit that is looked at now: that one is on its way.
    let reports = [follows(1, Some(refused("InvalidSpec", Some(1))))];
    let status = compute(&observed(&pods, &reports), &last, Timestamp::UNIX_EPOCH);
    assert!(lines_of(&status).contains("Reconciling=True/Following"));
    // A roll is on its way.
    let reports = [follows(1, Some(refused(RESTART_NEEDED, Some(2))))];
    let mut seen = observed(&pods, &reports);
    (seen.outdated, seen.updated) = (1, Some(1));
    let status = compute(&seen, &last, Timestamp::UNIX_EPOCH);
    assert!(lines_of(&status).contains("Reconciling=True/RollingOut"));
    assert!(!lines_of(&status).contains("Stalled"));
}

#[test]
fn a_roll_that_a_new_pod_holds_up_says_why() {
    let reports = [says(ConditionStatus::True)];
    let stuck = |status: serde_json::Value| {
        let metadata = json!({"name": "t-2", "uid": "u"});
        PodView::of("t", &json!({"metadata": metadata, "status": status})).unwrap()
    };
    let waiting = json!({"reason": "ImagePullBackOff", "message": "no such image"});
    let image = stuck(
        json!({"phase": "Pending", "containerStatuses": [{"name": "sidecar", "state": {"waiting": waiting}}]}),
    );
    let node = stuck(
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False"}]}),
    );
    let roll = "0 of 3 pods run the latest template";
    for (held_up, reason, why) in [
        (
            image,
            "PodFailed",
            "container sidecar of pod t-2: ImagePullBackOff no such image",
        ),
        (
            node,
            "Unschedulable",
            "no node takes pod t-2; kubectl describe pod says why",
        ),
    ] {
        let pods = [pod(0, true), pod(1, true), held_up];
        let mut seen = observed(&pods, &reports);
        (seen.replicas, seen.outdated, seen.updated) = (3, 2, Some(0));
        let latest = ["t-2".to_owned()];
        seen.latest = &latest;
        let status = compute_new(&seen);
        assert_eq!(lines(&status)[0], format!("Ready=False/{reason}"));
        assert_eq!(status.conditions[0].message, format!("{roll}; {why}"));
        let last = status.conditions.last().unwrap();
        assert_eq!(
            (last.type_.as_str(), last.reason.as_str()),
            ("Reconciling", reason)
        );
        // One of the earlier template goes with the roll.
        seen.latest = &[];
        let status = compute_new(&seen);
        assert_eq!(lines(&status)[0], "Ready=False/RollingOut");
        assert_eq!(status.conditions[0].message, roll);
    }
}

/// A report of these sources: name, status, reason and message.
fn sources_say(sources: &[(&str, ConditionStatus, &str, &str)]) -> PodReport {
    let mut report = says(ConditionStatus::True);
    let sources = sources.iter().map(|(name, status, reason, message)| {
        let source = json!({"name": name, "status": status, "reason": reason, "message": message});
        serde_json::from_value(source).unwrap()
    });
    report.tables.as_mut().unwrap()[0].sources = sources.collect();
    report
}

#[test]
fn what_sources_say_waits_its_turn_unless_they_change() {
    let pods = [pod(0, true), pod(1, true)];
    let of = |reports: &[PodReport], last: &VirtualTableStatus, may_count| {
        let mut seen = observed(&pods, reports);
        seen.may_count = may_count;
        compute(&seen, last, Timestamp::UNIX_EPOCH)
    };
    let messages = |status: &VirtualTableStatus| -> Vec<String> {
        let sources = status.sources.iter();
        sources.map(|one| one.message.clone().unwrap()).collect()
    };
    let (yes, no) = (ConditionStatus::True, ConditionStatus::False);
    let first = [sources_say(&[
        ("a", yes, "Listed", "1"),
        ("b", yes, "Listed", "1"),
    ])];
    let last = of(&first, &VirtualTableStatus::default(), false);
    assert_eq!(messages(&last), ["1", "1"]);
    let later = [sources_say(&[
        ("a", yes, "Listed", "2"),
        ("b", no, "AccessDenied", "2"),
    ])];
    assert_eq!(messages(&of(&later, &last, false)), ["1", "2"]);
    assert_eq!(messages(&of(&later, &last, true)), ["2", "2"]);
}

#[test]
fn what_pods_say_of_sources_and_conditions_fits_the_definition() {
    let (pods, yes) = ([pod(0, true), pod(1, true)], ConditionStatus::True);
    let long = "x".repeat(5000);
    let mut report = sources_say(&[("a", yes, &long, &long), ("a", yes, "Listed", "twice")]);
    let table = &mut report.tables.as_mut().unwrap()[0];
    table.conditions[1].reason = String::new();
    let status = compute_new(&observed(&pods, &[report]));
    let [source] = &status.sources[..] else {
        panic!("{:?}", status.sources)
    };
    assert!(source.message.as_ref().unwrap().len() < 4096);
    assert!(source.reason.as_ref().unwrap().len() < 1100);
    assert!(status.conditions.iter().all(|one| !one.reason.is_empty()));
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
