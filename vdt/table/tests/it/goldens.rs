//! Bytes that people read: an `add`, a file drawn as a rope; and the footer against the `parquet` crate's own writer.

use std::io::Write;

use parquet::file::metadata::ParquetMetaDataWriter;
use parquet::file::writer::TrackedWrite;
use vdt_rope::{Rope, Segment};
use vdt_table::{Attribute, Column, ColumnFrom, ColumnType, Layout, TableSchema, lay_out};

use crate::statistics::metadata;
use crate::support::{group, materialise};

/// Draws a rope, a segment a line; literals as text where they are, long ones by their ends.
fn draw(rope: &Rope) -> String {
    let mut at = 0;
    let mut out = String::new();
    for segment in rope.segments() {
        let what = match segment {
            Segment::Literal(bytes) if bytes.len() > 600 => {
                let (head, tail) = (&bytes[..16], &bytes[bytes.len() - 8..]);
                format!("literal {} .. {}", head.escape_ascii(), tail.escape_ascii())
            }
            Segment::Literal(bytes) => format!("literal {}", bytes.escape_ascii()),
            Segment::Zeros(_) => "zeros".to_owned(),
            Segment::Reference(r) => format!("{} {}+{}", r.object.key, r.offset, r.length),
        };
        out.push_str(&format!("{at:>7} {:>7} {what}\n", segment.len()));
        at += segment.len();
    }
    out
}

#[test]
fn a_small_file_as_a_rope_and_as_an_add() {
    let file = lay_out(
        &TableSchema::artifacts(),
        &Layout::default(),
        &group([100_000, 0, 3]),
    )
    .unwrap();
    insta::assert_snapshot!("rope", draw(&file.rope()));
    insta::assert_snapshot!(
        "add",
        serde_json::to_string_pretty(&file.add(1_763_970_000_123, true)).unwrap()
    );
}

/// The crate writes a row group's ordinal and, beside absent bounds, that they are not exact: 2 bytes here and there. So
/// indexes are compared as bytes, the footer as what it says.
#[test]
fn indexes_and_footer_are_those_the_parquet_crate_would_write() {
    let mut columns = TableSchema::artifacts().without_data().columns().to_vec();
    columns.push(Column::attribute("data", Attribute::Data));
    for (name, column_type, constant) in [
        ("d", ColumnType::Date, "2024-02-29"),
        ("t", ColumnType::Timestamp, "2024-02-29T01:02:03.004Z"),
        ("x", ColumnType::Double, "1.5"),
        ("b", ColumnType::Boolean, "true"),
        ("i", ColumnType::Integer, "-1"),
        ("k", ColumnType::Binary, "k"),
    ] {
        let from = ColumnFrom::Constant(constant.into());
        columns.insert(
            0,
            Column {
                name: name.into(),
                column_type,
                from,
                description: None,
            },
        );
    }
    let schema = TableSchema::new(columns, None).unwrap();
    let small = Layout::default();
    let paged = Layout {
        page_index_min_bytes: 1,
        row_group_target_bytes: 250,
        ..Layout::default()
    };
    for layout in [small, paged] {
        let sizes = [0, 100, 100, 100, 300, 1, 2, 3];
        let file = lay_out(&schema, &layout, &group(sizes)).unwrap();
        let bytes = materialise(&file.rope());
        let start = bytes.len() - file.rope().segments().last().unwrap().len() as usize;
        let mut rewritten = Vec::new();
        let ours = metadata(&bytes);
        {
            let mut tracked = TrackedWrite::new(&mut rewritten);
            tracked.write_all(&bytes[..start]).unwrap();
            ParquetMetaDataWriter::new_with_tracked(tracked, &ours)
                .finish()
                .unwrap();
        }
        let footer_length = u32::from_le_bytes(bytes[bytes.len() - 8..][..4].try_into().unwrap());
        let footer = bytes.len() - 8 - footer_length as usize;
        // The type of a list of booleans is 1 here, as in C++, Java and old Rust readers' only spelling; 2 there.
        let same = |(a, b): (&u8, &u8)| a == b || (a & 15 == 1 && a ^ 3 == *b);
        assert!(
            rewritten[start..footer]
                .iter()
                .zip(&bytes[start..footer])
                .all(|(b, a)| same((a, b))),
            "indexes"
        );
        assert_eq!(metadata(&rewritten.into()), ours, "footer");
    }
}
