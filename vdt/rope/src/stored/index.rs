//! The index of a stored rope, parsed from the tail of its file.
//!
//! Promise: what parses is consistent: frames fill the file from the header to the index, and make the virtual file from
//! its first byte to its last. It relies on nothing but the tail's bytes and the size of the file.

use std::ops::Range;

use super::{
    FRAME_BYTES_MAX, HEADER_BYTES, INDEX_BYTES_MAX, StoredError, TRAILER_BYTES, check_magic,
};
use crate::name::FileName;
use crate::rope::MAX_LENGTH;
use crate::varint::{Cursor, Syntax};

/// Fewest bytes of a frame's entry: two varints and a checksum.
const ENTRY_BYTES_MIN: usize = 6;

/// Where a frame lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Bytes of the file, half-open.
    pub file: Range<u64>,
    /// Bytes of the virtual file, half-open; empty for a frame of the annotation.
    pub covers: Range<u64>,
    /// Bytes after decompression, at most [`FRAME_BYTES_MAX`].
    pub raw_bytes: u32,
    /// CRC-32C of the stored bytes.
    pub crc32c: u32,
}

/// The frames of a stored rope, and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    name: FileName,
    frames: Box<[Frame]>,
    segment_frames: usize,
}

/// What a tail gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// The index was in it.
    Index(Index),
    /// A longer tail is needed.
    NeedMore {
        /// Bytes of the tail that holds the index.
        bytes: u64,
    },
}

impl Index {
    /// Bytes of a tail that is worth reading first: it holds the index of about 500 frames, thirty thousand artifacts.
    pub const TAIL_BYTES_HINT: u64 = 8 * 1024;

    /// Parses the last bytes of a file of `file_bytes` bytes.
    ///
    /// # Errors
    /// When the trailer or the index is wrong, or does not fit a file of this size.
    pub fn parse(tail: &[u8], file_bytes: u64) -> Result<Tail, StoredError> {
        if file_bytes < HEADER_BYTES + TRAILER_BYTES || tail.len() as u64 > file_bytes {
            return Err(StoredError::TooShort { bytes: file_bytes });
        }
        let Some((before, trailer)) = tail.split_last_chunk::<{ TRAILER_BYTES as usize }>() else {
            return Ok(Tail::NeedMore {
                bytes: Self::TAIL_BYTES_HINT.min(file_bytes),
            });
        };
        let trailer = Trailer::parse(trailer, file_bytes)?;
        let Some(start) = before.len().checked_sub(trailer.index_bytes) else {
            return Ok(Tail::NeedMore {
                bytes: trailer.index_bytes as u64 + TRAILER_BYTES,
            });
        };
        let index = &before[start..];
        if crc32c::crc32c(index) != trailer.index_crc32c {
            return Err(StoredError::IndexChecksum);
        }
        let index_offset = file_bytes - TRAILER_BYTES - trailer.index_bytes as u64;
        let mut cursor = Cursor::new(index);
        let parsed = Self::parse_frames(&mut cursor, trailer.name, index_offset);
        parsed
            .map(Tail::Index)
            .map_err(|(at, reason)| StoredError::Index { at, reason })
    }

    fn parse_frames(
        cursor: &mut Cursor<'_>,
        name: FileName,
        index_offset: u64,
    ) -> Result<Self, Syntax> {
        let segment_frames = cursor.count()?;
        let annotation_frames = cursor.count()?;
        let count = segment_frames + annotation_frames;
        if count > cursor.remaining() / ENTRY_BYTES_MIN {
            return Err((0, "more frames than the index has room for"));
        }
        let mut frames = Vec::with_capacity(count);
        let (mut file, mut covered) = (HEADER_BYTES, 0u64);
        for number in 0..count {
            let at = cursor.position();
            let stored_bytes = cursor.varint()?;
            let raw_bytes = cursor.varint()?;
            if !(1..=FRAME_BYTES_MAX as u64).contains(&raw_bytes)
                || !(1..=raw_bytes).contains(&stored_bytes)
            {
                return Err((at, "a frame of an impossible size"));
            }
            let crc32c = cursor.u32()?;
            let covers = if number < segment_frames {
                cursor.varint()?
            } else {
                0
            };
            if number < segment_frames && covers == 0 {
                return Err((at, "a frame that makes no byte"));
            }
            let end = file + stored_bytes;
            if end > index_offset {
                return Err((at, "a frame that ends past the start of the index"));
            }
            let covered_end = covered.checked_add(covers).filter(|&end| end <= name.size);
            let covered_end =
                covered_end.ok_or((at, "frames that make more bytes than the virtual file has"))?;
            // At most FRAME_BYTES_MAX.
            let raw_bytes = raw_bytes as u32;
            frames.push(Frame {
                file: file..end,
                covers: covered..covered_end,
                raw_bytes,
                crc32c,
            });
            (file, covered) = (end, covered_end);
        }
        if cursor.remaining() != 0 {
            return Err((cursor.position(), "bytes after the last frame"));
        }
        if file != index_offset {
            return Err((
                cursor.position(),
                "bytes between the last frame and the index",
            ));
        }
        if covered != name.size {
            return Err((
                cursor.position(),
                "frames that make fewer bytes than the virtual file has",
            ));
        }
        Ok(Self {
            name,
            frames: frames.into(),
            segment_frames,
        })
    }

    /// The name of the rope, by its trailer.
    pub fn name(&self) -> FileName {
        self.name
    }

    /// Bytes of the virtual file.
    pub fn len(&self) -> u64 {
        self.name.size
    }

    /// Whether the virtual file has no bytes.
    pub fn is_empty(&self) -> bool {
        self.name.size == 0
    }

    /// All frames: those of segments, then those of the annotation.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The frames that make the half-open `range` of the virtual file. What lies past its end is left out.
    pub fn frames_for(&self, range: Range<u64>) -> Range<usize> {
        let frames = &self.frames[..self.segment_frames];
        let first = frames.partition_point(|frame| frame.covers.end <= range.start);
        let end = frames.partition_point(|frame| frame.covers.start < range.end);
        first..end.max(first)
    }

    /// The frames of segments.
    pub fn segment_frames(&self) -> Range<usize> {
        0..self.segment_frames
    }

    /// The frames of the annotation.
    pub fn annotation_frames(&self) -> Range<usize> {
        self.segment_frames..self.frames.len()
    }

    /// Bytes of the file that hold the given `frames`, which lie one after another; empty for no frames.
    ///
    /// # Panics
    /// When there is no such frame.
    pub fn file_range(&self, frames: Range<usize>) -> Range<u64> {
        match &self.frames[frames] {
            [] => 0..0,
            [only] => only.file.clone(),
            [first, .., last] => first.file.start..last.file.end,
        }
    }
}

struct Trailer {
    index_bytes: usize,
    index_crc32c: u32,
    name: FileName,
}

impl Trailer {
    fn parse(bytes: &[u8; TRAILER_BYTES as usize], file_bytes: u64) -> Result<Self, StoredError> {
        // Every field lies inside the array; the reads cannot fail.
        let u32_at = |at: usize| {
            bytes[at..]
                .first_chunk()
                .copied()
                .map_or(0, u32::from_le_bytes)
        };
        let u64_at = |at: usize| {
            bytes[at..]
                .first_chunk()
                .copied()
                .map_or(0, u64::from_le_bytes)
        };
        check_magic(&bytes[48..], "trailer")?;
        if crc32c::crc32c(&bytes[..40]) != u32_at(40) {
            return Err(StoredError::TrailerChecksum);
        }
        if u32_at(44) != 0 {
            return Err(StoredError::Trailer {
                reason: "the reserved bytes are not zero",
            });
        }
        if u64_at(32) != file_bytes {
            return Err(StoredError::FileLength {
                expected: u64_at(32),
                found: file_bytes,
            });
        }
        let index_bytes = u64::from(u32_at(0));
        if index_bytes > INDEX_BYTES_MAX || index_bytes > file_bytes - HEADER_BYTES - TRAILER_BYTES
        {
            return Err(StoredError::Trailer {
                reason: "the index is larger than the file has room for",
            });
        }
        let mut hash = [0; 16];
        hash.copy_from_slice(&bytes[16..32]);
        let name = FileName {
            hash,
            size: u64_at(8),
        };
        if name.size > MAX_LENGTH {
            return Err(StoredError::Trailer {
                reason: "the virtual file is over 2^63 - 1 bytes",
            });
        }
        Ok(Self {
            index_bytes: index_bytes as usize,
            index_crc32c: u32_at(4),
            name,
        })
    }
}
