//! Checks a value against the resource's own schema.
//!
//! The schema is structural, as Kubernetes demands (types, properties, lists, bounds; no `$ref`, no `oneOf`), so one walk finds everything that it
//! forbids: unknown fields, missing fields, wrong types, values outside enums, bounds and patterns, equal keys in a list that is a map. Nothing stops
//! the walk: all violations are returned. It relies on the schema being ours; keywords that the resource does not use are not interpreted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use regex::Regex;
use serde_json::{Map, Value};

use crate::{
    crd::SCHEMA,
    spec::shapes,
    violation::{Violation, ViolationKind as Kind},
};

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

/// Says which known field was probably meant: a similar name here, the same name elsewhere, or all names here.
fn nearest_field(name: &str, known: &Map<String, Value>) -> String {
    if let Some(near) = nearest(name, known.keys().map(String::as_str)) {
        return format!("did you mean {near}?");
    }
    if let Some(elsewhere) = find_field(name) {
        return format!("a field of this name is at {elsewhere}");
    }
    format!(
        "known fields here are {}",
        known
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    )
}

/// Returns the candidate that differs in case only, or in at most a third of its letters.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Longer names than any of ours are near none, and comparing them is quadratic.
    if name.len() > 64 {
        return None;
    }
    let lower = name.to_lowercase();
    candidates
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= candidate.len().max(name.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Returns where in the spec a field of this name exists, the shortest path first.
fn find_field(name: &str) -> Option<String> {
    let mut level = vec![(String::new(), &*SCHEMA)];
    while !level.is_empty() {
        let mut below = Vec::new();
        for (path, schema) in level {
            if let Some(properties) = schema["properties"].as_object() {
                if path.starts_with("spec") && properties.contains_key(name) {
                    return Some(child(&path, name));
                }
                below.extend(
                    properties
                        .iter()
                        .map(|(name, schema)| (child(&path, name), schema)),
                );
            } else if schema["items"].is_object() {
                below.push((format!("{path}[]"), &schema["items"]));
            }
        }
        level = below;
    }
    None
}

/// The patterns of the schema, compiled once. A pattern that does not compile would match nothing; a test compiles them all.
static PATTERNS: LazyLock<BTreeMap<String, Regex>> = LazyLock::new(|| {
    let mut patterns = BTreeMap::new();
    collect_patterns(&SCHEMA, &mut patterns);
    patterns
});

fn collect_patterns(schema: &Value, patterns: &mut BTreeMap<String, Regex>) {
    if let Some(pattern) = schema["pattern"].as_str()
        && let Ok(regex) = Regex::new(pattern)
    {
        patterns.insert(pattern.to_owned(), regex);
    }
    schema["properties"]
        .as_object()
        .into_iter()
        .flat_map(Map::values)
        .for_each(|nested| collect_patterns(nested, patterns));
    ["items", "additionalProperties"]
        .iter()
        .filter_map(|name| schema.get(*name))
        .for_each(|nested| collect_patterns(nested, patterns));
}

/// Says whether a text matches a pattern of the schema.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    PATTERNS
        .get(pattern)
        .is_some_and(|regex| regex.is_match(text))
}

/// Says a pattern in words.
fn in_words(pattern: &str) -> Option<&'static str> {
    Some(match pattern {
        shapes::OBJECT_NAME => {
            "write the name of an object: lower-case letters, digits, - and ., with a letter or digit at both ends and around each ."
        }
        shapes::DATA_KEY => "write letters, digits, -, _ and .",
        shapes::QUALIFIED_NAME => {
            "write letters, digits, -, _ and ., with a letter or digit at both ends; a domain and / may stand before it"
        }
        shapes::LABEL_VALUE => {
            "write letters, digits, -, _ and ., with a letter or digit at both ends, or nothing"
        }
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" => {
            "write lower-case letters, digits and -, with a letter or digit at both ends"
        }
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$" => {
            "write lower-case letters, digits, - and ., with a letter or digit at both ends"
        }
        r"^[a-z0-9][a-z0-9-]*[a-z0-9]$" => {
            "write lower-case letters, digits and -, with a letter or digit at both ends"
        }
        r"^[a-z0-9][a-z0-9.-]+[a-z0-9]$" => {
            "write lower-case letters, digits, - and ., with a letter or digit at both ends"
        }
        r"^[a-z0-9][a-z0-9._-]+[a-z0-9]$" => {
            "write lower-case letters, digits, -, _ and ., with a letter or digit at both ends"
        }
        r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$" => {
            "write lower-case letters, digits and -, with a letter or digit at both ends"
        }
        r"^[a-z0-9]+$" => "write lower-case letters and digits",
        r"^[A-Za-z0-9_][A-Za-z0-9_-]*$" => "write letters, digits, _ and -, not beginning with -",
        r"^[A-Za-z_][A-Za-z0-9_]*$" => "write letters, digits and _, not beginning with a digit",
        r"^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?$" => {
            "write relation or schema.relation, without quotes"
        }
        r"^[^ ,;{}()\n\t=]+$" => "leave out blanks, commas, semicolons, brackets and =",
        r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$" => {
            "write digits and a suffix, for example 256Mi or 1.5Gi"
        }
        "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$" => {
            "write hours, minutes and seconds, for example 168h or 24h30m"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_of_the_schema_compiles_and_has_words() {
        fn walk(schema: &Value) {
            if let Some(pattern) = schema["pattern"].as_str() {
                assert!(PATTERNS.contains_key(pattern), "{pattern} does not compile");
                assert!(in_words(pattern).is_some(), "{pattern} has no words");
            }
            schema["properties"]
                .as_object()
                .into_iter()
                .flat_map(Map::values)
                .for_each(walk);
            ["items", "additionalProperties"]
                .iter()
                .filter_map(|name| schema.get(*name))
                .for_each(walk);
        }
        walk(&SCHEMA);
    }

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

    #[test]
    fn near_names_are_found() {
        assert_eq!(
            nearest("replcas", ["state", "replicas"].into_iter()),
            Some("replicas")
        );
        assert_eq!(nearest("s3", ["S3", "GCS"].into_iter()), Some("S3"));
        assert_eq!(nearest("FTP", ["S3", "HTTP", "GCS"].into_iter()), None);
        assert_eq!(nearest("zebra", ["state", "replicas"].into_iter()), None);
        assert_eq!(
            find_field("replicas").as_deref(),
            Some("spec.server.replicas")
        );
    }
}
