//! Every value and every bound of the files of `t_meta`, against the rows that they were made of.

use std::sync::Arc;

use vdt_rope::SourceObject;
use vdt_table::{
    Artifact, Attribute, Column, ColumnFrom, ColumnType, Layout, TableSchema, VirtualFile,
    meta_files,
};

use super::Rows;
use crate::statistics::{Bounded, check_statistics, metadata};
use crate::support::{artifact, hash, materialise, source};
use crate::values::{check_values, read};

/// Lays rows of one source out without their data and checks all that the files say.
pub(crate) fn check(schema: &TableSchema, layout: &Layout, rows: &Rows) -> Vec<VirtualFile> {
    let lay_out = || meta_files(schema, layout, rows.iter().cloned());
    let files: Vec<VirtualFile> = lay_out().map(Result::unwrap).collect();
    let shown = schema.without_data();
    let mut rest = rows.as_slice();
    for file in &files {
        let bytes = materialise(&file.rope());
        let size = bytes.len() as u64;
        assert_eq!((size, size), (file.name.size, file.literal_bytes));
        assert_eq!(file.artifact_bytes, 0);
        let (of_file, others) = rest.split_at(file.rows as usize);
        rest = others;
        let source = &of_file[0].0;
        let artifacts: Vec<Artifact> = of_file.iter().map(|(_, row)| row.clone()).collect();
        let read = read(&bytes);
        check_values(&shown, layout, source, &artifacts, file, &read);
        check_statistics(&bytes, &shown, &Bounded::All, file, &read);
        let metadata = metadata(&bytes);
        assert_eq!(metadata.num_row_groups(), file.row_groups);
        for chunks in metadata.row_groups() {
            for (chunk, column) in chunks.columns().iter().zip(shown.columns()) {
                let looked_up = [Attribute::Id, Attribute::Filename];
                let indexed = looked_up.map(ColumnFrom::Attribute).contains(&column.from);
                assert_eq!(chunk.column_index_offset().is_some(), indexed);
            }
        }
    }
    assert!(rest.is_empty(), "every row is in a file");
    let again = lay_out().map(|file| file.unwrap().name);
    assert!(
        again.eq(files.iter().map(|file| file.name)),
        "same rows, same names"
    );
    files
}

/// Rows of a file of two row groups, the first of several pages, and of one more file. Only their names and what is made of those are in order.
fn many() -> Rows {
    let part = |number: u64| match number % 10 {
        0 => format!("-{}", number % 99_991),
        1 => format!("20{}-02-{}", 10 + number % 89, 10 + number % 19),
        2 => (number % 11 < 5).to_string(),
        3 => format!("{}.5", 10_000 + number % 89_989),
        _ => (10_000 + number % 89_989).to_string(),
    };
    let source = source("");
    let row = |number: u64| {
        let mixed = hash(&number.to_string()) >> 3;
        let row = artifact(
            mixed as i64 % 1_000_000_007,
            &format!("{}/{number}.pdf", part(mixed)),
            mixed,
        );
        let object = SourceObject {
            version: mixed.is_multiple_of(3).then(|| format!("{mixed:x}").into()),
            ..(*row.object).clone()
        };
        (
            source.clone(),
            Artifact {
                object: Arc::new(object),
                ..row
            },
        )
    };
    let mut rows: Rows = (0..75_000).map(row).collect();
    rows.sort_by(|(_, a), (_, b)| a.object.key.cmp(&b.object.key));
    // The least lies in the second row group, as the greatest of the numbers in names do.
    rows[70_000].1.id = i64::MIN;
    rows
}

#[test]
fn bounds_are_exact_over_pages_and_row_groups() {
    let part = |column_type| Column {
        name: format!("{column_type:?}"),
        column_type,
        from: ColumnFrom::Path("a".into()),
        description: None,
    };
    let types = [
        ColumnType::Long,
        ColumnType::Double,
        ColumnType::Boolean,
        ColumnType::Date,
        ColumnType::String,
    ];
    let attributes = [
        Attribute::Id,
        Attribute::Filename,
        Attribute::LastModified,
        Attribute::VersionId,
    ];
    let attributes =
        attributes.map(|attribute| Column::attribute(format!("{attribute:?}"), attribute));
    let columns = attributes.into_iter().chain(types.map(part)).collect();
    let schema = TableSchema::new(columns, Some("{a}/**")).unwrap();
    let files = check(&schema, &Layout::default(), &many());
    // What holds for one page alone is asked of any artifacts anyway.
    let counts: Vec<usize> = files.iter().map(|file| file.row_groups).collect();
    assert_eq!(counts, [2, 1]);
    let metadata = metadata(&materialise(&files[0].rope()));
    let pages = |column: usize| {
        metadata.offset_index().unwrap()[0][column]
            .page_locations
            .len()
    };
    assert_eq!((pages(0), pages(1)), (4, 4));
}
