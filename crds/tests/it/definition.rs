//! The derived definition is the committed one, and keeps the habits of Kubernetes.
//!
//! `VDT_UPDATE_GOLDENS=1 cargo test -p vdt-crds` writes it; `vdt-operator crd` prints the same bytes.

use std::{fs, path::PathBuf};

use serde_json::Value;

#[test]
fn the_committed_definition_is_the_derived_one() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("virtualtables.vdt.io.yaml");
    let have = vdt_crds::crd_yaml();
    if std::env::var_os("VDT_UPDATE_GOLDENS").is_some() {
        fs::write(&path, &have).unwrap();
    }
    let want = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        have == want,
        "{} differs; write it with VDT_UPDATE_GOLDENS=1 and look at git diff",
        path.display()
    );
    // Above 262,144 bytes a client-side apply cannot keep its annotation.
    assert!(have.len() < 200_000, "{} bytes", have.len());
}

#[test]
fn the_resource_is_called_as_it_is_defined() {
    let crd = vdt_crds::crd();
    let version = format!("{}/{}", crd.spec.group, crd.spec.versions[0].name);
    assert_eq!(
        (version.as_str(), crd.spec.names.kind.as_str()),
        (vdt_crds::API_VERSION, vdt_crds::KIND)
    );
}

#[test]
fn every_field_keeps_the_habits_of_kubernetes() {
    let crd = serde_json::to_value(vdt_crds::crd()).unwrap();
    let mut found = Vec::new();
    let root = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let fields = lint("", root, false, &mut found);
    assert!(fields > 250, "{fields} fields were looked at");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn rules_are_sentences_and_point_at_fields() {
    let crd = serde_json::to_value(vdt_crds::crd()).unwrap();
    let mut rules = Vec::new();
    collect_rules(
        &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
        &mut rules,
    );
    assert_eq!(rules.len(), 126);
    for rule in rules {
        let message = rule["message"].as_str().unwrap_or_default();
        assert!(message.len() > 10 && !message.contains('\n'), "{rule}");
    }
}

/// The rules of kube-api-linter that make sense for a definition in YAML. Returns how many fields were looked at.
fn lint(path: &str, schema: &Value, in_list: bool, found: &mut Vec<String>) -> usize {
    let mut count = 1;
    let mut say = |what: &str| found.push(format!("{path}: {what}"));
    let kind = schema["type"].as_str().unwrap_or_default();
    let is_plain =
        ["", ".apiVersion", ".kind", ".metadata"].contains(&path) || path.ends_with("{}");
    if !is_plain && schema["description"].is_null() {
        say("no description");
    }
    let has = |name: &str| !schema[name].is_null();
    match kind {
        "string" if !is_plain && !["maxLength", "enum", "format"].into_iter().any(has) => {
            say("a string without a bound")
        }
        "array" if !has("maxItems") => say("a list without a bound"),
        "array" if !has("x-kubernetes-list-type") => say("a list without a type"),
        "integer"
            if !["int32", "int64"]
                .map(Value::from)
                .contains(&schema["format"]) =>
        {
            say("a number whose format kubectl warns about")
        }
        "number" => say("a float"),
        "object" if has("additionalProperties") && !has("maxProperties") => {
            say("a map without a bound")
        }
        _ => {}
    }
    if has("nullable") {
        say("nullable");
    }
    if in_list && has("default") {
        say("a default inside of a list item, which GitOps tools take for drift");
    }
    let name = path.rsplit('.').next().unwrap_or_default().to_lowercase();
    if name == "phase" || name.ends_with("timestamp") || name.ends_with("duration") {
        say("a name that the API conventions advise against");
    }
    for (name, nested) in schema["properties"].as_object().into_iter().flatten() {
        count += lint(&format!("{path}.{name}"), nested, in_list, found);
    }
    if schema["items"].is_object() {
        count += lint(&format!("{path}[]"), &schema["items"], true, found);
    }
    if schema["additionalProperties"].is_object() {
        let nested = &schema["additionalProperties"];
        count += lint(&format!("{path}{{}}"), nested, in_list, found);
    }
    count
}

fn collect_rules<'a>(schema: &'a Value, rules: &mut Vec<&'a Value>) {
    rules.extend(
        schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten(),
    );
    for nested in schema["properties"]
        .as_object()
        .into_iter()
        .flat_map(|all| all.values())
    {
        collect_rules(nested, rules);
    }
    for nested in [&schema["items"], &schema["additionalProperties"]] {
        if nested.is_object() {
            collect_rules(nested, rules);
        }
    }
}
