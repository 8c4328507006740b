//! What users add to the generated pods.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use std::collections::BTreeMap;

use super::shapes;

/// Additions to the generated pods.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodTemplate {
    /// labels of the pods.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "shapes::labels::<64>")]
    pub labels: BTreeMap<String, String>,
    /// annotations of the pods.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "shapes::strings::<64, 4096>")]
    pub annotations: BTreeMap<String, String>,
    /// nodeSelector of the pods.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "shapes::labels::<16>")]
    pub node_selector: BTreeMap<String, String>,
    /// priorityClassName of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = shapes::OBJECT_NAME))]
    pub priority_class_name: Option<String>,
    /// runtimeClassName of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = shapes::OBJECT_NAME))]
    pub runtime_class_name: Option<String>,
    /// tolerations of the pods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<Toleration>,
    /// env of both containers. VDT_CLAIMS_DIR and names that begin with VDT_STATE belong to the operator.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvVar>,
    /// securityContext of the pod. 65532 for all three when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<PodSecurity>,
    /// affinity of the pods, as in a PodSpec.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::any_object")]
    pub affinity: Option<serde_json::Map<String, serde_json::Value>>,
    /// topologySpreadConstraints of the pods. They are spread over zones and hosts when unset.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::spread_constraints")]
    pub topology_spread_constraints: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// The security context of the pods.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSecurity {
    /// runAsUser of the containers. 0 is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2147483647))]
    pub run_as_user: Option<i64>,
    /// runAsGroup of the containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2147483647))]
    pub run_as_group: Option<i64>,
    /// fsGroup of the writable volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2147483647))]
    pub fs_group: Option<i64>,
    /// supplementalGroups, for example to read a File source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::groups")]
    pub supplemental_groups: Vec<i64>,
}

/// An environment variable, for example HTTPS_PROXY.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// name of the variable.
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$")
    )]
    pub name: String,
    /// value of the variable. Not for secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
}

impl EnvVar {
    /// Says whether the operator alone sets it: it says where the state and the claims of a server are.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.name == "VDT_CLAIMS_DIR" || self.name.starts_with("VDT_STATE")
    }
}

/// A toleration, as in a PodSpec.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    /// key of the taint.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 316))]
    pub key: Option<String>,
    /// operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TolerationOperator")]
    pub operator: Option<TolerationOperator>,
    /// value of the taint.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// effect of the taint.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TaintEffect")]
    pub effect: Option<TaintEffect>,
    /// tolerationSeconds before eviction.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -2147483648, max = 2147483647))]
    pub toleration_seconds: Option<i64>,
}

/// Effect of a taint.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaintEffect {
    /// Not scheduled.
    NoSchedule,
    /// Scheduled elsewhere if possible.
    PreferNoSchedule,
    /// Evicted.
    NoExecute,
}

/// How a toleration compares.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TolerationOperator {
    /// By value.
    Equal,
    /// By presence.
    Exists,
    /// Less than.
    Lt,
    /// Greater than.
    Gt,
}
