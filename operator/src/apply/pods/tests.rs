//! Pods against a played API server: what they are asked for, and what is written down of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use kube::Client;

use super::*;
use crate::{
    apply::tests::{cluster, count, owner, ready_pod},
    played::{Calls, played, played_with, refusal},
    watches::Watches,
};

/// Pods by number, each with its annotation of what it was asked for.
type There = Arc<Mutex<BTreeMap<usize, Value>>>;

/// An API server that has three pods and answers a resize with `resize`.
fn three_pods(resize: (u16, Value)) -> (Client, Calls, There) {
    let there: There = Arc::new(Mutex::new(
        (0..3)
            .map(|ordinal| (ordinal, json!("sidecar.limits.memory=2Gi")))
            .collect(),
    ));
    let pods = there.clone();
    let (client, calls) = played_with(move |method, path, sent| {
        let mut there = pods.lock().unwrap();
        if path.ends_with("/virtualtables/manuals") {
            return owner();
        }
        if path.ends_with("/resize") {
            return resize.clone();
        }
        let pod = |(ordinal, asked): (&usize, &Value)| {
            let mut pod = ready_pod(*ordinal);
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

/// Does what the three pods need where this much memory is wanted.
async fn roll(client: &Client, memory: &str) -> Result<Plan, ApplyError> {
    let watches = Watches::of(Vec::new());
    let resources =
        json!({"containers": [{"name": "sidecar", "resources": {"limits": {"memory": memory}}}]});
    let target = Target {
        replicas: 3,
        max_unavailable: 1,
        template_hash: "new",
        resources: &resources,
    };
    cluster(client, &watches).roll(&target).await
}

#[tokio::test]
async fn a_refused_resize_takes_one_pod_after_the_other() {
    for (code, reason) in [
        (422, "Invalid"),
        (404, "NotFound"),
        (405, "MethodNotAllowed"),
    ] {
        let (client, calls, there) = three_pods(refusal(code, reason));
        let resizes = || {
            let calls = calls.lock().unwrap();
            let resizes = calls.iter().filter(|(line, _)| line.ends_with("/resize"));
            resizes.map(|(_, patch)| patch.clone()).collect::<Vec<_>>()
        };
        for _ in 0..2 {
            assert_eq!(roll(&client, "1Gi").await.unwrap().updated, 0);
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
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"tables.yaml": "---\nspec: {}\n"},
        "metadata": {"name": "manuals-config-v1", "namespace": "docs", "uid": "c", "resourceVersion": "7", "ownerReferences": owners}});
    let (client, calls) = played(|_, _| refusal(409, "Conflict"));
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
