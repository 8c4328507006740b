//! Whether a live object still is what was applied.
//!
//! Only fields that we own are looked at: others' labels and annotations, defaults, and an autoscaler's fields are theirs. A field that we no longer want
//! does not show in such a comparison; the hash of what was applied, an annotation of the object, tells it. So a reconcile in which nothing changed
//! sends no write, also after a restart, and needs no memory.
//!
//! What decides who reaches whom is ours as a whole: a label more in a selector takes all pods from a Service, a port more in a policy lets somebody in. The
//! API owns such fields as a whole too (atomic maps and lists), so an apply takes out what was added.

use serde_json::Value;
use vdt_crds::quantity;

use crate::names;

/// Says whether `live` has everything that `wanted` has, and was made from the same.
pub(crate) fn is_as_applied(wanted: &Value, live: &Value) -> bool {
    let hash = |object: &Value| object["metadata"]["annotations"][names::APPLIED].clone();
    hash(wanted) == hash(live) && holds("", wanted, live)
}

/// Says whether every field of `wanted` is in `live`, whatever they were made from.
pub(crate) fn holds_value(wanted: &Value, live: &Value) -> bool {
    holds("", wanted, live)
}

/// Fields whose every part counts.
const WHOLE: [&str; 6] = [
    "selector",
    "podSelector",
    "namespaceSelector",
    "policyTypes",
    "ingress",
    "egress",
];

/// Says whether every field of `wanted` is in `live`, and of those that are compared as a whole nothing else.
fn holds(name: &str, wanted: &Value, live: &Value) -> bool {
    if WHOLE.contains(&name) {
        return is_same(wanted, live);
    }
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => wanted.iter().all(|(field, wanted)| {
            let empty = Value::Null;
            holds(field, wanted, live.get(field).unwrap_or(&empty))
        }),
        // The API leaves out what is empty.
        (Value::Object(wanted), Value::Null) => wanted.is_empty(),
        (Value::Array(wanted), Value::Null) => wanted.is_empty(),
        (Value::Array(wanted), Value::Array(live)) => holds_all(wanted, live),
        (Value::String(wanted), Value::String(live)) => quantity::is_same(wanted, live),
        // A variable with an empty value.
        (Value::String(wanted), Value::Null) => wanted.is_empty() && name == "value",
        (Value::Bool(false), Value::Null) => true,
        _ => wanted == live,
    }
}

/// Says whether two values say the same. The API leaves out what is empty in a map of fields, not in a list: an empty peer of a policy is everybody.
fn is_same(wanted: &Value, live: &Value) -> bool {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            let empty = Value::Null;
            let mut fields = wanted.keys().chain(live.keys());
            fields.all(|field| {
                let [wanted, live] = [wanted, live].map(|map| map.get(field).unwrap_or(&empty));
                is_same(wanted, live)
            })
        }
        (Value::Array(wanted), Value::Array(live)) => {
            let mut pairs = wanted.iter().zip(live);
            wanted.len() == live.len() && pairs.all(|(wanted, live)| is_same(wanted, live))
        }
        _ => wanted == live || (is_empty(wanted) && is_empty(live)),
    }
}

/// Lists of things with names are maps: others may have added to them. Lists of anything else are ours, item by item.
fn holds_all(wanted: &[Value], live: &[Value]) -> bool {
    let key = |item: &Value| {
        ["name", "uid", "port", "mountPath"]
            .iter()
            .find_map(|key| item.get(*key).cloned())
    };
    let are_named = !wanted.is_empty() && wanted.iter().chain(live).all(|item| key(item).is_some());
    if are_named {
        return wanted.iter().all(|wanted| {
            live.iter()
                .any(|live| key(live) == key(wanted) && holds("", wanted, live))
        });
    }
    wanted.len() == live.len()
        && wanted
            .iter()
            .zip(live)
            .all(|(wanted, live)| holds("", wanted, live))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn applied(mut object: Value, hash: &str) -> Value {
        object["metadata"]["annotations"][names::APPLIED] = hash.into();
        object
    }

    #[test]
    fn what_others_add_is_no_drift() {
        let wanted = applied(
            json!({"spec": {"replicas": 2, "ports": [{"name": "data", "port": 8080}], "empty": []}}),
            "1",
        );
        let live = json!({
            "metadata": {"labels": {"team": "x"}, "annotations": {"note": "y"}},
            "spec": {"replicas": 2, "clusterIP": "10.0.0.1", "ports": [{"port": 9, "name": "other"}, {"name": "data", "port": 8080, "nodePort": 3}]},
        });
        assert!(is_as_applied(&wanted, &applied(live, "1")));
    }

    #[test]
    fn what_is_added_where_it_decides_who_reaches_whom_is_drift() {
        let selector = json!({"matchLabels": {"app": "ours"}});
        let policy = json!({"podSelector": selector, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": "data", "protocol": "TCP"}]}]});
        let wanted = applied(json!({"spec": policy}), "1");
        for (place, added) in [
            ("/spec/podSelector/matchLabels/x", json!("y")),
            (
                "/spec/podSelector/matchExpressions",
                json!([{"key": "x", "operator": "Exists"}]),
            ),
            ("/spec/policyTypes/-", json!("Egress")),
            ("/spec/ingress/-", json!({})),
            ("/spec/ingress/0/ports/-", json!({"port": 22})),
            ("/spec/ingress/0/ports/0/endPort", json!(9000)),
            (
                "/spec/ingress/0/from/-",
                json!({"ipBlock": {"cidr": "::/0"}}),
            ),
            ("/spec/ingress/0/from/0/namespaceSelector", json!({})),
        ] {
            let mut live = wanted.clone();
            let (parent, field) = place.rsplit_once('/').unwrap();
            match live.pointer_mut(parent).unwrap() {
                Value::Array(items) => items.push(added),
                parent => parent[field] = added,
            }
            assert!(!is_as_applied(&wanted, &live), "{place}");
        }
        let service = applied(json!({"spec": {"selector": {"app": "ours"}}}), "1");
        let mut live = service.clone();
        live["spec"]["selector"]["x"] = "y".into();
        assert!(!is_as_applied(&service, &live));
        // As the API gives it back.
        let empty = applied(json!({"spec": {"egress": [], "podSelector": {}}}), "1");
        let live = applied(json!({"spec": {"podSelector": {}}}), "1");
        assert!(is_as_applied(&empty, &live));
    }

    #[test]
    fn what_changed_or_went_is_drift() {
        let wanted = applied(json!({"spec": {"replicas": 2, "egress": [{"a": 1}]}}), "1");
        for live in [
            json!({"spec": {"replicas": 3, "egress": [{"a": 1}]}}),
            json!({"spec": {"egress": [{"a": 1}]}}),
            json!({"spec": {"replicas": 2, "egress": [{"a": 1}, {"a": 2}]}}),
        ] {
            assert!(!is_as_applied(&wanted, &applied(live, "1")));
        }
        // Equal fields, but something else was applied: a field is no longer wanted.
        assert!(!is_as_applied(&wanted, &applied(wanted.clone(), "0")));
    }
}
