//! Writes the stored form.
//!
//! Promise: the same rope and annotation give the same bytes. One pass, one compression context, no allocation a
//! segment.
//!
//! Invariant 1 is kept here: a virtual path, once served, always has the same bytes. **The bytes name the file**: its hash is
//! the first 16 bytes of SHA-256 over the header, all frames and the index. They tell every literal byte and every
//! reference, so two ropes never share a name; and they are a fifth of what they tell, so that hashing costs a fifth.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use zstd::bulk::Compressor;

use super::columns::{Columns, LITERAL_BYTES_MAX};
use super::numbered::Numbered;
use super::{FRAME_BYTES_MAX, HEADER_BYTES, TRAILER_BYTES, magic};
use crate::name::FileName;
use crate::rope::{MAX_LENGTH, Rope};
use crate::segment::{Reference, Segment, SourceObject};
use crate::varint;

/// Level 1: the copies that matter (keys and ETags in literals) are found at any level, higher ones cost time.
const ZSTD_LEVEL: i32 = 1;

/// A rope as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRope {
    /// Name of the file.
    pub name: FileName,
    /// Content of `<name>.rope`.
    pub bytes: Vec<u8>,
}

/// Whether frames are compressed. That is part of what names the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Each frame that gets smaller.
    Zstd,
    /// No frame: for literals that are compressed already.
    None,
}

/// Encodes a rope, compressed, with its annotation: bytes that belong to the file but are no part of it.
///
/// # Panics
/// When the rope or the annotation needs more than 4 GiB of index: exabytes of literals.
pub fn encode(rope: &Rope, annotation: &[u8]) -> StoredRope {
    let mut encoder = Encoder::new(Compression::Zstd);
    for segment in rope.segments() {
        match segment {
            Segment::Literal(bytes) => encoder.literal(bytes),
            Segment::Zeros(length) => encoder.zeros(*length),
            Segment::Reference(reference) => {
                let Reference {
                    object,
                    offset,
                    length,
                } = reference;
                encoder.reference(object, *offset, *length);
            }
        }
    }
    encoder.finish(annotation)
}

/// The hash that names the file of a stored rope: `content` is all of it before the trailer.
pub(super) fn hash(content: &[u8]) -> [u8; 16] {
    let digest = Sha256::digest(content);
    let mut hash = [0; 16];
    hash.copy_from_slice(&digest[..16]);
    hash
}

/// Compresses a frame into `compressed`, which has room for it. What comes out does not depend on what the context
/// compressed before.
fn compress(raw: &[u8], compressed: &mut Vec<u8>) -> io::Result<usize> {
    thread_local! {
        /// A context is some hundred kilobytes, so each thread keeps one.
        static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    }
    COMPRESSOR.with_borrow_mut(|compressor| {
        let compressor = match compressor {
            Some(compressor) => compressor,
            None => {
                let mut fresh = Compressor::new(ZSTD_LEVEL)?;
                // The index knows both, and has a checksum of its own.
                fresh.include_contentsize(false)?;
                fresh.include_checksum(false)?;
                compressor.insert(fresh)
            }
        };
        compressor.compress_to_buffer(raw, compressed)
    })
}

/// Cuts `bytes` into the fewest pieces of at most `max` bytes, all of nearly the same size.
fn even_pieces(bytes: &[u8], max: usize) -> impl Iterator<Item = &[u8]> {
    let pieces = bytes.len().div_ceil(max).max(1);
    bytes.chunks(bytes.len().div_ceil(pieces).max(1))
}

/// Writes the stored form segment by segment, without a [`Rope`] in between.
///
/// The segments are those of a canonical rope: none is empty, no two neighbours are both literal or both zeros, and no
/// reference continues the one before it. Else the stored form is that of the same rope, and has another name.
pub struct Encoder {
    length: u64,
    out: Vec<u8>,
    index: Vec<u8>,
    frames: u64,
    columns: Columns,
    raw: Vec<u8>,
    compressed: Vec<u8>,
    compression: Compression,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder")
            .field("length", &self.length)
            .field("frames", &self.frames)
            .finish_non_exhaustive()
    }
}

impl Encoder {
    /// Starts a file.
    pub fn new(compression: Compression) -> Self {
        Self {
            length: 0,
            out: magic().to_vec(),
            index: Vec::new(),
            frames: 0,
            columns: Columns::default(),
            raw: Vec::with_capacity(FRAME_BYTES_MAX),
            compressed: Vec::with_capacity(zstd::zstd_safe::compress_bound(FRAME_BYTES_MAX)),
            compression,
        }
    }

    /// Bytes of the virtual file so far.
    pub fn virtual_bytes(&self) -> u64 {
        self.length
    }

    /// Appends a literal.
    ///
    /// # Panics
    /// As [`Encoder::reference`], when the file grows too long.
    pub fn literal(&mut self, bytes: &[u8]) {
        self.grow(bytes.len() as u64);
        self.pieces(bytes);
    }

    /// Appends a literal with numbers that continue one another. It is cut at numbers where it does not fit a frame.
    ///
    /// # Panics
    /// As [`Encoder::reference`], when the file grows too long.
    pub fn numbered(&mut self, literal: &Numbered) {
        let (mut bytes, mut numbers) = (literal.as_slice(), literal.numbers());
        self.grow(bytes.len() as u64);
        let mut skipped = 0;
        while let Some(next) = numbers.first() {
            let was_empty = self.columns.is_empty();
            let (stored, added) = self.columns.push_numbered(bytes, numbers, skipped);
            (bytes, numbers) = (&bytes[stored..], &numbers[added..]);
            if added == 0 && was_empty {
                // More bytes than a frame has lie before the number.
                let before = next.gap as usize - skipped;
                self.pieces(&bytes[..before]);
                (bytes, skipped) = (&bytes[before..], next.gap as usize);
                continue;
            }
            if added > 0 {
                skipped = 0;
            }
            if !numbers.is_empty() {
                self.cut();
            }
        }
        if !bytes.is_empty() {
            self.pieces(bytes);
        }
    }

    fn pieces(&mut self, literal: &[u8]) {
        even_pieces(literal, LITERAL_BYTES_MAX)
            .for_each(|piece| self.push(|columns| columns.push_literal(piece)));
    }

    /// Appends zeros.
    ///
    /// # Panics
    /// As [`Encoder::reference`], when the file grows too long.
    pub fn zeros(&mut self, length: u64) {
        self.grow(length);
        self.push(|columns| columns.push_zeros(length));
        self.cut();
    }

    /// Appends a byte range of a source object.
    ///
    /// # Panics
    /// When the range ends past its object, when the object's texts do not fit
    /// ([`SourceObject::fits_a_rope`](crate::SourceObject::fits_a_rope)), or when the file grows past
    /// [`MAX_LENGTH`].
    pub fn reference(&mut self, object: &Arc<SourceObject>, offset: u64, length: u64) {
        assert!(
            offset
                .checked_add(length)
                .is_some_and(|end| end <= object.size),
            "a reference to {length} bytes at {offset}, past the end of its object"
        );
        assert!(
            object.fits_a_rope(),
            "an object with texts too long for a rope"
        );
        self.grow(length);
        self.push(|columns| columns.push_reference(object, offset, length));
    }

    fn grow(&mut self, by: u64) {
        self.length = self
            .length
            .checked_add(by)
            .filter(|&length| length <= MAX_LENGTH)
            .expect("a rope has at most MAX_LENGTH bytes");
    }

    /// Adds to the frame, or to a new one where it is full.
    fn push(&mut self, mut add: impl FnMut(&mut Columns) -> bool) {
        if !add(&mut self.columns) {
            self.cut();
            assert!(
                add(&mut self.columns),
                "an empty frame admits every segment"
            );
        }
    }

    /// Ends the frame, unless it is empty.
    fn cut(&mut self) {
        if !self.columns.is_empty() {
            let virtual_bytes = self.columns.virtual_bytes();
            self.columns.drain_to(&mut self.raw);
            self.frame(Some(virtual_bytes));
        }
    }

    /// Writes the frame in `raw` and forgets it. Frames of the annotation have no bytes of the virtual file.
    fn frame(&mut self, virtual_bytes: Option<u64>) {
        if self.compression == Compression::Zstd {
            compress(&self.raw, &mut self.compressed).expect(
                "zstd knows its parameters, and the buffer holds the largest compressed frame",
            );
        }
        let is_smaller =
            self.compression == Compression::Zstd && self.compressed.len() < self.raw.len();
        let stored = if is_smaller {
            &self.compressed
        } else {
            &self.raw
        };
        varint::push(&mut self.index, stored.len() as u64);
        varint::push(&mut self.index, self.raw.len() as u64);
        self.index
            .extend_from_slice(&crc32c::crc32c(stored).to_le_bytes());
        if let Some(bytes) = virtual_bytes {
            varint::push(&mut self.index, bytes);
        }
        self.out.extend_from_slice(stored);
        self.raw.clear();
        self.frames += 1;
    }

    /// Ends the file, with its annotation.
    ///
    /// # Panics
    /// As [`encode`].
    pub fn finish(mut self, annotation: &[u8]) -> StoredRope {
        self.cut();
        let segment_frames = self.frames;
        for piece in even_pieces(annotation, FRAME_BYTES_MAX) {
            self.raw.extend_from_slice(piece);
            self.frame(None);
        }
        let Self {
            length,
            mut out,
            index: entries,
            frames,
            ..
        } = self;
        let mut index = Vec::with_capacity(2 * varint::VARINT_BYTES_MAX + entries.len());
        varint::push(&mut index, segment_frames);
        varint::push(&mut index, frames - segment_frames);
        index.extend_from_slice(&entries);
        out.extend_from_slice(&index);

        let index_bytes = u32::try_from(index.len()).expect("an index has at most 4 GiB");
        let trailer = out.len();
        let name = FileName {
            hash: hash(&out),
            size: length,
        };
        let file_bytes = trailer as u64 + TRAILER_BYTES;
        debug_assert!(file_bytes >= HEADER_BYTES + TRAILER_BYTES);
        out.extend_from_slice(&index_bytes.to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&index).to_le_bytes());
        out.extend_from_slice(&name.size.to_le_bytes());
        out.extend_from_slice(&name.hash);
        out.extend_from_slice(&file_bytes.to_le_bytes());
        let crc = crc32c::crc32c(&out[trailer..]);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&magic());
        StoredRope { name, bytes: out }
    }
}
