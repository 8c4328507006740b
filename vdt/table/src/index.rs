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
//! have a ColumnIndex. In a table it is of one row a page, and only where the row group has more than one row: with one it
//! would say what the footer says. `data` has none, as a true one would need the bytes.

use vdt_rope::{Numbered, Sequence};

use crate::chunk::ChunkValues;
use crate::schema::ColumnType;
use crate::thrift::{self, Fields, Type, varint, zigzag};

/// Sizes of pages, and their offsets.
const SIZES: Sequence = Sequence::First;
const PAGES: Sequence = Sequence::Second;

/// Writes the offset index of a chunk, page by page.
pub(crate) struct OffsetIndex<'a> {
    out: &'a mut Numbered,
    fields: Fields,
}

impl<'a> OffsetIndex<'a> {
    /// Starts the index of a chunk of `pages` pages.
    pub(crate) fn begin(out: &'a mut Numbered, pages: usize) -> Self {
        let mut fields = Fields::new();
        fields.list(out, 1, Type::Struct, pages);
        Self { out, fields }
    }

    /// Adds a page: offset in the file, bytes with header, first row in the row group.
    pub(crate) fn page(&mut self, offset: u64, size: u64, first_row: usize) {
        // Written for every page of every row: without `Fields`, which look at each byte's place.
        self.out.push(0x16);
        self.out.number(PAGES, zigzag(offset as i64));
        self.out.push(0x15);
        self.out.number(SIZES, zigzag(size as i64));
        self.out.push(0x16);
        varint(self.out, zigzag(first_row as i64));
        self.out.push(0);
    }

    pub(crate) fn end(self) {
        self.fields.stop(self.out);
    }
}

/// Calls `each` with the PLAIN bytes of every value of a chunk without nulls.
pub(crate) fn for_each_value<'a>(chunk: &'a ChunkValues, mut each: impl FnMut(&'a [u8])) {
    let (mut rest, width) = (chunk.values(), chunk.column_type().value_bytes());
    for _ in 0..chunk.rows() {
        let length = width.unwrap_or_else(|| length_prefixed(rest));
        let (value, tail) = rest.split_at(length);
        each(value);
        rest = tail;
    }
}

/// Bytes of the first of the PLAIN values `rest`, which are of a type whose values tell their length.
pub(crate) fn length_prefixed(rest: &[u8]) -> usize {
    let prefix = rest
        .first_chunk::<4>()
        .expect("a value of bytes begins with its length");
    4 + u32::from_le_bytes(*prefix) as usize
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
    let kind = chunk.column_type();
    write_column_index(out, chunk.rows(), ascending, |out| {
        for_each_value(chunk, |value| thrift::binary(out, bound(kind, value)));
    });
}

/// Appends the column index of a chunk without nulls, of the least and the greatest value of each page.
pub(crate) fn column_index_of_pages(out: &mut Vec<u8>, pages: &[[&[u8]; 2]], ascending: bool) {
    let mut side = 0;
    write_column_index(out, pages.len(), ascending, |out| {
        pages
            .iter()
            .for_each(|page| thrift::binary(out, page[side]));
        side = 1;
    });
}

/// Calls `bounds` for the least values and then for the greatest.
fn write_column_index(
    out: &mut Vec<u8>,
    pages: usize,
    ascending: bool,
    mut bounds: impl FnMut(&mut Vec<u8>),
) {
    let mut fields = Fields::new();
    fields.list(out, 1, Type::True, pages);
    out.resize(out.len() + pages, 2);
    for id in [2, 3] {
        fields.list(out, id, Type::Binary, pages);
        bounds(out);
    }
    fields.i32(out, 4, i32::from(ascending));
    fields.list(out, 5, Type::I64, pages);
    for _ in 0..pages {
        varint(out, zigzag(0));
    }
    fields.stop(out);
}
