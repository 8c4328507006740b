//! Hostile manifests: bounded, refused, and never a panic.

use std::{fs, path::Path, time::Instant};

use proptest::prelude::*;
use vdt_crds::{
    Profile,
    parse::{self, ParseError},
    unsupported,
};

/// Longest time that any file within the size limit may take, in seconds: generous for loaded machines and debug builds.
const PATIENCE_SECONDS: u64 = 20;

fn refused(text: &[u8]) -> ParseError {
    let started = Instant::now();
    let error = parse::read(text, Profile::Laptop).unwrap_err();
    assert!(
        started.elapsed().as_secs() < PATIENCE_SECONDS,
        "took {:?}",
        started.elapsed()
    );
    error
}

#[test]
fn sizes_are_bounded() {
    assert!(matches!(
        refused(&vec![b' '; parse::MAX_BYTES + 1]),
        ParseError::TooLarge
    ));
    assert!(matches!(
        refused("---\na: 1\n".repeat(65).as_bytes()),
        ParseError::TooManyDocuments
    ));
    assert!(matches!(
        refused("---\n".repeat(200_000).as_bytes()),
        ParseError::TooManyDocuments
    ));
    assert!(matches!(refused(b""), ParseError::Empty));
    assert!(matches!(
        refused(b"# only a comment\n---\n"),
        ParseError::Empty
    ));
    assert!(matches!(
        refused(b"a: \xff"),
        ParseError::NotText { offset: 3 }
    ));
}

#[test]
fn aliases_cannot_blow_a_manifest_up() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..20 {
        let uses = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{uses}]\n"));
    }
    assert!(matches!(
        refused(laughs.as_bytes()),
        ParseError::Syntax { .. }
    ));

    let long = format!(
        "a: &a '{}'\nb: [{}]\n",
        "x".repeat(500_000),
        "*a, ".repeat(100_000)
    );
    assert!(
        refused(long.as_bytes())
            .to_string()
            .contains("once aliases are expanded")
    );

    assert!(matches!(
        refused(b"a: &a [*a]\n"),
        ParseError::Syntax { .. }
    ));
}

#[test]
fn nesting_is_bounded() {
    for (open, close) in [
        ("[", "]"),
        ("{a: ", "}"),
        ("- ", ""),
        ("? ", ""),
        ("[{a: ", "}]"),
        ("a:\n ", ""),
    ] {
        for depth in [60, 1000, 200_000 / open.len()] {
            let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            assert!(
                matches!(
                    refused(text.as_bytes()),
                    ParseError::Syntax { .. }
                        | ParseError::Invalid(_)
                        | ParseError::TooManyBrackets { .. }
                ),
                "{open:?} x {depth}"
            );
        }
    }
    let indented: String = (0..1000)
        .map(|depth| format!("{}a:\n", " ".repeat(depth)))
        .collect();
    assert!(matches!(
        refused(indented.as_bytes()),
        ParseError::Syntax { .. }
    ));
}

#[test]
fn tags_are_refused() {
    let error = refused(b"apiVersion: !include x\n").to_string();
    assert!(error.contains("YAML tag"), "{error}");
}

#[test]
fn odd_scalars_and_keys_are_refused_by_name() {
    for value in [
        ".nan",
        ".inf",
        "1e400",
        "99999999999999999999999999",
        "0x7f",
        "2026-01-01",
        "!!binary aGk=",
    ] {
        let text = format!(
            "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {{name: t}}\nspec: {{suspend: {value}, sources: [], 1: 2, true: 3, [a]: 4}}\n"
        );
        let error = refused(text.as_bytes());
        assert!(
            matches!(error, ParseError::Syntax { .. } | ParseError::Invalid(_)),
            "{value}: {error}"
        );
    }
}

fn good() -> impl Strategy<Value = Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/good");
    let files: Vec<Vec<u8>> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .filter(|text| text.len() < 10_000)
        .collect();
    prop::sample::select(files)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = parse::read(&bytes, Profile::Laptop);
    }

    #[test]
    fn random_yaml_never_panics(text in r#"([a-z]{1,3}: |- |\[|\]|\{|\}|, |\n *|&a |\*a|\| |> |"|'|#|---\n|[0-9.]{1,4}|!x |\? ){0,60}"#) {
        let _ = parse::read(text.as_bytes(), Profile::Laptop);
    }

    #[test]
    fn mutations_of_good_manifests_never_panic(
        text in good(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..8),
    ) {
        let mut text = text;
        for (at, kind, byte) in edits {
            let at = at.index(text.len().max(1)).min(text.len().saturating_sub(1));
            match kind {
                _ if text.is_empty() => {}
                0 => text[at] = byte,
                1 => { text.remove(at); }
                2 => text.insert(at, byte),
                _ => { let piece: Vec<u8> = text[at..text.len().min(at + 40)].to_vec(); text.splice(at..at, piece); }
            }
        }
        for profile in [Profile::Laptop, Profile::Cluster] {
            match parse::read(&text, profile) {
                Ok(tables) => tables.iter().for_each(|table| { let _ = unsupported(table); }),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }

    #[test]
    fn quantities_never_panic(text in r"[0-9]{0,30}(\.[0-9]{0,30})?[mkMGTPEi]{0,2}") {
        if let Ok(quantity) = text.parse::<vdt_crds::Quantity>() {
            prop_assert!(quantity.is_at_most(quantity.bytes()));
            prop_assert!(quantity.bytes() == 0 || quantity.is_at_least(quantity.bytes() - 1));
            prop_assert_eq!(quantity.as_str(), text);
        }
    }
}
