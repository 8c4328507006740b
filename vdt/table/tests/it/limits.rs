//! Sizes and counts at their limits, without materialising anything.

use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use vdt_rope::{Index, Segment, Tail};
use vdt_table::{
    Column, ColumnFrom, ColumnType, FileGroup, INLINE_MAX_BYTES, Layout, LayoutError,
    ROW_GROUPS_MAX, TableSchema, VirtualFile, groups, lay_out,
};

use crate::support::{artifact, group, source, tail};

/// Reads footer and indexes from the literals at the end alone.
fn metadata(file: &VirtualFile) -> ParquetMetaData {
    let from = file.rope().len() - last_literal(file);
    let bytes = tail(&file.rope(), from);
    let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
    reader.try_parse_sized(&bytes, file.rope().len()).unwrap();
    reader.finish().unwrap()
}

fn last_literal(file: &VirtualFile) -> u64 {
    file.rope().segments().last().unwrap().len()
}

fn data_chunks(file: &VirtualFile) -> Vec<u64> {
    metadata(file)
        .row_groups()
        .iter()
        .map(|g| g.column(5).compressed_size() as u64)
        .collect()
}

#[test]
fn last_bytes_of_a_large_file_lie_in_one_frame() {
    let file = lay_out(
        &TableSchema::artifacts(),
        &Layout::default(),
        &group((0..8_000).map(|row| 100_000 + row)),
    )
    .unwrap();
    let length = file.stored.len() as u64;
    let Ok(Tail::Index(index)) = Index::parse(&file.stored, length) else {
        panic!("the whole file was given");
    };
    let frames = index.frames_for(index.len() - 8..index.len());
    assert_eq!(frames.len(), 1);
    let read = index.file_range(frames);
    let stored = &file.stored[read.start as usize..read.end as usize];
    let last = index.segment_frames().end - 1;
    let Some(Segment::Literal(end)) = index.decode_frame(last, stored).unwrap().pop() else {
        panic!("a file ends with its footer");
    };
    assert!(end.ends_with(b"PAR1"));
    assert!(index.segment_frames().len() > 20);
}

const CHUNK_LIMIT: u64 = (1 << 31) - (8 << 10);

#[test]
fn largest_inline_artifact_stays_below_two_gib_less_8_kib() {
    let layout = Layout {
        inline_max_bytes: u64::MAX,
        ..Layout::default()
    };
    let sizes = [
        1,
        INLINE_MAX_BYTES,
        1,
        INLINE_MAX_BYTES + 1,
        INLINE_MAX_BYTES,
    ];
    let file = lay_out(&TableSchema::artifacts(), &layout, &group(sizes)).unwrap();
    let chunks = data_chunks(&file);
    assert_eq!(chunks.len(), 4, "{chunks:?}");
    assert!(chunks.iter().all(|&c| c < CHUNK_LIMIT), "{chunks:?}");
    assert_eq!(file.artifact_bytes, 2 * INLINE_MAX_BYTES + 2);
    assert_eq!(file.stats.columns[5].null_count, 1, "one byte more is null");
    let index = metadata(&file);
    let page = &index.offset_index().unwrap()[1][5].page_locations[0];
    assert_eq!(page.compressed_page_size as u64, INLINE_MAX_BYTES + 35);
}

#[test]
fn row_group_target_of_two_gib_keeps_chunks_below_the_limit() {
    let layout = Layout {
        row_group_target_bytes: u64::MAX,
        file_target_bytes: u64::MAX,
        ..Layout::default()
    };
    let sizes = [100 << 20; 50]
        .into_iter()
        .chain([1; 1_000])
        .chain([(1 << 28) - 40; 9]);
    let file = lay_out(&TableSchema::artifacts(), &layout, &group(sizes)).unwrap();
    let chunks = data_chunks(&file);
    assert!(chunks.iter().all(|&c| c < CHUNK_LIMIT), "{chunks:?}");
    assert!(chunks.len() <= 5, "and no more than needed: {chunks:?}");
}

#[test]
fn bigger_artifact_is_alone_in_its_row_group() {
    let mib = 1 << 20;
    let sizes = [mib, mib, mib, 3 * mib, mib / 2, mib / 2, mib, 1];
    let file = lay_out(&TableSchema::artifacts(), &Layout::default(), &group(sizes)).unwrap();
    let rows: Vec<i64> = metadata(&file)
        .row_groups()
        .iter()
        .map(|g| g.num_rows())
        .collect();
    assert_eq!(rows, [2, 1, 1, 3, 1]);
}

#[test]
fn files_close_at_bytes_and_rows() {
    let gib = 1 << 30;
    let rows = |sizes: Vec<u64>| -> Vec<usize> {
        let FileGroup { source, artifacts } = group(sizes);
        groups(source, artifacts, &Layout::default())
            .map(|g| g.artifacts.len())
            .collect()
    };
    assert_eq!(rows(vec![]), [0; 0]);
    assert_eq!(rows(vec![100 << 20; 25]), [10, 10, 5]);
    assert_eq!(rows(vec![1; 40_000]), [16_000, 16_000, 8_000]);
    // A page for every row: the page indexes of a file stay small.
    assert_eq!(rows(vec![70_000; 20_000]), [8_000, 8_000, 4_000]);
    // Too big to be inline, and so of no weight.
    assert_eq!(rows(vec![gib; 100]), [100]);
}

#[test]
fn files_close_before_10_000_row_groups() {
    let layout = Layout {
        row_group_target_bytes: 1,
        max_rows_per_file: usize::MAX,
        ..Layout::default()
    };
    let FileGroup { source, artifacts } = group([1; 20_000]);
    let files: Vec<_> = groups(source, artifacts, &layout)
        .map(|g| {
            lay_out(&TableSchema::artifacts(), &layout, &g)
                .unwrap()
                .row_groups
        })
        .collect();
    assert_eq!(files.iter().sum::<usize>(), 20_000);
    assert!(files.iter().all(|&n| n <= ROW_GROUPS_MAX), "{files:?}");
    assert_eq!(files.len(), 3);

    let error = lay_out(&TableSchema::artifacts(), &layout, &group([1; 10_001])).unwrap_err();
    assert!(matches!(
        error,
        LayoutError::TooManyRowGroups { rows: 10_001, .. }
    ));
}

#[test]
fn rows_of_tiny_artifacts_close_at_their_own_bytes() {
    let artifacts = (0..16_000).map(|i| artifact(i, &format!("{i:05}{}", "x".repeat(1_000)), 1));
    let group = FileGroup {
        source: source(""),
        artifacts: artifacts.collect(),
    };
    let file = lay_out(&TableSchema::artifacts(), &Layout::default(), &group).unwrap();
    let groups = file.row_groups as u64;
    assert!(
        (15..=40).contains(&groups),
        "{groups} row groups of about 2 MiB"
    );
    assert!(file.literal_bytes / groups < 3 << 20);
}

#[test]
fn groups_that_are_none_are_refused() {
    let refuse = |group: &FileGroup| {
        lay_out(&TableSchema::artifacts(), &Layout::default(), group).unwrap_err()
    };
    let with = |keys: &[&str]| FileGroup {
        source: source("p/"),
        artifacts: keys.iter().map(|k| artifact(0, k, 1)).collect(),
    };
    assert!(matches!(refuse(&with(&[])), LayoutError::Empty { .. }));
    assert!(matches!(
        refuse(&with(&["p/b", "p/a"])),
        LayoutError::Unsorted { .. }
    ));
    assert!(matches!(
        refuse(&with(&["p/a", "p/a"])),
        LayoutError::Unsorted { .. }
    ));
    assert!(matches!(
        refuse(&with(&["q/a"])),
        LayoutError::Foreign { .. }
    ));
}

#[test]
fn only_the_widest_rows_make_files_of_fewer_rows() {
    let constants = |count: usize, bytes: usize, of: ColumnType| {
        let column = |number| Column {
            name: format!("c{number}"),
            column_type: of,
            from: ColumnFrom::Constant("x".repeat(bytes)),
            description: None,
        };
        let columns = (0..count).map(column).collect();
        TableSchema::new(columns, None).unwrap()
    };
    let rows = |schema| Layout::default().for_columns(&schema).max_rows_per_file;
    assert_eq!(rows(TableSchema::artifacts()), 16_000);
    for of in [ColumnType::String, ColumnType::Binary] {
        assert_eq!(rows(constants(32, 1024, of)), 16_000);
        // 512 KiB a row.
        assert_eq!(rows(constants(512, 1024, of)), 1_024);
    }
}
