//! One look at one table: dereference, validate, build, apply, status.
//!
//! Every look begins at the start and holds nothing that a restart would miss; what is kept between looks saves requests and is good for nothing else.
//! A look that fails writes a status that says so and is repeated with back-off. A look is bounded in time.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    sync::{Arc, PoisonError},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DynamicObject, Patch, PatchParams},
    runtime::{
        controller::Action,
        events::{Event, EventType, Recorder},
        reflector::ObjectRef,
    },
};
use serde_json::json;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use vdt_crds::{
    ConditionStatus, Server as ServerSpec, TlsMode, VirtualTable, VirtualTableStatus,
    status::{condition, reason},
};

use crate::{
    apply::{ApplyError, Cluster, claims, pod_views, rollout},
    backoff::Backoff,
    build::{self, Children, Kind, Shipped},
    dereference::{self, Dereferenced, Known},
    metrics::{Metrics, Result as Outcome},
    names,
    status::{
        self, Observed,
        gather::{PodReport, Pods},
    },
    token::Signer,
    validate::{self, Refusal, shorten},
    watches::{TableRef, Watches, table_resource, unpack},
};

/// Longest look at one table.
const LOOK: Duration = Duration::from_secs(60);
/// From one look to the next where all is well: this old may a status be.
const STEADY: Duration = Duration::from_secs(20);
/// The same while something is under way.
const BUSY: Duration = Duration::from_secs(3);
/// This long after a Secret or ConfigMap of it has changed, a table is looked at as if something were under way: what comes of it shows in the pods.
const FOLLOW: Duration = Duration::from_secs(30);
/// The same where nothing can happen without an event.
const IDLE: Duration = Duration::from_secs(600);
/// A missing Secret is asked for this often, for [`EAGER`]; then every [`STEADY`].
const MISSING: Duration = Duration::from_secs(4);
const EAGER: Duration = Duration::from_secs(600);
/// The same while pods are on their way to follow a changed manifest.
const FOLLOWING: Duration = Duration::from_secs(1);
/// Pods are not asked more often than this.
const ASK: Duration = Duration::from_millis(800);
/// Artifacts and version are not written more often than this.
const COUNT: Duration = Duration::from_secs(30);
/// Children of kinds that are not watched are applied again after this.
const RESYNC: Duration = Duration::from_secs(600);

/// What all looks share.
pub(crate) struct Context {
    /// The API server.
    pub(crate) client: Client,
    /// What is seen of it.
    pub(crate) watches: Watches,
    /// Asks pods.
    pub(crate) pods: Pods,
    /// Signs what they want to see.
    pub(crate) signer: Signer,
    /// What the operator brings along.
    pub(crate) shipped: Shipped,
    /// Writes events.
    pub(crate) recorder: Recorder,
    /// Counts.
    pub(crate) metrics: Metrics,
    /// Kinds of children that not every cluster has and this one does.
    pub(crate) defined: HashSet<Kind>,
    /// Says that the process ends: pods are not waited for any more.
    pub(crate) ending: CancellationToken,
    /// What is kept between looks.
    pub(crate) memory: std::sync::Mutex<HashMap<TableRef, Arc<tokio::sync::Mutex<Memory>>>>,
}

/// What is kept of one table between looks.
#[derive(Default)]
pub(crate) struct Memory {
    /// Whose memory it is: a table of the same name that was made since begins anew.
    uid: Option<String>,
    backoff: Backoff,
    known: Known,
    generation: Option<i64>,
    unwatched: HashMap<(Kind, String), String>,
    unwatched_since: Option<Instant>,
    reports: Vec<PodReport>,
    asked: Option<Instant>,
    counted: Option<Instant>,
    missing_since: Option<Instant>,
    /// What the pods were last made to read again, and since when; not for what was found at the first look.
    reload: Option<String>,
    reloaded: Option<Instant>,
    conditions: Vec<String>,
    refused: rollout::Refused,
}

/// A look did not go through.
#[derive(Debug, thiserror::Error)]
enum LookError {
    /// A child could not be brought to what it should be.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// References could not be followed.
    #[error("following references failed")]
    Dereference(#[source] Box<kube::Error>),
    /// The status could not be written.
    #[error("writing status failed")]
    Status(#[source] Box<kube::Error>),
    /// It took too long.
    #[error("gave up after {} s", LOOK.as_secs())]
    Slow,
}

/// Looks at one table. Never fails: a failure is a back-off.
pub(crate) async fn reconcile(
    object: Arc<DynamicObject>,
    context: Arc<Context>,
) -> Result<Action, Infallible> {
    let key = ObjectRef::from_obj_with(&*object, table_resource());
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    if object.metadata.deletion_timestamp.is_some() {
        context.forget(&key);
        return Ok(Action::await_change());
    }
    let memory = context.memory_of(&key, &name, object.uid());
    let mut memory = memory.lock().await;
    let generation = object.metadata.generation;
    if let Some(left) = memory.backoff.remaining(generation) {
        return Ok(Action::requeue(left));
    }
    let began = Instant::now();
    context.metrics.begin();
    let unpacked = unpack(&object);
    let look = Look {
        context: &context,
        object: &unpacked,
        namespace: &namespace,
        name: &name,
    };
    let result = match timeout(LOOK, Box::pin(look.run(&mut memory))).await {
        Ok(result) => result,
        Err(_) => Err(LookError::Slow),
    };
    let action = match result {
        Ok(next) => {
            memory.backoff.succeed();
            context
                .metrics
                .end(Outcome::Success, next.is_stalled, began.elapsed());
            // Spread out: a thousand tables that started together should not be looked at together.
            Action::requeue(
                next.after
                    .mul_f64(0.9 + 0.2 * f64::from(random()) / f64::from(u32::MAX)),
            )
        }
        Err(error) => {
            let wait = memory.backoff.fail(generation, random());
            context.metrics.end(Outcome::Error, false, began.elapsed());
            tracing::warn!(
                namespace,
                name,
                error = chain(&error),
                retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                "a table is not as it should be; trying again"
            );
            Action::requeue(wait)
        }
    };
    Ok(action)
}

/// An error with everything that caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    shorten(&text)
}

/// A random number. It spreads looks and waits, nothing depends on it being good.
fn random() -> u32 {
    let mut bytes = [0; 4];
    match ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes) {
        Ok(()) => u32::from_le_bytes(bytes),
        Err(_) => u32::MAX / 2,
    }
}

impl Context {
    fn memory_of(
        &self,
        key: &TableRef,
        server: &str,
        uid: Option<String>,
    ) -> Arc<tokio::sync::Mutex<Memory>> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let new = |conditions| {
            let mut memory = Memory {
                uid: uid.clone(),
                conditions,
                ..Memory::default()
            };
            // Whether an earlier operator made these is not known: the first sweep asks.
            for (kind, name) in [
                (Kind::PodMonitor, server.to_owned()),
                (Kind::Certificate, names::certificate(server)),
            ] {
                if self.defined.contains(&kind) {
                    memory.unwatched.insert((kind, name), String::new());
                }
            }
            Arc::new(tokio::sync::Mutex::new(memory))
        };
        let known = memory.entry(key.clone()).or_insert_with(|| new(Vec::new()));
        // Looks at one table follow each other, so nobody holds that of an older one. What metrics show of it has to be taken back.
        let older = known
            .try_lock()
            .ok()
            .filter(|known| known.uid != uid)
            .map(|mut known| std::mem::take(&mut known.conditions));
        if let Some(conditions) = older {
            *known = new(conditions);
        }
        known.clone()
    }

    /// Drops everything that is kept of a table.
    pub(crate) fn forget(&self, key: &TableRef) {
        let removed = self
            .memory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
        let Some(namespace) = &key.namespace else {
            return;
        };
        if let Some(memory) = removed
            && let Ok(memory) = memory.try_lock()
        {
            self.metrics.forget(
                namespace,
                &key.name,
                memory.conditions.iter().map(String::as_str),
            );
        }
        self.watches
            .references
            .set(&key.name, namespace, &Default::default());
    }
}

/// When to look again.
struct Next {
    after: Duration,
    is_stalled: bool,
}

struct Look<'a> {
    context: &'a Context,
    object: &'a DynamicObject,
    namespace: &'a str,
    name: &'a str,
}

/// What acting upon a table came to.
#[derive(Default)]
struct Acted {
    refusal: Option<Refusal>,
    failure: Option<LookError>,
    dereferenced: Dereferenced,
    plan: rollout::Plan,
    others: Vec<(&'static str, ConditionStatus, &'static str, String)>,
    claims: Vec<claims::Problem>,
    config_hash: Option<String>,
    wait: Option<Duration>,
    is_busy: bool,
}

impl Look<'_> {
    async fn run(&self, memory: &mut Memory) -> Result<Next, LookError> {
        let value = json!(self.object);
        let last: VirtualTableStatus =
            serde_json::from_value(value["status"].clone()).unwrap_or_default();
        let held = self.held(value["spec"]["suspend"] == true);
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
        memory.generation = self.object.metadata.generation;
        let spec = table
            .as_ref()
            .and_then(|table| table.spec.server.clone())
            .unwrap_or_default();
        let status = self
            .status(table.as_ref(), &spec, &acted, held, &last, memory)
            .await;
        let next = self.next(&status, &acted, &spec, memory);
        let written = self.write(&status, &last, memory).await;
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

    fn cluster(&self) -> Cluster<'_> {
        Cluster {
            client: &self.context.client,
            watches: &self.context.watches,
            namespace: self.namespace,
            server: self.name,
            uid: self.object.metadata.uid.as_deref().unwrap_or_default(),
            generation: self.object.metadata.generation,
        }
    }

    fn build(&self, table: &VirtualTable, spec: &ServerSpec) -> Children {
        let template = self.context.watches.child(
            Kind::ConfigMap,
            &names::template(self.name),
            self.namespace,
        );
        let server = build::Server {
            namespace: self.namespace,
            name: self.name,
            spec,
            owner: json!(table.controller_owner_ref(&())),
            shipped: &self.context.shipped,
            rendered: template.and_then(|template| build::read_template(&template.data)),
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
            // On its way out and made again: not a failure that is worth a warning.
            if matches!(error, LookError::Apply(ApplyError::Terminating { .. })) {
                tracing::debug!(namespace = self.namespace, name = self.name, %error, "waiting");
                acted.is_busy = true;
                acted.wait = Some(Duration::from_secs(1));
            } else {
                acted.failure = Some(error);
            }
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
        let cluster = self.cluster();
        let children = self.build(table, spec);
        let references = dereference::names(&children.references);
        context
            .watches
            .references
            .set(self.name, self.namespace, &references);
        let afresh = memory.generation != self.object.metadata.generation
            || context
                .watches
                .references
                .take_changed(self.name, self.namespace);
        acted.dereferenced = dereference::dereference(
            &context.client,
            self.namespace,
            &children.references,
            &mut memory.known,
            afresh,
        )
        .await
        .map_err(|error| LookError::Dereference(Box::new(error)))?;

        let set = context
            .watches
            .child(Kind::StatefulSet, self.name, self.namespace);
        let template = children
            .stateful_set()
            .map(|set| set.object["spec"]["template"].clone())
            .unwrap_or_default();
        let resources = rollout::resources(&template["spec"]);
        let mut target = rollout::Target {
            replicas: spec.replicas,
            max_unavailable: spec.rollout.max_unavailable,
            template_hash: &children.template_hash,
            resources: &resources,
            asked: template["metadata"]["annotations"][names::ASKED]
                .as_str()
                .unwrap_or_default(),
            refused: memory.refused.of(&resources),
        };
        let seen = pod_views(&context.watches.pods_of(self.name, self.namespace));
        acted.plan = rollout::plan(&target, &seen);
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
        let replicas = set
            .as_ref()
            .and_then(|set| set.data["spec"]["replicas"].as_i64())
            .unwrap_or_default();
        acted.refusal = validate::check_caches(spec, has_claims, replicas);
        if acted.refusal.is_some() {
            return Ok(());
        }
        if memory
            .unwatched_since
            .is_none_or(|since| since.elapsed() > RESYNC)
        {
            memory.unwatched.values_mut().for_each(String::clear);
            memory.unwatched_since = Some(Instant::now());
        }
        match cluster.apply(&children, &mut memory.unwatched).await? {
            Ok(applied) => {
                acted.is_busy |= !applied.written.is_empty();
                acted.claims = applied.claims;
                for kind in applied.undefined {
                    acted.others.push(undefined(kind));
                }
            }
            Err(refusal) => {
                acted.refusal = Some(refusal);
                return Ok(());
            }
        }
        acted.config_hash = Some(children.config_hash.clone());
        if !acted.plan.steps.is_empty() {
            acted.is_busy = true;
            acted.plan = cluster.roll(&mut target).await?;
            memory.refused.keep(target);
        }
        let told = reload(&children.config_hash);
        cluster.reload(&seen, &told).await?;
        if memory.reload.as_ref() != Some(&told) && memory.reload.replace(told).is_some() {
            memory.reloaded = Some(Instant::now());
        }
        let claims = cluster.tend_claims(spec, &seen, Timestamp::now()).await?;
        acted.wait = claims.wait_seconds.map(Duration::from_secs);
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

    async fn status(
        &self,
        table: Option<&VirtualTable>,
        spec: &ServerSpec,
        acted: &Acted,
        held: Option<&'static str>,
        last: &VirtualTableStatus,
        memory: &mut Memory,
    ) -> VirtualTableStatus {
        let context = self.context;
        let pods = pod_views(&context.watches.pods_of(self.name, self.namespace));
        if memory.asked.is_none_or(|asked| asked.elapsed() >= ASK) {
            let audience = format!("{}/{}", self.namespace, self.name);
            // A look that ends soon lets another replica begin soon: it says what was known before.
            tokio::select! {
                reports = context.pods.ask(&context.signer, &audience, &pods) => {
                    memory.reports = reports;
                    memory.asked = Some(Instant::now());
                }
                () = context.ending.cancelled() => {}
            }
        }
        let path = table.map(VirtualTable::table_path).unwrap_or_default();
        let scheme = if spec.tls.mode == TlsMode::Disabled {
            "http"
        } else {
            "https"
        };
        let observed = Observed {
            table_path: &path,
            // What was not acted upon was not observed.
            generation: match acted.failure {
                Some(_) => last.observed_generation,
                None => self.object.metadata.generation,
            },
            replicas: spec.replicas,
            pods: &pods,
            reports: &memory.reports,
            updated: acted.plan.updated,
            outdated: acted.plan.outdated,
            refusal: acted.refusal.as_ref(),
            failure: acted.failure.as_ref().map(|failure| chain(failure)),
            missing: acted.dereferenced.problem(),
            held,
            others: acted
                .others
                .iter()
                .cloned()
                .chain(claims_ready(&acted.claims))
                .collect(),
            endpoint: Some(format!(
                "{scheme}://{}.{}.svc:{}",
                self.name,
                self.namespace,
                build::DATA_PORT
            )),
            selector: names::selector_text(self.name),
            config_hash: acted.config_hash.clone(),
            may_count: last.version.is_none()
                || memory
                    .counted
                    .is_none_or(|counted| counted.elapsed() >= COUNT),
        };
        status::compute(&observed, last, Timestamp::now())
    }

    /// Decides when to look again.
    fn next(
        &self,
        status: &VirtualTableStatus,
        acted: &Acted,
        spec: &ServerSpec,
        memory: &mut Memory,
    ) -> Next {
        let find = |kind: &str| status.conditions.iter().find(|one| one.type_ == kind);
        let is_stalled = find(condition::STALLED).is_some();
        let is_missing = !acted.dereferenced.missing.is_empty();
        if is_missing {
            memory.missing_since.get_or_insert_with(Instant::now);
        } else {
            memory.missing_since = None;
        }
        let is_ready = find(condition::READY).is_some_and(|ready| ready.status == "True");
        let is_followed = memory
            .reloaded
            .is_some_and(|since| since.elapsed() < FOLLOW);
        let mut after = if memory
            .missing_since
            .is_some_and(|since| since.elapsed() < EAGER)
        {
            MISSING
        } else if find(condition::RECONCILING).is_some_and(|one| one.reason == status::FOLLOWING) {
            FOLLOWING
        } else if acted.is_busy || is_followed || (!is_ready && !is_stalled && !is_missing) {
            BUSY
        } else if spec.replicas == 0 && status.replicas == Some(0) {
            IDLE
        } else {
            STEADY
        };
        if let Some(wait) = acted.wait {
            after = after.min(wait + Duration::from_secs(1));
        }
        Next { after, is_stalled }
    }

    /// Writes the status where it changed, and says so in an event where somebody would want to know.
    async fn write(
        &self,
        status: &VirtualTableStatus,
        last: &VirtualTableStatus,
        memory: &mut Memory,
    ) -> Result<(), kube::Error> {
        let types: Vec<String> = status
            .conditions
            .iter()
            .map(|one| one.type_.clone())
            .collect();
        let gone = memory
            .conditions
            .iter()
            .filter(|one| !types.contains(one))
            .map(String::as_str);
        self.context.metrics.forget(self.namespace, self.name, gone);
        self.context
            .metrics
            .show(self.namespace, self.name, &status.conditions);
        memory.conditions = types;
        if status == last {
            return Ok(());
        }
        if status.version != last.version || status.artifacts != last.artifacts {
            memory.counted = Some(Instant::now());
        }
        let patch = json!({
            "apiVersion": "vdt.io/v1alpha1",
            "kind": "VirtualTable",
            // One of the same name that was made since is another one.
            "metadata": {"name": self.name, "uid": self.object.metadata.uid},
            "status": status,
        });
        let api: Api<DynamicObject> = Api::namespaced_with(
            self.context.client.clone(),
            self.namespace,
            &table_resource(),
        );
        let manager = PatchParams::apply(names::STATUS_MANAGER).force();
        match api
            .patch_status(self.name, &manager, &Patch::Apply(&patch))
            .await
        {
            Ok(_) => {}
            Err(kube::Error::Api(refusal)) if refusal.is_not_found() || refusal.is_conflict() => {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let of = |status: &VirtualTableStatus| {
            let found = status
                .conditions
                .iter()
                .find(|one| one.type_ == condition::READY);
            found.map(|one| (one.status.clone(), one.reason.clone(), one.message.clone()))
        };
        if let (before, Some((now, reason, message))) = (of(last), of(status))
            && before.is_none_or(|(status, why, _)| (&status, &why) != (&now, &reason))
            && now != "Unknown"
        {
            let is_problem = status
                .conditions
                .iter()
                .any(|one| one.type_ == condition::STALLED)
                || (now == "False"
                    && ![status::ROLLING_OUT, status::PODS_NOT_READY].contains(&reason.as_str()));
            let kind = if is_problem {
                EventType::Warning
            } else {
                EventType::Normal
            };
            self.publish(kind, &reason, message).await;
        }
        Ok(())
    }

    /// Publishes an event. One that is lost is lost.
    async fn publish(&self, kind: EventType, reason: &str, note: String) {
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(shorten(&note)),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let reference = self.object.object_ref(&table_resource());
        if let Err(error) = self.context.recorder.publish(&event, &reference).await {
            tracing::debug!(namespace = self.namespace, name = self.name, %error, "an event was not written");
        }
    }
}

/// A condition about claims that are not as they should be.
fn claims_ready(
    problems: &[claims::Problem],
) -> Option<(&'static str, ConditionStatus, &'static str, String)> {
    let reason = problems.first()?.reason;
    let messages: Vec<&str> = problems
        .iter()
        .map(|problem| problem.message.as_str())
        .collect();
    Some((
        "ClaimsReady",
        ConditionStatus::False,
        reason,
        messages.join("; "),
    ))
}

/// A condition about a kind that the cluster does not have.
fn undefined(kind: Kind) -> (&'static str, ConditionStatus, &'static str, String) {
    let (condition, field) = match kind {
        Kind::Certificate => ("CertificateReady", "spec.server.tls.mode: CertManager"),
        _ => (
            "MonitoringReady",
            "spec.server.monitoring.podMonitor: Enabled",
        ),
    };
    let message = format!(
        "{field} needs the definitions of {}, which this cluster does not have",
        kind.group()
    );
    (
        condition,
        ConditionStatus::False,
        "DefinitionMissing",
        message,
    )
}
