//! What the tiers hold: bytes of an object with what is known of the object. Immutable; how it lies on the disk is [`super::stored`]'s, and what it
//! is found by [`super::key`]'s.

use std::sync::Arc;

use bytes::Bytes;

/// The most bytes an entry may hold: a pack of 1 MiB with room for its directory.
pub const MAX_ENTRY_BYTES: usize = (1 << 20) + (64 << 10);

/// The longest ETag or version id that an entry on the disk keeps, bytes. S3 allows 1,024 for a version id.
pub const MAX_TEXT_BYTES: usize = 1024;

/// What an entry is part of. Classes differ in where they are kept, and are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Ropes, footers and log files: what a table is found by. Has a share of memory of its own.
    Metadata,
    /// A block of a source object.
    Block,
    /// Several tiny objects that are read together.
    Pack,
}

impl Class {
    /// Every class, in the order of its index.
    pub const ALL: [Self; 3] = [Self::Metadata, Self::Block, Self::Pack];

    /// Returns the label of the class in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Block => "block",
            Self::Pack => "pack",
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Metadata => 0,
            Self::Block => 1,
            Self::Pack => 2,
        }
    }
}

/// How much an entry is worth before anybody has asked for it twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insert {
    /// Asked for by a lookup: kept as long as it is hotter than others.
    Resident,
    /// Passed by in a scan or read ahead of one: must not push out what is hot.
    Candidate,
}

/// Where an entry was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// In memory: a clone of the `Bytes`, nothing is copied.
    Memory,
    /// On the disk: read and verified.
    Disk,
}

impl Tier {
    /// Every tier.
    pub const ALL: [Self; 2] = [Self::Memory, Self::Disk];

    /// Returns the label of the tier in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }
}

/// What is known of the object that an entry's bytes are part of, so that a hit needs no HEAD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryMeta {
    /// Size of the whole object, bytes.
    pub size: u64,
    /// Last modification of the object, milliseconds of the Unix epoch.
    pub last_modified_ms: i64,
    /// The ETag as the source gives it, quotes included.
    pub etag: Option<Arc<str>>,
    /// The version id, where the source has versions.
    pub version: Option<Arc<str>>,
}

/// Bytes of an object with what is known of the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What is known of the object.
    pub meta: EntryMeta,
    /// At most [`MAX_ENTRY_BYTES`]. Kept as given: a slice of a larger buffer keeps all of that buffer alive.
    pub bytes: Bytes,
}

/// An entry as foyer holds it, in memory and on the disk alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) class: Class,
    pub(crate) entry: Entry,
}

impl Held {
    /// What an entry costs in memory beside its bytes and texts: records, index, allocations.
    const OVERHEAD_BYTES: usize = 256;

    /// Returns the bytes of memory that the entry is accounted for with.
    pub(crate) fn weight(&self) -> usize {
        Self::OVERHEAD_BYTES + text_bytes(&self.entry.meta) + self.entry.bytes.len()
    }

    /// Returns whether the entry fits the disk.
    pub(crate) fn is_storable(&self) -> bool {
        let short = |text: &Option<Arc<str>>| {
            text.as_ref()
                .is_none_or(|text| text.len() <= MAX_TEXT_BYTES)
        };
        self.entry.bytes.len() <= MAX_ENTRY_BYTES
            && short(&self.entry.meta.etag)
            && short(&self.entry.meta.version)
    }
}

/// Bytes of the texts that are kept with an entry.
pub(super) fn text_bytes(meta: &EntryMeta) -> usize {
    meta.etag.as_ref().map_or(0, |text| text.len())
        + meta.version.as_ref().map_or(0, |text| text.len())
}
