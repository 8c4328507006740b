//! What a virtual file is made of: literal bytes, zeros, and references to byte ranges of source objects.
//!
//! A reference carries all that is known of its object (size, ETag or modification time, version), so that whoever
//! reads it can tell that the object is still the one that was listed. Never a wrong byte: a reference is read with
//! `If-Match`, and what comes back is compared again.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

/// Most bytes of an object's texts (source, key, ETag and version together): they have to fit a frame of the stored
/// form, 64 KiB. S3 keys have at most 1,024 bytes, paths of Linux 4,096.
pub const MAX_OBJECT_TEXT_BYTES: usize = 32 * 1024;

/// One object of a source, as it was listed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SourceObject {
    /// Id of the source: 16 lower-case hex digits over its type, endpoint, account and bucket.
    pub source: Arc<str>,
    /// The full key in the bucket, or the path below the root of a folder.
    pub key: Box<str>,
    /// Size in bytes.
    pub size: u64,
    /// The strong entity tag without its quotes; `None` where the source has no strong one.
    pub etag: Option<Box<str>>,
    /// Modification time in milliseconds since the Unix epoch, UTC.
    pub last_modified_ms: i64,
    /// The version id, where the source keeps versions and they are pinned.
    pub version: Option<Box<str>>,
}

impl SourceObject {
    /// Whether the texts are short enough for a rope, at most [`MAX_OBJECT_TEXT_BYTES`].
    pub fn fits_a_rope(&self) -> bool {
        let optional = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let bytes =
            self.source.len() + self.key.len() + optional(&self.etag) + optional(&self.version);
        bytes <= MAX_OBJECT_TEXT_BYTES
    }
}

/// A byte range of a source object, which a virtual file contains verbatim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The object. Its identity is part of the file's name.
    pub object: Arc<SourceObject>,
    /// First byte of the range in the object.
    pub offset: u64,
    /// Bytes of the range; `offset + length` is at most the object's size.
    pub length: u64,
}

impl Reference {
    /// A reference to the whole object.
    pub fn whole(object: Arc<SourceObject>) -> Self {
        let length = object.size;
        Self {
            object,
            offset: 0,
            length,
        }
    }

    /// The half-open range of the object.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.length
    }

    /// Whether the range ends inside the object.
    pub fn is_in_bounds(&self) -> bool {
        self.offset
            .checked_add(self.length)
            .is_some_and(|end| end <= self.object.size)
    }

    /// Whether `next` continues this reference: the same object, and the next byte of it.
    pub fn is_continued_by(&self, next: &Reference) -> bool {
        self.offset + self.length == next.offset && self.object == next.object
    }
}

/// A piece of a virtual file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Bytes that vdt makes.
    Literal(Bytes),
    /// A run of zero bytes, by its length. It costs no memory, no state and no hashing.
    Zeros(u64),
    /// A byte range of a source object.
    Reference(Reference),
}

impl Segment {
    /// Bytes of the virtual file that this segment makes.
    pub fn len(&self) -> u64 {
        match self {
            Segment::Literal(bytes) => bytes.len() as u64,
            Segment::Zeros(length) => *length,
            Segment::Reference(reference) => reference.length,
        }
    }

    /// Whether the segment makes no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The half-open `range` of this segment.
    ///
    /// # Panics
    /// When the range is decreasing or ends past the segment.
    #[must_use]
    pub fn slice(&self, range: Range<u64>) -> Segment {
        assert!(
            range.start <= range.end && range.end <= self.len(),
            "range {range:?} of a segment of {} bytes",
            self.len()
        );
        match self {
            // Both ends are at most the literal's length, a usize.
            Segment::Literal(bytes) => {
                Segment::Literal(bytes.slice(range.start as usize..range.end as usize))
            }
            Segment::Zeros(_) => Segment::Zeros(range.end - range.start),
            Segment::Reference(reference) => Segment::Reference(Reference {
                object: Arc::clone(&reference.object),
                offset: reference.offset + range.start,
                length: range.end - range.start,
            }),
        }
    }
}
