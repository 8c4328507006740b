//! What of `spec.server` only the operator acts upon. Pods are given it, for they are given the manifest as it is written, and nothing in them depends on it:
//! a change of it alone replaces no pod, and no running process waits for its next start because of it.
//!
//! | field of `spec.server` | what the operator does by it |
//! |---|---|
//! | `tls.issuerRef` | has cert-manager issue the certificate, whose Secret pods read again when it changes |
//! | `cache.disk.volume.nodeLossGraceSeconds` | deletes the claim of a node that is gone |
//! | `state.claim.capacity`, `state.claim.storageClassName` | makes the state's claim, and expands it |
//!
//! The sections here are those that pods are made from or compare. Everything else of them counts as the pods', a new field too, until it stands in this
//! table: a roll too many is better than one too few. So does `cache.disk.volume.storageClassName`, for another class is another claim.

use crate::spec::{Cache, State, Tls};

impl Tls {
    /// Returns the section without what only the operator acts upon.
    #[must_use]
    pub fn for_pods(&self) -> Self {
        Self {
            issuer_ref: None,
            ..self.clone()
        }
    }
}

impl Cache {
    /// Returns the section without what only the operator acts upon.
    #[must_use]
    pub fn for_pods(&self) -> Self {
        let mut section = self.clone();
        section.disk.volume.node_loss_grace_seconds = None;
        section
    }
}

impl State {
    /// Returns the section without what only the operator acts upon.
    #[must_use]
    pub fn for_pods(&self) -> Self {
        let mut section = self.clone();
        if let Some(claim) = &mut section.claim {
            claim.capacity = None;
            claim.storage_class_name = None;
        }
        section
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;

    /// Paths of everything that is no map.
    fn leaves(path: &str, value: &Value) -> BTreeSet<String> {
        match value {
            Value::Object(fields) => fields
                .iter()
                .flat_map(|(name, value)| leaves(&format!("{path}.{name}"), value))
                .collect(),
            _ => [path.to_owned()].into(),
        }
    }

    #[test]
    fn what_is_left_out_is_what_the_table_names() {
        let tls = json!({
            "mode": "CertManager",
            "secretRef": {"name": "tls"},
            "issuerRef": {"name": "ca", "kind": "Issuer"},
        });
        let cache = json!({
            "memory": {"capacity": "2Gi"},
            "disk": {
                "capacity": "30Gi",
                "highWatermarkPercent": 70,
                "lowWatermarkPercent": 60,
                "volume": {"type": "PersistentVolumeClaim", "storageClassName": "nvme", "nodeLossGraceSeconds": 5},
            },
            "warmup": {"mode": "None", "timeoutSeconds": 1},
        });
        let state = json!({
            "type": "Claim",
            "s3": {"bucket": "state"},
            "claim": {"claimName": "mine", "capacity": "2Gi", "storageClassName": "slow"},
        });
        let before = json!({"tls": tls, "cache": cache, "state": state});
        let (tls, cache, state): (Tls, Cache, State) = (
            serde_json::from_value(tls).unwrap(),
            serde_json::from_value(cache).unwrap(),
            serde_json::from_value(state).unwrap(),
        );
        let after =
            json!({"tls": tls.for_pods(), "cache": cache.for_pods(), "state": state.for_pods()});
        let (before, after) = (leaves("", &before), leaves("", &after));
        let left_out: Vec<&str> = before.difference(&after).map(String::as_str).collect();
        assert_eq!(
            left_out,
            [
                ".cache.disk.volume.nodeLossGraceSeconds",
                ".state.claim.capacity",
                ".state.claim.storageClassName",
                ".tls.issuerRef.kind",
                ".tls.issuerRef.name",
            ]
        );
    }
}
