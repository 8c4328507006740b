//! The footer of a virtual file: `FileMetaData` of `parquet.thrift`, its length, the magic.
//!
//! ```text
//! FileMetaData   version 1, schema, rows, row groups, created_by, column orders
//! RowGroup       column chunks in the order of the schema, total size, rows, total compressed size
//! ColumnChunk    type, encodings PLAIN and RLE, path, uncompressed, values, size twice, offset of the first page,
//!                statistics (null count; min and max where queries look up), offset index, column index
//! then           u32 length of FileMetaData, "PAR1"
//! ```
//!
//! Every number is exact: Spark takes a row group for its own by `offset of the first column's chunk + total compressed
//! size / 2`, and drops the rows of row groups whose middle it never meets. Strings carry the converted type UTF8 beside the
//! logical type, without which DuckDB returns bytes. There is no `ARROW:schema` key.

use std::ops::Range;

use vdt_rope::{Numbered, Sequence};

use crate::schema::{Column, ColumnType};
use crate::thrift::{self, Fields, Type};

/// Sizes of chunks, and the offsets of chunks and their indexes: what differs from row group to row group.
const SIZES: Sequence = Sequence::First;
const CHUNKS: Sequence = Sequence::Second;
const OFFSET_INDEXES: Sequence = Sequence::Third;
const COLUMN_INDEXES: Sequence = Sequence::Fourth;

/// First and last four bytes of a Parquet file.
pub(crate) const MAGIC: &[u8; 4] = b"PAR1";
/// In the form that readers parse; the number is the version of the layout, not of the program: it is part of every file.
pub(crate) const CREATED_BY: &str = "vdt version 1.0.0 (build 1)";

/// What the footer says of a column chunk. Ranges lie in the arena or the index blobs of the file under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChunkMeta {
    /// Offset of the first page in the file.
    pub(crate) offset: u64,
    /// Bytes of all pages with their headers.
    pub(crate) size: u64,
    /// The same before compression.
    pub(crate) uncompressed: u64,
    pub(crate) nulls: usize,
    /// Min and max in the arena, for columns bounded in the footer that have a value.
    pub(crate) bounds: Option<(Range<usize>, Range<usize>)>,
    /// In the blob of offset indexes.
    pub(crate) offset_index: Range<usize>,
    /// In the blob of column indexes; empty where there is none.
    pub(crate) column_index: Range<usize>,
}

/// How pages are compressed: numbers of `CompressionCodec`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Codec {
    Uncompressed = 0,
    Zstd = 6,
}

/// What the footer says of a row group: as many chunks as columns lie in the list of all chunks.
#[derive(Debug, Clone)]
pub(crate) struct RowGroupMeta {
    pub(crate) rows: usize,
}

/// What is known of a file under way: what its footer will tell, and the indexes before that.
#[derive(Debug, Default)]
pub(crate) struct FileMeta {
    pub(crate) row_groups: Vec<RowGroupMeta>,
    /// Row group by row group, in the order of the schema.
    pub(crate) chunks: Vec<ChunkMeta>,
    /// Bytes of the bounds.
    pub(crate) arena: Vec<u8>,
    pub(crate) column_indexes: Vec<u8>,
    pub(crate) offset_indexes: Numbered,
}

impl FileMeta {
    /// Returns what a file ends with, at `offset` of it: column indexes, offset indexes, footer.
    pub(crate) fn finish(mut self, offset: u64, columns: &[Column], codec: Codec) -> Numbered {
        let offset_indexes = offset + self.column_indexes.len() as u64;
        // The largest literal of a file: built in place, so that it is not copied.
        let mut tail = Numbered::from(self.column_indexes);
        tail.append(&mut self.offset_indexes);
        let footer = Footer {
            columns,
            codec,
            row_groups: &self.row_groups,
            chunks: &self.chunks,
            arena: &self.arena,
            column_indexes: offset,
            offset_indexes,
        };
        footer.write(&mut tail);
        tail
    }
}

/// Everything that the footer tells.
struct Footer<'a> {
    columns: &'a [Column],
    codec: Codec,
    row_groups: &'a [RowGroupMeta],
    chunks: &'a [ChunkMeta],
    arena: &'a [u8],
    /// Offset in the file of the blob of column indexes; that of offset indexes.
    column_indexes: u64,
    offset_indexes: u64,
}

impl Footer<'_> {
    /// Appends the footer.
    fn write(&self, out: &mut Numbered) {
        let start = out.len();
        let mut file = Fields::new();
        file.i32(out, 1, 1);
        file.list(out, 2, Type::Struct, self.columns.len() + 1);
        root(out, self.columns.len());
        self.columns
            .iter()
            .for_each(|column| schema_element(out, column));
        let rows: usize = self.row_groups.iter().map(|meta| meta.rows).sum();
        file.i64(out, 3, rows as i64);
        file.list(out, 4, Type::Struct, self.row_groups.len());
        let prefixes: Vec<Vec<u8>> = self
            .columns
            .iter()
            .map(|column| chunk_prefix(column, self.codec))
            .collect();
        let chunks = self.chunks.chunks_exact(self.columns.len());
        for (row_group, chunks) in self.row_groups.iter().zip(chunks) {
            self.row_group(out, row_group, chunks, &prefixes);
        }
        file.binary(out, 6, CREATED_BY.as_bytes());
        file.list(out, 7, Type::Struct, self.columns.len());
        for _ in self.columns {
            // The union ColumnOrder, its member 1 the empty struct TypeDefinedOrder.
            let mut order = Fields::new();
            order.header(out, 1, Type::Struct);
            Fields::new().stop(out);
            order.stop(out);
        }
        file.stop(out);
        // 10,000 row groups of 512 columns stay far below 4 GiB.
        let length = (out.len() - start) as u32;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(MAGIC);
    }

    fn row_group(
        &self,
        out: &mut Numbered,
        meta: &RowGroupMeta,
        chunks: &[ChunkMeta],
        prefixes: &[Vec<u8>],
    ) {
        let size: u64 = chunks.iter().map(|c| c.size).sum();
        let uncompressed: u64 = chunks.iter().map(|c| c.uncompressed).sum();
        let mut row_group = Fields::new();
        row_group.list(out, 1, Type::Struct, chunks.len());
        for (chunk, prefix) in chunks.iter().zip(prefixes) {
            out.extend_from_slice(prefix);
            self.chunk(out, meta, chunk);
        }
        row_group.number(out, 2, SIZES, uncompressed);
        row_group.i64(out, 3, meta.rows as i64);
        row_group.number(out, 6, SIZES, size);
        row_group.stop(out);
    }

    /// Appends what follows a [`chunk_prefix`].
    fn chunk(&self, out: &mut Numbered, row_group: &RowGroupMeta, meta: &ChunkMeta) {
        let mut fields = Fields::after(4);
        fields.i64(out, 5, row_group.rows as i64);
        fields.number(out, 6, SIZES, meta.uncompressed);
        fields.number(out, 7, SIZES, meta.size);
        fields.number(out, 9, CHUNKS, meta.offset);
        fields.header(out, 12, Type::Struct);
        let mut statistics = Fields::new();
        statistics.i64(out, 3, meta.nulls as i64);
        if let Some((min, max)) = &meta.bounds {
            statistics.binary(out, 5, &self.arena[max.clone()]);
            statistics.binary(out, 6, &self.arena[min.clone()]);
            statistics.bool(out, 7, true);
            statistics.bool(out, 8, true);
        }
        statistics.stop(out);
        fields.stop(out);

        let mut chunk = Fields::after(3);
        let offset_index = self.offset_indexes + meta.offset_index.start as u64;
        chunk.number(out, 4, OFFSET_INDEXES, offset_index);
        chunk.i32(out, 5, meta.offset_index.len() as i32);
        if !meta.column_index.is_empty() {
            let column_index = self.column_indexes + meta.column_index.start as u64;
            chunk.number(out, 6, COLUMN_INDEXES, column_index);
            chunk.i32(out, 7, meta.column_index.len() as i32);
        }
        chunk.stop(out);
    }
}

/// The root of the schema.
fn root(out: &mut Numbered, columns: usize) {
    let mut element = Fields::new();
    element.binary(out, 4, b"schema");
    element.i32(out, 5, columns as i32);
    element.stop(out);
}

fn schema_element(out: &mut Numbered, column: &Column) {
    let mut element = Fields::new();
    element.i32(out, 1, physical_type(column.column_type));
    element.i32(out, 3, 1);
    element.binary(out, 4, column.name.as_bytes());
    let (converted, logical) = match column.column_type {
        ColumnType::String => (0, 1),
        ColumnType::Date => (6, 6),
        ColumnType::Timestamp => (10, 8),
        ColumnType::Long
        | ColumnType::Integer
        | ColumnType::Double
        | ColumnType::Boolean
        | ColumnType::Binary => return element.stop(out),
    };
    element.i32(out, 6, converted);
    element.header(out, 10, Type::Struct);
    let mut union = Fields::new();
    union.header(out, logical, Type::Struct);
    let mut member = Fields::new();
    if column.column_type == ColumnType::Timestamp {
        // Adjusted to UTC; the unit is a union again, whose member 2 is the empty struct MICROS.
        member.bool(out, 1, true);
        member.header(out, 2, Type::Struct);
        let mut unit = Fields::new();
        unit.header(out, 2, Type::Struct);
        Fields::new().stop(out);
        unit.stop(out);
    }
    member.stop(out);
    union.stop(out);
    element.stop(out);
}

/// The number of a physical type in `parquet.thrift`.
fn physical_type(column_type: ColumnType) -> i32 {
    match column_type {
        ColumnType::Boolean => 0,
        ColumnType::Integer | ColumnType::Date => 1,
        ColumnType::Long | ColumnType::Timestamp => 2,
        ColumnType::Double => 5,
        ColumnType::String | ColumnType::Binary => 6,
    }
}

/// What is the same for all chunks of a column: the fields of `ColumnChunk` up to 3, those of `ColumnMetaData` up to 4.
fn chunk_prefix(column: &Column, codec: Codec) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    let mut chunk = Fields::new();
    chunk.i64(&mut out, 2, 0);
    chunk.header(&mut out, 3, Type::Struct);
    let mut meta = Fields::new();
    meta.i32(&mut out, 1, physical_type(column.column_type));
    meta.list(&mut out, 2, Type::I32, 2);
    // PLAIN 0 and RLE 3, zigzag.
    out.extend_from_slice(&[0, 6]);
    meta.list(&mut out, 3, Type::Binary, 1);
    thrift::binary(&mut out, column.name.as_bytes());
    meta.i32(&mut out, 4, codec as i32);
    out
}
