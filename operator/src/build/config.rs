//! What pods are told, and who they are.

use serde::Deserialize as _;
use serde_json::{Value, json};
use vdt_crds::VirtualTable;

use super::{Child, Kind, Server};
use crate::names;

/// Key of the manifests.
pub(crate) const MANIFESTS: &str = "tables.yaml";
/// Key of the public keys that the admin API trusts.
pub(crate) const ADMIN_KEYS: &str = "keys.pem";

/// The manifests of the tables, as `vdt serve` reads them, and the public half of the operator's key. Updated in place; the name carries the version
/// of the format.
pub(super) fn config_map(server: &Server<'_>, tables: &[&VirtualTable]) -> Child {
    let data = json!({
        MANIFESTS: manifests(tables),
        ADMIN_KEYS: server.shipped.admin_keys,
    });
    let mut child = Child::new(
        server,
        Kind::ConfigMap,
        names::config(server.name),
        json!({"data": data}),
    );
    let operator = server.shipped.operator.as_str();
    if !operator.is_empty() {
        child.object["metadata"]["annotations"][names::ACTING] = operator.into();
    }
    child
}

/// Writes manifests as YAML documents: name, spec, and which edition of the resource it is (uid and generation): pods report
/// it when they follow it, and one with an older edition does not undo what a newer one committed.
fn manifests(tables: &[&VirtualTable]) -> String {
    tables
        .iter()
        .map(|table| manifest(&json!(table.spec), table))
        .collect()
}

fn manifest(spec: &Value, table: &VirtualTable) -> String {
    let mut document = json!({
        "apiVersion": vdt_crds::API_VERSION,
        "kind": vdt_crds::KIND,
        "metadata": {"name": table.metadata.name, "namespace": table.metadata.namespace},
        "spec": spec,
    });
    if let Some(generation) = table.metadata.generation {
        document["metadata"]["generation"] = generation.into();
    }
    if let Some(uid) = &table.metadata.uid {
        document["metadata"]["uid"] = uid.as_str().into();
    }
    let yaml =
        serde_yaml::to_string(&document).expect("a manifest is YAML: its maps have string keys");
    format!("---\n{yaml}")
}

/// Manifests as [`manifests`] of this or another version wrote them, with `spec.suspend` set and everything else as it was. What is suspended already, or
/// cannot be read, is left as it is.
pub(crate) fn suspended(manifests: &str) -> String {
    let suspend = |document: serde_yaml::Deserializer<'_>| {
        let mut table = serde_yaml::Value::deserialize(document)?;
        let before = table
            .get_mut("spec")
            .and_then(|spec| spec.as_mapping_mut())
            .map(|spec| spec.insert("suspend".into(), true.into()));
        let is_new = before.is_some_and(|before| before != Some(true.into()));
        Ok((is_new, format!("---\n{}", serde_yaml::to_string(&table)?)))
    };
    let documents: Result<Vec<(bool, String)>, serde_yaml::Error> =
        serde_yaml::Deserializer::from_str(manifests)
            .map(suspend)
            .collect();
    match documents {
        Ok(documents) if documents.iter().any(|(is_new, _)| *is_new) => {
            documents.into_iter().map(|(_, text)| text).collect()
        }
        _ => manifests.to_owned(),
    }
}

/// An identity without rights, unless the user brings one.
pub(super) fn service_account(server: &Server<'_>) -> Option<Child> {
    server.spec.service_account_name.is_none().then(|| {
        Child::new(
            server,
            Kind::ServiceAccount,
            server.name,
            json!({"automountServiceAccountToken": false}),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suspending_sets_the_field_wherever_it_stands_and_nothing_else() {
        let of = |suspend: &str| {
            format!(
                "---\nkind: VirtualTable\nmetadata:\n  name: a\nspec:\n  sources:\n  - name: x\n    note: |2\n        suspend: false\n{suspend}  later: 1\n"
            )
        };
        let spec = |text: &str| {
            let table: Value = serde_yaml::from_str(text).unwrap();
            table["spec"].clone()
        };
        let (told, silent) = (of("  suspend: false\n"), of(""));
        for text in [&told, &silent] {
            let found = suspended(text);
            let mut wanted = spec(text);
            wanted["suspend"] = true.into();
            assert_eq!(spec(&found), wanted);
            assert_eq!(suspended(&found), found);
        }
        let two = suspended(&format!("{silent}{told}"));
        assert_eq!(two.matches("\n  suspend: true\n").count(), 2);
        for text in ["", "a: [", "- 1\n", &of("  suspend: true\n")] {
            assert_eq!(suspended(text), text);
        }
    }
}
