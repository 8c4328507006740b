//! What a look tells: the status of the table, its metrics, and an event where somebody would want to know. Fast counters are written no more often than is
//! good for anybody; a status that did not change is not written.

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::{
    Api, Resource,
    api::{DynamicObject, Patch, PatchParams},
    runtime::events::{Event, EventType},
};
use serde_json::json;
use tokio::time::Instant;
use vdt_crds::{
    Server as ServerSpec, TlsMode, VirtualTable, VirtualTableStatus, status::condition,
};

use super::{
    look::{Acted, Look},
    memory::Memory,
    told,
};
use crate::{
    apply::{claims, rollout::PodView},
    build::{self, Kind},
    held::Held,
    names,
    status::{self, Absent, Observed, Problem},
    watches::table_resource,
};

/// Artifacts and version are not written more often than this.
const COUNT: Duration = Duration::from_secs(30);
/// The API server takes no longer note of an event.
const NOTE_BYTES_MAX: usize = 1024;
/// Reason: the cluster does not have the kind of a child.
const DEFINITION_MISSING: &str = "DefinitionMissing";

/// A StatefulSet makes a pod that went within a second or two. After this it does not, and its events say why.
const ABSENT: Duration = Duration::from_secs(15);

impl Look<'_> {
    /// Asks the pods, and computes the status from what they say and what is seen. None while nobody knows what they say, which is told soon: what was written
    /// by the operator before this one is not taken back meanwhile.
    pub(super) async fn status(
        &self,
        table: Option<&VirtualTable>,
        spec: &ServerSpec,
        acted: &Acted,
        held: Option<Held>,
        last: &VirtualTableStatus,
        memory: &mut Memory,
    ) -> Option<VirtualTableStatus> {
        let context = self.context;
        let pods = self.cluster().seen_pods();
        let path = table.map(VirtualTable::table_path).unwrap_or_default();
        memory
            .answers
            .gather(context, self.table, &path, &pods)
            .await;
        let absent = absent(self.name, spec.replicas, &pods, memory);
        let scheme = if spec.tls.mode == TlsMode::Disabled {
            "http"
        } else {
            "https"
        };
        let observed = Observed {
            table_path: &path,
            generation: match acted.is_complete(held) {
                true => self.object.metadata.generation,
                false => last.observed_generation,
            },
            replicas: spec.replicas,
            pods: &pods,
            reports: memory.answers.reports()?,
            updated: acted.plan.as_ref().map(|plan| plan.updated(&pods)),
            outdated: acted.plan.as_ref().map_or(0, |plan| plan.outdated),
            latest: acted.plan.as_ref().map_or(&[], |plan| &plan.latest),
            absent: absent.as_deref().map(|pod| Absent {
                pod,
                set: self.name,
            }),
            refusal: acted.refusal.as_ref(),
            failure: acted.failure.as_ref().map(|failure| told(failure)),
            waiting: acted.waiting.as_deref(),
            missing: acted.dereferenced.problem(),
            held,
            problems: acted
                .problems
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
        Some(status::compute(&observed, last, Timestamp::now()))
    }

    /// Writes the status where it changed, and says so in an event where somebody would want to know.
    pub(super) async fn write(
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
        if status.version != last.version
            || status.artifacts != last.artifacts
            || status.sources != last.sources
        {
            memory.counted = Some(Instant::now());
        }
        let patch = json!({
            "apiVersion": vdt_crds::API_VERSION,
            "kind": vdt_crds::KIND,
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
            Ok(answered) => memory.wrote(status, &answered),
            Err(kube::Error::Api(refusal)) if refusal.is_not_found() || refusal.is_conflict() => {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        if let Some((kind, ready)) = event_of(last, status) {
            self.publish(kind, &ready.reason, ready.message.clone())
                .await;
        }
        Ok(())
    }

    /// Publishes an event. One that is lost is lost.
    pub(super) async fn publish(&self, kind: EventType, reason: &str, note: String) {
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(note_of(&note)),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let reference = self.object.object_ref(&table_resource());
        if let Err(error) = self.context.recorder.publish(&event, &reference).await {
            tracing::debug!(namespace = self.namespace, name = self.name, %error, "an event was not written");
        }
    }
}

/// What an event tells of a status that is written over `last`: its kind, and Ready as it is now. Nothing while Ready is as it was, whatever its message says.
fn event_of<'a>(
    last: &VirtualTableStatus,
    now: &'a VirtualTableStatus,
) -> Option<(EventType, &'a Condition)> {
    let ready = find(now, condition::READY)?;
    let is_same =
        |before: &Condition| before.status == ready.status && before.reason == ready.reason;
    if find(last, condition::READY).is_some_and(is_same) || ready.status == "Unknown" {
        return None;
    }
    let passing = [
        status::ROLLING_OUT,
        status::PODS_NOT_READY,
        status::TERMINATING,
    ];
    let is_failing = ready.status == "False" && !passing.contains(&ready.reason.as_str());
    let kind = match is_failing || find(now, condition::STALLED).is_some() {
        true => EventType::Warning,
        false => EventType::Normal,
    };
    Some((kind, ready))
}

fn find<'a>(status: &'a VirtualTableStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|one| one.type_ == kind)
}

/// A text as an event takes it: of [`NOTE_BYTES_MAX`] bytes, not characters.
fn note_of(text: &str) -> String {
    if text.len() <= NOTE_BYTES_MAX {
        return text.to_owned();
    }
    const CUT: &str = "...";
    let end = text.floor_char_boundary(NOTE_BYTES_MAX - CUT.len());
    format!("{}{CUT}", &text[..end])
}

/// Returns the first pod that should be there, and its StatefulSet's, and has not been for longer than that takes to make it or to take it in.
fn absent(server: &str, replicas: u32, pods: &[PodView], memory: &mut Memory) -> Option<String> {
    let is_there = |pod: &PodView| pod.is_controlled || pod.is_terminating;
    let mut wanted = 0..replicas;
    let missing = wanted.find(|ordinal| {
        let mut pods = pods.iter().filter(|pod| pod.ordinal == *ordinal);
        !pods.any(is_there)
    });
    let name = missing.map(|ordinal| names::pod(server, ordinal));
    // Another one than last time: a roll, in which each is gone for a moment.
    if name.as_ref() != memory.absent.as_ref().map(|(name, _)| name) {
        memory.absent = name.map(|name| (name, Instant::now()));
    }
    let (name, since) = memory.absent.as_ref()?;
    (since.elapsed() >= ABSENT).then(|| name.clone())
}

/// A condition about a kind that the cluster does not have.
pub(super) fn undefined(kind: Kind) -> Problem {
    let (condition, field) = match kind {
        Kind::Certificate => ("CertificateReady", "spec.server.tls.mode: CertManager"),
        _ => (
            "MonitoringReady",
            "spec.server.monitoring.podMonitor: Enabled",
        ),
    };
    Problem {
        condition,
        reason: DEFINITION_MISSING,
        message: format!(
            "{field} needs the definitions of {}, which this cluster does not have",
            kind.group()
        ),
    }
}

/// A condition about claims that are not as they should be.
fn claims_ready(problems: &[claims::Problem]) -> Option<Problem> {
    let messages: Vec<&str> = problems
        .iter()
        .map(|problem| problem.message.as_str())
        .collect();
    Some(Problem {
        condition: "ClaimsReady",
        reason: problems.first()?.reason,
        message: messages.join("; "),
    })
}

#[cfg(test)]
mod tests {
    use vdt_crds::{ConditionStatus, api::condition as make};

    use super::*;

    #[test]
    fn a_note_is_cut_between_characters_and_by_bytes() {
        let fits = "ä".repeat(NOTE_BYTES_MAX / 2);
        assert_eq!(note_of(&fits), fits);
        let cut = note_of(&format!("{fits}ä"));
        assert!(
            cut.len() <= NOTE_BYTES_MAX && cut.ends_with("ä..."),
            "{}",
            cut.len()
        );
    }

    #[test]
    fn an_event_tells_when_ready_changes_and_warns_of_what_does_not_pass_by_itself() {
        let of = |conditions: &[(&str, &str, &str)]| VirtualTableStatus {
            conditions: conditions
                .iter()
                .map(|(kind, status, reason)| {
                    let status = match *status {
                        "True" => ConditionStatus::True,
                        "False" => ConditionStatus::False,
                        _ => ConditionStatus::Unknown,
                    };
                    make(kind, status, reason, "why", 0)
                })
                .collect(),
            ..VirtualTableStatus::default()
        };
        let serving = [("Ready", "True", "Serving")];
        let (normal, warning) = (Some(EventType::Normal), Some(EventType::Warning));
        for (last, now, expected) in [
            (&[][..], &serving[..], normal),
            (&[], &[], None),
            (&serving, &serving, None),
            (&serving, &[("Ready", "Unknown", "NotReported")], None),
            (&serving, &[("Ready", "True", "Suspended")], normal),
            (&serving, &[("Ready", "False", "RollingOut")], normal),
            (&serving, &[("Ready", "False", "PodsNotReady")], normal),
            (&serving, &[("Ready", "False", "Terminating")], normal),
            (&serving, &[("Ready", "False", "InvalidSpec")], warning),
            (
                &serving,
                &[
                    ("Ready", "False", "RollingOut"),
                    ("Stalled", "True", "InvalidSpec"),
                ],
                warning,
            ),
        ] {
            let (last, now) = (of(last), of(now));
            let found = event_of(&last, &now).map(|(kind, ready)| {
                assert_eq!(ready.message, "why");
                kind
            });
            assert_eq!(found, expected, "{now:?}");
        }
    }

    fn pod(ordinal: u32) -> PodView {
        let owner = json!({"kind": "StatefulSet", "name": "t", "uid": "s", "controller": true});
        let metadata =
            json!({"name": format!("t-{ordinal}"), "uid": "u", "ownerReferences": [owner]});
        PodView::of("t", &json!({"metadata": metadata})).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_is_missed_when_it_stays_away_and_not_while_a_roll_goes_on() {
        let mut memory = Memory::default();
        let mut look = |there: &[u32]| {
            let pods: Vec<PodView> = there.iter().map(|ordinal| pod(*ordinal)).collect();
            absent("t", 3, &pods, &mut memory)
        };
        assert_eq!(look(&[0, 1]), None);
        tokio::time::advance(ABSENT).await;
        // It came back, and the next one goes.
        assert_eq!(look(&[0, 2]), None);
        tokio::time::advance(ABSENT - Duration::from_secs(1)).await;
        assert_eq!(look(&[0, 2]), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(look(&[0, 2]).as_deref(), Some("t-1"));
        assert_eq!(look(&[0, 1, 2]), None);
        assert_eq!(look(&[0, 2]), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_is_missed_that_its_set_does_not_take_in() {
        let mut memory = Memory::default();
        let mut look = |is_controlled, is_terminating| {
            let second = PodView {
                is_controlled,
                is_terminating,
                ..pod(1)
            };
            absent("t", 2, &[pod(0), second], &mut memory)
        };
        assert_eq!(look(false, false), None);
        tokio::time::advance(ABSENT).await;
        assert_eq!(look(false, false).as_deref(), Some("t-1"));
        assert_eq!(look(false, true), None, "nobody takes in what goes");
        assert_eq!(look(false, false), None);
        tokio::time::advance(ABSENT).await;
        assert_eq!(look(true, false), None);
    }
}
