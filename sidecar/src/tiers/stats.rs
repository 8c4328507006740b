//! Counters of the tiers and what is reported of them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Class, Tier};

/// What the tiers hold and did since they were opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TiersStats {
    /// The memory tier.
    pub memory: MemoryStats,
    /// The disk tier.
    pub disk: DiskStats,
    /// Lookups and memory by class.
    pub classes: Vec<ClassStats>,
}

/// The memory tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryStats {
    /// Since when it works, Unix ms.
    pub since_ms: i64,
    /// Bytes for entries of every class.
    pub capacity_bytes: u64,
    /// The part of it that only metadata uses, bytes.
    pub metadata_capacity_bytes: u64,
    /// Bytes held, with what keeping an entry costs.
    pub bytes: u64,
    /// Entries held.
    pub entries: u64,
}

/// The disk tier. Without one everything is zero.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiskStats {
    /// Whether it works.
    pub state: DiskState,
    /// Since when it does, or does not for the reason that it has; Unix ms.
    pub since_ms: Option<i64>,
    /// How files are read and written: "io_uring", "psync", or "" without a disk tier.
    pub engine: &'static str,
    /// Bytes of the files at most.
    pub capacity_bytes: u64,
    /// Bytes of the files in use. Files are freed region by region, so this counts whole regions.
    pub bytes: u64,
    /// Entries that can be found.
    pub entries: u64,
    /// The most entries that the memory for the index allows.
    pub entries_max: u64,
    /// Entries written.
    pub writes: u64,
    /// Bytes written to the files.
    pub write_bytes: u64,
    /// Bytes read from the files.
    pub read_bytes: u64,
    /// Entries that were to be written and were not, because they came faster than the disk takes them.
    pub dropped_writes: u64,
    /// Entries of scans that were not written, because the disk is full and they were seen once.
    pub rejected_writes: u64,
    /// Entries that were written again because they are hot and their region was about to be freed.
    pub rescued_writes: u64,
    /// Entries that left with their region, or for the index to stay below its bound.
    pub evictions: u64,
    /// Entries that could not be read or were not what had been written.
    pub bad_entries: u64,
    /// Entries that could not be written.
    pub failed_writes: u64,
}

/// Lookups and memory of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassStats {
    /// The class.
    pub class: Class,
    /// Entries in memory.
    pub memory_entries: u64,
    /// Their bytes.
    pub memory_bytes: u64,
    /// Entries that memory had no room for any longer.
    pub memory_evictions: u64,
    /// Lookups answered from memory.
    pub memory_hits: u64,
    /// Lookups answered from the disk.
    pub disk_hits: u64,
    /// Lookups that memory could not answer.
    pub memory_misses: u64,
    /// Lookups that the disk could not answer either, or that there is no disk for.
    pub disk_misses: u64,
}

/// Whether the disk tier works.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DiskState {
    /// There is none.
    #[default]
    Off,
    /// It works as asked.
    Ok,
    /// It works with less than asked, or not at all; reads go on from memory and origin.
    Degraded {
        /// One of the constants in [`reason`].
        reason: &'static str,
        /// A sentence for people.
        message: String,
    },
}

/// Reasons of a disk tier that is degraded, as Kubernetes wants them.
pub mod reason {
    /// The volume is smaller than asked; what there is, is used.
    pub const CACHE_SMALLER: &str = "CacheSmaller";
    /// The volume is too small for a disk tier.
    pub const DISK_TOO_SMALL: &str = "DiskTooSmall";
    /// The file system is full.
    pub const DISK_FULL: &str = "DiskFull";
    /// The file system cannot be written.
    pub const DISK_READ_ONLY: &str = "DiskReadOnly";
    /// The directory is no longer there.
    pub const DISK_GONE: &str = "DiskGone";
    /// Reads or writes fail.
    pub const DISK_FAILED: &str = "DiskFailed";
}

impl DiskState {
    /// The reason and sentence of a tier that is not as asked.
    pub fn degraded(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Off | Self::Ok => None,
            Self::Degraded { reason, message } => Some((reason, message)),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct ByClass {
    pub(super) hits: [AtomicU64; 2],
    pub(super) misses: [AtomicU64; 2],
    pub(super) entries: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) evictions: AtomicU64,
}

/// What is counted where it happens.
#[derive(Debug, Default)]
pub(super) struct Counters {
    classes: [ByClass; 3],
    pub(super) writes: AtomicU64,
    pub(super) dropped_writes: AtomicU64,
    pub(super) rejected_writes: AtomicU64,
    pub(super) rescued_writes: AtomicU64,
    pub(super) failed_writes: AtomicU64,
    pub(super) disk_evictions: AtomicU64,
    pub(super) bad_entries: AtomicU64,
}

impl Counters {
    pub(super) fn class(&self, class: Class) -> &ByClass {
        &self.classes[class.index()]
    }

    pub(super) fn hit(&self, class: Class, tier: Tier) {
        self.class(class).hits[tier as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn miss(&self, class: Class, tier: Tier) {
        self.class(class).misses[tier as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn class_stats(&self) -> Vec<ClassStats> {
        let of = |class| {
            let by = self.class(class);
            ClassStats {
                class,
                memory_entries: by.entries.load(Relaxed),
                memory_bytes: by.bytes.load(Relaxed),
                memory_evictions: by.evictions.load(Relaxed),
                memory_hits: by.hits[Tier::Memory as usize].load(Relaxed),
                disk_hits: by.hits[Tier::Disk as usize].load(Relaxed),
                memory_misses: by.misses[Tier::Memory as usize].load(Relaxed),
                disk_misses: by.misses[Tier::Disk as usize].load(Relaxed),
            }
        };
        Class::ALL.into_iter().map(of).collect()
    }
}
