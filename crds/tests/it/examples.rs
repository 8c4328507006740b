//! The checked examples: `good` ones are accepted, `bad` ones refused and `transitions` judged as a real API server did.
//!
//! A file of `bad` begins with a part of the server's message, so does one of `transitions`, or with `accepted`. What is said about each bad example in
//! full is in `refusals.txt` for people to read; `VDT_UPDATE_GOLDENS=1 cargo test -p vdt-crds` writes it.

use std::{fs, path::PathBuf};

use serde_json::Value;
use vdt_crds::{
    Profile, VirtualTable,
    parse::{self, ParseError},
    unsupported, validate, validate_update,
};

#[test]
fn good_examples_are_accepted_in_a_cluster_and_on_a_laptop() {
    let files = files("good");
    assert_eq!(files.len(), 20);
    for (name, text) in files {
        for profile in [Profile::Cluster, Profile::Laptop] {
            let tables = parse::read(text.as_bytes(), profile)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(tables.len(), 1, "{name}");
        }
    }
}

#[test]
fn good_examples_survive_being_written_and_read_again() {
    for (name, text) in files("good") {
        let table = parse::parse(text.as_bytes()).unwrap().remove(0);
        let written = serde_json::to_vec(&table).unwrap();
        assert_eq!(parse::parse(&written).unwrap(), [table], "{name}");
    }
}

#[test]
fn bad_examples_are_refused_for_the_expected_reason() {
    let files = files("bad");
    assert_eq!(files.len(), 118);
    let mut said = String::new();
    for (name, text) in &files {
        let expected = expectation(text);
        let messages = refusals(text.as_bytes(), Profile::Cluster);
        assert!(
            messages.iter().any(|message| message.contains(expected)),
            "{name}: {expected:?} is not in {messages:#?}"
        );
        said.push_str(name);
        for message in messages {
            said.push_str("\n  ");
            said.push_str(&message);
        }
        said.push('\n');
    }
    golden("refusals.txt", &said);
}

#[test]
fn a_laptop_asks_for_no_pods() {
    for name in ["no-server", "no-state", "no-access", "file-without-claim"] {
        let text = fs::read(root().join("examples/bad").join(format!("{name}.yaml"))).unwrap();
        assert_eq!(
            refusals(&text, Profile::Laptop),
            Vec::<String>::new(),
            "{name}"
        );
    }
}

#[test]
fn transitions_are_judged_as_expected() {
    let files = files("transitions");
    assert_eq!(files.len(), 36);
    for (name, text) in files {
        let documents: Vec<Value> = serde_yaml::Deserializer::from_str(&text)
            .map(|document| serde::Deserialize::deserialize(document).unwrap())
            .collect();
        let [base, patch] = &documents[..] else {
            panic!("{name}: a transition is an object and a merge patch")
        };
        let old = table(base)
            .unwrap_or_else(|found| panic!("{name}: the object itself is refused: {found:?}"));
        let mut changed = serde_json::to_value(&old).unwrap();
        merge(&mut changed, patch);
        let found = match table(&changed) {
            Ok(new) => validate_update(&old, &new)
                .iter()
                .map(ToString::to_string)
                .collect(),
            Err(found) => found,
        };
        match expectation(&text) {
            "accepted" => assert_eq!(found, Vec::<String>::new(), "{name}"),
            expected => assert!(
                found.iter().any(|message| message.contains(expected)),
                "{name}: {expected:?} is not in {found:#?}"
            ),
        }
    }
}

#[test]
fn nothing_changed_is_always_accepted() {
    for (name, text) in files("good") {
        let table = parse::parse(text.as_bytes()).unwrap().remove(0);
        assert_eq!(validate_update(&table, &table), [], "{name}");
    }
}

#[test]
fn what_is_not_built_is_refused_with_a_sentence() {
    let mut said = String::new();
    for (name, text) in files("good") {
        let table = parse::parse(text.as_bytes()).unwrap().remove(0);
        let found = unsupported(&table);
        if !found.is_empty() {
            said.push_str(&name);
            for violation in found {
                said.push_str(&format!("\n  {violation}"));
            }
            said.push('\n');
        }
    }
    golden("unsupported.txt", &said);
}

fn table(value: &Value) -> Result<VirtualTable, Vec<String>> {
    let text = value.to_string();
    let found = refusals(text.as_bytes(), Profile::Cluster);
    if found.is_empty() {
        Ok(parse::parse(text.as_bytes()).unwrap().remove(0))
    } else {
        Err(found)
    }
}

/// Everything that is said about a manifest. Whoever has the types in hand hears the same of the rules.
fn refusals(text: &[u8], profile: Profile) -> Vec<String> {
    match parse::read(text, profile) {
        Ok(_) => Vec::new(),
        Err(ParseError::Invalid(documents)) => {
            if let Ok(tables) = parse::parse(text) {
                assert!(!validate(&tables[0], profile).is_empty());
            }
            documents
                .iter()
                .flat_map(|document| &document.violations)
                .map(ToString::to_string)
                .collect()
        }
        Err(other) => panic!("{other}"),
    }
}

/// JSON merge patch (RFC 7396).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let target = target.as_object_mut().unwrap();
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), value);
        }
    }
}

fn expectation(text: &str) -> &str {
    text.lines()
        .next()
        .and_then(|line| line.strip_prefix("# expect: "))
        .expect("the first line says what is expected")
}

fn files(folder: &str) -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(root().join("examples").join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_stem().unwrap().to_str().unwrap().to_owned(),
                fs::read_to_string(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

fn golden(name: &str, have: &str) {
    let path = root().join("tests/it").join(name);
    if std::env::var_os("VDT_UPDATE_GOLDENS").is_some() {
        fs::write(&path, have).unwrap();
    }
    let want = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        have == want,
        "{name} differs; look at it with VDT_UPDATE_GOLDENS=1 and git diff. Now:\n{have}"
    );
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
