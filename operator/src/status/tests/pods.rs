//! What is told of pods that come, go and are replaced.

use super::*;

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
fn a_pod_that_its_set_does_not_take_in_says_where_to_look() {
    let (pods, reports) = ([pod(0, true), pod(1, true)], [says(ConditionStatus::True)]);
    let mut seen = observed(&pods, &reports);
    (seen.outdated, seen.updated) = (2, Some(0));
    seen.absent = Some(Absent {
        pod: "t-1",
        set: "t",
    });
    assert_eq!(
        compute_new(&seen).conditions[0].message,
        "0 of 2 pods run the latest template; pod t-1 is not taken in by StatefulSet t: see kubectl describe statefulset t"
    );
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
