//! The conditions, one by one: each is drafted from what was observed, without its time.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use vdt_crds::{
    ConditionStatus,
    api::TierState,
    status::{condition, reason},
};

use super::{
    APPLY_FAILED, Absent, FOLLOWING, Observed, POD_FAILED, PODS_NOT_READY, REASON_CHARS,
    ROLLING_OUT, SCALED_TO_ZERO, TERMINATING, UNKNOWN, UNSCHEDULABLE,
    said::{Followed, conditions, followed, table_reports},
};
use crate::{
    apply::rollout::{Pending, PodView},
    validate::shorten,
};

/// A condition before it has a time.
pub(super) struct Draft {
    pub(super) kind: &'static str,
    pub(super) status: ConditionStatus,
    pub(super) reason: String,
    pub(super) message: String,
}

impl Draft {
    /// Makes one.
    pub(super) fn new(
        kind: &'static str,
        status: ConditionStatus,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let reason = reason.into();
        Self {
            kind,
            status,
            // A pod may say less than the API server asks for, or more than it takes.
            reason: match reason.is_empty() {
                true => UNKNOWN.to_owned(),
                false => vdt_crds::shorten(&reason, REASON_CHARS),
            },
            message: shorten(&message.into()),
        }
    }
}

/// What is under way, if anything: reason and message.
pub(super) fn progress(observed: &Observed<'_>) -> Option<(&'static str, String)> {
    if observed.held.is_some() {
        return None;
    }
    if let Some(failure) = &observed.failure {
        return Some((APPLY_FAILED, failure.clone()));
    }
    if let Some(waiting) = observed.waiting {
        return Some((TERMINATING, waiting.to_owned()));
    }
    let wanted = observed.replicas as usize;
    let wanted_pods = || observed.pods.iter().filter(|pod| !is_going(observed, pod));
    if observed.outdated > 0 {
        let roll = format!(
            "{} of {wanted} pods run the latest template{}{}",
            observed.updated.unwrap_or_default(),
            absent(observed),
            deferred(wanted_pods())
        );
        // A new pod that does not come keeps the roll from going on. What keeps one of before goes with it.
        let latest = wanted_pods().filter(|pod| observed.latest.contains(&pod.name));
        return Some(match stuck(latest) {
            Some((reason, why)) => (reason, format!("{roll}; {why}")),
            None => (ROLLING_OUT, roll),
        });
    }
    if let Some(stuck) = stuck(wanted_pods()) {
        return Some(stuck);
    }
    let ready = wanted_pods().filter(|pod| pod.is_ready).count();
    if ready < wanted {
        let message = format!("{ready} of {wanted} pods are ready{}", absent(observed));
        return Some((PODS_NOT_READY, message));
    }
    None
}

/// Which of these pods waits for CPU and memory in place.
fn deferred<'a>(pods: impl IntoIterator<Item = &'a PodView>) -> String {
    let is_deferred = |pod: &&PodView| matches!(pod.pending, Some(Pending::Deferred(_)));
    match pods.into_iter().find(is_deferred) {
        Some(pod) => format!(
            "; the node of pod {} has no room for its new CPU and memory now",
            pod.name
        ),
        None => String::new(),
    }
}

/// Why one of these pods does not come by itself, if so.
fn stuck<'a>(pods: impl Iterator<Item = &'a PodView> + Clone) -> Option<(&'static str, String)> {
    if let Some(waiting) = pods.clone().find_map(|pod| pod.waiting.as_ref()) {
        return Some((POD_FAILED, waiting.trim().to_owned()));
    }
    let pod = pods.into_iter().find(|pod| pod.is_unschedulable)?;
    let message = format!(
        "no node takes pod {}; kubectl describe pod says why",
        pod.name
    );
    Some((UNSCHEDULABLE, message))
}

/// Says whether a pod is on its way out, or will be: it is not among those that are wanted.
fn is_going(observed: &Observed<'_>, pod: &PodView) -> bool {
    pod.is_terminating || pod.ordinal >= observed.replicas
}

/// Nothing changes until somebody acts: the operator refuses the spec, or a pod does.
pub(super) fn stalled(observed: &Observed<'_>, followed: &Followed) -> Option<Draft> {
    let (reason, message) = match (followed, observed.refusal) {
        (Followed::Refused(refused), _) if refused.reason == reason::INVALID_SPEC => {
            (refused.reason.as_str(), &refused.message)
        }
        (_, Some(refusal)) => (refusal.reason, &refusal.message),
        (_, None) => return None,
    };
    let status = ConditionStatus::True;
    Some(Draft::new(condition::STALLED, status, reason, message))
}

/// A change is under way.
pub(super) fn reconciling(
    observed: &Observed<'_>,
    progress: Option<(&'static str, String)>,
    followed: &Followed,
) -> Option<Draft> {
    let following = || match followed {
        Followed::Not(message) => Some((FOLLOWING, message.clone())),
        Followed::All | Followed::Refused(_) => None,
    };
    let (reason, message) = progress
        .or_else(following)
        .or_else(|| Some((ROLLING_OUT, draining(observed)?)))?;
    let status = ConditionStatus::True;
    Some(Draft::new(condition::RECONCILING, status, reason, message))
}

/// How many pods are on their way out, if any. Readers are served by the others.
fn draining(observed: &Observed<'_>) -> Option<String> {
    if observed.held.is_some() {
        return None;
    }
    let going = observed.pods.iter().filter(|pod| is_going(observed, pod));
    match going.count() {
        0 => None,
        1 => Some("1 pod drains".to_owned()),
        many => Some(format!("{many} pods drain")),
    }
}

/// Adds to a message where to read why a pod does not come, or is nobody's. Nothing that is watched says it: the StatefulSet does.
fn absent(observed: &Observed<'_>) -> String {
    observed.absent.map_or_else(String::new, |absent| {
        let Absent { pod, set } = absent;
        match observed.pods.iter().any(|seen| seen.name == pod) {
            true => format!(
                "; pod {pod} is not taken in by StatefulSet {set}: see kubectl describe statefulset {set}"
            ),
            false => format!("; pod {pod} is not there: kubectl describe statefulset {set} says why"),
        }
    })
}

pub(super) fn table_ready(
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
        return ready(ConditionStatus::True, held.reason(), message);
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

pub(super) fn available(observed: &Observed<'_>, ready: usize) -> Draft {
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
    // Nobody is to read a table that sleeps: that is no failure.
    let (status, reason, message) = match wanted {
        0 => (
            ConditionStatus::Unknown,
            SCALED_TO_ZERO,
            "no pods are wanted".to_owned(),
        ),
        _ => (
            ConditionStatus::False,
            PODS_NOT_READY,
            format!("none of {wanted} pods is ready"),
        ),
    };
    Draft::new(condition::AVAILABLE, status, reason, message)
}

pub(super) fn sources_ready(observed: &Observed<'_>) -> Draft {
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

pub(super) fn schema_accepted(observed: &Observed<'_>) -> Draft {
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

/// The tiers of every pod that answered. A tier that is off is as asked for.
pub(super) fn cache_ready(observed: &Observed<'_>) -> Draft {
    let kind = condition::CACHE_READY;
    let caches: Vec<_> = observed
        .reports
        .iter()
        .filter_map(|report| Some((&report.pod, report.cache.as_ref()?)))
        .collect();
    for (pod, cache) in &caches {
        for tier in [&cache.tiers.memory, &cache.tiers.disk] {
            if tier.state == TierState::Degraded {
                let reason = tier.reason.as_deref().unwrap_or(reason::CACHE_DEGRADED);
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
