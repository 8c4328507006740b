//! The patterns of the schema: whether a text matches one, and what it asks for, in words.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::Regex;
use serde_json::{Map, Value};

use crate::{crd::SCHEMA, spec::shapes};

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
pub(super) fn in_words(pattern: &str) -> Option<&'static str> {
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
}
