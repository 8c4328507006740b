//! Buckets and containers of object stores, shared by sources and by the state of a cluster (which has no `versions`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shapes::{self, Credentials, KeyRef};

/// An Azure Blob container, as a source or as the state.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AzureContainer {
    /// versions Pinned reads by version id in an account with blob versioning, so that an overwrite never fails a read. Current when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Versions")]
    pub versions: Option<Versions>,
    /// account name.
    #[schemars(length(min = 3, max = 24), regex(pattern = r"^[a-z0-9]+$"))]
    pub account: String,
    /// container name.
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    )]
    pub container: String,
    /// prefix of the keys, without a leading slash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub prefix: Option<String>,
    /// endpoint of an emulator or private service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub endpoint: Option<String>,
    /// anonymous sends unsigned requests, for public buckets. Forbids credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<bool>,
    /// credentials are read from a Secret. Leave them out to use the ambient identity of the pods (workload identity, instance profile).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = shapes::secret_keys("accountKey, or sasToken, or clientId, clientSecret and tenantId"))]
    pub credentials: Option<Credentials>,
}

/// A Google Cloud Storage bucket, as a source or as the state.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GcsBucket {
    /// versions Pinned reads by generation in a bucket with object versioning, so that an overwrite never fails a read. Current when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Versions")]
    pub versions: Option<Versions>,
    /// bucket name.
    #[schemars(
        length(min = 3, max = 222),
        regex(pattern = r"^[a-z0-9][a-z0-9._-]+[a-z0-9]$")
    )]
    pub bucket: String,
    /// prefix of the keys, without a leading slash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub prefix: Option<String>,
    /// endpoint of an emulator or private service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub endpoint: Option<String>,
    /// anonymous sends unsigned requests, for public buckets. Forbids credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<bool>,
    /// credentials are read from a Secret. Leave them out to use the ambient identity of the pods (workload identity, instance profile).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = shapes::secret_keys("serviceAccount (the JSON key)"))]
    pub credentials: Option<Credentials>,
}

/// A bucket of any S3 service, as a source or as the state.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct S3Bucket {
    /// versions Pinned lists and reads object versions of a versioned bucket, so that an overwrite never fails a read. Current when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Versions")]
    pub versions: Option<Versions>,
    /// bucket name.
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9][a-z0-9.-]+[a-z0-9]$")
    )]
    pub bucket: String,
    /// prefix of the keys, without a leading slash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub prefix: Option<String>,
    /// region of the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub region: Option<String>,
    /// endpoint of an S3-compatible service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub endpoint: Option<String>,
    /// pathStyle puts the bucket into the path instead of the host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// anonymous sends unsigned requests, for public buckets. Forbids credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<bool>,
    /// credentials are read from a Secret. Leave them out to use the ambient identity of the pods (workload identity, instance profile).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = shapes::secret_keys("accessKeyId, secretAccessKey and optionally sessionToken"))]
    pub credentials: Option<Credentials>,
    /// caBundle names a ConfigMap key with PEM certificates of authorities that the endpoint's certificate may be issued by, in addition to the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<KeyRef>,
}

/// Which object versions are listed and read.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Versions {
    /// The current ones.
    Current,
    /// Exactly the listed ones, by version id.
    Pinned,
}
