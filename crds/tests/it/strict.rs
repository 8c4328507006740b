//! What strict reading says.

use vdt_crds::{
    Profile, VirtualTable,
    parse::{self, ParseError},
    quantity::Quantity,
};

fn manifest(spec: &str) -> String {
    format!(
        "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {{name: t}}\nspec: {{sources: [{{name: a, type: File, file: {{path: x}}}}], {spec}}}\n"
    )
}

fn laptop(text: &str) -> Result<Vec<VirtualTable>, Vec<String>> {
    match parse::read(text.as_bytes(), Profile::Laptop) {
        Ok(tables) => Ok(tables),
        Err(ParseError::Invalid(documents)) => Err(documents
            .iter()
            .flat_map(|one| &one.violations)
            .map(ToString::to_string)
            .collect()),
        Err(other) => Err(vec![other.to_string()]),
    }
}

#[test]
fn defaults_are_those_of_the_schema() {
    let table = laptop(&manifest("")).unwrap().remove(0);
    assert_eq!(table.table_path(), "main/default/t");
    assert_eq!(table.owner(), "default/t");
    assert_eq!(table.meta_table_name(), "t_meta");
    assert_eq!(table.spec.layout.inline_max_bytes.bytes(), 256 << 20);
    assert_eq!(table.spec.layout.file_target_bytes.bytes(), 1 << 30);
    assert_eq!(table.spec.layout.row_group_target_bytes.bytes(), 2 << 20);
    assert_eq!(table.spec.refresh.interval().unwrap().as_secs(), 60);
    assert_eq!(table.spec.refresh.settle().as_secs(), 2);
    assert_eq!(table.spec.retention.duration().as_secs(), 168 * 3600);
    assert!(table.spec.server.is_none());
}

#[test]
fn every_unknown_field_is_named_with_the_nearest_one() {
    let found = laptop(&manifest(
        "refrsh: {}, layout: {inlineMaxByte: 1Mi}, replicas: 2, server: {cach: {}}, zebra: 1",
    ))
    .unwrap_err();
    for part in [
        "spec.refrsh: unknown field; did you mean refresh?",
        "spec.layout.inlineMaxByte: unknown field; did you mean inlineMaxBytes?",
        "spec.replicas: unknown field; a field of this name is at spec.server.replicas",
        "spec.server.cach: unknown field; did you mean cache?",
        "spec.zebra: unknown field; known fields here are ",
    ] {
        assert!(
            found.iter().any(|message| message.contains(part)),
            "{part} is not in {found:#?}"
        );
    }
    assert_eq!(found.len(), 5, "{found:#?}");
}

#[test]
fn all_kinds_of_violations_come_together() {
    let found = laptop(&manifest(
        "checksum: MD5, suspend: maybe, refresh: {intervalSeconds: -1}, typo: 1",
    ))
    .unwrap_err();
    assert_eq!(found.len(), 4, "shape and bounds at once: {found:#?}");
    let found = laptop(&manifest(
        "retention: 1m, layout: {inlineMaxBytes: 3Gi, rowGroupTargetBytes: 2G}",
    ))
    .unwrap_err();
    assert_eq!(found.len(), 3, "{found:#?}");
}

#[test]
fn secrets_are_not_repeated() {
    let text = "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {name: t}\nspec:\n  sources:\n  - name: a\n    type: S3\n    s3: {bucket: corp, secretAccessKey: hunter2, endpoint: 'https://me:hunter3@x/'}\n";
    let found = laptop(text).unwrap_err().join("\n");
    assert!(found.contains("secretAccessKey: unknown field"), "{found}");
    assert!(!found.contains("hunter"), "{found}");
    let found = laptop(&text.replace("secretAccessKey: hunter2, ", ""))
        .unwrap_err()
        .join("\n");
    assert!(
        found.contains("must not contain user name or password") && !found.contains("hunter"),
        "{found}"
    );
}

#[test]
fn a_secret_in_the_place_of_its_reference_is_not_repeated() {
    let text = manifest("").replace(
        "{name: a, type: File, file: {path: x}}",
        "{name: a, type: S3, s3: {bucket: corp, credentials: hunter2}}",
    );
    assert_eq!(
        laptop(&text).unwrap_err(),
        ["spec.sources[0].s3.credentials: must be of type object"]
    );
}

#[test]
fn misspelt_metadata_is_found() {
    let text = manifest("").replace(
        "{name: t}",
        "{name: t, lables: {a: b}, annotations: {a: 1}}",
    );
    let found = laptop(&text).unwrap_err();
    assert!(found.iter().any(|message| message.contains("metadata.lables: unknown field; did you mean labels?")), "{found:?}");
    assert!(found.iter().any(|message| message.contains(r#"metadata.annotations["a"]: must be of type string"#)), "{found:?}");
    assert!(
        laptop(&manifest("").replace("{name: t}", "{}")).unwrap_err()[0]
            .contains("metadata.name: Required value")
    );
    assert!(
        laptop(&manifest("").replace("{name: t}", "{name: t, creationTimestamp: null}")).is_ok()
    );
}

#[test]
fn other_resources_are_refused_with_a_remedy() {
    for (from, to, part) in [
        (
            "vdt.io/v1alpha1",
            "vdt.io/v1",
            "apiVersion: must be vdt.io/v1alpha1, is \"vdt.io/v1\"",
        ),
        (
            "kind: VirtualTable",
            "kind: Secret",
            "kind: must be VirtualTable, is \"Secret\"; keep resources of other kinds",
        ),
        (
            "kind: VirtualTable\n",
            "",
            "kind: Required value; write kind: VirtualTable",
        ),
    ] {
        let found = laptop(&manifest("").replace(from, to)).unwrap_err();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(part), "{found:?}");
    }
    for text in ["just text", "[1, 2]", "42"] {
        assert!(laptop(text).unwrap_err()[0].contains("the document: must be an object"));
    }
}

#[test]
fn fields_written_twice_are_refused() {
    let found = laptop(&manifest("suspend: true, suspend: true")).unwrap_err();
    assert_eq!(
        found,
        ["spec.suspend: is written twice in the same object; keep one"]
    );
}

#[test]
fn nulls_are_absent_fields() {
    let table = laptop(&manifest("layout: null, server: null, checksum: ~"))
        .unwrap()
        .remove(0);
    assert_eq!(
        table.spec.layout.inline_max_bytes,
        "256Mi".parse::<Quantity>().unwrap()
    );
    assert!(
        laptop(&manifest("").replace("[{name: a, type: File, file: {path: x}}]", "null"))
            .unwrap_err()[0]
            .contains("spec.sources: Required value")
    );
}

#[test]
fn a_file_holds_several_documents() {
    let two = format!(
        "# first\n---\n{}---\n---\n{}",
        manifest(""),
        manifest("suspend: true")
    );
    let tables = laptop(&two).unwrap();
    assert_eq!(tables.len(), 2);
    assert!(tables[1].spec.suspend);
    let error = parse::read(
        format!("{two}---\n{}", manifest("typo: 1")).as_bytes(),
        Profile::Laptop,
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("document 4 (t): spec.typo: unknown field"),
        "{error}"
    );
}

#[test]
fn json_is_yaml() {
    let json =
        serde_json::to_string_pretty(&laptop(&manifest("suspend: true")).unwrap()[0]).unwrap();
    assert!(laptop(&json).unwrap()[0].spec.suspend);
    assert!(
        laptop(&json.replace('\n', "\n\t")).is_ok(),
        "tabs are common in JSON"
    );
}

#[test]
fn what_editors_write_is_read_or_named() {
    let good = manifest("suspend: true");
    assert!(laptop(&format!("\u{feff}{good}")).is_ok());
    let tab = good.replace("spec: {", "spec:\n\t{");
    let refused = laptop(&tab.replace("spec:\n\t", "spec:\n\tsuspend: true\n\t")).unwrap_err();
    assert!(
        refused[0].ends_with("indent with spaces, not with tabs"),
        "{refused:?}"
    );
}

#[test]
fn a_laptop_needs_a_relative_path() {
    for (path, part) in [
        ("{}", "path is required on a laptop"),
        ("{path: /etc}", "must be relative"),
        ("{path: a/../..}", "must not contain .. segments"),
    ] {
        let found = laptop(&manifest("").replace("{path: x}", path)).unwrap_err();
        assert!(
            found.len() == 1 && found[0].contains(part),
            "{path}: {found:?}"
        );
    }
    // The server of a pod reads a claim as a whole.
    assert!(laptop(&manifest("").replace("{path: x}", "{claimName: c}")).is_ok());
}

#[test]
fn globs_and_path_patterns_must_compile() {
    let text = manifest("").replace(
        "file: {path: x}",
        "file: {path: x}, include: ['**/*.pdf', '[a'], exclude: ['{a,b']",
    );
    let found = laptop(&text).unwrap_err();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("spec.sources[0].include[1]: is not a glob"),
        "{found:?}"
    );
    let columns = "columns: [{name: a, type: string, from: {path: a}}]";
    let found = laptop(&manifest(&format!(
        "schema: {{pathPattern: '{{a}}{{b}}', {columns}}}"
    )))
    .unwrap_err();
    assert!(
        found[0].contains("spec.schema.pathPattern: two parts or * need something between them"),
        "{found:?}"
    );
}

#[test]
fn the_widest_table_can_be_written_in_brackets_and_quotes() {
    let columns: Vec<String> = (0..512)
        .map(|n| format!("    - {{name: 'column_{n}', type: string, from: {{constant: \"a constant value of column {n}\"}}}}"))
        .collect();
    let text = manifest("").replace("}]}}\n", "}]}\n") + "  schema:\n";
    let text = text.replace(
        "spec: {sources: [{name: a, type: File, file: {path: x}}], }",
        "spec:\n  sources: [{name: a, type: File, file: {path: x}}]",
    );
    let text = format!("{text}    columns:\n{}\n", columns.join("\n"));
    assert_eq!(
        laptop(&text).unwrap()[0]
            .spec
            .schema
            .as_ref()
            .unwrap()
            .columns
            .as_ref()
            .unwrap()
            .len(),
        512
    );
    let json = serde_json::to_string(&laptop(&text).unwrap()[0]).unwrap();
    assert!(laptop(&json).is_ok());
}

#[test]
fn a_state_in_a_bucket_that_is_not_built_is_refused_with_a_remedy() {
    for (state, refused) in [
        ("{type: GCS, gcs: {bucket: vdt-state}}", true),
        ("{type: S3, s3: {bucket: vdt-state}}", false),
    ] {
        let text = manifest(&format!(
            "server: {{state: {state}, access: {{mode: Anonymous}}}}"
        ));
        let tables = parse::parse(text.as_bytes()).unwrap();
        let found = vdt_crds::unsupported(&tables[0]);
        let told: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(!told.is_empty(), refused, "{told:?}");
        let names_it =
            |line: &String| line.starts_with("spec.server.state.type") && line.contains("use S3");
        assert_eq!(told.iter().any(names_it), refused, "{told:?}");
    }
}
