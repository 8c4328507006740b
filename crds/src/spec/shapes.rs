//! Shapes that several parts of the resource share: references to other objects, bounded lists and maps of strings.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, transform::Transform};
use serde::{Deserialize, Serialize};

use crate::quantity;

/// The name of an object: a DNS-1123 subdomain. What a pod refers to by another name is never found, and the API server tells that only when a pod is made.
pub(crate) const OBJECT_NAME: &str =
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// A key of a Secret or ConfigMap.
pub(crate) const DATA_KEY: &str = "^[-._a-zA-Z0-9]+$";

/// A name with an optional prefix, as `example.com/internal`.
pub(crate) const QUALIFIED_NAME: &str = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";

/// The value of a label; it may be empty.
pub(crate) const LABEL_VALUE: &str = "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";

/// Names an object in the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct NameRef {
    /// name of the object in the same namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,
}

/// Names a key of an object in the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct KeyRef {
    /// name of the object in the same namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,
    /// key in the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = DATA_KEY))]
    pub key: String,
}

/// Credentials: always by reference, never by value.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// secretRef names a Secret in the same namespace.
    pub secret_ref: NameRef,
}

/// Says in the schema which keys the Secret of a [`Credentials`] has.
pub(super) fn secret_keys(keys: &'static str) -> impl Transform {
    move |schema: &mut Schema| {
        if let Some(secret_ref) = schema.pointer_mut("/properties/secretRef") {
            secret_ref["description"] = format!(
                "secretRef names a Secret in the same namespace with the keys {keys}. It is mounted as files and re-read when it changes; no value is copied anywhere."
            )
            .into();
        }
    }
}

/// A state is a bucket without `versions`: the log's objects are never overwritten.
pub(super) fn without_versions(schema: &mut Schema) {
    if let Some(properties) = schema
        .pointer_mut("/properties")
        .and_then(serde_json::Value::as_object_mut)
    {
        properties.remove("versions");
    }
}

/// A list of at most `MAX` globs of at most `LENGTH` characters.
pub(super) fn globs<const MAX: u32, const LENGTH: u32>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": MAX, "x-kubernetes-list-type": "atomic",
        "items": {"description": "A glob.", "type": "string", "minLength": 1, "maxLength": LENGTH},
    })
}

/// A set of at most `MAX` host names of at most `LENGTH` characters.
pub(super) fn hosts<const MAX: u32, const LENGTH: u32>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": MAX, "x-kubernetes-list-type": "set",
        "items": {"description": "A host.", "type": "string", "minLength": 1, "maxLength": LENGTH},
    })
}

/// A set of group ids, none of them root's.
pub(super) fn groups(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 16, "x-kubernetes-list-type": "set",
        "items": {"description": "A group.", "type": "integer", "format": "int64", "minimum": 1, "maximum": i32::MAX},
    })
}

/// A set of ranges of addresses.
pub(super) fn cidrs(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 32, "x-kubernetes-list-type": "set",
        "items": {"description": "A range of addresses, IPv4 or IPv6.", "type": "string", "minLength": 1, "maxLength": 43},
    })
}

/// A set of ports.
pub(super) fn ports(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 32, "x-kubernetes-list-type": "set",
        "items": {"description": "A port.", "type": "integer", "format": "int32", "minimum": 1, "maximum": u16::MAX},
    })
}

/// A map of at most `MAX` strings of at most `LENGTH` characters.
pub(super) fn strings<const MAX: u32, const LENGTH: u32>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": MAX, "additionalProperties": {"type": "string", "maxLength": LENGTH}})
}

/// At most `MAX` labels. Their names are a rule: a schema has no patterns of keys.
pub(super) fn labels<const MAX: u32>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "maxProperties": MAX,
        "additionalProperties": {"type": "string", "maxLength": 63, "pattern": LABEL_VALUE},
    })
}

/// Amounts by resource.
pub(super) fn amounts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "maxProperties": 8,
        "additionalProperties": {"type": "string", "maxLength": quantity::MAX_CHARS, "pattern": quantity::PATTERN},
    })
}

/// An object that is handed on as it is.
pub(super) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Topology spread constraints, handed on as they are.
pub(super) fn spread_constraints(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 8, "x-kubernetes-list-type": "atomic",
        "items": {"description": "A constraint, as in a PodSpec.", "type": "object", "x-kubernetes-preserve-unknown-fields": true},
    })
}
