//! How pods run. A laptop reads access, tls and cache only.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use std::collections::BTreeMap;

use super::shapes::{self, NameRef};
use super::{
    AzureContainer, Cache, GcsBucket, Monitoring, NetworkPolicy, PodTemplate, ReaderService,
    S3Bucket, Tls,
};
use crate::quantity::Quantity;

/// The pods that serve the table.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Server {
    /// replicas is the number of pods. Leave it out of Git when an autoscaler owns it.
    #[schemars(range(min = 0, max = 256))]
    pub replicas: u32,
    /// state is where the log and the ropes live. Deleting the VirtualTable never deletes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// access says who may read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// images other than those the operator ships with. Pin by digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<Images>,
    /// resources of the containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<PodResources>,
    /// cache beside each server.
    pub cache: Cache,
    /// routing of readers to pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing: Option<Routing>,
    /// rollout of a changed pod template.
    pub rollout: Rollout,
    /// disruption budget for evictions.
    pub disruption: Disruption,
    /// tls of the data listener.
    pub tls: Tls,
    /// networkPolicy of the pods.
    pub network_policy: NetworkPolicy,
    /// monitoring objects to create.
    pub monitoring: Monitoring,
    /// service that readers use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ReaderService>,
    /// serviceAccountName of the pods, for workload identity. The operator creates one without rights when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = shapes::OBJECT_NAME))]
    pub service_account_name: Option<String>,
    /// podTemplate is added to the generated pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            replicas: 1,
            state: None,
            access: None,
            images: None,
            resources: None,
            cache: Cache::default(),
            routing: None,
            rollout: Rollout::default(),
            disruption: Disruption::default(),
            tls: Tls::default(),
            network_policy: NetworkPolicy::default(),
            monitoring: Monitoring::default(),
            service: None,
            service_account_name: None,
            pod_template: None,
        }
    }
}

/// The disruption budget.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Disruption {
    /// maxUnavailable of the PodDisruptionBudget. There is none below 2 replicas.
    #[schemars(range(min = 1, max = 256))]
    pub max_unavailable: u32,
}

impl Default for Disruption {
    fn default() -> Self {
        Self { max_unavailable: 1 }
    }
}

/// How a changed pod template is rolled out.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollout {
    /// cachePolicy Preserve refuses a change that would drop the caches of more than maxUnavailable pods at once; Discard allows it.
    pub cache_policy: CachePolicy,
    /// maxUnavailable is the number of pods that may be missing during a rollout.
    #[schemars(range(min = 1, max = 256))]
    pub max_unavailable: u32,
    /// drainSeconds for responses under way to finish, once a pod has left the endpoints and accepts nothing new.
    #[schemars(range(min = 0, max = 600))]
    pub drain_seconds: u32,
    /// onOperatorUpgrade says whether a new operator may roll pods: OnNextChange waits for the next change of spec.
    pub on_operator_upgrade: OnOperatorUpgrade,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            cache_policy: CachePolicy::Preserve,
            max_unavailable: 1,
            drain_seconds: 30,
            on_operator_upgrade: OnOperatorUpgrade::OnNextChange,
        }
    }
}

/// When a new operator may roll pods.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnOperatorUpgrade {
    /// At once.
    Immediate,
    /// With the next change of spec.
    #[default]
    OnNextChange,
}

/// Whether a rollout may drop caches.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CachePolicy {
    /// Only of `maxUnavailable` pods at once.
    #[default]
    Preserve,
    /// It may.
    Discard,
}

/// How readers reach pods.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Routing {
    /// trafficDistribution is copied to the Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TrafficDistribution")]
    pub traffic_distribution: Option<TrafficDistribution>,
}

/// Which pods the Service prefers.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrafficDistribution {
    /// Those of the same zone.
    PreferSameZone,
    /// Those of the same node.
    PreferSameNode,
}

/// Resources of the containers of a pod.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodResources {
    /// resources of the server container. Changes of CPU and memory are applied in place where the cluster supports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ContainerResources>,
    /// resources of the sidecar container. Changes of CPU and memory are applied in place where the cluster supports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<ContainerResources>,
}

/// Requests and limits of one container.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerResources {
    /// requests by resource.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "shapes::amounts")]
    pub requests: BTreeMap<String, String>,
    /// limits by resource.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "shapes::amounts")]
    pub limits: BTreeMap<String, String>,
}

/// Container images.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Images {
    /// server image.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub server: Option<String>,
    /// sidecar image.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub sidecar: Option<String>,
    /// pullSecrets in the same namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub pull_secrets: Vec<PullSecret>,
}

/// Who may read.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// mode Anonymous admits everyone who reaches the port; Keys requires SigV4 or a bearer token.
    pub mode: AccessMode,
    /// principals of mode Keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub principals: Vec<Principal>,
}

/// A principal: somebody who may read.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Principal {
    /// name shown in access logs.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
    /// secretRef names a Secret with accessKeyId and secretAccessKey (S3 dialect), token (HTTP dialects), or all three.
    pub secret_ref: NameRef,
    /// tables the principal may read, as globs on the published name (manuals, manuals_meta, manuals_*). All when unset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::globs::<16, 128>")]
    pub tables: Vec<String>,
}

/// Who may read.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessMode {
    /// Everybody who reaches the port.
    Anonymous,
    /// Principals, by SigV4 or a bearer token.
    Keys,
}

/// The state store of a cluster: a union on `type`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// type selects the member that must be set. Ephemeral starts the log from scratch with every pod: for trials only.
    #[serde(rename = "type")]
    pub kind: StateType,
    /// s3 is a bucket of any S3 service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = shapes::without_versions)]
    pub s3: Option<S3Bucket>,
    /// gcs is a Google Cloud Storage bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = shapes::without_versions)]
    pub gcs: Option<GcsBucket>,
    /// azure is an Azure Blob container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = shapes::without_versions)]
    pub azure: Option<AzureContainer>,
    /// claim is a PersistentVolumeClaim of one pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<StateClaim>,
}

/// A claim that holds the state of one pod.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct StateClaim {
    /// claimName is an existing claim in the same namespace. When unset, the operator creates one of its own and never deletes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = shapes::OBJECT_NAME))]
    pub claim_name: Option<String>,
    /// capacity of the claim that the operator creates, 1Gi when unset. It can grow, but not shrink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Quantity>,
    /// storageClassName of the claim that the operator creates. Immutable.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = shapes::OBJECT_NAME))]
    pub storage_class_name: Option<String>,
}

impl StateClaim {
    /// Capacity of a claim that says none: logs and ropes are small.
    pub const CAPACITY: &str = "1Gi";

    /// Returns the capacity of the claim that the operator makes.
    #[must_use]
    pub fn capacity(&self) -> Quantity {
        self.capacity
            .clone()
            .unwrap_or_else(|| Quantity::literal(Self::CAPACITY))
    }
}

/// Where the log and the ropes live.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateType {
    /// A bucket of any S3 service.
    S3,
    /// A Google Cloud Storage bucket.
    #[serde(rename = "GCS")]
    Gcs,
    /// An Azure Blob container.
    Azure,
    /// A claim of one pod.
    Claim,
    /// The pod itself: the log starts again with every pod.
    Ephemeral,
}

/// A pull secret.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct PullSecret {
    /// name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = shapes::OBJECT_NAME))]
    pub name: String,
}
