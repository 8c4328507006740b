//! The CustomResourceDefinition, derived from the types.
//!
//! The derive writes what Rust means; a few habits of Kubernetes are applied on top: optional fields are absent, never null; unsigned numbers are
//! `int32` and `int64` with a minimum; the default of an object is `{}`, whose members bring their own defaults; a new object starts with a status
//! that says nobody has looked yet. Rules across fields are added by the module `rules`.

use std::sync::LazyLock;

use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::CustomResourceExt;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::{rules, spec::VirtualTable};

/// When a condition changed that nobody has looked at yet.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// Returns the definition as it is installed in a cluster.
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    let mut crd = serde_json::to_value(VirtualTable::crd()).expect("a definition is JSON");
    crd["spec"]["names"]["listKind"] = "VirtualTableList".into();
    let schema = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    polish(schema);
    schema["properties"]["apiVersion"] =
        json!({"type": "string", "description": "apiVersion of the object."});
    schema["properties"]["kind"] = json!({"type": "string", "description": "kind of the object."});
    schema["properties"]["metadata"] = json!({"type": "object"});
    schema["properties"]["status"]["default"] = json!({
        "observedGeneration": -1,
        "conditions": [{
            "type": "Ready", "status": "Unknown", "reason": crate::status::reason::PENDING, "message": "Waiting for the operator",
            "lastTransitionTime": EPOCH,
        }],
    });
    rules::add(schema);
    serde_json::from_value(crd).expect("what was a definition still is one")
}

/// Returns the definition as YAML, as it is committed beside this crate and printed by `vdt-operator crd`.
#[must_use]
pub fn crd_yaml() -> String {
    let crd = serde_json::to_value(crd()).expect("a definition is JSON");
    let yaml = serde_yaml::to_string(&crd).expect("a definition is YAML");
    // Readers of YAML 1.1 would take the epoch for a time, not for a text.
    let yaml = yaml.replace(EPOCH, &format!("'{EPOCH}'"));
    format!("# Written from the types of crds/src/spec by `vdt-operator crd`. Do not edit.\n{yaml}")
}

/// The schema of the object, as JSON: validation reads bounds from it instead of repeating them.
pub(crate) static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let crd = serde_json::to_value(crd()).expect("a definition is JSON");
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
});

/// The schema of `metadata`, as JSON. The API server has its own, so the definition says no more than that it is an object; manifests are read with
/// this one, so that a misspelt field is found there too.
pub(crate) static METADATA: LazyLock<Value> = LazyLock::new(|| {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<ObjectMeta>()
        .to_value();
    polish(&mut schema);
    schema["required"] = json!(["name"]);
    schema
});

fn polish(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    object.remove("nullable");
    object.remove("title");
    let format = match object.get("format").and_then(Value::as_str) {
        Some("uint32") => Some("int32"),
        Some("uint64") => Some("int64"),
        _ => None,
    };
    if let Some(format) = format {
        object.insert("format".into(), format.into());
    }
    if let Some(default @ Value::Object(_)) = object.get_mut("default") {
        *default = json!({});
    }
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(polish);
    }
    for nested in ["items", "additionalProperties"] {
        if let Some(nested) = object.get_mut(nested) {
            polish(nested);
        }
    }
}
