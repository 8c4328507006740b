//! The StatefulSet, and how its pod template outlives an operator.
//!
//! `updateStrategy: OnDelete`: pods are rolled by this operator, one at a time and not before the last one serves again. The template is rendered anew
//! only when something in the resource changes that it depends on; until then another operator's template is kept as it is, byte for byte. That holds for
//! an older operator after a newer one too: what it does not know of a template it does not touch, and the ConfigMaps that the pods read stay.

use serde_json::{Map, Value, json};
use vdt_crds::{OnOperatorUpgrade, VirtualTable};

use super::{Child, Kind, References, Rendered, Server, hash, inputs, pod, volumes};
use crate::{apply::rollout, names};

/// Returns the template that holds: the last one, or a new one.
///
/// A last one is kept under a hash of this version's making, so that the next change is judged by it. One whose pods read another ConfigMap than this
/// version writes is kept until the resource changes at all: they follow nothing, and would report what they do not have for ever.
pub(super) fn render(
    server: &Server<'_>,
    references: &References,
    tables: &[&VirtualTable],
) -> Rendered {
    let fixed = inputs::fixed(tables);
    let keeps = server.spec.rollout.on_operator_upgrade == OnOperatorUpgrade::OnNextChange;
    let generations: Option<Vec<i64>> = tables
        .iter()
        .map(|table| table.metadata.generation)
        .collect();
    let generations = generations.unwrap_or_default();
    let inputs = inputs::inputs(server, references, &fixed);
    if let Some(last) = server.rendered.as_ref().filter(|_| keeps) {
        let follows = volumes::mounts_config_map(&last.template, &names::config(server.name));
        let is_same_edition = !generations.is_empty() && last.generations == generations;
        if is_same_edition || (follows && last.inputs == inputs) {
            return Rendered {
                inputs,
                generations,
                ..last.clone()
            };
        }
    }
    let mut template = pod::template(server, references);
    template["metadata"]["annotations"][names::CONFIG_HASH] = fixed.into();
    Rendered {
        inputs,
        generations,
        operator: env!("CARGO_PKG_VERSION").to_owned(),
        template,
        claims: volumes::claim_templates(server),
        others: Map::new(),
    }
}

/// Hash of a pod template without what changes in place: CPU and memory.
pub(crate) fn template_hash(template: &Value) -> String {
    let mut fixed = template.clone();
    for list in ["initContainers", "containers"] {
        for container in fixed["spec"][list].as_array_mut().into_iter().flatten() {
            for part in ["requests", "limits"] {
                if let Some(part) = container["resources"][part].as_object_mut() {
                    part.retain(|name, _| name != "cpu" && name != "memory");
                }
            }
        }
    }
    hash(&fixed)
}

/// Returns the StatefulSet.
pub(super) fn stateful_set(server: &Server<'_>, rendered: &Rendered, template_hash: &str) -> Child {
    let replicas = server.spec.replicas;
    let mut template = rendered.template.clone();
    let asked = rollout::asked(&rollout::resources(&template["spec"]));
    template["metadata"]["annotations"][names::TEMPLATE_HASH] = template_hash.into();
    // Not part of the hash: what is asked for besides changes in place.
    template["metadata"]["annotations"][names::ASKED] = asked.into();
    let mut spec = json!({
        "replicas": replicas,
        "serviceName": names::peers(server.name),
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "OnDelete"},
        "revisionHistoryLimit": 2,
        "selector": {"matchLabels": names::selector(server.name)},
        "template": template,
    });
    if rendered
        .claims
        .as_array()
        .is_some_and(|claims| !claims.is_empty())
    {
        spec["volumeClaimTemplates"] = rendered.claims.clone();
        // Caches go with what they are for; at 0 replicas a table sleeps and wakes up warm.
        spec["persistentVolumeClaimRetentionPolicy"] = json!({
            "whenDeleted": "Delete",
            "whenScaled": if replicas == 0 { "Retain" } else { "Delete" },
        });
    }
    let mut child = Child::new(
        server,
        Kind::StatefulSet,
        server.name,
        json!({"spec": spec}),
    );
    child.object["metadata"]["annotations"][names::RENDERED] = rendered.text().into();
    child
}
