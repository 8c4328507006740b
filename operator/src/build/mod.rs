//! What a server consists of: a pure function from a server and its tables to the children that a cluster should hold.
//!
//! ```text
//! build(&Server, &[&VirtualTable]) -> Children
//!   ServiceAccount              without rights, no token mounted
//!   ConfigMap  NAME-config-v1   the manifests, which the pods follow while they run, and the public half of the operator's key
//!   Service    NAME, NAME-peers
//!   StatefulSet NAME            front door as main container, server as native sidecar; an annotation holds the pod template as last rendered
//!   PodDisruptionBudget         from two replicas on
//!   NetworkPolicy, PodMonitor, Certificate   where they are asked for
//!   PersistentVolumeClaim NAME-state         of state type Claim, without an owner: nothing deletes it
//! ```
//!
//! Same input, same bytes: no clock, no randomness, sorted maps. Children are JSON as it is applied: only fields that the operator owns are in it. The
//! tests read each of them back through the typed API, so a misspelt field does not get through.

mod config;
mod inputs;
mod network;
mod pod;
mod rendered;
mod volumes;
mod workload;

#[cfg(test)]
mod tests;

use k8s_openapi::{
    Resource,
    api::{
        apps::v1::StatefulSet,
        core::v1::{ConfigMap, PersistentVolumeClaim, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use vdt_crds::VirtualTable;

pub(crate) use config::{ADMIN_KEYS, MANIFESTS, suspended};
pub(crate) use inputs::References;
pub use network::ADMIN_PORT;
pub(crate) use network::DATA_PORT;
pub(crate) use pod::assigns_ids;
pub(crate) use rendered::{Rendered, newer_template};
pub(crate) use volumes::mounts_config_map;

use crate::names;

/// Seconds that a pod waits for its address to leave all endpoints before it stops to accept.
pub(crate) const ENDPOINT_SECONDS: u32 = 5;
/// Seconds that the front door takes for the last writes of its cache, at most.
pub(crate) const CLOSE_SECONDS: u32 = 15;
/// Seconds that the server has for its end, once the front door is gone and nobody asks it any more.
pub(crate) const SERVER_SECONDS: u32 = 5;

/// What an operator brings along: its flags.
#[derive(Clone, Debug)]
pub(crate) struct Shipped {
    /// Image of the server.
    pub(crate) server_image: String,
    /// Image of the sidecar.
    pub(crate) sidecar_image: String,
    /// Pull policy of both; the cluster's default when unset.
    pub(crate) pull_policy: Option<String>,
    /// Whether pods are given user, group and group of files where the resource says nothing. Where not, the cluster gives them.
    pub(crate) assign_ids: bool,
    /// Public keys that the pods' admin API trusts, as PEM.
    pub(crate) admin_keys: String,
    /// Namespace of the operator, which a NetworkPolicy admits.
    pub(crate) namespace: String,
    /// Name of the operator, the same for its replicas and for no other release. Empty where none acts.
    pub(crate) operator: String,
}

/// A server: pods that serve tables.
#[derive(Clone, Debug)]
pub(crate) struct Server<'a> {
    /// Namespace of all children.
    pub(crate) namespace: &'a str,
    /// Name of the server.
    pub(crate) name: &'a str,
    /// How the pods run.
    pub(crate) spec: &'a vdt_crds::Server,
    /// Controller reference that the children carry.
    pub(crate) owner: Value,
    /// What the operator brings along.
    pub(crate) shipped: &'a Shipped,
    /// The template as last rendered, where there is one.
    pub(crate) rendered: Option<Rendered>,
}

/// How the API calls a kind.
struct ApiNames {
    /// Empty for the core.
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    /// In paths and rights.
    plural: &'static str,
}

impl ApiNames {
    /// The names of a kind that every cluster has.
    const fn of<K: Resource>() -> Self {
        Self {
            group: K::GROUP,
            version: K::VERSION,
            kind: K::KIND,
            plural: K::URL_PATH_SEGMENT,
        }
    }
}

/// Kinds of children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Identity of the pods.
    ServiceAccount,
    /// Configuration.
    ConfigMap,
    /// The claim of a state.
    PersistentVolumeClaim,
    /// Ways to the pods.
    Service,
    /// The pods.
    StatefulSet,
    /// Budget for evictions.
    PodDisruptionBudget,
    /// Who may connect.
    NetworkPolicy,
    /// Of the Prometheus operator.
    PodMonitor,
    /// Of cert-manager.
    Certificate,
}

impl Kind {
    /// Kinds that every cluster knows, in the order in which they are applied: what pods need comes before them.
    pub(crate) const BUILT_IN: [Self; 7] = [
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::PersistentVolumeClaim,
        Self::Service,
        Self::NetworkPolicy,
        Self::PodDisruptionBudget,
        Self::StatefulSet,
    ];

    /// Kinds that not every cluster has.
    pub(crate) const OPTIONAL: [Self; 2] = [Self::PodMonitor, Self::Certificate];

    fn names(self) -> ApiNames {
        match self {
            Self::ServiceAccount => ApiNames::of::<ServiceAccount>(),
            Self::ConfigMap => ApiNames::of::<ConfigMap>(),
            Self::PersistentVolumeClaim => ApiNames::of::<PersistentVolumeClaim>(),
            Self::Service => ApiNames::of::<Service>(),
            Self::StatefulSet => ApiNames::of::<StatefulSet>(),
            Self::PodDisruptionBudget => ApiNames::of::<PodDisruptionBudget>(),
            Self::NetworkPolicy => ApiNames::of::<NetworkPolicy>(),
            Self::PodMonitor => ApiNames {
                group: "monitoring.coreos.com",
                version: "v1",
                kind: "PodMonitor",
                plural: "podmonitors",
            },
            Self::Certificate => ApiNames {
                group: "cert-manager.io",
                version: "v1",
                kind: "Certificate",
                plural: "certificates",
            },
        }
    }

    /// The kind's name.
    pub(crate) fn as_str(self) -> &'static str {
        self.names().kind
    }

    /// The API group, empty for the core.
    pub(crate) fn group(self) -> &'static str {
        self.names().group
    }

    /// The kind's name in paths and rights.
    pub(crate) fn plural(self) -> &'static str {
        self.names().plural
    }

    /// How the API calls it.
    pub(crate) fn resource(self) -> ApiResource {
        let names = self.names();
        let kind = GroupVersionKind::gvk(names.group, names.version, names.kind);
        ApiResource::from_gvk_with_plural(&kind, names.plural)
    }
}

/// One object that should exist.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Child {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Its name.
    pub(crate) name: String,
    /// The object as it is applied.
    pub(crate) object: Value,
}

impl Child {
    /// Makes a child with the labels of the server, and its owner.
    fn new(server: &Server<'_>, kind: Kind, name: impl Into<String>, body: Value) -> Self {
        let name = name.into();
        let resource = kind.resource();
        let mut object = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {
                "name": name,
                "namespace": server.namespace,
                "labels": names::labels(server.name),
                "ownerReferences": [server.owner],
            },
        });
        if let (Some(object), Value::Object(body)) = (object.as_object_mut(), body) {
            object.extend(body);
        }
        Self { kind, name, object }
    }

    /// Writes down what is applied, last of all.
    fn seal(&mut self) {
        self.object["metadata"]["annotations"][names::APPLIED] = hash(&self.object).into();
    }

    /// The object for the client.
    pub(crate) fn dynamic(&self) -> Result<DynamicObject, serde_json::Error> {
        serde_json::from_value(self.object.clone())
    }
}

/// Everything that a server consists of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Children {
    /// The objects, in the order in which they are applied.
    pub(crate) objects: Vec<Child>,
    /// SHA-256 of what the pods are told.
    pub(crate) config_hash: String,
    /// SHA-256 of the pod template without CPU and memory.
    pub(crate) template_hash: String,
    /// What the pods mount, by name.
    pub(crate) references: References,
}

impl Children {
    /// Returns the child of a kind and name.
    pub(crate) fn find(&self, kind: Kind, name: &str) -> Option<&Child> {
        self.objects
            .iter()
            .find(|child| child.kind == kind && child.name == name)
    }

    /// Returns the StatefulSet.
    pub(crate) fn stateful_set(&self) -> Option<&Child> {
        self.objects
            .iter()
            .find(|child| child.kind == Kind::StatefulSet)
    }

    /// Leaves open what `live`, the NetworkPolicy that is there, opens to pods: those of an earlier template may need it, such as the port of a proxy of before.
    /// Whoever may write it there may write one beside it, and policies add up.
    pub(crate) fn keep_open(&mut self, live: &Value) {
        let mut objects = self.objects.iter_mut();
        if let Some(policy) = objects.find(|child| child.kind == Kind::NetworkPolicy)
            && network::keep_open(&mut policy.object, live)
        {
            policy.seal();
        }
    }

    /// Whether each pod has a claim.
    pub(crate) fn has_claims(&self) -> bool {
        let claims = self
            .stateful_set()
            .and_then(|set| set.object["spec"]["volumeClaimTemplates"].as_array());
        claims.is_some_and(|claims| !claims.is_empty())
    }

    /// Returns the pod template.
    pub(crate) fn template(&self) -> &Value {
        self.stateful_set()
            .map_or(&Value::Null, |set| &set.object["spec"]["template"])
    }
}

/// Returns everything that the server consists of. `tables` are valid for a cluster; the first one names nothing more than the others do.
pub(crate) fn build(server: &Server<'_>, tables: &[&VirtualTable]) -> Children {
    let references = References::of(server, tables);
    let config = config::config_map(server, tables);
    let config_hash = hash(&config.object["data"]);
    let rendered = workload::render(server, &references, tables);
    let template_hash = workload::template_hash(&rendered.template);

    let mut objects = Vec::new();
    objects.extend(config::service_account(server));
    objects.push(config);
    objects.extend(volumes::state_claim(server));
    objects.push(network::peers(server));
    objects.push(network::service(server));
    objects.extend(network::policy(server, tables));
    objects.extend(network::disruption_budget(server));
    objects.extend(network::certificate(server));
    objects.push(workload::stateful_set(server, &rendered, &template_hash));
    objects.extend(network::pod_monitor(server));
    objects.iter_mut().for_each(Child::seal);
    Children {
        objects,
        config_hash,
        template_hash,
        references,
    }
}

/// SHA-256 of JSON whose maps are sorted, in hex, half of it: 128 bits are enough to tell two texts apart.
pub(crate) fn hash(value: &Value) -> String {
    hex::encode(&Sha256::digest(value.to_string().as_bytes())[..16])
}
