//! Which CPU and memory a pod was asked for, and what came of it: an annotation of the pod, [`ASKED`](crate::names::ASKED).
//!
//! ```text
//! server.limits.memory=1Gi,server.requests.cpu=100m            it was made so, or the API server took it
//! server.limits.memory=1Gi,server.requests.cpu=100m asking     asked for; what was answered is not known
//! server.limits.memory=1Gi,server.requests.cpu=100m refused    asked for, and the API server does not do it in place
//! server.limits.memory,server.requests.cpu                     of an operator that wrote no amounts: those of the pod count
//! ```
//!
//! What a pod has is not compared with what is wanted: admission and autoscalers rewrite CPU and memory, so whoever puts them back fights for ever, or
//! replaces pods for ever where that is refused.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use vdt_crds::quantity;

use super::{Pending, PodView, Target};

/// Amounts of CPU and memory by what they are for, such as `server.limits.memory`.
pub(crate) type Amounts = BTreeMap<String, String>;

/// Last word of the annotation while it is not known what was answered.
const ASKING: &str = "asking";
/// Last word of the annotation of what the API server does not do in place.
const REFUSED: &str = "refused";

/// How long a node may have no room for a resize before the pod goes where there is some: long enough for others to leave it.
const DEFERRED_MAX: Duration = Duration::from_secs(300);

/// What a pod of the right template needs to have the CPU and memory that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// It was asked for just that.
    Nothing,
    /// To be asked.
    Resize,
    /// To wait for its node, which has no room now.
    Wait,
    /// Another pod: this one cannot change so.
    NewPod,
}

/// Says what a pod needs.
pub(super) fn need(pod: &PodView, wanted: &Amounts, target: &Target<'_>) -> Need {
    let text = pod.asked.as_deref().unwrap_or_default();
    // Names and amounts have no blanks.
    let (text, outcome) = text.split_once(' ').unwrap_or((text, ""));
    let parts = text.split(',').filter(|part| !part.is_empty());
    let asked: BTreeMap<&str, Option<&str>> = parts
        .map(|part| match part.split_once('=') {
            Some((name, amount)) => (name, Some(amount)),
            None => (part, None),
        })
        .collect();
    // Nothing that was asked for can be taken back in place. What a LimitRange added was never asked for.
    if asked.keys().any(|name| !wanted.contains_key(*name)) {
        return Need::NewPod;
    }
    let is_wanted = wanted.iter().all(|(name, wanted)| {
        let amount = match (asked.get(name.as_str()), &pod.asked) {
            (Some(Some(amount)), _) => Some(*amount),
            // It is not written down.
            (Some(None), _) | (None, None) => pod.resources.get(name).map(String::as_str),
            (None, Some(_)) => None,
        };
        amount.is_some_and(|amount| quantity::is_same(wanted, amount))
    });
    if !is_wanted || outcome == ASKING {
        return Need::Resize;
    }
    if outcome == REFUSED {
        return Need::NewPod;
    }
    // A node speaks of what the pod's spec says now, which may be somebody else's wish.
    let is_ours = wanted.iter().all(|(name, wanted)| {
        let has = pod.resources.get(name);
        has.is_some_and(|has| quantity::is_same(wanted, has))
    });
    match pod.pending.filter(|_| is_ours) {
        None => Need::Nothing,
        Some(Pending::Infeasible) => Need::NewPod,
        Some(Pending::Deferred(since)) => {
            let waited = target.now.duration_since(since);
            let waited = Duration::try_from(waited).unwrap_or_default();
            // The only pod serves with what it has, if it does, and another one may find no node.
            let is_needed = target.replicas == 1 && pod.is_ready;
            match waited < DEFERRED_MAX || is_needed {
                true => Need::Wait,
                false => Need::NewPod,
            }
        }
    }
}

/// The annotation of a pod that is about to be asked for what `asked` says.
pub(crate) fn asking(asked: &str) -> String {
    format!("{asked} {ASKING}")
}

/// The annotation of a pod that cannot have what `asked` says in place.
pub(crate) fn refused(asked: &str) -> String {
    format!("{asked} {REFUSED}")
}

/// CPU and memory of the containers of a pod's or a template's `spec`, in the shape of a patch of a pod's resize.
pub(crate) fn resources(spec: &Value) -> Value {
    let mut all = json!({});
    for list in ["initContainers", "containers"] {
        let containers: Vec<Value> = spec[list]
            .as_array()
            .into_iter()
            .flatten()
            .map(|container| {
                let mut resources = json!({});
                for part in ["requests", "limits"] {
                    for name in ["cpu", "memory"] {
                        if let Some(value) = container["resources"][part][name].as_str() {
                            resources[part][name] = value.into();
                        }
                    }
                }
                json!({"name": container["name"], "resources": resources})
            })
            .collect();
        all[list] = containers.into();
    }
    all
}

/// The amounts in what [`resources`] returns.
pub(crate) fn amounts(resources: &Value) -> Amounts {
    let mut all = Amounts::new();
    for container in ["initContainers", "containers"]
        .iter()
        .flat_map(|list| resources[*list].as_array().into_iter().flatten())
    {
        let name = container["name"].as_str().unwrap_or_default();
        for (part, amounts) in container["resources"].as_object().into_iter().flatten() {
            for (resource, amount) in amounts.as_object().into_iter().flatten() {
                let amount = amount.as_str().unwrap_or_default();
                all.insert(format!("{name}.{part}.{resource}"), amount.to_owned());
            }
        }
    }
    all
}

/// The annotation of a pod that is made with what [`resources`] returns.
pub(crate) fn asked(resources: &Value) -> String {
    let amounts = amounts(resources).into_iter();
    amounts
        .map(|(name, amount)| format!("{name}={amount}"))
        .collect::<Vec<_>>()
        .join(",")
}
