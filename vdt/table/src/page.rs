//! V1 data pages: header, definition levels, values.
//!
//! ```text
//! header    15 00           type DATA_PAGE
//!           15 zigzag       uncompressed size: definition levels and values
//!           15 zigzag       compressed size: the same, or what zstd made of both together
//!           2c              data_page_header
//!              15 zigzag    number of values, nulls counted
//!              15 00        encoding PLAIN
//!              15 06        definition levels RLE
//!              15 06        repetition levels RLE (there are none)
//!              00
//!           00
//! levels    u32 length, then one RLE run (count << 1, 00 or 01) where all rows are alike,
//!                       else one bit-packed run (groups of 8 << 1 | 1, bits from the least significant)
//! values    PLAIN, of the rows that are not null
//! ```
//!
//! One row with a value of bytes is therefore `header 02 00 00 00 02 01, u32 length, bytes`; one null row ends with
//! `02 00 00 00 02 00`. There is no CRC: it would need the artifact's.

use crate::layout::PAGE_OVERHEAD_BYTES;
use crate::schema::ColumnType;
use crate::thrift::{put_varint, varint, zigzag};

/// Appends the header of a page of `rows` rows and `size` bytes of levels and values.
pub(crate) fn header(out: &mut Vec<u8>, rows: i32, size: i32) {
    compressed_header(out, rows, size, size);
}

/// Appends the header of a page whose levels and values, `size` bytes, follow as `compressed` bytes.
pub(crate) fn compressed_header(out: &mut Vec<u8>, rows: i32, size: i32, compressed: i32) {
    // Written for every page of every row: without `Fields`, which look at each byte's place.
    let mut bytes = [0; 32];
    bytes[..3].copy_from_slice(&[0x15, 0x00, 0x15]);
    let mut at = 3;
    put_varint(&mut bytes, &mut at, zigzag(size.into()));
    bytes[at] = 0x15;
    at += 1;
    put_varint(&mut bytes, &mut at, zigzag(compressed.into()));
    bytes[at..at + 2].copy_from_slice(&[0x2c, 0x15]);
    at += 2;
    put_varint(&mut bytes, &mut at, zigzag(rows.into()));
    bytes[at..at + 8].copy_from_slice(&[0x15, 0x00, 0x15, 0x06, 0x15, 0x06, 0x00, 0x00]);
    out.extend_from_slice(&bytes[..at + 8]);
}

/// Appends the definition levels of a page.
pub(crate) fn levels(out: &mut Vec<u8>, valid: &[bool]) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    let first = valid.first().copied().unwrap_or(false);
    if valid.iter().all(|&v| v == first) {
        varint(out, (valid.len() as u64) << 1);
        out.push(first.into());
    } else {
        varint(out, (valid.len().div_ceil(8) as u64) << 1 | 1);
        pack_bits(out, valid.iter().copied());
    }
    // At most one bit a row.
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

/// Appends PLAIN values; booleans come as a byte each and are packed.
pub(crate) fn values(out: &mut Vec<u8>, column_type: ColumnType, values: &[u8]) {
    if column_type == ColumnType::Boolean {
        pack_bits(out, values.iter().map(|&v| v != 0));
    } else {
        out.extend_from_slice(values);
    }
}

fn pack_bits(out: &mut Vec<u8>, bits: impl Iterator<Item = bool>) {
    for (i, bit) in bits.enumerate() {
        if i % 8 == 0 {
            out.push(0);
        }
        if let Some(last) = out.last_mut() {
            *last |= u8::from(bit) << (i % 8);
        }
    }
}

/// Appends everything of an artifact's page but the artifact: `inlined` is its size, `None` for null. Returns the size
/// of the page with its header and the artifact.
pub(crate) fn artifact(out: &mut Vec<u8>, inlined: Option<u32>) -> u64 {
    let at = out.len();
    match inlined {
        Some(size) => {
            // Sizes are at most INLINE_MAX_BYTES, which leaves room for 10 more below 2^31.
            header(
                out,
                1,
                size.saturating_add(10).try_into().unwrap_or(i32::MAX),
            );
            let [a, b, c, d] = size.to_le_bytes();
            out.extend_from_slice(&[2, 0, 0, 0, 2, 1, a, b, c, d]);
        }
        None => {
            header(out, 1, 6);
            out.extend_from_slice(&[2, 0, 0, 0, 2, 0]);
        }
    }
    let overhead = (out.len() - at) as u64;
    debug_assert!(overhead <= PAGE_OVERHEAD_BYTES);
    overhead + u64::from(inlined.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use parquet::basic::Encoding;
    use parquet::column::page::{CompressedPage, Page, PageWriter};
    use parquet::file::writer::{SerializedPageWriter, TrackedWrite};

    /// The header that the parquet crate writes for the same page.
    fn oracle(rows: u32, size: usize) -> Vec<u8> {
        let buf = Bytes::from(vec![0; size]);
        let page = Page::DataPage {
            buf,
            num_values: rows,
            encoding: Encoding::PLAIN,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let mut out = Vec::new();
        {
            let mut tracked = TrackedWrite::new(&mut out);
            let mut writer = SerializedPageWriter::new(&mut tracked);
            writer.write_page(CompressedPage::new(page, size)).unwrap();
            writer.close().unwrap();
        }
        out.truncate(out.len() - size);
        out
    }

    #[test]
    fn headers_are_those_of_the_parquet_crate() {
        for (rows, size) in [
            (1, 6),
            (1, 16),
            (63, 64),
            (64, 8_191),
            (16_000, 8_192),
            (1, 1 << 20),
            (1, 100_000_010),
        ] {
            let mut out = Vec::new();
            header(&mut out, rows, size);
            assert_eq!(
                out,
                oracle(rows as u32, size as usize),
                "{rows} rows, {size} bytes"
            );
        }
    }

    #[test]
    fn overhead_of_an_artifact_page_stays_in_its_bound() {
        for (size, overhead) in [
            (0, 27),
            (100_000, 31),
            (100_000_000, 33),
            (2_147_475_392, 35),
        ] {
            let mut out = Vec::new();
            assert_eq!(artifact(&mut out, Some(size)), u64::from(size) + overhead);
            assert_eq!(out.len() as u64, overhead);
        }
        let mut out = Vec::new();
        assert_eq!(artifact(&mut out, None), out.len() as u64);
    }

    #[test]
    fn levels_are_one_run() {
        for (valid, bytes) in [
            (vec![true], vec![2, 0, 0, 0, 2, 1]),
            (vec![false; 3], vec![2, 0, 0, 0, 6, 0]),
            (vec![true; 64], vec![3, 0, 0, 0, 0x80, 1, 1]),
            (vec![true, false, true], vec![2, 0, 0, 0, 3, 0b101]),
            ((0..9).map(|i| i == 8).collect(), vec![3, 0, 0, 0, 5, 0, 1]),
        ] {
            let mut out = Vec::new();
            levels(&mut out, &valid);
            assert_eq!(out, bytes, "{valid:?}");
        }
    }
}
