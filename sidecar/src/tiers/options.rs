//! How large the tiers are and where the disk tier lies.

use std::path::PathBuf;

/// How the tiers are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TiersOptions {
    /// Bytes of memory that the tiers take in all: entries, the index of the disk and its write buffers. Default 256 MiB.
    ///
    /// With a disk tier, what waits to be written and what is being read of it come on top: a sixteenth each, 16 to 64 MiB and 9 to 137 MiB.
    pub memory_bytes: u64,
    /// The disk tier, if there is one.
    pub disk: Option<DiskOptions>,
}

impl Default for TiersOptions {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            disk: None,
        }
    }
}

/// How the disk tier is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskOptions {
    /// The directory. Created if absent; what lies in it and is not the cache's own is left alone.
    pub dir: PathBuf,
    /// Bytes that the volume is meant to have for the cache.
    pub capacity: u64,
    /// The part of the capacity, and of what the file system really has when the tier is opened, that is used. As its files grow to that, half of the rest
    /// is left of what the file system has then. Percent, 10 to 95, default 90.
    pub high_watermark_percent: u8,
    /// What of the same is left in use once eviction has caught up: the oldest regions are freed until no more than this holds entries, and the
    /// space up to the high watermark takes what comes in meanwhile. Percent, below the high watermark, default 80.
    pub low_watermark_percent: u8,
    /// Refuses to open where the volume is smaller than asked or unusable, in place of serving with less.
    pub strict: bool,
    /// Others have the volume too, as the disk of a node: a sixth or so of it stays free whatever the capacity is, below which a kubelet evicts pods, and
    /// the cache gives space back as others take it. Default false: the volume is for the cache.
    pub shared: bool,
    /// Reads and writes past the page cache (`O_DIRECT`, open(2)), where the file system can; else through it. Default false.
    pub direct: bool,
    /// Reads and writes through io_uring where the kernel and seccomp allow it; else by pread and pwrite on threads. Default false: foyer 0.22's
    /// io_uring engine asks its queue without ever sleeping and keeps a core busy, work or none. So it is for machines that have a core to give.
    pub io_uring: bool,
}

impl DiskOptions {
    /// Returns the options of a disk tier with defaults for everything but place and capacity.
    pub fn new(dir: impl Into<PathBuf>, capacity: u64) -> Self {
        Self {
            dir: dir.into(),
            capacity,
            high_watermark_percent: 90,
            low_watermark_percent: 80,
            strict: false,
            shared: false,
            direct: false,
            io_uring: false,
        }
    }
}
