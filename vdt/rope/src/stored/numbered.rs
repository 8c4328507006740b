//! Literals with numbers in them that continue one another: offsets that ascend, sizes that repeat.
//!
//! Half of a Parquet footer is such numbers, each a few bytes that differ from the last of its kind. To a compressor every one of
//! them ends a match. So whoever writes a literal says where they are, and the stored form keeps them in columns of their own, as
//! differences; the bytes between them are then the same again and again. The literal itself is not changed by that.

use bytes::Bytes;

use super::columns::{OP_KIND, OP_LITERAL, OP_NUMBERS, OP_ZEROS};
use super::decode::numbers;
use crate::varint::{self, Cursor, Syntax};

/// How many sequences a literal's numbers can belong to.
pub(super) const SEQUENCES: usize = 4;
/// Bits of a stored gap that tell the number's sequence.
pub(super) const SEQUENCE_BITS: u32 = 2;

/// Least number that is stored apart: those below take two bytes at most.
const VALUE_MIN: u64 = 1 << 14;

/// A sequence of numbers of one kind: each is stored as the difference to the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they differ in nothing but their number")]
pub enum Sequence {
    First,
    Second,
    Third,
    Fourth,
}

/// A number of a literal: an unsigned varint (LEB128) of as few bytes as it needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number {
    /// Bytes between the number before, or the start, and this one.
    pub(super) gap: u32,
    pub(super) sequence: Sequence,
    pub(super) value: u64,
}

/// A literal under construction. Its methods are called for every few bytes of every footer, so they are inlined.
#[derive(Debug, Clone, Default)]
pub struct Numbered {
    bytes: Vec<u8>,
    numbers: Vec<Number>,
    /// One past the last number.
    end: usize,
}

impl Numbered {
    /// Bytes so far.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends a byte.
    #[inline]
    pub fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// Appends bytes.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends a varint that continues a sequence. A small one stays among the bytes, where it is mostly the same again.
    ///
    /// # Panics
    /// When more than 4 GiB lie between it and the number before.
    #[inline]
    pub fn number(&mut self, sequence: Sequence, value: u64) {
        if value < VALUE_MIN {
            return varint::push(&mut self.bytes, value);
        }
        let gap = u32::try_from(self.bytes.len() - self.end)
            .expect("numbers of a literal lie within 4 GiB of one another");
        self.numbers.push(Number {
            gap,
            sequence,
            value,
        });
        varint::push(&mut self.bytes, value);
        self.end = self.bytes.len();
    }

    /// Appends all of `other`, and leaves it empty.
    ///
    /// # Panics
    /// As [`Numbered::number`].
    pub fn append(&mut self, other: &mut Self) {
        if let Some(first) = other.numbers.first_mut() {
            first.gap = u32::try_from(self.bytes.len() - self.end + first.gap as usize)
                .expect("numbers of a literal lie within 4 GiB of one another");
            self.end = self.bytes.len() + other.end;
        }
        self.bytes.append(&mut other.bytes);
        self.numbers.append(&mut other.numbers);
        other.end = 0;
    }

    pub(super) fn numbers(&self) -> &[Number] {
        &self.numbers
    }
}

impl From<Vec<u8>> for Numbered {
    /// A literal that begins with bytes without numbers.
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            ..Self::default()
        }
    }
}

/// The length of a literal or of zeros, and how many numbers a literal has between its bytes.
pub(super) struct Length {
    pub(super) bytes: u64,
    pub(super) numbers: u64,
}

/// Parses the lengths of a frame: `count` numbers, told by its ops.
pub(super) fn parse_lengths(
    cursor: &mut Cursor<'_>,
    ops: &[u8],
    count: usize,
) -> Result<Vec<Length>, Syntax> {
    // Counts come from ops that are there: a frame has at most 65,536.
    let mut lengths = Vec::with_capacity(count);
    for op in ops {
        let (bytes, has_numbers) = match op & OP_KIND {
            OP_LITERAL => (cursor.varint()?, op & OP_NUMBERS != 0),
            OP_ZEROS => (cursor.varint()?, false),
            _ => continue,
        };
        let numbers = if has_numbers { cursor.varint()? } else { 0 };
        lengths.push(Length { bytes, numbers });
    }
    Ok(lengths)
}

/// A number of a stored literal.
#[derive(Clone, Default)]
pub(super) struct FoundNumber {
    /// Bytes of the literal between the number before, or the start, and this one.
    gap: u64,
    value: u64,
}

/// The numbers of all literals of a frame, each with the bytes before it.
pub(super) fn parse_numbers(
    cursor: &mut Cursor<'_>,
    lengths: &[Length],
) -> Result<Vec<FoundNumber>, Syntax> {
    let at = cursor.position();
    let count = lengths
        .iter()
        .try_fold(0u64, |sum, length| sum.checked_add(length.numbers))
        .and_then(|count| usize::try_from(count).ok())
        .filter(|&count| count <= cursor.remaining())
        .ok_or((at, "more numbers than bytes that follow"))?;
    let tags = numbers(cursor, count)?;
    let mut found = vec![FoundNumber::default(); count];
    for sequence in 0..SEQUENCES as u64 {
        let mut last = 0u64;
        for (tag, number) in tags.iter().zip(&mut found) {
            if tag % SEQUENCES as u64 == sequence {
                last = last.wrapping_add(cursor.signed()? as u64);
                *number = FoundNumber {
                    gap: tag >> SEQUENCE_BITS,
                    value: last,
                };
            }
        }
    }
    Ok(found)
}

/// Returns a literal, of the bytes between its numbers and the numbers; `None` where one lies past its end.
pub(super) fn with_numbers(bytes: &[u8], numbers: &[FoundNumber]) -> Option<Bytes> {
    let varints: usize = numbers.iter().map(|number| varint::len(number.value)).sum();
    let mut literal = Vec::with_capacity(bytes.len() + varints);
    let mut rest = bytes;
    for FoundNumber { gap, value } in numbers {
        let (between, after) = rest.split_at_checked(usize::try_from(*gap).ok()?)?;
        literal.extend_from_slice(between);
        varint::push(&mut literal, *value);
        rest = after;
    }
    literal.extend_from_slice(rest);
    Some(literal.into())
}
