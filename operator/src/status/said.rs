//! What the pods said of the table: which manifest they follow, its conditions and its sources. A pod that did not answer said nothing, and one of an
//! earlier version may say less.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use vdt_crds::{
    SourceStatus, VirtualTableStatus,
    api::{RESTART_NEEDED, RefusedManifest, TableReport},
};

use super::Observed;

/// The reports of this table, from every pod that answered.
pub(super) fn table_reports<'a>(observed: &Observed<'a>) -> impl Iterator<Item = &'a TableReport> {
    reports(observed).map(|(_, report)| report)
}

/// The same with the names of the pods.
fn reports<'a>(observed: &Observed<'a>) -> impl Iterator<Item = (&'a str, &'a TableReport)> {
    let path = observed.table_path;
    observed.reports.iter().filter_map(move |report| {
        let tables = report.tables.as_ref()?;
        let found = tables.iter().find(|table| table.table == path)?;
        Some((report.pod.as_str(), found))
    })
}

/// How far the pods follow the manifest.
pub(super) enum Followed {
    /// As far as they say.
    All,
    /// Some do not yet, and will.
    Not(String),
    /// One cannot.
    Refused(RefusedManifest),
}

/// Asks what the pods said. Pods that are replaced or on their way out need not follow anything, and those of before say nothing.
pub(super) fn followed(observed: &Observed<'_>) -> Followed {
    let is_told = observed.refusal.is_none()
        && observed.failure.is_none()
        && observed.held.is_none()
        && observed.outdated == 0;
    let Some(wanted) = observed.generation.filter(|_| is_told) else {
        return Followed::All;
    };
    let is_going = |name: &str| {
        let pod = observed.pods.iter().find(|pod| pod.name == name);
        pod.is_some_and(|pod| pod.is_terminating)
    };
    let manifests: Vec<_> = reports(observed)
        .filter(|(pod, _)| !is_going(pod))
        .filter_map(|(_, report)| report.manifest.as_ref())
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

/// What every pod that answered says of a condition of this table.
pub(super) fn conditions<'a>(observed: &Observed<'a>, kind: &'static str) -> Vec<&'a Condition> {
    table_reports(observed)
        .filter_map(|report| report.conditions.iter().find(|one| one.type_ == kind))
        .collect()
}

/// What the pod with the latest version said.
pub(super) fn newest_report<'a>(observed: &Observed<'a>) -> Option<&'a TableReport> {
    table_reports(observed).max_by_key(|report| report.version)
}

/// The sources as the pod with the latest version last checked them. What one says that is as it was waits its turn: it holds counts.
pub(super) fn sources(observed: &Observed<'_>, last: &VirtualTableStatus) -> Vec<SourceStatus> {
    let Some(report) = newest_report(observed) else {
        return last.sources.clone();
    };
    let said = report.sources.iter().map(|source| source.status.clone());
    said.map(|mut source| {
        let before = last.sources.iter().find(|one| one.name == source.name);
        if let Some(before) = before.filter(|_| !observed.may_count)
            && (before.status, &before.reason) == (source.status, &source.reason)
        {
            source.message.clone_from(&before.message);
        }
        source
    })
    .collect()
}
