//! The table beside the table: same rows, ordinary files, cut where the keys say.

use std::collections::BTreeSet;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use vdt_table::{
    Artifact, Attribute, Column, ColumnFrom, ColumnType, Layout, LayoutError, SourceContext,
    TableSchema, VirtualFile, meta_files,
};

use crate::support::{artifact, materialise, source};

pub(crate) mod readback;

pub(crate) type Rows = Vec<(Arc<SourceContext>, Artifact)>;

fn rows(count: usize) -> Rows {
    let source = source("k/");
    (0..count)
        .map(|i| {
            (
                source.clone(),
                artifact(i as i64, &format!("k/{i:07}.pdf"), i as u64),
            )
        })
        .collect()
}

fn files(rows: &Rows) -> Vec<VirtualFile> {
    meta_files(
        &TableSchema::artifacts(),
        &Layout::default(),
        rows.iter().cloned(),
    )
    .collect::<Result<_, _>>()
    .unwrap()
}

fn names(files: &[VirtualFile]) -> BTreeSet<String> {
    files.iter().map(|f| f.name.to_string()).collect()
}

#[test]
fn no_rows_make_no_file() {
    assert!(files(&Vec::new()).is_empty());
}

#[test]
fn rows_read_back_without_data() {
    let rows = rows(1_000);
    let files = files(&rows);
    assert_eq!(files.len(), 1);
    let file = &files[0];
    let bytes = materialise(&file.rope());
    assert_eq!(
        (bytes.len() as u64, file.artifact_bytes),
        (file.name.size, 0)
    );
    let reader = SerializedFileReader::new(bytes).unwrap();
    let fields = reader
        .metadata()
        .file_metadata()
        .schema_descr()
        .columns()
        .to_vec();
    let found: Vec<&str> = fields.iter().map(|c| c.name()).collect();
    let expected = [
        "id",
        "filename",
        "content_type",
        "url",
        "filesize",
        "checksum",
        "checksum_algo",
    ];
    assert_eq!(found, expected);
    for (row, (_, artifact)) in reader.get_row_iter(None).unwrap().zip(&rows) {
        let row = row.unwrap();
        let key = &artifact.object.key;
        assert_eq!(row.get_long(0).unwrap(), artifact.id);
        assert_eq!(row.get_string(1).unwrap(), &key[2..]);
        assert_eq!(row.get_string(3).unwrap(), &format!("s3://corp/{key}"));
        assert_eq!(row.get_long(4).unwrap() as u64, artifact.object.size);
    }
    let stats = file.stats.to_json();
    assert!(
        stats.starts_with(r#"{"numRecords":1000,"minValues":{"id":0,"filename":"0000000.pdf""#)
    );
}

#[test]
fn pages_and_their_indexes_are_those_of_the_rows() {
    // Two row groups, the first of four pages; ids ascend from page to page, but not inside them.
    let rows: Rows = rows(100_000)
        .into_iter()
        .map(|(source, row)| {
            (
                source,
                Artifact {
                    id: row.id ^ 1,
                    ..row
                },
            )
        })
        .collect();
    let files = files(&rows);
    let mut first_row = 0;
    for file in &files {
        let bytes = materialise(&file.rope());
        let metadata = crate::statistics::metadata(&bytes);
        let (columns, offsets) = (
            metadata.column_index().unwrap(),
            metadata.offset_index().unwrap(),
        );
        let mut at = 4;
        for (g, group) in metadata.row_groups().iter().enumerate() {
            let pages = group.num_rows().div_euclid(16_384) as usize
                + usize::from(group.num_rows() % 16_384 != 0);
            let compressed: i64 = group.columns().iter().map(|c| c.compressed_size()).sum();
            let raw: i64 = group.columns().iter().map(|c| c.uncompressed_size()).sum();
            assert_eq!(group.compressed_size(), compressed);
            assert_eq!(group.total_byte_size(), raw);
            for (c, chunk) in group.columns().iter().enumerate() {
                assert_eq!(chunk.byte_range().0, at, "chunks follow each other");
                assert!(matches!(chunk.compression(), Compression::ZSTD(_)));
                let locations = &offsets[g][c].page_locations;
                for (number, page) in locations.iter().enumerate() {
                    assert_eq!(page.offset as u64, at, "pages follow each other");
                    assert_eq!(page.first_row_index, 16_384 * number as i64);
                    at += page.compressed_page_size as u64;
                }
                assert_eq!(locations.len(), pages);
                assert_eq!(chunk.byte_range().0 + chunk.byte_range().1, at);
            }
            let of_page = |page: usize| {
                let start = first_row + 16_384 * page;
                &rows[start..(start + 16_384).min(first_row + group.num_rows() as usize)]
            };
            let ColumnIndexMetaData::INT64(ids) = &columns[g][0] else {
                panic!("ids have a column index");
            };
            let ColumnIndexMetaData::BYTE_ARRAY(names) = &columns[g][1] else {
                panic!("names have a column index");
            };
            for page in 0..pages {
                let found = || of_page(page).iter().map(|(_, row)| row.id);
                assert_eq!(ids.min_value(page), found().min().as_ref());
                assert_eq!(ids.max_value(page), found().max().as_ref());
                let name = |row: Option<&(_, Artifact)>| row.unwrap().1.object.key[2..].to_owned();
                let expected = [of_page(page).first(), of_page(page).last()].map(name);
                assert_eq!(names.min_value(page).unwrap(), expected[0].as_bytes());
                assert_eq!(names.max_value(page).unwrap(), expected[1].as_bytes());
            }
            for column in &columns[g][2..] {
                assert!(matches!(column, ColumnIndexMetaData::NONE));
            }
            first_row += group.num_rows() as usize;
        }
    }
    assert_eq!(first_row, rows.len());
}

#[test]
fn all_types_nulls_and_null_columns_read_back() {
    let types = [
        (ColumnType::Long, "1"),
        (ColumnType::Integer, "2"),
        (ColumnType::Double, "3.5"),
        (ColumnType::Boolean, "true"),
        (ColumnType::Date, "2024-01-02"),
        (ColumnType::Timestamp, "2024-01-02T03:04:05.006Z"),
        (ColumnType::String, "s"),
    ];
    let mut columns = vec![Column::attribute("version", Attribute::VersionId)];
    for (column_type, _) in types {
        let from = ColumnFrom::Path("p".into());
        columns.push(Column {
            name: format!("{column_type:?}"),
            column_type,
            from,
            description: None,
        });
    }
    let from = ColumnFrom::Constant("b".into());
    columns.push(Column {
        name: "bin".into(),
        column_type: ColumnType::Binary,
        from,
        description: None,
    });
    let schema = TableSchema::new(columns, Some("{p}/*")).unwrap();
    let keys: BTreeSet<String> = types.iter().map(|(_, text)| format!("{text}/x")).collect();
    let source = source("");
    let rows = keys.iter().map(|key| (source.clone(), artifact(0, key, 1)));
    let file = meta_files(&schema, &Layout::default(), rows)
        .next()
        .unwrap()
        .unwrap();
    let reader = SerializedFileReader::new(materialise(&file.rope())).unwrap();
    let nulls: Vec<u64> = (reader.metadata().row_group(0).columns().iter())
        .map(|c| c.statistics().and_then(|s| s.null_count_opt()).unwrap_or(0))
        .collect();
    let recorded: Vec<u64> = file.stats.columns.iter().map(|c| c.null_count).collect();
    assert_eq!(nulls, recorded);
    assert_eq!(recorded, [7, 5, 5, 4, 6, 6, 5, 0, 0]);
    assert_eq!(file.unparsed, 31);
    for column in reader.metadata().row_group(0).columns() {
        assert!(column.dictionary_page_offset().is_none());
    }
    assert_eq!(
        reader
            .get_row_iter(None)
            .unwrap()
            .map(Result::unwrap)
            .count(),
        7
    );
}

#[test]
fn one_artifact_more_or_less_changes_its_file_only() {
    let all = rows(200_000);
    let before = names(&files(&all));
    assert!((2..=9).contains(&before.len()), "{} files", before.len());
    for gone in [0, 123_456] {
        let mut fewer = all.clone();
        fewer.remove(gone);
        let after = names(&files(&fewer));
        let changed = before.difference(&after).count();
        assert!(changed <= 1, "row {gone}: {changed} files changed");
        assert!(after.difference(&before).count() <= 1);
    }
    assert_eq!(names(&files(&all)), before, "the same rows, the same files");
}

#[test]
fn files_hold_one_source_each() {
    let mut all = rows(10);
    let other = Arc::new(SourceContext {
        name: "other".into(),
        ..(*source("k/")).clone()
    });
    all.extend(
        rows(10)
            .into_iter()
            .map(|(_, artifact)| (other.clone(), artifact)),
    );
    assert_eq!(
        files(&all).iter().map(|f| f.rows).collect::<Vec<_>>(),
        [10, 10]
    );
}

#[test]
fn files_that_look_alike_are_two_files() {
    let schema = TableSchema::new(
        vec![Column::attribute("filename", Attribute::Filename)],
        None,
    )
    .unwrap();
    let other = Arc::new(SourceContext {
        name: "other".into(),
        ..(*source("k/")).clone()
    });
    let mut all = rows(10);
    all.extend(rows(10).into_iter().map(|(_, row)| (other.clone(), row)));
    let files: Vec<VirtualFile> = meta_files(&schema, &Layout::default(), all)
        .collect::<Result<_, _>>()
        .unwrap();
    let [one, two] = files.as_slice() else {
        panic!("{} files", files.len());
    };
    assert_eq!(materialise(&one.rope()), materialise(&two.rope()));
    assert_ne!(one.name, two.name);
}

#[test]
fn wide_rows_make_smaller_row_groups() {
    let wide = (0..64).map(|number| Column {
        name: format!("c{number}"),
        column_type: ColumnType::String,
        from: ColumnFrom::Constant(format!("{number:01000}")),
        description: None,
    });
    let named = Column::attribute("filename", Attribute::Filename);
    let schema = TableSchema::new([named].into_iter().chain(wide).collect(), None).unwrap();
    let file = meta_files(&schema, &Layout::default(), rows(3_000))
        .next()
        .unwrap()
        .unwrap();
    let reader = SerializedFileReader::new(materialise(&file.rope())).unwrap();
    let groups = reader.metadata().row_groups();
    assert!(groups.len() > 1);
    for group in groups {
        assert!(
            group.total_byte_size() < 130 << 20,
            "{}",
            group.total_byte_size()
        );
    }
    let names: Vec<String> = reader
        .get_row_iter(None)
        .unwrap()
        .map(|row| row.unwrap().get_string(0).unwrap().clone())
        .collect();
    let expected: Vec<String> = (0..3_000)
        .map(|number| format!("{number:07}.pdf"))
        .collect();
    assert_eq!(names, expected);
}

#[test]
fn keys_out_of_order_are_refused_once() {
    let mut all = rows(10);
    all.swap(3, 4);
    let results: Vec<_> = meta_files(&TableSchema::artifacts(), &Layout::default(), all).collect();
    assert!(matches!(
        results.as_slice(),
        [Err(LayoutError::Unsorted { .. })]
    ));
}
