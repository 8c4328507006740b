//! Statistics of a file, computed a second time from the values that were read.

use std::collections::BTreeMap;

use bytes::Bytes;
use parquet::basic::BoundaryOrder;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;
use serde_json::value::RawValue;
use vdt_table::{Attribute, Column, ColumnFrom, ColumnType, Scalar, TableSchema, VirtualFile};

use crate::values::Value;

pub(crate) fn metadata(bytes: &Bytes) -> ParquetMetaData {
    ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Optional)
        .parse_and_finish(bytes)
        .unwrap()
}

/// Which columns the footer and the page indexes of a file have bounds of.
pub(crate) enum Bounded {
    /// Those that queries look up: a file of the table.
    LookedUp,
    /// All but bytes: a file of its `_meta` sibling.
    All,
}

impl Bounded {
    fn has(&self, column: &Column) -> bool {
        match (self, &column.from) {
            (Self::LookedUp, ColumnFrom::Attribute(a)) => {
                matches!(a, Attribute::Id | Attribute::Filename)
            }
            _ => column.column_type != ColumnType::Binary,
        }
    }
}

/// Checks the statistics of the file, of every row group and of every page against the values that were read.
pub(crate) fn check_statistics(
    bytes: &Bytes,
    schema: &TableSchema,
    bounded: &Bounded,
    file: &VirtualFile,
    read: &[Vec<Value>],
) {
    let metadata = metadata(bytes);
    assert_eq!(file.stats.rows as usize, read.len());
    let json: serde_json::Value = serde_json::from_str(&file.stats.to_json()).unwrap();
    assert_eq!(json["numRecords"], read.len());
    // As they are written: serde_json reads some doubles as their neighbours.
    let mut written: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(&file.stats.to_json()).unwrap();
    let mut side = |name: &str| -> BTreeMap<String, Box<RawValue>> {
        serde_json::from_str(written.remove(name).unwrap().get()).unwrap()
    };
    let (mins, maxs) = (side("minValues"), side("maxValues"));
    for (c, column) in schema.columns().iter().enumerate() {
        let values: Vec<Value> = read.iter().map(|row| row[c].clone()).collect();
        let (bounds, nulls) = recompute(&values, column.column_type);
        let stats = &file.stats.columns[c];
        assert_eq!(
            (&stats.name, &stats.bounds, stats.null_count),
            (&column.name, &bounds, nulls)
        );
        assert_eq!(json["nullCount"][&column.name], nulls);
        let of_json = |side: &BTreeMap<String, Box<RawValue>>| {
            let written = side.get(&column.name)?.get();
            let text = serde_json::from_str(written).unwrap_or_else(|_| written.to_owned());
            Some(Scalar::parse(column.column_type, &text).unwrap())
        };
        let (min, max) = bounds.unzip();
        assert_eq!((of_json(&mins), of_json(&maxs)), (min, max));

        let mut first = 0;
        for (g, row_group) in metadata.row_groups().iter().enumerate() {
            let rows = row_group.num_rows() as usize;
            let slice = &values[first..first + rows];
            first += rows;
            let (bounds, nulls) = recompute(slice, column.column_type);
            let found: &Statistics = row_group.column(c).statistics().unwrap();
            assert_eq!(found.null_count_opt(), Some(nulls));
            let bounds = bounds.filter(|_| bounded.has(column));
            assert_eq!(
                found
                    .min_bytes_opt()
                    .map(<[u8]>::to_vec)
                    .zip(found.max_bytes_opt().map(<[u8]>::to_vec)),
                bounds.as_ref().map(|(min, max)| (plain(min), plain(max)))
            );
            if bounds.is_some() {
                assert!(found.min_is_exact() && found.max_is_exact());
            }
            check_page_bounds(&metadata, g, c, column.column_type, slice);
        }
        assert_eq!(first, values.len());
    }
}

/// Checks the column index of a chunk, if it has one, against the values of its rows.
fn check_page_bounds(
    metadata: &ParquetMetaData,
    row_group: usize,
    column: usize,
    column_type: ColumnType,
    values: &[Value],
) {
    let Some(index) = metadata.column_index().map(|i| &i[row_group][column]) else {
        return;
    };
    let of = |bytes: Option<&[u8]>| bytes.unwrap().to_vec();
    let found: Vec<(Vec<u8>, Vec<u8>)> = match index {
        ColumnIndexMetaData::NONE => return,
        ColumnIndexMetaData::INT64(i) => (i.min_values().iter().zip(i.max_values()))
            .map(|(min, max)| (min.to_le_bytes().into(), max.to_le_bytes().into()))
            .collect(),
        ColumnIndexMetaData::BYTE_ARRAY(i) => (i.min_values_iter().zip(i.max_values_iter()))
            .map(|(min, max)| (of(min), of(max)))
            .collect(),
        other => panic!("no column index expected: {other:?}"),
    };
    let pages = &metadata.offset_index().unwrap()[row_group][column].page_locations;
    let starts = || pages.iter().map(|page| page.first_row_index as usize);
    let ends = starts().skip(1).chain([values.len()]);
    let bounds: Vec<(Scalar, Scalar)> = (starts().zip(ends))
        .map(
            |(start, end)| match recompute(&values[start..end], column_type) {
                (Some(bounds), 0) => bounds,
                other => panic!("columns with an index have no nulls: {other:?}"),
            },
        )
        .collect();
    let expected: Vec<_> = (bounds.iter())
        .map(|(min, max)| (plain(min), plain(max)))
        .collect();
    assert_eq!(found, expected, "bounds of the pages");
    if index.get_boundary_order() == Some(BoundaryOrder::ASCENDING) {
        let ascends = |a: &Scalar, b: &Scalar| !less(b, a);
        assert!(bounds.is_sorted_by(|a, b| ascends(&a.0, &b.0) && ascends(&a.1, &b.1)));
    }
}

/// Least and greatest, and the count of nulls.
fn recompute(values: &[Value], column_type: ColumnType) -> (Option<(Scalar, Scalar)>, u64) {
    let nulls = values.iter().filter(|v| **v == Value::Null).count() as u64;
    let mut bounds: Option<(Scalar, Scalar)> = None;
    for value in values {
        let Value::Scalar(scalar) = value else {
            continue;
        };
        if column_type == ColumnType::Binary {
            continue;
        }
        bounds = Some(match bounds {
            None => (scalar.clone(), scalar.clone()),
            Some((min, max)) => (
                if less(scalar, &min) {
                    scalar.clone()
                } else {
                    min
                },
                if less(&max, scalar) {
                    scalar.clone()
                } else {
                    max
                },
            ),
        });
    }
    (bounds, nulls)
}

fn less(a: &Scalar, b: &Scalar) -> bool {
    match (a, b) {
        (Scalar::Long(a), Scalar::Long(b)) => a < b,
        (Scalar::Integer(a), Scalar::Integer(b)) | (Scalar::Date(a), Scalar::Date(b)) => a < b,
        (Scalar::Double(a), Scalar::Double(b)) => a < b,
        (Scalar::Boolean(a), Scalar::Boolean(b)) => a < b,
        (Scalar::Timestamp(a), Scalar::Timestamp(b)) => a < b,
        (Scalar::String(a), Scalar::String(b)) => a.as_bytes() < b.as_bytes(),
        other => panic!("not comparable: {other:?}"),
    }
}

/// A bound as the footer holds it.
fn plain(scalar: &Scalar) -> Vec<u8> {
    match scalar {
        Scalar::Long(v) => v.to_le_bytes().into(),
        Scalar::Integer(v) | Scalar::Date(v) => v.to_le_bytes().into(),
        Scalar::Double(v) => v.to_le_bytes().into(),
        Scalar::Boolean(v) => vec![u8::from(*v)],
        Scalar::Timestamp(ms) => (ms * 1_000).to_le_bytes().into(),
        Scalar::String(v) => v.as_bytes().into(),
        Scalar::Binary(v) => v.to_vec(),
    }
}
