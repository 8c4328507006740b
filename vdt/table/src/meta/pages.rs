//! Pages of a chunk: where they end, their bounds, and their compressed bytes.

use std::ops::Range;

use crate::chunk::ChunkValues;
use crate::index;
use crate::page;
use crate::schema::ColumnType;

/// Most rows of a page.
const ROWS_PER_PAGE: usize = 1 << 14;
/// A page closes at this many bytes of values, before compression.
const PAGE_TARGET_BYTES: usize = 1 << 20;
/// Level 1: higher ones cost more time than they save state.
const ZSTD_LEVEL: i32 = 1;

/// Compresses pages; its buffers are reused.
pub(super) struct PageCompressor {
    zstd: zstd::bulk::Compressor<'static>,
    raw: Vec<u8>,
    compressed: Vec<u8>,
}

impl PageCompressor {
    pub(super) fn new() -> Self {
        Self {
            zstd: zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("zstd knows its level"),
            raw: Vec::new(),
            compressed: Vec::new(),
        }
    }

    /// Appends a page with its header. Returns its size with the header: as it is, and before compression.
    pub(super) fn page(
        &mut self,
        out: &mut Vec<u8>,
        kind: ColumnType,
        valid: &[bool],
        values: &[u8],
    ) -> (u64, u64) {
        self.raw.clear();
        page::levels(&mut self.raw, valid);
        page::values(&mut self.raw, kind, values);
        self.compressed.clear();
        self.compressed
            .reserve(zstd::zstd_safe::compress_bound(self.raw.len()));
        let written = self
            .zstd
            .compress_to_buffer(&self.raw, &mut self.compressed);
        written.expect("the buffer holds the largest compressed page");
        let start = out.len();
        // A page has about 1 MiB, or one key.
        let (raw, compressed) = (self.raw.len() as i32, self.compressed.len() as i32);
        page::compressed_header(out, valid.len() as i32, raw, compressed);
        let header = out.len() - start;
        out.extend_from_slice(&self.compressed);
        (
            (header + self.compressed.len()) as u64,
            (header + self.raw.len()) as u64,
        )
    }
}

/// A page of a chunk: its rows, and where its values lie among those of the chunk.
pub(super) struct Page {
    pub(super) rows: Range<usize>,
    pub(super) bytes: Range<usize>,
}

/// Cuts a chunk into pages.
pub(super) fn pages(values: &ChunkValues) -> Vec<Page> {
    let width = values.column_type().value_bytes();
    let mut pages = Vec::new();
    let mut page = Page {
        rows: 0..0,
        bytes: 0..0,
    };
    for valid in values.valid() {
        if page.rows.len() == ROWS_PER_PAGE || page.bytes.len() >= PAGE_TARGET_BYTES {
            let (row, byte) = (page.rows.end, page.bytes.end);
            pages.push(std::mem::replace(
                &mut page,
                Page {
                    rows: row..row,
                    bytes: byte..byte,
                },
            ));
        }
        page.rows.end += 1;
        if *valid {
            let rest = &values.values()[page.bytes.end..];
            page.bytes.end += width.unwrap_or_else(|| index::length_prefixed(rest));
        }
    }
    pages.push(page);
    pages
}

/// Least and greatest value of a page of ids or file names, as statistics hold them.
pub(super) fn bounds(values: &ChunkValues, page: &Page) -> [Vec<u8>; 2] {
    let bytes = &values.values()[page.bytes.clone()];
    if values.column_type() == ColumnType::String {
        // Keys ascend.
        let (mut first, mut last, mut rest) = (None, bytes, bytes);
        while !rest.is_empty() {
            let (value, tail) = rest.split_at(index::length_prefixed(rest));
            last = index::bound(ColumnType::String, value);
            first = first.or(Some(last));
            rest = tail;
        }
        return [first.unwrap_or_default().to_vec(), last.to_vec()];
    }
    let (words, _) = bytes.as_chunks::<8>();
    let ids = || words.iter().map(|word| i64::from_le_bytes(*word));
    let [min, max] = [ids().min(), ids().max()].map(Option::unwrap_or_default);
    [min.to_le_bytes().to_vec(), max.to_le_bytes().to_vec()]
}

/// Whether least and greatest ids of pages both ascend.
pub(super) fn is_ascending(pages: &[[&[u8]; 2]]) -> bool {
    let id = |bytes: &[u8]| {
        bytes
            .first_chunk::<8>()
            .map(|word| i64::from_le_bytes(*word))
    };
    pages.is_sorted_by_key(|[min, _]| id(min)) && pages.is_sorted_by_key(|[_, max]| id(max))
}
