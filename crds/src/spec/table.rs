//! The desired state: what a table is made of and how it is kept.
//!
//! The types here reproduce the resource's schema field by field; doc comments of fields are the schema's descriptions. Bounds stand beside the
//! field they bind and are checked from the schema itself (module `schema`), so that they exist once.

#![expect(
    clippy::duplicated_attributes,
    reason = "printer columns of one kube attribute share names of arguments"
)]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Server, Source, TableSchema};
use crate::quantity::Quantity;
use crate::retention::Retention;
use crate::status::VirtualTableStatus;

/// spec is the desired state.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "vdt.io",
    version = "v1alpha1",
    kind = "VirtualTable",
    plural = "virtualtables",
    singular = "virtualtable",
    shortname = "vt",
    category = "vdt",
    namespaced,
    status = "VirtualTableStatus",
    derive = "PartialEq",
    doc = "VirtualTable declares one virtual Delta table: where its artifacts live, and how it is served and cached.",
    scale(
        spec_replicas_path = ".spec.server.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    selectable = ".spec.suspend",
    selectable = ".spec.server.access.mode",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether the table serves the latest spec"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Why"
    ),
    printcolumn(
        name = "Artifacts",
        type_ = "integer",
        json_path = ".status.artifacts",
        description = "Artifacts in the latest version"
    ),
    printcolumn(
        name = "Version",
        type_ = "integer",
        json_path = ".status.version",
        description = "Version of the log"
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".spec.server.replicas",
        description = "Wanted pods"
    ),
    printcolumn(
        name = "Up",
        type_ = "integer",
        json_path = ".status.readyReplicas",
        description = "Serving pods"
    ),
    printcolumn(
        name = "Cache",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="CacheReady")].status"#,
        description = "Whether the cache tiers are in place"
    ),
    printcolumn(
        name = "Suspended",
        type_ = "boolean",
        json_path = ".spec.suspend",
        description = "Whether changes are stopped",
        priority = 1
    ),
    printcolumn(
        name = "State",
        type_ = "string",
        json_path = ".spec.server.state.type",
        description = "Where the log lives",
        priority = 1
    ),
    printcolumn(
        name = "Access",
        type_ = "string",
        json_path = ".spec.server.access.mode",
        description = "Who may read",
        priority = 1
    ),
    printcolumn(
        name = "Disk",
        type_ = "string",
        json_path = ".spec.server.cache.disk.capacity",
        description = "Disk tier of each pod",
        priority = 1
    ),
    printcolumn(
        name = "Endpoint",
        type_ = "string",
        json_path = ".status.endpoint",
        description = "Where readers connect",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        description = "Why, in words",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Age"
    )
)]
pub struct VirtualTableSpec {
    /// table is the name that readers use. Immutable.
    #[serde(default)]
    pub table: TableName,
    /// sources the artifacts come from.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub sources: Vec<Source>,
    /// schema of the table. The eight columns of the artifact table when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<TableSchema>,
    /// layout of files laid out from now on.
    #[serde(default)]
    pub layout: Layout,
    /// checksum column: Known is what the store reports; SHA256 and CRC32C read every artifact once.
    #[serde(default)]
    pub checksum: ChecksumMode,
    /// refresh of the table from its sources.
    #[serde(default)]
    pub refresh: Refresh,
    /// retention of removed files and old versions, for running readers and time travel. Accepted, no effect yet: nothing is removed.
    #[serde(default)]
    pub retention: Retention,
    /// suspend stops changes by the operator and refreshes. Pods keep serving and status stays fresh.
    #[serde(default)]
    pub suspend: bool,
    /// legs are reserved for a later version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub legs: Vec<Leg>,
    /// server describes the pods. Required in a cluster; a laptop reads access, tls and cache only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
    /// What was given in place of a resource, canonical: `folder:<path>` or the URL of a bucket. No manifest says it.
    #[serde(skip)]
    pub given: Option<String>,
}

/// A leg.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Leg {
    /// name of the leg.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// How the table follows its sources.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Refresh {
    /// intervalSeconds from the end of a listing to the next, at least ten times the duration of the listing. 0 lists on request only.
    #[schemars(range(min = 0, max = 604800))]
    pub interval_seconds: u32,
    /// settleSeconds an artifact must be unchanged before it is published.
    #[schemars(range(min = 0, max = 3600))]
    pub settle_seconds: u32,
    /// onShrink Hold keeps the last version of a source if more than half of its known artifacts, or all of them, are missing from a listing, and says so in a condition; Apply accepts the listing.
    pub on_shrink: OnShrink,
}

impl Default for Refresh {
    fn default() -> Self {
        Self {
            interval_seconds: 60,
            settle_seconds: 2,
            on_shrink: OnShrink::Hold,
        }
    }
}

/// What a listing does that lost more than half of its artifacts, or all of them.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnShrink {
    /// The last version of the source stays.
    #[default]
    Hold,
    /// The listing is taken as it is.
    Apply,
}

/// The `checksum` column.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ChecksumMode {
    /// What the store tells without a read.
    #[default]
    Known,
    /// No checksum.
    None,
    /// SHA-256, computed: reads every artifact once.
    #[serde(rename = "SHA256")]
    Sha256,
    /// CRC-32C, computed: reads every artifact once.
    #[serde(rename = "CRC32C")]
    Crc32c,
}

/// Targets of files laid out from now on.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Layout {
    /// inlineMaxBytes is the largest artifact that is in the data column.
    pub inline_max_bytes: Quantity,
    /// fileTargetBytes is the size at which a file closes.
    pub file_target_bytes: Quantity,
    /// rowGroupTargetBytes is the size at which a row group closes.
    pub row_group_target_bytes: Quantity,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            inline_max_bytes: Quantity::literal("256Mi"),
            file_target_bytes: Quantity::literal("1Gi"),
            row_group_target_bytes: Quantity::literal("2Mi"),
        }
    }
}

/// The name that readers use.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct TableName {
    /// catalog is also the bucket of the S3 dialect.
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9][a-z0-9-]*[a-z0-9]$")
    )]
    pub catalog: String,
    /// schema. The namespace when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_-]*$")
    )]
    pub schema: Option<String>,
    /// name. metadata.name when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_-]*$")
    )]
    pub name: Option<String>,
}

impl Default for TableName {
    fn default() -> Self {
        Self {
            catalog: "main".to_owned(),
            schema: None,
            name: None,
        }
    }
}
