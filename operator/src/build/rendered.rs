//! The pod template as it was last rendered, so that another operator can keep it.
//!
//! It is kept in an annotation of the StatefulSet that is made from it: whoever may write it there may have any pod made by that StatefulSet anyway. In
//! an object that more people may write, a ConfigMap say, it would lend them the operator's right to StatefulSets. It goes with its StatefulSet, and the next
//! one is rendered anew.

use k8s_openapi::api::core::v1::{PersistentVolumeClaimTemplate, PodTemplateSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::names;

/// Latest format that this version reads. The first one is written without its number.
const FORMAT: u64 = 1;

/// A pod template together with what it was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rendered {
    /// Hash of everything in the resources that the template depends on.
    pub(crate) inputs: String,
    /// Generations of the resources that the template holds for. Hashes are of one version's making, these are not: while they stand, nothing changed,
    /// whatever another version hashes. Empty of resources that no API server has numbered.
    pub(crate) generations: Vec<i64>,
    /// Version of the operator that rendered it.
    pub(crate) operator: String,
    /// The pod template.
    pub(crate) template: Value,
    /// The claim templates.
    pub(crate) claims: Value,
    /// What another version wrote beside these: it stays as long as the template does.
    #[serde(flatten)]
    pub(crate) others: Map<String, Value>,
}

impl Rendered {
    /// Writes it down, as the value of [`names::RENDERED`].
    pub(super) fn text(&self) -> String {
        json!(self).to_string()
    }

    /// Reads what this version or another one wrote down at a StatefulSet. What cannot be read, or is no template, is rendered anew.
    pub(crate) fn of(stateful_set: &Value) -> Option<Self> {
        let rendered: Self = serde_json::from_str(text(stateful_set)?).ok()?;
        // Fields that this version does not know are none the less kept.
        let is_template = PodTemplateSpec::deserialize(&rendered.template).is_ok()
            && Vec::<PersistentVolumeClaimTemplate>::deserialize(&rendered.claims).is_ok();
        is_template.then_some(rendered)
    }
}

/// Returns which version of the operator wrote a template in a format later than this one reads, if one did. Rendered anew, it would replace all pods.
pub(crate) fn newer_template(stateful_set: &Value) -> Option<String> {
    let written: Value = serde_json::from_str(text(stateful_set)?).ok()?;
    let version = written["operator"].as_str().unwrap_or("of a later version");
    (written["format"].as_u64()? > FORMAT).then(|| version.to_owned())
}

fn text(stateful_set: &Value) -> Option<&str> {
    stateful_set["metadata"]["annotations"][names::RENDERED].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_of_a_later_format_is_told_from_one_that_is_damaged() {
        let of = |text: &str| {
            newer_template(&json!({"metadata": {"annotations": {names::RENDERED: text}}}))
        };
        assert_eq!(
            of(r#"{"format": 2, "operator": "9.0.0"}"#).as_deref(),
            Some("9.0.0")
        );
        for text in ["", "{", r#"{"operator": "9.0.0"}"#, r#"{"format": 1}"#] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
