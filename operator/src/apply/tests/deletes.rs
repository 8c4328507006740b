//! What is deleted, and that nothing is on the word of a store.

use kube::{Api, api::DynamicObject};

use super::*;
use crate::{
    apply::delete_if_same,
    names,
    watches::{filled, pod_resource},
};

fn api(client: Client) -> Api<DynamicObject> {
    Api::namespaced_with(client, "docs", &Kind::Service.resource())
}

#[tokio::test]
async fn a_delete_names_what_was_read_live() {
    let (client, calls) = fake_api(|_, _| (200, service("u")));
    assert!(
        delete_if_same(&api(client), "Service", "manuals", Some("u"))
            .await
            .unwrap()
    );
    let calls = calls.lock().unwrap();
    assert_eq!(calls[0].0, "GET /api/v1/namespaces/docs/services/manuals");
    assert_eq!(
        calls[1].0,
        "DELETE /api/v1/namespaces/docs/services/manuals"
    );
    assert_eq!(
        calls[1].1["preconditions"],
        json!({"uid": "u", "resourceVersion": "7"})
    );
}

#[tokio::test]
async fn another_object_of_the_name_is_left_alone() {
    let (client, calls) = fake_api(|_, _| (200, service("younger")));
    assert!(
        !delete_if_same(&api(client), "Service", "manuals", Some("u"))
            .await
            .unwrap()
    );
    assert_eq!(calls.lock().unwrap().len(), 1);
    let (client, calls) = fake_api(|_, _| not_found());
    assert!(
        !delete_if_same(&api(client), "Service", "manuals", Some("u"))
            .await
            .unwrap()
    );
    assert_eq!(calls.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_object_that_changed_in_between_is_an_error_and_stays() {
    let (client, _) = fake_api(|method, _| match method {
        "GET" => (200, service("u")),
        _ => (
            409,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Conflict", "message": "changed", "code": 409}),
        ),
    });
    let error = delete_if_same(&api(client), "Service", "manuals", Some("u"))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "delete of Service manuals failed");
}

/// How many ConfigMaps go that another version made, where the template mounts `mounted` and there is a pod of the template `pod`, if one.
async fn swept(mounted: &str, pod: Option<&str>) -> usize {
    let labels = names::labels("manuals");
    let owners = json!([{"apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable", "name": "manuals", "uid": "owner"}]);
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "manuals-config-v2", "namespace": "docs", "uid": "u",
        "labels": labels, "ownerReferences": owners}});
    let live = config.clone();
    let (client, calls) = fake_api(move |_, path| match path.rsplit_once('/').unwrap().1 {
        "manuals-config-v2" => (200, live.clone()),
        _ => owner(),
    });
    let mut watches = Watches::of(vec![(Kind::ConfigMap, config)]);
    let pods = pod.map(|hash| {
        let mut pod = ready_pod(0);
        pod["metadata"]["labels"] = labels;
        pod["metadata"]["annotations"]["vdt.io/template-hash"] = hash.into();
        serde_json::from_value(pod).unwrap()
    });
    watches.pods = filled(&pod_resource(), pods.into_iter().collect());
    let volumes = json!([{"name": "tables", "configMap": {"name": mounted}}]);
    let set = json!({"spec": {"template": {"spec": {"volumes": volumes}}}});
    let mut wanted = children(vec![(Kind::StatefulSet, "manuals", set)]);
    wanted.template_hash = "new".to_owned();
    let cluster = cluster(&client, &watches);
    cluster.sweep(&wanted, &mut Sent::new()).await.unwrap();
    count(&calls, "DELETE")
}

#[tokio::test]
async fn a_config_map_of_another_version_goes_when_no_pod_reads_it() {
    assert_eq!(swept("manuals-config-v1", None).await, 1);
    assert_eq!(swept("manuals-config-v1", Some("new")).await, 1);
    assert_eq!(swept("manuals-config-v1", Some("old")).await, 0);
    assert_eq!(swept("manuals-config-v2", Some("new")).await, 0);
}

#[tokio::test]
async fn what_is_not_watched_is_remembered_until_it_is_gone() {
    let key = || (Kind::PodMonitor, "manuals".to_owned());
    let owners = json!([{"apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable", "name": "manuals", "uid": "owner"}]);
    let monitor = json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor",
        "metadata": {"name": "manuals", "namespace": "docs", "uid": "m", "resourceVersion": "7", "ownerReferences": owners}});
    for (generation, found, is_remembered, deleted) in [
        // Acted upon is an older edition than there is: it is for the next look, which must know of it.
        (2, Some(&monitor), true, 0),
        (1, Some(&monitor), false, 1),
        (1, None, false, 0),
    ] {
        let found = found.cloned();
        let (client, calls) = fake_api(move |_, path| match (path, &found) {
            (path, _) if path.contains("/virtualtables/") => {
                let (code, mut table) = owner();
                table["metadata"]["generation"] = generation.into();
                (code, table)
            }
            (_, Some(found)) => (200, found.clone()),
            (_, None) => not_found(),
        });
        let watches = Watches::of(Vec::new());
        let mut sent = Sent::from([(key(), Version::default())]);
        let cluster = cluster(&client, &watches);
        let swept = cluster.sweep(&children(Vec::new()), &mut sent).await;
        swept.unwrap();
        assert_eq!(sent.contains_key(&key()), is_remembered);
        assert_eq!(count(&calls, "DELETE"), deleted);
    }
}
