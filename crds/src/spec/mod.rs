//! The desired state of a virtual table, as the resource declares it.
//!
//! These types hold what a manifest says, no more: which combinations make sense is decided by [`crate::validate()`], what a field is called in a
//! schema and how it is bounded stands beside the field. Unions are a `type` and one optional member for each of its values, as Kubernetes asks.

mod bucket;
mod cache;
mod columns;
mod network;
mod pod;
mod server;
pub(crate) mod shapes;
mod source;
mod table;

pub use bucket::{AzureContainer, GcsBucket, S3Bucket, Versions};
pub use cache::{Cache, CacheVolume, DiskTier, MemoryTier, VolumeType, Warmup, WarmupMode};
pub use columns::{ArtifactAttribute, Column, ColumnFrom, ColumnType, TableSchema};
pub use network::{
    IssuerKind, IssuerRef, Monitoring, NetworkPolicy, NetworkPolicyMode, PodMonitor, ReaderService,
    ServiceType, Tls, TlsMode,
};
pub use pod::{EnvVar, PodSecurity, PodTemplate, TaintEffect, Toleration, TolerationOperator};
pub use server::{
    Access, AccessMode, CachePolicy, ContainerResources, Disruption, Images, OnOperatorUpgrade,
    PodResources, Principal, PullSecret, Rollout, Routing, Server, State, StateClaim, StateType,
    TrafficDistribution,
};
pub use shapes::{Credentials, KeyRef, NameRef};
pub use source::{
    FileSource, HttpSource, InventoryFormat, InventorySource, ManifestFormat, PostgresSource,
    Source, SourceType, SslMode,
};
pub use table::{
    ChecksumMode, Layout, Leg, OnShrink, Refresh, TableName, VirtualTable, VirtualTableSpec,
};
