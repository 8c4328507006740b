//! Checks a value against the resource's own schema.
//!
//! The schema is structural, as Kubernetes demands (types, properties, lists, bounds; no `$ref`, no `oneOf`), so one walk finds everything that it
//! forbids: unknown fields, missing fields, wrong types, values outside enums, bounds and patterns, equal keys in a list that is a map. Nothing stops
//! the walk: all violations are returned. It relies on the schema being ours; keywords that the resource does not use are not interpreted.

mod nearest;
mod patterns;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::violation::{Violation, ViolationKind as Kind};

use nearest::{nearest, nearest_field};
use patterns::in_words;
pub(crate) use patterns::matches;

/// Returns everything about the value at `path` that the schema forbids.
pub(crate) fn check(path: &str, value: &Value, schema: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    check_value(path, value, schema, &mut found);
    found
}

/// Removes fields that are null: to the API server they are absent, and so they are here.
pub(crate) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn check_value(path: &str, value: &Value, schema: &Value, found: &mut Vec<Violation>) {
    let wanted = schema["type"].as_str().unwrap_or_default();
    match (wanted, value) {
        ("object", Value::Object(fields)) => check_object(path, fields, schema, found),
        ("array", Value::Array(items)) => check_array(path, items, schema, found),
        ("string", Value::String(text)) => check_string(path, text, schema, found),
        ("integer", Value::Number(number)) if number.is_i64() || number.is_u64() => {
            check_number(path, value, schema, found)
        }
        ("boolean", Value::Bool(_)) => {}
        ("", _) => {} // any value: only inside objects that are handed on as they are
        _ => {
            let violation =
                Violation::new(Kind::WrongType, path, format!("must be of type {wanted}"));
            found.push(match (wanted, value) {
                // A text in the place of an object may be a secret in the place of its reference.
                ("object", _) => violation,
                ("string", Value::Number(_) | Value::Bool(_)) => {
                    violation.with_value(value).with_remedy("put it in quotes")
                }
                _ => violation.with_value(value),
            });
        }
    }
}

fn check_object(
    path: &str,
    fields: &Map<String, Value>,
    schema: &Value,
    found: &mut Vec<Violation>,
) {
    let known = schema["properties"].as_object();
    for name in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !fields.contains_key(name) {
            let missing = Violation::new(Kind::Missing, child(path, name), "Required value");
            found.push(
                match known.and_then(|known| known[name]["description"].as_str()) {
                    Some(description) => missing.with_remedy(description.trim_end_matches('.')),
                    None => missing,
                },
            );
        }
    }
    if let Some(most) = schema["maxProperties"].as_u64()
        && fields.len() as u64 > most
    {
        found.push(Violation::new(
            Kind::OutOfBounds,
            path,
            format!("must have at most {most} items"),
        ));
    }
    for (name, value) in fields {
        if let Some(schema) = known.and_then(|known| known.get(name)) {
            check_value(&child(path, name), value, schema, found);
        } else if let Some(schema) = schema.get("additionalProperties") {
            check_value(&format!("{path}[{name:?}]"), value, schema, found);
        } else if let Some(known) = known {
            let unknown = Violation::new(Kind::UnknownField, child(path, name), "unknown field");
            found.push(unknown.with_remedy(nearest_field(name, known)));
        }
    }
}

fn check_array(path: &str, items: &[Value], schema: &Value, found: &mut Vec<Violation>) {
    if let Some(least) = schema["minItems"].as_u64()
        && (items.len() as u64) < least
    {
        found.push(Violation::new(
            Kind::OutOfBounds,
            path,
            format!("should have at least {least} items"),
        ));
    }
    if let Some(most) = schema["maxItems"].as_u64()
        && items.len() as u64 > most
    {
        let violation = Violation::new(
            Kind::OutOfBounds,
            path,
            format!("must have at most {most} items"),
        );
        found.push(Violation {
            value: Some(items.len().to_string()),
            ..violation
        });
    }
    for (index, item) in items.iter().enumerate() {
        check_value(&format!("{path}[{index}]"), item, &schema["items"], found);
    }
    let key = match schema["x-kubernetes-list-type"].as_str() {
        Some("map") => schema["x-kubernetes-list-map-keys"][0].as_str(),
        Some("set") => None,
        _ => return,
    };
    let mut seen = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let identity = key.map_or(item, |key| &item[key]);
        if !identity.is_null() && !seen.insert(identity.to_string()) {
            let place = format!("{path}[{index}]");
            let place = key.map_or(place.clone(), |key| child(&place, key));
            found.push(
                Violation::new(Kind::DuplicateItem, place, "Duplicate value").with_value(identity),
            );
        }
    }
}

fn check_string(path: &str, text: &str, schema: &Value, found: &mut Vec<Violation>) {
    let value = Value::from(text);
    if let Some(supported) = schema["enum"].as_array() {
        if !supported.contains(&value) {
            let names: Vec<&str> = supported.iter().filter_map(Value::as_str).collect();
            let remedy = match nearest(text, names.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("supported values are {}", names.join(", ")),
            };
            found.push(
                Violation::new(Kind::UnsupportedValue, path, "Unsupported value")
                    .with_value(&value)
                    .with_remedy(remedy),
            );
        }
        return;
    }
    let chars = text.chars().count() as u64;
    let mut refuse = |message: String| {
        found.push(Violation::new(Kind::OutOfBounds, path, message).with_value(&value))
    };
    if let Some(least) = schema["minLength"].as_u64().filter(|least| chars < *least) {
        refuse(format!("should be at least {least} chars long"));
    }
    if let Some(most) = schema["maxLength"].as_u64().filter(|most| chars > *most) {
        refuse(format!("should be at most {most} chars long"));
    }
    if let Some(pattern) = schema["pattern"]
        .as_str()
        .filter(|pattern| !matches(pattern, text))
    {
        let violation =
            Violation::new(Kind::OutOfBounds, path, format!("should match '{pattern}'"))
                .with_value(&value);
        found.push(match in_words(pattern) {
            Some(words) => violation.with_remedy(words),
            None => violation,
        });
    }
}

fn check_number(path: &str, value: &Value, schema: &Value, found: &mut Vec<Violation>) {
    // Bounds and values are below 2^53, or compare the same after rounding.
    let number = value.as_f64().unwrap_or(f64::NAN);
    let mut refuse = |message: String| {
        found.push(Violation::new(Kind::OutOfBounds, path, message).with_value(value))
    };
    if let Some(least) = schema["minimum"].as_f64().filter(|least| number < *least) {
        refuse(format!("should be greater than or equal to {least}"));
    }
    if let Some(most) = schema["maximum"].as_f64().filter(|most| number > *most) {
        refuse(format!("should be less than or equal to {most}"));
    }
}

fn child(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::SCHEMA;

    #[test]
    fn keywords_of_the_schema_are_all_interpreted() {
        fn walk(path: &str, schema: &Value) {
            const KNOWN: [&str; 18] = [
                "type",
                "description",
                "default",
                "properties",
                "required",
                "items",
                "additionalProperties",
                "enum",
                "pattern",
                "minLength",
                "maxLength",
                "minimum",
                "maximum",
                "minItems",
                "maxItems",
                "maxProperties",
                "format",
                "x-kubernetes-list-type",
            ];
            for key in schema.as_object().into_iter().flat_map(Map::keys) {
                let passive = [
                    "x-kubernetes-list-map-keys",
                    "x-kubernetes-preserve-unknown-fields",
                    "x-kubernetes-validations",
                ];
                assert!(
                    KNOWN.contains(&key.as_str()) || passive.contains(&key.as_str()),
                    "{path}: {key}"
                );
            }
            for (name, nested) in schema["properties"].as_object().into_iter().flatten() {
                walk(&child(path, name), nested);
            }
            ["items", "additionalProperties"]
                .iter()
                .filter_map(|name| schema.get(*name))
                .for_each(|nested| walk(&format!("{path}[]"), nested));
        }
        walk("", &SCHEMA);
    }
}
