//! What pods are told, and who they are.

use serde_json::{Value, json};
use vdt_crds::VirtualTable;

use super::{Child, Kind, Rendered, Server};
use crate::names;

/// Key of the manifests.
pub(crate) const MANIFESTS: &str = "tables.yaml";
/// Key of the public keys that the admin API trusts.
pub(crate) const ADMIN_KEYS: &str = "keys.pem";
/// Key of the rendered template.
pub(crate) const TEMPLATE: &str = "template.json";

/// The manifests of the tables, as `vdt serve` reads them, and the public half of the operator's key. Updated in place; the name carries the version
/// of the format.
pub(super) fn config_map(server: &Server<'_>, tables: &[&VirtualTable]) -> Child {
    let data = json!({
        MANIFESTS: manifests(tables),
        ADMIN_KEYS: server.shipped.admin_keys,
    });
    Child::new(
        server,
        Kind::ConfigMap,
        names::config(server.name),
        json!({"data": data}),
    )
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
        "apiVersion": "vdt.io/v1alpha1",
        "kind": "VirtualTable",
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

/// The last rendered template, for the operator itself.
pub(super) fn template(server: &Server<'_>, rendered: &Rendered) -> Child {
    let text = json!(rendered).to_string();
    Child::new(
        server,
        Kind::ConfigMap,
        names::template(server.name),
        json!({"data": {TEMPLATE: text}}),
    )
}

/// Reads what [`template`] wrote. What cannot be read is rendered anew.
pub(crate) fn read_template(config_map: &Value) -> Option<Rendered> {
    serde_json::from_str(config_map["data"][TEMPLATE].as_str()?).ok()
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
