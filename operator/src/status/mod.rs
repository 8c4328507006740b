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
use vdt_crds::{
    ConditionStatus, VirtualTableStatus,
    status::{condition, reason},
};

use crate::{apply::rollout::PodView, status::gather::PodReport, validate::Refusal};

use conditions::{
    Draft, available, cache_ready, draining, progress, schema_accepted, sources_ready, table_ready,
};
use said::{Followed, followed, sources, table_reports};

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
/// Reason: `vdt.io/paused` is set.
pub(crate) const PAUSED: &str = "Paused";
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
    /// A pod that should be there and has not been for a while: its name, and that of the StatefulSet that should make it.
    pub(crate) absent: Option<Absent<'a>>,
    /// Why nothing is acted upon.
    pub(crate) refusal: Option<&'a Refusal>,
    /// Why the last attempt did not go through; it is repeated.
    pub(crate) failure: Option<String>,
    /// What is on its way out, and holds up that the rest is as it should be.
    pub(crate) waiting: Option<&'a str>,
    /// A reference that leads nowhere: reason, message.
    pub(crate) missing: Option<(&'static str, String)>,
    /// Changes are stopped: [`reason::SUSPENDED`] or [`PAUSED`].
    pub(crate) held: Option<&'static str>,
    /// Conditions beyond those that every table has.
    pub(crate) others: Vec<(&'static str, ConditionStatus, &'static str, String)>,
    /// Where readers connect.
    pub(crate) endpoint: Option<String>,
    /// Selects the pods.
    pub(crate) selector: String,
    /// What the pods were told.
    pub(crate) config_hash: Option<String>,
    /// Whether artifacts and version may be written, and what sources say while nothing else of them changes.
    pub(crate) may_count: bool,
}

/// A pod that is not made, which only its StatefulSet can say why: a quota, a policy, a ServiceAccount or a PriorityClass that does not exist.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Absent<'a> {
    /// Name of the pod.
    pub(crate) pod: &'a str,
    /// Name of the StatefulSet.
    pub(crate) set: &'a str,
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
    if let Followed::Refused(refused) = &followed
        && refused.reason == reason::INVALID_SPEC
    {
        drafts.push(Draft::new(
            condition::STALLED,
            ConditionStatus::True,
            refused.reason.as_str(),
            &refused.message,
        ));
    } else if let Some(refusal) = observed.refusal {
        drafts.push(Draft::new(
            condition::STALLED,
            ConditionStatus::True,
            refusal.reason,
            &refusal.message,
        ));
    } else if let Some((reason, message)) = progress {
        drafts.push(Draft::new(
            condition::RECONCILING,
            ConditionStatus::True,
            reason,
            message,
        ));
    } else if let Followed::Not(message) = &followed {
        drafts.push(Draft::new(
            condition::RECONCILING,
            ConditionStatus::True,
            FOLLOWING,
            message,
        ));
    } else if let Some(message) = draining(observed) {
        drafts.push(Draft::new(
            condition::RECONCILING,
            ConditionStatus::True,
            ROLLING_OUT,
            message,
        ));
    }
    let generation = match followed {
        Followed::Not(_) => last.observed_generation,
        Followed::All | Followed::Refused(_) => observed.generation,
    };
    for (kind, status, reason, message) in &observed.others {
        drafts.push(Draft::new(kind, *status, *reason, message));
    }
    let report = table_reports(observed).max_by_key(|report| report.version);
    let counts = if observed.may_count && report.is_some() {
        report
    } else {
        None
    };
    VirtualTableStatus {
        conditions: drafts
            .into_iter()
            .map(|draft| finish(draft, generation, last, now))
            .collect(),
        observed_generation: generation,
        replicas: Some(count(observed.pods.len())),
        ready_replicas: Some(count(ready)),
        updated_replicas: observed
            .updated
            .map(|updated| i32::try_from(updated).unwrap_or(i32::MAX))
            .or(last.updated_replicas),
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

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
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
