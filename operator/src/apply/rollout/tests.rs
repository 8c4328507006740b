use super::*;

fn pod(ordinal: u32, hash: &str, is_ready: bool) -> PodView {
    PodView {
        name: format!("t-{ordinal}"),
        uid: format!("uid-{ordinal}"),
        resource_version: "1".to_owned(),
        ordinal,
        is_ready,
        is_terminating: false,
        template_hash: Some(hash.to_owned()),
        reload: None,
        ip: None,
        resources: json!({}),
        resize_refused: false,
        is_unschedulable: false,
        waiting: None,
        phase: "Running".to_owned(),
    }
}

fn replaced(replicas: u32, max_unavailable: u32, pods: &[PodView]) -> Vec<String> {
    let resources = json!({});
    let target = Target {
        replicas,
        max_unavailable,
        template_hash: "new",
        resources: &resources,
    };
    plan(&target, pods)
        .steps
        .into_iter()
        .map(|step| match step {
            Step::Replace { name, .. } => name,
            Step::Resize { name, .. } => format!("resize {name}"),
        })
        .collect()
}

#[test]
fn one_pod_goes_at_a_time_the_highest_first() {
    let all_old = [
        pod(0, "old", true),
        pod(1, "old", true),
        pod(2, "old", true),
    ];
    assert_eq!(replaced(3, 1, &all_old), ["t-2"]);
    assert_eq!(replaced(3, 2, &all_old), ["t-2", "t-1"]);
    // The new one does not serve yet.
    let under_way = [
        pod(0, "old", true),
        pod(1, "old", true),
        pod(2, "new", false),
    ];
    assert_eq!(replaced(3, 1, &under_way), [""; 0]);
    let next = [
        pod(0, "old", true),
        pod(1, "old", true),
        pod(2, "new", true),
    ];
    assert_eq!(replaced(3, 1, &next), ["t-1"]);
    // One of them is missing altogether.
    assert_eq!(replaced(3, 1, &all_old[..2]), [""; 0]);
    // Done.
    assert_eq!(replaced(1, 1, &[pod(0, "new", true)]), [""; 0]);
}

#[test]
fn a_single_pod_is_replaced_although_nobody_takes_over() {
    assert_eq!(replaced(1, 1, &[pod(0, "old", true)]), ["t-0"]);
}

#[test]
fn broken_pods_are_replaced_without_waiting() {
    let broken = [pod(0, "old", true), pod(1, "old", false)];
    assert_eq!(replaced(2, 1, &broken), ["t-1"]);
}

#[test]
fn pods_on_their_way_out_are_waited_for() {
    let mut leaving = pod(1, "old", true);
    leaving.is_terminating = true;
    assert_eq!(replaced(2, 1, &[pod(0, "old", true), leaving]), [""; 0]);
}

#[test]
fn pods_beyond_the_wanted_number_are_left_alone() {
    let pods = [pod(0, "new", true), pod(1, "old", true)];
    assert_eq!(replaced(1, 1, &pods), [""; 0]);
}

#[test]
fn what_a_cluster_adds_to_resources_is_not_looked_at() {
    let wanted =
        json!({"containers": [{"name": "sidecar", "resources": {"limits": {"memory": "1Gi"}}}]});
    let more = json!({"containers": [
        {"name": "mesh", "resources": {}},
        {"name": "sidecar", "resources": {"limits": {"memory": "1Gi", "cpu": "1"}}},
    ]});
    assert!(fits(&wanted, &more));
    assert!(!fits(&more, &wanted));
}

#[test]
fn other_resources_are_changed_in_place_and_replaced_where_that_cannot_be() {
    let wanted =
        json!({"containers": [{"name": "sidecar", "resources": {"limits": {"memory": "2Gi"}}}]});
    let mut small = pod(0, "new", true);
    small.resources =
        json!({"containers": [{"name": "sidecar", "resources": {"limits": {"memory": "1Gi"}}}]});
    let target = Target {
        replicas: 1,
        max_unavailable: 1,
        template_hash: "new",
        resources: &wanted,
    };
    let steps = plan(&target, std::slice::from_ref(&small)).steps;
    assert!(matches!(&steps[..], [Step::Resize { patch, .. }] if patch["spec"] == wanted));
    small.resize_refused = true;
    assert!(matches!(
        &plan(&target, &[small]).steps[..],
        [Step::Replace { .. }]
    ));
}

#[test]
fn what_the_api_server_writes_another_way_fits() {
    let of = |cpu: &str, memory: &str| {
        resources(&json!({"containers": [
            {"name": "sidecar", "resources": {"limits": {"memory": memory}, "requests": {"cpu": cpu}}},
        ]}))
    };
    for (wanted, live) in [
        ((".5", "1.5G"), ("500m", "1500M")),
        (("1000m", "1000M"), ("1", "1G")),
        (("0.50", "2000000000"), ("500m", "2G")),
        (("1.50", "1024Mi"), ("1500m", "1Gi")),
    ] {
        assert!(
            fits(&of(wanted.0, wanted.1), &of(live.0, live.1)),
            "{wanted:?}"
        );
    }
    assert!(!fits(&of("1", "1Gi"), &of("1", "1G")));
}

#[test]
fn a_pod_is_read() {
    let seen = json!({
        "metadata": {"name": "manuals-11", "uid": "u", "resourceVersion": "7", "annotations": {"vdt.io/template-hash": "h"}},
        "spec": {"containers": [{"name": "sidecar", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]},
        "status": {"phase": "Running", "podIP": "10.1.2.3", "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "sidecar", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no"}}}]},
    });
    let view = PodView::of(&seen).unwrap();
    assert_eq!(
        (view.ordinal, view.is_ready, view.ip.as_deref()),
        (11, true, Some("10.1.2.3"))
    );
    assert_eq!(
        view.waiting.as_deref(),
        Some("container sidecar of pod manuals-11: ImagePullBackOff no")
    );
    assert_eq!(
        PodView::of(&json!({"metadata": {"name": "x", "uid": "u"}})),
        None
    );
}
