//! Statistics of a file, exact by construction: gathered from the very values that are written. Invariant 4 is
//! kept here: statistics are exact, and none but the count of nulls for binary columns.
//!
//! Clients take them for guarantees: some answer `count(*)` from them and drop filters that they imply. So bounds are
//! never cut, a timestamp is a whole millisecond (Delta's text form has no more), doubles are finite and never `-0.0`, and
//! bytes have no bounds at all, only their count of nulls.

use serde_json::Value;

use crate::chunk::{Bounds, ChunkValues};
use crate::schema::{Column, ColumnType};
use crate::value::Scalar;

/// Statistics of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// Rows of the file.
    pub rows: u64,
    /// In the order of the schema.
    pub columns: Vec<ColumnStats>,
}

/// Statistics of a column.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnStats {
    /// Name of the column.
    pub name: String,
    /// Rows that are null.
    pub null_count: u64,
    /// Least and greatest value; none where all rows are null, and for bytes.
    pub bounds: Option<(Scalar, Scalar)>,
}

impl Stats {
    /// Returns the statistics as `add.stats` of Delta holds them (PROTOCOL "Per-file Statistics").
    pub fn to_json(&self) -> String {
        let object = |member: &dyn Fn(&ColumnStats) -> Option<Value>| {
            let members = self.columns.iter().filter_map(|column| {
                let value = member(column)?;
                Some(format!("{}:{value}", Value::from(column.name.as_str())))
            });
            members.collect::<Vec<_>>().join(",")
        };
        format!(
            r#"{{"numRecords":{},"minValues":{{{}}},"maxValues":{{{}}},"nullCount":{{{}}}}}"#,
            self.rows,
            object(&|c| c.bounds.as_ref()?.0.to_json()),
            object(&|c| c.bounds.as_ref()?.1.to_json()),
            object(&|c| Some(c.null_count.into())),
        )
    }
}

/// Gathers the statistics of a column over the row groups of a file.
#[derive(Debug)]
pub(crate) struct ColumnStatsBuilder {
    column_type: ColumnType,
    null_count: u64,
    bounds: Option<Raw>,
}

/// Bounds of a file, as values.
#[derive(Debug)]
enum Raw {
    Integer(i64, i64),
    Double(f64, f64),
    Bytes(Vec<u8>, Vec<u8>),
}

impl ColumnStatsBuilder {
    pub(crate) fn new(column_type: ColumnType) -> Self {
        Self {
            column_type,
            null_count: 0,
            bounds: None,
        }
    }

    /// Adds nulls of rows that have no values at hand.
    pub(crate) fn add_nulls(&mut self, nulls: usize) {
        self.null_count += nulls as u64;
    }

    /// Adds a chunk.
    pub(crate) fn add(&mut self, chunk: &ChunkValues) {
        self.add_nulls(chunk.nulls());
        match (chunk.bounds(), &mut self.bounds) {
            (Bounds::None, _) => {}
            (Bounds::Integer(min, max), Some(Raw::Integer(low, high))) => {
                *low = (*low).min(*min);
                *high = (*high).max(*max);
            }
            (Bounds::Double(min, max), Some(Raw::Double(low, high))) => {
                *low = low.min(*min);
                *high = high.max(*max);
            }
            (Bounds::Bytes(min, max), Some(Raw::Bytes(low, high))) => {
                let (min, max) = (&chunk.values()[min.clone()], &chunk.values()[max.clone()]);
                if min < low.as_slice() {
                    min.clone_into(low);
                }
                if max > high.as_slice() {
                    max.clone_into(high);
                }
            }
            (Bounds::Integer(min, max), bounds) => *bounds = Some(Raw::Integer(*min, *max)),
            (Bounds::Double(min, max), bounds) => *bounds = Some(Raw::Double(*min, *max)),
            (Bounds::Bytes(min, max), bounds) => {
                let bytes = |range: &std::ops::Range<usize>| chunk.values()[range.clone()].to_vec();
                *bounds = Some(Raw::Bytes(bytes(min), bytes(max)));
            }
        }
    }

    pub(crate) fn finish(self, column: &Column) -> ColumnStats {
        let scalar = self.column_type;
        let bounds = self.bounds.map(|raw| match raw {
            Raw::Integer(min, max) => (integer(scalar, min), integer(scalar, max)),
            Raw::Double(min, max) => (Scalar::Double(min), Scalar::Double(max)),
            Raw::Bytes(min, max) => (text(min), text(max)),
        });
        ColumnStats {
            name: column.name.clone(),
            null_count: self.null_count,
            bounds,
        }
    }
}

/// Returns a value of an integral type, as [`ChunkValues`] keeps its bounds.
fn integer(column_type: ColumnType, value: i64) -> Scalar {
    match column_type {
        ColumnType::Boolean => Scalar::Boolean(value != 0),
        // Both came from 32 bits.
        ColumnType::Integer => Scalar::Integer(value as i32),
        ColumnType::Date => Scalar::Date(value as i32),
        ColumnType::Timestamp => Scalar::Timestamp(value / 1_000),
        ColumnType::Long | ColumnType::Double | ColumnType::String | ColumnType::Binary => {
            Scalar::Long(value)
        }
    }
}

fn text(bytes: Vec<u8>) -> Scalar {
    let text = String::from_utf8(bytes).expect("bounds of strings are strings");
    Scalar::String(text.into_boxed_str())
}
