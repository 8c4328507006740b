//! Goldens: what each good example becomes. `INSTA_UPDATE=always cargo test -p vdt-operator` writes them.

mod cache;
mod format;
mod network;
mod pod;
mod secrets;
mod template;

use std::{fs, path::PathBuf};

use serde::{Serialize, de::DeserializeOwned};

use super::*;

fn shipped() -> Shipped {
    Shipped {
        server_image: "registry.example/vdt-server@sha256:0".to_owned(),
        sidecar_image: "registry.example/vdt-sidecar@sha256:0".to_owned(),
        pull_policy: None,
        assign_ids: true,
        admin_keys: "-----BEGIN PUBLIC KEY-----\n".to_owned(),
        namespace: "vdt-system".to_owned(),
        operator: "vdt-system/vdt".to_owned(),
    }
}

fn children(table: &VirtualTable, shipped: &Shipped, rendered: Option<Rendered>) -> Children {
    let owner = json!({"apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable", "name": table.metadata.name, "uid": "0", "controller": true});
    let server = Server {
        namespace: table.namespace(),
        name: table.metadata.name.as_deref().unwrap(),
        spec: table.spec.server.as_ref().unwrap(),
        owner,
        shipped,
        rendered,
    };
    build(&server, &[table])
}

fn examples() -> Vec<(String, VirtualTable)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../crds/examples/good");
    let mut examples: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let table = vdt_crds::parse(&fs::read(&path).unwrap())
                .unwrap()
                .remove(0);
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                table,
            )
        })
        .collect();
    examples.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert_eq!(examples.len(), 20);
    examples
}

fn example(name: &str) -> VirtualTable {
    examples()
        .into_iter()
        .find(|(found, _)| found == name)
        .unwrap()
        .1
}

fn rendered(children: &Children, name: &str) -> Rendered {
    let child = children.find(Kind::StatefulSet, name).unwrap();
    Rendered::of(&child.object).unwrap()
}

#[test]
fn examples_become_what_they_became_before() {
    for (name, table) in examples() {
        if name == "columns-512" || name == "sources-32" {
            continue; // nothing but length
        }
        let mut text = String::new();
        for child in children(&table, &shipped(), None).objects {
            text.push_str("---\n");
            text.push_str(&serde_yaml::to_string(&child.object).unwrap());
        }
        insta::assert_snapshot!(name, text);
    }
}

/// Every field that is applied is one that the API knows: what a typed object does not hold is gone after it was read.
#[test]
fn children_survive_the_typed_api() {
    fn same<T: DeserializeOwned + Serialize>(object: &Value) {
        let typed: T = serde_json::from_value(object.clone()).unwrap();
        let mut again = serde_json::to_value(typed).unwrap();
        // Typed lists that are empty are left out or not; ours never are but in a policy's empty selectors.
        again["apiVersion"] = object["apiVersion"].clone();
        again["kind"] = object["kind"].clone();
        assert!(&again == object, "sent {object:#}\nread {again:#}");
    }
    for (name, table) in examples() {
        for child in children(&table, &shipped(), None).objects {
            eprintln!("{name}: {:?} {}", child.kind, child.name);
            match child.kind {
                Kind::ServiceAccount => same::<ServiceAccount>(&child.object),
                Kind::ConfigMap => same::<ConfigMap>(&child.object),
                Kind::PersistentVolumeClaim => same::<PersistentVolumeClaim>(&child.object),
                Kind::Service => same::<Service>(&child.object),
                Kind::StatefulSet => same::<StatefulSet>(&child.object),
                Kind::PodDisruptionBudget => same::<PodDisruptionBudget>(&child.object),
                Kind::NetworkPolicy => same::<NetworkPolicy>(&child.object),
                Kind::PodMonitor | Kind::Certificate => {}
            }
            assert_eq!(
                child.object["metadata"]["labels"][names::MANAGED_BY],
                names::OPERATOR
            );
            let is_owned = child.object["metadata"]["ownerReferences"].is_array();
            assert_eq!(
                is_owned,
                child.kind != Kind::PersistentVolumeClaim,
                "{}",
                child.name
            );
        }
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let table = example("design");
    let text = |children: &Children| {
        children
            .objects
            .iter()
            .map(|child| child.object.to_string())
            .collect::<String>()
    };
    let (one, other) = (
        children(&table, &shipped(), None),
        children(&table, &shipped(), None),
    );
    assert_eq!(text(&one), text(&other));
}
