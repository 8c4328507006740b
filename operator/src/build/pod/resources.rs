//! CPU and memory of a container: what the user wants, with defaults, written as the API server writes it.

use serde_json::{Map, Value, json};
use vdt_crds::ContainerResources;

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
    limits.entry("memory").or_insert_with(|| limit.into());
    // A request above its limit is refused: where only a limit is written, it is the request.
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
