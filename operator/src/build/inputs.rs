//! What the tables of a server refer to, and what its pod template is made from.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value, json};
use vdt_crds::{Location, Source, State, TlsMode, VirtualTable};

use super::{Server, hash};
use crate::names;

/// Objects of the namespace that the pods mount, by name. Sorted, so that the order of sources changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct References {
    /// Secrets with the credentials of sources and of the state: for the server.
    pub(crate) source_secrets: BTreeSet<String>,
    /// Secrets with the keys of principals and with certificates: for the front door.
    pub(crate) front_secrets: BTreeSet<String>,
    /// ConfigMaps with certificate authorities: for the server.
    pub(crate) config_maps: BTreeSet<String>,
    /// Claims that File sources read: for the server.
    pub(crate) claims: BTreeSet<String>,
}

impl References {
    /// Collects what the tables and the server refer to.
    pub(crate) fn of(server: &Server<'_>, tables: &[&VirtualTable]) -> Self {
        let mut all = Self::default();
        for location in locations(server, tables) {
            if let Location::File(file) = location {
                all.claims.extend(file.claim_name.clone());
            }
            let credentials = location.credentials();
            all.source_secrets
                .extend(credentials.map(|credentials| credentials.secret_ref.name.clone()));
            let bundle = location.ca_bundle();
            all.config_maps
                .extend(bundle.map(|bundle| bundle.name.clone()));
        }
        for principal in server
            .spec
            .access
            .iter()
            .flat_map(|access| &access.principals)
        {
            all.front_secrets.insert(principal.secret_ref.name.clone());
        }
        let tls = &server.spec.tls;
        match tls.mode {
            TlsMode::Disabled => {}
            TlsMode::Secret => all
                .front_secrets
                .extend(tls.secret_ref.iter().map(|secret| secret.name.clone())),
            TlsMode::CertManager => {
                all.front_secrets.insert(names::certificate(server.name));
            }
        }
        all
    }

    /// All Secrets.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &String> {
        self.source_secrets.union(&self.front_secrets)
    }
}

/// Where the sources of the tables lie, and the state.
pub(super) fn locations<'a>(
    server: &Server<'a>,
    tables: &[&'a VirtualTable],
) -> impl Iterator<Item = Location<'a>> {
    let sources = tables.iter().flat_map(|table| &table.spec.sources);
    let state = server.spec.state.as_ref().and_then(State::location);
    sources.filter_map(Source::location).chain(state)
}

/// Returns the hash of everything in the resources that the pod template depends on; `told` is what the processes read of the manifests and cannot
/// follow while they run. What is not in it, such as the operator's own images or what it alone acts upon ([`State::for_pods`]), changes no template before
/// one of these does.
pub(super) fn inputs(server: &Server<'_>, references: &References, told: &str) -> String {
    let spec = server.spec;
    let parts: Value = json!({
        "state": spec.state.as_ref().map(State::for_pods),
        "images": spec.images,
        "resources": spec.resources,
        "cache": spec.cache.for_pods(),
        "drainSeconds": spec.rollout.drain_seconds,
        "tls": spec.tls.for_pods(),
        "serviceAccountName": spec.service_account_name,
        "podTemplate": spec.pod_template,
        "references": references,
        "told": told,
    });
    hash(&parts)
}

/// Returns the hash of what running processes read of the manifests and do not follow: the cache, TLS, and whether readers need keys. All else is
/// followed in place: tables, sources, columns, layout, refresh, principals. A Secret, ConfigMap or claim that was not mounted before is a reference.
///
/// What only the operator acts upon ([`Cache::for_pods`](vdt_crds::Cache::for_pods)) is not compared by a front door either.
pub(super) fn fixed(tables: &[&VirtualTable]) -> String {
    let all: Vec<Value> = tables
        .iter()
        .filter_map(|table| table.spec.server.as_ref())
        .map(|server| {
            let mode = server.access.as_ref().map(|access| access.mode);
            json!({"mode": mode, "cache": server.cache.for_pods(), "tls": server.tls.for_pods()})
        })
        .collect();
    hash(&all.into())
}
