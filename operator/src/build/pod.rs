//! The pod template: the front door as main container, the server as native sidecar, both without any privilege.
//!
//! The order matters. A native sidecar starts first and stops last, so the front door drains while its origin still lives; the other way round reads
//! failed in every roll. A stopping pod first sleeps, until its address has left all endpoints, then drains, then ends: the grace period is the sum.
//!
//! Neither has a startup probe. The front door waits for the server by itself and answers `/healthz` meanwhile; a server that is started again leaves the pod
//! ready, for what the cache holds is served without it.

use serde_json::{Map, Value, json};
use vdt_crds::{ContainerResources, PodTemplate, Quantity, State, StateType, VolumeType};

use super::{
    ENDPOINT_SECONDS, References, STOP_SECONDS, Server, config,
    network::{ADMIN_PORT, DATA_PORT},
    volumes::{self, Volumes},
};
use crate::names;

/// User, group and group of files of the pods: nobody that a distribution knows.
const USER: i64 = 65532;
/// Memory of the front door without its cache's memory tier, bytes.
const SIDECAR_MEMORY: u64 = 256 << 20;
const SERVER_MEMORY: &str = "256Mi";
const SERVER_MEMORY_LIMIT: &str = "1Gi";
/// A readiness probe is held so long, milliseconds; shorter than its timeout.
const READY_WAIT_MS: u32 = 1500;
const CPU: &str = "100m";

/// Returns the pod template, without the annotation of its hash.
pub(super) fn template(server: &Server<'_>, references: &References) -> Value {
    let volumes = Volumes::of(server, references);
    let spec = server.spec;
    let extra = spec.pod_template.clone().unwrap_or_default();
    let mut pod = json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "serviceAccountName": spec.service_account_name.as_deref().unwrap_or(server.name),
        "terminationGracePeriodSeconds": grace_seconds(spec.rollout.drain_seconds),
        "securityContext": pod_security(&extra),
        "topologySpreadConstraints": spread(server, &extra),
        "initContainers": [server_container(server, references, &volumes, &extra)],
        "containers": [sidecar_container(server, &volumes, &extra)],
        "volumes": volumes.volumes,
    });
    if let Some(images) = &spec.images
        && !images.pull_secrets.is_empty()
    {
        let names: Vec<Value> = images
            .pull_secrets
            .iter()
            .map(|secret| json!({"name": secret.name}))
            .collect();
        pod["imagePullSecrets"] = names.into();
    }
    add_extra(&mut pod, &extra);
    json!({
        "metadata": {
            "labels": pod_labels(server, &extra),
            "annotations": pod_annotations(&volumes, &extra),
        },
        "spec": pod,
    })
}

/// Seconds from the first sign of an end to the kill.
pub(super) fn grace_seconds(drain_seconds: u32) -> u32 {
    ENDPOINT_SECONDS + drain_seconds + STOP_SECONDS
}

fn pod_labels(server: &Server<'_>, extra: &PodTemplate) -> Value {
    let mut labels = json!(extra.labels);
    merge(&mut labels, names::labels(server.name));
    labels
}

fn pod_annotations(volumes: &Volumes, extra: &PodTemplate) -> Value {
    let mut annotations = json!(extra.annotations);
    let ours = json!({
        "kubectl.kubernetes.io/default-container": names::SIDECAR,
        "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": volumes.disposable.join(","),
    });
    merge(&mut annotations, ours);
    annotations
}

/// Fields of `from` win.
fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}

fn add_extra(pod: &mut Value, extra: &PodTemplate) {
    if !extra.node_selector.is_empty() {
        pod["nodeSelector"] = json!(extra.node_selector);
    }
    if !extra.tolerations.is_empty() {
        pod["tolerations"] = json!(extra.tolerations);
    }
    if let Some(name) = &extra.priority_class_name {
        pod["priorityClassName"] = name.as_str().into();
    }
    if let Some(name) = &extra.runtime_class_name {
        pod["runtimeClassName"] = name.as_str().into();
    }
    if let Some(affinity) = &extra.affinity {
        pod["affinity"] = Value::Object(affinity.clone());
    }
}

fn pod_security(extra: &PodTemplate) -> Value {
    let wanted = extra.security_context.clone().unwrap_or_default();
    let mut context = json!({
        "runAsNonRoot": true,
        "runAsUser": wanted.run_as_user.unwrap_or(USER),
        "runAsGroup": wanted.run_as_group.unwrap_or(USER),
        "fsGroup": wanted.fs_group.unwrap_or(USER),
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    if !wanted.supplemental_groups.is_empty() {
        context["supplementalGroups"] = json!(wanted.supplemental_groups);
    }
    context
}

fn container_security() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    })
}

/// Over zones and hosts, where the user says nothing else. A preference: a pod that runs beside another one is better than one that waits.
fn spread(server: &Server<'_>, extra: &PodTemplate) -> Value {
    if !extra.topology_spread_constraints.is_empty() {
        return json!(extra.topology_spread_constraints);
    }
    let over = |key: &str| {
        json!({
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": names::selector(server.name)},
        })
    };
    json!([
        over("topology.kubernetes.io/zone"),
        over("kubernetes.io/hostname")
    ])
}

fn server_container(
    server: &Server<'_>,
    references: &References,
    volumes: &Volumes,
    extra: &PodTemplate,
) -> Value {
    let spec = server.spec;
    let image = spec
        .images
        .as_ref()
        .and_then(|images| images.server.as_ref());
    let wanted = spec
        .resources
        .as_ref()
        .and_then(|resources| resources.server.as_ref());
    let args = vec![
        "serve".to_owned(),
        format!("--manifests={}", volumes::TABLES),
        format!("--origin-socket={}", volumes::SOCKET),
        format!("--state={}", state_location(spec.state.as_ref())),
        format!("--secrets-dir={}", volumes::SECRETS),
        format!("--scratch={}", volumes::SCRATCH),
    ];
    let mut env = vec![json!({"name": "VDT_LOG", "value": "info"})];
    env.extend(spec.state.iter().flat_map(state_env));
    if !references.claims.is_empty() {
        env.push(json!({"name": "VDT_CLAIMS_DIR", "value": volumes::CLAIMS}));
    }
    let mut container = json!({
        "name": names::SERVER,
        "image": image.unwrap_or(&server.shipped.server_image),
        "restartPolicy": "Always",
        "args": args,
        "env": env_with(env, extra),
        "resources": resources(wanted, SERVER_MEMORY, SERVER_MEMORY_LIMIT),
        "securityContext": container_security(),
        "volumeMounts": volumes.server,
    });
    add_pull_policy(&mut container, server);
    container
}

fn sidecar_container(server: &Server<'_>, volumes: &Volumes, extra: &PodTemplate) -> Value {
    let spec = server.spec;
    let image = spec
        .images
        .as_ref()
        .and_then(|images| images.sidecar.as_ref());
    let wanted = spec
        .resources
        .as_ref()
        .and_then(|resources| resources.sidecar.as_ref());
    let drain = spec.rollout.drain_seconds;
    let mut args = vec![
        format!("--origin=unix:{}", volumes::SOCKET),
        format!("--config={}/{}", volumes::TABLES, config::MANIFESTS),
        format!("--secrets-dir={}", volumes::SECRETS),
        format!("--listen=0.0.0.0:{DATA_PORT}"),
        format!("--admin-listen=0.0.0.0:{ADMIN_PORT}"),
        format!("--drain-seconds={drain}"),
        format!("--admin-keys={}/{}", volumes::ADMIN, config::ADMIN_KEYS),
    ];
    if spec.cache.disk.volume.kind != VolumeType::None {
        args.push(format!("--cache-dir={}", volumes::CACHE));
    }
    let memory = SIDECAR_MEMORY.saturating_add(spec.cache.memory.capacity.bytes());
    let resources = match wanted {
        None => resources(None, &in_bytes(memory), &in_bytes(memory)),
        Some(wanted) => {
            let mut wanted = wanted.clone();
            for part in [&mut wanted.requests, &mut wanted.limits] {
                if let Some(written) = part.get_mut("memory")
                    && let Ok(quantity) = written.parse::<Quantity>()
                {
                    let sum = quantity
                        .bytes()
                        .saturating_add(spec.cache.memory.capacity.bytes());
                    *written = in_bytes(sum);
                }
            }
            resources(Some(&wanted), &in_bytes(memory), &in_bytes(memory))
        }
    };
    let probe = |path: &str, period: u32, failures: u32| {
        json!({
            "httpGet": {"path": path, "port": "admin"},
            "periodSeconds": period,
            "failureThreshold": failures,
            "timeoutSeconds": 2,
        })
    };
    let mut container = json!({
        "name": names::SIDECAR,
        "image": image.unwrap_or(&server.shipped.sidecar_image),
        "args": args,
        "env": env_with(vec![json!({"name": "VDT_LOG", "value": "info"})], extra),
        "ports": [
            {"name": "data", "containerPort": DATA_PORT, "protocol": "TCP"},
            {"name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP"},
        ],
        "resources": resources,
        "securityContext": container_security(),
        // Answered when the door opens, not when it is asked next: a door that was started again is back as soon as it can be.
        "readinessProbe": probe(&format!("/readyz?wait_ms={READY_WAIT_MS}"), 1, 2),
        "livenessProbe": probe("/healthz", 10, 6),
        "volumeMounts": volumes.sidecar,
    });
    container["lifecycle"] = json!({"preStop": {"sleep": {"seconds": ENDPOINT_SECONDS}}});
    add_pull_policy(&mut container, server);
    container
}

fn add_pull_policy(container: &mut Value, server: &Server<'_>) {
    if let Some(policy) = &server.shipped.pull_policy {
        container["imagePullPolicy"] = policy.as_str().into();
    }
}

/// Where the state is, as `vdt serve --state` takes it.
fn state_location(state: Option<&State>) -> String {
    let url = |scheme: &str, bucket: &str, prefix: Option<&String>| {
        format!("{scheme}://{bucket}/{}", prefix.map_or("", String::as_str))
    };
    let Some(state) = state else {
        return volumes::STATE.to_owned();
    };
    match state.kind {
        StateType::S3 => state
            .s3
            .as_ref()
            .map(|s3| url("s3", &s3.bucket, s3.prefix.as_ref())),
        StateType::Gcs => state
            .gcs
            .as_ref()
            .map(|gcs| url("gs", &gcs.bucket, gcs.prefix.as_ref())),
        StateType::Azure => state.azure.as_ref().map(|azure| {
            url(
                "az",
                &format!("{}/{}", azure.account, azure.container),
                azure.prefix.as_ref(),
            )
        }),
        StateType::Claim | StateType::Ephemeral => None,
    }
    .unwrap_or_else(|| volumes::STATE.to_owned())
}

/// How the state's bucket is reached. Values of Secrets are named, never written.
fn state_env(state: &State) -> Vec<Value> {
    let Some(s3) = state.s3.as_ref().filter(|_| state.kind == StateType::S3) else {
        return Vec::new();
    };
    let mut env = Vec::new();
    let mut set = |name: &str, value: &str| env.push(json!({"name": name, "value": value}));
    if let Some(region) = &s3.region {
        set("AWS_REGION", region);
    }
    if let Some(endpoint) = &s3.endpoint {
        set("AWS_ENDPOINT_URL", endpoint);
        if endpoint.starts_with("http://") {
            set("AWS_ALLOW_HTTP", "true");
        }
    }
    if !s3.is_path_style() {
        set("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true");
    }
    if let Some(bundle) = &s3.ca_bundle {
        let file = format!(
            "{}/configmap-{}/{}",
            volumes::SECRETS,
            bundle.name,
            bundle.key
        );
        set("VDT_STATE_CA_BUNDLE", &file);
    }
    if s3.is_anonymous() {
        set("AWS_SKIP_SIGNATURE", "true");
    }
    if let Some(credentials) = &s3.credentials {
        for (name, key) in [
            ("AWS_ACCESS_KEY_ID", "accessKeyId"),
            ("AWS_SECRET_ACCESS_KEY", "secretAccessKey"),
            ("AWS_SESSION_TOKEN", "sessionToken"),
        ] {
            let reference =
                json!({"name": credentials.secret_ref.name, "key": key, "optional": true});
            env.push(json!({"name": name, "valueFrom": {"secretKeyRef": reference}}));
        }
    }
    env
}

/// The user's variables win.
fn env_with(ours: Vec<Value>, extra: &PodTemplate) -> Vec<Value> {
    let is_theirs = |name: &Value| {
        extra
            .env
            .iter()
            .any(|variable| name == variable.name.as_str())
    };
    let mut env: Vec<Value> = ours
        .into_iter()
        .filter(|variable| !is_theirs(&variable["name"]))
        .collect();
    env.extend(extra.env.iter().map(|variable| {
        json!({"name": variable.name, "value": variable.value.as_deref().unwrap_or_default()})
    }));
    env
}

/// What the user wants, with defaults where nothing is said.
fn resources(wanted: Option<&ContainerResources>, memory: &str, limit: &str) -> Value {
    let wanted = wanted.cloned().unwrap_or_default();
    let mut requests: Map<String, Value> = Map::new();
    let mut limits: Map<String, Value> = Map::new();
    let text = |value: &String| Value::from(value.as_str());
    requests.extend(
        wanted
            .requests
            .iter()
            .map(|(name, value)| (name.clone(), text(value))),
    );
    limits.extend(
        wanted
            .limits
            .iter()
            .map(|(name, value)| (name.clone(), text(value))),
    );
    limits.entry("memory").or_insert_with(|| limit.into());
    // A request above its limit is refused: where only a limit is written, it is the request.
    let floor = wanted.limits.get("memory").map_or(memory, String::as_str);
    requests.entry("memory").or_insert_with(|| floor.into());
    let floor = wanted.limits.get("cpu").map_or(CPU, String::as_str);
    requests.entry("cpu").or_insert_with(|| floor.into());
    json!({"requests": requests, "limits": limits})
}

/// Writes bytes as the API server would: with the largest power of 1024 that leaves a whole number.
fn in_bytes(bytes: u64) -> String {
    let mut number = bytes;
    for suffix in ["", "Ki", "Mi", "Gi", "Ti", "Pi"] {
        if number == 0 || !number.is_multiple_of(1024) || suffix == "Pi" {
            return format!("{number}{suffix}");
        }
        number /= 1024;
    }
    number.to_string()
}
