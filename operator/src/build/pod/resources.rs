//! CPU and memory of a container: what the user wants, with defaults, written as the API server writes it.
//!
//! A request above its limit is refused, and not when the StatefulSet is written but when it makes a pod: one that a roll has deleted does not come
//! back. So no default is on the wrong side of what the user wrote.

use serde_json::{Map, Value, json};
use vdt_crds::{ContainerResources, quantity};

const CPU: &str = "100m";

/// What the user wants, with defaults where nothing is said.
pub(super) fn resources(wanted: Option<&ContainerResources>, memory: &str, limit: &str) -> Value {
    let wanted = wanted.cloned().unwrap_or_default();
    let mut requests: Map<String, Value> = Map::new();
    let mut limits: Map<String, Value> = Map::new();
    let text = |value: &String| Value::from(value.as_str());
    requests.extend(
        wanted
            .requests
            .iter()
            .map(|(name, value)| (name.clone(), text(value))),
    );
    limits.extend(
        wanted
            .limits
            .iter()
            .map(|(name, value)| (name.clone(), text(value))),
    );
    let ceiling = match wanted.requests.get("memory") {
        Some(request) if quantity::nanos(request) > quantity::nanos(limit) => request.as_str(),
        _ => limit,
    };
    limits.entry("memory").or_insert_with(|| ceiling.into());
    // Where only a limit is written, it is the request.
    let floor = wanted.limits.get("memory").map_or(memory, String::as_str);
    requests.entry("memory").or_insert_with(|| floor.into());
    let floor = wanted.limits.get("cpu").map_or(CPU, String::as_str);
    requests.entry("cpu").or_insert_with(|| floor.into());
    json!({"requests": requests, "limits": limits})
}

/// Writes bytes as the API server would: with the largest power of 1024 that leaves a whole number.
pub(super) fn in_bytes(bytes: u64) -> String {
    let mut number = bytes;
    for suffix in ["", "Ki", "Mi", "Gi", "Ti", "Pi"] {
        if number == 0 || !number.is_multiple_of(1024) || suffix == "Pi" {
            return format!("{number}{suffix}");
        }
        number /= 1024;
    }
    number.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_never_on_the_wrong_side_of_what_is_written() {
        let of = |requests: Value, limits: Value| {
            let wanted = json!({"requests": requests, "limits": limits});
            let wanted: ContainerResources = serde_json::from_value(wanted).unwrap();
            let made = resources(Some(&wanted), "256Mi", "1Gi");
            (
                made["requests"]["memory"].clone(),
                made["limits"]["memory"].clone(),
            )
        };
        for (request, limit) in [
            ("2Gi", "2Gi"),
            ("1025Mi", "1025Mi"),
            ("1024Mi", "1Gi"),
            ("1", "1Gi"),
            // More than a number of bytes holds.
            ("9E", "9E"),
        ] {
            let made = of(json!({"memory": request}), json!({}));
            assert_eq!(made, (json!(request), json!(limit)));
        }
        let written = of(json!({}), json!({"memory": "128Mi"}));
        assert_eq!(written, (json!("128Mi"), json!("128Mi")));
        let written = of(json!({"memory": "2Gi"}), json!({"memory": "3Gi"}));
        assert_eq!(written, (json!("2Gi"), json!("3Gi")));
        assert_eq!(of(json!({}), json!({})), (json!("256Mi"), json!("1Gi")));
    }
}
