//! The directory of the disk tier: who has it, what in it is ours, and how it is cut into regions.
//!
//! ```text
//!   <dir>/vdt-cache.lock     held with flock while a process uses the directory
//!   <dir>/v1/layout.json     {"cache":"vdt","regionBytes":..}: written first, so that a folder that has it is ours
//!   <dir>/v1/foyer-...       one file for each region, filled in turn
//! ```
//!
//! Folders `v<N>` of other versions that carry a `layout.json` of ours are removed: a cache holds nothing that cannot be fetched
//! again. Everything else in the directory is foreign and left alone. A `v1` made with another region size, or one without a
//! layout that reads, loses its region files and nothing else.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::volume::{Usable, Volume, high_percent};
use crate::tiers::{DiskOptions, TiersError, entry::MAX_ENTRY_BYTES};

const LOCK: &str = "vdt-cache.lock";
const LAYOUT: &str = "layout.json";
const VERSION_DIR: &str = "v1";
/// How foyer names the files of a directory.
const REGION_PREFIX: &str = "foyer-storage-direct-fs-";

/// What an entry of 1 MiB takes on the disk with its headers, bytes.
const FULL_ENTRY_BYTES: u64 = (1 << 20) + 4096;
/// What a region begins with: an index of the entries that follow, bytes.
pub(super) const BLOB_INDEX_BYTES: u64 = 4096;
/// Regions wanted at most, for each is an open file; ever; and at least, for one is being written and one freed.
const REGIONS_MAX: u64 = 384;
const REGIONS_EVER: u64 = 1024;
const REGIONS_MIN: u64 = 4;
/// Regions wanted before regions of more than two entries are made.
const REGIONS_WANTED: u64 = 32;
/// Entries of 1 MiB in a region: usually, and at least.
const REGION_ENTRIES: u64 = 16;
const REGION_ENTRIES_MIN: u64 = 2;

/// A directory that this process has to itself.
#[derive(Debug)]
pub(super) struct Layout {
    dir: PathBuf,
    /// Lets go of the directory when it is dropped.
    lock: File,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Marker {
    cache: String,
    region_bytes: u64,
}

/// How the volume is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Bytes of a region.
    pub(super) region_bytes: u64,
    /// Regions.
    pub(super) regions: u64,
}

impl Geometry {
    /// Cuts `bytes` into regions, or returns how many bytes are needed at least.
    pub(super) fn of(bytes: u64) -> Result<Self, u64> {
        let region = |entries: u64| entries * FULL_ENTRY_BYTES + BLOB_INDEX_BYTES;
        let mut entries = REGION_ENTRIES;
        while entries > REGION_ENTRIES_MIN && bytes / region(entries) < REGIONS_WANTED {
            entries /= 2;
        }
        while bytes / region(entries) > REGIONS_MAX && region(entries * 2) < u64::from(u32::MAX) {
            entries *= 2;
        }
        let region_bytes = region(entries);
        debug_assert!(region_bytes > MAX_ENTRY_BYTES as u64 + BLOB_INDEX_BYTES + 4096);
        let regions = (bytes / region_bytes).min(REGIONS_EVER);
        if regions < REGIONS_MIN {
            Err(REGIONS_MIN * region_bytes)
        } else {
            Ok(Self {
                region_bytes,
                regions,
            })
        }
    }

    /// Returns the most bytes that regions can have: 2 TiB.
    pub(super) fn most_bytes() -> u64 {
        Self::of(u64::MAX).map_or(u64::MAX, Self::bytes)
    }

    /// Returns the bytes of all regions.
    pub(super) fn bytes(self) -> u64 {
        self.region_bytes * self.regions
    }

    /// Returns how many regions are kept without entries: those between the two watermarks, for all regions together reach up to the high one.
    ///
    /// Never so few that writing waits for freeing, and never so many that foyer complains: what it keeps free and the region that is being
    /// written are at most half of all.
    pub(super) fn spare(self, options: &DiskOptions) -> u64 {
        let high = high_percent(options);
        let between = high.saturating_sub(u64::from(options.low_watermark_percent));
        let most = (self.regions / 2).saturating_sub(1);
        (self.regions * between / high)
            .min(most)
            .max(self.spare_min())
    }

    /// Returns how many regions without entries are needed for writing to go on.
    pub(super) fn spare_min(self) -> u64 {
        if self.regions >= 16 { 2 } else { 1 }
    }
}

impl Layout {
    /// Takes the directory for this process, and makes it if `create` says so. Removes what other versions left, for it takes space.
    ///
    /// # Errors
    ///
    /// [`TiersError::Locked`] where another process has it, [`TiersError::Directory`] where it cannot be made or written.
    pub(super) fn lock(dir: &Path, create: bool) -> Result<Self, TiersError> {
        let failed = |source: io::Error| TiersError::Directory {
            dir: dir.to_owned(),
            source,
        };
        if create {
            fs::create_dir_all(dir).map_err(failed)?;
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join(LOCK))
            .map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(TiersError::Locked {
                    dir: dir.to_owned(),
                });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
        let layout = Self {
            dir: dir.to_owned(),
            lock,
        };
        layout.remove_other_versions().map_err(failed)?;
        Ok(layout)
    }

    /// Returns the folder with the regions.
    pub(super) fn regions_dir(&self) -> PathBuf {
        self.dir.join(VERSION_DIR)
    }

    /// Returns whether the lock is still the one that others would find.
    pub(super) fn is_current(&self) -> bool {
        let held = self.lock.metadata().map(|meta| (meta.dev(), meta.ino()));
        let found = fs::metadata(self.dir.join(LOCK)).map(|meta| (meta.dev(), meta.ino()));
        matches!((held, found), (Ok(held), Ok(found)) if held == found)
    }

    /// Cuts `bytes` into regions: of the size that is there already, if that makes a fair number of them, for it keeps what they hold.
    pub(super) fn geometry(&self, bytes: u64) -> Result<Geometry, u64> {
        let fresh = Geometry::of(bytes)?;
        let region_bytes = read_marker(&self.regions_dir()).map_or(0, |marker| marker.region_bytes);
        let is_ours = region_bytes % FULL_ENTRY_BYTES == BLOB_INDEX_BYTES
            && region_bytes >= REGION_ENTRIES_MIN * FULL_ENTRY_BYTES;
        let regions = if is_ours { bytes / region_bytes } else { 0 };
        let fair = fresh.regions.min(REGIONS_WANTED / 2)..=REGIONS_EVER;
        Ok(if fair.contains(&regions) {
            Geometry {
                region_bytes,
                regions,
            }
        } else {
            fresh
        })
    }

    /// Returns the bytes that the cache may use: of the volume, what is free and what the cache has already.
    pub(super) fn usable_bytes(&self, options: &DiskOptions) -> io::Result<Usable> {
        let own = region_files(&self.regions_dir())?
            .iter()
            .filter_map(|(_, path)| fs::metadata(path).ok())
            .map(|meta| meta.blocks() * 512)
            .sum();
        Ok(Usable::of(options, Volume::of(&self.dir)?, own))
    }

    /// Removes all regions: their space is wanted elsewhere.
    pub(super) fn clear(&self) -> io::Result<()> {
        region_files(&self.regions_dir())?
            .iter()
            .try_for_each(|(_, path)| fs::remove_file(path))
    }

    /// Makes the folder ready for regions of a size, and removes what other sizes left.
    pub(super) fn prepare(&self, geometry: Geometry) -> io::Result<()> {
        let dir = self.regions_dir();
        fs::create_dir_all(&dir)?;
        let marker = Marker {
            cache: "vdt".to_owned(),
            region_bytes: geometry.region_bytes,
        };
        if read_marker(&dir).as_ref() != Some(&marker) {
            let stale = region_files(&dir)?;
            if !stale.is_empty() {
                info!(dir = %dir.display(), files = stale.len(), "cache of another layout is removed");
            }
            // The layout goes first: regions without one are never taken for regions of this size.
            match fs::remove_file(dir.join(LAYOUT)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            stale
                .iter()
                .try_for_each(|(_, path)| fs::remove_file(path))?;
            let text = serde_json::to_vec(&marker)?;
            fs::write(dir.join("layout.json.new"), text)?;
            fs::rename(dir.join("layout.json.new"), dir.join(LAYOUT))?;
        }
        for (id, path) in region_files(&dir)? {
            if id >= geometry.regions {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn remove_other_versions(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let is_version = name
                .strip_prefix('v')
                .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
            if name == VERSION_DIR || !is_version || !entry.file_type()?.is_dir() {
                continue;
            }
            if read_marker(&entry.path()).is_some() {
                info!(dir = %entry.path().display(), "cache of another version is removed");
                if let Err(error) = fs::remove_dir_all(entry.path()) {
                    warn!(dir = %entry.path().display(), %error, "cache of another version stays");
                }
            }
        }
        Ok(())
    }
}

/// A marker of any version: only that it is ours matters, and for this version the region size.
fn read_marker(dir: &Path) -> Option<Marker> {
    let marker: Marker = serde_json::from_slice(&fs::read(dir.join(LAYOUT)).ok()?).ok()?;
    (marker.cache == "vdt").then_some(marker)
}

/// Returns where a region lies.
pub(super) fn region_path(dir: &Path, id: u32) -> PathBuf {
    dir.join(format!("{REGION_PREFIX}{id:08}"))
}

/// Returns the regions of a folder that take space: ever written, whether they hold entries or not.
pub(super) fn written_regions(dir: &Path) -> io::Result<HashSet<u32>> {
    let takes_space = |(id, path): (u64, PathBuf)| {
        let meta = fs::metadata(path).ok()?;
        (meta.blocks() > 0).then(|| u32::try_from(id).ok())?
    };
    Ok(region_files(dir)?
        .into_iter()
        .filter_map(takes_space)
        .collect())
}

/// Returns the region files of a folder with their numbers, in order. None where the folder is not there.
pub(super) fn region_files(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix(REGION_PREFIX)?.parse().ok());
        if let Some(number) = number {
            files.push((number, entry.path()));
        }
    }
    files.sort();
    Ok(files)
}
