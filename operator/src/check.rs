//! `vdt-operator check`: whether the operator can do its work here. `helm test` runs it with the operator's account.
//!
//! ```text
//! the definition is served --> the account may do what is needed --> somebody leads
//! ```
//!
//! Nothing is written. All that is wrong is said, not only the first of it.

use std::fmt::{self, Write as _};

use anyhow::{Context as _, bail};
use k8s_openapi::{
    api::{
        authorization::v1::{
            ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
        },
        coordination::v1::Lease,
    },
    jiff::{SignedDuration, Timestamp},
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use vdt_crds::VirtualTable;

use crate::{args::CheckArgs, build::Kind, start::optional_kinds};

/// Verbs on what is written by server-side apply and watched.
const CHILD: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];
/// Verbs on what is only looked at.
const SEEN: &[&str] = &["get", "list", "watch"];

/// Group, resource (with its subresource) and verbs that every operator needs where its tables are.
const NEEDS: &[(&str, &str, &[&str])] = &[
    ("vdt.io", "virtualtables", SEEN),
    ("vdt.io", "virtualtables/status", &["patch"]),
    ("apps", "statefulsets", CHILD),
    ("", "configmaps", CHILD),
    ("", "services", CHILD),
    ("", "serviceaccounts", CHILD),
    ("", "persistentvolumeclaims", CHILD),
    ("policy", "poddisruptionbudgets", CHILD),
    ("networking.k8s.io", "networkpolicies", CHILD),
    ("", "pods", &["get", "list", "watch", "patch", "delete"]),
    ("", "pods/resize", &["patch"]),
    ("", "secrets", &["get"]),
    ("events.k8s.io", "events", &["create", "patch"]),
];

/// Checks, and prints what was found.
///
/// # Errors
/// There is no cluster, or something that the operator needs is missing.
pub(crate) async fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let client = Client::try_default()
        .await
        .context("finding a cluster: set KUBECONFIG, or run in a pod")?;
    let mut wrong = String::new();
    let mut note = |what: &str, result: anyhow::Result<String>| match result {
        Ok(said) => println!("ok     {what}: {said}"),
        Err(error) => {
            println!("WRONG  {what}: {error:#}");
            let _ = write!(wrong, "{}{what}", if wrong.is_empty() { "" } else { ", " });
        }
    };
    note("definition", definition(&client, &args.namespace).await);
    note("rights", rights(&client, args).await);
    if let Some(name) = &args.lease_name {
        note("leader", leader(&client, &args.own_namespace, name).await);
    }
    if !wrong.is_empty() {
        bail!("not as it should be: {wrong}");
    }
    Ok(())
}

async fn definition(client: &Client, namespace: &str) -> anyhow::Result<String> {
    let api: Api<VirtualTable> = match namespace {
        "" => Api::all(client.clone()),
        namespace => Api::namespaced(client.clone(), namespace),
    };
    api.list(&ListParams::default().limit(1))
        .await
        .context("VirtualTables cannot be listed; install the definition with crds.enabled=true, or kubectl apply --server-side -f crds/")?;
    Ok("VirtualTables are served".to_owned())
}

/// Something that the account must be allowed to do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Need<'a> {
    /// Empty for all.
    namespace: &'a str,
    group: &'a str,
    /// With its subresource.
    resource: &'a str,
    /// Of the one object that it is about; none for all.
    name: Option<&'a str>,
    verb: &'a str,
}

/// Returns all that the account must be allowed to do. `optional`: kinds of children that not every cluster has and this one does.
fn needs<'a>(args: &'a CheckArgs, optional: &[Kind]) -> Vec<Need<'a>> {
    let mut needs = Vec::new();
    let mut add = |namespace, group, resource, name, verbs: &[&'static str]| {
        needs.extend(verbs.iter().map(|&verb| Need {
            namespace,
            group,
            resource,
            name,
            verb,
        }));
    };
    let tables = args.namespace.as_str();
    for (group, resource, verbs) in NEEDS {
        add(tables, group, resource, None, verbs);
    }
    for kind in optional {
        add(tables, kind.group(), kind.plural(), None, CHILD);
    }
    if tables.is_empty() {
        add("", "", "nodes", None, &["list", "watch"]);
        add("", "", "persistentvolumes", None, &["get"]);
    }
    if args.secrets_watch {
        add(tables, "", "secrets", None, &["list", "watch"]);
    }
    // A name cannot limit `create`: the object is not there when it is asked for.
    let own = args.own_namespace.as_str();
    if let Some(name) = args.lease_name.as_deref() {
        let group = "coordination.k8s.io";
        add(own, group, "leases", None, &["create"]);
        add(
            own,
            group,
            "leases",
            Some(name),
            &["get", "update", "watch"],
        );
    }
    add(own, "", "secrets", None, &["create"]);
    if let Some(name) = args.admin_key_secret.as_deref() {
        add(own, "", "secrets", Some(name), &["get"]);
    }
    needs
}

async fn rights(client: &Client, args: &CheckArgs) -> anyhow::Result<String> {
    let optional = optional_kinds(client)
        .await
        .context("asking which kinds the cluster has")?;
    let needs = needs(args, &optional);
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let mut lacking = Vec::new();
    for need in &needs {
        let answer = api.create(&PostParams::default(), &review(need)).await;
        let answer = answer.context("asking what this account may")?;
        if !answer.status.is_some_and(|status| status.allowed) {
            lacking.push(need.to_string());
        }
    }
    if !lacking.is_empty() {
        bail!("the account may not {}", lacking.join(", "));
    }
    Ok(format!("all {} are granted", needs.len()))
}

impl fmt::Display for Need<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        match self.name {
            Some(name) => write!(f, " {}/{name}", self.namespace),
            None if self.namespace.is_empty() => Ok(()),
            None => write!(f, " in {}", self.namespace),
        }
    }
}

fn review(need: &Need<'_>) -> SelfSubjectAccessReview {
    let (resource, subresource) = match need.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (need.resource, None),
    };
    SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(need.namespace.to_owned()).filter(|name| !name.is_empty()),
                group: Some(need.group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource,
                name: need.name.map(str::to_owned),
                verb: Some(need.verb.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    }
}

async fn leader(client: &Client, namespace: &str, name: &str) -> anyhow::Result<String> {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let lease = api
        .get(name)
        .await
        .with_context(|| format!("lease {namespace}/{name}: no operator has led yet"))?;
    held(&lease, Timestamp::now())
}

/// Returns who holds a lease.
fn held(lease: &Lease, now: Timestamp) -> anyhow::Result<String> {
    let spec = lease.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
    let holder = holder.context("nobody leads")?;
    let lasts = SignedDuration::from_secs(spec.lease_duration_seconds.unwrap_or_default().into());
    let renewed = spec.renew_time.context("the lease was never renewed")?.0;
    // Twice its duration: the clocks of two nodes need not agree.
    if now.duration_since(renewed) > lasts * 2 {
        bail!("{holder} led last, and has not renewed its lease since {renewed}");
    }
    Ok(format!("{holder} leads"))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::MicroTime,
    };

    use super::*;

    fn lease(holder: &str, renewed: Timestamp) -> Lease {
        Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(15),
                renew_time: Some(MicroTime(renewed)),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number of seconds is a time")
    }

    #[test]
    fn a_renewed_lease_names_its_holder() {
        let said = held(&lease("a", at(100)), at(110)).expect("held");
        assert_eq!(said, "a leads");
    }

    #[test]
    fn a_lease_that_ran_out_or_is_empty_has_no_leader() {
        assert!(held(&lease("a", at(100)), at(131)).is_err());
        assert!(held(&lease("", at(100)), at(101)).is_err());
        assert!(held(&Lease::default(), at(1)).is_err());
    }

    #[test]
    fn a_subresource_is_asked_for_by_its_own_field() {
        let need = Need {
            namespace: "",
            group: "vdt.io",
            resource: "virtualtables/status",
            name: None,
            verb: "patch",
        };
        let spec = review(&need).spec;
        let asked = spec
            .resource_attributes
            .expect("a question about a resource");
        assert_eq!(asked.resource.as_deref(), Some("virtualtables"));
        assert_eq!(asked.subresource.as_deref(), Some("status"));
        assert_eq!(asked.namespace, None);
    }

    /// What is asked for, as a line, of an operator of all namespaces.
    fn asked(optional: &[Kind], change: impl FnOnce(&mut CheckArgs)) -> Vec<String> {
        let mut args = CheckArgs {
            namespace: String::new(),
            lease_name: None,
            admin_key_secret: None,
            secrets_watch: false,
            own_namespace: "vdt-system".to_owned(),
        };
        change(&mut args);
        needs(&args, optional)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn children_that_not_every_cluster_knows_are_asked_for_where_it_does() {
        let has = |asked: &[String], what: &str| asked.iter().any(|one| one == what);
        let plain = asked(&[], |_| ());
        assert!(has(&plain, "create statefulsets") && has(&plain, "list nodes"));
        let more = asked(&[Kind::PodMonitor, Kind::Certificate], |_| ());
        for resource in ["podmonitors", "certificates"] {
            for verb in CHILD {
                let line = format!("{verb} {resource}");
                assert!(has(&more, &line) && !has(&plain, &line), "{line}");
            }
        }
    }

    #[test]
    fn what_the_operator_needs_for_itself_is_asked_for_in_its_namespace_by_name() {
        let all = asked(&[], |args| {
            args.namespace = "docs".to_owned();
            args.lease_name = Some("leader".to_owned());
            args.admin_key_secret = Some("key".to_owned());
        });
        for line in [
            "create leases in vdt-system",
            "get leases vdt-system/leader",
            "update leases vdt-system/leader",
            "watch leases vdt-system/leader",
            "create secrets in vdt-system",
            "get secrets vdt-system/key",
            "get secrets in docs",
        ] {
            assert!(all.iter().any(|one| one == line), "{line}: {all:?}");
        }
        assert!(!all.iter().any(|one| one.contains("nodes")));
    }
}
