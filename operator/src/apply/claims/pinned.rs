//! What a volume's node affinity pins it to, and since when no node fits.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::watches::{Nodes, Place};

/// Labels of which a node must have one for each key.
pub(super) type Term = Vec<(String, Vec<String>)>;

/// The terms of a volume's node affinity; none if one of them pins it to no values of a label, for any node may then have it.
pub(super) fn pinned_to(volume: &Value) -> Vec<Term> {
    let terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"].as_array();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut all = Vec::new();
    for term in terms.into_iter().flatten() {
        let pins: Term = term["matchExpressions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|expression| expression["operator"] == "In")
            .filter_map(|expression| {
                let values = expression["values"].as_array()?;
                Some((
                    text(&expression["key"])?,
                    values.iter().filter_map(text).collect(),
                ))
            })
            .collect();
        if pins.is_empty() {
            return Vec::new();
        }
        all.push(pins);
    }
    all
}

/// Returns since when no node can have a volume of these terms: in each of them, all that a label may be was a node that is gone.
pub(super) fn gone_since(terms: &[Term], nodes: &Nodes) -> Option<Timestamp> {
    let all_gone = |(key, values): &(String, Vec<String>)| {
        let places = values.iter().map(|value| (key.clone(), value.clone()));
        let times: Option<Vec<_>> = places
            .map(|place: Place| nodes.gone_since(&place))
            .collect();
        times?.into_iter().max()
    };
    let times: Option<Vec<_>> = terms
        .iter()
        .map(|term| term.iter().filter_map(all_gone).min())
        .collect();
    times?.into_iter().max()
}

/// A label's values as a selector says them.
pub(super) fn selector((key, values): &(String, Vec<String>)) -> String {
    format!("{key} in ({})", values.join(","))
}
