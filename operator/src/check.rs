//! `vdt-operator check`: whether the operator can do its work here. `helm test` runs it with the operator's account.
//!
//! ```text
//! the definition is served --> the account may do what is needed --> somebody leads
//! ```
//!
//! Nothing is written. All that is wrong is said, not only the first of it.

use std::fmt::Write as _;

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

use crate::args::CheckArgs;

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

async fn rights(client: &Client, args: &CheckArgs) -> anyhow::Result<String> {
    let mut needs = NEEDS.to_vec();
    if args.namespace.is_empty() {
        needs.push(("", "nodes", &["list", "watch"]));
        needs.push(("", "persistentvolumes", &["get"]));
    }
    if args.secrets_watch {
        needs.push(("", "secrets", &["list", "watch"]));
    }
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let mut asked = 0;
    let mut lacking = Vec::new();
    for (group, resource, verbs) in needs {
        for verb in verbs {
            let review = review(&args.namespace, group, resource, verb);
            let answer = api.create(&PostParams::default(), &review).await;
            let answer = answer.context("asking what this account may")?;
            asked += 1;
            if !answer.status.is_some_and(|status| status.allowed) {
                lacking.push(format!("{verb} {resource}"));
            }
        }
    }
    if !lacking.is_empty() {
        bail!("the account may not {}", lacking.join(", "));
    }
    Ok(format!("all {asked} are granted"))
}

fn review(namespace: &str, group: &str, resource: &str, verb: &str) -> SelfSubjectAccessReview {
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (resource, None),
    };
    SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.to_owned()).filter(|name| !name.is_empty()),
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource,
                verb: Some(verb.to_owned()),
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
        let spec = review("", "vdt.io", "virtualtables/status", "patch").spec;
        let asked = spec
            .resource_attributes
            .expect("a question about a resource");
        assert_eq!(asked.resource.as_deref(), Some("virtualtables"));
        assert_eq!(asked.subresource.as_deref(), Some("status"));
        assert_eq!(asked.namespace, None);
    }
}
