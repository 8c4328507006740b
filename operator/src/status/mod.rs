//! Status: what a table's conditions say, computed from what is seen and what the pods report. Pure, but for [`gather`].
//!
//! | condition | says | from |
//! |---|---|---|
//! | Ready | the pods serve the latest spec | all below |
//! | Available | somebody can read | pods that are ready |
//! | SourcesReady | every source can be listed | references, then the pods |
//! | SchemaAccepted | the columns can be made | the pods |
//! | CacheReady | the tiers are as asked for | the pods' cache |
//! | Reconciling | a change is under way | the roll, back-off; only while true |
//! | Stalled | nothing changes until somebody acts | refusals; only while true |
//!
//! `observedGeneration` is that of the spec that was acted upon, in the status and in every condition: pods follow most changes while they run, and it
//! moves when all that answer have said so. Until then the conditions are those of the generation before. `lastTransitionTime` moves with a condition's
//! status alone. Artifacts and version move fast, so they are written at most twice a minute.

pub(crate) mod gather;

#[cfg(test)]
mod tests;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use vdt_crds::{
    ConditionStatus, SourceStatus, VirtualTableStatus,
    api::{RESTART_NEEDED, RefusedManifest, TierState},
    status::{condition, reason},
};

use crate::{
    apply::rollout::PodView,
    status::gather::PodReport,
    validate::{Refusal, shorten},
};

/// Reason: pods are replaced, one after the other.
pub(crate) const ROLLING_OUT: &str = "RollingOut";
/// Reason: pods are on their way to follow a changed manifest.
pub(crate) const FOLLOWING: &str = "Following";
/// Reason: pods are not there or not ready yet.
pub(crate) const PODS_NOT_READY: &str = "PodsNotReady";
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

/// Everything that a status is computed from.
#[derive(Debug)]
pub(crate) struct Observed<'a> {
    /// `<catalog>/<schema>/<table>`.
    pub(crate) table_path: &'a str,
    /// Generation of the spec that was acted upon; -1 for none.
    pub(crate) generation: Option<i64>,
    /// Pods that are wanted.
    pub(crate) replicas: u32,
    /// Pods as seen.
    pub(crate) pods: &'a [PodView],
    /// What they said.
    pub(crate) reports: &'a [PodReport],
    /// Pods that are as they should be.
    pub(crate) updated: u32,
    /// Pods that wait for their turn.
    pub(crate) outdated: u32,
    /// Why nothing is acted upon.
    pub(crate) refusal: Option<&'a Refusal>,
    /// Why the last attempt did not go through; it is repeated.
    pub(crate) failure: Option<String>,
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
    /// Whether artifacts and version may be written.
    pub(crate) may_count: bool,
}

/// A condition before it has a time.
struct Draft {
    kind: &'static str,
    status: ConditionStatus,
    reason: String,
    message: String,
}

impl Draft {
    fn new(
        kind: &'static str,
        status: ConditionStatus,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            status,
            reason: reason.into(),
            message: shorten(&message.into()),
        }
    }
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
    let progress = progress(observed, ready);
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
        updated_replicas: Some(i32::try_from(observed.updated).unwrap_or(i32::MAX)),
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

/// The reports of this table, from every pod that answered.
fn table_reports<'a>(
    observed: &Observed<'a>,
) -> impl Iterator<Item = &'a vdt_crds::api::TableReport> {
    let path = observed.table_path;
    observed
        .reports
        .iter()
        .filter_map(|report| report.tables.as_ref())
        .filter_map(move |tables| tables.iter().find(|table| table.table == path))
}

/// How far the pods follow the manifest.
enum Followed {
    /// As far as they say.
    All,
    /// Some do not yet, and will.
    Not(String),
    /// One cannot.
    Refused(RefusedManifest),
}

/// Asks what the pods said. Pods that are replaced need not follow anything, and those of before say nothing.
fn followed(observed: &Observed<'_>) -> Followed {
    let is_told = observed.refusal.is_none()
        && observed.failure.is_none()
        && observed.held.is_none()
        && observed.outdated == 0;
    let Some(wanted) = observed.generation.filter(|_| is_told) else {
        return Followed::All;
    };
    let manifests: Vec<_> = table_reports(observed)
        .filter_map(|report| report.manifest.as_ref())
        .collect();
    let behind = manifests
        .iter()
        .filter(|manifest| manifest.generation.is_some_and(|has| has < wanted));
    for manifest in behind.clone() {
        if let Some(refused) = &manifest.refused
            && refused.reason != RESTART_NEEDED
            && refused.generation.is_none_or(|refused| refused == wanted)
        {
            return Followed::Refused(refused.clone());
        }
    }
    match behind.count() {
        0 => Followed::All,
        behind => Followed::Not(format!(
            "{} of {} pods follow generation {wanted}",
            manifests.len() - behind,
            manifests.len()
        )),
    }
}

/// What is under way, if anything: reason and message.
fn progress(observed: &Observed<'_>, ready: usize) -> Option<(&'static str, String)> {
    if observed.held.is_some() {
        return None;
    }
    if let Some(failure) = &observed.failure {
        return Some((APPLY_FAILED, failure.clone()));
    }
    let wanted = observed.replicas as usize;
    if observed.outdated > 0 {
        let message = format!(
            "{} of {wanted} pods run the latest template",
            observed.updated
        );
        return Some((ROLLING_OUT, message));
    }
    if let Some(waiting) = observed.pods.iter().find_map(|pod| pod.waiting.as_ref()) {
        return Some((POD_FAILED, waiting.trim().to_owned()));
    }
    if let Some(pod) = observed.pods.iter().find(|pod| pod.is_unschedulable) {
        return Some((
            UNSCHEDULABLE,
            format!(
                "no node takes pod {}; kubectl describe pod says why",
                pod.name
            ),
        ));
    }
    if ready < wanted || observed.pods.len() > wanted {
        let message = format!("{ready} of {wanted} pods are ready");
        return Some((PODS_NOT_READY, message));
    }
    None
}

fn table_ready(
    observed: &Observed<'_>,
    progress: Option<&(&'static str, String)>,
    parts: &[Draft],
) -> Draft {
    let ready =
        |status, reason: &str, message: &str| Draft::new(condition::READY, status, reason, message);
    if let Some(refusal) = observed.refusal {
        return ready(ConditionStatus::False, refusal.reason, &refusal.message);
    }
    if let Some((reason, message)) = &observed.missing {
        return ready(ConditionStatus::False, reason, message);
    }
    if let Some((reason, message)) = progress {
        return ready(ConditionStatus::False, reason, message);
    }
    if observed.replicas == 0 {
        return ready(
            ConditionStatus::True,
            SCALED_TO_ZERO,
            "no pods are wanted; caches of claims are kept",
        );
    }
    for part in parts {
        let matters = part.kind == condition::SCHEMA_ACCEPTED || part.kind == condition::AVAILABLE;
        if matters && part.status == ConditionStatus::False {
            return ready(ConditionStatus::False, &part.reason, &part.message);
        }
    }
    let said: Vec<&Condition> = conditions(observed, condition::READY);
    if let Some(no) = said.iter().find(|one| one.status == "False") {
        return ready(ConditionStatus::False, &no.reason, &no.message);
    }
    if let Some(held) = observed.held {
        let message = "changes are stopped; the pods serve what they were last told";
        return ready(ConditionStatus::True, held, message);
    }
    let has_version = table_reports(observed).any(|report| report.version.is_some());
    match said.first() {
        Some(yes) if said.iter().all(|one| one.status == "True") => {
            ready(ConditionStatus::True, reason::SERVING, &yes.message)
        }
        // Pods need not say it: those that are ready, have a version and object to nothing above serve the table.
        None if has_version => ready(
            ConditionStatus::True,
            reason::SERVING,
            "the pods serve the latest spec",
        ),
        _ => ready(
            ConditionStatus::Unknown,
            UNKNOWN,
            "no pod has said yet whether it serves the table",
        ),
    }
}

fn available(observed: &Observed<'_>, ready: usize) -> Draft {
    let wanted = observed.replicas;
    if ready > 0 {
        let message = format!("{ready} of {wanted} pods serve");
        return Draft::new(
            condition::AVAILABLE,
            ConditionStatus::True,
            reason::SERVING,
            message,
        );
    }
    let (reason, message) = match wanted {
        0 => (SCALED_TO_ZERO, "no pods are wanted".to_owned()),
        _ => (PODS_NOT_READY, format!("none of {wanted} pods is ready")),
    };
    Draft::new(
        condition::AVAILABLE,
        ConditionStatus::False,
        reason,
        message,
    )
}

fn sources_ready(observed: &Observed<'_>) -> Draft {
    if let Some((reason, message)) = &observed.missing {
        return Draft::new(
            condition::SOURCES_READY,
            ConditionStatus::False,
            *reason,
            message,
        );
    }
    reported(observed, condition::SOURCES_READY)
}

fn schema_accepted(observed: &Observed<'_>) -> Draft {
    if let Followed::Refused(refused) = followed(observed) {
        return Draft::new(
            condition::SCHEMA_ACCEPTED,
            ConditionStatus::False,
            refused.reason,
            refused.message,
        );
    }
    reported(observed, condition::SCHEMA_ACCEPTED)
}

/// What the pods say of a condition: the first no, else the first yes, else nothing.
fn reported(observed: &Observed<'_>, kind: &'static str) -> Draft {
    let said = conditions(observed, kind);
    let worst = ["False", "Unknown", "True"]
        .iter()
        .find_map(|status| said.iter().find(|one| one.status == *status));
    match worst {
        Some(one) => {
            let status = match one.status.as_str() {
                "True" => ConditionStatus::True,
                "False" => ConditionStatus::False,
                _ => ConditionStatus::Unknown,
            };
            Draft::new(kind, status, one.reason.as_str(), one.message.as_str())
        }
        None => Draft::new(
            kind,
            ConditionStatus::Unknown,
            UNKNOWN,
            "no pod has said anything about it yet",
        ),
    }
}

/// What every pod that answered says of a condition of this table.
fn conditions<'a>(observed: &Observed<'a>, kind: &'static str) -> Vec<&'a Condition> {
    table_reports(observed)
        .filter_map(|report| report.conditions.iter().find(|one| one.type_ == kind))
        .collect()
}

/// The tiers of every pod that answered. A tier that is off is as asked for.
fn cache_ready(observed: &Observed<'_>) -> Draft {
    let kind = condition::CACHE_READY;
    let caches: Vec<_> = observed
        .reports
        .iter()
        .filter_map(|report| Some((&report.pod, report.cache.as_ref()?)))
        .collect();
    for (pod, cache) in &caches {
        for tier in [&cache.tiers.memory, &cache.tiers.disk] {
            if tier.state == TierState::Degraded {
                let reason = tier.reason.as_deref().unwrap_or("CacheDegraded");
                let message = tier
                    .message
                    .as_deref()
                    .unwrap_or("a tier is not as asked for");
                return Draft::new(
                    kind,
                    ConditionStatus::False,
                    reason,
                    format!("pod {pod}: {message}"),
                );
            }
        }
    }
    if caches.is_empty() {
        return Draft::new(
            kind,
            ConditionStatus::Unknown,
            UNKNOWN,
            "no pod has said anything about it yet",
        );
    }
    let message = format!("the tiers of {} pods are as asked for", caches.len());
    Draft::new(kind, ConditionStatus::True, reason::READY, message)
}

/// The sources as the pod with the latest version last checked them.
fn sources(observed: &Observed<'_>, last: &VirtualTableStatus) -> Vec<SourceStatus> {
    match table_reports(observed).max_by_key(|report| report.version) {
        Some(report) => report
            .sources
            .iter()
            .map(|source| source.status.clone())
            .collect(),
        None => last.sources.clone(),
    }
}
