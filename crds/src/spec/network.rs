//! TLS, the network policy, monitoring and the Service.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use std::collections::BTreeMap;

use super::shapes::{self, NameRef};

/// The Service that readers use.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ReaderService {
    /// type of the Service. ClusterIP when unset.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ServiceType")]
    pub kind: Option<ServiceType>,
    /// annotations of the Service.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "shapes::strings::<32, 1024>")]
    pub annotations: BTreeMap<String, String>,
    /// loadBalancerClass of a LoadBalancer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = shapes::QUALIFIED_NAME))]
    pub load_balancer_class: Option<String>,
}

/// Type of the Service.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceType {
    /// Inside the cluster.
    ClusterIP,
    /// On a port of every node.
    NodePort,
    /// By a load balancer.
    LoadBalancer,
}

/// Monitoring objects.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Monitoring {
    /// podMonitor Enabled requires the monitoring.coreos.com CRDs; without them a condition says so.
    pub pod_monitor: PodMonitor,
    /// labels of the PodMonitor.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "shapes::labels::<16>")]
    pub labels: BTreeMap<String, String>,
}

impl Default for Monitoring {
    fn default() -> Self {
        Self {
            pod_monitor: PodMonitor::Disabled,
            labels: BTreeMap::new(),
        }
    }
}

/// Whether a PodMonitor is made.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PodMonitor {
    /// It is not.
    #[default]
    Disabled,
    /// It is.
    Enabled,
}

/// The NetworkPolicy of the pods. Other NetworkPolicies may admit more: policies add up.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicy {
    /// mode Restricted admits only clients, the operator and peers; None creates no policy.
    pub mode: NetworkPolicyMode,
    /// clientLabels select the pods that may read, in any namespace.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "shapes::labels::<16>")]
    pub client_labels: BTreeMap<String, String>,
    /// clientCIDRs are addresses that may read as well, for example those of clients or nodes behind a load balancer.
    #[serde(rename = "clientCIDRs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::cidrs")]
    pub client_cidrs: Vec<String>,
    /// egressPorts are TCP ports that the pods may reach in addition to 53, 5353 and those of sources, state and proxies in podTemplate.env. A Service whose pods
    /// listen on a port other than its own needs theirs here: many networks evaluate policies after the Service has been resolved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::ports")]
    pub egress_ports: Vec<u16>,
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        Self {
            mode: NetworkPolicyMode::None,
            client_labels: BTreeMap::new(),
            client_cidrs: Vec::new(),
            egress_ports: Vec::new(),
        }
    }
}

/// Whether a NetworkPolicy is made.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NetworkPolicyMode {
    /// It is not.
    #[default]
    None,
    /// Clients, the operator and peers are admitted.
    Restricted,
}

/// TLS of the data listener.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Tls {
    /// mode of TLS.
    pub mode: TlsMode,
    /// secretRef names a kubernetes.io/tls Secret. Re-read without a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<NameRef>,
    /// issuerRef names a cert-manager issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            mode: TlsMode::Disabled,
            secret_ref: None,
            issuer_ref: None,
        }
    }
}

/// A cert-manager issuer.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct IssuerRef {
    /// name of the issuer.
    #[schemars(length(min = 1, max = 253), regex(pattern = shapes::OBJECT_NAME))]
    pub name: String,
    /// kind of the issuer.
    pub kind: IssuerKind,
}

/// Kind of a cert-manager issuer.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IssuerKind {
    /// Of the namespace.
    Issuer,
    /// Of the cluster.
    ClusterIssuer,
}

/// TLS of the data listener.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsMode {
    /// None.
    #[default]
    Disabled,
    /// From a Secret.
    Secret,
    /// Issued by cert-manager.
    CertManager,
}
