//! The numbers that shape a virtual file, and where files and row groups are cut.
//!
//! Row groups are the only granularity that every engine uses to read less, and an engine without page indexes reads
//! the surviving one whole: so a row group closes at a few megabytes. A scan of the small columns costs a request for
//! every row group: so not at less.

use crate::artifact::Artifact;
use crate::schema::TableSchema;

/// Largest artifact that can be inline, whatever the layout says: bytes.
pub const INLINE_MAX_BYTES: u64 = 2_147_475_392;
/// Most row groups of a file: far below the 32,767 that some readers can count.
pub const ROW_GROUPS_MAX: usize = 10_000;

/// Row groups of a file that the artifacts' bytes may cause; the rest is left for [`LITERAL_CUTS_MAX`].
const BYTE_CUTS_MAX: usize = 8_000;
/// Row groups of a file that close because of their small columns.
const LITERAL_CUTS_MAX: usize = ROW_GROUPS_MAX - BYTE_CUTS_MAX;
/// A row group also closes at this many bytes of small columns, so that rows of tiny artifacts do not make a lookup
/// fetch everything about all of them.
const LITERAL_TARGET_BYTES: u64 = 2 << 20;
/// A chunk of the `data` column stays below this: several engines count its bytes in 31 bits, with room for their own
/// headers.
const DATA_CHUNK_LIMIT_BYTES: u64 = (1 << 31) - (8 << 10);
/// A file whose rows have pages of their own closes at this many: a reader of page indexes fetches those of the whole
/// file, about 200 bytes a row with keys of 60 characters, and 2 MiB is what a lookup may cost beside the artifact.
const PAGED_ROWS_MAX: u64 = 8_000;
/// A page of `data` is at most this much longer than its artifact: header, definition level, length.
pub(crate) const PAGE_OVERHEAD_BYTES: u64 = 40;

/// Most bytes that the small columns of a file may come to. It is laid out in memory, a few files at a time; and where they were
/// gigabytes, [`LITERAL_CUTS_MAX`] row groups would not hold them at [`LITERAL_TARGET_BYTES`] each.
const FILE_LITERALS_MAX: u64 = 512 << 20;
/// Longest key of a bucket: what a column that is made from it may take.
const KEY_BYTES_MAX: u64 = 1024;

/// What the `checksum` column tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumPolicy {
    /// What the store knows without a read: its ETag, with `etag` as the algorithm.
    #[default]
    Known,
    /// Nothing: both columns are null.
    None,
}

/// How artifacts become files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Largest artifact that is in the `data` column: bytes, at most [`INLINE_MAX_BYTES`], default 256 MiB.
    pub inline_max_bytes: u64,
    /// Artifact bytes at which a file closes: default 1 GiB. A bigger artifact is alone in its file.
    pub file_target_bytes: u64,
    /// Artifact bytes at which a row group closes: default 2 MiB. A bigger artifact is alone in its row group.
    pub row_group_target_bytes: u64,
    /// Rows at which a file closes: default 16,000, and never more than 8,000 where each has pages of its own.
    pub max_rows_per_file: usize,
    /// Artifact bytes a row, on average, from which `id` and `filename` have a page for every row and a column index:
    /// default 64 KiB. Below, the indexes would outweigh what they save.
    pub page_index_min_bytes: u64,
    /// What the `checksum` column tells.
    pub checksum: ChecksumPolicy,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            inline_max_bytes: 256 << 20,
            file_target_bytes: 1 << 30,
            row_group_target_bytes: 2 << 20,
            max_rows_per_file: 16_000,
            page_index_min_bytes: 64 << 10,
            checksum: ChecksumPolicy::Known,
        }
    }
}

impl Layout {
    /// Returns the layout with so few rows a file that the small columns of `schema` are bounded. Only with dozens of columns from
    /// keys, or constants of tens of kilobytes a row, is it another one.
    #[must_use]
    pub fn for_columns(self, schema: &TableSchema) -> Self {
        let row_bytes = schema.constant_bytes() as u64 + KEY_BYTES_MAX * schema.key_columns();
        let rows = FILE_LITERALS_MAX / row_bytes.max(1);
        let rows = usize::try_from(rows).unwrap_or(usize::MAX).max(1);
        Self {
            max_rows_per_file: self.max_rows_per_file.min(rows),
            ..self
        }
    }

    /// Returns the bytes an artifact has in the `data` column, `None` where it is null there.
    pub fn inlined_bytes(&self, artifact: &Artifact) -> Option<u64> {
        let size = artifact.object.size;
        let fits = size <= self.inline_max_bytes.min(INLINE_MAX_BYTES);
        (fits && !artifact.archived).then_some(size)
    }
}

/// Decides where row groups end, artifact by artifact.
#[derive(Clone, Debug)]
pub(crate) struct RowGroupCut {
    target_bytes: u64,
    rows: usize,
    artifact_bytes: u64,
    chunk_bytes: u64,
    literal_bytes: u64,
    literal_cuts: usize,
}

impl RowGroupCut {
    pub(crate) fn new(layout: &Layout) -> Self {
        Self {
            target_bytes: layout.row_group_target_bytes,
            rows: 0,
            artifact_bytes: 0,
            chunk_bytes: 0,
            literal_bytes: 0,
            literal_cuts: 0,
        }
    }

    /// Takes the next row, with the bytes it adds to `data` and to the other columns (an estimate); returns whether it
    /// begins a row group.
    pub(crate) fn begins(&mut self, inlined_bytes: u64, literal_bytes: u64) -> bool {
        let page_bytes = inlined_bytes + PAGE_OVERHEAD_BYTES;
        let by_bytes = self.artifact_bytes.saturating_add(inlined_bytes) > self.target_bytes
            || self.chunk_bytes.saturating_add(page_bytes) >= DATA_CHUNK_LIMIT_BYTES;
        let by_literals = self.literal_bytes + literal_bytes > LITERAL_TARGET_BYTES
            && self.literal_cuts < LITERAL_CUTS_MAX;
        let begins = self.rows == 0 || by_bytes || by_literals;
        if begins {
            self.literal_cuts += usize::from(self.rows > 0 && !by_bytes);
            (
                self.rows,
                self.artifact_bytes,
                self.chunk_bytes,
                self.literal_bytes,
            ) = (0, 0, 0, 0);
        }
        self.rows += 1;
        self.artifact_bytes += inlined_bytes;
        self.chunk_bytes += page_bytes;
        self.literal_bytes += literal_bytes;
        begins
    }
}

/// Decides where files end, artifact by artifact.
#[derive(Clone, Debug)]
pub(crate) struct FileCut {
    target_bytes: u64,
    max_rows: usize,
    page_index_min_bytes: u64,
    rows: usize,
    bytes: u64,
    row_groups: usize,
    row_group: RowGroupCut,
}

impl FileCut {
    pub(crate) fn new(layout: &Layout) -> Self {
        Self {
            target_bytes: layout.file_target_bytes,
            max_rows: layout.max_rows_per_file,
            page_index_min_bytes: layout.page_index_min_bytes,
            rows: 0,
            bytes: 0,
            row_groups: 0,
            row_group: RowGroupCut::new(layout),
        }
    }

    /// Takes the next row, with the bytes it adds to `data`; returns whether it begins a file.
    pub(crate) fn begins(&mut self, inlined_bytes: u64) -> bool {
        let mut row_group = self.row_group.clone();
        let row_group_begins = row_group.begins(inlined_bytes, 0);
        let rows = self.rows as u64;
        let paged_and_full =
            rows >= PAGED_ROWS_MAX && self.bytes / rows >= self.page_index_min_bytes;
        let begins = self.rows == 0
            || self.rows >= self.max_rows
            || paged_and_full
            || self.bytes.saturating_add(inlined_bytes) > self.target_bytes
            || (row_group_begins && self.row_groups == BYTE_CUTS_MAX);
        if begins {
            (self.rows, self.bytes, self.row_groups) = (0, 0, 0);
            row_group.rows = 0;
            row_group.begins(inlined_bytes, 0);
        }
        self.row_groups += usize::from(begins || row_group_begins);
        self.rows += 1;
        self.bytes += inlined_bytes;
        self.row_group = row_group;
        begins
    }
}
