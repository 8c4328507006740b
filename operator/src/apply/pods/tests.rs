//! Pods against a fake API server: what they are asked for, and what is written down of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use k8s_openapi::jiff::Timestamp;
use kube::Client;

use super::*;
use crate::{
    apply::tests::{cluster, count, others, owner, ready_pod},
    fake_api::{Calls, fake_api, fake_api_with, refusal},
    watches::Watches,
};

/// Pods by number, each with its annotation of what it was asked for.
type There = Arc<Mutex<BTreeMap<usize, Value>>>;

/// An API server that has three pods and answers a resize with `resize`.
fn three_pods(resize: (u16, Value)) -> (Client, Calls, There) {
    three_pods_of(owner(), resize)
}

/// The same, of a table that is what `owner` says.
fn three_pods_of(owner: (u16, Value), resize: (u16, Value)) -> (Client, Calls, There) {
    let there: There = Arc::new(Mutex::new(
        (0..3)
            .map(|ordinal| (ordinal, json!("sidecar.limits.memory=2Gi")))
            .collect(),
    ));
    let pods = there.clone();
    let (client, calls) = fake_api_with(move |method, path, sent| {
        let mut there = pods.lock().unwrap();
        if path.ends_with("/virtualtables/manuals") {
            return owner.clone();
        }
        if path.ends_with("/resize") {
            return resize.clone();
        }
        let pod = |(ordinal, asked): (&usize, &Value)| {
            let mut pod = ready_pod(*ordinal);
            pod["metadata"]["ownerReferences"] = controlled_by("mine");
            pod["metadata"]["annotations"]["vdt.io/asked"] = asked.clone();
            pod
        };
        let Some((_, ordinal)) = path.rsplit_once('-') else {
            let items: Vec<Value> = there.iter().map(pod).collect();
            return (
                200,
                json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}),
            );
        };
        let ordinal = ordinal.parse().unwrap();
        match method {
            "DELETE" => drop(there.remove(&ordinal)),
            "PATCH" => {
                assert_eq!(sent["metadata"]["uid"], format!("u{ordinal}"));
                let asked = sent["metadata"]["annotations"]["vdt.io/asked"].clone();
                there.insert(ordinal, asked);
            }
            _ => {}
        }
        (200, ready_pod(ordinal))
    });
    (client, calls, there)
}

/// The reference of a pod to the StatefulSet of this identity.
fn controlled_by(uid: &str) -> Value {
    json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "manuals", "uid": uid, "controller": true}])
}

/// What an API server says of a resize that is invalid for these causes: reason and message of each.
fn invalid(causes: &[(&str, &str)]) -> (u16, Value) {
    let (code, mut status) = refusal(422, "Invalid");
    status["message"] = "Pod \"manuals-2\" is invalid: said so".into();
    status["details"]["causes"] = causes
        .iter()
        .map(|(reason, message)| json!({"reason": reason, "message": message, "field": "spec"}))
        .collect();
    (code, status)
}

/// A policy of admission lets nobody change a pod.
fn denied() -> (u16, Value) {
    let message = "ValidatingAdmissionPolicy 'a' with binding 'b' denied request: no";
    let (code, mut status) = invalid(&[("Invalid", message)]);
    status["message"] = message.into();
    (code, status)
}

/// The class of service would change.
fn other_class() -> (u16, Value) {
    let message =
        "Invalid value: \"Guaranteed\": Pod QOS Class may not change as a result of resizing";
    invalid(&[("FieldValueInvalid", message)])
}

/// Does what the three pods need where this much memory is wanted.
async fn roll(client: &Client, memory: &str) -> Result<Plan, ApplyError> {
    Ok(try_roll(client, memory)
        .await?
        .expect("some pod can have it"))
}

async fn try_roll(client: &Client, memory: &str) -> Result<Result<Plan, Refusal>, ApplyError> {
    let watches = Watches::of(Vec::new());
    let resources =
        json!({"containers": [{"name": "sidecar", "resources": {"limits": {"memory": memory}}}]});
    let target = Target {
        replicas: 3,
        max_unavailable: 1,
        template_hash: "new",
        restarts: &BTreeSet::new(),
        resources: &resources,
        has_claims: false,
        now: Timestamp::UNIX_EPOCH,
    };
    let mut cluster = cluster(client, &watches);
    cluster.unseen_set = Some("mine");
    cluster.roll(&target).await
}

#[tokio::test]
async fn nothing_is_done_to_pods_of_a_table_that_is_not_that_one_any_more() {
    for (owner, expected) in others()
        .map(|owner| (owner, 0))
        .into_iter()
        .chain([(owner(), 1)])
    {
        let (client, calls, _) = three_pods_of(owner.clone(), refusal(404, "NotFound"));
        let watches = Watches::of(Vec::new());
        let target = Target {
            replicas: 3,
            max_unavailable: 1,
            template_hash: "newer",
            restarts: &BTreeSet::new(),
            resources: &json!({}),
            has_claims: false,
            now: Timestamp::UNIX_EPOCH,
        };
        let mut cluster = cluster(&client, &watches);
        cluster.unseen_set = Some("mine");
        let rolled = cluster.roll(&target).await.unwrap();
        assert_eq!(rolled.unwrap().outdated, 3);
        assert_eq!(count(&calls, "DELETE"), expected, "{owner:?}");
    }
}

#[tokio::test]
async fn a_refused_resize_takes_one_pod_after_the_other() {
    let smaller =
        "Forbidden: memory limits cannot be decreased unless resizePolicy is RestartContainer";
    for refused in [
        other_class(),
        invalid(&[("FieldValueForbidden", smaller)]),
        refusal(404, "NotFound"),
        refusal(405, "MethodNotAllowed"),
        denied(),
    ] {
        let code = refused.0;
        let (client, calls, there) = three_pods(refused);
        let resizes = || {
            let calls = calls.lock().unwrap();
            let resizes = calls.iter().filter(|(line, _)| line.ends_with("/resize"));
            resizes.map(|(_, patch)| patch.clone()).collect::<Vec<_>>()
        };
        for _ in 0..2 {
            assert!(roll(&client, "1Gi").await.unwrap().done.is_empty());
            // The one that went is waited for; nobody asks again what was refused, nor would another operator.
            assert_eq!(count(&calls, "DELETE"), 1, "{code}");
            assert_eq!(resizes().len(), 3, "{code}");
        }
        assert_eq!(resizes()[0]["metadata"]["uid"], "u2");
        let refused = json!("sidecar.limits.memory=1Gi refused");
        assert_eq!(
            *there.lock().unwrap(),
            [(0, refused.clone()), (1, refused)].into()
        );
        let calls = calls.lock().unwrap();
        let (_, deleted) = calls
            .iter()
            .find(|(line, _)| line.starts_with("DELETE"))
            .unwrap();
        assert_eq!(
            deleted["preconditions"],
            json!({"uid": "u2", "resourceVersion": "7"})
        );
    }
}

#[tokio::test]
async fn what_no_pod_can_have_takes_none() {
    let above = "Invalid value: \"2Gi\": must be less than or equal to memory limit of 1Gi";
    let class =
        "Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing";
    for refused in [
        invalid(&[("FieldValueInvalid", above)]),
        invalid(&[("FieldValueInvalid", class), ("FieldValueInvalid", above)]),
        refusal(422, "Invalid"),
    ] {
        let (client, calls, there) = three_pods(refused.clone());
        // One that only a new pod can do for, and whose turn it is before the others.
        let other = json!("server.requests.cpu=1,sidecar.limits.memory=2Gi");
        there.lock().unwrap().insert(2, other);
        for _ in 0..2 {
            let refusal = try_roll(&client, "1Gi").await.unwrap().unwrap_err();
            assert_eq!(refusal.reason, "InvalidSpec");
            let told = refused.1["message"].as_str().unwrap();
            assert_eq!(refusal.message, format!("spec.server.resources: {told}"));
            assert_eq!(count(&calls, "DELETE"), 0);
            assert_eq!(there.lock().unwrap().len(), 3);
        }
    }
}

#[tokio::test]
async fn a_resize_is_written_down_before_it_is_asked_for_and_when_it_is_taken() {
    let (client, calls, _) = three_pods((200, ready_pod(0)));
    // Whatever the pods have by then.
    assert_eq!(roll(&client, "1Gi").await.unwrap().steps.len(), 3);
    let of_one: Vec<Value> = calls.lock().unwrap()[2..5]
        .iter()
        .map(|(line, sent)| match line.ends_with("/resize") {
            true => json!("resize"),
            false => sent["metadata"]["annotations"]["vdt.io/asked"].clone(),
        })
        .collect();
    assert_eq!(
        of_one,
        [
            "sidecar.limits.memory=1Gi asking",
            "resize",
            "sidecar.limits.memory=1Gi"
        ]
    );
    assert_eq!(roll(&client, "1Gi").await.unwrap().steps, []);
    // One that is broken off is asked for again.
    let (client, _, there) = three_pods(refusal(500, "InternalError"));
    assert!(roll(&client, "1Gi").await.is_err());
    assert_eq!(
        there.lock().unwrap()[&2],
        "sidecar.limits.memory=1Gi asking"
    );
}

#[tokio::test]
async fn a_suspend_is_not_written_over_what_it_has_not_seen() {
    let owners = json!([{"apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable", "name": "manuals", "uid": "owner"}]);
    let labels = names::selector("manuals");
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"tables.yaml": "---\nspec: {}\n"},
        "metadata": {"name": "manuals-config-v1", "namespace": "docs", "uid": "c", "resourceVersion": "7", "ownerReferences": owners, "labels": labels}});
    let (client, calls) = fake_api(|_, _| refusal(409, "Conflict"));
    let watches = Watches::of(vec![(Kind::ConfigMap, config)]);
    let error = cluster(&client, &watches).suspend().await.unwrap_err();
    assert!(matches!(error, ApplyError::Api { .. }), "{error}");
    let calls = calls.lock().unwrap();
    let (_, patch) = &calls[0];
    assert_eq!(
        patch["metadata"],
        json!({"uid": "c", "resourceVersion": "7"})
    );
    assert!(patch["data"].to_string().contains("suspend: true"));
}

#[tokio::test]
async fn a_suspend_reaches_a_config_map_whose_label_says_that_it_is_anothers() {
    let owners = json!([{"apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable", "name": "manuals", "uid": "owner"}]);
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"tables.yaml": "---\nspec: {}\n"},
        "metadata": {"name": "manuals-config-v1", "namespace": "docs", "uid": "c", "resourceVersion": "7", "ownerReferences": owners,
            "labels": names::labels("elsewhere")}});
    let watches = Watches::of(vec![(Kind::ConfigMap, config)]);
    let (client, calls) = fake_api(|_, _| (200, json!({"metadata": {"name": "patched"}})));
    assert!(
        cluster(&client, &watches)
            .suspend()
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(count(&calls, "PATCH"), 1);
}

#[tokio::test]
async fn a_suspend_reaches_the_pods_of_another_version_too() {
    let owners = json!([{"apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable", "name": "manuals", "uid": "owner"}]);
    let config = |name: &str, spec: &str| {
        let text = format!("---\nspec: {spec}\n");
        let metadata = json!({"name": name, "namespace": "docs", "uid": name, "resourceVersion": "7", "ownerReferences": owners,
            "labels": names::selector("manuals")});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"tables.yaml": text}});
        (Kind::ConfigMap, map)
    };
    let watches = Watches::of(vec![
        config("manuals-config-v1", "{}"),
        config("manuals-config-v2", "{later: 1}"),
        config("manuals-config-v3", "{suspend: true}"),
    ]);
    let (client, calls) = fake_api(|_, _| (200, json!({"metadata": {"name": "patched"}})));
    let told = cluster(&client, &watches).suspend().await.unwrap();
    assert!(told.is_some());
    let calls = calls.lock().unwrap();
    let written: Vec<&str> = calls
        .iter()
        .map(|(call, patch)| {
            assert!(patch["data"].to_string().contains("suspend: true"));
            let path = call.split('?').next().unwrap();
            path.rsplit('/').next().unwrap()
        })
        .collect();
    assert_eq!(written, ["manuals-config-v1", "manuals-config-v2"]);
}

#[test]
fn pods_of_the_set_of_another_table_are_not_its_pods() {
    let of = |controller: Option<&str>| {
        let mut pod = ready_pod(0);
        if let Some(uid) = controller {
            pod["metadata"]["ownerReferences"] = controlled_by(uid);
        }
        let pod: DynamicObject = serde_json::from_value(pod).unwrap();
        let views = |set: Option<&str>| pod_views("manuals", &[Arc::new(pod.clone())], set).len();
        (views(Some("mine")), views(None))
    };
    assert_eq!(of(Some("mine")), (1, 0));
    // A table of the same name was deleted, and its pods go after it.
    assert_eq!(of(Some("older")), (0, 0));
    // The set is made anew around its pods.
    assert_eq!(of(None), (1, 1));
}

#[tokio::test]
async fn pods_of_a_set_that_no_store_has_are_seen_once_it_was_read() {
    let mut pod = ready_pod(0);
    pod["metadata"]["ownerReferences"] = controlled_by("mine");
    pod["metadata"]["labels"] = names::labels("manuals");
    let (client, _) = fake_api(|_, _| refusal(404, "NotFound"));
    let mut watches = Watches::of(Vec::new());
    let pods = vec![serde_json::from_value(pod).unwrap()];
    watches.pods = crate::watches::filled(&pod_resource(), pods);
    let mut cluster = cluster(&client, &watches);
    assert_eq!(cluster.seen_pods().len(), 0);
    cluster.unseen_set = Some("mine");
    assert_eq!(cluster.seen_pods().len(), 1);
}

#[tokio::test]
async fn a_pod_that_was_made_anew_since_is_not_touched_and_no_failure() {
    let another = json!({"kind": "Status", "status": "Failure", "reason": "Invalid", "code": 422, "message": "field is immutable",
        "details": {"causes": [{"reason": "FieldValueInvalid", "message": "field is immutable", "field": "metadata.uid"}]}});
    for (answer, is_failure) in [((422, another), false), (refusal(422, "Invalid"), true)] {
        let (client, _) = fake_api(move |_, _| answer.clone());
        let watches = Watches::of(Vec::new());
        let cluster = cluster(&client, &watches);
        let pod = serde_json::from_value(ready_pod(0)).unwrap();
        let seen = pod_views("manuals", &[Arc::new(pod)], None);
        let reloaded = cluster.reload(&seen, "hash").await;
        assert_eq!(reloaded.is_err(), is_failure);
    }
}
