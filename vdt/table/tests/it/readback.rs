//! Any artifacts and any schema give files that the `parquet` crate reads back exactly, those of `t_meta` too.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use vdt_rope::SourceObject;
use vdt_table::{
    Artifact, Attribute, ChecksumPolicy, Column, ColumnFrom, ColumnType, FileGroup, Layout,
    SourceContext, TableSchema, VirtualFile, groups, lay_out, read_rows,
};

use crate::meta;
use crate::statistics::{Bounded, check_statistics, metadata};
use crate::support::{self, materialise};
use crate::values::{check_values, read};

/// Checks everything a file promises of its footer and its pages.
fn check_structure(bytes: &Bytes, schema: &TableSchema, file: &VirtualFile) {
    let metadata = metadata(bytes);
    assert!(metadata.file_metadata().key_value_metadata().is_none());
    assert_eq!(metadata.file_metadata().num_rows() as u64, file.rows);
    assert_eq!(metadata.num_row_groups(), file.row_groups);
    let columns = schema.columns();
    let data = columns
        .iter()
        .position(|c| c.from == ColumnFrom::Attribute(Attribute::Data));
    let offset_index = metadata.offset_index().unwrap();
    let mut end_of_groups = 4;
    for (g, row_group) in metadata.row_groups().iter().enumerate() {
        let ranges: Vec<_> = row_group.columns().iter().map(|c| c.byte_range()).collect();
        assert_eq!(
            ranges[0].0, end_of_groups,
            "the first column is physically first"
        );
        let mut sorted = ranges.clone();
        sorted.sort_unstable();
        for pair in sorted.windows(2) {
            assert_eq!(pair[0].0 + pair[0].1, pair[1].0, "chunks follow each other");
        }
        let last = sorted.last().unwrap();
        if let Some(data) = data.filter(|&d| d > 0) {
            assert_eq!(ranges[data], *last, "data is physically last");
        }
        let total: u64 = ranges.iter().map(|r| r.1).sum();
        assert_eq!(row_group.compressed_size() as u64, total);
        assert_eq!(row_group.total_byte_size() as u64, total);
        end_of_groups = last.0 + last.1;

        for (c, column) in row_group.columns().iter().enumerate() {
            assert_eq!(
                column.compression(),
                parquet::basic::Compression::UNCOMPRESSED
            );
            assert!(column.dictionary_page_offset().is_none());
            let pages = &offset_index[g][c].page_locations;
            let mut at = ranges[c].0;
            let mut row = -1;
            for page in pages {
                assert_eq!(page.offset as u64, at, "pages follow each other");
                assert!(page.first_row_index > row);
                row = page.first_row_index;
                assert_eq!(bytes[at as usize], 0x15, "a page header begins here");
                at += page.compressed_page_size as u64;
            }
            assert_eq!(at, ranges[c].0 + ranges[c].1, "pages fill their chunk");
            if column.column_index_offset().is_some() {
                assert_eq!(pages.len() as i64, row_group.num_rows(), "a page per row");
            }
            if Some(c) == data {
                assert_eq!(
                    pages.len() as i64,
                    row_group.num_rows(),
                    "one page per artifact"
                );
                assert!(
                    column.column_index_offset().is_none(),
                    "data has no column index"
                );
            }
        }
    }
    let index_start = metadata
        .row_groups()
        .iter()
        .flat_map(|g| g.columns())
        .flat_map(|c| [c.column_index_offset(), c.offset_index_offset()])
        .flatten()
        .min()
        .unwrap() as u64;
    assert!(
        index_start - end_of_groups >= 512 << 10,
        "padding before the indexes"
    );
    assert!(
        bytes[end_of_groups as usize..index_start as usize]
            .iter()
            .all(|b| *b == 0)
    );
}

/// Lays artifacts out and checks all that the files promise.
pub(crate) fn check(schema: &TableSchema, layout: &Layout, group: &FileGroup) -> VirtualFile {
    let file = lay_out(schema, layout, group).unwrap();
    let bytes = materialise(&file.rope());
    assert_eq!(bytes.len() as u64, file.name.size);
    assert_eq!(
        file.literal_bytes + file.artifact_bytes + (512 << 10),
        file.name.size
    );
    let (rope, annotation) = vdt_rope::decode(&file.stored).unwrap();
    assert_eq!(&annotation[..], &file.annotation[..]);
    assert_eq!(rope.len(), file.name.size);
    let again = lay_out(schema, layout, group).unwrap();
    assert_eq!((again.name, again.stored), (file.name, file.stored.clone()));
    let rows = read_rows(&rope, &annotation).unwrap();
    assert_eq!(
        (&rows.source_name, &rows.artifacts),
        (&group.source.name, &group.artifacts)
    );

    let read = read(&bytes);
    let (source, artifacts) = (&group.source, &group.artifacts);
    check_values(schema, layout, source, artifacts, &file, &read);
    check_structure(&bytes, schema, &file);
    check_statistics(&bytes, schema, &Bounded::LookedUp, &file, &read);
    assert_eq!(
        lay_out(schema, layout, group).unwrap().name,
        file.name,
        "same input, same name"
    );
    file
}

fn any_column() -> impl Strategy<Value = Column> {
    let attribute = prop::sample::select(Attribute::ALL.to_vec())
        .prop_map(|a| (a.column_type(), ColumnFrom::Attribute(a)));
    let scalar_types = vec![
        ColumnType::Long,
        ColumnType::Integer,
        ColumnType::Double,
        ColumnType::Boolean,
        ColumnType::Date,
        ColumnType::Timestamp,
        ColumnType::String,
    ];
    let path = prop::sample::select(scalar_types).prop_map(|t| (t, ColumnFrom::Path("a".into())));
    let constant = prop::sample::select(vec![
        (ColumnType::Long, "-5"),
        (ColumnType::Integer, "007"),
        (ColumnType::Double, "-0.0"),
        (ColumnType::Boolean, "true"),
        (ColumnType::Date, "2024-02-29"),
        (ColumnType::Timestamp, "2024-02-29T12:00:00.5Z"),
        (ColumnType::String, ""),
        (ColumnType::Binary, "é"),
    ])
    .prop_map(|(t, text)| (t, ColumnFrom::Constant(text.into())));
    prop_oneof![3 => attribute, 1 => path, 1 => constant].prop_map(|(column_type, from)| Column {
        name: String::new(),
        column_type,
        from,
        description: None,
    })
}

fn any_schema() -> impl Strategy<Value = TableSchema> {
    let columns = prop::collection::vec(any_column(), 1..10);
    columns.prop_filter_map("not a schema", |mut columns| {
        for (i, column) in columns.iter_mut().enumerate() {
            column.name = format!("c{i}");
        }
        TableSchema::new(columns, Some("{a}/**")).ok()
    })
}

fn any_key() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("2024".to_owned()),
        Just("-0".to_owned()),
        Just("1.5e3".to_owned()),
        Just("TRUE".to_owned()),
        Just("2024-02-29".to_owned()),
        Just("2024-02-29T01:02:03.004Z".to_owned()),
        "[a-z]{1,3}",
        ".{0,6}",
    ];
    (
        part,
        prop_oneof![
            Just(""),
            Just("/x.pdf"),
            Just("/"),
            Just("/b/y.JPG"),
            Just(".mp4")
        ],
        ".{0,3}",
    )
        .prop_map(|(part, end, middle)| format!("{part}{middle}{end}"))
}

fn any_artifact() -> impl Strategy<
    Value = (
        u64,
        Option<String>,
        i64,
        Option<String>,
        Option<u8>,
        bool,
        i64,
    ),
> {
    (
        prop_oneof![4 => 0..200_u64, 2 => Just(0), 1 => 900..3_000_u64],
        prop::option::of("[0-9a-f]{32}|.{0,4}"),
        prop_oneof![3 => 1_600_000_000_000..1_900_000_000_000_i64, 1 => any::<i64>()],
        prop::option::weighted(0.2, ".{0,5}"),
        prop::option::of(0..3_u8),
        prop::bool::weighted(0.1),
        prop_oneof![3 => 0..100_i64, 1 => any::<i64>()],
    )
}

fn any_group() -> impl Strategy<Value = FileGroup> {
    let prefix = prop_oneof![Just(""), Just("p/"), Just("é")];
    let artifacts = prop::collection::btree_map(any_key(), any_artifact(), 1..40);
    (prefix, artifacts, any::<bool>()).prop_map(|(prefix, artifacts, etag_is_checksum)| {
        let source = SourceContext {
            etag_is_checksum,
            ..(*support::source(prefix)).clone()
        };
        let artifacts: BTreeMap<String, _> = artifacts;
        let artifacts = artifacts.into_iter().map(
            |(key, (size, etag, last_modified_ms, version, class, archived, id))| Artifact {
                id,
                object: Arc::new(SourceObject {
                    source: source.id.clone(),
                    key: format!("{prefix}{key}").into(),
                    size,
                    etag: etag.map(Into::into),
                    last_modified_ms,
                    version: version.map(Into::into),
                }),
                storage_class: class.map(|c| ["STANDARD", "GLACIER", ""][usize::from(c)].into()),
                archived,
            },
        );
        FileGroup {
            artifacts: artifacts.collect(),
            source: Arc::new(source),
        }
    })
}

fn any_layout() -> impl Strategy<Value = Layout> {
    (
        prop_oneof![Just(0), Just(100), Just(256 << 20)],
        prop_oneof![Just(1), Just(300), Just(2 << 20)],
        prop_oneof![Just(1), Just(1_000), Just(1 << 30)],
        prop_oneof![Just(0), Just(100), Just(64 << 10)],
        prop_oneof![Just(1), Just(7), Just(16_000)],
        any::<bool>(),
    )
        .prop_map(|(inline, row_group, file, index, rows, none)| Layout {
            inline_max_bytes: inline,
            row_group_target_bytes: row_group,
            file_target_bytes: file,
            max_rows_per_file: rows,
            page_index_min_bytes: index,
            checksum: if none {
                ChecksumPolicy::None
            } else {
                ChecksumPolicy::Known
            },
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_artifacts_and_schema_read_back_exactly(
        schema in any_schema(), layout in any_layout(), group in any_group(),
    ) {
        check(&schema, &layout, &group);
        let rows = group.artifacts.iter().map(|row| (group.source.clone(), row.clone()));
        meta::readback::check(&schema, &layout, &rows.collect());
    }

    #[test]
    fn groups_hold_every_artifact_once_in_order(layout in any_layout(), group in any_group()) {
        let cut: Vec<FileGroup> =
            groups(group.source.clone(), group.artifacts.clone(), &layout).collect();
        for group in &cut {
            prop_assert!(!group.artifacts.is_empty());
            prop_assert!(group.artifacts.len() <= layout.max_rows_per_file);
            let bytes: u64 = group.artifacts.iter().filter_map(|a| layout.inlined_bytes(a)).sum();
            prop_assert!(bytes <= layout.file_target_bytes || group.artifacts.len() == 1
                || group.artifacts.iter().filter(|a| layout.inlined_bytes(a).is_some_and(|s| s > 0)).count() == 1);
        }
        let all: Vec<Artifact> = cut.into_iter().flat_map(|g| g.artifacts).collect();
        prop_assert_eq!(all, group.artifacts);
    }

    #[test]
    fn damaged_annotations_are_refused_or_read_as_rows(group in any_group(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let file = lay_out(&TableSchema::artifacts(), &Layout::default(), &group).unwrap();
        let mut bytes = file.annotation.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let _ = read_rows(&file.rope(), &bytes);
        prop_assert!(read_rows(&file.rope(), &file.annotation[..at]).is_err());
    }
}

#[test]
fn large_artifacts_have_a_page_and_an_index_entry_per_row() {
    let layout = Layout {
        page_index_min_bytes: 1_000,
        row_group_target_bytes: 4_000,
        ..Layout::default()
    };
    let file = check(
        &TableSchema::artifacts(),
        &layout,
        &support::group([1_000; 10]),
    );
    let metadata = metadata(&materialise(&file.rope()));
    assert_eq!(file.row_groups, 3);
    let pages = |g: usize, c: usize| metadata.offset_index().unwrap()[g][c].page_locations.len();
    assert_eq!(
        (pages(0, 0), pages(0, 1), pages(0, 2), pages(0, 5)),
        (4, 4, 1, 4)
    );
    assert!(metadata.column_index().unwrap()[0][1].is_sorted());
}

#[test]
fn small_artifacts_share_one_page_without_column_index() {
    let file = check(
        &TableSchema::artifacts(),
        &Layout::default(),
        &support::group([1_000; 10]),
    );
    let metadata = metadata(&materialise(&file.rope()));
    assert_eq!(file.row_groups, 1);
    assert!(
        metadata
            .row_group(0)
            .columns()
            .iter()
            .all(|c| c.column_index_offset().is_none())
    );
    assert_eq!(
        metadata.offset_index().unwrap()[0][1].page_locations.len(),
        1
    );
}
