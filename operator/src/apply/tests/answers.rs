//! What the API server answers to one child, and what becomes of the others.

use super::*;
use crate::watches::filled;

#[tokio::test]
async fn a_child_on_its_way_out_holds_up_no_other_but_pods_that_need_it() {
    let owners = json!([{"apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable", "name": "manuals", "uid": "owner"}]);
    let going = |kind: Kind| {
        json!({"apiVersion": kind.resource().api_version, "kind": kind.as_str(), "metadata": {"name": "manuals", "namespace": "docs",
            "uid": "u", "resourceVersion": "7", "deletionTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": owners}})
    };
    for (kind, holds_pods) in [(Kind::Service, false), (Kind::StatefulSet, true)] {
        let (client, calls) = fake_api(|method, _| match method {
            "GET" => not_found(),
            _ => (200, service("u")),
        });
        let watches = Watches::of(vec![(kind, going(kind))]);
        let wanted = [Kind::Service, Kind::StatefulSet, Kind::PodDisruptionBudget];
        let wanted = children(
            wanted
                .map(|kind| (kind, "manuals", json!({"spec": {}})))
                .into(),
        );
        let cluster = cluster(&client, &watches);
        let applied = cluster.apply(&wanted, &mut Sent::new()).await;
        let applied = applied.unwrap().unwrap();
        assert_eq!(applied.waiting, [(kind.as_str(), "manuals".to_owned())]);
        assert_eq!((applied.written.len(), count(&calls, "PATCH")), (2, 2));
        assert_eq!(applied.holds_pods(), holds_pods);
    }
}

/// What comes of a child that the API server answers with a code and a message.
async fn answered(code: u16, message: &str) -> Option<String> {
    let message = message.to_owned();
    let (client, _) = fake_api(move |method, _| {
        let (found, mut answer) = refusal(code, "Invalid");
        answer["message"] = message.as_str().into();
        match method {
            "GET" => not_found(),
            _ => (found, answer),
        }
    });
    let watches = Watches::of(Vec::new());
    let wanted = children(vec![(Kind::StatefulSet, "manuals", json!({"spec": {}}))]);
    let cluster = cluster(&client, &watches);
    match cluster.apply(&wanted, &mut Sent::new()).await {
        Ok(refusal) => {
            let refusal = refusal.unwrap_err();
            assert_eq!(refusal.reason, "InvalidSpec");
            Some(refusal.message)
        }
        Err(_) => None,
    }
}

#[tokio::test]
async fn what_the_api_server_never_takes_is_refused_and_what_it_may_take_is_tried_again() {
    let label =
        r#"StatefulSet.apps "manuals" is invalid: spec.template.labels: Invalid value: "a b""#;
    let field = "failed to create typed patch object (docs/manuals; apps/v1, Kind=StatefulSet): .spec.template.spec.affinity.x: field not declared in schema";
    for (code, message) in [(422, label), (400, label), (500, field)] {
        let refused = answered(code, message).await.unwrap();
        assert!(
            refused.contains("StatefulSet manuals") && refused.ends_with(message),
            "{refused}"
        );
    }
    for (code, message) in [
        (403, "exceeded quota"),
        (500, "etcdserver: request timed out"),
        (400, "admission webhook \"a.b\" denied the request: no"),
        (
            422,
            "ValidatingAdmissionPolicy 'a' with binding 'b' denied request: no",
        ),
    ] {
        assert_eq!(answered(code, message).await, None, "{message}");
    }
}

#[tokio::test]
async fn a_kind_that_not_every_cluster_has_is_put_back_where_it_is_watched() {
    let owners = json!([{"apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable", "name": "manuals", "uid": "owner"}]);
    let monitor = move |port: &str| {
        json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor", "spec": {"port": port},
            "metadata": {"name": "manuals", "namespace": "docs", "uid": "m", "resourceVersion": "7", "ownerReferences": owners,
                "annotations": {"vdt.io/applied": "hash"}}})
    };
    for (is_watched, patches) in [(true, 1), (false, 0)] {
        let made = monitor("admin");
        let (client, calls) = fake_api(move |_, _| (200, made.clone()));
        let mut watches = Watches::of(Vec::new());
        if is_watched {
            let seen = serde_json::from_value(monitor("other")).unwrap();
            let kind = Kind::PodMonitor;
            let store = filled(&kind.resource(), vec![seen]);
            watches.children.insert(kind, store);
        }
        let spec = json!({"spec": {"port": "admin"}});
        let wanted = children(vec![(Kind::PodMonitor, "manuals", spec)]);
        let hash = "hash".to_owned();
        let last = Version {
            hash,
            answered: None,
        };
        let mut sent = Sent::from([((Kind::PodMonitor, "manuals".to_owned()), last)]);
        let cluster = cluster(&client, &watches);
        cluster.apply(&wanted, &mut sent).await.unwrap().unwrap();
        assert_eq!(count(&calls, "PATCH"), patches);
    }
}

/// What an apply of a Service and a StatefulSet waits for: kind and name.
async fn waiting(client: &Client, watches: &Watches) -> Vec<(&'static str, String)> {
    let wanted = [Kind::Service, Kind::StatefulSet];
    let wanted = children(
        wanted
            .map(|kind| (kind, "manuals", json!({"spec": {}})))
            .into(),
    );
    let cluster = cluster(client, watches);
    let applied = cluster.apply(&wanted, &mut Sent::new()).await;
    applied.unwrap().unwrap().waiting
}

#[tokio::test]
async fn a_namespace_that_is_gone_or_goes_takes_nothing_and_is_no_failure() {
    let gone = json!({"code": 404, "reason": "NotFound", "details": {"name": "docs", "kind": "namespaces"}});
    let goes = json!({"code": 403, "reason": "Forbidden", "details": {"causes": [{"reason": "NamespaceTerminating", "message": "", "field": ""}]}});
    for (code, mut answer) in [(404, gone), (403, goes)] {
        answer["kind"] = "Status".into();
        answer["status"] = "Failure".into();
        answer["message"] = "no".into();
        let (client, calls) = fake_api(move |method, _| match method {
            "GET" => not_found(),
            _ => (code, answer.clone()),
        });
        let watches = Watches::of(Vec::new());
        let waiting = waiting(&client, &watches).await;
        assert_eq!(waiting, [("Namespace", "docs".to_owned())]);
        assert_eq!(count(&calls, "PATCH"), 1);
    }
}

#[tokio::test]
async fn a_table_that_leaves_its_children_behind_makes_no_other_one() {
    let mut left = service("u");
    left["metadata"]["labels"] = json!({"app.kubernetes.io/instance": "manuals", "app.kubernetes.io/managed-by": "vdt-operator"});
    left["metadata"]["managedFields"] =
        json!([{"manager": "vdt-operator", "operation": "Apply", "apiVersion": "v1"}]);
    let seen = left.clone();
    let (client, calls) = fake_api(move |method, path| match method {
        "GET" if path.ends_with("/services/manuals") => (200, left.clone()),
        "GET" => not_found(),
        _ => (200, service("u")),
    });
    let watches = Watches::of(vec![(Kind::Service, seen)]);
    let waiting = waiting(&client, &watches).await;
    assert_eq!(waiting, [("VirtualTable", "manuals".to_owned())]);
    assert_eq!(count(&calls, "PATCH"), 0);
}

#[tokio::test]
async fn a_set_is_not_made_beside_a_config_that_is_on_its_way_out() {
    let owners = json!([{"apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable", "name": "manuals", "uid": "owner"}]);
    let going = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "manuals", "namespace": "docs",
        "uid": "u", "resourceVersion": "7", "deletionTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": owners}});
    let (client, calls) = fake_api(|method, _| match method {
        "GET" => not_found(),
        _ => (200, service("u")),
    });
    let watches = Watches::of(vec![(Kind::ConfigMap, going)]);
    let wanted = [Kind::ConfigMap, Kind::Service, Kind::StatefulSet];
    let wanted = wanted.map(|kind| (kind, "manuals", json!({"spec": {}})));
    let wanted = children(wanted.into());
    let mut cluster = cluster(&client, &watches);
    for (set, patches) in [(None, 1), (Some("there"), 3)] {
        cluster.unseen_set = set;
        let applied = cluster.apply(&wanted, &mut Sent::new()).await;
        assert!(applied.unwrap().unwrap().holds_pods());
        assert_eq!(count(&calls, "PATCH"), patches);
    }
}
