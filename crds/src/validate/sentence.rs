//! The sentences of the rules, word for word those of the API server: a manifest gets the same answer wherever it is checked.

pub(crate) const NAME_LENGTH: &str = "metadata.name must be at most 40 characters: it begins the names of StatefulSet, Services and claims";
pub(crate) const NAME_LABEL: &str = "metadata.name must be a DNS-1035 label: it names Services";
pub(crate) const NAMESPACE_LABEL: &str = "metadata.namespace must be a DNS-1123 label";
pub(crate) const IMMUTABLE_NAME: &str =
    "is immutable: clients and the log know the table by it. Create another VirtualTable";
pub(crate) const META_SUFFIX: &str =
    "name must not end in _meta: that is the table beside every table";
pub(crate) const SERVER_REQUIRED: &str =
    "server is required in a cluster: at least server.state and server.access";
pub(crate) const STATE_REQUIRED: &str =
    "state is required in a cluster: type S3, GCS, Azure or Claim, or Ephemeral for a trial";
pub(crate) const ACCESS_REQUIRED: &str =
    "access is required in a cluster: mode Keys with principals, or mode Anonymous";
pub(crate) const CLAIM_NAME_REQUIRED: &str =
    "claimName is required in a cluster: pods cannot read a directory of your machine";
pub(crate) const PATH_REQUIRED: &str =
    "path is required on a laptop: the directory of the artifacts, relative to the manifest";
pub(crate) const PATH_RELATIVE: &str =
    "must be relative: to the claim in a cluster, to the manifest on a laptop";
pub(crate) const PATH_SEGMENTS: &str = "must not contain .. segments";
pub(crate) const PREFIX_SLASH: &str = "must not start with a slash; keys have none";
pub(crate) const PREFIX_SEGMENTS: &str = "must not contain . or .. segments";
pub(crate) const URL_SCHEME: &str = "must be an absolute URL with scheme http or https";
pub(crate) const URL_USER: &str = "must not contain user name or password; use credentials";
pub(crate) const ENDPOINT_QUERY: &str =
    "must be scheme, host and port, and a path at most: leave out ? and # and what follows";
pub(crate) const INVENTORY_URL: &str =
    "must be an http, https, s3, gs or az URL without credentials";
pub(crate) const ANONYMOUS_CREDENTIALS: &str = "anonymous and credentials exclude each other";
pub(crate) const SOURCE_TYPE_CHANGED: &str =
    "a source cannot change its type: add a source under a new name and remove this one";
pub(crate) const ARTIFACTS_OF_SOURCE: &str =
    "artifacts must name a File, S3, GCS, Azure or HTTP source of this table";
pub(crate) const COLUMN_FROM: &str = "set exactly one of artifact, path, constant and field";
pub(crate) const COLUMN_TYPE: &str = "type is required, except with from.artifact, which gives it";
pub(crate) const COLUMN_CONSTANT: &str = "must be a value of the column's type: a whole number, a finite number, true or false, 2024-12-31, 2024-12-31T23:59:59Z";
pub(crate) const COLUMN_CASE: &str =
    "is the name of another column already: upper and lower case count as the same, so rename one";
pub(crate) const COLUMN_NAME_BYTES: &str = "must be at most 255 bytes in UTF-8, so shorten it";
pub(crate) const COLUMNS_OF_DATA_ALONE: &str =
    "need a column beside the artifacts themselves to find them by, id or filename for instance";
pub(crate) const COLUMNS_OF_DATA_TWICE: &str =
    "hold the artifacts themselves once: leave one column with from.artifact Data";
pub(crate) const COLUMN_PATH_BINARY: &str = "a part of the path cannot be binary";
pub(crate) const COLUMN_TYPE_CHANGED: &str =
    "a column cannot change its type: add a column under a new name";
pub(crate) const COLUMN_ATTRIBUTE_CHANGED: &str =
    "a column cannot change its attribute: add a column under a new name";
pub(crate) const COLUMN_FIELD_SOURCE: &str =
    "a column from a field needs an Inventory or Postgres source";
pub(crate) const COLUMN_PATH_PART: &str =
    "a column is made from a path part that pathPattern does not name";
pub(crate) const PATTERN_UNUSED: &str = "pathPattern needs columns that use it";
pub(crate) const ROW_GROUP_OVER_FILE: &str = "rowGroupTargetBytes must not exceed fileTargetBytes";
pub(crate) const RETENTION_BOUNDS: &str = "must be between 10m and 87600h";
pub(crate) const LEGS_RESERVED: &str = "legs are reserved for a later version";
pub(crate) const SHARED_STATE: &str =
    "more than one replica needs a shared state: state.type S3, GCS or Azure";
pub(crate) const CLAIM_MADE: &str =
    "capacity and storageClassName are for a claim that the operator makes; leave claimName out";
pub(crate) const STATE_TYPE_CHANGED: &str = "is immutable: a log cannot move under its readers. Suspend, copy the state, create another VirtualTable";
pub(crate) const PRINCIPALS: &str =
    "principals are required when mode is Keys and forbidden otherwise";
pub(crate) const WATERMARKS: &str = "lowWatermarkPercent must be below highWatermarkPercent";
pub(crate) const VOLUME_CLASS: &str =
    "storageClassName needs type EphemeralVolume or PersistentVolumeClaim";
pub(crate) const NODE_LOSS: &str = "nodeLossGraceSeconds needs type PersistentVolumeClaim";
pub(crate) const CAPACITY_SHRUNK: &str = "capacity of a claim cannot shrink";
pub(crate) const CLASS_CHANGED: &str =
    "storageClassName of a claim cannot change; go through type EmptyDir";
pub(crate) const TLS_SECRET: &str =
    "secretRef is required when mode is Secret and forbidden otherwise";
pub(crate) const TLS_ISSUER: &str =
    "issuerRef is required when mode is CertManager and forbidden otherwise";
pub(crate) const CIDR: &str =
    "must be a range of addresses as 10.0.0.0/8 or fd00::/8, without bits beyond its prefix";
pub(crate) const LOAD_BALANCER_CLASS: &str = "loadBalancerClass needs type LoadBalancer";
pub(crate) const LOAD_BALANCER_CLASS_CHANGED: &str =
    "loadBalancerClass of a LoadBalancer cannot change; go through type ClusterIP";
pub(crate) const OPERATOR_LABELS: &str =
    "labels below app.kubernetes.io/ and vdt.io/ belong to the operator";
pub(crate) const OPERATOR_ENV: &str =
    "VDT_CLAIMS_DIR and variables that begin with VDT_STATE belong to the operator";
pub(crate) const REQUEST_OVER_LIMIT: &str = "requests must not exceed limits: no pod could be made";
pub(crate) const QUALIFIED_KEY: &str = "keys must be a name of at most 63 letters, digits, -, _ and . with a letter or digit at both ends; a domain and / may stand before it";

/// A member of a union against its `type`.
pub(crate) fn branch(member: &str, kind: &str) -> String {
    format!("{member} is required when type is {kind} and forbidden otherwise")
}

/// A field of the policy that needs the mode which makes one.
pub(crate) fn restricted(field: &str) -> String {
    format!("{field} needs mode Restricted")
}

/// A lower bound of a quantity.
pub(crate) fn at_least(bound: &str) -> String {
    format!("must be a quantity of at least {bound}, for example 256Mi")
}

/// An upper bound of a quantity.
pub(crate) fn at_most(bound: &str) -> String {
    format!("must be at most {bound}")
}

/// A part of a table's name that was there before, or was not.
pub(crate) fn added_or_removed(part: &str) -> String {
    format!("{part} cannot be added or removed after creation")
}

/// A field that says where the state is.
pub(crate) fn state_moved(field: &str) -> String {
    format!(
        "{field} of the state is immutable: a log cannot move under its readers. Suspend, copy the state, create another VirtualTable"
    )
}
