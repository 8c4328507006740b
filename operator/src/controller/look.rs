//! The stages of a look in their order, from the object as it is stored to what was done about it. What fails ends the look's acting, not the look: the
//! status is written in any case, and says what failed beside what was found out before.

#[cfg(test)]
mod tests;

use std::{sync::OnceLock, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt, api::DynamicObject, runtime::events::EventType};
use serde_json::json;
use tokio::time::Instant;
use vdt_crds::{Server as ServerSpec, VirtualTable, VirtualTableStatus, status::reason};

use super::{Context, LookError, memory::Memory, report::undefined, requeue::Next};
use crate::{
    apply::{
        ApplyError, Cluster, claims,
        rollout::{self, PodView},
    },
    build::{self, Children, Kind, References, Rendered},
    dereference::{self, Belief, Dereferenced},
    held::Held,
    metrics::Outcome,
    status::Problem,
    validate::{self, Refusal, shorten},
    watches::TableRef,
};

/// Nothing of what was sent is believed to be there for longer than this: children of kinds that are not watched are applied again.
pub(super) const RESYNC: Duration = Duration::from_secs(600);

/// A table of which an older generation is known than was acted upon is looked at again after this.
const BEHIND: Duration = Duration::from_secs(1);

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
    pub(super) problems: Vec<Problem>,
    pub(super) claims: Vec<claims::Problem>,
    pub(super) config_hash: Option<String>,
    /// What is on its way out, and holds up that the rest is as it should be.
    pub(super) waiting: Option<String>,
    pub(super) wait: Option<Duration>,
    pub(super) is_busy: bool,
}

impl Acted {
    fn refused(refusal: Refusal) -> Self {
        Self {
            refusal: Some(refusal),
            ..Self::default()
        }
    }

    /// Says whether the spec got its answer: it was acted upon, or refused. A suspended one asks for just what was done about it; one of a table that is
    /// paused asked for something, and nothing was done.
    pub(super) fn is_complete(&self, held: Option<Held>) -> bool {
        self.failure.is_none()
            && self.waiting.is_none()
            && (held != Some(Held::Paused) || self.refusal.is_some())
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

/// Says whether what was applied last is of a newer generation than what is known: a watch hangs, or what it is served from lags behind.
fn is_newer(applied: Option<&Rendered>, known: Option<i64>) -> bool {
    let applied = applied.and_then(|applied| applied.generations.first());
    matches!((applied, known), (Some(applied), Some(known)) if *applied > known)
}

impl Look<'_> {
    /// Does all of it, and says when to look again.
    pub(super) async fn run(&self, memory: &mut Memory) -> Result<Next, LookError> {
        let value = json!(self.object);
        let seen = || serde_json::from_value(value["status"].clone()).unwrap_or_default();
        let last: VirtualTableStatus = memory.unseen_status(self.object).unwrap_or_else(seen);
        let held = Held::of(&self.object.metadata, value["spec"]["suspend"] == true);
        // The other one writes the status too, whatever there is to tell.
        if let Some(after) = self.is_anothers(held, memory).await? {
            let shown = std::mem::take(&mut memory.conditions);
            let shown = shown.iter().map(String::as_str);
            self.context
                .metrics
                .forget(self.namespace, self.name, shown);
            let outcome = Outcome::Success;
            return Ok(Next { after, outcome });
        }
        if self.is_behind() {
            tracing::debug!(
                namespace = self.namespace,
                name = self.name,
                "a newer generation was acted upon than is known"
            );
            return Ok(Next {
                after: BEHIND,
                outcome: Outcome::Success,
            });
        }
        let (table, mut acted) = match serde_json::from_value::<VirtualTable>(value) {
            Ok(table) => {
                let table = validate::acted_upon(table);
                let acted = match validate::check(&table) {
                    Some(refusal) => Acted::refused(refusal),
                    None => self.act(&table, held, memory).await,
                };
                (Some(table), acted)
            }
            // Stored by another version: the API server would not take it today.
            Err(error) => {
                let refusal = Refusal {
                    reason: reason::INVALID_SPEC,
                    message: shorten(&format!("the resource cannot be read: {error}")),
                };
                (None, Acted::refused(refusal))
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

    /// Says whether what was applied last is of a newer generation than what is known, as far as the stores tell.
    fn is_behind(&self) -> bool {
        let set = self.cluster().own_child(Kind::StatefulSet, self.name);
        let applied = set.and_then(|set| Rendered::of(&json!(set)));
        is_newer(applied.as_ref(), self.object.metadata.generation)
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
    async fn act(&self, table: &VirtualTable, held: Option<Held>, memory: &mut Memory) -> Acted {
        let mut acted = Acted::default();
        if let Err(error) = self.try_act(table, held, memory, &mut acted).await {
            acted.failure = Some(error);
        }
        acted
    }

    async fn try_act(
        &self,
        table: &VirtualTable,
        held: Option<Held>,
        memory: &mut Memory,
        acted: &mut Acted,
    ) -> Result<(), LookError> {
        let Some(spec) = &table.spec.server else {
            return Ok(()); // a validated table has one
        };
        let set = json!(self.stateful_set().await?);
        let cluster = self.cluster();
        acted.refusal = validate::check_template(self.name, &set);
        if acted.refusal.is_some() {
            return Ok(());
        }
        let mut children = self.build(table, spec, Rendered::of(&set));
        let seen = cluster.seen_pods();
        if seen
            .iter()
            .any(|pod| pod.template_hash.as_ref() != Some(&children.template_hash))
            && let Some(live) = cluster.own_child(Kind::NetworkPolicy, self.name)
        {
            children.keep_open(&json!(live));
        }
        acted.dereferenced = self.dereference(&children.references, memory).await?;

        let resources = rollout::resources(&children.template()["spec"]);
        let target = rollout::Target {
            replicas: spec.replicas,
            max_unavailable: spec.rollout.max_unavailable,
            template_hash: &children.template_hash,
            restarts: &memory.answers.restarts(self.object.metadata.generation),
            resources: &resources,
            has_claims: children.has_claims(),
            now: Timestamp::now(),
        };
        let plan = rollout::plan(&target, &seen);
        let has_steps = !plan.steps.is_empty();
        acted.plan = Some(plan);
        let fingerprint = acted.dereferenced.fingerprint();
        let reload = |told: &str| build::hash(&json!([told, fingerprint]));
        match held {
            Some(Held::Paused) => return Ok(()),
            Some(Held::Suspended) => {
                if let Some(told) = cluster.suspend().await? {
                    cluster.reload(&seen, &reload(&told)).await?;
                }
                return Ok(());
            }
            None => {}
        }
        acted.refusal = validate::check_caches(spec, &set, cluster.caches());
        if acted.refusal.is_some() {
            return Ok(());
        }
        acted.problems.extend(self.overlap(memory));
        if !self.apply(&children, memory, acted).await? {
            return Ok(());
        }
        acted.config_hash = Some(children.config_hash.clone());
        // Before pods are replaced: a cache opens its volume as large as it is then.
        let claims = self.reconcile_claims(spec, &seen, acted).await;
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
        claims
    }

    /// Follows the references.
    async fn dereference(
        &self,
        references: &References,
        memory: &mut Memory,
    ) -> Result<Dereferenced, LookError> {
        let index = &self.context.watches.references;
        index.set(self.name, self.namespace, &dereference::names(references));
        let changed = index.changed(self.name, self.namespace);
        let generation = self.object.metadata.generation;
        let belief = match memory.generation != generation || changed.is_some() {
            true => Belief::Never,
            false => Belief::ForAWhile,
        };
        let (client, known) = (&self.context.client, &mut memory.known);
        let found =
            dereference::dereference(client, self.namespace, references, known, belief).await;
        let found = found.map_err(|error| LookError::Dereference(Box::new(error)))?;
        // Not before it is known what they are: a look that fails or ends early is followed by one that asks again.
        memory.generation = generation;
        if let Some(seen) = changed {
            index.settle(self.name, self.namespace, seen);
        }
        Ok(found)
    }

    /// Applies the children. Returns whether they are there, so that pods can be made of them.
    async fn apply(
        &self,
        children: &Children,
        memory: &mut Memory,
        acted: &mut Acted,
    ) -> Result<bool, LookError> {
        if memory
            .sent_since
            .is_none_or(|since| since.elapsed() > RESYNC)
        {
            memory.sent.values_mut().for_each(|last| last.hash.clear());
            memory.sent_since = Some(Instant::now());
        }
        match self.cluster().apply(children, &mut memory.sent).await? {
            Ok(applied) => {
                let holds_pods = applied.holds_pods();
                acted.is_busy |= !applied.written.is_empty();
                acted.wait_for(&applied.waiting);
                acted.claims = applied.claims;
                let undefined = applied.undefined.into_iter().map(undefined);
                acted.problems.extend(undefined);
                Ok(!holds_pods)
            }
            Err(refusal) => {
                acted.refusal = Some(refusal);
                Ok(false)
            }
        }
    }

    /// Looks after the claims of caches.
    async fn reconcile_claims(
        &self,
        spec: &ServerSpec,
        seen: &[PodView],
        acted: &mut Acted,
    ) -> Result<(), LookError> {
        let cluster = self.cluster();
        let claims = cluster.reconcile_claims(spec, seen, Timestamp::now());
        let claims = claims.await?;
        let wait = claims.wait_seconds.map(Duration::from_secs);
        acted.wait = acted.wait.into_iter().chain(wait).min();
        acted.claims.extend(claims.problems);
        if !claims.healed.is_empty() {
            self.context.metrics.lose_claims(claims.healed.len());
            let note = format!(
                "deleted {}: the node is gone, the cache starts anew elsewhere",
                claims.healed.join(", ")
            );
            self.publish(EventType::Warning, "NodeLost", note).await;
        }
        Ok(())
    }
}
