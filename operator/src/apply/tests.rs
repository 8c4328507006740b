//! Against a fake API server: what is asked, in which order, with which preconditions.

mod answers;
mod deletes;

use kube::Client;
use serde_json::{Value, json};

use super::{Cluster, NAME_TAKEN, Sent, Version};
use crate::{
    build::{Child, Children, Kind, References},
    fake_api::{Calls, fake_api, not_found, refusal},
    names,
    watches::{Watches, filled, pod_resource},
};

fn service(uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "manuals", "namespace": "docs", "uid": uid, "resourceVersion": "7"}})
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

/// What the table may have become since it was looked at: changed, made anew, about to go, gone.
pub(super) fn others() -> [(u16, Value); 4] {
    let with = |field: &str, value: Value| {
        let (code, mut owner) = owner();
        owner["metadata"][field] = value;
        (code, owner)
    };
    [
        with("generation", json!(2)),
        with("uid", json!("another")),
        with("deletionTimestamp", json!("2026-11-30T12:00:00Z")),
        not_found(),
    ]
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

fn a_certificate() -> Children {
    let spec = json!({"spec": {}});
    children(vec![(Kind::Certificate, "manuals-tls", spec)])
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_neither_written_nor_deleted() {
    let theirs = json!({"apiVersion": "cert-manager.io/v1", "kind": "Certificate",
        "metadata": {"name": "manuals-tls", "namespace": "docs", "uid": "theirs", "resourceVersion": "7"}});
    let (client, calls) = fake_api(move |_, _| (200, theirs.clone()));
    let watches = Watches::of(Vec::new());
    let cluster = cluster(&client, &watches);
    let wanted = a_certificate();
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

#[tokio::test]
async fn a_certificate_is_not_made_where_it_would_overwrite_a_secret_of_somebody_else() {
    for (annotations, is_made) in [
        (json!({}), false),
        (json!({"cert-manager.io/certificate-name": "other"}), false),
        (
            json!({"cert-manager.io/certificate-name": "manuals-tls"}),
            true,
        ),
    ] {
        let secret = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": {"name": "manuals-tls", "annotations": annotations}});
        let (client, calls) = fake_api(move |method, path| match (method, path) {
            ("GET", path) if path.contains("/secrets/") => (200, secret.clone()),
            ("PATCH", _) => (
                200,
                json!({"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": {"name": "manuals-tls"}}),
            ),
            _ => not_found(),
        });
        let watches = Watches::of(Vec::new());
        let cluster = cluster(&client, &watches);
        let wanted = a_certificate();
        let applied = cluster.apply(&wanted, &mut Sent::new()).await.unwrap();
        let reason = applied.err().map(|refusal| refusal.reason);
        assert_eq!(reason, (!is_made).then_some(NAME_TAKEN), "{annotations}");
        assert_eq!(count(&calls, "PATCH"), usize::from(is_made));
    }
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_the_cluster_does_not_have_is_said_and_asked_for_once_a_minute() {
    let (client, calls) = fake_api(|_, _| not_found());
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
    let (client, calls) = fake_api(|_, _| (200, stateful_set("8", "mirror/sidecar", 2)));
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
        fake_api(
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

/// What comes of a claim of `live` bytes and class that should have `wanted`: problems, and patches of the claim's size.
async fn keep_state(live: (&str, &str), wanted: (&str, &str)) -> (Vec<&'static str>, usize) {
    keep_state_with(live, wanted, json!({}), Vec::new()).await
}

/// The same of a claim of this status, beside these pods.
async fn keep_state_with(
    live: (&str, &str),
    wanted: (&str, &str),
    status: Value,
    pods: Vec<Value>,
) -> (Vec<&'static str>, usize) {
    let spec = |(capacity, class): (&str, &str)| json!({"storageClassName": class, "resources": {"requests": {"storage": capacity}}});
    let labels = json!({"app.kubernetes.io/instance": "manuals", "app.kubernetes.io/managed-by": "vdt-operator"});
    let metadata = json!({"name": "manuals-state", "namespace": "docs", "uid": "c", "resourceVersion": "7", "labels": labels});
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec(live), "status": status});
    let (client, calls) = fake_api(|method, path| match method {
        "GET" => not_found(),
        _ if path.ends_with("manuals-state") => refusal(422, "Invalid"),
        _ => (200, service("u")),
    });
    let mut watches = Watches::of(vec![(Kind::PersistentVolumeClaim, claim)]);
    let pods = pods
        .into_iter()
        .map(|pod| serde_json::from_value(pod).unwrap());
    watches.pods = filled(&pod_resource(), pods.collect());
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
    let calls = calls.lock().unwrap();
    let patches = calls.iter().filter(|(line, _)| {
        line.starts_with("PATCH /api/v1/namespaces/docs/persistentvolumeclaims")
    });
    let (sizes, others): (Vec<_>, Vec<_>) =
        patches.partition(|(_, patch)| patch["metadata"].is_null());
    // One that was made before says it from now on.
    let [(_, says)] = &others[..] else {
        panic!("{others:?}")
    };
    assert_eq!(
        says["metadata"]["annotations"]["argocd.argoproj.io/sync-options"],
        "Prune=false,Delete=false"
    );
    let patches = sizes.len();
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
async fn a_state_claim_whose_file_system_waits_for_a_mount_is_told_while_a_pod_has_it() {
    let same = ("2Gi", "a");
    let condition = json!({"type": "FileSystemResizePending", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"});
    let status = json!({"conditions": [condition]});
    let mut pod = ready_pod(0);
    pod["metadata"]["labels"] = names::labels("manuals");
    for (pods, expected) in [
        (vec![pod], vec!["FileSystemResizePending"]),
        (vec![], vec![]),
    ] {
        assert_eq!(
            keep_state_with(same, same, status.clone(), pods).await,
            (expected, 0)
        );
    }
}
