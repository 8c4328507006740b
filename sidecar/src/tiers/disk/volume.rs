//! How much of a volume the cache uses, and what it leaves to others.

use std::{io, path::Path};

use rustix::fs::StatVfsMountFlags;

use super::layout::Geometry;
use crate::tiers::DiskOptions;

/// What stays free of a volume that others have too, percent: when the cache takes more of it, and ever. A kubelet removes images when less than 15 %
/// are free, and evicts pods when less than 10 % are.
const SHARED_LEFT_PERCENT: u64 = 18;
pub(super) const SHARED_LEFT_EVER_PERCENT: u64 = 15;

/// The high watermark, within its bounds.
pub(super) fn high_percent(options: &DiskOptions) -> u64 {
    u64::from(options.high_watermark_percent.clamp(10, 95))
}

/// A volume, as its file system tells it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Volume {
    /// All its bytes, whoever has them.
    pub(super) bytes: u64,
    /// Bytes that can be had.
    pub(super) free: u64,
    pub(super) is_read_only: bool,
}

impl Volume {
    /// That of a folder.
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(dir)?;
        Ok(Self {
            bytes: found.f_blocks.saturating_mul(found.f_frsize),
            free: found.f_bavail.saturating_mul(found.f_frsize),
            is_read_only: found.f_flag.contains(StatVfsMountFlags::RDONLY),
        })
    }

    /// What stays free of a volume that others have too, at `percent`.
    pub(super) fn left_to_others(self, shared: bool, percent: u64) -> u64 {
        if shared {
            self.bytes / 100 * percent
        } else {
            0
        }
    }
}

/// What a volume gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usable {
    /// Bytes asked for, less what lies above the high watermark.
    pub(super) wanted: u64,
    /// Bytes there are, at most `wanted`.
    pub(super) usable: u64,
}

impl Usable {
    /// That of a volume of which the cache has `own` bytes already.
    pub(super) fn of(options: &DiskOptions, volume: Volume, own: u64) -> Self {
        let share = |bytes: u64| bytes / 100 * high_percent(options);
        let wanted = share(options.capacity);
        let room = volume.free.saturating_add(own);
        let left = |percent| volume.left_to_others(options.shared, percent);
        let growing = room.saturating_sub(left(SHARED_LEFT_PERCENT));
        // What a cache has that is opened again is its own until others need it.
        let kept = if volume.free < left(SHARED_LEFT_EVER_PERCENT) {
            0
        } else {
            own
        };
        Self {
            wanted,
            usable: wanted
                .min(share(room))
                .min(growing.max(kept))
                .min(Geometry::most_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_that_others_have_too_keeps_a_part_of_it_free() {
        const GB: u64 = 1_000_000_000;
        let usable = |shared, free, own| {
            let mut options = DiskOptions::new("unused", 100 * GB);
            options.shared = shared;
            let volume = Volume {
                bytes: 200 * GB,
                free: free * GB,
                is_read_only: false,
            };
            Usable::of(&options, volume, own * GB).usable / GB
        };
        for (free, own, alone, shared) in [
            (200, 0, 90, 90),
            (60, 0, 54, 24),
            // What it has already is part of it, and kept by one that is opened again, until others need it.
            (40, 20, 54, 24),
            (31, 20, 45, 20),
            (29, 20, 44, 13),
            (10, 20, 27, 0),
        ] {
            assert_eq!(usable(false, free, own), alone, "{free} free, {own} taken");
            assert_eq!(usable(true, free, own), shared, "{free} free, {own} taken");
        }
    }
}
