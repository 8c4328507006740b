//! A file under way: its literals, references and statistics, row group by row group.

use std::ops::Range;

use crate::artifact::{Artifact, FileGroup};
use crate::attribute::Attribute;
use crate::chunk::ChunkValues;
use crate::fill::Rows;
use crate::footer::{ChunkMeta, Codec, FileMeta, MAGIC, RowGroupMeta};
use crate::index::{self, OffsetIndex};
use crate::layout::Layout;
use crate::page;
use crate::rows;
use crate::schema::{Column, ColumnType, Origin, TableSchema};
use crate::stats::{ColumnStatsBuilder, Stats};
use vdt_rope::{Compression, Encoder};

use super::{PADDING_BYTES, VirtualFile};

/// A file under way.
pub(super) struct FileWriter<'a> {
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
    footer: FileMeta,
    unparsed: u64,
}

impl<'a> FileWriter<'a> {
    pub(super) fn new(schema: &'a TableSchema, layout: &'a Layout, group: &'a FileGroup) -> Self {
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
            footer: FileMeta::default(),
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

    /// Adds a row group.
    pub(super) fn row_group(&mut self, range: Range<usize>) {
        let rows = &self.group.artifacts[range];
        self.footer
            .row_groups
            .push(RowGroupMeta { rows: rows.len() });
        let first_chunk = self.footer.chunks.len();
        self.footer
            .chunks
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
            self.footer.chunks[first_chunk + column] = meta;
        }
    }

    /// Writes the chunk of the artifacts themselves.
    fn data_chunk(&mut self, column: usize, rows: &[Artifact]) -> ChunkMeta {
        let offset = self.position();
        let index_start = self.footer.offset_indexes.len();
        let mut offset_indexes = std::mem::take(&mut self.footer.offset_indexes);
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
        self.footer.offset_indexes = offset_indexes;
        self.stats[column].add_nulls(nulls);
        ChunkMeta {
            offset,
            size: at - offset,
            uncompressed: at - offset,
            nulls,
            bounds: None,
            offset_index: index_start..self.footer.offset_indexes.len(),
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
        let index_start = self.footer.offset_indexes.len();
        let mut column_index = 0..0;
        let mut at = offset;
        if by_row {
            let literal = &mut self.literal;
            let mut index = OffsetIndex::begin(&mut self.footer.offset_indexes, rows);
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
            let start = self.footer.column_indexes.len();
            index::column_index(
                &mut self.footer.column_indexes,
                values,
                is_ascending(values),
            );
            column_index = start..self.footer.column_indexes.len();
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
            let mut index = OffsetIndex::begin(&mut self.footer.offset_indexes, 1);
            index.page(at, size, 0);
            index.end();
            at += size;
        }
        let nulls = values.nulls();
        let bounds = if declared.is_bounded_in_footer() {
            values.put_bounds(&mut self.footer.arena)
        } else {
            None
        };
        ChunkMeta {
            offset,
            size: at - offset,
            uncompressed: at - offset,
            nulls,
            bounds,
            offset_index: index_start..self.footer.offset_indexes.len(),
            column_index,
        }
    }

    /// Ends the file.
    pub(super) fn finish(mut self) -> VirtualFile {
        self.flush_literal();
        self.rope.zeros(PADDING_BYTES);
        let (rows, row_groups) = (self.group.artifacts.len(), self.footer.row_groups.len());
        let offset = self.rope.virtual_bytes();
        let columns = self.schema.columns();
        let tail = self.footer.finish(offset, columns, Codec::Uncompressed);
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
            row_groups,
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
