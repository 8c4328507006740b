use super::*;

fn pod(ordinal: u32, hash: &str, is_ready: bool) -> PodView {
    PodView {
        name: format!("t-{ordinal}"),
        uid: format!("uid-{ordinal}"),
        ordinal,
        is_ready,
        is_terminating: false,
        template_hash: Some(hash.to_owned()),
        reload: None,
        ip: None,
        resources: json!({}),
        asked: None,
        is_infeasible: false,
        is_scheduled: true,
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
        asked: "",
        refused: BTreeSet::new(),
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

fn with_memory(memory: &str) -> Value {
    json!({"initContainers": [], "containers": [{"name": "sidecar", "resources": {"limits": {"memory": memory}}}]})
}

fn to_memory<'a>(resources: &'a Value, asked: &'a str, refused: &[&str]) -> Target<'a> {
    Target {
        replicas: 3,
        max_unavailable: 1,
        template_hash: "new",
        resources,
        asked,
        refused: refused.iter().map(|uid| (*uid).to_owned()).collect(),
    }
}

fn three(memory: &str) -> Vec<PodView> {
    (0..3)
        .map(|ordinal| PodView {
            uid: format!("u{ordinal}"),
            resources: with_memory(memory),
            ..pod(ordinal, "new", true)
        })
        .collect()
}

#[test]
fn other_resources_are_changed_in_place_in_all_pods_at_once() {
    let wanted = with_memory("2Gi");
    let plan = plan(&to_memory(&wanted, "a,b", &[]), &three("1Gi"));
    assert_eq!((plan.updated, plan.outdated, plan.steps.len()), (0, 3, 3));
    let Step::Resize {
        uid, asked, patch, ..
    } = &plan.steps[0]
    else {
        panic!("{:?}", plan.steps)
    };
    assert_eq!((uid.as_str(), asked.as_deref()), ("u2", Some("a,b")));
    assert_eq!(*patch, json!({"metadata": {"uid": "u2"}, "spec": wanted}));
}

#[test]
fn what_the_api_server_refuses_becomes_a_roll() {
    let wanted = with_memory("2Gi");
    let plan = plan(&to_memory(&wanted, "", &["u0", "u1", "u2"]), &three("1Gi"));
    assert!(matches!(&plan.steps[..], [Step::Replace { uid, .. }] if uid == "u2"));
}

#[test]
fn what_the_node_can_never_do_is_not_done() {
    let wanted = with_memory("2Gi");
    // The spec has it, the node has not.
    let mut pods = three("2Gi");
    pods.iter_mut().for_each(|pod| pod.is_infeasible = true);
    let target = to_memory(&wanted, "", &[]);
    let plan_now = plan(&target, &pods);
    assert_eq!((plan_now.updated, plan_now.outdated), (0, 3));
    assert!(matches!(&plan_now.steps[..], [Step::Replace { uid, .. }] if uid == "u2"));
    // Something else is wanted by now, which the node may be able to do.
    let less = with_memory("1Gi");
    let steps = plan(&to_memory(&less, "", &[]), &pods[..1]).steps;
    assert!(matches!(&steps[..], [Step::Resize { .. }]));
}

#[test]
fn a_limit_that_is_no_longer_wanted_makes_new_pods_and_one_of_a_limit_range_does_not() {
    let wanted = with_memory("1Gi");
    let asked = asked(&wanted);
    assert_eq!(asked, "sidecar.limits.memory");
    let mut pods = three("1Gi");
    for pod in &mut pods {
        pod.resources["containers"][0]["resources"]["limits"]["cpu"] = "1".into();
        pod.asked = Some("sidecar.limits.cpu,sidecar.limits.memory".to_owned());
    }
    let steps = plan(&to_memory(&wanted, &asked, &[]), &pods).steps;
    assert!(matches!(&steps[..], [Step::Replace { uid, .. }] if uid == "u2"));
    for by in [Some(asked.clone()), None] {
        pods.iter_mut().for_each(|pod| pod.asked = by.clone());
        let plan = plan(&to_memory(&wanted, &asked, &[]), &pods);
        assert_eq!((plan.updated, plan.steps.len()), (3, 0));
    }
}

#[test]
fn an_infeasible_resize_of_an_older_spec_is_not_one() {
    for (of, is_infeasible) in [(json!(4), false), (json!(5), true), (Value::Null, true)] {
        let seen = json!({
            "metadata": {"name": "t-0", "uid": "u", "generation": 5},
            "status": {"conditions": [
                {"type": "PodResizePending", "status": "True", "reason": "Infeasible", "observedGeneration": of},
            ]},
        });
        assert_eq!(
            PodView::of("t", &seen).unwrap().is_infeasible,
            is_infeasible,
            "{of}"
        );
    }
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
    let view = PodView::of("manuals", &seen).unwrap();
    assert_eq!(
        (view.ordinal, view.is_ready, view.ip.as_deref()),
        (11, true, Some("10.1.2.3"))
    );
    assert_eq!(
        view.waiting.as_deref(),
        Some("container sidecar of pod manuals-11: ImagePullBackOff no")
    );
}

#[test]
fn a_pod_that_only_has_the_labels_is_none() {
    let seen = |name: &str, owner: Value| {
        let owners = match owner {
            Value::Null => json!([]),
            owner => json!([owner]),
        };
        let metadata = json!({"name": name, "uid": "u", "ownerReferences": owners});
        PodView::of("t", &json!({"metadata": metadata})).is_some()
    };
    let set =
        |name: &str| json!({"kind": "StatefulSet", "name": name, "uid": "s", "controller": true});
    assert!(seen("t-1", set("t")));
    // Between two StatefulSets, when claim templates change.
    assert!(seen("t-1", Value::Null));
    assert!(!seen("t-copy-1", Value::Null));
    assert!(!seen("t-debug", Value::Null));
    assert!(!seen("t-1", set("other")));
    let job = json!({"kind": "Job", "name": "t", "uid": "j", "controller": true});
    assert!(!seen("t-1", job));
}
