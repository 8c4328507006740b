//! Claims against a fake API server: which of them go, which get an owner, and that none goes on the word of a store.

use serde_json::Value;

use super::*;
use crate::{
    apply::{
        rollout::PodView,
        tests::{cluster, owner, ready_pod},
    },
    fake_api::{Calls, fake_api},
    watches::{Nodes, Watches},
};

#[test]
fn a_local_volume_names_its_host() {
    let pinned = |terms: Value| {
        pinned_to(&json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}}))
    };
    let term = |key: &str, value: &str| json!({"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]});
    let key = "topology.topolvm.io/node";
    let place = |value: &str| vec![(key.to_owned(), vec![value.to_owned()])];
    assert_eq!(pinned(json!([term(key, "n2")])), [place("n2")]);
    assert_eq!(
        pinned(json!([term(key, "n2"), term(key, "n1")])),
        [place("n2"), place("n1")]
    );
    assert!(pinned_to(&json!({"spec": {}})).is_empty());
    let elsewhere = json!({"matchExpressions": [{"key": key, "operator": "Exists"}]});
    assert!(pinned(json!([term(key, "n2"), elsewhere])).is_empty());
}

const CLAIM: &str = "/api/v1/namespaces/docs/persistentvolumeclaims/cache-manuals-0";

/// What is written where a claim is pinned to `n1` and `n2`, of which `there` are nodes, and `gone` were seen to go.
async fn heal(
    mark: Option<&str>,
    is_scheduled: bool,
    there: &[&str],
    gone: &[&str],
) -> Vec<String> {
    heal_pinned("kubernetes.io/hostname", mark, is_scheduled, there, gone).await
}

/// The same where it is pinned by this label, which every node has.
async fn heal_pinned(
    key: &'static str,
    mark: Option<&str>,
    is_scheduled: bool,
    there: &[&str],
    gone: &[&str],
) -> Vec<String> {
    let labels = json!({"app.kubernetes.io/instance": "manuals", "app.kubernetes.io/managed-by": "vdt-operator", "vdt.io/claim": "cache"});
    let metadata = json!({"name": "cache-manuals-0", "namespace": "docs", "uid": "c", "resourceVersion": "7", "labels": labels,
        "annotations": {"vdt.io/node-lost-at": mark}});
    let mut claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": {"volumeName": "v"}});
    if mark.is_none() {
        claim["metadata"]["annotations"] = json!({});
    }
    let seen = claim.clone();
    let nodes: Vec<Value> = there
        .iter()
        .map(|name| json!({"metadata": {"name": name}}))
        .collect();
    let (client, calls) = fake_api(move |_, path| {
        let terms =
            json!([{"matchExpressions": [{"key": key, "operator": "In", "values": ["n1", "n2"]}]}]);
        if path.starts_with("/api/v1/persistentvolumes/") {
            let spec = json!({"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}});
            return (
                200,
                json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v"}, "spec": spec}),
            );
        }
        if path == "/api/v1/nodes" {
            return (
                200,
                json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": nodes}),
            );
        }
        match path {
            CLAIM => (200, seen.clone()),
            _ if path.ends_with("/virtualtables/manuals") => owner(),
            _ => (200, ready_pod(0)),
        }
    });
    let watches = Watches::of(vec![(Kind::PersistentVolumeClaim, claim)]);
    for host in gone {
        let since = "2026-11-24T10:00:00Z".parse().unwrap();
        let metadata = json!({"name": host, "labels": {key: host}});
        let node: Node = serde_json::from_value(json!({"metadata": metadata})).unwrap();
        watches.nodes.as_ref().unwrap().see(&node, Some(since));
    }
    let status = if is_scheduled { "True" } else { "False" };
    let mut pod = ready_pod(0);
    pod["status"] =
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": status}]});
    let pods = [PodView::of("manuals", &pod).unwrap()];
    let mut spec = vdt_crds::Server {
        replicas: 1,
        ..vdt_crds::Server::default()
    };
    spec.cache.disk.volume.kind = VolumeType::PersistentVolumeClaim;
    let now: Timestamp = "2026-11-24T10:10:00Z".parse().unwrap();
    cluster(&client, &watches)
        .reconcile_claims(&spec, &pods, now)
        .await
        .unwrap();
    writes(&calls)
}

/// What was written: to which object, and what a patch is about.
fn writes(calls: &Calls) -> Vec<String> {
    let calls = calls.lock().unwrap();
    let writes = calls.iter().filter(|(line, _)| !line.starts_with("GET"));
    writes
        .map(|(line, body)| {
            let (method, path) = line.split_once(' ').unwrap();
            let (name, metadata) = (path.rsplit_once('/').unwrap().1, &body["metadata"]);
            if let Some(owners) = metadata["ownerReferences"].as_array() {
                assert_eq!(metadata["resourceVersion"], "7");
                return format!("own {name} by {}", owners[0]["uid"].as_str().unwrap());
            }
            match method {
                "PATCH" => format!("mark {}", metadata["annotations"]["vdt.io/node-lost-at"]),
                _ => format!("{method} {name}"),
            }
        })
        .collect()
}

#[tokio::test]
async fn a_cache_is_given_up_only_while_no_node_has_it() {
    let long_ago = Some("2026-10-01T00:00:00Z");
    let healed = ["DELETE cache-manuals-0", "DELETE manuals-0"];
    assert_eq!(heal(long_ago, false, &[], &[]).await, healed);
    // It came back: the mark is old news, whether the pod found its way or not.
    assert_eq!(heal(long_ago, false, &["n1"], &[]).await, ["mark null"]);
    assert_eq!(heal(long_ago, true, &[], &[]).await, ["mark null"]);
    assert_eq!(heal(None, false, &["n1"], &["n1", "n2"]).await, [""; 0]);
    // One of two hosts is no loss.
    assert_eq!(heal(None, false, &[], &["n1"]).await, [""; 0]);
    let marked = [
        "mark \"2026-11-24T10:00:00Z\"",
        "DELETE cache-manuals-0",
        "DELETE manuals-0",
    ];
    assert_eq!(heal(None, false, &[], &["n1", "n2"]).await, marked);
    // It went a second time: the grace is counted from then.
    assert_eq!(heal(long_ago, false, &[], &["n1", "n2"]).await, marked);
}

#[tokio::test]
async fn a_cache_is_pinned_by_any_label_that_names_nodes() {
    let marked = [
        "mark \"2026-11-24T10:00:00Z\"",
        "DELETE cache-manuals-0",
        "DELETE manuals-0",
    ];
    for key in ["topology.topolvm.io/node", "openebs.io/nodename"] {
        let heal = |there, gone| heal_pinned(key, None, false, there, gone);
        assert_eq!(heal(&[], &["n1", "n2"]).await, marked, "{key}");
        assert_eq!(heal(&[], &["n1"]).await, [""; 0], "{key}");
        assert_eq!(heal(&["n2"], &["n1", "n2"]).await, [""; 0], "{key}");
    }
}

#[test]
fn a_volume_is_lost_with_the_node_and_not_with_its_zone() {
    let nodes = Nodes::default();
    let labels = json!({"topology.topolvm.io/node": "n1", "topology.kubernetes.io/zone": "a"});
    let node: Node =
        serde_json::from_value(json!({"metadata": {"name": "n1", "labels": labels}})).unwrap();
    nodes.see(&node, Some(Timestamp::UNIX_EPOCH));
    let pin = |key: &str, value: &str| (key.to_owned(), vec![value.to_owned()]);
    let (zone, host) = (
        pin("topology.kubernetes.io/zone", "a"),
        pin("topology.topolvm.io/node", "n1"),
    );
    let lost = |terms: &[Term]| gone_since(terms, &nodes).is_some();
    assert!(!lost(&[vec![zone.clone()]]));
    assert!(lost(&[vec![zone.clone(), host.clone()]]));
    assert!(!lost(&[vec![host], vec![zone]]));
}

/// What is written of a table with `replicas` pods, of which `there` are there, and three claims, owned by its StatefulSet if `is_owned`.
async fn tend(replicas: u32, there: &[usize], is_owned: bool, generation: i64) -> Vec<String> {
    let claim = move |name: &str, holds: &str| {
        let labels = json!({"app.kubernetes.io/instance": "manuals", "app.kubernetes.io/managed-by": "vdt-operator", "vdt.io/claim": holds});
        let owners = match is_owned {
            true => {
                json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "manuals", "uid": "s"}])
            }
            false => json!([]),
        };
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": {},
            "metadata": {"name": name, "namespace": "docs", "uid": name, "resourceVersion": "7", "labels": labels, "ownerReferences": owners}})
    };
    let live = move |name: &str| claim(name, "cache");
    let (client, calls) = fake_api(move |_, path| match path.rsplit_once('/').unwrap().1 {
        "manuals" => {
            let (code, mut table) = owner();
            table["metadata"]["generation"] = generation.into();
            (code, table)
        }
        name => (200, live(name)),
    });
    let claims = (0..3).map(|ordinal| claim(&format!("cache-manuals-{ordinal}"), "cache"));
    // The state is never touched, whatever its name.
    let all = claims.chain([
        claim("manuals-state", "state"),
        claim("cache-manuals-9", "state"),
    ]);
    let all = all.map(|claim| (Kind::PersistentVolumeClaim, claim));
    let watches = Watches::of(all.collect());
    let pods: Vec<PodView> = there
        .iter()
        .map(|ordinal| PodView::of("manuals", &ready_pod(*ordinal)).unwrap())
        .collect();
    let mut spec = vdt_crds::Server {
        replicas,
        ..vdt_crds::Server::default()
    };
    spec.cache.disk.volume.kind = VolumeType::PersistentVolumeClaim;
    cluster(&client, &watches)
        .reconcile_claims(&spec, &pods, Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    let mut writes = writes(&calls);
    writes.sort();
    writes
}

#[tokio::test]
async fn caches_beyond_the_wanted_pods_go_with_their_pods() {
    // From three to none and to two: nobody else deletes the third.
    assert_eq!(tend(2, &[0, 1], true, 1).await, ["DELETE cache-manuals-2"]);
    assert_eq!(tend(2, &[0, 1, 2], true, 1).await, [""; 0], "mounted still");
    assert_eq!(tend(2, &[0], true, 1).await, ["DELETE cache-manuals-2"]);
    assert_eq!(tend(3, &[0], true, 1).await, [""; 0]);
    // It sleeps.
    assert_eq!(tend(0, &[], true, 1).await, [""; 0]);
    // Three are wanted again, which was not seen yet.
    assert_eq!(tend(2, &[0, 1], true, 2).await, [""; 0]);
}

#[tokio::test]
async fn a_cache_that_lost_its_owner_while_the_table_sleeps_goes_with_the_table() {
    let owned = [0, 1, 2].map(|ordinal| format!("own cache-manuals-{ordinal} by owner"));
    assert_eq!(tend(0, &[], false, 1).await, owned);
    assert_eq!(tend(0, &[], false, 2).await, [""; 0], "of another edition");
    // With pods it is the StatefulSet that comes back to its claims.
    assert_eq!(tend(3, &[0, 1, 2], false, 1).await, [""; 0]);
}

#[tokio::test]
async fn caches_of_a_table_that_sleeps_are_counted_and_no_other_claims() {
    let claim = |name: &str, holds: &str| {
        let labels = json!({"app.kubernetes.io/instance": "manuals", "app.kubernetes.io/managed-by": "vdt-operator", "vdt.io/claim": holds});
        let metadata = json!({"name": name, "namespace": "docs", "uid": name, "labels": labels});
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata})
    };
    let mut going = claim("cache-manuals-3", "cache");
    going["metadata"]["deletionTimestamp"] = "2026-11-24T10:00:00Z".into();
    let all = [
        claim("cache-manuals-0", "cache"),
        claim("cache-manuals-1", "cache"),
        claim("cache-manuals-2", "cache"),
        going,
        claim("manuals-state", "state"),
        // Of an ephemeral volume.
        claim("manuals-0-cache", "cache"),
    ];
    let watches = Watches::of(
        all.map(|claim| (Kind::PersistentVolumeClaim, claim))
            .to_vec(),
    );
    let (client, _) = fake_api(|_, _| owner());
    assert_eq!(cluster(&client, &watches).caches(), 3);
}
