//! The claim of a state: it outlives its table, so it only grows, and nothing deletes it.

use k8s_openapi::jiff::Timestamp;
use kube::{ResourceExt, api::DynamicObject};
use serde_json::json;

use super::Problem;
use crate::{
    apply::{ApplyError, Cluster, merge},
    build::{Child, Kind},
    names,
};

/// Reason: a claim that was there before is of another storage class.
const CLAIM_DIFFERS: &str = "ClaimDiffers";
/// Reason: the claim of a state was expanded, and its file system waits to be mounted again. The claim's own condition is called so.
const RESIZE_PENDING: &str = "FileSystemResizePending";

/// The file system of a volume that can grow while it is mounted has grown within this: a kubelet looks every minute or so.
const RESIZE_MAX_SECONDS: i64 = 300;

impl Cluster<'_> {
    /// Looks after the claim of a state that exists. It outlives its table and may have been made larger by hand, so it is never written as a whole.
    pub(in crate::apply) async fn keep_state(
        &self,
        child: &Child,
        claim: &DynamicObject,
    ) -> Result<Option<Problem>, ApplyError> {
        self.keep_from_argo(claim).await;
        let wanted = &child.object["spec"];
        let capacity = wanted["resources"]["requests"]["storage"].as_str();
        if let Some(problem) = self.grow(claim, capacity.unwrap_or_default()).await? {
            return Ok(Some(problem));
        }
        // Without pods nobody has it mounted: it grows when one comes.
        if waits_for_mount(claim, Timestamp::now()) && !self.seen_pods().is_empty() {
            return Ok(Some(Problem {
                reason: RESIZE_PENDING,
                message: format!(
                    "{}: its volume is larger, and its file system will be when it is mounted again: kubectl -n {} delete pod {}",
                    child.name,
                    self.namespace,
                    names::pod(self.server, 0)
                ),
            }));
        }
        // Unset is whatever class the cluster gave the claim when it was made.
        let (class, has) = (
            wanted["storageClassName"].as_str(),
            claim.data["spec"]["storageClassName"].as_str(),
        );
        Ok((class.is_some() && class != has).then(|| Problem {
            reason: CLAIM_DIFFERS,
            message: format!(
                "{}: its storage class is {}, which no claim can change; delete the VirtualTable, whose claim stays, and create it again with spec.server.state.claim.storageClassName set to that",
                child.name,
                has.unwrap_or("unset"),
            ),
        }))
    }

    /// Has Argo CD leave a claim alone that was made before claims said so. What fails is tried again with the next look, and holds nothing up.
    async fn keep_from_argo(&self, claim: &DynamicObject) {
        let says = claim.annotations().get(names::ARGO_SYNC_OPTIONS);
        if says.is_some_and(|says| says == names::ARGO_KEEPS) {
            return;
        }
        let annotations = json!({names::ARGO_SYNC_OPTIONS: names::ARGO_KEEPS});
        let patch = json!({"metadata": {"annotations": annotations}});
        let claims = self.api(Kind::PersistentVolumeClaim);
        if let Err(error) = merge(&claims, &claim.name_any(), &patch).await {
            tracing::debug!(claim = claim.name_any(), %error, "Argo CD is not told to leave it alone");
        }
    }
}

/// Says whether a volume is larger than its file system, and has been for longer than that takes where it is done while it is mounted.
fn waits_for_mount(claim: &DynamicObject, now: Timestamp) -> bool {
    let conditions = claim.data["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| {
        let since = condition["lastTransitionTime"].as_str();
        let since: Option<Timestamp> = since.and_then(|since| since.parse().ok());
        condition["type"] == RESIZE_PENDING
            && condition["status"] == "True"
            && since.is_none_or(|since| now.as_second() - since.as_second() >= RESIZE_MAX_SECONDS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_grows_while_it_is_mounted_has_its_time() {
        let waits = |kind: &str, status: &str, since: Option<&str>, now: &str| {
            let condition = json!({"type": kind, "status": status, "lastTransitionTime": since});
            let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {}, "status": {"conditions": [condition]}});
            let claim: DynamicObject = serde_json::from_value(claim).unwrap();
            waits_for_mount(&claim, now.parse().unwrap())
        };
        let since = Some("2026-11-30T12:00:00Z");
        let (soon, late) = ("2026-11-30T12:04:59Z", "2026-11-30T12:05:00Z");
        assert!(!waits(RESIZE_PENDING, "True", since, soon));
        assert!(waits(RESIZE_PENDING, "True", since, late));
        assert!(waits(RESIZE_PENDING, "True", None, soon));
        assert!(!waits(RESIZE_PENDING, "False", since, late));
        assert!(!waits("Resizing", "True", since, late));
    }
}
