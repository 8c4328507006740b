//! The cache beside each server: a memory tier and a disk tier.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shapes;
use crate::quantity::Quantity;

/// The cache beside each server.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Cache {
    /// memory tier.
    pub memory: MemoryTier,
    /// disk tier, meant for local NVMe.
    pub disk: DiskTier,
    /// warmup of a new pod.
    pub warmup: Warmup,
}

/// What a new pod loads first.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Warmup {
    /// mode None serves cold; Metadata loads ropes and footers first.
    pub mode: WarmupMode,
    /// timeoutSeconds after which the pod accepts traffic anyway.
    #[schemars(range(min = 0, max = 3600))]
    pub timeout_seconds: u32,
}

impl Default for Warmup {
    fn default() -> Self {
        Self {
            mode: WarmupMode::Metadata,
            timeout_seconds: 120,
        }
    }
}

/// What a new pod loads before it takes traffic.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WarmupMode {
    /// Nothing.
    None,
    /// Ropes and footers.
    #[default]
    Metadata,
}

/// The disk tier.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct DiskTier {
    /// capacity of the volume. The cache uses at most highWatermarkPercent of it.
    pub capacity: Quantity,
    /// highWatermarkPercent of capacity, or of what the file system really has, is the most that the cache uses.
    #[schemars(range(min = 10, max = 95))]
    pub high_watermark_percent: u32,
    /// lowWatermarkPercent of the same is what stays cached. Beyond it the oldest entries are evicted, and the space up to highWatermarkPercent absorbs what is written meanwhile. Some space is always kept free, at most about half of the cache, however close or far apart the two are.
    #[schemars(range(min = 5, max = 94))]
    pub low_watermark_percent: u32,
    /// volume of the tier.
    pub volume: CacheVolume,
}

impl Default for DiskTier {
    fn default() -> Self {
        Self {
            capacity: Quantity::literal("20Gi"),
            high_watermark_percent: 90,
            low_watermark_percent: 80,
            volume: CacheVolume::default(),
        }
    }
}

/// The volume below the disk tier.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CacheVolume {
    /// type of volume. EmptyDir and EphemeralVolume are deleted with the pod; PersistentVolumeClaim keeps the cache warm across restarts and rollouts; None turns the tier off.
    #[serde(rename = "type")]
    pub kind: VolumeType,
    /// storageClassName of the claim, for example a local NVMe class.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = shapes::OBJECT_NAME))]
    pub storage_class_name: Option<String>,
    /// nodeLossGraceSeconds is how long after its Node object has gone a claim is deleted, so that the pod can start cold elsewhere. 0 turns this off; 300 when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86400))]
    pub node_loss_grace_seconds: Option<u32>,
}

impl Default for CacheVolume {
    fn default() -> Self {
        Self {
            kind: VolumeType::EmptyDir,
            storage_class_name: None,
            node_loss_grace_seconds: None,
        }
    }
}

/// Kind of volume below the disk tier.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum VolumeType {
    /// Goes with the pod.
    #[default]
    EmptyDir,
    /// A claim that goes with the pod.
    EphemeralVolume,
    /// A claim that outlives the pod.
    PersistentVolumeClaim,
    /// No disk tier.
    None,
}

/// The memory tier.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct MemoryTier {
    /// capacity of the tier. It is added to the memory request and limit of the sidecar.
    pub capacity: Quantity,
}

impl Default for MemoryTier {
    fn default() -> Self {
        Self {
            capacity: Quantity::literal("1Gi"),
        }
    }
}
