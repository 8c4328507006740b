//! The roll of a changed pod template: what to do next, decided from what is seen now.
//!
//! ```text
//! outdated and not ready      replace at once: it serves nobody
//! outdated and ready          replace if all but `maxUnavailable - 1` others are ready; highest ordinal first, but the lowest of those that get a claim
//! up to date, asked for other CPU or memory than is wanted    resize in place, all at once: nobody restarts
//!     for which the node has no room now    wait for DEFERRED_MAX: it may get some
//!     what the node or the API server will not do, a request or limit that is no longer wanted    as outdated: replace, one after the other
//! ```
//!
//! Outdated is what was made from another template, and what says that it follows the spec only when it is started anew: another build of it may compare what
//! the template of this one does not depend on.
//!
//! A pod without a controller is one around which its StatefulSet is made anew: it serves, and stays until that has taken it in, for nobody would make another.
//! Pods are taken in one by one; where they get claims, those above it stay too, for none of them is made before it has its claim.
//!
//! What a pod was asked for, and not what it has, decides about CPU and memory ([`mod@asked`]).
//!
//! A pod counts as ready again only after its warm-up, which its readiness waits for, so a roll keeps caches as warm as they can be. The plan holds
//! nothing between two looks: an operator that dies in the middle of a roll goes on with it.

mod asked;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::names;

use asked::{Amounts, Need, amounts, need};
pub(crate) use asked::{asked, asking, refused, resources};

/// Why a node has not done a resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    /// It has no room, since then.
    Deferred(Timestamp),
    /// It can never do it.
    Infeasible,
}

/// A pod as it is seen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PodView {
    /// Its name.
    pub(crate) name: String,
    /// Its identity: a pod of the same name is another one.
    pub(crate) uid: String,
    /// Number at the end of the name.
    pub(crate) ordinal: u32,
    /// Whether it takes traffic.
    pub(crate) is_ready: bool,
    /// Whether it is on its way out.
    pub(crate) is_terminating: bool,
    /// Whether its StatefulSet controls it, and makes another one when it goes.
    pub(crate) is_controlled: bool,
    /// Hash of the template that it was made from.
    pub(crate) template_hash: Option<String>,
    /// Value of [`names::RELOAD`].
    pub(crate) reload: Option<String>,
    /// Address, once it has one.
    pub(crate) ip: Option<String>,
    /// CPU and memory that it has.
    pub(crate) resources: Amounts,
    /// Value of [`names::ASKED`]. None of pods of operators that did not write it.
    pub(crate) asked: Option<String>,
    /// What keeps the node from the resize to what the pod's spec says now.
    pub(crate) pending: Option<Pending>,
    /// Whether its cache is a claim.
    pub(crate) has_claim: bool,
    /// Whether it has a node.
    pub(crate) is_scheduled: bool,
    /// Whether no node takes it.
    pub(crate) is_unschedulable: bool,
    /// Reason of a container that waits and will not start by itself, such as an image that does not exist.
    pub(crate) waiting: Option<String>,
    /// Where it is in its life, such as `Pending` or `Running`.
    pub(crate) phase: String,
}

/// What to do to a pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Delete it, so that its StatefulSet makes it anew.
    Replace {
        /// Its name.
        name: String,
        /// Its identity.
        uid: String,
    },
    /// Change its CPU and memory.
    Resize {
        /// Its name.
        name: String,
        /// Its identity.
        uid: String,
        /// What [`names::ASKED`] says once it is taken.
        asked: String,
        /// The patch. It names the pod's identity.
        patch: Value,
    },
}

/// What a roll has to reach, and how.
pub(crate) struct Target<'a> {
    /// Pods that should exist.
    pub(crate) replicas: u32,
    /// Pods that may be away at once.
    pub(crate) max_unavailable: u32,
    /// Hash of the template.
    pub(crate) template_hash: &'a str,
    /// Identities of pods that said that they follow the spec only when they are started anew.
    pub(crate) restarts: &'a BTreeSet<String>,
    /// CPU and memory by container, as [`resources`] returns them.
    pub(crate) resources: &'a Value,
    /// Whether the StatefulSet gives each pod a claim.
    pub(crate) has_claims: bool,
    /// What time it is.
    pub(crate) now: Timestamp,
}

/// Where a roll is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// What to do now.
    pub(crate) steps: Vec<Step>,
    /// Names of the pods that are as they should be.
    pub(crate) done: Vec<String>,
    /// Pods that wait for their turn.
    pub(crate) outdated: u32,
    /// Names of the pods that were made from the template, and take the spec as they are.
    pub(crate) latest: Vec<String>,
}

impl Plan {
    /// How many pods are as they should be and serve, of `pods` as they are now: they may have become ready since the plan was made.
    pub(crate) fn updated(&self, pods: &[PodView]) -> u32 {
        let serves = |pod: &&PodView| pod.is_ready && !pod.is_terminating;
        let updated = pods.iter().filter(serves);
        updated.filter(|pod| self.done.contains(&pod.name)).count() as u32
    }
}

/// Decides what to do now.
pub(crate) fn plan(target: &Target<'_>, pods: &[PodView]) -> Plan {
    let mut plan = Plan::default();
    let mut pods: Vec<&PodView> = pods
        .iter()
        .filter(|pod| pod.ordinal < target.replicas)
        .collect();
    pods.sort_by_key(|pod| std::cmp::Reverse(pod.ordinal));
    let held_up = held_up(target, &pods);
    if held_up.is_some() {
        pods.reverse();
    }
    let serving = pods
        .iter()
        .filter(|pod| pod.is_ready && !pod.is_terminating)
        .count();
    // With one replica there is nothing to wait for: it is down while it is replaced. Nor is there for pods that are held up until then.
    let mut may_go = (serving as u32 + held_up.unwrap_or_default())
        .saturating_sub(target.replicas.saturating_sub(target.max_unavailable));
    let wanted = amounts(target.resources);
    let mut may_come_back = true;
    for pod in pods {
        may_come_back &= held_up.is_none() || pod.is_controlled;
        let is_latest = pod.template_hash.as_deref() == Some(target.template_hash)
            && !target.restarts.contains(&pod.uid);
        if is_latest {
            plan.latest.push(pod.name.clone());
        }
        let need = match is_latest {
            true => need(pod, &wanted, target),
            false => Need::NewPod,
        };
        if need == Need::Nothing {
            plan.done.push(pod.name.clone());
            continue;
        }
        plan.outdated += 1;
        if pod.is_terminating || !pod.is_controlled || need == Need::Wait {
            continue;
        }
        if need == Need::Resize {
            plan.steps.push(Step::Resize {
                name: pod.name.clone(),
                uid: pod.uid.clone(),
                asked: asked(target.resources),
                patch: json!({"metadata": {"uid": pod.uid}, "spec": target.resources}),
            });
            continue;
        }
        if !may_come_back {
            continue;
        }
        if pod.is_ready {
            if may_go == 0 {
                continue;
            }
            may_go -= 1;
        }
        plan.steps.push(Step::Replace {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
        });
    }
    plan
}

/// How many pods are not there because one below them lacks the claim that its StatefulSet gives each; `None` where none lacks it. The StatefulSet tries to
/// give it one, in vain, and may make no pod above it before that is done (`slowStartBatch` in its controller): such pods go from the lowest on.
fn held_up(target: &Target<'_>, pods: &[&PodView]) -> Option<u32> {
    let lacks_claim = |pod: &&&PodView| target.has_claims && !pod.has_claim;
    let lowest = pods
        .iter()
        .filter(lacks_claim)
        .map(|pod| pod.ordinal)
        .min()?;
    let is_missing = |ordinal: &u32| pods.iter().all(|pod| pod.ordinal != *ordinal);
    Some((lowest..target.replicas).filter(is_missing).count() as u32)
}

impl PodView {
    /// Reads a pod. None of what is no pod of the server's StatefulSet, whatever labels it has: a copy that somebody made to look into it, say. It would be
    /// deleted in a roll, counted as serving, and sent the operator's token.
    pub(crate) fn of(server: &str, pod: &Value) -> Option<Self> {
        let (metadata, status) = (&pod["metadata"], &pod["status"]);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let name = text(&metadata["name"])?;
        let ordinal = names::ordinal(server, &name)?;
        // Without an owner it is the StatefulSet's soon: it takes what has its labels and a name of its making.
        let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
        let mut controllers = owners.filter(|owner| owner["controller"] == true);
        let controller = controllers.next();
        let is_theirs = |owner: &Value| owner["kind"] != "StatefulSet" || owner["name"] != server;
        if controller.is_some_and(is_theirs) {
            return None;
        }
        let condition = |kind: &str| {
            status["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|condition| condition["type"] == kind)
        };
        let is_true = |kind: &str| condition(kind).is_some_and(|found| found["status"] == "True");
        let annotation = |name: &str| text(&metadata["annotations"][name]);
        let waiting = ["initContainerStatuses", "containerStatuses"]
            .iter()
            .flat_map(|list| status[*list].as_array().into_iter().flatten())
            .find_map(|container| {
                let waiting = &container["state"]["waiting"];
                let reason = waiting["reason"].as_str()?;
                let is_stuck = !["PodInitializing", "ContainerCreating"].contains(&reason);
                let message = waiting["message"].as_str().unwrap_or_default();
                is_stuck.then(|| {
                    format!(
                        "container {} of pod {name}: {reason} {message}",
                        container["name"].as_str().unwrap_or_default()
                    )
                })
            });
        let resize = condition("PodResizePending").filter(|found| {
            // Where the kubelet says of which spec it speaks: an older one does not matter.
            let generations = (
                found["observedGeneration"].as_i64(),
                metadata["generation"].as_i64(),
            );
            let is_older = matches!(generations, (Some(of), Some(now)) if of < now);
            found["status"] == "True" && !is_older
        });
        Some(Self {
            uid: text(&metadata["uid"])?,
            ordinal,
            is_ready: is_true("Ready"),
            is_terminating: !metadata["deletionTimestamp"].is_null(),
            is_controlled: controller.is_some(),
            template_hash: annotation(names::TEMPLATE_HASH),
            reload: annotation(names::RELOAD),
            ip: text(&status["podIP"]),
            resources: amounts(&resources(&pod["spec"])),
            asked: annotation(names::ASKED),
            pending: resize.and_then(|found| match found["reason"].as_str()? {
                "Infeasible" => Some(Pending::Infeasible),
                "Deferred" => {
                    let since = found["lastTransitionTime"].as_str()?.parse();
                    since.ok().map(Pending::Deferred)
                }
                _ => None,
            }),
            has_claim: pod["spec"]["volumes"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|volume| {
                    volume["name"] == names::CACHE_VOLUME
                        && volume["persistentVolumeClaim"].is_object()
                }),
            is_scheduled: is_true("PodScheduled"),
            is_unschedulable: condition("PodScheduled")
                .is_some_and(|found| found["status"] == "False"),
            waiting,
            phase: text(&status["phase"]).unwrap_or_default(),
            name,
        })
    }
}
