//! The pod template: the front door as main container, the server as native sidecar, both without any privilege.
//!
//! The order matters. A native sidecar starts first and stops last, so the front door drains while its origin still lives; the other way round reads
//! failed in every roll. The grace period is the sum of what a stopping pod does:
//!
//! ```text
//!   sleep (preStop)   its address leaves all endpoints; it serves as ever
//!   drain             the front door: no new connections, bodies end
//!   close             the front door: last writes of the cache
//!   end               the server
//! ```
//!
//! The sleep is the kubelet's and not the front door's own lame duck, which is turned off: while it sleeps the pod is ready, so that where it is the only
//! one kube-proxy still sends to it what comes.
//!
//! Neither has a startup probe. The front door waits for the server by itself and answers `/healthz` meanwhile; a server that is started again leaves the pod
//! ready, for what the cache holds is served without it.

mod containers;
mod resources;
mod state;

use serde_json::{Value, json};
use vdt_crds::{PodSecurity, PodTemplate, VirtualTable};

use super::{
    CLOSE_SECONDS, ENDPOINT_SECONDS, References, SERVER_SECONDS, Server, volumes::Volumes,
};
use crate::names;

/// User, group and group of files of the pods: nobody that a distribution knows.
const USER: i64 = 65532;

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
        "securityContext": pod_security(server, &extra),
        "topologySpreadConstraints": spread(server, &extra),
        "initContainers": [containers::server(server, references, &volumes, &extra)],
        "containers": [containers::sidecar(server, &volumes, &extra)],
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
    ENDPOINT_SECONDS + drain_seconds + CLOSE_SECONDS + SERVER_SECONDS
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

fn pod_security(server: &Server<'_>, extra: &PodTemplate) -> Value {
    let wanted = extra.security_context.clone().unwrap_or_default();
    let mut context = json!({
        "runAsNonRoot": true,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    let default = server.shipped.assign_ids.then_some(USER);
    for (name, id) in ids(&wanted) {
        if let Some(id) = id.or(default) {
            context[name] = id.into();
        }
    }
    if !wanted.supplemental_groups.is_empty() {
        context["supplementalGroups"] = json!(wanted.supplemental_groups);
    }
    context
}

fn ids(wanted: &PodSecurity) -> [(&'static str, Option<i64>); 3] {
    [
        ("runAsUser", wanted.run_as_user),
        ("runAsGroup", wanted.run_as_group),
        ("fsGroup", wanted.fs_group),
    ]
}

/// Reports whether the operator that rendered `template` from `table` gives pods their ids. It does where nothing tells: no template, or a table that names all
/// of them.
pub(crate) fn assigns_ids(template: Option<&Value>, table: Option<&VirtualTable>) -> bool {
    let Some(template) = template else {
        return true;
    };
    let server = table.and_then(|table| table.spec.server.as_ref());
    let extra = server.and_then(|server| server.pod_template.as_ref());
    let wanted = extra.and_then(|extra| extra.security_context.clone());
    let context = &template["spec"]["securityContext"];
    ids(&wanted.unwrap_or_default())
        .into_iter()
        .find(|(_, id)| id.is_none())
        .is_none_or(|(name, _)| !context[name].is_null())
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
