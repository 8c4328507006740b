//! When the pod template stays and when it is rendered anew.

use super::*;

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

/// A table with a value at a pointer into it.
fn edited(table: &VirtualTable, pointer: &str, value: Value) -> VirtualTable {
    let mut edited = json!(table);
    match edited.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            edited.pointer_mut(parent).unwrap()[name] = value;
        }
    }
    serde_json::from_value(edited).unwrap()
}

/// What an edit of the example `design` does: a pointer into the resource, and what is written there.
fn effect(pointer: &str, value: Value) -> Effect {
    let table = example("design");
    let before = children(&table, &shipped(), None);
    let last = rendered(&before, "manuals");
    let edited = edited(&table, pointer, value);
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
        // The operator alone acts upon it.
        (
            "/spec/server/cache/disk/volume/nodeLossGraceSeconds",
            json!(7),
            Followed,
        ),
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
        (
            "/spec/server/cache/disk/volume/storageClassName",
            json!("other-nvme"),
            Rolls,
        ),
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
fn what_only_the_operator_acts_upon_is_no_part_of_the_template() {
    let newer = Shipped {
        server_image: "registry.example/vdt-server@sha256:1".to_owned(),
        ..shipped()
    };
    for (name, pointer, value) in [
        (
            "design",
            "/spec/server/cache/disk/volume/nodeLossGraceSeconds",
            json!(7),
        ),
        (
            "tls-certmanager",
            "/spec/server/tls/issuerRef/name",
            json!("other"),
        ),
        (
            "tls-certmanager",
            "/spec/server/tls/issuerRef/kind",
            json!("Issuer"),
        ),
        (
            "state-claim",
            "/spec/server/state/claim/capacity",
            json!("3Gi"),
        ),
    ] {
        let table = example(name);
        let before = children(&table, &shipped(), None);
        let last = rendered(&before, table.metadata.name.as_deref().unwrap());
        let after = edited(&table, pointer, value);
        assert_ne!(after, table, "{pointer}");
        // Neither another template nor, after an upgrade, a reason for the newer operator's own.
        for (shipped, last) in [(shipped(), None), (newer.clone(), Some(last))] {
            let after = children(&after, &shipped, last);
            assert_eq!(after.template(), before.template(), "{pointer}");
        }
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

#[test]
fn a_template_that_somebody_damaged_is_rendered_anew() {
    let mut table = example("design");
    table.metadata.generation = Some(3);
    let before = children(&table, &shipped(), None);
    let mut set = before.stateful_set().unwrap().object.clone();
    let last = rendered(&before, "manuals");
    for (field, damaged) in [
        ("template", json!("a text")),
        ("template", json!([])),
        ("template", json!({"metadata": {"annotations": "a text"}})),
        ("template", json!({"spec": "a text"})),
        ("template", json!({"spec": {"containers": ["a text"]}})),
        ("claims", json!({})),
    ] {
        let mut written = json!(last);
        written[field] = damaged;
        set["metadata"]["annotations"][names::RENDERED] = written.to_string().into();
        let anew = children(&table, &shipped(), Rendered::of(&set));
        assert_eq!(anew.stateful_set(), before.stateful_set(), "{written}");
    }
}

/// What a newer operator renders and how it hashes is not known here: it is stood for by hashes of another making, and by what it writes beside them.
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
fn pods_that_read_another_config_map_are_kept_until_the_resource_changes() {
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
    // They are told of nothing, not even of how many they are.
    table.metadata.generation = Some(4);
    table.spec.server.as_mut().unwrap().replicas = 5;
    let anew = rendered(&children(&table, &shipped(), Some(kept)), "manuals");
    assert!(mounts_config_map(&anew.template, "manuals-config-v1"));
}
