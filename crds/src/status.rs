//! The observed state: conditions, counts, and what each source last said.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Types of conditions. `Reconciling` and `Stalled` are there only while they are true.
pub mod condition {
    /// Whether the table serves the latest spec.
    pub const READY: &str = "Ready";
    /// Whether somebody can read at all.
    pub const AVAILABLE: &str = "Available";
    /// Whether every source could be listed.
    pub const SOURCES_READY: &str = "SourcesReady";
    /// Whether the declared columns could be made.
    pub const SCHEMA_ACCEPTED: &str = "SchemaAccepted";
    /// Whether the cache tiers are in place.
    pub const CACHE_READY: &str = "CacheReady";
    /// A change is under way.
    pub const RECONCILING: &str = "Reconciling";
    /// Nothing will change until somebody acts.
    pub const STALLED: &str = "Stalled";
}

/// Reasons of conditions, in CamelCase. A source's own reasons (a missing secret, no such bucket) come from whoever lists it.
pub mod reason {
    /// Nobody has looked yet.
    pub const PENDING: &str = "Pending";
    /// All is as declared.
    pub const READY: &str = "Ready";
    /// A version is served.
    pub const SERVING: &str = "Serving";
    /// Every source was listed.
    pub const LISTED: &str = "Listed";
    /// The first listing is under way.
    pub const LISTING: &str = "Listing";
    /// A source could not be listed; the last version stands.
    pub const SOURCE_FAILED: &str = "SourceFailed";
    /// A source lost more than half of its artifacts and is held at its last state (`refresh.onShrink`).
    pub const SOURCE_SHRUNK: &str = "SourceShrunk";
    /// The manifest breaks a rule.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// The manifest asks for what this version does not build.
    pub const UNSUPPORTED: &str = "Unsupported";
    /// The declared columns can be made.
    pub const ACCEPTED: &str = "Accepted";
    /// The state store cannot be read or written.
    pub const STATE_UNAVAILABLE: &str = "StateUnavailable";
    /// Every tier of the cache works as asked for. Why one does not comes from whoever keeps it.
    pub const CACHE_READY: &str = "CacheReady";
    /// A tier of the cache is smaller than asked for, or out of use, for a reason of its own.
    pub const CACHE_DEGRADED: &str = "CacheDegraded";
    /// `spec.suspend` is set.
    pub const SUSPENDED: &str = "Suspended";
}

/// Whether something holds, as conditions spell it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody knows.
    Unknown,
}

impl ConditionStatus {
    /// Returns the spelling of `meta/v1`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// status is the observed state.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct VirtualTableStatus {
    /// conditions: Ready, Available, SourcesReady, SchemaAccepted, CacheReady; Reconciling or Stalled while true; ClaimsReady, CertificateReady or MonitoringReady while there is a problem with a claim or an object of another operator's kind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<ConditionShape>", length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// observedGeneration that status describes. -1 until the operator has seen the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: Option<i64>,
    /// replicas that exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = i32::MAX))]
    pub replicas: Option<i32>,
    /// readyReplicas that serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = i32::MAX))]
    pub ready_replicas: Option<i32>,
    /// updatedReplicas that run the latest template.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = i32::MAX))]
    pub updated_replicas: Option<i32>,
    /// selector of the pods, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub selector: Option<String>,
    /// endpoint that readers use.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub endpoint: Option<String>,
    /// artifacts in the latest version. Written at most twice a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub artifacts: Option<i64>,
    /// version of the log. Written at most twice a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub version: Option<i64>,
    /// configHash of the configuration that the pods were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub config_hash: Option<String>,
    /// serverVersion that the pods run. Not written yet, because pods do not report it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub server_version: Option<String>,
    /// sources as last checked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub sources: Vec<SourceStatus>,
}

/// A source as last checked.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// name of the source.
    #[schemars(length(max = 63))]
    pub name: String,
    /// status of the source.
    pub status: ConditionStatus,
    /// reason in CamelCase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// message for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub message: Option<String>,
}

/// A condition as in meta/v1.
///
/// The schema of [`Condition`] with bounds: only the schema is used.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(description = "A condition as in meta/v1.")]
#[expect(dead_code, reason = "describes the schema of a type of k8s-openapi")]
struct ConditionShape {
    /// type of the condition.
    #[serde(rename = "type")]
    #[schemars(length(max = 316))]
    kind: String,
    /// status of the condition.
    status: ConditionStatus,
    /// observedGeneration the condition was set for.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    observed_generation: Option<i64>,
    /// lastTransitionTime of status.
    #[schemars(extend("format" = "date-time"))]
    last_transition_time: String,
    /// reason in CamelCase.
    #[schemars(length(min = 1, max = 1024))]
    reason: String,
    /// message for people.
    #[schemars(length(max = 32_768))]
    message: String,
}
