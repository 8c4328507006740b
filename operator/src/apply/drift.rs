//! Whether a live object still is what was applied.
//!
//! Only fields that we own are looked at: others' labels and annotations, defaults, and an autoscaler's fields are theirs. A field that we no longer want
//! does not show in such a comparison; the hash of what was applied, an annotation of the object, tells it. So a reconcile in which nothing changed
//! sends no write, also after a restart, and needs no memory.

use serde_json::Value;
use vdt_crds::Quantity;

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

/// Says whether every field of `wanted` is in `live`.
fn holds(name: &str, wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => wanted.iter().all(|(field, wanted)| {
            let empty = Value::Null;
            holds(field, wanted, live.get(field).unwrap_or(&empty))
        }),
        // The API leaves out what is empty.
        (Value::Object(wanted), Value::Null) => wanted.is_empty(),
        (Value::Array(wanted), Value::Null) => wanted.is_empty(),
        (Value::Array(wanted), Value::Array(live)) => holds_all(wanted, live),
        (Value::String(wanted), Value::String(live)) => {
            wanted == live || is_same_quantity(wanted, live)
        }
        // A variable with an empty value.
        (Value::String(wanted), Value::Null) => wanted.is_empty() && name == "value",
        (Value::Bool(false), Value::Null) => true,
        _ => wanted == live,
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

/// The API server writes quantities its own way: `1024Mi` becomes `1Gi`, `0.5` becomes `500m`.
fn is_same_quantity(wanted: &str, live: &str) -> bool {
    match (milli(wanted), milli(live)) {
        (Some(wanted), Some(live)) => wanted == live,
        _ => false,
    }
}

/// A quantity in thousandths, where it is one with a suffix or of plain digits.
fn milli(text: &str) -> Option<u128> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if let Some(number) = text.strip_suffix('m') {
        return number.parse().ok();
    }
    // Fractions of CPUs: 0.5, 1.25.
    if let Some((whole, fraction)) = text.split_once('.')
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
        && fraction.len() <= 3
    {
        let whole: u128 = whole.parse().ok()?;
        return Some(whole * 1000 + format!("{fraction:0<3}").parse::<u128>().ok()?);
    }
    let quantity: Quantity = text.parse().ok()?;
    Some(u128::from(quantity.bytes()) * 1000)
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

    #[test]
    fn quantities_are_compared_by_value() {
        for (wanted, live) in [
            ("1024Mi", "1Gi"),
            ("0.5", "500m"),
            ("1", "1000m"),
            ("1.25", "1250m"),
        ] {
            assert!(is_same_quantity(wanted, live), "{wanted} {live}");
        }
        for (wanted, live) in [("1Gi", "1G"), ("1", "2"), ("a", "b"), ("v1", "v2")] {
            assert!(!is_same_quantity(wanted, live), "{wanted} {live}");
        }
    }
}
