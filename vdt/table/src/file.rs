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
//! size is exact before any is (invariant 3). Where `data` is the first column of the schema its chunk comes first: Spark
//! finds row groups by the first column's place.

mod writer;

use std::ops::Range;
use std::sync::Arc;

use crate::artifact::{Artifact, FileGroup};
use crate::attribute::Attribute;
use crate::fill::filename;
use crate::layout::{Layout, ROW_GROUPS_MAX, RowGroupCut};
use crate::schema::{Column, ColumnFrom, TableSchema};
use crate::stats::Stats;
use vdt_rope::{FileName, Rope};

use self::writer::FileWriter;

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
