//! What was probably meant by a name that is not known.

use serde_json::{Map, Value};

use super::child;
use crate::crd::SCHEMA;

/// Says which known field was probably meant: a similar name here, the same name elsewhere, or all names here.
pub(super) fn nearest_field(name: &str, known: &Map<String, Value>) -> String {
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
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
