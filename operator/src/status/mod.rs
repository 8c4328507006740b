//! Status: what a table's conditions say, computed from what is seen and what the pods report. Pure, but for [`gather`].
//!
//! | condition | says | from |
//! |---|---|---|
//! | Ready | the pods serve the latest spec | all below |
//! | Available | somebody can read | pods that are ready |
//! | SourcesReady | every source can be listed | references, then the pods |
//! | SchemaAccepted | the columns can be made | the pods |
//! | CacheReady | the tiers are as asked for | the pods' cache |
//! | Reconciling | a change is under way | the roll, back-off, pods that drain; only while true |
//! | Stalled | nothing changes until somebody acts | refusals; only while true |
//!
//! `observedGeneration` is that of the spec that was acted upon, in the status and in every condition: pods follow most changes while they run, and it
//! moves when all that answer have said so. Until then the conditions are those of the generation before. While the operator is paused it stays: nothing
//! is acted upon. With `spec.suspend` it moves, for that is itself what the spec asks for. `lastTransitionTime` moves with a condition's
//! status alone. Artifacts, version and messages of sources move fast, so they are written at most twice a minute.

mod conditions;
pub(crate) mod gather;
mod said;

#[cfg(test)]
mod tests;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use vdt_crds::{ConditionStatus, VirtualTableStatus};

use crate::{apply::rollout::PodView, held::Held, status::gather::PodReport, validate::Refusal};

use conditions::{
    Draft, available, cache_ready, progress, reconciling, schema_accepted, sources_ready, stalled,
    table_ready,
};
use said::{Followed, followed, newest_report, sources};

/// Reason: pods are replaced, one after the other.
pub(crate) const ROLLING_OUT: &str = "RollingOut";
/// Reason: pods are on their way to follow a changed manifest.
pub(crate) const FOLLOWING: &str = "Following";
/// Reason: pods are not there or not ready yet.
pub(crate) const PODS_NOT_READY: &str = "PodsNotReady";
/// Reason: an object of the table is on its way out, and made anew once it is gone.
pub(crate) const TERMINATING: &str = "Terminating";
/// Reason: no node takes a pod.
pub(crate) const UNSCHEDULABLE: &str = "Unschedulable";
/// Reason: a container does not start by itself.
pub(crate) const POD_FAILED: &str = "PodFailed";
/// Reason: no pods are wanted.
pub(crate) const SCALED_TO_ZERO: &str = "ScaledToZero";
/// Reason: no pod said anything about it.
pub(crate) const UNKNOWN: &str = "NotReported";
/// Reason: the API server did not take something; it is tried again.
pub(crate) const APPLY_FAILED: &str = "ApplyFailed";

/// Longest reason of a pod that is written, in characters: far below what the definition takes, and above all that there are.
const REASON_CHARS: usize = 128;

/// Everything that a status is computed from.
#[derive(Debug)]
pub(crate) struct Observed<'a> {
    /// `<catalog>/<schema>/<table>`.
    pub(crate) table_path: &'a str,
    /// Generation of the spec that was acted upon, or refused; -1 for none.
    pub(crate) generation: Option<i64>,
    /// Pods that are wanted.
    pub(crate) replicas: u32,
    /// Pods as seen.
    pub(crate) pods: &'a [PodView],
    /// What they said.
    pub(crate) reports: &'a [PodReport],
    /// Pods that are as they should be. None where nobody looked.
    pub(crate) updated: Option<u32>,
    /// Pods that wait for their turn.
    pub(crate) outdated: u32,
    /// Names of the pods of the latest template.
    pub(crate) latest: &'a [String],
    /// A pod that should be there and has not been for a while, or was not taken in by its StatefulSet.
    pub(crate) absent: Option<Absent<'a>>,
    /// Why nothing is acted upon.
    pub(crate) refusal: Option<&'a Refusal>,
    /// Why the last attempt did not go through; it is repeated.
    pub(crate) failure: Option<String>,
    /// What is on its way out, and holds up that the rest is as it should be.
    pub(crate) waiting: Option<&'a str>,
    /// A reference that leads nowhere: reason, message.
    pub(crate) missing: Option<(&'static str, String)>,
    /// Why changes are stopped, if they are.
    pub(crate) held: Option<Held>,
    /// Conditions beyond those that every table has.
    pub(crate) problems: Vec<Problem>,
    /// Where readers connect.
    pub(crate) endpoint: Option<String>,
    /// Selects the pods.
    pub(crate) selector: String,
    /// What the pods were told.
    pub(crate) config_hash: Option<String>,
    /// Whether artifacts and version may be written, and what sources say while nothing else of them changes.
    pub(crate) may_count: bool,
}

/// A pod that is not made, or not taken in, and only its StatefulSet can say why: a quota, a policy, a ServiceAccount or a PriorityClass that does not exist.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Absent<'a> {
    /// Name of the pod.
    pub(crate) pod: &'a str,
    /// Name of the StatefulSet.
    pub(crate) set: &'a str,
}

/// A condition that is there only while something is not as it should be.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    /// Type of the condition. It is `False`.
    pub(crate) condition: &'static str,
    /// Its reason.
    pub(crate) reason: &'static str,
    /// Its message, for people.
    pub(crate) message: String,
}

/// Computes the status. `last` is the one that is written now.
pub(crate) fn compute(
    observed: &Observed<'_>,
    last: &VirtualTableStatus,
    now: Timestamp,
) -> VirtualTableStatus {
    let ready = observed
        .pods
        .iter()
        .filter(|pod| pod.is_ready && !pod.is_terminating)
        .count();
    let mut drafts = vec![
        available(observed, ready),
        sources_ready(observed),
        schema_accepted(observed),
        cache_ready(observed),
    ];
    let followed = followed(observed);
    let progress = progress(observed);
    drafts.insert(0, table_ready(observed, progress.as_ref(), &drafts));
    drafts.extend(
        stalled(observed, &followed).or_else(|| reconciling(observed, progress, &followed)),
    );
    let generation = match followed {
        Followed::Not(_) => last.observed_generation,
        Followed::All | Followed::Refused(_) => observed.generation,
    };
    drafts.extend(observed.problems.iter().map(|problem| {
        let status = ConditionStatus::False;
        Draft::new(problem.condition, status, problem.reason, &problem.message)
    }));
    let counts = newest_report(observed).filter(|_| observed.may_count);
    VirtualTableStatus {
        conditions: drafts
            .into_iter()
            .map(|draft| finish(draft, generation, last, now))
            .collect(),
        observed_generation: generation,
        replicas: Some(count(observed.pods.len())),
        ready_replicas: Some(count(ready)),
        updated_replicas: observed.updated.map(count).or(last.updated_replicas),
        selector: Some(observed.selector.clone()),
        endpoint: observed.endpoint.clone(),
        artifacts: counts
            .and_then(|report| report.artifacts)
            .and_then(|artifacts| i64::try_from(artifacts).ok())
            .or(last.artifacts),
        version: counts.and_then(|report| report.version).or(last.version),
        config_hash: observed
            .config_hash
            .clone()
            .or_else(|| last.config_hash.clone()),
        server_version: last.server_version.clone(),
        sources: sources(observed, last),
    }
}

fn count(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

/// Gives a condition its times: the old one while the status stays as it is.
fn finish(
    draft: Draft,
    generation: Option<i64>,
    last: &VirtualTableStatus,
    now: Timestamp,
) -> Condition {
    let status = draft.status.as_str();
    let before = last
        .conditions
        .iter()
        .find(|before| before.type_ == draft.kind && before.status == status);
    Condition {
        type_: draft.kind.to_owned(),
        status: status.to_owned(),
        reason: draft.reason,
        message: draft.message,
        // Seconds are all that the API keeps.
        last_transition_time: before.map_or_else(
            || Time(Timestamp::from_second(now.as_second()).unwrap_or(now)),
            |before| before.last_transition_time.clone(),
        ),
        observed_generation: generation.filter(|generation| *generation >= 0),
    }
}
