//! Against a played API server: what is asked, in which order, with which preconditions.

mod answers;

use kube::{Api, Client, api::DynamicObject};
use serde_json::{Value, json};

use super::{Cluster, NAME_TAKEN, Sent, Version, delete_if_same};
use crate::{
    build::{Child, Children, Kind, References},
    played::{Calls, not_found, played, refusal},
    watches::{Watches, filled, pod_resource},
};

fn service(uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "manuals", "namespace": "docs", "uid": uid, "resourceVersion": "7"}})
}

fn api(client: Client) -> Api<DynamicObject> {
    Api::namespaced_with(client, "docs", &Kind::Service.resource())
}

#[tokio::test]
async fn a_delete_names_what_was_read_live() {
    let (client, calls) = played(|_, _| (200, service("u")));
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
    let (client, calls) = played(|_, _| (200, service("younger")));
    assert!(
        !delete_if_same(&api(client), "Service", "manuals", Some("u"))
            .await
            .unwrap()
    );
    assert_eq!(calls.lock().unwrap().len(), 1);
    let (client, calls) = played(|_, _| not_found());
    assert!(
        !delete_if_same(&api(client), "Service", "manuals", Some("u"))
            .await
            .unwrap()
    );
    assert_eq!(calls.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_object_that_changed_in_between_is_an_error_and_stays() {
    let (client, _) = played(|method, _| match method {
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

#[tokio::test(start_paused = true)]
async fn references_are_asked_for_by_name_and_believed_for_a_while() {
    use crate::dereference::{Known, dereference};

    let (client, calls) = played(|_, path| {
        if path.ends_with("/secrets/corp-ro") {
            let metadata = json!({"name": "corp-ro", "resourceVersion": "5"});
            (
                200,
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}),
            )
        } else {
            not_found()
        }
    });
    let references = References {
        source_secrets: ["corp-ro".to_owned()].into(),
        claims: ["papers".to_owned()].into(),
        ..References::default()
    };
    let mut known = Known::default();
    let first = dereference(&client, "docs", &references, &mut known, true)
        .await
        .unwrap();
    assert_eq!(
        first.missing,
        [("PersistentVolumeClaim", "papers".to_owned())]
    );
    assert_eq!(first.versions["Secret/corp-ro"], "5");
    let asked = |calls: &Calls| {
        calls
            .lock()
            .unwrap()
            .drain(..)
            .map(|(line, _)| line)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        asked(&calls),
        [
            "GET /api/v1/namespaces/docs/persistentvolumeclaims/papers",
            "GET /api/v1/namespaces/docs/secrets/corp-ro",
        ]
    );
    // What is missing is asked for again, what was there is believed, until it is not.
    dereference(&client, "docs", &references, &mut known, false)
        .await
        .unwrap();
    assert_eq!(
        asked(&calls),
        ["GET /api/v1/namespaces/docs/persistentvolumeclaims/papers"]
    );
    tokio::time::advance(std::time::Duration::from_secs(601)).await;
    dereference(&client, "docs", &references, &mut known, false)
        .await
        .unwrap();
    assert_eq!(asked(&calls).len(), 2);
}

pub(super) fn cluster<'a>(client: &'a Client, watches: &'a Watches) -> Cluster<'a> {
    Cluster {
        client,
        watches,
        namespace: "docs",
        server: "manuals",
        uid: "owner",
        generation: Some(1),
        unseen_set: None,
    }
}

/// The table that everything belongs to, as it is read before something is deleted.
pub(super) fn owner() -> (u16, Value) {
    let metadata = json!({"name": "manuals", "namespace": "docs", "uid": "owner", "generation": 1});
    (
        200,
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}),
    )
}

pub(super) fn ready_pod(ordinal: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("manuals-{ordinal}"), "namespace": "docs", "uid": format!("u{ordinal}"), "resourceVersion": "7",
            "annotations": {"vdt.io/template-hash": "new", "vdt.io/asked": "sidecar.limits.memory=2Gi"}},
        "spec": {"containers": [{"name": "sidecar", "resources": {"limits": {"memory": "2Gi"}}}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

pub(super) fn count(calls: &Calls, start: &str) -> usize {
    let calls = calls.lock().unwrap();
    calls
        .iter()
        .filter(|(line, _)| line.starts_with(start))
        .count()
}

fn children(objects: Vec<(Kind, &str, Value)>) -> Children {
    let child = |(kind, name, mut object): (Kind, &str, Value)| {
        let resource = kind.resource();
        object["apiVersion"] = resource.api_version.into();
        object["kind"] = resource.kind.into();
        object["metadata"] = json!({"name": name, "annotations": {"vdt.io/applied": "hash"}});
        Child {
            kind,
            name: name.to_owned(),
            object,
        }
    };
    Children {
        objects: objects.into_iter().map(child).collect(),
        config_hash: String::new(),
        template_hash: String::new(),
        references: References::default(),
    }
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_neither_written_nor_deleted() {
    let theirs = json!({"apiVersion": "cert-manager.io/v1", "kind": "Certificate",
        "metadata": {"name": "manuals-tls", "namespace": "docs", "uid": "theirs", "resourceVersion": "7"}});
    let (client, calls) = played(move |_, _| (200, theirs.clone()));
    let watches = Watches::of(Vec::new());
    let cluster = cluster(&client, &watches);
    let wanted = children(vec![(
        Kind::Certificate,
        "manuals-tls",
        json!({"spec": {}}),
    )]);
    let key = (Kind::Certificate, "manuals-tls".to_owned());
    let mut sent = Sent::from([(key, Version::default())]);
    let refusal = cluster
        .apply(&wanted, &mut sent)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(refusal.reason, NAME_TAKEN);
    // Nor when it is no longer wanted.
    let applied = cluster.apply(&children(Vec::new()), &mut sent).await;
    assert!(applied.unwrap().is_ok());
    assert_eq!((count(&calls, "PATCH"), count(&calls, "DELETE")), (0, 0));
}

/// How many ConfigMaps go that another version made, where the template mounts `mounted` and there is a pod of the template `pod`, if one.
async fn swept(mounted: &str, pod: Option<&str>) -> usize {
    let labels = json!({"app.kubernetes.io/instance": "manuals"});
    let owners = json!([{"apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable", "name": "manuals", "uid": "owner"}]);
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "manuals-config-v2", "namespace": "docs", "uid": "u",
        "labels": labels, "ownerReferences": owners}});
    let live = config.clone();
    let (client, calls) = played(move |_, path| match path.rsplit_once('/').unwrap().1 {
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

#[tokio::test(start_paused = true)]
async fn a_kind_that_the_cluster_does_not_have_is_said_and_asked_for_once_a_minute() {
    let (client, calls) = played(|_, _| not_found());
    let watches = Watches::of(Vec::new());
    let cluster = cluster(&client, &watches);
    let wanted = children(vec![(Kind::PodMonitor, "manuals", json!({"spec": {}}))]);
    for (seconds, asked) in [(0, 2), (20, 2), (39, 2), (1, 4)] {
        tokio::time::advance(std::time::Duration::from_secs(seconds)).await;
        // Of any table: what one found out all others believe.
        let applied = cluster.apply(&wanted, &mut Sent::new()).await.unwrap();
        assert_eq!(applied.unwrap().undefined, [Kind::PodMonitor]);
        assert_eq!(calls.lock().unwrap().len(), asked);
    }
}

/// The StatefulSet of the table in this version, with an image and a number of pods.
fn stateful_set(version: &str, image: &str, replicas: i64) -> Value {
    let owners = json!([{"apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable", "name": "manuals", "uid": "owner"}]);
    let template = json!({"spec": {"containers": [{"name": "sidecar", "image": image}]}});
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {"replicas": replicas, "template": template},
        "metadata": {"name": "manuals", "namespace": "docs", "uid": "s", "resourceVersion": version, "ownerReferences": owners,
            "annotations": {"vdt.io/applied": "hash"}}})
}

#[tokio::test]
async fn what_admission_made_of_a_child_is_not_sent_again_until_somebody_writes_it() {
    let (client, calls) = played(|_, _| (200, stateful_set("8", "mirror/sidecar", 2)));
    let spec = stateful_set("", "sidecar", 2)["spec"].clone();
    let wanted = children(vec![(Kind::StatefulSet, "manuals", json!({"spec": spec}))]);
    let mut sent = Sent::new();
    for (seen, patches) in [
        (stateful_set("7", "mirror/sidecar", 2), 1),
        (stateful_set("8", "mirror/sidecar", 2), 1),
        (stateful_set("8", "mirror/sidecar", 2), 1),
        // Drift, whoever is between.
        (stateful_set("9", "mirror/sidecar", 5), 2),
        // As it is sent: whether somebody wrote it does not matter.
        (stateful_set("10", "sidecar", 2), 2),
    ] {
        let watches = Watches::of(vec![(Kind::StatefulSet, seen)]);
        let applied = cluster(&client, &watches).apply(&wanted, &mut sent).await;
        assert!(applied.unwrap().is_ok());
        assert_eq!(count(&calls, "PATCH"), patches);
    }
    // Something else is wanted.
    sent.values_mut()
        .for_each(|last| last.hash = "other".to_owned());
    let watches = Watches::of(vec![(
        Kind::StatefulSet,
        stateful_set("8", "mirror/sidecar", 2),
    )]);
    let applied = cluster(&client, &watches).apply(&wanted, &mut sent).await;
    assert!(applied.unwrap().is_ok());
    assert_eq!(count(&calls, "PATCH"), 3);
}

/// What becomes of a Service of the child's name that has these labels, this writer and this controller, where the table `is_there`.
async fn adopt(of: &str, manager: &str, controller: Option<&str>, is_there: bool) -> &'static str {
    let labels =
        json!({"app.kubernetes.io/instance": of, "app.kubernetes.io/managed-by": "vdt-operator"});
    let theirs = |uid| json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs", "uid": uid, "controller": true});
    let owners: Vec<Value> = controller.into_iter().map(theirs).collect();
    let mut seen = service("u");
    seen["metadata"]["labels"] = labels;
    seen["metadata"]["ownerReferences"] = owners.into();
    let mut live = seen.clone();
    live["metadata"]["managedFields"] =
        json!([{"manager": manager, "operation": "Apply", "apiVersion": "v1"}]);
    let (client, calls) =
        played(
            move |_, path| match (path.ends_with("/virtualtables/manuals"), is_there) {
                (false, _) => (200, live.clone()),
                (true, true) => owner(),
                (true, false) => not_found(),
            },
        );
    // A store keeps no managers.
    let watches = Watches::of(vec![(Kind::Service, seen)]);
    let wanted = children(vec![(Kind::Service, "manuals", json!({"spec": {}}))]);
    let applied = cluster(&client, &watches)
        .apply(&wanted, &mut Sent::new())
        .await;
    let patches = count(&calls, "PATCH");
    let (what, expected) = match applied {
        Ok(Ok(applied)) => match applied.waiting.first() {
            Some((kind, _)) => (*kind, 0),
            None => ("adopted", 1),
        },
        Ok(Err(refusal)) => (refusal.reason, 0),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(patches, expected);
    what
}

#[tokio::test]
async fn what_a_deleted_table_left_behind_is_taken_over_and_nothing_else() {
    let ours = ("manuals", "vdt-operator");
    assert_eq!(adopt(ours.0, ours.1, None, true).await, "adopted");
    assert_eq!(adopt("other", ours.1, None, true).await, NAME_TAKEN);
    assert_eq!(adopt(ours.0, "kubectl", None, true).await, NAME_TAKEN);
    assert_eq!(adopt(ours.0, ours.1, Some("d"), true).await, NAME_TAKEN);
    // It is being left behind just now.
    assert_eq!(adopt(ours.0, ours.1, None, false).await, "VirtualTable");
}

/// What comes of a claim of `live` bytes and class that should have `wanted`: problems, and patches of the claim.
async fn keep_state(live: (&str, &str), wanted: (&str, &str)) -> (Vec<&'static str>, usize) {
    let spec = |(capacity, class): (&str, &str)| json!({"storageClassName": class, "resources": {"requests": {"storage": capacity}}});
    let labels = json!({"app.kubernetes.io/instance": "manuals", "app.kubernetes.io/managed-by": "vdt-operator"});
    let metadata = json!({"name": "manuals-state", "namespace": "docs", "uid": "c", "resourceVersion": "7", "labels": labels});
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec(live)});
    let (client, calls) = played(|method, path| match method {
        "GET" => not_found(),
        _ if path.ends_with("manuals-state") => refusal(422, "Invalid"),
        _ => (200, service("u")),
    });
    let watches = Watches::of(vec![(Kind::PersistentVolumeClaim, claim)]);
    let wanted = children(vec![
        (
            Kind::PersistentVolumeClaim,
            "manuals-state",
            json!({"spec": spec(wanted)}),
        ),
        (Kind::StatefulSet, "manuals", json!({"spec": {}})),
    ]);
    let cluster = cluster(&client, &watches);
    let applied = cluster
        .apply(&wanted, &mut Sent::new())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(applied.written, ["StatefulSet manuals"]);
    let patches = count(
        &calls,
        "PATCH /api/v1/namespaces/docs/persistentvolumeclaims",
    );
    (
        applied
            .claims
            .iter()
            .map(|problem| problem.reason)
            .collect(),
        patches,
    )
}

#[tokio::test]
async fn a_state_claim_only_grows_and_holds_nothing_up() {
    assert_eq!(keep_state(("20Gi", "a"), ("1Gi", "a")).await, (vec![], 0));
    assert_eq!(keep_state(("1Gi", "a"), ("1024Mi", "a")).await, (vec![], 0));
    assert_eq!(
        keep_state(("1Gi", "a"), ("2Gi", "a")).await,
        (vec!["ClaimNotExpanded"], 1)
    );
    assert_eq!(
        keep_state(("1Gi", "a"), ("1Gi", "b")).await,
        (vec!["ClaimDiffers"], 0)
    );
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
        let (client, calls) = played(move |_, path| match (path, &found) {
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
