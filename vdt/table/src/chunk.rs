//! The values of one column in one row group: encoded PLAIN as they come, with nulls and bounds noted on the way.

use std::ops::Range;

use crate::schema::ColumnType;

/// Least and greatest value seen. Bytes lie in [`ChunkValues::values`].
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Bounds {
    /// No value, or a column without bounds.
    #[default]
    None,
    /// Long, integer, boolean, date, timestamp.
    Integer(i64, i64),
    /// Double.
    Double(f64, f64),
    /// String.
    Bytes(Range<usize>, Range<usize>),
}

/// Values of a chunk. Reused from row group to row group.
#[derive(Debug)]
pub(crate) struct ChunkValues {
    column_type: ColumnType,
    values: Vec<u8>,
    valid: Vec<bool>,
    nulls: usize,
    bounds: Bounds,
}

impl ChunkValues {
    pub(crate) fn new(column_type: ColumnType) -> Self {
        Self {
            column_type,
            values: Vec::new(),
            valid: Vec::new(),
            nulls: 0,
            bounds: Bounds::None,
        }
    }

    /// Forgets all values.
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.valid.clear();
        self.nulls = 0;
        self.bounds = Bounds::None;
    }

    pub(crate) fn column_type(&self) -> ColumnType {
        self.column_type
    }

    /// PLAIN values of the rows that are not null; booleans still as one byte each.
    pub(crate) fn values(&self) -> &[u8] {
        &self.values
    }

    /// For every row, whether it has a value.
    pub(crate) fn valid(&self) -> &[bool] {
        &self.valid
    }

    pub(crate) fn rows(&self) -> usize {
        self.valid.len()
    }

    pub(crate) fn nulls(&self) -> usize {
        self.nulls
    }

    pub(crate) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Appends the bounds to the arena as PLAIN values without length, and returns where they lie.
    pub(crate) fn put_bounds(&self, arena: &mut Vec<u8>) -> Option<(Range<usize>, Range<usize>)> {
        let mut put = |bytes: &[u8]| {
            let start = arena.len();
            arena.extend_from_slice(bytes);
            start..arena.len()
        };
        match &self.bounds {
            Bounds::None => None,
            Bounds::Double(min, max) => Some((put(&min.to_le_bytes()), put(&max.to_le_bytes()))),
            Bounds::Integer(min, max) => {
                let width = self.column_type.value_bytes();
                let width = width.expect("numbers of a type are of one width");
                let (min, max) = (min.to_le_bytes(), max.to_le_bytes());
                Some((put(&min[..width]), put(&max[..width])))
            }
            Bounds::Bytes(min, max) => Some((
                put(&self.values[min.clone()]),
                put(&self.values[max.clone()]),
            )),
        }
    }

    pub(crate) fn push_null(&mut self) {
        self.valid.push(false);
        self.nulls += 1;
    }

    /// Appends a long, or a timestamp in microseconds.
    pub(crate) fn push_i64(&mut self, value: i64) {
        self.values.extend_from_slice(&value.to_le_bytes());
        self.valid.push(true);
        self.widen(value);
    }

    /// Appends an integer or a date.
    pub(crate) fn push_i32(&mut self, value: i32) {
        self.values.extend_from_slice(&value.to_le_bytes());
        self.valid.push(true);
        self.widen(value.into());
    }

    pub(crate) fn push_bool(&mut self, value: bool) {
        self.values.push(value.into());
        self.valid.push(true);
        self.widen(value.into());
    }

    /// Appends a finite number.
    pub(crate) fn push_f64(&mut self, value: f64) {
        self.values.extend_from_slice(&value.to_le_bytes());
        self.valid.push(true);
        self.bounds = match self.bounds {
            Bounds::Double(min, max) => Bounds::Double(min.min(value), max.max(value)),
            _ => Bounds::Double(value, value),
        };
    }

    /// Appends a string or bytes.
    pub(crate) fn push_bytes(&mut self, value: &[u8]) {
        self.push_with(|out| out.extend_from_slice(value));
    }

    /// Appends a string or bytes, which `write` adds to the end of a vector.
    pub(crate) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let at = self.values.len();
        self.values.extend_from_slice(&[0; 4]);
        write(&mut self.values);
        let value = at + 4..self.values.len();
        // A value is a key, a URL or a constant: kilobytes.
        let length = value.len() as u32;
        self.values[at..at + 4].copy_from_slice(&length.to_le_bytes());
        self.valid.push(true);
        if self.column_type == ColumnType::String {
            self.widen_bytes(value);
        }
    }

    fn widen(&mut self, value: i64) {
        self.bounds = match self.bounds {
            Bounds::Integer(min, max) => Bounds::Integer(min.min(value), max.max(value)),
            _ => Bounds::Integer(value, value),
        };
    }

    fn widen_bytes(&mut self, value: Range<usize>) {
        match &mut self.bounds {
            Bounds::Bytes(min, max) => {
                // Names ascend: most values are the greatest so far.
                if self.values[value.clone()] > self.values[max.clone()] {
                    *max = value;
                } else if self.values[value.clone()] < self.values[min.clone()] {
                    *min = value;
                }
            }
            _ => self.bounds = Bounds::Bytes(value.clone(), value),
        }
    }
}
