//! What may be wrong with the directory, asked of the file system.
//!
//! Asked before each batch of writes: a full, read-only or vanished file system is seen here, before a write of foyer's fails. foyer 0.22
//! survives failed writes badly: its flusher may lose a buffer and end in a panic of its task (contained by the runtime; the writer
//! sees that nothing was written and closes the tier).
//!
//! foyer allocates no space before it writes: files grow until each region was written once. What they were to have may be others' by then, so a
//! file system counts as full before its last byte.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::PathBuf,
};

use rustix::fs::OFlags;

use super::{
    layout::Geometry,
    volume::{SHARED_LEFT_EVER_PERCENT, Volume},
};
use crate::tiers::{TiersError, reason};

/// What addresses and lengths of direct I/O are multiples of, bytes.
const PAGE_BYTES: usize = 4096;

/// Why the disk tier is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// A reason of a condition.
    pub(super) reason: &'static str,
    /// A sentence.
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// Says what an error of the system means for the tier.
    pub(super) fn of(what: &str, error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => reason::DISK_FULL,
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                reason::DISK_READ_ONLY
            }
            io::ErrorKind::NotFound => reason::DISK_GONE,
            _ => reason::DISK_FAILED,
        };
        Self::new(reason, format!("{what}: {error}."))
    }
}

impl Fault {
    /// Says what keeps the tier from opening.
    pub(super) fn of_error(error: &TiersError) -> Self {
        match error {
            TiersError::Directory { dir, source } => {
                Self::of(&format!("cannot use {}", dir.display()), source)
            }
            TiersError::TooSmall { .. } | TiersError::Smaller { .. } => {
                Self::new(reason::DISK_TOO_SMALL, format!("{error}."))
            }
            TiersError::Locked { .. } => Self::new(reason::DISK_FAILED, format!("{error}.")),
            TiersError::Store { source, .. } => {
                Self::new(reason::DISK_FAILED, format!("{error}: {source}."))
            }
        }
    }
}

/// What files grow by as they are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Growth {
    pub(super) bytes: u64,
    /// Bytes that the cache has of the volume.
    pub(super) taken: u64,
    /// What of the volume the high watermark leaves to others, percent.
    pub(super) left_percent: u64,
}

impl Growth {
    /// That of a write of so many bytes, where so many regions of the files do not take their space yet; `None` where all do.
    pub(super) fn of(
        bytes: u64,
        unwritten: u64,
        geometry: Geometry,
        left_percent: u64,
    ) -> Option<Self> {
        (unwritten > 0).then(|| Self {
            bytes: bytes.min(unwritten * geometry.region_bytes),
            taken: geometry.regions.saturating_sub(unwritten) * geometry.region_bytes,
            left_percent,
        })
    }

    /// Bytes of the volume that the cache leaves free as it grows: half of what the watermark would leave if the cache had all of it, so that others may
    /// write some after it was opened with as much as there was.
    fn left_bytes(self, free: u64) -> u64 {
        self.taken.saturating_add(free) / 200 * self.left_percent
    }
}

/// The folder of regions as it was when it was opened.
#[derive(Debug, Clone)]
pub(super) struct Place {
    dir: PathBuf,
    device: u64,
    inode: u64,
    /// Others have the volume too.
    shared: bool,
}

impl Place {
    pub(super) fn of(dir: PathBuf, shared: bool) -> io::Result<Self> {
        let meta = fs::metadata(&dir)?;
        Ok(Self {
            dir,
            device: meta.dev(),
            inode: meta.ino(),
            shared,
        })
    }

    /// Looks whether the folder is still there, can be written, has room to grow, and takes no space that others need.
    pub(super) fn inspect(&self, growth: Option<Growth>) -> Result<(), Fault> {
        let dir = self.dir.display();
        let is_same = |meta: &fs::Metadata| meta.dev() == self.device && meta.ino() == self.inode;
        match fs::metadata(&self.dir) {
            Ok(meta) if is_same(&meta) => {}
            Ok(_) => {
                return Err(Fault::new(
                    reason::DISK_GONE,
                    format!("{dir} is another folder than the one that was opened."),
                ));
            }
            Err(error) => return Err(Fault::of(&format!("cannot find {dir}"), &error)),
        }
        let volume = Volume::of(&self.dir)
            .map_err(|error| Fault::of(&format!("cannot look at {dir}"), &error))?;
        if volume.is_read_only {
            return Err(Fault::new(
                reason::DISK_READ_ONLY,
                format!("the file system of {dir} is read-only."),
            ));
        }
        if volume.free < self.needs_bytes(volume, growth) {
            let others = match volume.left_to_others(self.shared, SHARED_LEFT_EVER_PERCENT) {
                0 => String::new(),
                bytes => format!(", and leaves {bytes} to others of its node"),
            };
            return Err(Fault::new(
                reason::DISK_FULL,
                format!(
                    "the file system of {dir} has {} bytes left{others}.",
                    volume.free
                ),
            ));
        }
        Ok(())
    }

    /// Bytes that have to be free for the cache to be as it is, or to grow.
    pub(super) fn needs_bytes(&self, volume: Volume, growth: Option<Growth>) -> u64 {
        let grows = growth.map_or(0, |growth| growth.bytes);
        let left = growth.map_or(0, |growth| growth.left_bytes(volume.free));
        let others = volume.left_to_others(self.shared, SHARED_LEFT_EVER_PERCENT);
        grows.saturating_add(left.max(others))
    }

    /// Writes a file and asks the system to put it on the disk: finds what [`Place::inspect`] cannot see.
    pub(super) fn probe(&self) -> Result<(), Fault> {
        let what = || format!("cannot write to {}", self.dir.display());
        self.try_write().map_err(|error| Fault::of(&what(), &error))
    }

    /// Writes a file.
    pub(super) fn try_write(&self) -> io::Result<()> {
        self.write_page(OFlags::empty())
    }

    /// Returns whether files can be written past the page cache; not every file system has that.
    pub(super) fn takes_direct(&self) -> bool {
        match self.write_page(OFlags::DIRECT) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::StorageFull,
        }
    }

    /// Writes a file of one page, at an address that direct I/O wants.
    fn write_page(&self, flags: OFlags) -> io::Result<()> {
        let path = self.dir.join("probe");
        let buffer = [0u8; 2 * PAGE_BYTES];
        let at = buffer.as_ptr().align_offset(PAGE_BYTES);
        let page = buffer.get(at..).and_then(|rest| rest.get(..PAGE_BYTES));
        let page = page.unwrap_or_default();
        let write = || {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .custom_flags(flags.bits().cast_signed())
                .open(&path)?;
            io::Write::write_all(&mut &file, page)?;
            file.sync_all()
        };
        let written = write();
        // Left behind, the probe is overwritten by the next one.
        let _ = fs::remove_file(&path);
        written
    }
}
