//! Which container sees which Secret, and how the server is told of its state.

use super::*;

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
    let server = include_str!("../../../../vdt/store/src/state/bucket.rs");
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
