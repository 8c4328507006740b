//! Whether a resource can be acted upon at all.
//!
//! The API server has refused most of what is wrong, by the same rules. What remains: objects that were stored by an older definition, what this version
//! does not build, and what only a cluster knows, such as whether a change would drop caches, or a newer operator rendered the pods.

use serde_json::{Value, json};
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

/// Returns a resource as it is acted upon: without variables of pods that are the operator's, which it may have from before they were refused. Neither
/// pods nor their manifest have them, and what the resource revokes comes through.
pub(crate) fn acted_upon(mut table: VirtualTable) -> VirtualTable {
    let server = table.spec.server.as_mut();
    if let Some(template) = server.and_then(|server| server.pod_template.as_mut()) {
        template.env.retain(|variable| !variable.is_reserved());
    }
    table
}

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
        .or_else(|| {
            let unnameable = unnameable("spec", "", &json!(table.spec))?;
            Some(Refusal {
                reason: reason::INVALID_SPEC,
                message: shorten(&unnameable),
            })
        })
}

/// Returns the first reference by a name that no object can have. No API server can be asked for it: the name is part of the request's path.
fn unnameable(path: &str, field: &str, value: &Value) -> Option<String> {
    let is_word = |part: &str| {
        let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let (first, last) = (part.bytes().next(), part.bytes().last());
        first.is_some_and(is_inner)
            && last.is_some_and(is_inner)
            && part.bytes().all(|byte| is_inner(byte) || byte == b'-')
    };
    let is_name = |name: &str| name.len() <= 253 && name.split('.').all(is_word);
    let check = |path: String, name: &str| {
        (!is_name(name)).then(|| {
            format!("{path}: no object is called {name:?}: lowercase letters, digits, '-' and '.', the first and the last a letter or digit")
        })
    };
    match value {
        Value::Object(fields) if ["secretRef", "caBundle"].contains(&field) => {
            check(format!("{path}.name"), fields.get("name")?.as_str()?)
        }
        Value::Object(fields) => fields
            .iter()
            .find_map(|(field, value)| unnameable(&format!("{path}.{field}"), field, value)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| unnameable(&format!("{path}[{index}]"), "", item)),
        Value::String(name) if field == "claimName" => check(path.to_owned(), name),
        _ => None,
    }
}

/// Returns why a change of the cache's volume is refused, if so. `stateful_set`: the one that exists, or null; `caches`: how many claims of caches there are,
/// also of a table that sleeps.
pub(crate) fn check_caches(
    server: &Server,
    stateful_set: &Value,
    caches: usize,
) -> Option<Refusal> {
    let claims = stateful_set["spec"]["volumeClaimTemplates"].as_array();
    let has_claims = claims.is_some_and(|claims| !claims.is_empty());
    let drops = has_claims && server.cache.disk.volume.kind != VolumeType::PersistentVolumeClaim;
    let preserves = server.rollout.cache_policy == CachePolicy::Preserve;
    (drops && preserves && caches > server.rollout.max_unavailable as usize).then(|| Refusal {
        reason: WOULD_DROP_CACHE,
        message: format!(
            "spec.server.cache.disk.volume.type: changing it drops all {caches} caches, more than spec.server.rollout.maxUnavailable; set spec.server.rollout.cachePolicy to Discard, or change it back"
        ),
    })
}

/// Returns why nothing is done about a server whose pods a newer operator rendered in a format that this one does not read.
pub(crate) fn check_template(server: &str, stateful_set: &Value) -> Option<Refusal> {
    build::newer_template(stateful_set).map(|version| Refusal {
        reason: reason::UNSUPPORTED,
        message: format!(
            "operator {version} rendered the pods, in a format that this one ({}) does not read; nothing is changed. Run that version or a later one again, or take the annotation {} from StatefulSet {server} to have this one replace the pods",
            env!("CARGO_PKG_VERSION"),
            names::RENDERED
        ),
    })
}

/// Cuts a message at a bound.
pub(crate) fn shorten(message: &str) -> String {
    vdt_crds::shorten(message, MAX_MESSAGE_CHARS)
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
    fn variables_that_were_stored_before_they_were_refused_hold_nothing_up() {
        for bad in [
            &include_bytes!("../../crds/examples/bad/our-env-state.yaml")[..],
            include_bytes!("../../crds/examples/bad/our-env-claims.yaml"),
        ] {
            let table = vdt_crds::parse(bad).unwrap().remove(0);
            assert!(check(&table).is_some());
            assert_eq!(check(&acted_upon(table)), None);
        }
    }

    #[test]
    fn a_name_that_no_object_has_is_refused_before_anybody_is_asked_for_it() {
        let refused = |name: &str| {
            let s3 = json!({"bucket": "corp", "credentials": {"secretRef": {"name": name}}});
            let spec = json!({"sources": [{"name": "Not Looked At", "s3": s3}], "claimName": "a"});
            unnameable("spec", "", &spec)
        };
        for name in ["corp-ro", "a", "0.b-c.d"] {
            assert_eq!(refused(name), None);
        }
        for name in ["Corp RO", "", "a/b", "../x", "-a", "a.", "a..b", "a_b", "ä"] {
            let message = refused(name).unwrap();
            assert!(
                message.starts_with("spec.sources[0].s3.credentials.secretRef.name: "),
                "{message}"
            );
        }
        assert!(unnameable("spec.file", "", &json!({"claimName": "A"})).is_some());
    }

    #[test]
    fn dropping_more_caches_than_may_be_unavailable_is_refused() {
        let mut server = Server::default();
        let set = json!({"spec": {"volumeClaimTemplates": [{}]}});
        assert_eq!(check_caches(&server, &Value::Null, 3), None);
        assert_eq!(check_caches(&server, &set, 1), None);
        let refusal = check_caches(&server, &set, 2).unwrap();
        assert!(
            refusal
                .message
                .contains("spec.server.cache.disk.volume.type")
        );
        server.rollout.cache_policy = CachePolicy::Discard;
        assert_eq!(check_caches(&server, &set, 2), None);
        server.rollout.cache_policy = CachePolicy::Preserve;
        server.cache.disk.volume.kind = VolumeType::PersistentVolumeClaim;
        assert_eq!(check_caches(&server, &set, 2), None);
    }
}
