//! What is done to pods: the steps of a roll, a touch that brings Secrets, a `suspend` that stops their refreshes.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc};

use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams, Patch, PatchParams},
    core::{Status, response::StatusCause},
};
use serde_json::{Value, json};

use vdt_crds::status::reason;

use super::{
    ApplyError, Cluster, delete_if_same,
    error::is_denied,
    is_not_found, merge,
    rollout::{self, Plan, PodView, Step, Target},
};
use crate::{
    build::{self, Kind},
    names,
    validate::{Refusal, shorten},
    watches::pod_resource,
};

/// What an API server says of a resize.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// It is taken, or the pod is gone.
    Taken,
    /// Not in place: a new pod can have it.
    NotInPlace,
    /// No pod can have it. The API server's words.
    Never(String),
}

impl Cluster<'_> {
    pub(super) fn pods(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), self.namespace, &pod_resource())
    }

    /// Reads the pods of the server live.
    pub(crate) async fn live_pods(&self) -> Result<Vec<PodView>, ApplyError> {
        let selector = ListParams::default().labels(&names::selector_text(self.server));
        let pods = self.pods().list(&selector).await.map_err(ApplyError::api(
            "list",
            "Pod",
            self.server,
        ))?;
        let pods: Vec<_> = pods.items.into_iter().map(Arc::new).collect();
        Ok(pod_views(self.server, &pods, self.set_uid().as_deref()))
    }

    /// Returns the pods of the server as last seen.
    pub(crate) fn seen_pods(&self) -> Vec<PodView> {
        let pods = self.watches.pods_of(self.server, self.namespace);
        pod_views(self.server, &pods, self.set_uid().as_deref())
    }

    /// Identity of the StatefulSet, if it is this table's.
    pub(super) fn set_uid(&self) -> Option<String> {
        let kind = Kind::StatefulSet;
        match self.watches.metadata(kind, self.server, self.namespace) {
            Some(set) => set.uid().filter(|_| self.is_ours(kind, &set)),
            None => self.unseen_set.map(str::to_owned),
        }
    }

    /// Does what a roll needs now. Pods whose resize is refused are replaced, as many at once as may be; what no pod can have is a refusal, and no pod goes
    /// for it: its StatefulSet could not make it again.
    ///
    /// # Errors
    /// The API server does not take a step. Those before it are done.
    pub(crate) async fn roll(
        &self,
        target: &Target<'_>,
    ) -> Result<Result<Plan, Refusal>, ApplyError> {
        // What is about to go is decided by what is there, not by what a store remembers.
        let plan = rollout::plan(target, &self.live_pods().await?);
        match self.step(&plan.steps).await? {
            Answer::Taken => return Ok(Ok(plan)),
            Answer::NotInPlace => {}
            Answer::Never(message) => {
                return Ok(Err(Refusal {
                    reason: reason::INVALID_SPEC,
                    message: shorten(&format!("spec.server.resources: {message}")),
                }));
            }
        }
        // The pods say by now what was refused.
        let plan = rollout::plan(target, &self.live_pods().await?);
        let replacements: Vec<Step> = plan
            .steps
            .iter()
            .filter(|step| matches!(step, Step::Replace { .. }))
            .cloned()
            .collect();
        self.step(&replacements).await?;
        Ok(Ok(plan))
    }

    /// Takes steps, resizes first: what they are answered says whether a pod may go. Returns the worst answer.
    async fn step(&self, steps: &[Step]) -> Result<Answer, ApplyError> {
        let mut worst = Answer::Taken;
        if steps.is_empty() || !self.is_current().await? {
            return Ok(worst);
        }
        let (resizes, replacements): (Vec<_>, Vec<_>) = steps
            .iter()
            .partition(|step| matches!(step, Step::Resize { .. }));
        for step in resizes.into_iter().chain(replacements) {
            match step {
                Step::Replace { name, uid } => {
                    if delete_if_same(&self.pods(), "Pod", name, Some(uid)).await? {
                        tracing::info!(
                            pod = name,
                            namespace = self.namespace,
                            "replaced: its template changed, or it has to be started anew"
                        );
                    }
                }
                Step::Resize {
                    name,
                    uid,
                    asked,
                    patch,
                } => match self.resize(name, uid, asked, patch).await? {
                    Answer::Taken => {}
                    Answer::NotInPlace => worst = Answer::NotInPlace,
                    never @ Answer::Never(_) => return Ok(never),
                },
            }
        }
        Ok(worst)
    }

    /// Changes CPU and memory of a pod in place, or says why not.
    ///
    /// What is asked for is written down before it is asked, or nobody would miss it once it is no longer wanted; what came of it afterwards, so that an
    /// operator that dies between the two asks again.
    async fn resize(
        &self,
        name: &str,
        uid: &str,
        asked: &str,
        patch: &Value,
    ) -> Result<Answer, ApplyError> {
        let before = rollout::asking(asked);
        if !self.annotate(name, uid, names::ASKED, &before).await? {
            return Ok(Answer::Taken); // gone
        }
        let params = PatchParams::default();
        let resized = self
            .pods()
            .patch_subresource("resize", name, &params, &Patch::Strategic(patch))
            .await;
        match resized {
            Ok(_) => {
                tracing::info!(
                    pod = name,
                    namespace = self.namespace,
                    "CPU and memory changed in place"
                );
                self.annotate(name, uid, names::ASKED, asked).await?;
                Ok(Answer::Taken)
            }
            // It stays asked for: the next look asks again.
            Err(kube::Error::Api(status))
                if status.is_invalid()
                    && !is_about_place(&status)
                    && !is_denied(&status.message) =>
            {
                tracing::info!(
                    pod = name,
                    namespace = self.namespace,
                    reason = status.message,
                    "no pod can have this CPU and memory"
                );
                Ok(Answer::Never(status.message.clone()))
            }
            // The cluster cannot, or not from this to that (a class of service that would change), or a policy does not let pods be changed: a new pod can.
            Err(kube::Error::Api(status))
                if status.is_invalid() || status.is_not_found() || status.code == 405 =>
            {
                tracing::info!(
                    pod = name,
                    namespace = self.namespace,
                    reason = status.message,
                    "CPU and memory cannot be changed in place"
                );
                let refused = rollout::refused(asked);
                self.annotate(name, uid, names::ASKED, &refused).await?;
                Ok(Answer::NotInPlace)
            }
            Err(error) => Err(ApplyError::api("resize", "Pod", name)(error)),
        }
    }

    /// Sets an annotation of a pod. Returns whether the pod is there.
    async fn annotate(
        &self,
        name: &str,
        uid: &str,
        annotation: &str,
        value: &str,
    ) -> Result<bool, ApplyError> {
        let patch = json!({"metadata": {"uid": uid, "annotations": {annotation: value}}});
        match merge(&self.pods(), name, &patch).await {
            Ok(_) => Ok(true),
            Err(error) if is_not_found(&error) => Ok(false),
            // Another one of the name.
            Err(kube::Error::Api(status)) if status.is_conflict() || is_of_another(&status) => {
                Ok(false)
            }
            Err(error) => Err(ApplyError::api("patch", "Pod", name)(error)),
        }
    }

    /// Touches the pods that have not heard of the latest Secrets and ConfigMaps: the kubelet then brings them at once.
    pub(crate) async fn reload(&self, pods: &[PodView], hash: &str) -> Result<(), ApplyError> {
        for pod in pods
            .iter()
            .filter(|pod| !pod.is_terminating && pod.reload.as_deref() != Some(hash))
        {
            self.annotate(&pod.name, &pod.uid, names::RELOAD, hash)
                .await?;
        }
        Ok(())
    }

    /// Carries a `suspend` to the pods, and nothing else: the rest of their ConfigMap stays as it is, and of those that another version's pods read.
    /// Returns the hash of what they are told.
    ///
    /// # Errors
    /// The API server does not take it, or has a newer ConfigMap than was seen.
    pub(crate) async fn suspend(&self) -> Result<Option<String>, ApplyError> {
        let config_maps = self
            .watches
            .children_of(Kind::ConfigMap, self.server, self.namespace);
        let mut all: BTreeSet<String> = config_maps.iter().map(|seen| seen.name_any()).collect();
        // Somebody may have rewritten the label that says whose it is.
        all.insert(names::config(self.server));
        let mut told = Vec::new();
        for name in all {
            told.extend(self.suspend_in(&name).await?);
        }
        Ok((!told.is_empty()).then(|| build::hash(&json!(told))))
    }

    /// Has the manifests of a ConfigMap say that they are suspended. Returns what they say; `None` where it has none.
    async fn suspend_in(&self, name: &str) -> Result<Option<String>, ApplyError> {
        let Some(live) = self.watches.child(Kind::ConfigMap, name, self.namespace) else {
            return Ok(None);
        };
        let Some(text) = live.data["data"][build::MANIFESTS].as_str() else {
            return Ok(None);
        };
        let suspended = build::suspended(text);
        if suspended == text || !self.is_ours(Kind::ConfigMap, &live) {
            return Ok(Some(suspended));
        }
        // What was seen may be old, and what it says with it: rights of a principal that is gone since are not given back.
        let patch = json!({
            "metadata": {"uid": live.uid(), "resourceVersion": live.resource_version()},
            "data": {build::MANIFESTS: suspended},
        });
        self.merge(Kind::ConfigMap, name, &patch).await?;
        Ok(Some(suspended))
    }
}

/// Says whether every cause of a refusal lies in the change of a pod that is there: what is forbidden to change, or a class of service that no pod leaves.
/// A new pod has neither. Whatever else is refused, such as a request above its limit, is refused of a new one too.
fn is_about_place(status: &Status) -> bool {
    let causes = || status.details.iter().flat_map(|details| &details.causes);
    let is_place = |cause: &StatusCause| {
        cause.reason == "FieldValueForbidden" || cause.message.to_lowercase().contains("qos")
    };
    causes().next().is_some() && causes().all(is_place)
}

/// Says whether an API server refuses a patch because it names the identity of another object.
fn is_of_another(status: &Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    status.is_invalid() && causes.any(|cause| cause.field == "metadata.uid")
}

/// Reads the pods of a server, in the order of their numbers. What only has their labels is none, nor what another StatefulSet than the one of this
/// identity controls: that of a table of the same name that was deleted, whose pods go after it. Nobody controls those of one that is made anew around them.
fn pod_views(server: &str, pods: &[Arc<DynamicObject>], set: Option<&str>) -> Vec<PodView> {
    let is_anothers = |pod: &DynamicObject| {
        let owners = pod.owner_references().iter();
        let mut controllers = owners.filter(|owner| owner.controller == Some(true));
        controllers.any(|owner| Some(owner.uid.as_str()) != set)
    };
    let mut views: Vec<PodView> = pods
        .iter()
        .filter(|pod| !is_anothers(pod))
        .filter_map(|pod| PodView::of(server, &json!(**pod)))
        .collect();
    views.sort_by_key(|pod| pod.ordinal);
    views
}
