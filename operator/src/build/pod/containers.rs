//! The two containers: what they are started with, what they mount, and how they are asked whether they live.

use serde_json::{Value, json};
use vdt_crds::{PodTemplate, Quantity, VolumeType};

use super::{
    resources::{in_bytes, resources},
    state,
};
use crate::{
    build::{
        ENDPOINT_SECONDS, References, SERVER_SECONDS, Server, config,
        network::{ADMIN_PORT, DATA_PORT},
        volumes::{self, Volumes},
    },
    names,
};

/// Memory of the front door without its cache's memory tier, bytes: what it holds for clients that do not take it (256 MiB), what is read ahead
/// (64 MiB) and fetched (64 MiB), and itself.
const SIDECAR_MEMORY: u64 = 512 << 20;
const SERVER_MEMORY: &str = "256Mi";
const SERVER_MEMORY_LIMIT: &str = "1Gi";
/// Of [`SERVER_SECONDS`] those for bodies, which nobody reads any more; the others are for the commit under way.
const SERVER_DRAIN_SECONDS: u32 = SERVER_SECONDS - 2;
/// A readiness probe is held so long, milliseconds; shorter than its timeout.
const READY_WAIT_MS: u32 = 1500;

/// The server, as native sidecar.
pub(super) fn server(
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
        format!("--state={}", state::location(spec.state.as_ref())),
        format!("--secrets-dir={}", volumes::SECRETS),
        format!("--scratch={}", volumes::SCRATCH),
        format!("--drain-seconds={SERVER_DRAIN_SECONDS}"),
    ];
    let mut env = vec![json!({"name": "VDT_LOG", "value": "info"})];
    env.extend(spec.state.iter().flat_map(state::env));
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

/// The front door, as main container.
pub(super) fn sidecar(server: &Server<'_>, volumes: &Volumes, extra: &PodTemplate) -> Value {
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
        // In both families: the kubelet and peers come by the cluster's own, which may be IPv6.
        format!("--listen=[::]:{DATA_PORT}"),
        format!("--admin-listen=[::]:{ADMIN_PORT}"),
        // The kubelet has waited before it says that the pod ends.
        "--lame-duck-seconds=0".to_owned(),
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

fn container_security() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    })
}

/// The user's variables win: those that must not are refused (`podTemplate.env`).
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
