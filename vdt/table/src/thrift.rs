//! The part of the Thrift compact protocol that Parquet metadata needs, written straight into a byte vector.
//!
//! A virtual file has one footer entry for every column of every row group, so this is the hot path of a layout; the
//! `parquet` crate keeps its own writer private and wants a tree of objects first. The tests hold the bytes against that
//! crate's reader and writer.
//!
//! ```text
//! field    = (id - previous id) << 4 | type     one byte, as ids never jump by more than 15 here
//! integer  = zigzag varint                      types i16, i32, i64
//! binary   = varint length, bytes
//! list     = count << 4 | type, elements        count >= 15: 0xf0 | type, varint count, elements
//! struct   = fields, 0x00
//! ```
//!
//! See "Thrift compact protocol encoding" of Apache Thrift and `parquet.thrift`.

use vdt_rope::varint::encode;
pub(crate) use vdt_rope::varint::zigzag;
use vdt_rope::{Numbered, Sequence};

/// Types of the compact protocol.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Type {
    /// Also the element type of a list of booleans: what most writers write, and the only one that old readers know.
    True = 1,
    I32 = 5,
    I64 = 6,
    Binary = 8,
    List = 9,
    Struct = 12,
}

/// What metadata is written to: bytes, or a literal that tells some of its numbers apart.
pub(crate) trait Out {
    fn push(&mut self, byte: u8);
    fn extend_from_slice(&mut self, bytes: &[u8]);
}

impl Out for Vec<u8> {
    fn push(&mut self, byte: u8) {
        Vec::push(self, byte);
    }

    fn extend_from_slice(&mut self, bytes: &[u8]) {
        Vec::extend_from_slice(self, bytes);
    }
}

impl Out for Numbered {
    fn push(&mut self, byte: u8) {
        Numbered::push(self, byte);
    }

    fn extend_from_slice(&mut self, bytes: &[u8]) {
        Numbered::extend_from_slice(self, bytes);
    }
}

/// Appends an unsigned LEB128 integer.
pub(crate) fn varint(out: &mut impl Out, value: u64) {
    encode(value, |byte| out.push(byte));
}

/// Writes an unsigned LEB128 integer at a place of a buffer that has room for it, and moves the place on.
pub(crate) fn put_varint(bytes: &mut [u8], at: &mut usize, value: u64) {
    encode(value, |byte| {
        bytes[*at] = byte;
        *at += 1;
    });
}

/// Writes the fields of one struct, in order of their ids.
pub(crate) struct Fields {
    last: u8,
}

impl Fields {
    /// Starts a struct whose first field has any id up to 15.
    pub(crate) fn new() -> Self {
        Self { last: 0 }
    }

    /// Continues a struct whose fields up to `last` are written already.
    pub(crate) fn after(last: u8) -> Self {
        Self { last }
    }

    /// Writes a field header; the value follows.
    pub(crate) fn header(&mut self, out: &mut impl Out, id: u8, kind: Type) {
        debug_assert!(
            id > self.last && id - self.last <= 15,
            "field ids ascend by at most 15"
        );
        out.push((id - self.last) << 4 | kind as u8);
        self.last = id;
    }

    pub(crate) fn i32(&mut self, out: &mut impl Out, id: u8, value: i32) {
        self.header(out, id, Type::I32);
        varint(out, zigzag(i64::from(value)));
    }

    pub(crate) fn i64(&mut self, out: &mut impl Out, id: u8, value: i64) {
        self.header(out, id, Type::I64);
        varint(out, zigzag(value));
    }

    /// Writes a 64-bit integer that continues a sequence.
    pub(crate) fn number(&mut self, out: &mut Numbered, id: u8, sequence: Sequence, value: u64) {
        self.header(out, id, Type::I64);
        out.number(sequence, zigzag(value as i64));
    }

    pub(crate) fn bool(&mut self, out: &mut impl Out, id: u8, value: bool) {
        debug_assert!(
            id > self.last && id - self.last <= 15,
            "field ids ascend by at most 15"
        );
        // The type says the value: 1 is true, 2 is false.
        out.push((id - self.last) << 4 | if value { 1 } else { 2 });
        self.last = id;
    }

    pub(crate) fn binary(&mut self, out: &mut impl Out, id: u8, value: &[u8]) {
        self.header(out, id, Type::Binary);
        binary(out, value);
    }

    pub(crate) fn list(&mut self, out: &mut impl Out, id: u8, element: Type, count: usize) {
        self.header(out, id, Type::List);
        list(out, element, count);
    }

    /// Ends the struct.
    pub(crate) fn stop(self, out: &mut impl Out) {
        out.push(0);
    }
}

/// Appends a length-prefixed byte string.
pub(crate) fn binary(out: &mut impl Out, value: &[u8]) {
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Appends the header of a list; `count` elements follow.
pub(crate) fn list(out: &mut impl Out, element: Type, count: usize) {
    if count < 15 {
        out.push((count as u8) << 4 | element as u8);
    } else {
        out.push(0xf0 | element as u8);
        varint(out, count as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_and_zigzag_follow_the_specification() {
        for (value, bytes) in [
            (0, vec![0x00]),
            (-1, vec![0x01]),
            (1, vec![0x02]),
            (63, vec![0x7e]),
            (64, vec![0x80, 0x01]),
            (
                i64::MAX,
                vec![0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            ),
            (i64::MIN, vec![0xff; 9].into_iter().chain([0x01]).collect()),
        ] {
            let mut out = Vec::new();
            varint(&mut out, zigzag(value));
            assert_eq!(out, bytes, "{value}");
        }
    }

    #[test]
    fn fields_carry_the_difference_of_their_ids() {
        let (mut out, mut fields) = (Vec::new(), Fields::new());
        fields.i32(&mut out, 1, 3);
        fields.bool(&mut out, 4, false);
        fields.list(&mut out, 5, Type::I64, 15);
        fields.binary(&mut out, 6, b"ab");
        fields.stop(&mut out);
        assert_eq!(out, [0x15, 6, 0x32, 0x19, 0xf6, 15, 0x18, 2, b'a', b'b', 0]);
    }
}
