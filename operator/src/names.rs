//! Names, labels and annotations: everything that finds an object again.
//!
//! A resource's name has at most 40 characters; suffixes have at most 12, so that every name fits a label. A server is a group of pods; today it has
//! the name of the one table that it serves, and nothing but that says so.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Writes children, and nothing else.
pub(crate) const FIELD_MANAGER: &str = "vdt-operator";
/// Writes status, and nothing else.
pub(crate) const STATUS_MANAGER: &str = "vdt-operator/status";

/// Label: what the object is part of, the same for all children of all tables.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`].
pub(crate) const OPERATOR: &str = "vdt-operator";
/// Label: the server that an object belongs to.
pub(crate) const INSTANCE: &str = "app.kubernetes.io/instance";

/// Annotation of children: SHA-256 of what was applied. Tells a field that is no longer wanted, which a comparison of fields does not.
pub(crate) const APPLIED: &str = "vdt.io/applied";
/// Annotation of the ConfigMap that pods read: the operator that acts upon the table, by the namespace and the name of its lease.
pub(crate) const ACTING: &str = "vdt.io/operator";
/// Annotation of StatefulSets: the pod template as last rendered, and what it was made from.
pub(crate) const RENDERED: &str = "vdt.io/rendered";
/// Annotation of pods: SHA-256 of their template without CPU and memory, which change in place.
pub(crate) const TEMPLATE_HASH: &str = "vdt.io/template-hash";
/// Annotation of pods: the CPU and memory that they were last asked for. Tells what is wanted anew from what admission or an autoscaler made of it, and a limit
/// that is no longer wanted from one that a LimitRange set.
pub(crate) const ASKED: &str = "vdt.io/asked";
/// Annotation of pods: SHA-256 of what their processes read of the manifests and do not follow while they run.
pub(crate) const CONFIG_HASH: &str = "vdt.io/config-hash";
/// Annotation of pods: changes whenever a mounted Secret or ConfigMap did. Any change of a pod makes the kubelet bring its volumes up to date at once.
pub(crate) const RELOAD: &str = "vdt.io/reload";
/// Annotation of a VirtualTable: the operator writes nothing but status while it is `true`. For emergencies; `spec.suspend` is for everything else.
pub(crate) const PAUSED: &str = "vdt.io/paused";
/// Annotation of a cache claim: when the Node that it is pinned to was deleted, RFC 3339.
pub(crate) const NODE_LOST: &str = "vdt.io/node-lost-at";
/// Label of claims: what they hold.
pub(crate) const CLAIM: &str = "vdt.io/claim";
/// Value of [`CLAIM`] for caches, which may be deleted.
pub(crate) const CLAIM_CACHE: &str = "cache";
/// Value of [`CLAIM`] for states, which may not.
pub(crate) const CLAIM_STATE: &str = "state";

/// Container with the front door.
pub(crate) const SIDECAR: &str = "sidecar";
/// Native sidecar with the server.
pub(crate) const SERVER: &str = "server";

/// Name of the claim template and the volume of the cache's disk tier.
pub(crate) const CACHE_VOLUME: &str = "cache";
/// Annotation by which Argo CD is told how to treat an object: one that it takes for a part of an application, and does not find in Git, it may delete. It
/// takes for one what has the name of the application as its instance label.
pub(crate) const ARGO_SYNC_OPTIONS: &str = "argocd.argoproj.io/sync-options";
/// Value of [`ARGO_SYNC_OPTIONS`] of what must stay.
pub(crate) const ARGO_KEEPS: &str = "Prune=false,Delete=false";

/// Version of the format of the ConfigMap. It is part of its name, so that a pod never reads a format that it does not know.
pub(crate) const CONFIG_FORMAT: &str = "v1";

/// Selects the pods of a server. Immutable in a StatefulSet, so it holds what never changes.
pub(crate) fn selector(server: &str) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("app.kubernetes.io/name", "vdt".to_owned()),
        ("app.kubernetes.io/component", "server".to_owned()),
        (INSTANCE, server.to_owned()),
    ])
}

/// The selector as `kubectl --selector` takes it.
pub(crate) fn selector_text(server: &str) -> String {
    selector(server)
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(",")
}

/// Labels of every child.
pub(crate) fn labels(server: &str) -> Value {
    let mut labels = json!(selector(server));
    labels["app.kubernetes.io/part-of"] = "vdt".into();
    labels[MANAGED_BY] = OPERATOR.into();
    labels
}

/// The ConfigMap with the manifests that the pods serve.
pub(crate) fn config(server: &str) -> String {
    format!("{server}-config-{CONFIG_FORMAT}")
}

/// The headless Service.
pub(crate) fn peers(server: &str) -> String {
    format!("{server}-peers")
}

/// The Secret that cert-manager fills.
pub(crate) fn certificate(server: &str) -> String {
    format!("{server}-tls")
}

/// The claim of the state that the operator makes.
pub(crate) fn state_claim(server: &str) -> String {
    format!("{server}-state")
}

/// A pod of the StatefulSet.
pub(crate) fn pod(server: &str, ordinal: u32) -> String {
    format!("{server}-{ordinal}")
}

/// Which of its StatefulSet's pods one of this name is; none if it is not one.
pub(crate) fn ordinal(server: &str, pod: &str) -> Option<u32> {
    let ordinal = pod.strip_prefix(server)?.strip_prefix('-')?.parse().ok()?;
    // No sign and no zeros before it.
    (self::pod(server, ordinal) == pod).then_some(ordinal)
}

/// The VirtualTable that a child belongs to, by its label.
pub(crate) fn server_of(labels: Option<&BTreeMap<String, String>>) -> Option<&str> {
    labels?.get(INSTANCE).map(String::as_str)
}

/// Says whether an object is labelled as a child of a server that an operator made.
pub(crate) fn is_labelled(labels: &BTreeMap<String, String>, server: &str) -> bool {
    let is = |name: &str, value: &str| labels.get(name).is_some_and(|found| found == value);
    is(INSTANCE, server) && is(MANAGED_BY, OPERATOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_of_a_set_has_its_name_and_a_number() {
        for ordinal in [0, 7, 255] {
            assert_eq!(super::ordinal("t", &pod("t", ordinal)), Some(ordinal));
        }
        for other in [
            "t",
            "t-",
            "t-a",
            "t-01",
            "t-+1",
            "t-1-2",
            "t-debug-1",
            "other-1",
            "tt-1",
            "t-99999999999",
        ] {
            assert_eq!(super::ordinal("t", other), None, "{other}");
        }
    }

    #[test]
    fn the_longest_name_leaves_room_for_every_suffix() {
        let longest = "a".repeat(40);
        for name in [
            config(&longest),
            peers(&longest),
            certificate(&longest),
            state_claim(&longest),
            format!("{CACHE_VOLUME}-{longest}-255"),
        ] {
            // 52 characters are what a StatefulSet's revision label leaves of 63.
            assert!(name.len() <= 52, "{name}");
        }
        assert_eq!(
            selector_text("manuals"),
            "app.kubernetes.io/component=server,app.kubernetes.io/instance=manuals,app.kubernetes.io/name=vdt"
        );
    }
}
