//! Brings a cluster to what was built: server-side apply of children, a sweep of those that are no longer wanted, the roll of pods.
//!
//! - One field manager, forced: what is ours is put back, what is not ours is not touched. What is already there is not sent.
//! - An object of a child's name that belongs to somebody else is left alone, and the table is stalled until one of them is renamed.
//! - Nothing is deleted on the word of a store: it is read live first, and deleted with its uid and version as preconditions. A store that is hours old
//!   therefore deletes nothing.
//! - Every step can be the last: whoever comes next begins at the first again and finds what is left to do.

mod check;
pub(crate) mod claims;
pub(crate) mod drift;
mod error;
mod pods;
pub(crate) mod rollout;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions},
};
use serde_json::Value;

use crate::{
    build::{Child, Children, Kind, mounts_config_map},
    names,
    validate::Refusal,
    watches::{Watches, table_resource},
};

use check::Verdict;
pub(crate) use check::claim_templates_differ;
pub(crate) use error::ApplyError;

/// Reason: an object of a child's name belongs to somebody else.
pub(crate) const NAME_TAKEN: &str = "NameTaken";

/// What [`ApplyError::Terminating`] calls the namespace of a table, and a table that leaves its children behind.
const NAMESPACE: &str = "Namespace";
const TABLE: &str = vdt_crds::KIND;

/// What was last sent of each child, by kind and name. It spares requests, and is good for nothing else.
pub(crate) type Sent = HashMap<(Kind, String), Version>;

/// What was sent, and what the API server made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Version {
    /// Value of [`names::APPLIED`]; empty where it is to be looked at again.
    pub(crate) hash: String,
    /// `resourceVersion` that was answered. None where nothing was sent.
    pub(crate) answered: Option<String>,
}

/// What an apply came to.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Objects that were written.
    pub(crate) written: Vec<String>,
    /// Kinds whose definition the cluster does not have.
    pub(crate) undefined: Vec<Kind>,
    /// Claims of states that are not as they should be, and stay so.
    pub(crate) claims: Vec<claims::Problem>,
    /// What is on its way out, and made anew or taken over once it is gone: kind and name.
    pub(crate) waiting: Vec<(&'static str, String)>,
}

impl Applied {
    /// Says whether something is on its way out that pods cannot start without. Those that run are left alone then.
    pub(crate) fn holds_pods(&self) -> bool {
        const NEEDED: [Kind; 4] = [
            Kind::ServiceAccount,
            Kind::ConfigMap,
            Kind::PersistentVolumeClaim,
            Kind::StatefulSet,
        ];
        self.waiting.iter().any(|(kind, _)| {
            [NAMESPACE, TABLE].contains(kind) || NEEDED.iter().any(|one| one.as_str() == *kind)
        })
    }
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
    /// Uid of its StatefulSet, where it was read because no store has it.
    pub(crate) unseen_set: Option<&'a str>,
}

impl Cluster<'_> {
    fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), self.namespace, &kind.resource())
    }

    /// Merges a patch into a child, in the operator's name.
    pub(crate) async fn merge(
        &self,
        kind: Kind,
        name: &str,
        patch: &Value,
    ) -> Result<DynamicObject, ApplyError> {
        let merged = merge(&self.api(kind), name, patch).await;
        merged.map_err(ApplyError::api("patch", kind.as_str(), name))
    }

    /// Reads a child live.
    pub(crate) async fn live(
        &self,
        kind: Kind,
        name: &str,
    ) -> Result<Option<DynamicObject>, ApplyError> {
        let live = self.api(kind).get_opt(name).await;
        live.map_err(ApplyError::api("get", kind.as_str(), name))
    }

    /// Says whether the owner still is what is acted upon. Asked live before anything is deleted: a store may be old, and with it the whole plan.
    async fn is_current(&self) -> Result<bool, ApplyError> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), self.namespace, &table_resource());
        let live = api.get_metadata_opt(self.server).await;
        let live = live.map_err(ApplyError::api("get", TABLE, self.server))?;
        Ok(live.is_some_and(|live| {
            live.metadata.uid.as_deref() == Some(self.uid)
                && live.metadata.generation == self.generation
                && live.metadata.deletion_timestamp.is_none()
        }))
    }

    /// Applies the children that are not as they should be. What was sent and is as the API server answered it is what it should be, whatever admission
    /// made of it. A child that is on its way out holds up no other.
    ///
    /// # Errors
    /// The API server does not take one of them for now. Those before it are applied.
    pub(crate) async fn apply(
        &self,
        children: &Children,
        sent: &mut Sent,
    ) -> Result<Result<Applied, Refusal>, ApplyError> {
        let mut applied = Applied::default();
        for child in &children.objects {
            // Its pods would start with what is on its way out, or without it.
            if child.kind == Kind::StatefulSet && applied.holds_pods() && self.set_uid().is_none() {
                continue;
            }
            match self.bring(child, sent, &mut applied).await {
                Ok(None) => {}
                Ok(Some(refusal)) => return Ok(Err(refusal)),
                Err(ApplyError::Terminating { kind, name }) => {
                    applied.waiting.push((kind, name));
                    // It takes none of the others either: what is owned by a table that is gone goes too.
                    if [NAMESPACE, TABLE].contains(&kind) {
                        return Ok(Ok(applied));
                    }
                }
                Err(error) => match error.refusal() {
                    Some(refusal) => return Ok(Err(refusal)),
                    None => return Err(error),
                },
            }
        }
        self.sweep(children, sent).await?;
        Ok(Ok(applied))
    }

    /// Brings one child to what it should be. Returns why that cannot be, if so.
    async fn bring(
        &self,
        child: &Child,
        sent: &mut Sent,
        applied: &mut Applied,
    ) -> Result<Option<Refusal>, ApplyError> {
        let is_watched = self.watches.is_watched(child.kind);
        let hash = child.object["metadata"]["annotations"][names::APPLIED]
            .as_str()
            .unwrap_or_default();
        let key = (child.kind, child.name.clone());
        let last = sent.get(&key).filter(|last| last.hash == hash);
        if !is_watched && last.is_some() {
            return Ok(None);
        }
        if self.watches.undefined.has(child.kind) {
            applied.undefined.push(child.kind);
            return Ok(None);
        }
        let live = self.watches.child(child.kind, &child.name, self.namespace);
        let answered = last.and_then(|last| last.answered.clone());
        let seen = live.as_ref().and_then(ResourceExt::resource_version);
        if answered.is_some() && answered == seen {
            return Ok(None);
        }
        let answered = match self.check(child, live.as_ref()).await? {
            Verdict::AsApplied if is_watched => return Ok(None),
            Verdict::AsApplied => None,
            Verdict::Apply => match self.write(child).await {
                Ok(answered) => {
                    let name = format!("{} {}", child.kind.as_str(), child.name);
                    applied.written.push(name);
                    answered
                }
                Err(ApplyError::Api { source, .. })
                    if Kind::OPTIONAL.contains(&child.kind) && is_not_found(&source) =>
                {
                    self.watches.undefined.tell(child.kind);
                    applied.undefined.push(child.kind);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            },
            Verdict::Keep(live) => {
                applied.claims.extend(self.keep_state(child, &live).await?);
                return Ok(None);
            }
            Verdict::Taken(refusal) => return Ok(Some(refusal)),
        };
        let hash = hash.to_owned();
        sent.insert(key, Version { hash, answered });
        Ok(None)
    }

    /// Sends a child. Returns the version that is answered.
    async fn write(&self, child: &Child) -> Result<Option<String>, ApplyError> {
        let kind = child.kind.as_str();
        let object = child.dynamic().map_err(|source| ApplyError::NoObject {
            kind,
            name: child.name.clone(),
            source,
        })?;
        let manager = PatchParams::apply(names::FIELD_MANAGER).force();
        let answered = self
            .api(child.kind)
            .patch(&child.name, &manager, &Patch::Apply(&object))
            .await
            .map_err(|error| {
                if is_namespace_going(&error) {
                    return ApplyError::Terminating {
                        kind: NAMESPACE,
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
        Ok(answered.resource_version())
    }

    /// Deletes children that an earlier spec or an earlier operator made and this one does not. Claims are not among them.
    async fn sweep(&self, children: &Children, sent: &mut Sent) -> Result<(), ApplyError> {
        let kinds = Kind::BUILT_IN.into_iter().chain(Kind::OPTIONAL);
        for kind in kinds.filter(|kind| *kind != Kind::PersistentVolumeClaim) {
            for seen in self.watches.children_of(kind, self.server, self.namespace) {
                let name = seen.name_any();
                if children.find(kind, &name).is_none()
                    && self.is_ours(kind, &seen)
                    && !(kind == Kind::ConfigMap && self.is_read(children, &name))
                {
                    self.delete_seen(kind, &name, &seen).await?;
                }
            }
        }
        let gone: Vec<_> = sent
            .keys()
            .filter(|(kind, name)| children.find(*kind, name).is_none())
            .cloned()
            .collect();
        let (watched, gone): (Vec<_>, Vec<_>) = gone
            .into_iter()
            .partition(|(kind, _)| self.watches.is_watched(*kind));
        sent.retain(|key, _| !watched.contains(key));
        for (kind, name) in gone {
            let live = self.api(kind).get_opt(&name).await;
            let live = live.map_err(ApplyError::api("get", kind.as_str(), &name))?;
            let is_done = match live.filter(|live| self.is_ours(kind, live)) {
                Some(live) => self.delete_seen(kind, &name, &live).await?,
                None => true,
            };
            // Nothing else tells that it is there still.
            if is_done {
                sent.remove(&(kind, name));
            }
        }
        Ok(())
    }

    /// Says whether pods read a ConfigMap that is not among the children: those of a template that another version rendered, or, during a roll, those that
    /// are still to go. Without it a pod cannot start again.
    fn is_read(&self, children: &Children, config_map: &str) -> bool {
        mounts_config_map(children.template(), config_map)
            || self
                .watches
                .pods_of(self.server, self.namespace)
                .iter()
                .any(|pod| {
                    pod.annotations().get(names::TEMPLATE_HASH) != Some(&children.template_hash)
                })
    }

    /// Deletes an object if it still is the one that was seen, and the table what was acted upon. Returns whether it did.
    async fn delete_seen(
        &self,
        kind: Kind,
        name: &str,
        seen: &DynamicObject,
    ) -> Result<bool, ApplyError> {
        if !self.is_current().await? {
            return Ok(false);
        }
        let api = self.api(kind);
        let is_deleted = delete_if_same(&api, kind.as_str(), name, seen.uid().as_deref()).await?;
        if is_deleted {
            tracing::info!(
                kind = kind.as_str(),
                name,
                namespace = self.namespace,
                "deleted: no longer wanted"
            );
        }
        Ok(is_deleted)
    }
}

/// Merges a patch into an object, in the operator's name.
async fn merge(api: &Api<DynamicObject>, name: &str, patch: &Value) -> kube::Result<DynamicObject> {
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    api.patch(name, &params, &Patch::Merge(patch)).await
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

/// A namespace that is being deleted takes nothing new; its tables go with it, or are seen a moment longer.
fn is_namespace_going(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let is_gone = |kind: &str| status.is_not_found() && kind == "namespaces";
    status.details.iter().any(|details| {
        let mut causes = details.causes.iter();
        is_gone(&details.kind) || causes.any(|cause| cause.reason == "NamespaceTerminating")
    })
}
