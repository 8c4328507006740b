//! Sources: the places that artifacts come from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shapes::{self, Credentials, KeyRef};
use super::{AzureContainer, GcsBucket, S3Bucket};

/// A source: one place that artifacts come from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// name of the source inside this table. Artifacts of a renamed source are new artifacts.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// type selects the member that must be set. It cannot change for a name.
    #[serde(rename = "type")]
    pub kind: SourceType,
    /// file is a directory: of a claim in a cluster, of the machine on a laptop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileSource>,
    /// s3 is a bucket of any S3 service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Bucket>,
    /// gcs is a Google Cloud Storage bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcs: Option<GcsBucket>,
    /// azure is an Azure Blob container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure: Option<AzureContainer>,
    /// http is a manifest that lists artifacts by URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSource>,
    /// inventory is a file or table with one row per artifact; its other columns can become columns of the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<InventorySource>,
    /// postgres is a relation with one row per artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresSource>,
    /// include keeps only keys that match one of these globs, relative to the prefix. All when unset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::globs::<32, 256>")]
    pub include: Vec<String>,
    /// exclude leaves out keys that match one of these globs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::globs::<32, 256>")]
    pub exclude: Vec<String>,
}

/// A relation about the artifacts of another source.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PostgresSource {
    /// host name.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// port of the server. 5432 when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u32>,
    /// database name.
    #[schemars(length(min = 1, max = 63))]
    pub database: String,
    /// table is relation or schema.relation.
    #[schemars(
        length(min = 1, max = 127),
        regex(pattern = r"^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?$")
    )]
    pub table: String,
    /// sslMode of the connection. VerifyFull when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SslMode")]
    pub ssl_mode: Option<SslMode>,
    /// artifacts names the source of this table that contains the bytes.
    #[schemars(length(min = 1, max = 63))]
    pub artifacts: String,
    /// keyField is the field with the key in that source.
    #[schemars(length(min = 1, max = 63))]
    pub key_field: String,
    /// credentials are read from a Secret. Leave them out to use the ambient identity of the pods (workload identity, instance profile).
    #[schemars(transform = shapes::secret_keys("username and password"))]
    pub credentials: Credentials,
    /// caBundle names a ConfigMap key with PEM certificates of authorities that the endpoint's certificate may be issued by, in addition to the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<KeyRef>,
}

/// TLS of a Postgres connection.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS without verification.
    Require,
    /// TLS, the chain is verified.
    VerifyCA,
    /// TLS, chain and host name are verified.
    VerifyFull,
}

/// Rows about the artifacts of another source.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct InventorySource {
    /// url of the inventory.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// format of the inventory.
    pub format: InventoryFormat,
    /// artifacts names the source of this table that contains the bytes.
    #[schemars(length(min = 1, max = 63))]
    pub artifacts: String,
    /// keyField is the field with the key in that source.
    #[schemars(length(min = 1, max = 255))]
    pub key_field: String,
    /// credentials are read from a Secret. Leave them out to use the ambient identity of the pods (workload identity, instance profile).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = shapes::secret_keys("as for the kind of its URL"))]
    pub credentials: Option<Credentials>,
}

/// Format of an inventory.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InventoryFormat {
    /// Parquet files.
    Parquet,
    /// Comma-separated values.
    #[serde(rename = "CSV")]
    Csv,
    /// One JSON object a line.
    #[serde(rename = "JSONL")]
    Jsonl,
    /// A Delta table.
    Delta,
}

/// A manifest of artifact URLs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HttpSource {
    /// url of the manifest.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// format of the manifest. Derived from the extension of the URL when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ManifestFormat")]
    pub format: Option<ManifestFormat>,
    /// allowHosts are hosts that artifacts may be on, in addition to the manifest's own. A leading dot means a domain. Private and link-local addresses must be named here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::hosts::<64, 253>")]
    pub allow_hosts: Vec<String>,
    /// credentials are read from a Secret. Leave them out to use the ambient identity of the pods (workload identity, instance profile).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = shapes::secret_keys("token, or username and password"))]
    pub credentials: Option<Credentials>,
    /// caBundle names a ConfigMap key with PEM certificates of authorities that the endpoint's certificate may be issued by, in addition to the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<KeyRef>,
}

/// Format of an HTTP manifest.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ManifestFormat {
    /// One JSON object a line.
    #[serde(rename = "JSONL")]
    Jsonl,
    /// Comma-separated values.
    #[serde(rename = "CSV")]
    Csv,
    /// A Parquet file.
    Parquet,
}

/// A directory of artifacts.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct FileSource {
    /// claimName is a PersistentVolumeClaim in the same namespace, mounted read-only. Required in a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = shapes::OBJECT_NAME))]
    pub claim_name: Option<String>,
    /// path of the directory below the claim, or below the manifest on a laptop.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub path: Option<String>,
}

/// Which member of a source is set.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceType {
    /// A directory.
    File,
    /// A bucket of any S3 service.
    S3,
    /// A Google Cloud Storage bucket.
    #[serde(rename = "GCS")]
    Gcs,
    /// An Azure Blob container.
    Azure,
    /// A manifest that lists artifacts by URL.
    #[serde(rename = "HTTP")]
    Http,
    /// A file or table with one row for each artifact.
    Inventory,
    /// A relation with one row for each artifact.
    Postgres,
}
