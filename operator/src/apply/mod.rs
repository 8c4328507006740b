//! Brings a cluster to what was built: server-side apply of children, a sweep of those that are no longer wanted, the roll of pods.
//!
//! - One field manager, forced: what is ours is put back, what is not ours is not touched. What is already there is not sent.
//! - An object of a child's name that belongs to somebody else is left alone, and the table is stalled until one of them is renamed.
//! - Nothing is deleted on the word of a store: it is read live first, and deleted with its uid and version as preconditions. A store that is hours old
//!   therefore deletes nothing.
//! - Every step can be the last: whoever comes next begins at the first again and finds what is left to do.

pub(crate) mod claims;
pub(crate) mod drift;
pub(crate) mod rollout;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use kube::{
    Api, Client, ResourceExt,
    api::{
        DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions,
        PropagationPolicy,
    },
};
use serde_json::{Value, json};

use crate::{
    build::{self, Child, Children, Kind},
    names,
    validate::Refusal,
    watches::{Watches, pod_resource, table_resource},
};

use rollout::{PodView, Step};

/// Reason: an object of a child's name belongs to somebody else.
pub(crate) const NAME_TAKEN: &str = "NameTaken";

/// Something was not applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// The API server refused it, or did not answer.
    #[error("{verb} of {kind} {name} failed")]
    Api {
        /// What was tried.
        verb: &'static str,
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object.
        name: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// The object is on its way out; it is made anew once it is gone.
    #[error("{kind} {name} is being deleted")]
    Terminating {
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object.
        name: String,
    },
    /// A child could not be read as an object, which the tests rule out.
    #[error("{kind} {name} is no object")]
    NoObject {
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl ApplyError {
    fn api(verb: &'static str, kind: &'static str, name: &str) -> impl FnOnce(kube::Error) -> Self {
        let name = name.to_owned();
        move |source| Self::Api {
            verb,
            kind,
            name,
            source: Box::new(source),
        }
    }
}

/// What an apply came to.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Objects that were written.
    pub(crate) written: Vec<String>,
    /// Kinds whose definition the cluster does not have.
    pub(crate) undefined: Vec<Kind>,
}

/// The objects of one server in one cluster.
pub(crate) struct Cluster<'a> {
    /// Writes.
    pub(crate) client: &'a Client,
    /// Reads.
    pub(crate) watches: &'a Watches,
    /// Namespace of the server.
    pub(crate) namespace: &'a str,
    /// Name of the server.
    pub(crate) server: &'a str,
    /// Uid of the owner.
    pub(crate) uid: &'a str,
    /// Generation of the owner that is acted upon.
    pub(crate) generation: Option<i64>,
}

impl Cluster<'_> {
    fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), self.namespace, &kind.resource())
    }

    fn pods(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), self.namespace, &pod_resource())
    }

    /// Says whether the owner still is what is acted upon. Asked live before anything is deleted: a store may be old, and with it the whole plan.
    async fn is_current(&self) -> Result<bool, ApplyError> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), self.namespace, &table_resource());
        let live = api.get_metadata_opt(self.server).await;
        let live = live.map_err(ApplyError::api("get", "VirtualTable", self.server))?;
        Ok(live.is_some_and(|live| {
            live.metadata.uid.as_deref() == Some(self.uid)
                && live.metadata.generation == self.generation
                && live.metadata.deletion_timestamp.is_none()
        }))
    }

    /// Reads the pods of the server live.
    pub(crate) async fn live_pods(&self) -> Result<Vec<PodView>, ApplyError> {
        let selector = ListParams::default().labels(&names::selector_text(self.server));
        let pods = self.pods().list(&selector).await.map_err(ApplyError::api(
            "list",
            "Pod",
            self.server,
        ))?;
        Ok(pod_views(
            &pods.items.into_iter().map(Arc::new).collect::<Vec<_>>(),
        ))
    }

    /// Applies the children that are not as they should be.
    ///
    /// `unwatched`: hashes of children of kinds that are not watched, as last applied.
    ///
    /// # Errors
    /// The API server does not take one of them. Those before it are applied.
    pub(crate) async fn apply(
        &self,
        children: &Children,
        unwatched: &mut HashMap<(Kind, String), String>,
    ) -> Result<Result<Applied, Refusal>, ApplyError> {
        let mut applied = Applied::default();
        for child in &children.objects {
            let is_watched = Kind::BUILT_IN.contains(&child.kind);
            let live = self.watches.child(child.kind, &child.name, self.namespace);
            if is_watched {
                match self.check(child, live.as_ref()).await? {
                    Verdict::AsApplied => continue,
                    Verdict::Apply => {}
                    Verdict::Taken(refusal) => return Ok(Err(refusal)),
                }
            }
            let hash = child.object["metadata"]["annotations"][names::APPLIED]
                .as_str()
                .unwrap_or_default();
            let key = (child.kind, child.name.clone());
            if !is_watched && unwatched.get(&key).is_some_and(|last| last == hash) {
                continue;
            }
            match self.write(child).await {
                Ok(()) => applied
                    .written
                    .push(format!("{} {}", child.kind.as_str(), child.name)),
                Err(ApplyError::Api { source, .. }) if !is_watched && is_not_found(&source) => {
                    applied.undefined.push(child.kind);
                    continue;
                }
                Err(error) => return Err(error),
            }
            if !is_watched {
                unwatched.insert(key, hash.to_owned());
            }
        }
        self.sweep(children, unwatched).await?;
        Ok(Ok(applied))
    }

    /// Decides what becomes of a child.
    async fn check(
        &self,
        child: &Child,
        live: Option<&DynamicObject>,
    ) -> Result<Verdict, ApplyError> {
        let kind = child.kind.as_str();
        let found;
        let live = match live {
            Some(live) => live,
            // It has not our label, or the store is behind: ask.
            None => {
                let read = self.api(child.kind).get_opt(&child.name).await;
                match read.map_err(ApplyError::api("get", kind, &child.name))? {
                    Some(live) => {
                        found = live;
                        &found
                    }
                    None => return Ok(Verdict::Apply),
                }
            }
        };
        if live.metadata.deletion_timestamp.is_some() {
            return Err(ApplyError::Terminating {
                kind,
                name: child.name.clone(),
            });
        }
        if !self.is_ours(child.kind, live) {
            let uid = live
                .owner_references()
                .iter()
                .any(|owner| owner.kind == "VirtualTable" && owner.name == self.server);
            if uid {
                // Of a table of the same name that was deleted: the garbage collector is on its way.
                return Err(ApplyError::Terminating {
                    kind,
                    name: child.name.clone(),
                });
            }
            return Ok(Verdict::Taken(Refusal {
                reason: NAME_TAKEN,
                message: format!(
                    "{kind} {} exists and belongs to somebody else: rename it, or this VirtualTable",
                    child.name
                ),
            }));
        }
        let live = json!(live);
        if child.kind == Kind::StatefulSet && claim_templates_differ(&child.object, &live) {
            self.orphan_stateful_set(&child.name, &live).await?;
            return Err(ApplyError::Terminating {
                kind,
                name: child.name.clone(),
            });
        }
        Ok(if drift::is_as_applied(&child.object, &live) {
            Verdict::AsApplied
        } else {
            Verdict::Apply
        })
    }

    /// Children carry our uid; the claim of a state has no owner, its label must do.
    fn is_ours(&self, kind: Kind, live: &DynamicObject) -> bool {
        if kind == Kind::PersistentVolumeClaim {
            return names::server_of(live.metadata.labels.as_ref()) == Some(self.server)
                && live
                    .labels()
                    .get(names::MANAGED_BY)
                    .is_some_and(|by| by == names::OPERATOR);
        }
        live.owner_references()
            .iter()
            .any(|owner| owner.uid == self.uid)
    }

    async fn write(&self, child: &Child) -> Result<(), ApplyError> {
        let kind = child.kind.as_str();
        let object = child.dynamic().map_err(|source| ApplyError::NoObject {
            kind,
            name: child.name.clone(),
            source,
        })?;
        let manager = PatchParams::apply(names::FIELD_MANAGER).force();
        self.api(child.kind)
            .patch(&child.name, &manager, &Patch::Apply(&object))
            .await
            .map_err(|error| {
                if is_namespace_going(&error) {
                    return ApplyError::Terminating {
                        kind: "Namespace",
                        name: self.namespace.to_owned(),
                    };
                }
                ApplyError::api("apply", kind, &child.name)(error)
            })?;
        tracing::info!(
            kind,
            name = child.name,
            namespace = self.namespace,
            "applied"
        );
        Ok(())
    }

    /// Claim templates cannot be changed: the StatefulSet goes without its pods, and comes back with other templates.
    async fn orphan_stateful_set(&self, name: &str, live: &Value) -> Result<(), ApplyError> {
        let kind = Kind::StatefulSet.as_str();
        let api = self.api(Kind::StatefulSet);
        let Some(now) = api
            .get_opt(name)
            .await
            .map_err(ApplyError::api("get", kind, name))?
        else {
            return Ok(());
        };
        if now.uid().as_deref() != live["metadata"]["uid"].as_str() || !self.is_current().await? {
            return Ok(());
        }
        tracing::info!(
            kind,
            name,
            namespace = self.namespace,
            "deleted without its pods, to be made with other claims"
        );
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Orphan),
            preconditions: Some(preconditions(&now)),
            ..DeleteParams::default()
        };
        api.delete(name, &params)
            .await
            .map_err(ApplyError::api("delete", kind, name))?;
        Ok(())
    }

    /// Deletes children that an earlier spec or an earlier operator made and this one does not. Claims are not among them.
    async fn sweep(
        &self,
        children: &Children,
        unwatched: &mut HashMap<(Kind, String), String>,
    ) -> Result<(), ApplyError> {
        for kind in Kind::BUILT_IN
            .into_iter()
            .filter(|kind| *kind != Kind::PersistentVolumeClaim)
        {
            for seen in self.watches.children_of(kind, self.server, self.namespace) {
                let name = seen.name_any();
                if children.find(kind, &name).is_none() && self.is_ours(kind, &seen) {
                    self.delete_seen(kind, &name, &seen).await?;
                }
            }
        }
        let gone: Vec<_> = unwatched
            .keys()
            .filter(|(kind, name)| children.find(*kind, name).is_none())
            .cloned()
            .collect();
        for (kind, name) in gone {
            let live = self.api(kind).get_opt(&name).await;
            if let Some(live) = live.map_err(ApplyError::api("get", kind.as_str(), &name))?
                && self.is_ours(kind, &live)
            {
                self.delete_seen(kind, &name, &live).await?;
            }
            unwatched.remove(&(kind, name));
        }
        Ok(())
    }

    /// Deletes an object if it still is the one that was seen.
    async fn delete_seen(
        &self,
        kind: Kind,
        name: &str,
        seen: &DynamicObject,
    ) -> Result<(), ApplyError> {
        if !self.is_current().await? {
            return Ok(());
        }
        let api = self.api(kind);
        delete_if_same(&api, kind.as_str(), name, seen.uid().as_deref()).await?;
        tracing::info!(
            kind = kind.as_str(),
            name,
            namespace = self.namespace,
            "deleted: no longer wanted"
        );
        Ok(())
    }

    /// Does what a roll needs now. Returns the pods that were touched.
    ///
    /// # Errors
    /// The API server does not take a step. Those before it are done.
    pub(crate) async fn step(&self, steps: &[Step]) -> Result<Vec<String>, ApplyError> {
        let mut done = Vec::new();
        if steps.is_empty() || !self.is_current().await? {
            return Ok(done);
        }
        for step in steps {
            match step {
                Step::Replace { name, uid, .. } => {
                    if delete_if_same(&self.pods(), "Pod", name, Some(uid)).await? {
                        tracing::info!(
                            pod = name,
                            namespace = self.namespace,
                            "replaced: its template changed"
                        );
                        done.push(name.clone());
                    }
                }
                Step::Resize { name, patch } => {
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
                            done.push(name.clone());
                        }
                        // The cluster cannot, or not from this to that (a class of service that would change): a new pod can.
                        Err(kube::Error::Api(status))
                            if status.is_invalid()
                                || status.is_not_found()
                                || status.code == 405 =>
                        {
                            if delete_if_same(&self.pods(), "Pod", name, None).await? {
                                done.push(name.clone());
                            }
                        }
                        Err(error) => return Err(ApplyError::api("resize", "Pod", name)(error)),
                    }
                }
            }
        }
        Ok(done)
    }

    /// Touches the pods that have not heard of the latest Secrets and ConfigMaps: the kubelet then brings them at once.
    pub(crate) async fn reload(&self, pods: &[PodView], hash: &str) -> Result<(), ApplyError> {
        for pod in pods
            .iter()
            .filter(|pod| !pod.is_terminating && pod.reload.as_deref() != Some(hash))
        {
            let patch = json!({"metadata": {"annotations": {names::RELOAD: hash}}});
            let params = PatchParams {
                field_manager: Some(names::FIELD_MANAGER.to_owned()),
                ..PatchParams::default()
            };
            match self
                .pods()
                .patch(&pod.name, &params, &Patch::Merge(&patch))
                .await
            {
                Ok(_) => {}
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(ApplyError::api("patch", "Pod", &pod.name)(error)),
            }
        }
        Ok(())
    }

    /// Carries a `suspend` to the pods, and nothing else: the rest of the ConfigMap stays as it is. Returns the hash of what they are told.
    pub(crate) async fn suspend(&self) -> Result<Option<String>, ApplyError> {
        let name = names::config(self.server);
        let Some(live) = self.watches.child(Kind::ConfigMap, &name, self.namespace) else {
            return Ok(None);
        };
        let Some(text) = live.data["data"]["tables.yaml"].as_str() else {
            return Ok(None);
        };
        let suspended = text.replace("\n  suspend: false\n", "\n  suspend: true\n");
        let hash = build::hash(&json!(suspended));
        if suspended == text || !self.is_ours(Kind::ConfigMap, &live) {
            return Ok(Some(hash));
        }
        let patch = json!({"data": {"tables.yaml": suspended}});
        let params = PatchParams {
            field_manager: Some(names::FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.api(Kind::ConfigMap)
            .patch(&name, &params, &Patch::Merge(&patch))
            .await
            .map_err(ApplyError::api("patch", "ConfigMap", &name))?;
        Ok(Some(hash))
    }
}

enum Verdict {
    AsApplied,
    Apply,
    Taken(Refusal),
}

/// Says whether the live claim templates are others than the wanted ones.
fn claim_templates_differ(wanted: &Value, live: &Value) -> bool {
    let templates = |object: &Value| {
        object["spec"]["volumeClaimTemplates"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    let (wanted, live) = (templates(wanted), templates(live));
    let same = |wanted: &Value, live: &Value| {
        wanted["metadata"]["name"] == live["metadata"]["name"]
            && drift::holds_value(&wanted["spec"], &live["spec"])
    };
    wanted.len() != live.len()
        || !wanted
            .iter()
            .zip(&live)
            .all(|(wanted, live)| same(wanted, live))
}

/// Reads an object and deletes it if it still has this uid, in this version. Returns whether it did.
///
/// # Errors
/// The API server does not answer, or the object changed in between.
pub(crate) async fn delete_if_same(
    api: &Api<DynamicObject>,
    kind: &'static str,
    name: &str,
    uid: Option<&str>,
) -> Result<bool, ApplyError> {
    let live = api
        .get_opt(name)
        .await
        .map_err(ApplyError::api("get", kind, name))?;
    let Some(live) = live.filter(|live| {
        live.metadata.deletion_timestamp.is_none()
            && (uid.is_none() || live.uid().as_deref() == uid)
    }) else {
        return Ok(false);
    };
    let params = DeleteParams {
        preconditions: Some(preconditions(&live)),
        ..DeleteParams::default()
    };
    match api.delete(name, &params).await {
        Ok(_) => Ok(true),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(ApplyError::api("delete", kind, name)(error)),
    }
}

fn preconditions(live: &DynamicObject) -> Preconditions {
    Preconditions {
        uid: live.uid(),
        resource_version: live.resource_version(),
    }
}

pub(crate) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

/// A namespace that is being deleted takes nothing new; its tables go with it.
fn is_namespace_going(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .into_iter()
        .any(|cause| cause.reason == "NamespaceTerminating")
}

/// Reads the pods of a server.
pub(crate) fn pod_views(pods: &[Arc<DynamicObject>]) -> Vec<PodView> {
    let mut views: Vec<PodView> = pods
        .iter()
        .filter_map(|pod| PodView::of(&json!(**pod)))
        .collect();
    views.sort_by_key(|pod| pod.ordinal);
    views
}
