//! What becomes of a child: it is as it should be, it is applied, or its name belongs to somebody else.

use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, PartialObjectMeta, PropagationPolicy},
};
use serde_json::{Value, json};

use super::{ApplyError, Cluster, NAME_TAKEN, TABLE, drift, preconditions};
use crate::{
    build::{Child, Kind, Rendered},
    names,
    validate::Refusal,
};

/// Annotation of a Secret that cert-manager wrote: for which Certificate.
const CERTIFICATE_NAME: &str = "cert-manager.io/certificate-name";

pub(super) enum Verdict {
    AsApplied,
    Apply,
    /// A claim of ours that exists: it may only grow.
    Keep(Box<DynamicObject>),
    Taken(Refusal),
}

impl Cluster<'_> {
    /// Decides what becomes of a child.
    pub(super) async fn check(
        &self,
        child: &Child,
        live: Option<&DynamicObject>,
    ) -> Result<Verdict, ApplyError> {
        let kind = child.kind.as_str();
        let found;
        let live = match live {
            Some(live) => live,
            // It has not our label, the store is behind, or the kind is not watched: ask.
            None => match self.live(child.kind, &child.name).await? {
                Some(live) => {
                    found = live;
                    &found
                }
                None => {
                    let refused = self.meets_secret(child).await?;
                    return Ok(refused.map_or(Verdict::Apply, Verdict::Taken));
                }
            },
        };
        let terminating = || ApplyError::Terminating {
            kind,
            name: child.name.clone(),
        };
        if live.metadata.deletion_timestamp.is_some() {
            return Err(terminating());
        }
        if !self.is_ours(child.kind, live) && !self.is_left_behind(child, live).await? {
            let mut owners = live.owner_references().iter();
            // Of a table of the same name that was deleted: the garbage collector is on its way.
            if owners.any(|owner| owner.kind == TABLE && owner.name == self.server) {
                return Err(terminating());
            }
            return Ok(Verdict::Taken(Refusal {
                reason: NAME_TAKEN,
                message: format!(
                    "{kind} {} exists and belongs to somebody else: rename it, or this VirtualTable",
                    child.name
                ),
            }));
        }
        if child.kind == Kind::PersistentVolumeClaim {
            return Ok(Verdict::Keep(Box::new(live.clone())));
        }
        let live = json!(live);
        if child.kind == Kind::StatefulSet && claim_templates_differ(&child.object, &live) {
            self.orphan_stateful_set(&child.name, &live).await?;
            return Err(terminating());
        }
        Ok(if drift::is_as_applied(&child.object, &live) {
            Verdict::AsApplied
        } else {
            Verdict::Apply
        })
    }

    /// Why a Certificate must not be made, if so: cert-manager would write its key over that of a Secret which somebody else made.
    async fn meets_secret(&self, child: &Child) -> Result<Option<Refusal>, ApplyError> {
        if child.kind != Kind::Certificate {
            return Ok(None);
        }
        // Both have one name.
        let name = &child.name;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), self.namespace);
        let found = secrets.get_metadata_opt(name).await;
        let found = found.map_err(ApplyError::api("get", "Secret", name))?;
        let is_its = |secret: &PartialObjectMeta<Secret>| {
            secret.annotations().get(CERTIFICATE_NAME) == Some(name)
        };
        Ok(found
            .filter(|secret| !is_its(secret))
            .map(|_| Refusal {
                reason: NAME_TAKEN,
                message: format!(
                    "Secret {name} exists and cert-manager did not make it: rename it, or this VirtualTable, or use it by spec.server.tls.mode Secret"
                ),
            }))
    }

    /// Returns a child of the table as last seen: none of another owner.
    pub(crate) fn own_child(&self, kind: Kind, name: &str) -> Option<DynamicObject> {
        let seen = self.watches.child(kind, name, self.namespace);
        seen.filter(|live| self.is_ours(kind, live))
    }

    /// Children carry our uid; the claim of a state has no owner, its label must do.
    pub(crate) fn is_ours(&self, kind: Kind, live: &DynamicObject) -> bool {
        if kind == Kind::PersistentVolumeClaim {
            return names::is_labelled(live.labels(), self.server);
        }
        live.owner_references()
            .iter()
            .any(|owner| owner.uid == self.uid)
    }

    /// Says whether a table of this name left an object behind (`kubectl delete --cascade=orphan`): nobody controls it, it says that it is of this table, and
    /// this operator wrote it. It is taken over.
    async fn is_left_behind(
        &self,
        child: &Child,
        seen: &DynamicObject,
    ) -> Result<bool, ApplyError> {
        let says_so = |live: &DynamicObject| {
            let mut owners = live.owner_references().iter();
            owners.all(|owner| owner.controller != Some(true))
                && names::is_labelled(live.labels(), self.server)
        };
        if !says_so(seen) {
            return Ok(false);
        }
        // A store does not keep who wrote what.
        let live = self.live(child.kind, &child.name).await?;
        let is_ours =
            |entry: &ManagedFieldsEntry| entry.manager.as_deref() == Some(names::FIELD_MANAGER);
        if !live.is_some_and(|live| says_so(&live) && live.managed_fields().iter().any(is_ours)) {
            return Ok(false);
        }
        // It may be this table that leaves it behind: with an owner that is gone it would go too.
        if !self.is_current().await? {
            return Err(ApplyError::Terminating {
                kind: TABLE,
                name: self.server.to_owned(),
            });
        }
        Ok(true)
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
}

/// Says whether the live claim templates are others than the wanted ones.
pub(crate) fn claim_templates_differ(wanted: &Value, live: &Value) -> bool {
    let templates = |object: &Value| {
        object["spec"]["volumeClaimTemplates"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    // A class that is no longer wanted was; one that admission added never was.
    let applied = Rendered::of(live).map_or(Value::Null, |last| last.claims);
    let (wanted, live) = (templates(wanted), templates(live));
    let same = |index: usize, wanted: &Value, live: &Value| {
        let class = |template: &Value| template["spec"]["storageClassName"].clone();
        let had = class(&applied[index]);
        wanted["metadata"]["name"] == live["metadata"]["name"]
            && drift::holds_value(&wanted["spec"], &live["spec"])
            && (had.is_null() || had == class(wanted))
    };
    let mut pairs = wanted.iter().zip(&live).enumerate();
    wanted.len() != live.len() || !pairs.all(|(index, (wanted, live))| same(index, wanted, live))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_is_no_longer_wanted_makes_other_claims_and_one_that_admission_added_none() {
        let templates = |class: Option<&str>| {
            let spec = match class {
                Some(class) => json!({"storageClassName": class}),
                None => json!({}),
            };
            json!([{"metadata": {"name": "cache"}, "spec": spec}])
        };
        let set = |class, applied: Option<&str>| {
            let rendered = json!({"inputs": "", "generations": [], "operator": "", "template": {}, "claims": templates(applied)});
            json!({
                "metadata": {"annotations": {names::RENDERED: rendered.to_string()}},
                "spec": {"volumeClaimTemplates": templates(class)},
            })
        };
        for (wanted, live, applied, differ) in [
            (Some("x"), Some("x"), Some("x"), false),
            (Some("y"), Some("x"), Some("x"), true),
            (None, Some("x"), Some("x"), true),
            (None, Some("x"), None, false),
            (None, None, None, false),
            (Some("x"), None, None, true),
        ] {
            let found = claim_templates_differ(&set(wanted, None), &set(live, applied));
            assert_eq!(found, differ, "{wanted:?} {live:?} {applied:?}");
        }
    }
}
