//! Single values: read from text, and bounds in statistics.

use crate::schema::ColumnType;
use crate::time;

/// A value that is not null.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// 64-bit integer.
    Long(i64),
    /// 32-bit integer.
    Integer(i32),
    /// Finite, and never `-0.0`.
    Double(f64),
    /// Truth value.
    Boolean(bool),
    /// Days since 1970-01-01.
    Date(i32),
    /// Milliseconds since 1970-01-01 UTC.
    Timestamp(i64),
    /// Text.
    String(Box<str>),
    /// Bytes.
    Binary(Box<[u8]>),
}

impl Scalar {
    /// Reads a value of a type from text, `None` where the text is none.
    ///
    /// | type | accepted |
    /// |---|---|
    /// | long, integer | decimal digits with an optional sign; leading zeros are fine |
    /// | double | Rust's forms of a finite number; `-0` becomes `0` |
    /// | boolean | `true`, `false`, ignoring case |
    /// | date | `YYYY-MM-DD`, `YYYYMMDD` |
    /// | timestamp | ISO 8601, UTC where no zone is given, cut to the millisecond |
    /// | string, binary | everything; binary is the UTF-8 bytes |
    pub fn parse(column_type: ColumnType, text: &str) -> Option<Self> {
        match column_type {
            ColumnType::Long => text.parse().ok().map(Self::Long),
            ColumnType::Integer => text.parse().ok().map(Self::Integer),
            ColumnType::Double => parse_double(text).map(Self::Double),
            ColumnType::Boolean => parse_boolean(text).map(Self::Boolean),
            ColumnType::Date => time::parse_date(text).map(Self::Date),
            ColumnType::Timestamp => time::parse_timestamp(text).map(Self::Timestamp),
            ColumnType::String => Some(Self::String(text.into())),
            ColumnType::Binary => Some(Self::Binary(text.as_bytes().into())),
        }
    }

    /// Returns the value as Delta statistics show it, `None` for bytes, which have no statistics.
    pub(crate) fn to_json(&self) -> Option<serde_json::Value> {
        Some(match self {
            Self::Long(v) => (*v).into(),
            Self::Integer(v) => (*v).into(),
            Self::Double(v) => (*v).into(),
            Self::Boolean(v) => (*v).into(),
            Self::Date(v) => time::format_date(*v).into(),
            Self::Timestamp(v) => time::format_timestamp(*v).into(),
            Self::String(v) => (&**v).into(),
            Self::Binary(_) => return None,
        })
    }
}

/// Reads a finite number; `-0.0` becomes `0.0`, so that equal values have equal bytes.
pub(crate) fn parse_double(text: &str) -> Option<f64> {
    text.parse()
        .ok()
        .filter(|v: &f64| v.is_finite())
        .map(|v| v + 0.0)
}

/// Reads `true` or `false`.
pub(crate) fn parse_boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else {
        text.eq_ignore_ascii_case("false").then_some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_by_type() {
        let cases = [
            (
                ColumnType::Long,
                "-9223372036854775808",
                Some(Scalar::Long(i64::MIN)),
            ),
            (ColumnType::Long, "9223372036854775808", None),
            (ColumnType::Integer, "007", Some(Scalar::Integer(7))),
            (ColumnType::Integer, "2147483648", None),
            (ColumnType::Integer, "1.0", None),
            (ColumnType::Integer, "", None),
            (ColumnType::Double, "1e3", Some(Scalar::Double(1000.0))),
            (ColumnType::Double, "inf", None),
            (ColumnType::Double, "NaN", None),
            (ColumnType::Double, "1e400", None),
            (ColumnType::Boolean, "TRUE", Some(Scalar::Boolean(true))),
            (ColumnType::Boolean, "1", None),
            (ColumnType::Date, "1970-01-02", Some(Scalar::Date(1))),
            (
                ColumnType::Timestamp,
                "1970-01-01T00:00:00.001Z",
                Some(Scalar::Timestamp(1)),
            ),
            (ColumnType::String, "", Some(Scalar::String("".into()))),
            (
                ColumnType::Binary,
                "é",
                Some(Scalar::Binary([0xc3, 0xa9].into())),
            ),
        ];
        for (column_type, text, expected) in cases {
            assert_eq!(
                Scalar::parse(column_type, text),
                expected,
                "{column_type:?} {text}"
            );
        }
    }

    #[test]
    fn negative_zero_becomes_zero() {
        assert_eq!(parse_double("-0.0").unwrap().to_bits(), 0.0f64.to_bits());
    }
}
