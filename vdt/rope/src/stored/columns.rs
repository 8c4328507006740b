//! A frame of segments under construction: its columns, and how many bytes they take.
//!
//! The layout is drawn in the documentation of [`crate::stored`].

use std::sync::Arc;

use super::FRAME_BYTES_MAX;
use super::numbered::{Number, SEQUENCE_BITS, SEQUENCES};
use crate::segment::SourceObject;
use crate::varint::{self, VARINT_BYTES_MAX};

/// Kinds of an op, in its lowest two bits.
pub(super) const OP_LITERAL: u8 = 0;
pub(super) const OP_ZEROS: u8 = 1;
pub(super) const OP_OBJECT: u8 = 2;
pub(super) const OP_SAME_OBJECT: u8 = 3;
pub(super) const OP_KIND: u8 = 3;
/// Flag of a literal's op.
pub(super) const OP_NUMBERS: u8 = 4;
/// Flags of a reference's op.
pub(super) const OP_PART: u8 = 4;
pub(super) const OP_ETAG: u8 = 8;
pub(super) const OP_VERSION: u8 = 16;

/// Units of the times in a frame.
pub(super) const UNIT_MILLISECOND: u8 = 0;
pub(super) const UNIT_SECOND: u8 = 1;

/// Three counts and the unit of times.
const FRAME_HEADER_BYTES_MAX: usize = 3 * 3 + 1;

/// Op and length of a literal.
const LITERAL_HEADER_BYTES_MAX: usize = 1 + 3;

/// Op, length and count of a literal with numbers.
const NUMBERED_HEADER_BYTES_MAX: usize = 1 + 3 + 3;

/// Most bytes of one literal in a frame.
pub(super) const LITERAL_BYTES_MAX: usize =
    FRAME_BYTES_MAX - FRAME_HEADER_BYTES_MAX - LITERAL_HEADER_BYTES_MAX;

/// The columns of one frame. Buffers are reused from frame to frame.
#[derive(Default)]
pub(super) struct Columns {
    ops: Vec<u8>,
    lengths: Vec<u8>,
    gaps: Vec<u8>,
    numbers: [Vec<u8>; SEQUENCES],
    last_numbers: [u64; SEQUENCES],
    sources: Vec<Arc<str>>,
    object_sources: Vec<u64>,
    sizes: Vec<u8>,
    times: Vec<i64>,
    parts: Vec<u8>,
    keys: Vec<u8>,
    etags: Vec<u8>,
    versions: Vec<u8>,
    literals: Vec<u8>,
    last_object: Option<Arc<SourceObject>>,
    /// An upper bound of the frame's bytes.
    bytes_max: usize,
    /// Bytes of the virtual file.
    virtual_bytes: u64,
}

impl Columns {
    pub(super) fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    pub(super) fn virtual_bytes(&self) -> u64 {
        self.virtual_bytes
    }

    /// Whether the frame has room for `bytes` more.
    fn admits(&self, bytes: usize) -> bool {
        FRAME_HEADER_BYTES_MAX + self.bytes_max + bytes <= FRAME_BYTES_MAX
    }

    /// Adds a literal of at most [`LITERAL_BYTES_MAX`] bytes; false where the frame is too full for it.
    pub(super) fn push_literal(&mut self, bytes: &[u8]) -> bool {
        let cost = LITERAL_HEADER_BYTES_MAX + bytes.len();
        if !self.admits(cost) {
            return false;
        }
        self.ops.push(OP_LITERAL);
        varint::push(&mut self.lengths, bytes.len() as u64);
        self.literals.extend_from_slice(bytes);
        self.count(cost, bytes.len() as u64);
        true
    }

    /// Adds the part of a literal that there is room for: up to one of its `numbers`, or all of it. `skipped` of the bytes before the
    /// first number are no longer in `bytes`. Returns how many bytes and numbers were added.
    pub(super) fn push_numbered(
        &mut self,
        bytes: &[u8],
        numbers: &[Number],
        skipped: usize,
    ) -> (usize, usize) {
        let (mut at, mut added, mut cost) = (0, 0, NUMBERED_HEADER_BYTES_MAX);
        let literals_before = self.literals.len();
        for number in numbers {
            let gap = number.gap as usize - if added == 0 { skipped } else { 0 };
            let sequence = number.sequence as usize;
            let tag = (gap as u64) << SEQUENCE_BITS | sequence as u64;
            let difference = number.value.wrapping_sub(self.last_numbers[sequence]);
            let difference = varint::zigzag(difference as i64);
            let with = cost + gap + varint::len(tag) + varint::len(difference);
            if !self.admits(with) {
                break;
            }
            self.literals.extend_from_slice(&bytes[at..at + gap]);
            varint::push(&mut self.gaps, tag);
            varint::push(&mut self.numbers[sequence], difference);
            self.last_numbers[sequence] = number.value;
            at += gap + varint::len(number.value);
            (added, cost) = (added + 1, with);
        }
        if added == 0 {
            return (0, 0);
        }
        let rest = &bytes[at..];
        if added == numbers.len() && self.admits(cost + rest.len()) {
            self.literals.extend_from_slice(rest);
            (at, cost) = (bytes.len(), cost + rest.len());
        }
        self.ops.push(OP_LITERAL | OP_NUMBERS);
        let between = self.literals.len() - literals_before;
        varint::push(&mut self.lengths, between as u64);
        varint::push(&mut self.lengths, added as u64);
        self.count(cost, at as u64);
        (at, added)
    }

    /// Adds a run of zeros; false where the frame is too full.
    pub(super) fn push_zeros(&mut self, length: u64) -> bool {
        let cost = 1 + VARINT_BYTES_MAX;
        if !self.admits(cost) {
            return false;
        }
        self.ops.push(OP_ZEROS);
        varint::push(&mut self.lengths, length);
        self.count(cost, length);
        true
    }

    /// Adds a reference; false where the frame is too full.
    pub(super) fn push_reference(
        &mut self,
        object: &Arc<SourceObject>,
        offset: u64,
        length: u64,
    ) -> bool {
        let is_part = offset != 0 || length != object.size;
        let part_cost = if is_part {
            varint::len(offset) + varint::len(length)
        } else {
            0
        };
        let part_flag = if is_part { OP_PART } else { 0 };
        // Neighbours of different sizes are told apart without a look at their keys.
        let is_same = self.last_object.as_ref().is_some_and(|last| {
            Arc::ptr_eq(last, object) || (last.size == object.size && last == object)
        });
        let cost = 1 + part_cost + if is_same { 0 } else { self.object_cost(object) };
        if !self.admits(cost) {
            return false;
        }
        if is_same {
            self.ops.push(OP_SAME_OBJECT | part_flag);
        } else {
            self.push_object(object, part_flag);
        }
        if is_part {
            varint::push(&mut self.parts, offset);
            varint::push(&mut self.parts, length);
        }
        self.count(cost, length);
        true
    }

    /// An upper bound of an object's bytes. Its source is counted as if it were new.
    fn object_cost(&self, object: &SourceObject) -> usize {
        let optional = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| 4 + text.len());
        let is_known = self
            .sources
            .last()
            .is_some_and(|source| is_same_text(source, &object.source));
        let source = if is_known {
            3
        } else {
            3 + 3 + object.source.len()
        };
        let numbers = varint::len(object.size) + VARINT_BYTES_MAX;
        source + numbers + 4 + object.key.len() + optional(&object.etag) + optional(&object.version)
    }

    fn push_object(&mut self, object: &Arc<SourceObject>, part_flag: u8) {
        let mut op = OP_OBJECT | part_flag;
        // The newest source first: a file rarely has several.
        let known = self
            .sources
            .iter()
            .rposition(|source| is_same_text(source, &object.source));
        let source = known.unwrap_or_else(|| {
            self.sources.push(Arc::clone(&object.source));
            self.sources.len() - 1
        });
        self.object_sources.push(source as u64);
        varint::push(&mut self.sizes, object.size);
        self.times.push(object.last_modified_ms);
        push_text(&mut self.keys, &object.key);
        if let Some(etag) = &object.etag {
            op |= OP_ETAG;
            push_text(&mut self.etags, etag);
        }
        if let Some(version) = &object.version {
            op |= OP_VERSION;
            push_text(&mut self.versions, version);
        }
        self.ops.push(op);
        self.last_object = Some(Arc::clone(object));
    }

    fn count(&mut self, cost: usize, virtual_bytes: u64) {
        self.bytes_max += cost;
        self.virtual_bytes += virtual_bytes;
    }

    /// Writes the raw frame to the empty `raw` and forgets it.
    pub(super) fn drain_to(&mut self, raw: &mut Vec<u8>) {
        varint::push(raw, self.ops.len() as u64);
        varint::push(raw, self.sources.len() as u64);
        varint::push(raw, self.times.len() as u64);
        raw.extend_from_slice(&self.ops);
        raw.extend_from_slice(&self.lengths);
        raw.extend_from_slice(&self.gaps);
        for numbers in &self.numbers {
            raw.extend_from_slice(numbers);
        }
        for source in &self.sources {
            varint::push(raw, source.len() as u64);
            raw.extend_from_slice(source.as_bytes());
        }
        if self.sources.len() > 1 {
            self.object_sources
                .iter()
                .for_each(|&source| varint::push(raw, source));
        }
        raw.extend_from_slice(&self.sizes);
        push_times(raw, &self.times);
        for column in [
            &self.parts,
            &self.keys,
            &self.etags,
            &self.versions,
            &self.literals,
        ] {
            raw.extend_from_slice(column);
        }
        debug_assert!(raw.len() <= FRAME_BYTES_MAX);
        self.clear();
    }

    fn clear(&mut self) {
        self.sources.clear();
        self.object_sources.clear();
        self.times.clear();
        for column in [
            &mut self.ops,
            &mut self.lengths,
            &mut self.gaps,
            &mut self.sizes,
            &mut self.parts,
            &mut self.keys,
            &mut self.etags,
            &mut self.versions,
            &mut self.literals,
        ] {
            column.clear();
        }
        self.numbers.iter_mut().for_each(Vec::clear);
        self.last_numbers = [0; SEQUENCES];
        self.last_object = None;
        self.bytes_max = 0;
        self.virtual_bytes = 0;
    }
}

fn is_same_text(a: &Arc<str>, b: &Arc<str>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

fn push_text(column: &mut Vec<u8>, text: &str) {
    // The builder admits at most 32 KiB of text an object.
    column.extend_from_slice(&(text.len() as u32).to_le_bytes());
    column.extend_from_slice(text.as_bytes());
}

/// Differences in the largest unit that all times are multiples of. They wrap, so that any two times have one.
fn push_times(raw: &mut Vec<u8>, times: &[i64]) {
    let is_in_seconds = times.iter().all(|time| time % 1_000 == 0);
    let (unit, scale) = if is_in_seconds {
        (UNIT_SECOND, 1_000)
    } else {
        (UNIT_MILLISECOND, 1)
    };
    raw.push(unit);
    let mut last = 0i64;
    for time in times {
        let time = time / scale;
        varint::push(raw, varint::zigzag(time.wrapping_sub(last)));
        last = time;
    }
}
