use super::*;

/// No pod says that it has to be started anew.
static NONE: BTreeSet<String> = BTreeSet::new();

fn pod(ordinal: u32, hash: &str, is_ready: bool) -> PodView {
    PodView {
        name: format!("t-{ordinal}"),
        uid: format!("uid-{ordinal}"),
        ordinal,
        is_ready,
        is_terminating: false,
        is_controlled: true,
        template_hash: Some(hash.to_owned()),
        reload: None,
        ip: None,
        resources: Amounts::new(),
        asked: None,
        pending: None,
        has_claim: false,
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
        ..to(&resources)
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
fn pods_that_get_claims_go_from_the_lowest_on() {
    let resources = json!({});
    let target = Target {
        has_claims: true,
        ..to(&resources)
    };
    let new = |ordinal, is_ready| PodView {
        has_claim: true,
        ..pod(ordinal, "new", is_ready)
    };
    let old = |ordinal| pod(ordinal, "old", true);
    let broken = |ordinal| pod(ordinal, "old", false);
    let gone = |pods: &[PodView]| -> Vec<String> {
        let steps = plan(&target, pods).steps.into_iter();
        steps
            .map(|step| match step {
                Step::Replace { name, .. } => name,
                Step::Resize { name, .. } => panic!("resize {name}"),
            })
            .collect()
    };
    assert_eq!(gone(&[old(0), old(1), old(2)]), ["t-0"]);
    assert_eq!(gone(&[new(0, false), old(1), old(2)]), [""; 0]);
    assert_eq!(gone(&[new(0, true), old(1), old(2)]), ["t-1"]);
    assert_eq!(gone(&[new(0, true), new(1, true), old(2)]), ["t-2"]);
    // One above was evicted, say: it is not made before those below it can have their claims.
    assert_eq!(gone(&[old(0), old(1)]), ["t-0"]);
    assert_eq!(gone(&[new(0, true), old(1)]), ["t-1"]);
    assert_eq!(
        gone(&[new(0, false), old(1)]),
        [""; 0],
        "nobody else serves"
    );
    assert_eq!(gone(&[old(1)]), [""; 0], "nobody else serves");
    assert_eq!(
        gone(&[new(0, true), old(2)]),
        [""; 0],
        "t-1 comes by itself"
    );
    // None is made above one that its StatefulSet has still to take in.
    let left = |ordinal| PodView {
        is_controlled: false,
        ..old(ordinal)
    };
    assert_eq!(gone(&[left(0), left(1), old(2)]), [""; 0]);
    assert_eq!(gone(&[left(0), old(1), old(2)]), [""; 0]);
    assert_eq!(gone(&[left(0), left(1), broken(2)]), [""; 0]);
    assert_eq!(gone(&[old(0), left(1), old(2)]), ["t-0"]);
    // With claims the highest one goes first.
    let claimed = |ordinal| PodView {
        has_claim: true,
        ..old(ordinal)
    };
    assert_eq!(gone(&[claimed(0), claimed(1), claimed(2)]), ["t-2"]);
}

#[test]
fn a_new_pod_counts_when_it_is_ready_and_is_told_from_the_others_before() {
    let resources = json!({});
    let target = to(&resources);
    let pods = |is_ready| {
        [
            pod(0, "old", true),
            pod(1, "old", false),
            pod(2, "new", is_ready),
        ]
    };
    for (is_ready, updated) in [(false, 0), (true, 1)] {
        // It counts when it serves, also where that is seen after the plan was made.
        let plan = plan(&target, &pods(false));
        assert_eq!((plan.updated(&pods(is_ready)), plan.outdated), (updated, 2));
        assert_eq!(plan.latest, ["t-2"]);
    }
}

#[test]
fn a_pod_that_has_to_be_started_anew_is_replaced_and_the_one_in_its_place_is_not() {
    let resources = json!({});
    let asking = ["uid-0", "uid-2"].map(str::to_owned).into();
    let target = Target {
        restarts: &asking,
        ..to(&resources)
    };
    let mut pods = [0, 1, 2].map(|ordinal| pod(ordinal, "new", true));
    let first = plan(&target, &pods);
    assert_eq!((first.outdated, first.latest), (2, vec!["t-1".to_owned()]));
    let replaced = |uid: &str, name: &str| Step::Replace {
        name: name.to_owned(),
        uid: uid.to_owned(),
    };
    assert_eq!(first.steps, [replaced("uid-2", "t-2")]);
    pods[2].uid = "another".to_owned();
    assert_eq!(plan(&target, &pods).steps, [replaced("uid-0", "t-0")]);
    pods[0].uid = "yet another".to_owned();
    assert_eq!(plan(&target, &pods).outdated, 0);
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
fn pods_that_their_set_has_still_to_take_in_serve_and_stay() {
    let left = |ordinal, is_ready| PodView {
        is_controlled: false,
        ..pod(ordinal, "old", is_ready)
    };
    let all = [left(0, true), left(1, true), left(2, false)];
    assert_eq!(replaced(3, 1, &all), [""; 0]);
    assert_eq!(replaced(1, 1, &all[..1]), [""; 0]);
    // One was taken in: the others serve, so it may go.
    let some = [left(0, true), pod(1, "old", true), left(2, true)];
    assert_eq!(replaced(3, 1, &some), ["t-1"]);
}

#[test]
fn pods_beyond_the_wanted_number_are_left_alone() {
    let pods = [pod(0, "new", true), pod(1, "old", true)];
    assert_eq!(replaced(1, 1, &pods), [""; 0]);
}

fn with_memory(memory: &str) -> Value {
    json!({"initContainers": [], "containers": [{"name": "sidecar", "resources": {"limits": {"memory": memory}}}]})
}

fn to<'a>(resources: &'a Value) -> Target<'a> {
    Target {
        replicas: 3,
        max_unavailable: 1,
        template_hash: "new",
        restarts: &NONE,
        resources,
        has_claims: false,
        now: Timestamp::UNIX_EPOCH,
    }
}

/// Three pods that were asked for this, and have it.
fn three(resources: &Value) -> Vec<PodView> {
    (0..3)
        .map(|ordinal| PodView {
            uid: format!("u{ordinal}"),
            resources: amounts(resources),
            asked: Some(asked(resources)),
            ..pod(ordinal, "new", true)
        })
        .collect()
}

/// The first step there is for such pods: `resize`, or `replace` where one after the other goes.
fn step(wanted: &Value, pods: &[PodView]) -> &'static str {
    let plan = plan(&to(wanted), pods);
    match &plan.steps[..] {
        [] => {
            assert_eq!((plan.updated(pods), plan.outdated), (3, 0));
            "nothing"
        }
        [Step::Replace { uid, .. }] if uid == "u2" => "replace",
        [Step::Resize { .. }, ..] if plan.steps.len() == 3 => "resize",
        other => panic!("{other:?}"),
    }
}

#[test]
fn other_resources_are_changed_in_place_in_all_pods_at_once() {
    let wanted = with_memory("2Gi");
    let plan = plan(&to(&wanted), &three(&with_memory("1Gi")));
    assert_eq!(
        (plan.done.len(), plan.outdated, plan.steps.len()),
        (0, 3, 3)
    );
    let Step::Resize {
        uid, asked, patch, ..
    } = &plan.steps[0]
    else {
        panic!("{:?}", plan.steps)
    };
    assert_eq!(
        (uid.as_str(), asked.as_str()),
        ("u2", "sidecar.limits.memory=2Gi")
    );
    assert_eq!(*patch, json!({"metadata": {"uid": "u2"}, "spec": wanted}));
}

#[test]
fn what_admission_or_an_autoscaler_makes_of_it_is_left_alone() {
    let wanted = resources(&json!({"containers": [
        {"name": "sidecar", "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}}},
    ]}));
    for has in [
        json!({"sidecar.requests.cpu": "250m", "sidecar.limits.cpu": "2500m"}),
        json!({"sidecar.requests.cpu": "1", "sidecar.limits.cpu": "1"}),
        json!({}),
    ] {
        let mut pods = three(&wanted);
        let has: Amounts = serde_json::from_value(has).unwrap();
        pods.iter_mut().for_each(|pod| pod.resources = has.clone());
        assert_eq!(step(&wanted, &pods), "nothing", "{has:?}");
    }
}

#[test]
fn what_the_api_server_refuses_becomes_a_roll_and_the_next_wish_is_asked_for() {
    let wanted = with_memory("2Gi");
    let mut pods = three(&with_memory("1Gi"));
    for pod in &mut pods {
        pod.asked = Some(refused(&asked(&wanted)));
    }
    assert_eq!(step(&wanted, &pods), "replace");
    assert_eq!(step(&with_memory("3Gi"), &pods), "resize");
}

#[test]
fn what_was_asked_for_by_an_operator_that_died_is_asked_for_again() {
    let wanted = with_memory("2Gi");
    let mut pods = three(&wanted);
    for pod in &mut pods {
        pod.asked = Some(asking(&asked(&wanted)));
    }
    assert_eq!(step(&wanted, &pods), "resize");
    // And is missed once it is no longer wanted, whether it came to it or not.
    let nothing = json!({"containers": [{"name": "sidecar", "resources": {}}]});
    assert_eq!(step(&nothing, &pods), "replace");
}

#[test]
fn pods_of_an_operator_that_wrote_no_amounts_stay_while_they_have_what_is_wanted() {
    let wanted = with_memory("1Gi");
    for text in [Some("sidecar.limits.memory".to_owned()), None] {
        let mut pods = three(&with_memory("1024Mi"));
        pods.iter_mut().for_each(|pod| pod.asked = text.clone());
        assert_eq!(step(&wanted, &pods), "nothing", "{text:?}");
        assert_eq!(step(&with_memory("2Gi"), &pods), "resize", "{text:?}");
    }
}

#[test]
fn what_the_node_can_never_do_is_not_done() {
    let wanted = with_memory("2Gi");
    // The spec has it, the node has not.
    let mut pods = three(&wanted);
    pods.iter_mut()
        .for_each(|pod| pod.pending = Some(Pending::Infeasible));
    assert_eq!(step(&wanted, &pods), "replace");
    assert_eq!(plan(&to(&wanted), &pods).outdated, 3);
    // Something else is wanted by now, which the node may be able to do.
    assert_eq!(step(&with_memory("1Gi"), &pods), "resize");
    // Somebody else asked for more than that.
    for pod in &mut pods {
        pod.resources = amounts(&with_memory("3Gi"));
    }
    assert_eq!(step(&wanted, &pods), "nothing");
}

#[test]
fn a_node_without_room_is_waited_for_and_then_left() {
    let wanted = with_memory("2Gi");
    let since: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
    let mut pods = three(&wanted);
    let pending = Some(Pending::Deferred(since));
    pods.iter_mut().for_each(|pod| pod.pending = pending);
    let at = |time: &str| {
        let now = time.parse().unwrap();
        let found = plan(&Target { now, ..to(&wanted) }, &pods);
        assert_eq!((found.updated(&pods), found.outdated), (0, 3), "{time}");
        found.steps.len()
    };
    assert_eq!(at("2026-11-30T11:59:59Z"), 0, "another clock");
    assert_eq!(at("2026-11-30T12:04:59Z"), 0);
    assert_eq!(at("2026-11-30T12:05:00Z"), 1);
    // The only one stays: it serves.
    let only = Target {
        replicas: 1,
        now: "2026-12-24T12:00:00Z".parse().unwrap(),
        ..to(&wanted)
    };
    assert_eq!(plan(&only, &pods[..1]).steps, []);
    pods[0].is_ready = false;
    assert_eq!(plan(&only, &pods[..1]).steps.len(), 1);
}

#[test]
fn a_limit_that_is_no_longer_wanted_makes_new_pods_and_one_of_a_limit_range_does_not() {
    let wanted = with_memory("1Gi");
    let mut pods = three(&wanted);
    for pod in &mut pods {
        pod.resources
            .insert("sidecar.limits.cpu".to_owned(), "1".to_owned());
    }
    assert_eq!(step(&wanted, &pods), "nothing");
    for asked in [
        "sidecar.limits.cpu=1,sidecar.limits.memory=1Gi",
        "sidecar.limits.cpu,sidecar.limits.memory",
    ] {
        pods.iter_mut()
            .for_each(|pod| pod.asked = Some(asked.to_owned()));
        assert_eq!(step(&wanted, &pods), "replace", "{asked}");
    }
}

#[test]
fn an_infeasible_resize_of_an_older_spec_is_not_one() {
    let never = Some(Pending::Infeasible);
    for (of, pending) in [(json!(4), None), (json!(5), never), (Value::Null, never)] {
        let seen = json!({
            "metadata": {"name": "t-0", "uid": "u", "generation": 5},
            "status": {"conditions": [
                {"type": "PodResizePending", "status": "True", "reason": "Infeasible", "observedGeneration": of},
            ]},
        });
        assert_eq!(PodView::of("t", &seen).unwrap().pending, pending, "{of}");
    }
}

#[test]
fn a_deferred_resize_says_since_when() {
    let seen = json!({
        "metadata": {"name": "t-0", "uid": "u"},
        "status": {"conditions": [{
            "type": "PodResizePending", "status": "True", "reason": "Deferred", "lastTransitionTime": "2026-11-30T12:00:00Z",
        }]},
    });
    let since = "2026-11-30T12:00:00Z".parse().unwrap();
    let found = PodView::of("t", &seen).unwrap().pending;
    assert_eq!(found, Some(Pending::Deferred(since)));
}

#[test]
fn the_same_amount_written_another_way_is_the_same() {
    let of = |cpu: &str, memory: &str| {
        resources(&json!({"containers": [
            {"name": "sidecar", "resources": {"limits": {"memory": memory}, "requests": {"cpu": cpu}}},
        ]}))
    };
    for (wanted, before) in [
        ((".5", "1.5G"), ("500m", "1500M")),
        (("1000m", "1000M"), ("1", "1G")),
        (("0.50", "2000000000"), ("500m", "2G")),
        (("1.50", "1024Mi"), ("1500m", "1Gi")),
    ] {
        let pods = three(&of(before.0, before.1));
        assert_eq!(step(&of(wanted.0, wanted.1), &pods), "nothing");
    }
    assert_eq!(step(&of("1", "1Gi"), &three(&of("1", "1G"))), "resize");
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
        PodView::of("t", &json!({"metadata": metadata})).map(|pod| pod.is_controlled)
    };
    let set =
        |name: &str| json!({"kind": "StatefulSet", "name": name, "uid": "s", "controller": true});
    assert_eq!(seen("t-1", set("t")), Some(true));
    // Between two StatefulSets, when claim templates change.
    assert_eq!(seen("t-1", Value::Null), Some(false));
    assert_eq!(seen("t-copy-1", Value::Null), None);
    assert_eq!(seen("t-debug", Value::Null), None);
    assert_eq!(seen("t-1", set("other")), None);
    let job = json!({"kind": "Job", "name": "t", "uid": "j", "controller": true});
    assert_eq!(seen("t-1", job), None);
}
