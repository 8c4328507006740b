//! Writes the stored form.
//!
//! Promise: the same rope and annotation give the same bytes. One pass, one compression context, no allocation a
//! segment.

use super::columns::{Columns, LITERAL_BYTES_MAX};
use super::{FRAME_BYTES_MAX, HEADER_BYTES, TRAILER_BYTES, magic, varint};
use crate::name::FileName;
use crate::rope::Rope;
use crate::segment::Segment;

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

/// Encodes a rope with its annotation: bytes that belong to the file but are no part of it.
///
/// # Panics
/// When the rope or the annotation needs more than 4 GiB of index: exabytes of literals.
pub fn encode(rope: &Rope, annotation: &[u8]) -> StoredRope {
    let mut writer = Writer::new();
    for segment in rope.segments() {
        writer.segment(segment);
    }
    writer.cut();
    let segment_frames = writer.frames;
    for piece in even_pieces(annotation, FRAME_BYTES_MAX) {
        writer.raw.extend_from_slice(piece);
        writer.frame(None);
    }
    let name = rope.file_name(annotation);
    StoredRope {
        name,
        bytes: writer.finish(name, segment_frames),
    }
}

/// Cuts `bytes` into the fewest pieces of at most `max` bytes, all of nearly the same size.
fn even_pieces(bytes: &[u8], max: usize) -> impl Iterator<Item = &[u8]> {
    let pieces = bytes.len().div_ceil(max).max(1);
    bytes.chunks(bytes.len().div_ceil(pieces).max(1))
}

struct Writer {
    out: Vec<u8>,
    index: Vec<u8>,
    frames: u64,
    columns: Columns,
    raw: Vec<u8>,
    compressed: Vec<u8>,
    compressor: zstd::bulk::Compressor<'static>,
}

impl Writer {
    fn new() -> Self {
        let compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL).and_then(|mut compressor| {
            // The index knows both, and has a checksum of its own.
            compressor.include_contentsize(false)?;
            compressor.include_checksum(false)?;
            Ok(compressor)
        });
        Self {
            out: magic().to_vec(),
            index: Vec::new(),
            frames: 0,
            columns: Columns::default(),
            raw: Vec::with_capacity(FRAME_BYTES_MAX),
            compressed: Vec::with_capacity(zstd::zstd_safe::compress_bound(FRAME_BYTES_MAX)),
            compressor: compressor.expect("zstd knows its level and parameters"),
        }
    }

    fn segment(&mut self, segment: &Segment) {
        match segment {
            Segment::Literal(bytes) => {
                even_pieces(bytes, LITERAL_BYTES_MAX)
                    .for_each(|piece| self.push(|columns| columns.push_literal(piece)));
            }
            Segment::Zeros(length) => {
                self.push(|columns| columns.push_zeros(*length));
                self.cut();
            }
            Segment::Reference(reference) => self.push(|columns| columns.push_reference(reference)),
        }
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
        let written = self
            .compressor
            .compress_to_buffer(&self.raw, &mut self.compressed);
        written.expect("the buffer holds the largest compressed frame");
        let is_smaller = self.compressed.len() < self.raw.len();
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

    fn finish(self, name: FileName, segment_frames: u64) -> Vec<u8> {
        let Self {
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
        out
    }
}
