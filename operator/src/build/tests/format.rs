//! What pods that run have to be able to read.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::names;

/// Paths of all fields below a schema.
fn fields(schema: &Value, path: &str, found: &mut Vec<String>) {
    if let Some(properties) = schema["properties"].as_object() {
        for (name, below) in properties {
            let path = format!("{path}.{name}");
            fields(below, &path, found);
            found.push(path);
        }
    }
    for below in [&schema["items"], &schema["additionalProperties"]] {
        if below.is_object() {
            fields(below, &format!("{path}[]"), found);
        }
    }
}

#[test]
fn the_format_of_manifests_is_raised_with_their_fields() {
    let crd = serde_json::to_value(vdt_crds::crd()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut found = Vec::new();
    fields(&schema["properties"]["spec"], "spec", &mut found);
    found.sort_unstable();
    assert!(found.len() > 100 && found.contains(&"spec.sources[].s3.bucket".to_owned()));
    let digest = hex::encode(&Sha256::digest(found.join("\n"))[..8]);
    // An upgrade of the operator rolls no pod, and pods refuse manifests with fields that they do not know: a field more makes another format, which
    // pods get when they are rolled. Raise CONFIG_FORMAT, and write the digest here.
    assert_eq!((names::CONFIG_FORMAT, &*digest), ("v1", "ee686113d9556421"));
}
