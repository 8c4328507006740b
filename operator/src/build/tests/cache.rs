//! Where the disk tier of the cache lies.

use super::*;

/// The StatefulSet of the example `design` with this volume.
fn stateful_set(volume: Value) -> Value {
    let mut table = example("design");
    let disk = &mut table.spec.server.as_mut().unwrap().cache.disk;
    disk.volume = serde_json::from_value(volume).unwrap();
    let all = children(&table, &shipped(), None);
    all.stateful_set().unwrap().object.clone()
}

fn cache(set: &Value) -> Value {
    let volumes = set["spec"]["template"]["spec"]["volumes"].as_array();
    let found = volumes
        .unwrap()
        .iter()
        .find(|volume| volume["name"] == "cache");
    found.cloned().unwrap_or_default()
}

#[test]
fn an_ephemeral_volume_is_a_claim_that_comes_and_goes_with_its_pod() {
    let set = stateful_set(json!({"type": "EphemeralVolume", "storageClassName": "nvme"}));
    let mut labels = set["metadata"]["labels"].clone();
    labels["vdt.io/claim"] = "cache".into();
    assert_eq!(
        cache(&set),
        json!({"name": "cache", "ephemeral": {"volumeClaimTemplate": {
            "metadata": {"labels": labels},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "400Gi"}},
                "storageClassName": "nvme",
            },
        }}})
    );
    let pod = &set["spec"]["template"]["spec"];
    let mounts = |container: &Value| container["volumeMounts"].as_array().unwrap().clone();
    let mount = json!({"name": "cache", "mountPath": "/var/cache/vdt"});
    assert!(mounts(&pod["containers"][0]).contains(&mount));
    assert!(!mounts(&pod["initContainers"][0]).contains(&mount));
    let args = pod["containers"][0]["args"].to_string();
    assert!(args.contains("--cache-dir=/var/cache/vdt"), "{args}");
    // Not a claim of the StatefulSet too, which would outlive the pod.
    assert!(set["spec"]["volumeClaimTemplates"].is_null());
    // It is typed as the API has it: nothing of it is a field that nobody knows.
    let typed: StatefulSet = serde_json::from_value(set.clone()).unwrap();
    assert_eq!(cache(&json!(typed)), cache(&set));

    let set = stateful_set(json!({"type": "EphemeralVolume"}));
    let spec = &cache(&set)["ephemeral"]["volumeClaimTemplate"]["spec"];
    assert!(spec["storageClassName"].is_null(), "the cluster's default");
}

#[test]
fn the_disk_tier_lies_where_its_volume_says() {
    let set = stateful_set(json!({"type": "EmptyDir"}));
    assert_eq!(
        cache(&set),
        json!({"name": "cache", "emptyDir": {"sizeLimit": "400Gi"}})
    );
    assert!(set["spec"]["volumeClaimTemplates"].is_null());

    let set = stateful_set(json!({"type": "PersistentVolumeClaim"}));
    assert!(
        cache(&set).is_null(),
        "the StatefulSet adds the volume of its claim"
    );
    assert_eq!(
        set["spec"]["volumeClaimTemplates"][0]["metadata"]["name"],
        "cache"
    );

    let set = stateful_set(json!({"type": "None"}));
    assert!(cache(&set).is_null());
    let args = set["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
    assert!(!args.contains("--cache-dir"), "{args}");
}
