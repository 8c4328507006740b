//! Whether a resource can be acted upon at all.
//!
//! The API server has refused most of what is wrong, by the same rules. What remains: objects that were stored by an older definition, what this version
//! does not build, and what only a cluster knows, such as whether a change would drop caches, or a newer operator rendered the pods.

use serde_json::Value;
use vdt_crds::{
    CachePolicy, Profile, Server, VirtualTable, VolumeType, status::reason, unsupported, validate,
};

use crate::{build, names};

/// Why nothing will change until somebody acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Reason of the conditions, in CamelCase.
    pub(crate) reason: &'static str,
    /// Message for people; names the field.
    pub(crate) message: String,
}

/// Reason: the change would make more caches cold at once than `rollout.maxUnavailable`.
pub(crate) const WOULD_DROP_CACHE: &str = "WouldDropCache";

/// Longest message of a condition that is written, in characters.
const MAX_MESSAGE_CHARS: usize = 1024;

/// Returns why the resource cannot be acted upon, if so.
pub(crate) fn check(table: &VirtualTable) -> Option<Refusal> {
    let refusal = |reason, violations: Vec<vdt_crds::Violation>| {
        let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
        (!lines.is_empty()).then(|| Refusal {
            reason,
            message: shorten(&lines.join("; ")),
        })
    };
    refusal(reason::INVALID_SPEC, validate(table, Profile::Cluster))
        .or_else(|| refusal(reason::UNSUPPORTED, unsupported(table)))
}

/// Returns why a change of the cache's volume is refused, if so. `has_claims`: the StatefulSet that exists makes claims for caches.
pub(crate) fn check_caches(server: &Server, has_claims: bool, replicas: i64) -> Option<Refusal> {
    let drops = has_claims && server.cache.disk.volume.kind != VolumeType::PersistentVolumeClaim;
    let preserves = server.rollout.cache_policy == CachePolicy::Preserve;
    (drops && preserves && replicas > i64::from(server.rollout.max_unavailable)).then(|| Refusal {
        reason: WOULD_DROP_CACHE,
        message: format!(
            "spec.server.cache.disk.volume.type: changing it drops the caches of all {replicas} pods, more than spec.server.rollout.maxUnavailable; set spec.server.rollout.cachePolicy to Discard, or change it back"
        ),
    })
}

/// Returns why nothing is done about a server whose pods a newer operator rendered in a format that this one does not read. `config_map` holds the
/// template as last rendered.
pub(crate) fn check_template(server: &str, config_map: &Value) -> Option<Refusal> {
    build::newer_template(config_map).map(|version| Refusal {
        reason: reason::UNSUPPORTED,
        message: format!(
            "operator {version} rendered the pods, in a format that this one ({}) does not read; nothing is changed. Run that version or a later one again, or delete ConfigMap {} to have this one replace the pods",
            env!("CARGO_PKG_VERSION"),
            names::template(server)
        ),
    })
}

/// Cuts a message at a bound, between characters.
pub(crate) fn shorten(message: &str) -> String {
    match message.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}...", &message[..end]),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_resources_are_refused_and_name_the_field() {
        let bad = include_bytes!("../../crds/examples/bad/replicas-ephemeral.yaml");
        let table = vdt_crds::parse(bad).unwrap().remove(0);
        let refusal = check(&table).unwrap();
        assert_eq!(refusal.reason, "InvalidSpec");
        assert!(
            refusal
                .message
                .starts_with("spec.server.replicas: more than one replica")
        );
        let good = include_bytes!("../../crds/examples/good/minimal.yaml");
        assert_eq!(check(&vdt_crds::parse(good).unwrap().remove(0)), None);
    }

    #[test]
    fn dropping_more_caches_than_may_be_unavailable_is_refused() {
        let mut server = Server::default();
        assert_eq!(check_caches(&server, false, 3), None);
        assert_eq!(check_caches(&server, true, 1), None);
        let refusal = check_caches(&server, true, 2).unwrap();
        assert!(
            refusal
                .message
                .contains("spec.server.cache.disk.volume.type")
        );
        server.rollout.cache_policy = CachePolicy::Discard;
        assert_eq!(check_caches(&server, true, 2), None);
        server.rollout.cache_policy = CachePolicy::Preserve;
        server.cache.disk.volume.kind = VolumeType::PersistentVolumeClaim;
        assert_eq!(check_caches(&server, true, 2), None);
    }

    #[test]
    fn messages_are_cut_between_characters() {
        assert_eq!(shorten("short"), "short");
        let long = shorten(&"ä".repeat(3000));
        assert_eq!(long.chars().count(), MAX_MESSAGE_CHARS + 3);
    }
}
