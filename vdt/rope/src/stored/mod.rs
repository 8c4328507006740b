//! The stored form of a rope: `<hash>-<bytes>.rope`.
//!
//! Promises: the same rope and annotation give the same bytes; a reader needs the tail and the frames that its range
//! touches, nothing else; every bit flip and every truncation is an error that says what and where. Decoding never
//! panics and never allocates more than the file's own size allows, whatever the bytes are.
//!
//! ```text
//! header       "vdtrope" version u8                                             8 bytes
//! frames       of segments, each at most 64 KiB before compression, zstd or raw
//! frames       of the annotation, cut the same way
//! index        varint segment frames, varint annotation frames, then per frame:
//!                varint stored bytes   varint raw bytes   crc32c u32 of the stored bytes
//!                varint bytes of the virtual file (frames of segments only)
//! trailer      index bytes u32   index crc32c u32   virtual file bytes u64      56 bytes
//!              hash [16]          stored file bytes u64
//!              crc32c u32 of the 40 bytes before   reserved u32, zero
//!              "vdtrope" version u8
//! ```
//!
//! Integers are little-endian, varints LEB128. Frames lie one after another without gaps, so a frame's place in the
//! file, and its place in the virtual file, are sums. The hash, which names the file, is the first 16 bytes of SHA-256
//! over all that lies before the trailer. A frame whose stored and raw bytes are equally many is not
//! compressed.
//!
//! A frame of segments decodes alone. It is cut when it is full and after every run of zeros; a literal is never cut
//! unless it is larger than a frame, and then into pieces of nearly equal size. So a footer, which follows the padding,
//! starts a frame, and its last bytes lie in one. A frame is laid out by columns, which lets zstd find in the literals
//! (small Parquet columns, PLAIN) the keys and entity tags that the references spell out:
//!
//! ```text
//! varint segments  varint sources  varint objects
//! ops       one byte a segment: bits 0-1  0 literal  1 zeros  2 reference to the next object  3 to the same object
//!                               bit 2     a literal with numbers; of a reference, a part: offset and length follow
//!                               bit 3, 4  the object has an ETag, a version (with 2 only)
//! lengths   varint per literal and per zeros; of a literal with numbers the bytes between them, then a varint of how many
//! gaps      varint per number: bytes of the literal since the number before << 2 | its sequence, 0 to 3
//! numbers   sequence by sequence: per number the zigzag varint difference to the one before, in the frame, that wraps
//! sources   varint length  bytes
//! objects   varint per object: its source, present where there are several
//! sizes     varint per object
//! times     u8 unit (0: milliseconds, 1: seconds), then per object the zigzag varint difference to the one before
//! parts     per part varint offset, varint length
//! keys      per object  u32 length  bytes
//! etags     likewise, of those that have one
//! versions  likewise
//! literals  bytes, to the end of the frame
//! ```
//!
//! A literal with numbers is its bytes with each number put in at its place as a varint. [`Numbered`] says what for.
//!
//! A crash while a rope is written leaves what the store's put leaves; the trailer names the file's own size, so half a
//! file is never taken for a whole one.

mod columns;
mod decode;
mod encode;
mod index;
mod numbered;

#[cfg(test)]
mod tests;

pub use decode::decode;
pub use encode::{Compression, Encoder, StoredRope, encode};
pub use index::{Frame, Index, Tail};
pub use numbered::{Numbered, Sequence};

use crate::name::FileName;

/// Most bytes of a frame before compression.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

/// Most bytes of an index: more than a million frames.
const INDEX_BYTES_MAX: u64 = 16 * 1024 * 1024;

const MAGIC: [u8; 7] = *b"vdtrope";
const VERSION: u8 = 3;
const HEADER_BYTES: u64 = 8;
const TRAILER_BYTES: u64 = 56;

/// Why bytes are no stored rope, or no longer one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// The file is too short for a header and a trailer.
    #[error("a file of {bytes} bytes is too short for a rope")]
    TooShort {
        /// Size of the file in bytes.
        bytes: u64,
    },
    /// The magic is missing.
    #[error("no rope: the {part} has no magic")]
    Magic {
        /// `header` or `trailer`.
        part: &'static str,
    },
    /// Another version of vdt wrote it.
    #[error("a rope of format version {found}, this vdt reads version {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// The trailer's own checksum does not match.
    #[error("the trailer's checksum does not match")]
    TrailerChecksum,
    /// The trailer contradicts itself.
    #[error("the trailer is wrong: {reason}")]
    Trailer {
        /// What is wrong.
        reason: &'static str,
    },
    /// The file has another size than the trailer says: it was cut or appended to.
    #[error("the file has {found} bytes where its trailer says {expected}")]
    FileLength {
        /// Bytes that the trailer says.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// The index's checksum does not match.
    #[error("the index's checksum does not match")]
    IndexChecksum,
    /// The index does not parse, or contradicts the trailer.
    #[error("the index is wrong at byte {at}: {reason}")]
    Index {
        /// Byte of the index.
        at: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// Bytes of another length than the frame's were given, or a frame that does not exist.
    #[error("frame {frame} was read as {found} bytes where it has {expected}")]
    FrameLength {
        /// Number of the frame.
        frame: usize,
        /// Stored bytes of the frame.
        expected: u64,
        /// Bytes given.
        found: u64,
    },
    /// A frame's checksum does not match.
    #[error("the checksum of frame {frame} at byte {offset} does not match")]
    FrameChecksum {
        /// Number of the frame.
        frame: usize,
        /// Offset of the frame in the file.
        offset: u64,
    },
    /// A frame does not decompress to its length.
    #[error("frame {frame} at byte {offset} does not decompress")]
    FrameCompression {
        /// Number of the frame.
        frame: usize,
        /// Offset of the frame in the file.
        offset: u64,
    },
    /// A frame does not parse.
    #[error("frame {frame} is wrong at byte {at} of its raw bytes: {reason}")]
    Frame {
        /// Number of the frame.
        frame: usize,
        /// Byte of the decompressed frame.
        at: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// The content is not the one that its trailer names.
    #[error("the content hashes to {found} where its trailer says {expected}")]
    Fingerprint {
        /// Name by the trailer.
        expected: FileName,
        /// Name of what was decoded.
        found: FileName,
    },
}

impl StoredError {
    /// Whether a later vdt wrote the rope, which is then not damaged.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::Version { found } if *found > VERSION)
    }
}

/// The eight bytes that open and close a stored rope.
fn magic() -> [u8; 8] {
    let mut magic = [VERSION; 8];
    magic[..7].copy_from_slice(&MAGIC);
    magic
}

/// Checks the eight bytes that open and close a stored rope.
fn check_magic(found: &[u8], part: &'static str) -> Result<(), StoredError> {
    match found.split_last() {
        Some((&VERSION, magic)) if magic == MAGIC => Ok(()),
        Some((&found, magic)) if magic == MAGIC => Err(StoredError::Version { found }),
        _ => Err(StoredError::Magic { part }),
    }
}
