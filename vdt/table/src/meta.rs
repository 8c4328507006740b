//! The table beside the table: the same rows without the artifacts themselves, in ordinary Parquet files for scans and
//! counts.
//!
//! Its files are all literal: written by the `parquet` crate, zstd-compressed, in row groups of 65,536 rows. There are no
//! dictionaries: zstd finds what repeats, and an all-null column would make an empty dictionary page, which some readers
//! refuse.
//!
//! **Where files end is a function of the keys alone.** A row starts a file where the hash of its key says so, once in
//! 65,536 rows on average, or where the source changes; a run that would grow past 524,288 rows is cut there. So an artifact
//! that comes or goes changes the file it falls into and no other (it splits that file or joins two where its own hash
//! starts one). The files are a pure function of the table's rows: they can be made again from them at any time, and a file
//! that did not change has its old name.
//!
//! Streams: at most one row group of rows and one compressed file are held.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{ColumnPath, Type, TypePtr};
use vdt_rope::RopeBuilder;

use crate::artifact::{Artifact, SourceContext};
use crate::chunk::ChunkValues;
use crate::file::{LayoutError, VirtualFile};
use crate::fill::Rows;
use crate::footer::CREATED_BY;
use crate::index::for_each_value_present;
use crate::layout::Layout;
use crate::schema::{Column, ColumnType, TableSchema};
use crate::stats::{ColumnStatsBuilder, Stats};

/// Rows of a file on average. A power of two.
const ROWS_PER_FILE: u64 = 1 << 16;
/// Most rows of a file: a run without a boundary this long happens once in 3,000 files.
const ROWS_PER_FILE_MAX: usize = 8 << 16;
/// Rows of a row group.
const ROWS_PER_ROW_GROUP: usize = 1 << 16;

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
        parquet_schema: parquet_schema(&schema),
        properties: Arc::new(properties(&schema)),
        schema,
        layout: layout.clone(),
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
    schema: TableSchema,
    layout: Layout,
    parquet_schema: TypePtr,
    properties: Arc<WriterProperties>,
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
        let refused = |error: ParquetError| LayoutError::Parquet {
            source_name: Arc::clone(&source.name),
            reason: error.to_string(),
        };
        let mut file = MetaFile::new(self, &source).map_err(refused)?;
        let mut group = vec![first];
        for (next_source, next) in self.rows.by_ref() {
            let same_source = Arc::ptr_eq(&next_source, &source) || next_source == source;
            let last = group.last().map(|a: &Artifact| &a.object.key);
            if same_source && last.is_some_and(|last| next.object.key <= *last) {
                let (source_name, key) = (Arc::clone(&source.name), next.object.key.clone());
                return Err(LayoutError::Unsorted { source_name, key });
            }
            if !same_source
                || file.rows + group.len() >= ROWS_PER_FILE_MAX
                || starts_file(&next.object.key)
            {
                self.first_of_next = Some((next_source, next));
                break;
            }
            if group.len() == ROWS_PER_ROW_GROUP {
                file.row_group(&group).map_err(refused)?;
                group.clear();
            }
            group.push(next);
        }
        file.row_group(&group).map_err(refused)?;
        file.finish().map_err(refused)
    }
}

/// A file under way.
struct MetaFile<'a> {
    schema: TableSchema,
    layout: Layout,
    source: &'a SourceContext,
    writer: SerializedFileWriter<Vec<u8>>,
    values: Vec<ChunkValues>,
    stats: Vec<ColumnStatsBuilder>,
    rows: usize,
    row_groups: usize,
    unparsed: u64,
}

impl<'a> MetaFile<'a> {
    fn new<I>(files: &MetaFiles<I>, source: &'a SourceContext) -> Result<Self, ParquetError> {
        let (schema, properties) = (
            Arc::clone(&files.parquet_schema),
            Arc::clone(&files.properties),
        );
        let types = || files.schema.columns().iter().map(|c| c.column_type);
        Ok(Self {
            schema: files.schema.clone(),
            layout: files.layout.clone(),
            source,
            writer: SerializedFileWriter::new(Vec::new(), schema, properties)?,
            values: types().map(ChunkValues::new).collect(),
            stats: types().map(ColumnStatsBuilder::new).collect(),
            rows: 0,
            row_groups: 0,
            unparsed: 0,
        })
    }

    fn row_group(&mut self, artifacts: &[Artifact]) -> Result<(), ParquetError> {
        let view = Rows::new(&self.schema, &self.layout, self.source, artifacts);
        let mut group = self.writer.next_row_group()?;
        let origins = self.schema.origins();
        for ((origin, values), stats) in origins.iter().zip(&mut self.values).zip(&mut self.stats) {
            values.clear();
            self.unparsed += view.fill(origin, values);
            stats.add(values);
            write_column(&mut group, values)?;
        }
        group.close()?;
        self.rows += artifacts.len();
        self.row_groups += 1;
        Ok(())
    }

    fn finish(self) -> Result<VirtualFile, ParquetError> {
        let bytes = self.writer.into_inner()?;
        let literal_bytes = bytes.len() as u64;
        let mut rope = RopeBuilder::new();
        rope.push_bytes(Bytes::from(bytes));
        let rope = rope.finish();
        let stored = vdt_rope::encode(&rope, &[]);
        let columns = self.stats.into_iter().zip(self.schema.columns());
        let columns = columns
            .map(|(stats, column)| stats.finish(column))
            .collect();
        Ok(VirtualFile {
            name: stored.name,
            stored: stored.bytes,
            rope,
            annotation: Vec::new(),
            rows: self.rows as u64,
            row_groups: self.row_groups,
            artifact_bytes: 0,
            literal_bytes,
            stats: Stats {
                rows: self.rows as u64,
                columns,
            },
            unparsed: self.unparsed,
        })
    }
}

/// Writes the next column of a row group.
fn write_column(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &mut ChunkValues,
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General(
            "more columns than the schema has".into(),
        ));
    };
    let levels: Vec<i16> = values.valid().iter().map(|v| i16::from(*v)).collect();
    let levels = Some(levels.as_slice());
    let present = values.rows() - values.nulls();
    match column.untyped() {
        ColumnWriter::BoolColumnWriter(writer) => {
            let booleans: Vec<bool> = values.values().iter().map(|v| *v != 0).collect();
            writer.write_batch(&booleans, levels, None)?;
        }
        ColumnWriter::Int32ColumnWriter(writer) => {
            let (words, _) = values.values().as_chunks::<4>();
            let integers: Vec<i32> = words.iter().map(|w| i32::from_le_bytes(*w)).collect();
            writer.write_batch(&integers, levels, None)?;
        }
        ColumnWriter::Int64ColumnWriter(writer) => {
            let (words, _) = values.values().as_chunks::<8>();
            let integers: Vec<i64> = words.iter().map(|w| i64::from_le_bytes(*w)).collect();
            writer.write_batch(&integers, levels, None)?;
        }
        ColumnWriter::DoubleColumnWriter(writer) => {
            let (words, _) = values.values().as_chunks::<8>();
            let doubles: Vec<f64> = words.iter().map(|w| f64::from_le_bytes(*w)).collect();
            writer.write_batch(&doubles, levels, None)?;
        }
        ColumnWriter::ByteArrayColumnWriter(writer) => {
            let bytes = values.take_values();
            let mut arrays = Vec::with_capacity(present);
            for_each_value_present(&bytes, present, |range| {
                arrays.push(ByteArray::from(bytes.slice(range)));
            });
            writer.write_batch(&arrays, levels, None)?;
        }
        ColumnWriter::Int96ColumnWriter(_)
        | ColumnWriter::FloatColumnWriter(_)
        | ColumnWriter::FixedLenByteArrayColumnWriter(_) => {
            return Err(ParquetError::General("a type that no column has".into()));
        }
    }
    column.close()
}

fn parquet_schema(schema: &TableSchema) -> TypePtr {
    let field = |column: &Column| {
        let (physical, logical) = match column.column_type {
            ColumnType::Long => (Physical::INT64, None),
            ColumnType::Integer => (Physical::INT32, None),
            ColumnType::Double => (Physical::DOUBLE, None),
            ColumnType::Boolean => (Physical::BOOLEAN, None),
            ColumnType::Date => (Physical::INT32, Some(LogicalType::Date)),
            ColumnType::Timestamp => (
                Physical::INT64,
                Some(LogicalType::timestamp(true, TimeUnit::MICROS)),
            ),
            ColumnType::String => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            ColumnType::Binary => (Physical::BYTE_ARRAY, None),
        };
        let field = Type::primitive_type_builder(&column.name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build();
        Arc::new(field.expect("each type goes with its logical type"))
    };
    let fields = schema.columns().iter().map(field).collect();
    let root = Type::group_type_builder("schema")
        .with_fields(fields)
        .build();
    Arc::new(root.expect("a group of fields is a schema"))
}

fn properties(schema: &TableSchema) -> WriterProperties {
    let level = ZstdLevel::try_new(1).expect("zstd has level 1");
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_enabled(false)
        .set_statistics_truncate_length(None)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_max_row_group_row_count(None);
    for column in schema.columns() {
        let path = ColumnPath::from(column.name.as_str());
        if column.is_paged_by_row() {
            properties = properties.set_column_statistics_enabled(path, EnabledStatistics::Page);
        } else if column.column_type == ColumnType::Binary {
            properties = properties.set_column_statistics_enabled(path, EnabledStatistics::None);
        }
    }
    properties.build()
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
