//! What a store keeps of an object: nothing that nobody reads, and its own fields packed into one text wherever they are not looked at all the time.

use kube::api::{ApiResource, DynamicObject, TypeMeta};
use serde_json::Value;

use crate::names;

/// Drops what nobody reads, and says what the object is: items of a list do not.
pub(super) fn prune(object: &mut DynamicObject, resource: &ApiResource) {
    object.metadata.managed_fields = None;
    object.types = Some(TypeMeta {
        api_version: resource.api_version.clone(),
        kind: resource.kind.clone(),
    });
}

/// Packs the fields of an object into one text: as JSON values they take ten times the memory, and most of them are looked at every few minutes.
pub(super) fn pack(object: &mut DynamicObject) {
    object.data = Value::String(object.data.to_string());
}

/// Returns an object with its fields, as it was before [`pack`].
pub(crate) fn unpack(object: &DynamicObject) -> DynamicObject {
    let data = match &object.data {
        Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
        other => other.clone(),
    };
    DynamicObject {
        types: object.types.clone(),
        metadata: object.metadata.clone(),
        data,
    }
}

/// What is kept of a container, or of the volume of the cache.
const PARTS_OF_PARTS: [&str; 4] = ["name", "resources", "image", "persistentVolumeClaim"];

/// Keeps what a pod is judged by.
pub(super) fn prune_pod(pod: &mut DynamicObject) {
    let Some(data) = pod.data.as_object_mut() else {
        return;
    };
    if let Some(spec) = data.get_mut("spec").and_then(|spec| spec.as_object_mut()) {
        spec.retain(|name, _| {
            ["containers", "initContainers", "nodeName", "volumes"].contains(&name.as_str())
        });
        if let Some(volumes) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
            volumes.retain(|volume| volume["name"] == names::CACHE_VOLUME);
        }
        for list in spec.values_mut() {
            for part in list
                .as_array_mut()
                .into_iter()
                .flatten()
                .filter_map(|one| one.as_object_mut())
            {
                part.retain(|name, _| PARTS_OF_PARTS.contains(&name.as_str()));
            }
        }
    }
}
