//! Follows the references of a table: are the Secrets, ConfigMaps and claims there that its pods mount?
//!
//! Objects are read by GET of the names that the table refers to. Of a Secret only its version and the names of its keys are looked at; values are dropped
//! with the answer, and nothing of them is kept, logged or written. What was found is trusted for [`TRUST`], what is missing is asked for again with
//! every look (the reconcile comes back every few seconds then), so a steady state costs next to nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret};
use kube::{Api, Client, ResourceExt, api::PartialObjectMeta};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::build::References;

/// How long an object that was there is believed to be there, and unchanged.
const TRUST: Duration = Duration::from_secs(600);

/// How far what was found last is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Belief {
    /// For [`TRUST`].
    ForAWhile,
    /// Not at all: something may have changed.
    Never,
}

/// What was found last, by kind and name.
#[derive(Debug, Default)]
pub(crate) struct Known {
    found: HashMap<(&'static str, String), (Instant, String)>,
}

/// What the references of a table come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Dereferenced {
    /// What is not there: kind and name, in the order of the names.
    pub(crate) missing: Vec<(&'static str, String)>,
    /// Versions of what is there.
    pub(crate) versions: BTreeMap<String, String>,
}

impl Dereferenced {
    /// Reason and message, where something is missing.
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        let (kind, _) = self.missing.first()?;
        let reason = match *kind {
            "Secret" => "SecretNotFound",
            "ConfigMap" => "ConfigMapNotFound",
            _ => "ClaimNotFound",
        };
        let names: Vec<String> = self
            .missing
            .iter()
            .map(|(kind, name)| format!("{kind} {name}"))
            .collect();
        let verb = if names.len() == 1 { "does" } else { "do" };
        Some((
            reason,
            format!("{} {verb} not exist in this namespace", names.join(", ")),
        ))
    }

    /// What the pods have mounted, as a value that changes whenever one of them does.
    pub(crate) fn fingerprint(&self) -> Value {
        json!(self.versions)
    }
}

/// Returns kind and name of everything that is referred to.
pub(crate) fn names(references: &References) -> BTreeSet<(&'static str, String)> {
    let secrets = references.secrets().map(|name| ("Secret", name.clone()));
    let config_maps = references
        .config_maps
        .iter()
        .map(|name| ("ConfigMap", name.clone()));
    let claims = references
        .claims
        .iter()
        .map(|name| ("PersistentVolumeClaim", name.clone()));
    secrets.chain(config_maps).chain(claims).collect()
}

/// Looks after the references. What is `known` is asked for again unless it is believed.
///
/// # Errors
/// The API server does not answer, or forbids it.
pub(crate) async fn dereference(
    client: &Client,
    namespace: &str,
    references: &References,
    known: &mut Known,
    belief: Belief,
) -> Result<Dereferenced, kube::Error> {
    let wanted = names(references);
    known.found.retain(|key, _| wanted.contains(key));
    let mut result = Dereferenced::default();
    for (kind, name) in wanted {
        let key = (kind, name.clone());
        let is_trusted =
            |(at, _): &(Instant, String)| belief == Belief::ForAWhile && at.elapsed() < TRUST;
        let version = match known.found.get(&key).filter(|found| is_trusted(found)) {
            Some((_, version)) => Some(version.clone()),
            None => version_of(client, namespace, kind, &name).await?,
        };
        match version {
            Some(version) => {
                let entry = known
                    .found
                    .entry(key)
                    .or_insert_with(|| (Instant::now(), version.clone()));
                if belief == Belief::Never || entry.1 != version || entry.0.elapsed() >= TRUST {
                    *entry = (Instant::now(), version.clone());
                }
                result.versions.insert(format!("{kind}/{name}"), version);
            }
            None => {
                known.found.remove(&key);
                result.missing.push((kind, name));
            }
        }
    }
    Ok(result)
}

/// Metadata alone is asked for: values do not even leave the API server.
async fn version_of(
    client: &Client,
    namespace: &str,
    kind: &str,
    name: &str,
) -> Result<Option<String>, kube::Error> {
    let client = client.clone();
    let version = match kind {
        "Secret" => {
            let api: Api<Secret> = Api::namespaced(client, namespace);
            api.get_metadata_opt(name)
                .await?
                .map(|found: PartialObjectMeta<Secret>| version(&found))
        }
        "ConfigMap" => {
            let api: Api<ConfigMap> = Api::namespaced(client, namespace);
            api.get_metadata_opt(name)
                .await?
                .map(|found| version(&found))
        }
        _ => {
            let api: Api<PersistentVolumeClaim> = Api::namespaced(client, namespace);
            // A claim changes with its use; only that it is this one matters.
            api.get_metadata_opt(name)
                .await?
                .map(|found| found.uid().unwrap_or_default())
        }
    };
    Ok(version)
}

fn version<K>(found: &PartialObjectMeta<K>) -> String
where
    PartialObjectMeta<K>: ResourceExt,
{
    found.resource_version().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::{Calls, fake_api, not_found};

    #[test]
    fn what_is_missing_is_named() {
        let none = Dereferenced::default();
        assert_eq!(none.problem(), None);
        let one = Dereferenced {
            missing: vec![("Secret", "corp-ro".to_owned())],
            ..none.clone()
        };
        assert_eq!(
            one.problem(),
            Some((
                "SecretNotFound",
                "Secret corp-ro does not exist in this namespace".to_owned()
            ))
        );
        let two = Dereferenced {
            missing: vec![("ConfigMap", "ca".to_owned()), ("Secret", "a".to_owned())],
            ..none
        };
        let (reason, message) = two.problem().unwrap();
        assert_eq!(
            (reason, message.as_str()),
            (
                "ConfigMapNotFound",
                "ConfigMap ca, Secret a do not exist in this namespace"
            )
        );
    }

    #[tokio::test(start_paused = true)]
    async fn references_are_asked_for_by_name_and_believed_for_a_while() {
        let (client, calls) = fake_api(|_, path| {
            if path.ends_with("/secrets/corp-ro") {
                let metadata = json!({"name": "corp-ro", "resourceVersion": "5"});
                (
                    200,
                    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}),
                )
            } else {
                not_found()
            }
        });
        let references = References {
            source_secrets: ["corp-ro".to_owned()].into(),
            claims: ["papers".to_owned()].into(),
            ..References::default()
        };
        let mut known = Known::default();
        let first = dereference(&client, "docs", &references, &mut known, Belief::Never)
            .await
            .unwrap();
        assert_eq!(
            first.missing,
            [("PersistentVolumeClaim", "papers".to_owned())]
        );
        assert_eq!(first.versions["Secret/corp-ro"], "5");
        let asked = |calls: &Calls| {
            calls
                .lock()
                .unwrap()
                .drain(..)
                .map(|(line, _)| line)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            asked(&calls),
            [
                "GET /api/v1/namespaces/docs/persistentvolumeclaims/papers",
                "GET /api/v1/namespaces/docs/secrets/corp-ro",
            ]
        );
        // What is missing is asked for again, what was there is believed, until it is not.
        dereference(&client, "docs", &references, &mut known, Belief::ForAWhile)
            .await
            .unwrap();
        assert_eq!(
            asked(&calls),
            ["GET /api/v1/namespaces/docs/persistentvolumeclaims/papers"]
        );
        tokio::time::advance(TRUST + Duration::from_secs(1)).await;
        dereference(&client, "docs", &references, &mut known, Belief::ForAWhile)
            .await
            .unwrap();
        assert_eq!(asked(&calls).len(), 2);
    }
}
