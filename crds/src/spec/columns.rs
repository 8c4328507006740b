//! Columns: what each one is called, which type it has and where its values come from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Columns of the table and the path pattern they draw from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct TableSchema {
    /// pathPattern names parts of the key below the prefix: {customer}/{year}/**.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub path_pattern: Option<String>,
    /// columns in their order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub columns: Option<Vec<Column>>,
}

/// A column.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Column {
    /// name of the column.
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[^ ,;{}()\n\t=]+$"))]
    pub name: String,
    /// type of the values. Determined by the attribute when from.artifact is set.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ColumnType")]
    pub column_type: Option<ColumnType>,
    /// from says where the value comes from: exactly one member.
    pub from: ColumnFrom,
    /// description for readers of the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
}

/// Where the values of a column come from: exactly one member.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ColumnFrom {
    /// artifact is an attribute of the artifact.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ArtifactAttribute")]
    pub artifact: Option<ArtifactAttribute>,
    /// path is a named part of schema.pathPattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$")
    )]
    pub path: Option<String>,
    /// constant is the same for all rows, written as a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub constant: Option<String>,
    /// field is a column of an Inventory or Postgres source.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub field: Option<String>,
}

/// An attribute of an artifact that can be a column.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArtifactAttribute {
    /// Number given in order of first sight (long).
    Id,
    /// Key below the prefix (string).
    Filename,
    /// Media type, by name (string).
    ContentType,
    /// Absolute URL of the source object (string).
    Url,
    /// Size in bytes (long).
    Filesize,
    /// The bytes (binary).
    Data,
    /// Checksum (string).
    Checksum,
    /// What the checksum is (string).
    ChecksumAlgo,
    /// Time of the last change (timestamp).
    LastModified,
    /// Entity tag of the store (string).
    ETag,
    /// Name of the source (string).
    Source,
    /// Version id of the object (string).
    VersionId,
    /// Storage class of the object (string).
    StorageClass,
}

/// Type of a column, by its Delta name.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// 64-bit integer.
    Long,
    /// 32-bit integer.
    Integer,
    /// 64-bit floating point.
    Double,
    /// True or false.
    Boolean,
    /// A day.
    Date,
    /// Microseconds, UTC.
    Timestamp,
    /// UTF-8 text.
    String,
    /// Bytes.
    Binary,
}
