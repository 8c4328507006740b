//! What differs between two JSON values, field by field; and the patch that `kubectl apply` makes without `--server-side`.
//!
//! Lists of things with names are maps by name, as in the resource's schema. Pure.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

/// Longest value that is shown, in characters.
const SHOWN: usize = 100;

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Change {
    /// The field, for example `spec.sources[bucket].s3.prefix`.
    pub(crate) path: String,
    /// What it was; null where it was not.
    pub(crate) before: Value,
    /// What it would be; null where it would not be.
    pub(crate) after: Value,
}

impl Change {
    /// For people: `spec.retention: "24h" -> "48h"`, after a sign.
    pub(crate) fn line(&self) -> String {
        let Self {
            path,
            before,
            after,
        } = self;
        match (before, after) {
            (Value::Null, after) => format!("+ {path}: {}", shown(after)),
            (before, Value::Null) => format!("- {path}: {}", shown(before)),
            (before, after) => format!("~ {path}: {} -> {}", shown(before), shown(after)),
        }
    }
}

fn shown(value: &Value) -> String {
    vdt_crds::shorten(&value.to_string(), SHOWN)
}

/// Returns the fields below `path` that differ, in the order of their names.
pub(crate) fn changes(path: &str, before: &Value, after: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare(path, before, after, &mut found);
    found
}

fn compare(path: &str, before: &Value, after: &Value, found: &mut Vec<Change>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for name in names {
                compare(
                    &format!("{path}.{name}"),
                    member(before, name),
                    member(after, name),
                    found,
                );
            }
        }
        (Value::Array(old), Value::Array(new)) => match (named(old), named(new)) {
            (Some(before), Some(after)) => {
                let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
                for name in names {
                    compare(
                        &format!("{path}[{name}]"),
                        member(&before, name),
                        member(&after, name),
                        found,
                    );
                }
            }
            _ if old.len() == new.len() => {
                for (index, (before, after)) in old.iter().zip(new).enumerate() {
                    compare(&format!("{path}[{index}]"), before, after, found);
                }
            }
            _ => found.push(change(path, before, after)),
        },
        _ => found.push(change(path, before, after)),
    }
}

fn change(path: &str, before: &Value, after: &Value) -> Change {
    Change {
        path: path.to_owned(),
        before: before.clone(),
        after: after.clone(),
    }
}

fn member<'a>(map: &'a Map<String, Value>, name: &str) -> &'a Value {
    map.get(name).unwrap_or(&Value::Null)
}

/// A list of objects whose names differ, by name.
fn named(list: &[Value]) -> Option<Map<String, Value>> {
    let mut map = Map::new();
    for item in list {
        let name = item.get("name")?.as_str()?;
        if map.insert(name.to_owned(), item.clone()).is_some() {
            return None;
        }
    }
    Some(map)
}

/// The merge patch (RFC 7386) that brings `live` to `wanted`, where what was in `last` and is no longer wanted goes. Lists are whole values, as
/// `kubectl apply` takes them for custom resources.
pub(crate) fn three_way(last: &Value, wanted: &Value, live: &Value) -> Value {
    let object = |value: &Value| value.as_object().cloned();
    let (Some(wanted), live) = (object(wanted), object(live).unwrap_or_default()) else {
        return wanted.clone();
    };
    let last = object(last).unwrap_or_default();
    let mut patch = Map::new();
    for (name, value) in &wanted {
        let there = member(&live, name);
        if value.is_object() && there.is_object() {
            let inner = three_way(member(&last, name), value, there);
            if inner.as_object().is_some_and(|inner| !inner.is_empty()) {
                patch.insert(name.clone(), inner);
            }
        } else if value != there {
            patch.insert(name.clone(), value.clone());
        }
    }
    for name in last.keys() {
        if !wanted.contains_key(name) && live.contains_key(name) {
            patch.insert(name.clone(), Value::Null);
        }
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_named_and_named_lists_are_maps() {
        let before = json!({"a": 1, "gone": true, "list": [{"name": "x", "p": 1}, {"name": "y"}], "plain": [1, 2], "long": [1]});
        let after = json!({"a": 2, "new": "v", "list": [{"name": "y"}, {"name": "x", "p": 2}], "plain": [1, 3], "long": [1, 2]});
        let lines: Vec<String> = changes("spec", &before, &after)
            .iter()
            .map(Change::line)
            .collect();
        assert_eq!(
            lines,
            [
                "~ spec.a: 1 -> 2",
                "- spec.gone: true",
                "~ spec.list[x].p: 1 -> 2",
                "~ spec.long: [1] -> [1,2]",
                "+ spec.new: \"v\"",
                "~ spec.plain[1]: 2 -> 3",
            ]
        );
        assert_eq!(changes("spec", &after, &after), []);
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let after = json!({"a": "ä".repeat(300)});
        let line = changes("spec", &json!({}), &after)[0].line();
        assert!(line.ends_with("..."));
        assert!(line.chars().count() < 130);
    }

    #[test]
    fn what_was_applied_and_is_no_longer_wanted_goes() {
        let last = json!({"a": 1, "b": {"c": 1, "d": 2}, "never": 1});
        let wanted = json!({"a": 1, "b": {"c": 3}, "e": [1]});
        let live = json!({"a": 1, "b": {"c": 1, "d": 2, "theirs": 5}, "theirs": 6, "e": [2]});
        assert_eq!(
            three_way(&last, &wanted, &live),
            json!({"b": {"c": 3, "d": null}, "e": [1]})
        );
        assert_eq!(three_way(&Value::Null, &json!({}), &live), json!({}));
    }
}
