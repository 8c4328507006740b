//! Page indexes: where each page lies, and for looked-up columns what it holds.
//!
//! ```text
//! OffsetIndex   19 list of    16 zigzag   offset in the file
//!                             15 zigzag   size of the page with its header
//!                             16 zigzag   first row, in the row group
//!               00
//! ColumnIndex   19 list of    02          no page is all null
//!               19 list of    length, min
//!               19 list of    length, max
//!               15 zigzag     0 unordered, 1 ascending
//!               19 list of    zigzag 0    no nulls
//!               00
//! ```
//!
//! Every chunk has an OffsetIndex: readers drop the indexes of a whole file where one is missing. Only `id` and `filename`
//! have a ColumnIndex, of one row a page, and only where the row group has more than one row: with one it would say what
//! the footer says. `data` has none, as a true one would need the bytes.

use crate::chunk::ChunkValues;
use crate::schema::ColumnType;
use crate::thrift::{self, Fields, Type, varint, zigzag};

/// Writes the offset index of a chunk, page by page.
pub(crate) struct OffsetIndex<'a> {
    out: &'a mut Vec<u8>,
    fields: Fields,
}

impl<'a> OffsetIndex<'a> {
    /// Starts the index of a chunk of `pages` pages.
    pub(crate) fn begin(out: &'a mut Vec<u8>, pages: usize) -> Self {
        let mut fields = Fields::new();
        fields.list(out, 1, Type::Struct, pages);
        Self { out, fields }
    }

    /// Adds a page: offset in the file, bytes with header, first row in the row group.
    pub(crate) fn page(&mut self, offset: u64, size: u64, first_row: usize) {
        let mut page = Fields::new();
        page.i64(self.out, 1, offset as i64);
        page.i32(self.out, 2, size as i32);
        page.i64(self.out, 3, first_row as i64);
        page.stop(self.out);
    }

    pub(crate) fn end(self) {
        self.fields.stop(self.out);
    }
}

/// Calls `each` with the PLAIN bytes of every value of a chunk without nulls.
pub(crate) fn for_each_value<'a>(chunk: &'a ChunkValues, mut each: impl FnMut(&'a [u8])) {
    let mut rest = chunk.values();
    for _ in 0..chunk.rows() {
        let length = match chunk.column_type() {
            ColumnType::Boolean => 1,
            ColumnType::Integer | ColumnType::Date => 4,
            ColumnType::Long | ColumnType::Double | ColumnType::Timestamp => 8,
            ColumnType::String | ColumnType::Binary => 4 + length_prefix(rest),
        };
        let (value, tail) = rest.split_at(length);
        each(value);
        rest = tail;
    }
}

/// Calls `each` with the range of every one of `count` values of bytes, without its length.
pub(crate) fn for_each_value_present(
    values: &[u8],
    count: usize,
    mut each: impl FnMut(std::ops::Range<usize>),
) {
    let mut at = 0;
    for _ in 0..count {
        let end = at + 4 + length_prefix(&values[at..]);
        each(at + 4..end);
        at = end;
    }
}

fn length_prefix(value: &[u8]) -> usize {
    let prefix = value
        .first_chunk::<4>()
        .expect("a value of bytes begins with its length");
    u32::from_le_bytes(*prefix) as usize
}

/// Returns a value as statistics hold it: without the length of bytes.
pub(crate) fn bound(column_type: ColumnType, value: &[u8]) -> &[u8] {
    match column_type {
        ColumnType::String | ColumnType::Binary => &value[4..],
        _ => value,
    }
}

/// Appends the column index of a chunk without nulls that has a page for every row.
pub(crate) fn column_index(out: &mut Vec<u8>, chunk: &ChunkValues, ascending: bool) {
    let rows = chunk.rows();
    let kind = chunk.column_type();
    let mut fields = Fields::new();
    fields.list(out, 1, Type::True, rows);
    out.resize(out.len() + rows, 2);
    for id in [2, 3] {
        fields.list(out, id, Type::Binary, rows);
        for_each_value(chunk, |value| thrift::binary(out, bound(kind, value)));
    }
    fields.i32(out, 4, i32::from(ascending));
    fields.list(out, 5, Type::I64, rows);
    for _ in 0..rows {
        varint(out, zigzag(0));
    }
    fields.stop(out);
}
