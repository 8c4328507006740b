//! Claims of caches: larger when they should be, gone when nobody needs them, and healed when their node is gone.
//!
//! ```text
//! Node's DELETE event seen, claim bound to a volume of that node, pod cannot be scheduled
//!     -> the claim is marked with the time of the event, so that another operator goes on counting
//!     -> the mark goes when the node is there again, or the pod is scheduled: the cache is where it was
//!     -> after nodeLossGraceSeconds, all nodes that may have the volume asked for once more: claim deleted (uid, version), then the pod (uid, version); both come back elsewhere, cold
//!
//! fewer pods than claims    the claims beyond go: the StatefulSet deletes those of pods that it takes away itself, and no others
//! no pods, a claim without an owner    it gets the table as one: the StatefulSet that owned it was made anew, and one without pods owns no claims
//! ```
//!
//! A cache may be deleted, that is why this may be done. A node that is merely not ready, or that was never seen, is not a node that is gone. The
//! claim of a state only grows ([`state`]).

mod pinned;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::{Node, PersistentVolume},
    jiff::Timestamp,
};
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams},
};
use serde_json::json;
use vdt_crds::{Server, VolumeType, quantity};

use super::{ApplyError, Cluster, delete_if_same, merge, rollout::PodView};
use crate::{build::Kind, names, watches::table_resource};

use pinned::{Term, gone_since, pinned_to, selector};

/// What errors call a claim.
const CLAIM: &str = "PersistentVolumeClaim";

/// Default of `nodeLossGraceSeconds`.
const NODE_LOSS_GRACE_SECONDS: u32 = 300;

/// Reason: a claim should be larger, and the API server says no.
const CLAIM_NOT_EXPANDED: &str = "ClaimNotExpanded";

/// What became of claims.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Claims {
    /// Claims that were deleted because their node is gone.
    pub(crate) healed: Vec<String>,
    /// Seconds until the next one may be.
    pub(crate) wait_seconds: Option<u64>,
    /// Claims that are not as they should be, and stay so.
    pub(crate) problems: Vec<Problem>,
}

/// Why a claim is not as it should be. Nothing else waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Reason of the condition.
    pub(crate) reason: &'static str,
    /// Message for people; names the claim.
    pub(crate) message: String,
}

impl Cluster<'_> {
    /// Looks after the claims of caches.
    ///
    /// # Errors
    /// The API server does not answer.
    pub(crate) async fn reconcile_claims(
        &self,
        spec: &Server,
        pods: &[PodView],
        now: Timestamp,
    ) -> Result<Claims, ApplyError> {
        let mut result = Claims::default();
        let disk = &spec.cache.disk;
        let is_wanted = disk.volume.kind == VolumeType::PersistentVolumeClaim;
        for (ordinal, claim) in self.cache_claims() {
            let name = claim.name_any();
            let pod = pods.iter().find(|pod| pod.ordinal == ordinal);
            // At 0 replicas the table sleeps, and wakes up warm.
            let is_beyond = spec.replicas > 0 && ordinal >= spec.replicas && pod.is_none();
            if is_wanted && !is_beyond {
                if spec.replicas == 0 && claim.owner_references().is_empty() {
                    self.own(&claim).await?;
                    continue;
                }
                let problem = self.grow(&claim, disk.capacity.as_str()).await?;
                result.problems.extend(problem);
                let grace = disk
                    .volume
                    .node_loss_grace_seconds
                    .unwrap_or(NODE_LOSS_GRACE_SECONDS);
                if grace > 0 {
                    self.heal(&claim, pod, grace, now, &mut result).await?;
                }
            // Left behind by a pod that is no longer wanted, or by a volume of another type: the last pod that had it mounted is gone.
            } else if is_beyond || !pods.iter().any(|pod| self.mounts_claims(pod)) {
                self.delete_seen(Kind::PersistentVolumeClaim, &name, &claim)
                    .await?;
            }
        }
        Ok(result)
    }

    /// How many claims of caches there are.
    pub(crate) fn caches(&self) -> usize {
        self.cache_claims().count()
    }

    /// The claims of caches that stay, with the numbers of their pods.
    fn cache_claims(&self) -> impl Iterator<Item = (u32, Arc<DynamicObject>)> {
        let prefix = format!("{}-{}-", names::CACHE_VOLUME, self.server);
        let claims =
            self.watches
                .children_of(Kind::PersistentVolumeClaim, self.server, self.namespace);
        claims.into_iter().filter_map(move |claim| {
            let is_cache = claim
                .labels()
                .get(names::CLAIM)
                .is_some_and(|holds| holds == names::CLAIM_CACHE);
            // Claims of ephemeral volumes have other names, and belong to their pod.
            let ordinal = claim
                .name_any()
                .strip_prefix(&prefix)
                .and_then(|ordinal| ordinal.parse::<u32>().ok())?;
            (is_cache && claim.metadata.deletion_timestamp.is_none()).then_some((ordinal, claim))
        })
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

    /// Makes the table an owner of a claim that has none, so that it goes with it. Beside the StatefulSet, which comes back to it with its pod.
    async fn own(&self, claim: &DynamicObject) -> Result<(), ApplyError> {
        // Of an owner that is gone the claim would be deleted at once.
        if !self.is_current().await? {
            return Ok(());
        }
        let name = claim.name_any();
        let table = table_resource();
        let owner = json!({"apiVersion": table.api_version, "kind": table.kind, "name": self.server, "uid": self.uid});
        let patch = json!({"metadata": {
            "uid": claim.uid(),
            "resourceVersion": claim.resource_version(),
            "ownerReferences": [owner],
        }});
        self.merge(Kind::PersistentVolumeClaim, &name, &patch)
            .await?;
        tracing::info!(
            claim = name,
            namespace = self.namespace,
            "a cache whose StatefulSet is gone belongs to its table"
        );
        Ok(())
    }

    /// Asks for more room where the claim has less than it should. Returns why that is refused, if it is.
    async fn grow(
        &self,
        claim: &DynamicObject,
        wanted: &str,
    ) -> Result<Option<Problem>, ApplyError> {
        let has = claim.data["spec"]["resources"]["requests"]["storage"].as_str();
        let is_smaller = matches!(
            (has.and_then(quantity::nanos), quantity::nanos(wanted)),
            (Some(has), Some(wanted)) if has < wanted
        );
        if !is_smaller {
            return Ok(None);
        }
        let name = claim.name_any();
        let patch = json!({"spec": {"resources": {"requests": {"storage": wanted}}}});
        let claims = self.api(Kind::PersistentVolumeClaim);
        match merge(&claims, &name, &patch).await {
            Ok(_) => Ok(None),
            Err(kube::Error::Api(status)) if status.is_forbidden() || status.is_invalid() => {
                Ok(Some(Problem {
                    reason: CLAIM_NOT_EXPANDED,
                    message: format!("{name}: {}", status.message),
                }))
            }
            Err(error) => Err(ApplyError::api("patch", CLAIM, &name)(error)),
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
        let Some(pod) = pod else {
            return Ok(());
        };
        let name = claim.name_any();
        let mark = claim.annotations().get(names::NODE_LOST);
        if pod.is_scheduled && mark.is_some() {
            return self.mark(&name, None).await;
        }
        // A pod that runs, or could, needs no help.
        if !pod.is_unschedulable {
            return Ok(());
        }
        let marked: Option<Timestamp> = mark.and_then(|time| time.parse().ok());
        let lost = match self.hosts(claim).await? {
            // Its volume went with the node.
            Hosts::NoVolume => marked,
            Hosts::Anywhere => None,
            Hosts::Of(terms) => {
                let lost = marked.max(gone_since(&terms, nodes));
                // A mark is old news, and so may be the watch's: a node that came back has the cache.
                if lost.is_some() && self.is_there(&terms).await? {
                    None
                } else {
                    lost
                }
            }
        };
        let Some(since) = lost else {
            return match mark {
                Some(_) => self.mark(&name, None).await,
                None => Ok(()),
            };
        };
        if marked != Some(since) {
            self.mark(&name, Some(since)).await?;
        }
        let waited = now.as_second().saturating_sub(since.as_second());
        let left = i64::from(grace) - waited;
        if left > 0 {
            let left = u64::try_from(left).unwrap_or_default();
            result.wait_seconds = Some(result.wait_seconds.map_or(left, |other| other.min(left)));
            return Ok(());
        }
        if !self.is_current().await? {
            return Ok(());
        }
        let claims = self.api(Kind::PersistentVolumeClaim);
        if delete_if_same(&claims, CLAIM, &name, claim.uid().as_deref()).await? {
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

    /// Writes down since when the node of a claim is gone, or that it is not.
    async fn mark(&self, claim: &str, lost: Option<Timestamp>) -> Result<(), ApplyError> {
        let lost = lost.map(|since| since.to_string());
        let patch = json!({"metadata": {"annotations": {names::NODE_LOST: lost}}});
        self.merge(Kind::PersistentVolumeClaim, claim, &patch)
            .await?;
        Ok(())
    }

    /// Says whether a node of the cluster has a volume of these terms now.
    async fn is_there(&self, terms: &[Term]) -> Result<bool, ApplyError> {
        let api: Api<Node> = Api::all(self.client.clone());
        for term in terms {
            let labels: Vec<String> = term.iter().map(selector).collect();
            let selector = ListParams::default().labels(&labels.join(",")).limit(1);
            let found = api.list_metadata(&selector).await;
            if !found
                .map_err(ApplyError::api("list", "Node", &labels.join(",")))?
                .items
                .is_empty()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where the volume of a claim lies.
    async fn hosts(&self, claim: &DynamicObject) -> Result<Hosts, ApplyError> {
        let Some(volume) = claim.data["spec"]["volumeName"].as_str() else {
            return Ok(Hosts::Anywhere);
        };
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        let read = api.get_opt(volume).await;
        let read = read.map_err(ApplyError::api("get", "PersistentVolume", volume))?;
        Ok(match read.map(|volume| pinned_to(&json!(volume))) {
            None => Hosts::NoVolume,
            Some(terms) if terms.is_empty() => Hosts::Anywhere,
            Some(terms) => Hosts::Of(terms),
        })
    }
}

/// Where a volume lies.
enum Hosts {
    /// It is gone.
    NoVolume,
    /// It is not there yet, or nothing pins it.
    Anywhere,
    /// Where one of these holds.
    Of(Vec<Term>),
}
