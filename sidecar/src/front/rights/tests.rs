//! What manifests give, and what others leave of it.

use super::*;

const OPEN: &str = "access: {mode: Anonymous}";
const LOOPBACK: FrontOptions = FrontOptions {
    secrets_dir: None,
    listen_is_loopback: true,
    allow_anonymous: false,
    secrets_may_come: false,
};

/// The manifest of a table of `main/docs` with this line below `server`.
fn manifest(table: &str, server: &str) -> VirtualTable {
    let text = format!(
        "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {{name: of-{table}}}\nspec:\n  table: {{catalog: main, schema: docs, name: {table}}}\n  sources:\n  - {{name: f, type: File, file: {{path: .}}}}\n  server:\n    {server}\n"
    );
    vdt_crds::parse(text.as_bytes())
        .expect("a manifest")
        .remove(0)
}

fn keys(principals: &str) -> String {
    format!("access: {{mode: Keys, principals: [{principals}]}}")
}

fn rights(tables: &[VirtualTable]) -> Rights {
    Rights::of(tables, &LOOPBACK, &mut Vec::new())
}

fn tables(names: &[&str]) -> Tables {
    Tables::new(names.iter().map(|name| format!("main/docs/{name}")))
}

fn holder(name: &str) -> Holder {
    Holder {
        name: name.to_owned(),
        secret: format!("{name}-key"),
    }
}

const ALICE: &str = "{name: alice, secretRef: {name: alice-key}}";
const BOB: &str = "{name: bob, secretRef: {name: bob-key}}";

#[test]
fn what_is_gone_is_taken_and_what_is_new_is_not_given() {
    let before = [
        manifest("a", &keys(&format!("{ALICE}, {BOB}"))),
        manifest("b", &keys(BOB)),
        manifest("c", OPEN),
    ];
    let narrow = |after: &[VirtualTable]| {
        let mut narrowed = rights(&before);
        let is_less = narrowed.narrow(&rights(after));
        assert_eq!(is_less, narrowed != rights(&before));
        (
            narrowed.tables_of(&holder("alice")),
            narrowed.tables_of(&holder("bob")),
            narrowed.public(),
            narrowed.has(&holder("bob")),
        )
    };
    let (a, b, c) = (["a", "a_meta"], ["b", "b_meta"], ["c", "c_meta"]);
    let all = tables(&[a, b].concat());
    let nothing = Tables::default();
    let globs = ALICE.replace("}}", "}, tables: [\"*_meta\"]}");
    let renewed = BOB.replace("bob-key", "new-key");
    for (what, after, expected) in [
        (
            "nothing changes",
            before.to_vec(),
            (tables(&a), all.clone(), tables(&c), true),
        ),
        (
            "bob is gone, eve comes",
            vec![
                manifest(
                    "a",
                    &keys(&format!(
                        "{ALICE}, {{name: eve, secretRef: {{name: eve-key}}}}"
                    )),
                ),
                manifest("c", OPEN),
            ],
            (tables(&a), nothing.clone(), tables(&c), false),
        ),
        (
            "bob has another Secret",
            vec![
                manifest("a", &keys(&format!("{ALICE}, {renewed}"))),
                manifest("b", &keys(&renewed)),
            ],
            (tables(&a), nothing.clone(), nothing.clone(), false),
        ),
        (
            "globs are narrower for alice, and bob reads one table less",
            vec![manifest("a", &keys(&globs)), manifest("b", &keys(BOB))],
            (tables(&a[1..]), tables(&b), nothing.clone(), true),
        ),
        (
            "what everybody may read now, its principals still may",
            vec![manifest("a", OPEN), manifest("c", &keys(BOB))],
            (tables(&a), tables(&[a, c].concat()), nothing.clone(), true),
        ),
        (
            "a glob that is none is not taken for nothing",
            vec![manifest("a", &keys(&globs.replace("*_meta", "a[")))],
            (tables(&a), nothing.clone(), nothing.clone(), false),
        ),
        (
            "nothing is left",
            vec![],
            (nothing.clone(), nothing.clone(), nothing.clone(), false),
        ),
    ] {
        assert_eq!(narrow(&after), expected, "{what}");
    }
}

#[test]
fn a_table_that_is_declared_twice_is_given_as_far_as_both_give_it() {
    let keyed = manifest("a", &keys(&format!("{ALICE}, {BOB}")));
    for others in [
        [keyed.clone(), manifest("a", OPEN)],
        [manifest("a", OPEN), keyed.clone()],
    ] {
        let both = rights(&others);
        assert!(both.public().is_empty());
        assert_eq!(both.tables_of(&holder("alice")), tables(&["a", "a_meta"]));
    }
    let both = rights(&[keyed, manifest("a", &keys(BOB))]);
    assert!(both.tables_of(&holder("alice")).is_empty());
    assert_eq!(both.tables_of(&holder("bob")), tables(&["a", "a_meta"]));
    assert_eq!(both.principals().len(), 2);
}

#[test]
fn silence_is_told_from_a_word_and_is_never_narrowed_into_one() {
    let (silent, said) = ([manifest("a", "replicas: 1")], [manifest("a", OPEN)]);
    assert!(rights(&silent).are_by_silence());
    assert!(!rights(&said).are_by_silence());
    let anywhere = FrontOptions {
        allow_anonymous: true,
        ..LOOPBACK
    };
    assert!(!Rights::of(&silent, &anywhere, &mut Vec::new()).are_by_silence());
    for (one, other) in [(&silent, &said), (&said, &silent)] {
        let mut narrowed = rights(one);
        narrowed.narrow(&rights(other));
        assert!(narrowed.are_by_silence());
        assert!(!narrowed.public().is_empty());
    }
    // What is not given is not asked about either.
    let mut narrowed = rights(&said);
    narrowed.narrow(&rights(&[said[0].clone(), manifest("b", "replicas: 1")]));
    assert!(!narrowed.are_by_silence());
}

#[test]
fn nobody_is_given_what_no_glob_matches() {
    let of = |tables: &str| {
        let alice = format!("{{name: alice, secretRef: {{name: alice}}, tables: [{tables}]}}");
        rights(&[manifest("papers", &keys(&alice))])
    };
    assert!(!Rights::default().add(&of("none")));
    assert!(Rights::default().add(&of("papers")));
}
