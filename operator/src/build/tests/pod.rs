//! How pods listen and end, who they are, and that none is rolled for it.

use super::*;

/// The number that a container's flag has.
fn flag(container: &Value, name: &str) -> u64 {
    let args = container["args"].as_array().unwrap().iter();
    let mut values = args.filter_map(|arg| arg.as_str()?.strip_prefix(name)?.strip_prefix('='));
    let value = values
        .next()
        .unwrap_or_else(|| panic!("no {name}: its default is of another image"));
    value.parse().unwrap()
}

#[test]
fn stopping_takes_as_long_as_the_parts_of_both_containers() {
    let mut table = example("design");
    // A crate that this one may not depend on. How long it takes at most is no flag.
    let door = include_str!("../../../../sidecar/src/run/mod.rs");
    let close = format!("const CLOSE_MAX: Duration = Duration::from_secs({CLOSE_SECONDS});");
    assert!(door.contains(&close), "{close}");
    for drain in [0, 30, 600] {
        table.spec.server.as_mut().unwrap().rollout.drain_seconds = drain;
        let all = children(&table, &shipped(), None);
        let pod = &all.stateful_set().unwrap().object["spec"]["template"]["spec"];
        let (door, server) = (&pod["containers"][0], &pod["initContainers"][0]);
        let sleep = door["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64();
        // What is awaited is awaited once: by the kubelet, or by the process.
        let endpoints = [sleep.unwrap(), flag(door, "--lame-duck-seconds")];
        assert_eq!(endpoints, [u64::from(ENDPOINT_SECONDS), 0]);
        assert_eq!(flag(door, "--drain-seconds"), u64::from(drain));
        let of_door = endpoints.iter().sum::<u64>() + u64::from(drain) + u64::from(CLOSE_SECONDS);
        let of_server = flag(server, "--drain-seconds");
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert_eq!(grace - of_door, u64::from(SERVER_SECONDS));
        assert!(of_server < grace - of_door, "{of_server} of {grace}");
    }
}

#[test]
fn pods_listen_in_both_families() {
    let all = children(&example("minimal"), &shipped(), None);
    let pod = &all.stateful_set().unwrap().object["spec"]["template"]["spec"];
    let args = pod["containers"][0]["args"].as_array().unwrap();
    for listen in ["--listen=[::]:8080", "--admin-listen=[::]:8081"] {
        assert!(args.contains(&listen.into()), "{listen} is not in {args:?}");
    }
}

#[test]
fn a_cluster_that_gives_ids_is_left_to_give_them() {
    let cluster = Shipped {
        assign_ids: false,
        ..shipped()
    };
    let ids = |table: &VirtualTable, shipped: &Shipped| {
        let all = children(table, shipped, None);
        let template = all.stateful_set().unwrap().object["spec"]["template"].clone();
        let context = &template["spec"]["securityContext"];
        assert_eq!(context["runAsNonRoot"], true);
        let found = ["runAsUser", "runAsGroup", "fsGroup"].map(|id| context[id].as_i64());
        (found, template)
    };
    let mut table = example("minimal");
    let (ours, before) = ids(&table, &shipped());
    assert_eq!(ours, [Some(65532); 3]);
    let (theirs, after) = ids(&table, &cluster);
    assert_eq!(theirs, [None; 3]);
    // What `kubectl vt plan` makes of the two.
    assert!(assigns_ids(Some(&before), Some(&table)) && assigns_ids(None, None));
    assert!(!assigns_ids(Some(&after), Some(&table)));

    // What the user writes is written, whoever gives the others.
    let own = json!({"securityContext": {"runAsUser": 1000}});
    table.spec.server.as_mut().unwrap().pod_template = Some(serde_json::from_value(own).unwrap());
    let (mixed, after) = ids(&table, &cluster);
    assert_eq!(mixed, [Some(1000), None, None]);
    assert!(!assigns_ids(Some(&after), Some(&table)));
    assert_eq!(
        ids(&table, &shipped()).0,
        [Some(1000), Some(65532), Some(65532)]
    );
}

#[test]
fn another_operator_rolls_no_pod_for_flags_that_it_passes_otherwise() {
    let table = example("design");
    let before = children(&table, &shipped(), None);
    let mut last = rendered(&before, "manuals");
    // As an operator before this one rendered it.
    let text = last.template.to_string();
    let earlier = text
        .replace("[::]", "0.0.0.0")
        .replace("\"--lame-duck-seconds=0\",", "");
    assert_ne!(earlier, text);
    last.template = serde_json::from_str(&earlier).unwrap();
    let kept = children(&table, &shipped(), Some(last.clone()));
    assert_eq!(rendered(&kept, "manuals").template, last.template);
    let hash = workload::template_hash(&last.template);
    assert_eq!(kept.template_hash, hash);
}
