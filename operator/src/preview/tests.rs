use super::*;

fn table() -> VirtualTable {
    let good = include_bytes!("../../../crds/examples/good/minimal.yaml");
    let mut table = vdt_crds::parse(good).unwrap().remove(0);
    let server = table.spec.server.as_mut().unwrap();
    server.replicas = 2;
    // What two pods can share.
    let state = json!({"type": "S3", "s3": {"bucket": "state"}});
    server.state = serde_json::from_value(state).unwrap();
    assert_eq!(validate::check(&table), None);
    table
}

/// A namespace in which `table` runs as an operator of this version made it.
fn running(table: &VirtualTable) -> Live {
    let spec = table.spec.server.as_ref().unwrap();
    let wanted = children(
        table,
        spec,
        &Live::default().shipped(None),
        &Live::default(),
    );
    let find = |kind, name: &str| wanted.find(kind, name).map(|child| child.object.clone());
    let name = table.metadata.name.as_deref().unwrap();
    let set = find(Kind::StatefulSet, name).unwrap();
    let pod = |ordinal: u32| {
        let mut pod = set["spec"]["template"].clone();
        pod["metadata"]["name"] = format!("{name}-{ordinal}").into();
        pod["metadata"]["uid"] = ordinal.to_string().into();
        // As the API server writes quantities.
        let resources = rollout::resources(&pod["spec"]);
        for list in ["initContainers", "containers"] {
            for (index, container) in resources[list].as_array().unwrap().iter().enumerate() {
                pod["spec"][list][index]["resources"] = container["resources"].clone();
            }
        }
        pod["status"] =
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        pod
    };
    Live {
        config: find(Kind::ConfigMap, &Live::config_name(name)),
        pods: (0..spec.replicas).map(pod).collect(),
        stateful_set: Some(set),
    }
}

fn change(edit: impl FnOnce(&mut VirtualTable)) -> Preview {
    let before = table();
    let mut after = before.clone();
    edit(&mut after);
    preview(Some(&before), &after, &running(&before))
}

#[test]
fn a_new_table_makes_everything() {
    let made = preview(None, &table(), &Live::default());
    assert_eq!((made.replicas_before, made.replicas_after), (None, 2));
    assert!(
        made.created
            .iter()
            .any(|child| child.starts_with("StatefulSet "))
    );
    assert!(made.deleted.is_empty() && made.replaced.is_empty());
}

#[test]
fn nothing_follows_from_no_change() {
    let nothing = change(|_| ());
    assert_eq!(nothing.replicas_before, Some(nothing.replicas_after));
    for list in [
        &nothing.replaced,
        &nothing.resized,
        &nothing.created,
        &nothing.deleted,
        &nothing.mounted,
    ] {
        assert_eq!(list, &[""; 0]);
    }
    assert!(!nothing.told && !nothing.set_anew);
}

#[test]
fn a_change_of_the_template_replaces_pods_the_highest_first() {
    let rolled = change(|table| {
        table.spec.server.as_mut().unwrap().service_account_name = Some("other".to_owned());
    });
    let name = table().metadata.name.unwrap();
    assert_eq!(rolled.replaced, [format!("{name}-1"), format!("{name}-0")]);
    assert_eq!(rolled.deleted, [format!("ServiceAccount {name}")]);
    assert_ne!(rolled.template_before, rolled.template_after);
}

#[test]
fn an_image_that_the_resource_no_longer_names_replaces_the_pods() {
    let named = |server: Option<&str>, sidecar: Option<&str>| {
        let mut table = table();
        let images = json!({"server": server, "sidecar": sidecar});
        table.spec.server.as_mut().unwrap().images = serde_json::from_value(images).unwrap();
        table
    };
    let image = |follows: &Preview| {
        follows.template_after["spec"]["initContainers"][0]["image"].to_string()
    };
    let before = named(Some("mine:1"), None);
    let live = running(&before);
    for after in [named(None, None), table()] {
        let follows = preview(Some(&before), &after, &live);
        assert_eq!(follows.replaced.len(), 2);
        assert_eq!(follows.unknown_images, ["server"]);
        assert!(!image(&follows).contains("mine"), "{}", image(&follows));
    }
    // Another one, or the same.
    let follows = preview(Some(&before), &named(Some("mine:2"), None), &live);
    assert_eq!(
        (follows.replaced.len(), image(&follows).as_str()),
        (2, "\"mine:2\"")
    );
    assert_eq!(follows.unknown_images, [""; 0]);
    let follows = preview(Some(&before), &before, &live);
    assert_eq!(follows.replaced, [""; 0]);
    // What the operator brought along for the other container is known still.
    let follows = preview(Some(&before), &named(Some("mine:1"), Some("mine:1")), &live);
    assert_eq!(
        (follows.replaced.len(), follows.unknown_images.len()),
        (2, 0)
    );
    assert_eq!(
        follows.template_before["spec"]["containers"][0]["image"],
        SIDECAR_IMAGE
    );
}

#[test]
fn memory_changes_in_place() {
    let resized = change(|table| {
        let server = table.spec.server.as_mut().unwrap();
        server.resources = serde_json::from_value(
            json!({"sidecar": {"requests": {"memory": "3Gi"}, "limits": {"memory": "3Gi"}}}),
        )
        .unwrap();
    });
    assert_eq!(resized.replaced, [""; 0]);
    assert_eq!(resized.resized.len(), 2);
}

#[test]
fn fewer_replicas_end_the_budget_and_replace_nothing() {
    let fewer = change(|table| table.spec.server.as_mut().unwrap().replicas = 1);
    assert_eq!((fewer.replicas_before, fewer.replicas_after), (Some(2), 1));
    assert!(fewer.deleted[0].starts_with("PodDisruptionBudget "));
    assert_eq!(fewer.replaced, [""; 0]);
}

#[test]
fn what_is_suspended_or_refused_says_so() {
    assert_eq!(
        change(|table| table.spec.suspend = true).held,
        Some("Suspended")
    );
    let refused = change(|table| table.spec.sources.clear()).refused.unwrap();
    assert_eq!(refused.reason, "InvalidSpec");
}

#[test]
fn variables_that_pods_do_not_get_replace_none() {
    let table = table();
    let mut stored = table.clone();
    let server = stored.spec.server.as_mut().unwrap();
    server.pod_template.get_or_insert_default().env = vec![vdt_crds::EnvVar {
        name: "VDT_STATE_REGION".to_owned(),
        value: Some("theirs".to_owned()),
    }];
    let seen = preview(Some(&stored), &stored, &running(&table));
    assert!(seen.refused.is_none());
    assert_eq!(seen.replaced, [""; 0]);
}
