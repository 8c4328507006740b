//! The stages of a look in their order, from the object as it is stored to what was done about it. What fails ends the look's acting, not the look: the
//! status is written in any case, and says what failed beside what was found out before.

use std::{sync::OnceLock, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt, api::DynamicObject, runtime::events::EventType};
use serde_json::json;
use tokio::time::Instant;
use vdt_crds::{
    ConditionStatus, Server as ServerSpec, VirtualTable, VirtualTableStatus, status::reason,
};

use super::{Context, LookError, memory::Memory, pace::Next, report::undefined, rivals::OVERLAP};
use crate::{
    apply::{ApplyError, Cluster, claims, rollout},
    build::{self, Children, Kind, Rendered},
    dereference::{self, Dereferenced},
    names, status,
    validate::{self, Refusal, shorten},
    watches::TableRef,
};

/// Nothing of what was sent is believed to be there for longer than this: children of kinds that are not watched are applied again.
const RESYNC: Duration = Duration::from_secs(600);

/// A look at a table.
pub(super) struct Look<'a> {
    pub(super) context: &'a Context,
    pub(super) table: &'a TableRef,
    pub(super) object: &'a DynamicObject,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    /// Identity of a StatefulSet of the table that no store has seen.
    pub(super) unseen_set: OnceLock<String>,
}

/// What acting upon a table came to.
#[derive(Default)]
pub(super) struct Acted {
    pub(super) refusal: Option<Refusal>,
    pub(super) failure: Option<LookError>,
    pub(super) dereferenced: Dereferenced,
    /// Where the roll is. None where the look ended before it was known.
    pub(super) plan: Option<rollout::Plan>,
    pub(super) others: Vec<(&'static str, ConditionStatus, &'static str, String)>,
    pub(super) claims: Vec<claims::Problem>,
    pub(super) config_hash: Option<String>,
    /// What is on its way out, and holds up that the rest is as it should be.
    pub(super) waiting: Option<String>,
    pub(super) wait: Option<Duration>,
    pub(super) is_busy: bool,
}

impl Acted {
    /// Says whether the spec got its answer: it was acted upon, or refused. A suspended one asks for just what was done about it; one of a table that is
    /// paused asked for something, and nothing was done.
    pub(super) fn is_complete(&self, held: Option<&'static str>) -> bool {
        self.failure.is_none()
            && self.waiting.is_none()
            && (held != Some(status::PAUSED) || self.refusal.is_some())
    }

    /// Takes down what is on its way out.
    fn wait_for(&mut self, waiting: &[(&'static str, String)]) {
        if waiting.is_empty() {
            return;
        }
        let names: Vec<String> = waiting
            .iter()
            .map(|(kind, name)| format!("{kind} {name}"))
            .collect();
        let verb = if names.len() == 1 { "is" } else { "are" };
        self.waiting = Some(format!("{} {verb} being deleted", names.join(", ")));
        self.is_busy = true;
        self.wait = Some(Duration::from_secs(1));
    }
}

impl Look<'_> {
    /// Does all of it, and says when to look again.
    pub(super) async fn run(&self, memory: &mut Memory) -> Result<Next, LookError> {
        let value = json!(self.object);
        let last: VirtualTableStatus =
            serde_json::from_value(value["status"].clone()).unwrap_or_default();
        let held = self.held(value["spec"]["suspend"] == true);
        // The other one writes the status too, whatever there is to tell.
        if let Some(after) = self.is_anothers(held, memory).await? {
            let shown = std::mem::take(&mut memory.conditions);
            let shown = shown.iter().map(String::as_str);
            self.context
                .metrics
                .forget(self.namespace, self.name, shown);
            let is_stalled = false;
            return Ok(Next { after, is_stalled });
        }
        let (table, mut acted) = match serde_json::from_value::<VirtualTable>(value) {
            Ok(table) => match validate::check(&table) {
                Some(refusal) => (
                    Some(table),
                    Acted {
                        refusal: Some(refusal),
                        ..Acted::default()
                    },
                ),
                None => {
                    let acted = self.act(&table, held, memory).await;
                    (Some(table), acted)
                }
            },
            // Stored by another version: the API server would not take it today.
            Err(error) => {
                let refusal = Refusal {
                    reason: reason::INVALID_SPEC,
                    message: shorten(&format!("the resource cannot be read: {error}")),
                };
                (
                    None,
                    Acted {
                        refusal: Some(refusal),
                        ..Acted::default()
                    },
                )
            }
        };
        let spec = table
            .as_ref()
            .and_then(|table| table.spec.server.clone())
            .unwrap_or_default();
        let status = self
            .status(table.as_ref(), &spec, &acted, held, &last, memory)
            .await;
        let next = self.next(status.as_ref().unwrap_or(&last), &acted, &spec, memory);
        let written = match &status {
            Some(status) => self.write(status, &last, memory).await,
            None => Ok(()),
        };
        if let Some(failure) = acted.failure.take() {
            return Err(failure);
        }
        written.map_err(|error| LookError::Status(Box::new(error)))?;
        Ok(next)
    }

    /// Why changes are stopped, if they are.
    fn held(&self, is_suspended: bool) -> Option<&'static str> {
        if self
            .object
            .annotations()
            .get(names::PAUSED)
            .is_some_and(|paused| paused == "true")
        {
            Some(status::PAUSED)
        } else {
            is_suspended.then_some(reason::SUSPENDED)
        }
    }

    pub(super) fn cluster(&self) -> Cluster<'_> {
        Cluster {
            client: &self.context.client,
            watches: &self.context.watches,
            namespace: self.namespace,
            server: self.name,
            uid: self.object.metadata.uid.as_deref().unwrap_or_default(),
            generation: self.object.metadata.generation,
            unseen_set: self.unseen_set.get().map(String::as_str),
        }
    }

    /// Returns the StatefulSet of the table. One that is in no store may have lost the label that it is found by: it is read, or its template would be rendered
    /// anew and all pods be those of another one.
    async fn stateful_set(&self) -> Result<Option<DynamicObject>, ApplyError> {
        let (kind, cluster) = (Kind::StatefulSet, self.cluster());
        // That of a table of the same name that was deleted says nothing about this one.
        let is_ours = |set: &DynamicObject| cluster.is_ours(kind, set);
        let seen = self.context.watches.child(kind, self.name, self.namespace);
        if seen.is_some() {
            return Ok(seen.filter(is_ours));
        }
        let live = cluster.live(kind, self.name).await?.filter(is_ours);
        if let Some(uid) = live.as_ref().and_then(ResourceExt::uid) {
            self.unseen_set.get_or_init(|| uid);
        }
        Ok(live)
    }

    fn build(
        &self,
        table: &VirtualTable,
        spec: &ServerSpec,
        rendered: Option<Rendered>,
    ) -> Children {
        let server = build::Server {
            namespace: self.namespace,
            name: self.name,
            spec,
            owner: json!(table.controller_owner_ref(&())),
            shipped: &self.context.shipped,
            rendered,
        };
        build::build(&server, &[table])
    }

    /// Dereference, build, apply, roll. What fails is kept beside what was found out before.
    async fn act(
        &self,
        table: &VirtualTable,
        held: Option<&'static str>,
        memory: &mut Memory,
    ) -> Acted {
        let mut acted = Acted::default();
        if let Err(error) = self.try_act(table, held, memory, &mut acted).await {
            acted.failure = Some(error);
        }
        acted
    }

    async fn try_act(
        &self,
        table: &VirtualTable,
        held: Option<&'static str>,
        memory: &mut Memory,
        acted: &mut Acted,
    ) -> Result<(), LookError> {
        let Some(spec) = &table.spec.server else {
            return Ok(()); // a validated table has one
        };
        let context = self.context;
        let set = self.stateful_set().await?;
        let cluster = self.cluster();
        let seen_set = json!(set);
        acted.refusal = validate::check_template(self.name, &seen_set);
        if acted.refusal.is_some() {
            return Ok(());
        }
        let children = self.build(table, spec, Rendered::of(&seen_set));
        let references = dereference::names(&children.references);
        context
            .watches
            .references
            .set(self.name, self.namespace, &references);
        let changed = context
            .watches
            .references
            .changed(self.name, self.namespace);
        let generation = self.object.metadata.generation;
        let afresh = memory.generation != generation || changed.is_some();
        acted.dereferenced = dereference::dereference(
            &context.client,
            self.namespace,
            &children.references,
            &mut memory.known,
            afresh,
        )
        .await
        .map_err(|error| LookError::Dereference(Box::new(error)))?;
        // Not before it is known what they are: a look that fails or ends early is followed by one that asks again.
        memory.generation = generation;
        if let Some(seen) = changed {
            let references = &context.watches.references;
            references.settle(self.name, self.namespace, seen);
        }

        let template = children
            .stateful_set()
            .map(|set| set.object["spec"]["template"].clone())
            .unwrap_or_default();
        let resources = rollout::resources(&template["spec"]);
        let target = rollout::Target {
            replicas: spec.replicas,
            max_unavailable: spec.rollout.max_unavailable,
            template_hash: &children.template_hash,
            resources: &resources,
        };
        let seen = cluster.seen_pods();
        let plan = rollout::plan(&target, &seen);
        let has_steps = !plan.steps.is_empty();
        acted.plan = Some(plan);
        let fingerprint = acted.dereferenced.fingerprint();
        let reload = |told: &str| build::hash(&json!([told, fingerprint]));
        match held {
            Some(status::PAUSED) => return Ok(()),
            Some(_) => {
                if let Some(told) = cluster.suspend().await? {
                    cluster.reload(&seen, &reload(&told)).await?;
                }
                return Ok(());
            }
            None => {}
        }
        let claims = set
            .as_ref()
            .and_then(|set| set.data["spec"]["volumeClaimTemplates"].as_array());
        let has_claims = claims.is_some_and(|claims| !claims.is_empty());
        acted.refusal = validate::check_caches(spec, has_claims, cluster.caches());
        if acted.refusal.is_some() {
            return Ok(());
        }
        acted.others.extend(memory.hold.other().map(|other| {
            let own = &self.context.shipped.operator;
            let message = format!("operator {other} acts upon this table as well as {own}, which goes on: their scopes overlap");
            ("SoleOperator", ConditionStatus::False, OVERLAP, message)
        }));
        if memory
            .sent_since
            .is_none_or(|since| since.elapsed() > RESYNC)
        {
            memory.sent.values_mut().for_each(|last| last.hash.clear());
            memory.sent_since = Some(Instant::now());
        }
        match cluster.apply(&children, &mut memory.sent).await? {
            Ok(applied) => {
                acted.is_busy |= !applied.written.is_empty();
                acted.wait_for(&applied.waiting);
                let holds_pods = applied.holds_pods();
                acted.claims = applied.claims;
                for kind in applied.undefined {
                    acted.others.push(undefined(kind));
                }
                if holds_pods {
                    return Ok(());
                }
            }
            Err(refusal) => {
                acted.refusal = Some(refusal);
                return Ok(());
            }
        }
        acted.config_hash = Some(children.config_hash.clone());
        if has_steps {
            acted.is_busy = true;
            match cluster.roll(&target).await? {
                Ok(plan) => acted.plan = Some(plan),
                Err(refusal) => acted.refusal = Some(refusal),
            }
        }
        let told = reload(&children.config_hash);
        cluster.reload(&seen, &told).await?;
        if memory.reload.as_ref() != Some(&told) && memory.reload.replace(told).is_some() {
            memory.reloaded = Some(Instant::now());
        }
        let claims = cluster.tend_claims(spec, &seen, Timestamp::now()).await?;
        let wait = claims.wait_seconds.map(Duration::from_secs);
        acted.wait = acted.wait.into_iter().chain(wait).min();
        acted.claims.extend(claims.problems);
        if !claims.healed.is_empty() {
            context.metrics.lose_claims(claims.healed.len());
            let note = format!(
                "deleted {}: the node is gone, the cache starts anew elsewhere",
                claims.healed.join(", ")
            );
            self.publish(EventType::Warning, "NodeLost", note).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_neither_acted_upon_nor_refused_is_not_observed() {
        let refusal = || {
            Some(Refusal {
                reason: reason::INVALID_SPEC,
                message: String::new(),
            })
        };
        for (held, refusal, failure, is_complete) in [
            (None, None, None, true),
            (None, refusal(), None, true),
            (None, None, Some(LookError::Slow), false),
            (Some(reason::SUSPENDED), None, None, true),
            (Some(reason::SUSPENDED), None, Some(LookError::Slow), false),
            (Some(status::PAUSED), None, None, false),
            (Some(status::PAUSED), refusal(), None, true),
        ] {
            let acted = Acted {
                refusal,
                failure,
                ..Acted::default()
            };
            assert_eq!(acted.is_complete(held), is_complete, "{held:?}");
        }
        let mut acted = Acted::default();
        acted.wait_for(&[("Service", "manuals".to_owned())]);
        assert!(!acted.is_complete(None));
        assert_eq!(
            acted.waiting.as_deref(),
            Some("Service manuals is being deleted")
        );
    }
}
