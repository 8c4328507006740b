//! What the tiers hold, and how it lies on the disk.
//!
//! A value on the disk (integers little-endian):
//!
//! ```text
//!   0  u8   version, 1
//!   1  u8   class: 0 metadata, 1 block, 2 pack
//!   2  u16  bytes of the ETag, 0xffff without one
//!   4  u16  bytes of the version id, 0xffff without one
//!   6  u16  zero
//!   8  u64  size of the whole object, bytes
//!  16  i64  last modification of the object, milliseconds of the Unix epoch
//!  24  u32  bytes that follow the two texts
//!  28  ETag, version id, bytes
//! ```
//!
//! foyer puts its own header with a 64-bit checksum over key and value before it, and verifies it at every load; that is what
//! finds bit rot, so no second checksum is kept here.

use std::{
    hash::{BuildHasherDefault, Hash, Hasher},
    io::{Read, Write},
    sync::Arc,
};

use bytes::Bytes;
use equivalent::Equivalent;
use foyer::{Code, Error, ErrorKind};
use serde::Serialize;

/// The most bytes an entry may hold: a pack of 1 MiB with room for its directory.
pub const MAX_ENTRY_BYTES: usize = (1 << 20) + (64 << 10);

/// The longest ETag or version id that an entry on the disk keeps, bytes. S3 allows 1,024 for a version id.
pub const MAX_TEXT_BYTES: usize = 1024;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 28;
const NONE: u16 = u16::MAX;

/// Names an entry: the first 16 bytes of the SHA-256 of a text that says what it is.
///
/// The same key always names the same bytes; entries are never changed in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub u128);

impl Key {
    /// Returns the 64 bits that place the key in shards and in the index of the disk. The same on every run.
    pub(crate) fn hash64(self) -> u64 {
        // The finaliser of SplitMix64: keys made by hand in tests must spread as well as digests do.
        let mut x = (self.0 as u64) ^ ((self.0 >> 64) as u64).rotate_left(32);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash64());
    }
}

/// Finds an entry by the hash of its key alone, which is all that the index of the disk knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ByHash(pub(crate) u64);

impl Hash for ByHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

impl Equivalent<Key> for ByHash {
    fn equivalent(&self, key: &Key) -> bool {
        key.hash64() == self.0
    }
}

/// Passes a key's own hash through, so that entries can be found by it, and so that it is the same on every run.
#[derive(Debug, Default, Clone)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

pub(crate) type KeyHash = BuildHasherDefault<KeyHasher>;

impl Code for Key {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        self.0.encode(writer)
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        Ok(Self(u128::decode(reader)?))
    }

    fn estimated_size(&self) -> usize {
        size_of::<u128>()
    }
}

/// What an entry is part of. Classes differ in where they are kept, and are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
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

fn text_bytes(meta: &EntryMeta) -> usize {
    meta.etag.as_ref().map_or(0, |text| text.len())
        + meta.version.as_ref().map_or(0, |text| text.len())
}

impl Code for Held {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        let Entry { meta, bytes } = &self.entry;
        let mut header = [0u8; HEADER_BYTES];
        header[0] = VERSION;
        header[1] = self.class.index() as u8;
        header[2..4].copy_from_slice(&text_length(&meta.etag)?.to_le_bytes());
        header[4..6].copy_from_slice(&text_length(&meta.version)?.to_le_bytes());
        header[8..16].copy_from_slice(&meta.size.to_le_bytes());
        header[16..24].copy_from_slice(&meta.last_modified_ms.to_le_bytes());
        let length = u32::try_from(bytes.len()).map_err(|_| malformed("an entry is too large"))?;
        header[24..28].copy_from_slice(&length.to_le_bytes());
        let parts = [
            &header[..],
            meta.etag.as_deref().unwrap_or_default().as_bytes(),
            meta.version.as_deref().unwrap_or_default().as_bytes(),
            bytes,
        ];
        parts
            .iter()
            .try_for_each(|part| writer.write_all(part))
            .map_err(Error::io_error)
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        let mut header = [0u8; HEADER_BYTES];
        reader.read_exact(&mut header).map_err(Error::io_error)?;
        let [version, class, ..] = header;
        if version != VERSION || header[6..8] != [0, 0] {
            return Err(malformed("an entry has another version"));
        }
        let class = *Class::ALL
            .get(usize::from(class))
            .ok_or_else(|| malformed("an entry has an unknown class"))?;
        let etag = read_text(reader, u16::from_le_bytes([header[2], header[3]]))?;
        let object_version = read_text(reader, u16::from_le_bytes([header[4], header[5]]))?;
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| header[at + i]));
        let length = u32::from_le_bytes(std::array::from_fn(|i| header[24 + i])) as usize;
        if length > MAX_ENTRY_BYTES {
            return Err(malformed("an entry is larger than any that was written"));
        }
        let mut bytes = Vec::with_capacity(length);
        reader
            .take(length as u64)
            .read_to_end(&mut bytes)
            .map_err(Error::io_error)?;
        if bytes.len() != length {
            return Err(malformed("an entry is cut short"));
        }
        let meta = EntryMeta {
            size: number(8),
            last_modified_ms: i64::from_le_bytes(number(16).to_le_bytes()),
            etag,
            version: object_version,
        };
        Ok(Self {
            class,
            entry: Entry {
                meta,
                bytes: bytes.into(),
            },
        })
    }

    fn estimated_size(&self) -> usize {
        HEADER_BYTES + text_bytes(&self.entry.meta) + self.entry.bytes.len()
    }
}

fn malformed(what: &'static str) -> Error {
    Error::new(ErrorKind::Parse, what)
}

fn text_length(text: &Option<Arc<str>>) -> foyer::Result<u16> {
    match text {
        None => Ok(NONE),
        Some(text) if text.len() <= MAX_TEXT_BYTES => Ok(text.len() as u16),
        Some(_) => Err(malformed("a text of an entry is too long")),
    }
}

fn read_text(reader: &mut impl Read, length: u16) -> foyer::Result<Option<Arc<str>>> {
    if length == NONE {
        return Ok(None);
    }
    if usize::from(length) > MAX_TEXT_BYTES {
        return Err(malformed(
            "a text of an entry is longer than any that was written",
        ));
    }
    let mut text = vec![0u8; usize::from(length)];
    reader.read_exact(&mut text).map_err(Error::io_error)?;
    let text = String::from_utf8(text).map_err(|_| malformed("a text of an entry is not UTF-8"))?;
    Ok(Some(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(class: Class, etag: Option<&str>, version: Option<&str>, bytes: &[u8]) -> Held {
        let meta = EntryMeta {
            size: 1 << 40,
            last_modified_ms: -5,
            etag: etag.map(Arc::from),
            version: version.map(Arc::from),
        };
        Held {
            class,
            entry: Entry {
                meta,
                bytes: Bytes::copy_from_slice(bytes),
            },
        }
    }

    fn encoded(held: &Held) -> Vec<u8> {
        let mut out = Vec::new();
        held.encode(&mut out).expect("memory takes it");
        out
    }

    #[test]
    fn an_entry_comes_back_as_it_was() {
        for class in Class::ALL {
            for (etag, version, bytes) in [
                (None, None, &b""[..]),
                (Some("\"abc\""), None, b"bytes"),
                (Some(""), Some("v-1"), &[0u8; 70_000]),
            ] {
                let held = held(class, etag, version, bytes);
                let out = encoded(&held);
                assert_eq!(out.len(), held.estimated_size());
                assert_eq!(
                    Held::decode(&mut out.as_slice()).expect("it was just written"),
                    held
                );
            }
        }
    }

    #[test]
    fn the_header_is_what_the_picture_says() {
        let out = encoded(&held(Class::Pack, Some("e"), None, b"xy"));
        let mut expected = vec![1, 2, 1, 0, 0xff, 0xff, 0, 0];
        expected.extend((1u64 << 40).to_le_bytes());
        expected.extend((-5i64).to_le_bytes());
        expected.extend([2, 0, 0, 0, b'e', b'x', b'y']);
        assert_eq!(out, expected);
    }

    #[test]
    fn a_header_that_was_never_written_is_refused() {
        let good = encoded(&held(
            Class::Block,
            Some("etag"),
            Some("version"),
            b"0123456789",
        ));
        for (at, byte) in [(0, 2), (1, 3), (3, 0x7f), (6, 1), (27, 0x7f), (28, 0xff)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(Held::decode(&mut bad.as_slice()).is_err(), "byte {at}");
        }
        for length in 0..good.len() {
            assert!(
                Held::decode(&mut &good[..length]).is_err(),
                "cut to {length}"
            );
        }
    }

    #[test]
    fn a_text_too_long_for_the_disk_is_not_storable() {
        let long = "x".repeat(MAX_TEXT_BYTES + 1);
        let held = held(Class::Block, Some(&long), None, b"");
        assert!(!held.is_storable());
        assert!(held.encode(&mut Vec::new()).is_err());
    }

    #[test]
    fn keys_are_found_by_their_hash() {
        use std::hash::BuildHasher;
        let key = Key(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        let build = KeyHash::default();
        assert_eq!(build.hash_one(key), build.hash_one(ByHash(key.hash64())));
        assert!(ByHash(key.hash64()).equivalent(&key));
    }
}
