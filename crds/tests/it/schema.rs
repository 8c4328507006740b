//! The types against the schema that an API server works with: defaults (check A6), and objects made at random from the schema (check A13).
//!
//! Defaulting here is what the API server does (structural defaulting: absent members, then members of what is there). What the server itself makes of
//! an object, and its verdict, is asked of a real one in `e2e/cluster`.

use std::{fs, path::PathBuf, sync::LazyLock};

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use rand_free::Choices;
use serde_json::{Map, Value, json};
use vdt_crds::{Profile, parse, unsupported};

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let crd = serde_json::to_value(vdt_crds::crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
});

fn example(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("examples/good/{name}.yaml"));
    serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Fills in what is absent, as the API server does.
fn fill(value: &mut Value, schema: &Value) {
    if let (Some(object), Some(properties)) =
        (value.as_object_mut(), schema["properties"].as_object())
    {
        for (name, property) in properties {
            if let (false, Some(default)) = (object.contains_key(name), property.get("default")) {
                object.insert(name.clone(), default.clone());
            }
            if let Some(member) = object.get_mut(name) {
                fill(member, property);
            }
        }
    }
    if let (Some(object), Some(every)) = (value.as_object_mut(), schema.get("additionalProperties"))
    {
        object.values_mut().for_each(|member| fill(member, every));
    }
    if let (Some(list), Some(items)) = (value.as_array_mut(), schema.get("items")) {
        list.iter_mut().for_each(|member| fill(member, items));
    }
}

/// Drops lists and maps without members: absent and empty mean the same to the types.
fn without_empty(value: Value) -> Value {
    let is_empty = |value: &Value| {
        value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
    };
    match value {
        Value::Object(members) => {
            let members = members
                .into_iter()
                .map(|(name, member)| (name, without_empty(member)));
            Value::Object(members.filter(|(_, member)| !is_empty(member)).collect())
        }
        Value::Array(members) => members.into_iter().map(without_empty).collect(),
        other => other,
    }
}

#[test]
fn a6_the_types_have_the_defaults_of_the_schema() {
    for name in ["minimal", "design", "file"] {
        let manifest = example(name);
        let mut filled = manifest.clone();
        fill(&mut filled, &SCHEMA);
        let table = parse::parse(manifest.to_string().as_bytes())
            .unwrap()
            .remove(0);
        let ours = serde_json::to_value(&table.spec).unwrap();
        assert_eq!(
            without_empty(ours),
            without_empty(filled["spec"].clone()),
            "{name}"
        );
    }
}

#[test]
fn a6_no_default_stands_inside_a_list() {
    fn look(schema: &Value, path: &str, in_list: bool) {
        assert!(
            !in_list || schema.get("default").is_none(),
            "{path} has a default: whoever keeps the list elsewhere sees it change"
        );
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            look(property, &format!("{path}.{name}"), in_list);
        }
        if let Some(items) = schema.get("items") {
            look(items, &format!("{path}[]"), true);
        }
        if let Some(every) = schema.get("additionalProperties") {
            look(every, &format!("{path}.*"), in_list);
        }
    }
    look(&SCHEMA["properties"]["spec"], "spec", false);
}

/// Texts of every kind that a field asks for; which of them a pattern takes is the schema's to say.
const TEXTS: [&str; 22] = [
    "a",
    "papers",
    "main",
    "corp-ro",
    "10Gi",
    "256Mi",
    "0",
    "1",
    "168h",
    "1h30m",
    "2026-01-01",
    "http://s3.local:8333",
    "https://x.example",
    "s3://bucket/list.csv",
    "manuals/",
    "**/*.pdf",
    "{customer}/{year}/**",
    "Id",
    "kubernetes.io/hostname",
    "Exists",
    "eu-west-1",
    "64m",
];

mod rand_free {
    //! Choices from the bytes that proptest makes and shrinks.

    pub(super) struct Choices<'a> {
        bytes: std::slice::Iter<'a, u8>,
    }

    impl<'a> Choices<'a> {
        pub(super) fn new(bytes: &'a [u8]) -> Self {
            Self {
                bytes: bytes.iter(),
            }
        }

        /// One of `count`; the first when there are no more bytes.
        pub(super) fn of(&mut self, count: usize) -> usize {
            usize::from(self.bytes.next().copied().unwrap_or(0)) % count.max(1)
        }

        /// True in `percent` of a hundred.
        pub(super) fn maybe(&mut self, percent: usize) -> bool {
            self.of(100) < percent
        }
    }
}

fn make(schema: &Value, choices: &mut Choices<'_>, depth: usize) -> Value {
    if let Some(values) = schema["enum"].as_array() {
        return values[choices.of(values.len())].clone();
    }
    match schema["type"].as_str() {
        Some("object") => {
            let mut object = Map::new();
            let required: Vec<&str> = schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let percent = match (required.contains(&name.as_str()), depth) {
                    (true, _) => 98,
                    (false, ..=3) => 35,
                    (false, _) => 15,
                };
                if choices.maybe(percent) {
                    object.insert(name.clone(), make(property, choices, depth + 1));
                }
            }
            if let Some(every) = schema
                .get("additionalProperties")
                .filter(|every| every.is_object())
            {
                for _ in 0..choices.of(3) {
                    let name = TEXTS[choices.of(TEXTS.len())];
                    object.insert(name.to_owned(), make(every, choices, depth + 1));
                }
            }
            Value::Object(object)
        }
        Some("array") => {
            let least = schema["minItems"].as_u64().unwrap_or(0) as usize;
            let count = least + choices.of(3);
            (0..count)
                .map(|_| make(&schema["items"], choices, depth + 1))
                .collect()
        }
        Some("integer") => {
            let least = schema["minimum"].as_i64().unwrap_or(0);
            let most = schema["maximum"].as_i64().unwrap_or(least + 1_000_000);
            json!([least, most, least + choices.of(100) as i64, least - 1][choices.of(31) % 4])
        }
        Some("boolean") => json!(choices.maybe(50)),
        Some("string") => {
            let pattern = schema["pattern"]
                .as_str()
                .map(|pattern| regex::Regex::new(pattern).unwrap());
            let fits: Vec<&str> = TEXTS
                .into_iter()
                .filter(|text| {
                    pattern
                        .as_ref()
                        .is_none_or(|pattern| pattern.is_match(text))
                })
                .collect();
            match fits.is_empty() {
                true => json!(TEXTS[choices.of(TEXTS.len())]),
                false => json!(fits[choices.of(fits.len())]),
            }
        }
        // Anything goes: an affinity.
        _ => json!({"a": [1, "b"]}),
    }
}

fn manifest(bytes: &[u8]) -> Value {
    let mut choices = Choices::new(bytes);
    json!({
        "apiVersion": "vdt.io/v1alpha1",
        "kind": "VirtualTable",
        "metadata": {"name": "t", "namespace": "docs"},
        "spec": make(&SCHEMA["properties"]["spec"], &mut choices, 0),
    })
}

/// What the schema takes the types can hold, and what they write the schema takes, without a loss.
#[test]
fn a13_schema_and_types_take_the_same_objects() {
    let config = Config::with_cases(1000);
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let taken = std::cell::Cell::new(0_u32);
    let bytes = prop::collection::vec(any::<u8>(), 64..1024);
    runner
        .run(&bytes, |bytes| {
            let manifest = manifest(&bytes);
            match parse::parse(manifest.to_string().as_bytes()) {
                Ok(tables) => {
                    taken.set(taken.get() + 1);
                    let written = serde_json::to_vec(&tables[0]).unwrap();
                    let again = parse::parse(&written)
                        .map_err(|error| TestCaseError::fail(format!("{error}\n{manifest:#}")))?;
                    prop_assert_eq!(&again[0], &tables[0]);
                    // Rules across fields say yes or no, and never fail.
                    for profile in [Profile::Cluster, Profile::Laptop] {
                        drop(vdt_crds::validate(&tables[0], profile));
                    }
                    drop(unsupported(&tables[0]));
                }
                Err(error) => {
                    // Everything that is refused is refused by the schema, with a field.
                    let text = error.to_string();
                    prop_assert!(
                        !text.contains("the document: cannot be read"),
                        "{}\n{:#}",
                        text,
                        manifest
                    );
                }
            }
            Ok(())
        })
        .unwrap();
    // A generator that makes nothing good would prove nothing.
    assert!(taken.get() > 100, "{} of 1000 were taken", taken.get());
}
