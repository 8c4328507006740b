//! The table beside the table: the same rows without the artifacts themselves, in ordinary Parquet files for scans and
//! counts.
//!
//! Its files are all literal, in row groups of 65,536 rows:
//!
//! ```text
//! "PAR1"
//! row group 0    chunk of every column, in the order of the schema     pages of up to 16,384 rows and some 1 MiB, zstd
//! row group 1    ...
//! column indexes (id, filename), offset indexes (all), footer, its length, "PAR1"
//! ```
//!
//! Its rope is annotated with the source and the first key (`vdtM`, source, NUL, key), so that two files which look alike, of columns that
//! tell no row from another, are two files.
//!
//! There are no dictionaries: zstd finds what repeats, and an all-null column would make an empty dictionary page, which
//! some readers refuse.
//!
//! **Where files end is a function of the keys alone.** A row starts a file where the hash of its key says so, once in
//! 65,536 rows on average, or where the source changes; a run that would grow past 524,288 rows is cut there. So an artifact
//! that comes or goes changes the file it falls into and no other (it splits that file or joins two where its own hash
//! starts one). The files are a pure function of the table's rows: they can be made again from them at any time, and a file
//! that did not change has its old name.
//!
//! Streams: at most the values of one row group and one compressed file are held.

mod pages;

use std::sync::Arc;

use vdt_rope::{Compression, Encoder};

use crate::artifact::{Artifact, SourceContext};
use crate::chunk::ChunkValues;
use crate::file::{LayoutError, VirtualFile};
use crate::fill::Rows;
use crate::footer::{ChunkMeta, Codec, FileMeta, MAGIC, RowGroupMeta};
use crate::index::{self, OffsetIndex};
use crate::layout::Layout;
use crate::schema::{ColumnType, TableSchema};
use crate::stats::{ColumnStatsBuilder, Stats};

use self::pages::{PageCompressor, bounds, is_ascending, pages};

/// Rows of a file on average. A power of two.
const ROWS_PER_FILE: u64 = 1 << 16;
/// Most rows of a file: a run without a boundary this long happens once in 3,000 files.
const ROWS_PER_FILE_MAX: usize = 8 << 16;
/// Rows of a row group.
const ROWS_PER_ROW_GROUP: usize = 1 << 16;
/// Bytes of values after which a row group ends, too: they are held until then.
const ROW_GROUP_BYTES: usize = 64 << 20;
/// Rows that are looked at together: their artifacts are read from memory once, not for every column again. Divides a row group.
const ROWS_PER_BLOCK: usize = 1 << 11;
/// What the annotation of a rope of this table begins with.
const ANNOTATION_MAGIC: &[u8; 4] = b"vdtM";

/// Lays out the rows of a whole table without its `data` column.
///
/// `schema` is that of the table, with or without `data`. Rows come with the sources in order of their names and the keys in
/// byte order. No rows, no file.
///
/// # Errors
///
/// An item is an error where keys are not in order; nothing follows it.
pub fn meta_files<I>(
    schema: &TableSchema,
    layout: &Layout,
    rows: I,
) -> impl Iterator<Item = Result<VirtualFile, LayoutError>> + use<I>
where
    I: IntoIterator<Item = (Arc<SourceContext>, Artifact)>,
{
    let schema = schema.without_data();
    MetaFiles {
        // Wide rows, which constants make, are fewer at a time.
        rows_per_block: (ROW_GROUP_BYTES / schema.constant_bytes().max(1)).clamp(1, ROWS_PER_BLOCK),
        schema,
        layout: layout.clone(),
        compressor: PageCompressor::new(),
        rows: rows.into_iter().fuse(),
        first_of_next: None,
        failed: false,
    }
}

/// Returns whether a key starts a file, wherever it stands in the table.
fn starts_file(key: &str) -> bool {
    hash(key.as_bytes()).is_multiple_of(ROWS_PER_FILE)
}

/// A hash that never changes: eight bytes at a time, multiplied and folded, then mixed once more.
fn hash(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let fold = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(FACTOR);
        (product as u64) ^ ((product >> 64) as u64)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let mut state = words
        .iter()
        .fold(bytes.len() as u64 ^ FACTOR, |state, word| {
            fold(state.rotate_left(5), u64::from_le_bytes(*word))
        });
    for byte in rest {
        state = fold(state.rotate_left(5), u64::from(*byte));
    }
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state ^ (state >> 32)
}

struct MetaFiles<I> {
    rows_per_block: usize,
    schema: TableSchema,
    layout: Layout,
    compressor: PageCompressor,
    rows: I,
    first_of_next: Option<(Arc<SourceContext>, Artifact)>,
    failed: bool,
}

impl<I: Iterator<Item = (Arc<SourceContext>, Artifact)>> Iterator for MetaFiles<I> {
    type Item = Result<VirtualFile, LayoutError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let (source, first) = self.first_of_next.take().or_else(|| self.rows.next())?;
        let file = self.file(source, first);
        self.failed = file.is_err();
        Some(file)
    }
}

impl<I: Iterator<Item = (Arc<SourceContext>, Artifact)>> MetaFiles<I> {
    /// Makes the file that starts with `first`.
    fn file(
        &mut self,
        source: Arc<SourceContext>,
        first: Artifact,
    ) -> Result<VirtualFile, LayoutError> {
        let annotation = annotation(&source.name, &first.object.key);
        let mut file = MetaFile::new(&self.schema, &self.layout, &source, &mut self.compressor);
        let mut block = vec![first];
        for (next_source, next) in self.rows.by_ref() {
            let same_source = Arc::ptr_eq(&next_source, &source) || next_source == source;
            let last = block.last().map(|a: &Artifact| &a.object.key);
            if same_source && last.is_some_and(|last| next.object.key <= *last) {
                let (source_name, key) = (Arc::clone(&source.name), next.object.key.clone());
                return Err(LayoutError::Unsorted { source_name, key });
            }
            if !same_source
                || file.rows + block.len() >= ROWS_PER_FILE_MAX
                || starts_file(&next.object.key)
            {
                self.first_of_next = Some((next_source, next));
                break;
            }
            if block.len() == self.rows_per_block {
                file.block(&block);
                block.clear();
            }
            block.push(next);
        }
        file.block(&block);
        Ok(file.finish(annotation))
    }
}

/// What tells a file from every other of its table.
fn annotation(source_name: &str, first_key: &str) -> Vec<u8> {
    let parts = [
        ANNOTATION_MAGIC,
        source_name.as_bytes(),
        &[0],
        first_key.as_bytes(),
    ];
    parts.concat()
}

/// A file under way.
struct MetaFile<'a> {
    schema: &'a TableSchema,
    layout: &'a Layout,
    source: &'a SourceContext,
    compressor: &'a mut PageCompressor,
    out: Vec<u8>,
    values: Vec<ChunkValues>,
    stats: Vec<ColumnStatsBuilder>,
    footer: FileMeta,
    rows: usize,
    /// Rows of the row groups that are written.
    written: usize,
    unparsed: u64,
}

impl<'a> MetaFile<'a> {
    fn new(
        schema: &'a TableSchema,
        layout: &'a Layout,
        source: &'a SourceContext,
        compressor: &'a mut PageCompressor,
    ) -> Self {
        let types = || schema.columns().iter().map(|c| c.column_type);
        Self {
            schema,
            layout,
            source,
            compressor,
            out: MAGIC.to_vec(),
            values: types().map(ChunkValues::new).collect(),
            stats: types().map(ColumnStatsBuilder::new).collect(),
            footer: FileMeta::default(),
            rows: 0,
            written: 0,
            unparsed: 0,
        }
    }

    /// Adds rows, at most [`ROWS_PER_BLOCK`].
    fn block(&mut self, artifacts: &[Artifact]) {
        let held: usize = self.values.iter().map(|held| held.values().len()).sum();
        let rows = self.rows - self.written;
        if rows + artifacts.len() > ROWS_PER_ROW_GROUP || held >= ROW_GROUP_BYTES {
            self.row_group();
        }
        let view = Rows::new(self.schema, self.layout, self.source, artifacts);
        for (origin, values) in self.schema.origins().iter().zip(&mut self.values) {
            self.unparsed += view.fill(origin, values);
        }
        self.rows += artifacts.len();
    }

    /// Writes the rows that have been added since the last row group.
    fn row_group(&mut self) {
        for column in 0..self.values.len() {
            self.stats[column].add(&self.values[column]);
            let chunk = self.chunk(column);
            self.footer.chunks.push(chunk);
            self.values[column].clear();
        }
        let rows = self.rows - self.written;
        self.footer.row_groups.push(RowGroupMeta { rows });
        self.written = self.rows;
    }

    fn chunk(&mut self, column: usize) -> ChunkMeta {
        let values = &self.values[column];
        let (kind, offset) = (values.column_type(), self.out.len() as u64);
        let pages = pages(values);
        let index_start = self.footer.offset_indexes.len();
        let mut index = OffsetIndex::begin(&mut self.footer.offset_indexes, pages.len());
        let (mut size, mut uncompressed) = (0, 0);
        for page in &pages {
            let valid = &values.valid()[page.rows.clone()];
            let bytes = &values.values()[page.bytes.clone()];
            let (stored, raw) = self.compressor.page(&mut self.out, kind, valid, bytes);
            index.page(offset + size, stored, page.rows.start);
            size += stored;
            uncompressed += raw;
        }
        index.end();
        let column_index = self.footer.column_indexes.len();
        if self.schema.columns()[column].is_paged_by_row() {
            // No file and no name is null; keys ascend, ids mostly.
            let bounds: Vec<_> = pages.iter().map(|page| bounds(values, page)).collect();
            let slices: Vec<_> = bounds.iter().map(|[a, b]| [&a[..], &b[..]]).collect();
            let ascending = kind == ColumnType::String || is_ascending(&slices);
            index::column_index_of_pages(&mut self.footer.column_indexes, &slices, ascending);
        }
        ChunkMeta {
            offset,
            size,
            uncompressed,
            nulls: values.nulls(),
            bounds: values.put_bounds(&mut self.footer.arena),
            offset_index: index_start..self.footer.offset_indexes.len(),
            column_index: column_index..self.footer.column_indexes.len(),
        }
    }

    fn finish(mut self, annotation: Vec<u8>) -> VirtualFile {
        self.row_group();
        let row_groups = self.footer.row_groups.len();
        let (offset, columns) = (self.out.len() as u64, self.schema.columns());
        let tail = self.footer.finish(offset, columns, Codec::Zstd);
        self.out.extend_from_slice(tail.as_slice());
        let literal_bytes = self.out.len() as u64;
        // The pages are compressed already.
        let mut rope = Encoder::new(Compression::None);
        rope.literal(&self.out);
        let stored = rope.finish(&annotation);
        let columns = self.stats.into_iter().zip(self.schema.columns());
        let columns = columns
            .map(|(stats, column)| stats.finish(column))
            .collect();
        VirtualFile {
            name: stored.name,
            stored: stored.bytes,
            annotation,
            rows: self.rows as u64,
            row_groups,
            artifact_bytes: 0,
            literal_bytes,
            stats: Stats {
                rows: self.rows as u64,
                columns,
            },
            unparsed: self.unparsed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_never_changes_and_is_even() {
        assert_eq!(hash(b""), 0x6f68_261b_388f_816b);
        assert_eq!(hash(b"manuals/a/b.pdf"), 0x5d78_2f32_80a0_aa81);
        let starts = (0..1 << 20)
            .filter(|i| starts_file(&format!("k/{i:07}.pdf")))
            .count();
        assert!((6..=30).contains(&starts), "{starts} of about 16");
    }
}
