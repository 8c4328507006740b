//! Claims of caches: larger when they should be, gone when nobody needs them, and healed when their node is gone.
//!
//! ```text
//! Node's DELETE event seen, claim bound to a volume of that node, pod cannot be scheduled
//!     -> the claim is marked with the time of the event, so that another operator goes on counting
//!     -> after nodeLossGraceSeconds: claim deleted (uid, version), then the pod (uid, version); both come back elsewhere, cold
//! ```
//!
//! A cache may be deleted, that is why this may be done. A node that is merely not ready, or that was never seen, is not a node that is gone. The
//! claim of a state is never looked at here.

use k8s_openapi::{api::core::v1::PersistentVolume, jiff::Timestamp};
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use vdt_crds::{Server, VolumeType};

use super::{ApplyError, Cluster, delete_if_same, rollout::PodView};
use crate::{build::Kind, names};

/// Default of `nodeLossGraceSeconds`.
const NODE_LOSS_GRACE_SECONDS: u32 = 300;

/// What became of claims.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Claims {
    /// Claims that were deleted because their node is gone.
    pub(crate) healed: Vec<String>,
    /// Seconds until the next one may be.
    pub(crate) wait_seconds: Option<u64>,
    /// A claim that should be larger and cannot be: name, and what the API server says.
    pub(crate) not_grown: Option<(String, String)>,
}

impl Cluster<'_> {
    /// Looks after the claims of caches.
    ///
    /// # Errors
    /// The API server does not answer.
    pub(crate) async fn tend_claims(
        &self,
        spec: &Server,
        pods: &[PodView],
        now: Timestamp,
    ) -> Result<Claims, ApplyError> {
        let mut result = Claims::default();
        let disk = &spec.cache.disk;
        let is_wanted = disk.volume.kind == VolumeType::PersistentVolumeClaim;
        let prefix = format!("{}-{}-", names::CACHE_VOLUME, self.server);
        for claim in
            self.watches
                .children_of(Kind::PersistentVolumeClaim, self.server, self.namespace)
        {
            let name = claim.name_any();
            let is_cache = claim
                .labels()
                .get(names::CLAIM)
                .is_some_and(|holds| holds == names::CLAIM_CACHE);
            // Claims of ephemeral volumes have other names, and belong to their pod.
            let Some(ordinal) = name
                .strip_prefix(&prefix)
                .and_then(|ordinal| ordinal.parse::<u32>().ok())
            else {
                continue;
            };
            if !is_cache || claim.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let pod = pods.iter().find(|pod| pod.ordinal == ordinal);
            if is_wanted {
                if let Some(problem) = self
                    .grow(&claim, disk.capacity.as_str(), disk.capacity.bytes())
                    .await?
                {
                    result.not_grown = Some((name.clone(), problem));
                }
                let grace = disk
                    .volume
                    .node_loss_grace_seconds
                    .unwrap_or(NODE_LOSS_GRACE_SECONDS);
                if grace > 0 {
                    self.heal(&claim, pod, grace, now, &mut result).await?;
                }
            } else if !pods.iter().any(|pod| self.mounts_claims(pod)) {
                // Left behind by a volume of another type; the last pod that had it mounted is gone.
                delete_if_same(
                    &self.api(Kind::PersistentVolumeClaim),
                    "PersistentVolumeClaim",
                    &name,
                    claim.uid().as_deref(),
                )
                .await?;
            }
        }
        Ok(result)
    }

    /// A pod of an earlier template may still have its claim mounted.
    fn mounts_claims(&self, pod: &PodView) -> bool {
        let wanted = self
            .watches
            .child(Kind::StatefulSet, self.server, self.namespace)
            .and_then(|set| {
                set.data["spec"]["template"]["metadata"]["annotations"][names::TEMPLATE_HASH]
                    .as_str()
                    .map(str::to_owned)
            });
        wanted.is_none() || pod.template_hash != wanted
    }

    /// Asks for more room where the claim has less than it should. Returns why that is refused, if it is.
    async fn grow(
        &self,
        claim: &DynamicObject,
        wanted: &str,
        bytes: u64,
    ) -> Result<Option<String>, ApplyError> {
        let request = &claim.data["spec"]["resources"]["requests"]["storage"];
        let has: Option<vdt_crds::Quantity> = request.as_str().and_then(|text| text.parse().ok());
        if has.is_none_or(|has| has.bytes() >= bytes) {
            return Ok(None);
        }
        let name = claim.name_any();
        let patch = json!({"spec": {"resources": {"requests": {"storage": wanted}}}});
        let patched = self
            .api(Kind::PersistentVolumeClaim)
            .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        match patched {
            Ok(_) => Ok(None),
            Err(kube::Error::Api(status)) if status.is_forbidden() || status.is_invalid() => {
                Ok(Some(status.message))
            }
            Err(error) => Err(ApplyError::api("patch", "PersistentVolumeClaim", &name)(
                error,
            )),
        }
    }

    async fn heal(
        &self,
        claim: &DynamicObject,
        pod: Option<&PodView>,
        grace: u32,
        now: Timestamp,
        result: &mut Claims,
    ) -> Result<(), ApplyError> {
        let Some(nodes) = &self.watches.nodes else {
            return Ok(());
        };
        // A pod that runs, or could, needs no help.
        let Some(pod) = pod.filter(|pod| pod.is_unschedulable) else {
            return Ok(());
        };
        let name = claim.name_any();
        let marked: Option<Timestamp> = claim
            .annotations()
            .get(names::NODE_LOST)
            .and_then(|time| time.parse().ok());
        let since = match marked {
            Some(since) => since,
            None => {
                let Some(since) = self
                    .hosts(claim)
                    .await?
                    .iter()
                    .find_map(|host| nodes.gone_since(host))
                else {
                    return Ok(());
                };
                let patch =
                    json!({"metadata": {"annotations": {names::NODE_LOST: since.to_string()}}});
                self.api(Kind::PersistentVolumeClaim)
                    .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
                    .await
                    .map_err(ApplyError::api("patch", "PersistentVolumeClaim", &name))?;
                since
            }
        };
        let waited = now.as_second().saturating_sub(since.as_second());
        let left = i64::from(grace) - waited;
        if left > 0 {
            let left = u64::try_from(left).unwrap_or_default();
            result.wait_seconds = Some(result.wait_seconds.map_or(left, |other| other.min(left)));
            return Ok(());
        }
        let claims = self.api(Kind::PersistentVolumeClaim);
        if delete_if_same(
            &claims,
            "PersistentVolumeClaim",
            &name,
            claim.uid().as_deref(),
        )
        .await?
        {
            tracing::warn!(
                claim = name,
                namespace = self.namespace,
                pod = pod.name,
                "deleted a cache whose node is gone"
            );
            delete_if_same(&self.pods(), "Pod", &pod.name, Some(&pod.uid)).await?;
            result.healed.push(name);
        }
        Ok(())
    }

    /// Host names that the volume of a claim is pinned to.
    async fn hosts(&self, claim: &DynamicObject) -> Result<Vec<String>, ApplyError> {
        let Some(volume) = claim.data["spec"]["volumeName"].as_str() else {
            return Ok(Vec::new());
        };
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        let read = api.get_opt(volume).await;
        let read = read.map_err(ApplyError::api("get", "PersistentVolume", volume))?;
        Ok(read
            .map(|volume| pinned_to(&json!(volume)))
            .unwrap_or_default())
    }
}

/// Host names of a volume's node affinity.
fn pinned_to(volume: &Value) -> Vec<String> {
    let terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"].as_array();
    terms
        .into_iter()
        .flatten()
        .flat_map(|term| term["matchExpressions"].as_array().into_iter().flatten())
        .filter(|expression| {
            expression["key"] == "kubernetes.io/hostname" && expression["operator"] == "In"
        })
        .flat_map(|expression| expression["values"].as_array().into_iter().flatten())
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_volume_names_its_host() {
        let volume = json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}]},
        ]}}}});
        assert_eq!(pinned_to(&volume), ["n2"]);
        assert_eq!(pinned_to(&json!({"spec": {}})), [""; 0]);
    }
}
