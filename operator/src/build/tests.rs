//! Goldens: what each good example becomes. `INSTA_UPDATE=always cargo test -p vdt-operator` writes them.

mod network;
mod pod;

use std::{fs, path::PathBuf};

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, PersistentVolumeClaim, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
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

#[test]
fn another_operator_keeps_the_template_until_the_resource_changes() {
    let mut table = example("design");
    let before = children(&table, &shipped(), None);
    let last = rendered(&before, "manuals");
    let newer = Shipped {
        server_image: "registry.example/vdt-server@sha256:1".to_owned(),
        ..shipped()
    };
    let after = children(&table, &newer, Some(last.clone()));
    assert_eq!(after.template_hash, before.template_hash);
    assert_eq!(after.stateful_set(), before.stateful_set());

    // Replicas, budgets and the Service are no part of the template.
    let server = table.spec.server.as_mut().unwrap();
    server.replicas = 5;
    server.disruption.max_unavailable = 2;
    assert_eq!(
        children(&table, &newer, Some(last.clone())).template_hash,
        before.template_hash
    );

    table.spec.server.as_mut().unwrap().rollout.drain_seconds = 31;
    let changed = children(&table, &newer, Some(last.clone()));
    assert_ne!(changed.template_hash, before.template_hash);
    assert!(
        changed
            .stateful_set()
            .unwrap()
            .object
            .to_string()
            .contains("sha256:1")
    );

    let mut table = example("design");
    table
        .spec
        .server
        .as_mut()
        .unwrap()
        .rollout
        .on_operator_upgrade = vdt_crds::OnOperatorUpgrade::Immediate;
    assert_ne!(
        children(&table, &newer, Some(last)).template_hash,
        before.template_hash
    );
}

#[test]
fn cpu_and_memory_change_the_template_but_roll_nothing() {
    let table = example("design");
    let before = children(&table, &shipped(), None);
    let mut more = table.clone();
    let resources = vdt_crds::ContainerResources {
        limits: [("memory".to_owned(), "2Gi".to_owned())].into(),
        ..Default::default()
    };
    more.spec.server.as_mut().unwrap().resources = Some(vdt_crds::PodResources {
        server: Some(resources),
        sidecar: None,
    });
    let after = children(&more, &shipped(), None);
    assert_eq!(after.template_hash, before.template_hash);
    assert_ne!(after.stateful_set(), before.stateful_set());
}

/// What an edit of `spec` does to the pods.
#[derive(Debug, PartialEq)]
enum Effect {
    /// New pods.
    Rolls,
    /// The pods are told, and follow.
    Followed,
}

/// An edit of the example `design`: a pointer into the resource, and what is written there.
fn effect(pointer: &str, value: Value) -> Effect {
    let table = example("design");
    let before = children(&table, &shipped(), None);
    let last = rendered(&before, "manuals");
    let mut edited = json!(table);
    match edited.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            edited.pointer_mut(parent).unwrap()[name] = value;
        }
    }
    let edited: VirtualTable = serde_json::from_value(edited).unwrap();
    let after = children(&edited, &shipped(), Some(last));
    assert_ne!(after.config_hash, before.config_hash, "{pointer}");
    match after.template_hash == before.template_hash {
        true => Effect::Followed,
        false => Effect::Rolls,
    }
}

#[test]
fn which_edits_roll() {
    use Effect::{Followed, Rolls};
    // With the two Secrets that the example has, or another one.
    let keys = |secret: &str| {
        json!([
            {"name": "analysts", "secretRef": {"name": secret}, "tables": ["manuals"]},
            {"name": "scanner", "secretRef": {"name": "scan-key"}},
        ])
    };
    for (pointer, value, expected) in [
        ("/metadata/generation", json!(7), Followed),
        ("/spec/suspend", json!(true), Followed),
        ("/spec/sources/0/include", json!(["*.txt"]), Followed),
        ("/spec/sources/0/s3/prefix", json!("other/"), Followed),
        (
            "/spec/sources/0/s3/endpoint",
            json!("http://other:9000"),
            Followed,
        ),
        (
            "/spec/schema/columns",
            json!([{"name": "id", "from": {"artifact": "Id"}}]),
            Followed,
        ),
        ("/spec/layout/rowGroupTargetBytes", json!("4Mi"), Followed),
        ("/spec/refresh/intervalSeconds", json!(61), Followed),
        ("/spec/retention", json!("24h"), Followed),
        ("/spec/server/replicas", json!(7), Followed),
        (
            "/spec/server/access/principals",
            keys("analysts-key"),
            Followed,
        ),
        ("/spec/server/disruption/maxUnavailable", json!(2), Followed),
        // Something new has to be mounted, or is not to be mounted any more.
        (
            "/spec/server/access/principals",
            json!([{"name": "analysts", "secretRef": {"name": "analysts-key"}}]),
            Rolls,
        ),
        ("/spec/server/access/principals", keys("new-key"), Rolls),
        (
            "/spec/sources/0/s3/credentials/secretRef/name",
            json!("corp-rw"),
            Rolls,
        ),
        (
            "/spec/sources/0/s3/caBundle",
            json!({"name": "roots", "key": "ca.crt"}),
            Rolls,
        ),
        // Only a new process takes it.
        ("/spec/server/access", json!({"mode": "Anonymous"}), Rolls),
        (
            "/spec/server/tls",
            json!({"mode": "Secret", "secretRef": {"name": "tls"}}),
            Rolls,
        ),
        ("/spec/server/cache/memory/capacity", json!("2Gi"), Rolls),
        (
            "/spec/server/cache/disk/highWatermarkPercent",
            json!(80),
            Rolls,
        ),
        ("/spec/server/cache/warmup/timeoutSeconds", json!(7), Rolls),
        ("/spec/server/rollout/drainSeconds", json!(31), Rolls),
        (
            "/spec/server/podTemplate",
            json!({"labels": {"a": "b"}}),
            Rolls,
        ),
        (
            "/spec/server/images",
            json!({"server": "registry.example/vdt-server:next"}),
            Rolls,
        ),
    ] {
        assert_eq!(
            effect(pointer, value.clone()),
            expected,
            "{pointer} {value}"
        );
    }
}

#[test]
fn a_template_that_is_lost_is_rendered_as_it_was() {
    let mut table = example("design");
    let last = rendered(&children(&table, &shipped(), None), "manuals");
    table.spec.refresh.interval_seconds = 61;
    let kept = children(&table, &shipped(), Some(last));
    let anew = children(&table, &shipped(), None);
    assert_eq!(kept.template_hash, anew.template_hash);
}

/// What a newer operator renders and how it hashes is not known here: it is played by hashes of another making, and by what it writes beside them.
fn newer(table: &VirtualTable) -> Rendered {
    let ours = rendered(&children(table, &shipped(), None), "manuals");
    let mut template = ours.template.clone();
    template["metadata"]["annotations"]["vdt.io/later"] = "yes".into();
    Rendered {
        inputs: "of another making".to_owned(),
        operator: "9.0.0".to_owned(),
        template,
        others: serde_json::Map::from_iter([("later".to_owned(), json!({"than": "this"}))]),
        ..ours
    }
}

#[test]
fn an_older_operator_keeps_the_template_of_a_newer_one() {
    let mut table = example("design");
    table.metadata.generation = Some(3);
    let theirs = newer(&table);
    let kept = rendered(
        &children(&table, &shipped(), Some(theirs.clone())),
        "manuals",
    );
    let ours = rendered(&children(&table, &shipped(), None), "manuals");
    let adopted = Rendered {
        inputs: ours.inputs,
        ..theirs.clone()
    };
    assert_eq!(kept, adopted);

    // From then on changes are judged as ever.
    table.metadata.generation = Some(4);
    table.spec.server.as_mut().unwrap().replicas = 5;
    table.spec.refresh.interval_seconds = 61;
    let kept = rendered(&children(&table, &shipped(), Some(kept)), "manuals");
    assert_eq!(kept.template, theirs.template);
    table.metadata.generation = Some(5);
    table.spec.server.as_mut().unwrap().rollout.drain_seconds = 31;
    let anew = rendered(&children(&table, &shipped(), Some(kept)), "manuals");
    assert!(anew.others.is_empty() && anew.template != theirs.template);
}

#[test]
fn pods_that_read_another_config_map_are_kept_until_they_are_told_of_a_change() {
    let mut table = example("design");
    table.metadata.generation = Some(3);
    let mut theirs = newer(&table);
    let text = theirs.template.to_string();
    assert!(mounts_config_map(&theirs.template, "manuals-config-v1"));
    theirs.template =
        serde_json::from_str(&text.replace("manuals-config-v1", "manuals-config-v2")).unwrap();
    let kept = rendered(
        &children(&table, &shipped(), Some(theirs.clone())),
        "manuals",
    );
    assert_eq!(kept.template, theirs.template);
    table.metadata.generation = Some(4);
    table.spec.server.as_mut().unwrap().replicas = 5;
    let kept = rendered(&children(&table, &shipped(), Some(kept)), "manuals");
    assert_eq!(kept.template, theirs.template);
    table.metadata.generation = Some(5);
    table.spec.refresh.interval_seconds = 61;
    let anew = rendered(&children(&table, &shipped(), Some(kept)), "manuals");
    assert!(mounts_config_map(&anew.template, "manuals-config-v1"));
}

#[test]
fn credentials_of_sources_and_keys_of_readers_are_kept_apart() {
    let all = children(&example("design"), &shipped(), None);
    let pod = &all.stateful_set().unwrap().object["spec"]["template"]["spec"];
    let paths = |container: &Value| container["volumeMounts"].to_string();
    let (sidecar, server) = (
        paths(&pod["containers"][0]),
        paths(&pod["initContainers"][0]),
    );
    assert!(
        server.contains("/secrets/corp-ro") && !server.contains("analysts-key"),
        "{server}"
    );
    assert!(
        sidecar.contains("/secrets/analysts-key") && !sidecar.contains("corp-ro"),
        "{sidecar}"
    );
}

#[test]
fn credentials_of_the_state_are_files_of_the_server_as_those_of_sources_are() {
    let mut table = example("design");
    let state = table.spec.server.as_mut().unwrap().state.as_mut().unwrap();
    let s3 = json!({"bucket": "vdt-state", "credentials": {"secretRef": {"name": "state-rw"}}});
    state.s3 = Some(serde_json::from_value(s3).unwrap());
    let all = children(&table, &shipped(), None);
    let pod = &all.stateful_set().unwrap().object["spec"]["template"]["spec"];
    let (server, sidecar) = (&pod["initContainers"][0], &pod["containers"][0]);
    let mount = |name: &str| {
        let mounts = server["volumeMounts"].as_array().unwrap();
        let path = format!("/etc/vdt/secrets/{name}");
        let mount = mounts.iter().find(|mount| mount["mountPath"] == path);
        let mount = mount.unwrap_or_else(|| panic!("{path} is not mounted: {mounts:?}"));
        let volumes = pod["volumes"].as_array().unwrap();
        let volume = volumes
            .iter()
            .find(|volume| volume["name"] == mount["name"])
            .unwrap();
        assert_eq!(
            volume["secret"],
            json!({"secretName": name, "optional": true})
        );
        mount["readOnly"].clone()
    };
    assert_eq!(mount("state-rw"), mount("corp-ro"));
    assert!(!sidecar.to_string().contains("state-rw"));
    // A variable would keep the value that it had when the container was started.
    for container in [server, sidecar] {
        let env = container["env"].as_array().unwrap();
        assert!(env.iter().all(|one| one["valueFrom"].is_null()), "{env:?}");
        // Variables that all S3 tools read would be those of sources, too.
        let name = |one: &Value| one["name"].as_str().unwrap().to_owned();
        assert!(
            env.iter().all(|one| !name(one).starts_with("AWS_")),
            "{env:?}"
        );
    }
    let folder = json!({"name": "VDT_STATE_CREDENTIALS", "value": "/etc/vdt/secrets/state-rw"});
    assert!(server["env"].as_array().unwrap().contains(&folder));
}

#[test]
fn variables_of_the_state_are_those_that_the_server_reads() {
    let mut table = example("design");
    let state = table.spec.server.as_mut().unwrap().state.as_mut().unwrap();
    let s3 = json!({"bucket": "vdt-state", "endpoint": "http://s3.local:9000", "region": "eu", "pathStyle": false, "anonymous": true,
        "credentials": {"secretRef": {"name": "state-rw"}}, "caBundle": {"name": "roots", "key": "ca.crt"}});
    state.s3 = Some(serde_json::from_value(s3).unwrap());
    let all = children(&table, &shipped(), None);
    let pod = &all.stateful_set().unwrap().object["spec"]["template"]["spec"];
    let env = pod["initContainers"][0]["env"].as_array().unwrap();
    let names = env.iter().filter_map(|one| one["name"].as_str());
    let told: Vec<&str> = names
        .filter(|name| name.starts_with("VDT_STATE_"))
        .collect();
    assert_eq!(told.len(), 6, "{told:?}");
    // A crate that this one may not depend on.
    let server = include_str!("../../../vdt/store/src/state/bucket.rs");
    for name in told {
        assert!(server.contains(&format!("\"{name}\"")), "{name}");
    }
}

#[test]
fn the_server_trusts_the_authority_of_its_state() {
    let mut table = example("design");
    let state = table.spec.server.as_mut().unwrap().state.as_mut().unwrap();
    let s3 = json!({"bucket": "vdt-state", "endpoint": "https://s3.local", "caBundle": {"name": "roots", "key": "ca.crt"}});
    state.s3 = Some(serde_json::from_value(s3).unwrap());
    let all = children(&table, &shipped(), None);
    let pod = &all.stateful_set().unwrap().object["spec"]["template"]["spec"];
    let server = pod["initContainers"][0].to_string();
    assert!(
        server.contains("/etc/vdt/secrets/configmap-roots/ca.crt"),
        "{server}"
    );
    assert!(pod["volumes"].to_string().contains(r#""name":"roots""#));
    assert!(!pod["containers"][0].to_string().contains("roots"));
}
