//! A virtual file: from a group of artifacts to its rope, its statistics and the action that adds it to the table.
//!
//! ```text
//! "PAR1"
//! row group 0    chunk of the first column of the schema      one page, or one a row for id and filename
//!                chunks of the other columns, in their order  one page
//!                chunk of data                                a page for every row:
//!                    header, levels, length                       literal
//!                    the artifact                                 reference to the whole object
//! row group 1    ...
//! 524,288 zeros  so that blind tail reads (up to 512 KiB) never touch an artifact
//! column indexes, offset indexes
//! footer, its length, "PAR1"
//! ```
//!
//! A pure function of its input: same schema, layout and group, same bytes, same name. No artifact byte is read, and the
//! size is exact before any is. Where `data` is the first column of the schema its chunk comes first: Spark finds row groups
//! by the first column's place.

use std::ops::Range;
use std::sync::Arc;

use vdt_rope::{Compression, Encoder, FileName, Numbered, Rope};

use crate::artifact::{Artifact, FileGroup};
use crate::attribute::Attribute;
use crate::chunk::ChunkValues;
use crate::fill::{Rows, filename};
use crate::footer::{ChunkMeta, Codec, FileMeta, MAGIC, RowGroupMeta};
use crate::index::{self, OffsetIndex};
use crate::layout::{Layout, ROW_GROUPS_MAX, RowGroupCut};
use crate::page;
use crate::rows;
use crate::schema::{Column, ColumnFrom, ColumnType, Origin, TableSchema};
use crate::stats::{ColumnStatsBuilder, Stats};

/// Zeros before the indexes: more than the largest blind tail read of a client.
pub const PADDING_BYTES: u64 = 512 << 10;

/// Why a group cannot become a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// No rows.
    #[error("a file of source {source_name} has no rows")]
    Empty {
        /// Name of the source.
        source_name: Arc<str>,
    },
    /// Rows out of order, or a key twice.
    #[error("key {key:?} of source {source_name} does not follow the key before it in byte order")]
    Unsorted {
        /// Name of the source.
        source_name: Arc<str>,
        /// The key out of order.
        key: Box<str>,
    },
    /// A key of elsewhere.
    #[error("key {key:?} is not below prefix {prefix:?} of source {source_name} ({source_id})")]
    Foreign {
        /// Name of the source.
        source_name: Arc<str>,
        /// Id of the source.
        source_id: Arc<str>,
        /// Its prefix.
        prefix: String,
        /// The key.
        key: Box<str>,
    },
    /// More row groups than readers can count.
    #[error(
        "a file of source {source_name} would have more than {ROW_GROUPS_MAX} row groups from {rows} rows"
    )]
    TooManyRowGroups {
        /// Name of the source.
        source_name: Arc<str>,
        /// Rows of the group.
        rows: usize,
    },
}

/// A file that exists as a rope only.
#[derive(Clone, Debug)]
pub struct VirtualFile {
    /// Fingerprint of rope and annotation, and the exact size.
    pub name: FileName,
    /// The bytes of the `.rope`, annotation included.
    pub stored: Vec<u8>,
    /// What [`read_rows`](crate::read_rows) needs beside the rope; empty for a `_meta` file.
    pub annotation: Vec<u8>,
    /// Rows.
    pub rows: u64,
    /// Row groups.
    pub row_groups: usize,
    /// Bytes that are references.
    pub artifact_bytes: u64,
    /// Bytes that are literals; the padding not counted.
    pub literal_bytes: u64,
    /// Statistics, exact.
    pub stats: Stats,
    /// Values of path columns that are null because the key did not match or the part was none of the column's type.
    pub unparsed: u64,
}

impl VirtualFile {
    /// Decodes what the file is made of.
    pub fn rope(&self) -> Rope {
        let decoded = vdt_rope::decode(&self.stored);
        decoded.expect("what was just encoded decodes").0
    }

    /// Returns the `add` action of the file, wrapped: `{"add": {...}}` (Delta PROTOCOL "Add File and Remove File").
    pub fn add(&self, modification_time_ms: i64, data_change: bool) -> serde_json::Value {
        serde_json::json!({"add": {
            "path": self.name.parquet_file(),
            "partitionValues": {},
            "size": self.name.size,
            "modificationTime": modification_time_ms,
            "dataChange": data_change,
            "stats": self.stats.to_json(),
        }})
    }
}

/// Lays a group out as a virtual file.
///
/// # Errors
///
/// When the group is empty, unsorted, holds keys of another source, or needs more than 10,000 row groups. Groups made by
/// [`groups`](crate::groups) from a sorted listing of one source give no error.
pub fn lay_out(
    schema: &TableSchema,
    layout: &Layout,
    group: &FileGroup,
) -> Result<VirtualFile, LayoutError> {
    check(group)?;
    let row_groups = row_groups(schema, layout, group);
    if row_groups.len() > ROW_GROUPS_MAX {
        let source_name = Arc::clone(&group.source.name);
        return Err(LayoutError::TooManyRowGroups {
            source_name,
            rows: group.artifacts.len(),
        });
    }
    let mut file = FileWriter::new(schema, layout, group);
    for range in row_groups {
        file.row_group(range);
    }
    Ok(file.finish())
}

/// Checks that rows are in order and of the group's source.
fn check(group: &FileGroup) -> Result<(), LayoutError> {
    let FileGroup { source, artifacts } = group;
    let source_name = || Arc::clone(&source.name);
    if artifacts.is_empty() {
        return Err(LayoutError::Empty {
            source_name: source_name(),
        });
    }
    let mut last: Option<&str> = None;
    for Artifact { object, .. } in artifacts {
        if last.is_some_and(|last| *object.key <= *last) {
            return Err(LayoutError::Unsorted {
                source_name: source_name(),
                key: object.key.clone(),
            });
        }
        last = Some(&object.key);
        let same = Arc::ptr_eq(&object.source, &source.id) || object.source == source.id;
        if !same || !object.key.starts_with(source.prefix.as_str()) {
            return Err(LayoutError::Foreign {
                source_name: source_name(),
                source_id: Arc::clone(&source.id),
                prefix: source.prefix.clone(),
                key: object.key.clone(),
            });
        }
    }
    Ok(())
}

/// Cuts the rows of a group into row groups.
fn row_groups(schema: &TableSchema, layout: &Layout, group: &FileGroup) -> Vec<Range<usize>> {
    let mut fixed_bytes = 0;
    let mut key_columns = 0;
    for column in schema.columns() {
        match &column.from {
            ColumnFrom::Attribute(Attribute::Filename | Attribute::Url) | ColumnFrom::Path(_) => {
                key_columns += 1;
            }
            ColumnFrom::Constant(text) => fixed_bytes += text.len() as u64,
            ColumnFrom::Attribute(_) => fixed_bytes += 16,
        }
    }
    let has_data = schema.columns().iter().any(Column::is_data);
    let mut cut = RowGroupCut::new(layout);
    let mut starts = Vec::new();
    for (row, artifact) in group.artifacts.iter().enumerate() {
        let inlined = if has_data {
            layout.inlined_bytes(artifact).unwrap_or(0)
        } else {
            0
        };
        let literal = fixed_bytes + key_columns * filename(&group.source, artifact).len() as u64;
        if cut.begins(inlined, literal) {
            starts.push(row);
        }
    }
    let ends = starts
        .iter()
        .skip(1)
        .copied()
        .chain([group.artifacts.len()]);
    starts
        .iter()
        .copied()
        .zip(ends)
        .map(|(start, end)| start..end)
        .collect()
}

/// A file under way.
struct FileWriter<'a> {
    schema: &'a TableSchema,
    layout: &'a Layout,
    group: &'a FileGroup,
    /// Columns in the order in which their chunks lie.
    order: Vec<usize>,
    paged_by_row: bool,
    rope: Encoder,
    /// Literal bytes that the rope does not have yet.
    literal: Vec<u8>,
    /// Definition levels of a page, on their way into `literal`.
    levels: Vec<u8>,
    /// Literal bytes, those in `literal` not counted.
    literal_bytes: u64,
    artifact_bytes: u64,
    values: Vec<ChunkValues>,
    stats: Vec<ColumnStatsBuilder>,
    row_groups: Vec<RowGroupMeta>,
    chunks: Vec<ChunkMeta>,
    arena: Vec<u8>,
    column_indexes: Vec<u8>,
    offset_indexes: Numbered,
    unparsed: u64,
}

impl<'a> FileWriter<'a> {
    fn new(schema: &'a TableSchema, layout: &'a Layout, group: &'a FileGroup) -> Self {
        let columns = schema.columns();
        let data = columns.iter().position(Column::is_data).filter(|&i| i > 0);
        let others = (0..columns.len()).filter(|&i| Some(i) != data);
        let inlined: u64 = group
            .artifacts
            .iter()
            .filter_map(|a| layout.inlined_bytes(a))
            .sum();
        let has_data = columns.iter().any(Column::is_data);
        Self {
            schema,
            layout,
            group,
            order: others.chain(data).collect(),
            paged_by_row: has_data
                && inlined / group.artifacts.len() as u64 >= layout.page_index_min_bytes,
            rope: Encoder::new(Compression::Zstd),
            literal: MAGIC.to_vec(),
            levels: Vec::new(),
            literal_bytes: 0,
            artifact_bytes: 0,
            values: columns
                .iter()
                .map(|c| ChunkValues::new(c.column_type))
                .collect(),
            stats: columns
                .iter()
                .map(|c| ColumnStatsBuilder::new(c.column_type))
                .collect(),
            row_groups: Vec::new(),
            chunks: Vec::new(),
            arena: Vec::new(),
            column_indexes: Vec::new(),
            offset_indexes: Numbered::default(),
            unparsed: 0,
        }
    }

    /// Offset in the file of the next byte.
    fn position(&self) -> u64 {
        self.rope.virtual_bytes() + self.literal.len() as u64
    }

    fn flush_literal(&mut self) {
        self.rope.literal(&self.literal);
        self.literal_bytes += self.literal.len() as u64;
        self.literal.clear();
    }

    fn row_group(&mut self, range: Range<usize>) {
        let rows = &self.group.artifacts[range];
        self.row_groups.push(RowGroupMeta { rows: rows.len() });
        let first_chunk = self.chunks.len();
        self.chunks
            .resize(first_chunk + self.order.len(), ChunkMeta::default());
        let view = Rows::new(self.schema, self.layout, &self.group.source, rows);
        for place in 0..self.order.len() {
            let column = self.order[place];
            let origin = &self.schema.origins()[column];
            let meta = if *origin == Origin::Attribute(Attribute::Data) {
                self.data_chunk(column, rows)
            } else {
                self.values[column].clear();
                self.unparsed += view.fill(origin, &mut self.values[column]);
                self.stats[column].add(&self.values[column]);
                self.values_chunk(column)
            };
            self.chunks[first_chunk + column] = meta;
        }
    }

    /// Writes the chunk of the artifacts themselves.
    fn data_chunk(&mut self, column: usize, rows: &[Artifact]) -> ChunkMeta {
        let offset = self.position();
        let index_start = self.offset_indexes.len();
        let mut offset_indexes = std::mem::take(&mut self.offset_indexes);
        let mut index = OffsetIndex::begin(&mut offset_indexes, rows.len());
        let mut at = offset;
        let mut nulls = 0;
        for (row, artifact) in rows.iter().enumerate() {
            let inlined = self.layout.inlined_bytes(artifact);
            nulls += usize::from(inlined.is_none());
            // At most INLINE_MAX_BYTES.
            let size = page::artifact(&mut self.literal, inlined.map(|size| size as u32));
            index.page(at, size, row);
            at += size;
            if let Some(length @ 1..) = inlined {
                self.flush_literal();
                self.rope.reference(&artifact.object, 0, length);
                self.artifact_bytes += length;
            }
        }
        index.end();
        self.offset_indexes = offset_indexes;
        self.stats[column].add_nulls(nulls);
        ChunkMeta {
            offset,
            size: at - offset,
            uncompressed: at - offset,
            nulls,
            bounds: None,
            offset_index: index_start..self.offset_indexes.len(),
            column_index: 0..0,
        }
    }

    /// Writes the chunk of values at hand.
    fn values_chunk(&mut self, column: usize) -> ChunkMeta {
        let offset = self.position();
        let declared = &self.schema.columns()[column];
        let values = &self.values[column];
        let (kind, rows) = (values.column_type(), values.rows());
        let by_row = self.paged_by_row && declared.is_paged_by_row() && rows > 1;
        let index_start = self.offset_indexes.len();
        let mut column_index = 0..0;
        let mut at = offset;
        if by_row {
            let literal = &mut self.literal;
            let mut index = OffsetIndex::begin(&mut self.offset_indexes, rows);
            let mut row = 0;
            index::for_each_value(values, |value| {
                let start = literal.len();
                page::header(literal, 1, value.len() as i32 + 6);
                page::levels(literal, &[true]);
                literal.extend_from_slice(value);
                let size = (literal.len() - start) as u64;
                index.page(at, size, row);
                at += size;
                row += 1;
            });
            index.end();
            let start = self.column_indexes.len();
            index::column_index(&mut self.column_indexes, values, is_ascending(values));
            column_index = start..self.column_indexes.len();
        } else {
            let start = self.literal.len();
            self.levels.clear();
            page::levels(&mut self.levels, values.valid());
            let packed = if kind == ColumnType::Boolean {
                values.values().len().div_ceil(8)
            } else {
                values.values().len()
            };
            page::header(
                &mut self.literal,
                rows as i32,
                (self.levels.len() + packed) as i32,
            );
            self.literal.extend_from_slice(&self.levels);
            page::values(&mut self.literal, kind, values.values());
            let size = (self.literal.len() - start) as u64;
            let mut index = OffsetIndex::begin(&mut self.offset_indexes, 1);
            index.page(at, size, 0);
            index.end();
            at += size;
        }
        let nulls = values.nulls();
        let bounds = if declared.is_bounded_in_footer() {
            values.put_bounds(&mut self.arena)
        } else {
            None
        };
        ChunkMeta {
            offset,
            size: at - offset,
            uncompressed: at - offset,
            nulls,
            bounds,
            offset_index: index_start..self.offset_indexes.len(),
            column_index,
        }
    }

    fn finish(mut self) -> VirtualFile {
        self.flush_literal();
        self.rope.zeros(PADDING_BYTES);
        let column_indexes = self.rope.virtual_bytes();
        let offset_indexes = column_indexes + self.column_indexes.len() as u64;
        let rows = self.group.artifacts.len();
        // The largest literal of a file: built in place, so that it is not copied.
        let mut tail = Numbered::from(self.column_indexes);
        tail.append(&mut self.offset_indexes);
        FileMeta {
            columns: self.schema.columns(),
            codec: Codec::Uncompressed,
            rows,
            row_groups: &self.row_groups,
            chunks: &self.chunks,
            arena: &self.arena,
            column_indexes,
            offset_indexes,
        }
        .write(&mut tail);
        self.literal_bytes += tail.len() as u64;
        self.rope.numbered(&tail);
        let columns = self.stats.into_iter().zip(self.schema.columns());
        let columns = columns
            .map(|(stats, column)| stats.finish(column))
            .collect();
        let has_data = self.schema.columns().iter().any(Column::is_data);
        let annotation = rows::annotate(self.group, |artifact| {
            has_data
                && self
                    .layout
                    .inlined_bytes(artifact)
                    .is_some_and(|size| size > 0)
        });
        let stored = self.rope.finish(&annotation);
        VirtualFile {
            name: stored.name,
            stored: stored.bytes,
            annotation,
            rows: rows as u64,
            row_groups: self.row_groups.len(),
            artifact_bytes: self.artifact_bytes,
            literal_bytes: self.literal_bytes,
            stats: Stats {
                rows: rows as u64,
                columns,
            },
            unparsed: self.unparsed,
        }
    }
}

/// Returns whether the values of a chunk without nulls ascend: file names do, ids mostly.
fn is_ascending(values: &ChunkValues) -> bool {
    match values.column_type() {
        ColumnType::String => true,
        _ => values
            .values()
            .chunks_exact(8)
            .is_sorted_by_key(|v| v.first_chunk::<8>().map(|bytes| i64::from_le_bytes(*bytes))),
    }
}
