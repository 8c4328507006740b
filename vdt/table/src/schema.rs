//! The columns of a table: where each value comes from, its type, and the schema as Delta tells it.

use crate::attribute::Attribute;
use crate::pattern::{PathPattern, PatternError};
use crate::value::Scalar;

/// Type of a column. Every column is nullable.
///
/// ```text
/// type       Parquet                                      Delta
/// long       INT64                                        long
/// integer    INT32                                        integer
/// double     DOUBLE                                       double
/// boolean    BOOLEAN                                      boolean
/// date       INT32, DATE                                  date
/// timestamp  INT64, TIMESTAMP(MICROS, UTC)                timestamp
/// string     BYTE_ARRAY, STRING and converted type UTF8   string
/// binary     BYTE_ARRAY                                   binary
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// 64-bit integer.
    Long,
    /// 32-bit integer.
    Integer,
    /// Finite IEEE 754 double.
    Double,
    /// Truth value.
    Boolean,
    /// Day of the years 1 to 9999.
    Date,
    /// Millisecond of the years 1 to 9999, UTC.
    Timestamp,
    /// UTF-8 text.
    String,
    /// Bytes; never with statistics but the count of nulls.
    Binary,
}

impl ColumnType {
    /// Returns the name of the type in a Delta schema.
    pub fn delta_name(self) -> &'static str {
        match self {
            Self::Long => "long",
            Self::Integer => "integer",
            Self::Double => "double",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::String => "string",
            Self::Binary => "binary",
        }
    }

    /// Returns the bytes of a value at hand, PLAIN but for booleans, which have a byte each; `None` where each value begins with
    /// its length.
    pub(crate) fn value_bytes(self) -> Option<usize> {
        match self {
            Self::Boolean => Some(1),
            Self::Integer | Self::Date => Some(4),
            Self::Long | Self::Double | Self::Timestamp => Some(8),
            Self::String | Self::Binary => None,
        }
    }
}

/// Where the values of a column come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ColumnFrom {
    /// What is known of the artifact.
    Attribute(Attribute),
    /// A named part of the path pattern.
    Path(String),
    /// The same for all rows, written as text.
    Constant(String),
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// Name, unique in the table whatever the case of its letters.
    pub name: String,
    /// Type; that of the attribute where the values come from one.
    pub column_type: ColumnType,
    /// Where the values come from.
    pub from: ColumnFrom,
    /// A sentence for readers of the table, the `comment` of the Delta schema.
    pub description: Option<String>,
}

impl Column {
    /// Returns a column of an attribute, with the attribute's type.
    pub fn attribute(name: impl Into<String>, attribute: Attribute) -> Self {
        Self {
            name: name.into(),
            column_type: attribute.column_type(),
            from: ColumnFrom::Attribute(attribute),
            description: None,
        }
    }

    /// Returns whether the column holds the artifacts themselves.
    pub(crate) fn is_data(&self) -> bool {
        self.from == ColumnFrom::Attribute(Attribute::Data)
    }

    /// Returns whether statistics bound the column in Parquet footers: what queries look artifacts up by.
    pub(crate) fn is_bounded_in_footer(&self) -> bool {
        let looked_up = match &self.from {
            ColumnFrom::Attribute(a) => matches!(a, Attribute::Id | Attribute::Filename),
            ColumnFrom::Path(_) | ColumnFrom::Constant(_) => true,
        };
        looked_up && self.column_type != ColumnType::Binary
    }

    /// Returns whether every row may get a page of its own.
    pub(crate) fn is_paged_by_row(&self) -> bool {
        matches!(
            self.from,
            ColumnFrom::Attribute(Attribute::Id | Attribute::Filename)
        )
    }
}

/// Why columns do not make a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// No column but `data`.
    #[error("a table needs a column beside the artifacts themselves, id or filename for instance")]
    NothingToLookUp,
    /// A name that clients cannot hold.
    #[error(
        "column name {name:?} is empty, longer than 255 bytes or holds one of ' ,;{{}}()=', a tab or a newline"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A name used twice.
    #[error("column name {name:?} is used twice; upper and lower case count as the same")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// The artifacts twice.
    #[error("column {name:?} is the second one that holds the artifacts themselves")]
    SecondData {
        /// The second column.
        name: String,
    },
    /// A type that is not the attribute's.
    #[error("column {name:?} is {found}, but its attribute is {expected}")]
    AttributeType {
        /// The column.
        name: String,
        /// The type it declares.
        found: &'static str,
        /// The attribute's type.
        expected: &'static str,
    },
    /// A part of the path as bytes.
    #[error("column {name:?} is a part of the path, which cannot be binary")]
    BinaryPath {
        /// The column.
        name: String,
    },
    /// A part that the pattern does not name.
    #[error(
        "column {name:?} is made from path part {part:?}, which the path pattern does not name"
    )]
    UnknownPart {
        /// The column.
        name: String,
        /// The part.
        part: String,
    },
    /// A constant that is not of its type.
    #[error("constant {constant:?} of column {name:?} is no {expected}")]
    Constant {
        /// The column.
        name: String,
        /// The constant.
        constant: String,
        /// The column's type.
        expected: &'static str,
    },
    /// A path pattern that cannot be used.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

/// The columns of a table, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSchema {
    columns: Vec<Column>,
    origins: Vec<Origin>,
    pattern: Option<PathPattern>,
}

/// Where a column's values come from, resolved.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Origin {
    Attribute(Attribute),
    /// By its place among the pattern's names.
    Part(usize),
    Constant(Scalar),
}

impl TableSchema {
    /// Checks columns and path pattern.
    ///
    /// # Errors
    ///
    /// The first rule broken, naming the column.
    pub fn new(columns: Vec<Column>, path_pattern: Option<&str>) -> Result<Self, SchemaError> {
        let pattern = path_pattern.map(PathPattern::parse).transpose()?;
        let mut names = std::collections::HashSet::new();
        let mut data = false;
        let mut origins = Vec::with_capacity(columns.len());
        for column in &columns {
            let name = &column.name;
            let refused = |c: char| " ,;{}()\n\t=".contains(c);
            if name.is_empty() || name.len() > 255 || name.contains(refused) {
                return Err(SchemaError::Name { name: name.clone() });
            }
            if !names.insert(name.to_lowercase()) {
                return Err(SchemaError::Duplicate { name: name.clone() });
            }
            if column.is_data() && std::mem::replace(&mut data, true) {
                return Err(SchemaError::SecondData { name: name.clone() });
            }
            origins.push(origin(column, pattern.as_ref())?);
        }
        if columns.iter().all(Column::is_data) {
            return Err(SchemaError::NothingToLookUp);
        }
        Ok(Self {
            columns,
            origins,
            pattern,
        })
    }

    /// Returns the eight columns of the artifact table: `id`, `filename`, `content_type`, `url`, `filesize`, `data`,
    /// `checksum`, `checksum_algo`.
    pub fn artifacts() -> Self {
        let columns = [
            ("id", Attribute::Id),
            ("filename", Attribute::Filename),
            ("content_type", Attribute::ContentType),
            ("url", Attribute::Url),
            ("filesize", Attribute::Filesize),
            ("data", Attribute::Data),
            ("checksum", Attribute::Checksum),
            ("checksum_algo", Attribute::ChecksumAlgo),
        ];
        Self {
            columns: columns
                .iter()
                .map(|(name, a)| Column::attribute(*name, *a))
                .collect(),
            origins: columns.iter().map(|(_, a)| Origin::Attribute(*a)).collect(),
            pattern: None,
        }
    }

    /// Returns the same columns without the artifacts themselves: the schema of the table's `_meta` sibling.
    #[must_use]
    pub fn without_data(&self) -> Self {
        let kept = |(column, origin): (&Column, &Origin)| {
            (!column.is_data()).then(|| (column.clone(), origin.clone()))
        };
        let (columns, origins) = self
            .columns
            .iter()
            .zip(&self.origins)
            .filter_map(kept)
            .unzip();
        Self {
            columns,
            origins,
            pattern: self.pattern.clone(),
        }
    }

    /// Returns the bytes that the constants take in every row.
    pub(crate) fn constant_bytes(&self) -> usize {
        let bytes = |origin: &Origin| match origin {
            Origin::Constant(Scalar::String(text)) => text.len(),
            Origin::Constant(Scalar::Binary(bytes)) => bytes.len(),
            Origin::Constant(
                Scalar::Long(_)
                | Scalar::Integer(_)
                | Scalar::Double(_)
                | Scalar::Boolean(_)
                | Scalar::Date(_)
                | Scalar::Timestamp(_),
            ) => size_of::<i64>(),
            Origin::Attribute(_) | Origin::Part(_) => 0,
        };
        self.origins.iter().map(bytes).sum()
    }

    /// Returns the number of columns that are made from an artifact's key.
    pub(crate) fn key_columns(&self) -> u64 {
        let is_of_key = |column: &&Column| {
            matches!(
                column.from,
                ColumnFrom::Path(_) | ColumnFrom::Attribute(Attribute::Filename | Attribute::Url)
            )
        };
        self.columns.iter().filter(is_of_key).count() as u64
    }

    /// Returns the columns in their order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Returns the path pattern.
    pub fn path_pattern(&self) -> Option<&PathPattern> {
        self.pattern.as_ref()
    }

    /// Returns the schema as `metaData.schemaString` of Delta holds it (PROTOCOL "Schema Serialization Format").
    pub fn delta_schema_json(&self) -> String {
        let fields = self.columns.iter().map(|column| {
            let metadata = match &column.description {
                Some(text) => serde_json::json!({ "comment": text }),
                None => serde_json::json!({}),
            };
            format!(
                r#"{{"name":{},"type":"{}","nullable":true,"metadata":{metadata}}}"#,
                serde_json::Value::from(column.name.as_str()),
                column.column_type.delta_name(),
            )
        });
        format!(
            r#"{{"type":"struct","fields":[{}]}}"#,
            fields.collect::<Vec<_>>().join(",")
        )
    }

    pub(crate) fn origins(&self) -> &[Origin] {
        &self.origins
    }
}

/// Resolves where a column's values come from.
fn origin(column: &Column, pattern: Option<&PathPattern>) -> Result<Origin, SchemaError> {
    let name = || column.name.clone();
    let expected = column.column_type.delta_name();
    match &column.from {
        ColumnFrom::Attribute(attribute) if attribute.column_type() == column.column_type => {
            Ok(Origin::Attribute(*attribute))
        }
        ColumnFrom::Attribute(attribute) => Err(SchemaError::AttributeType {
            name: name(),
            found: expected,
            expected: attribute.column_type().delta_name(),
        }),
        ColumnFrom::Path(_) if column.column_type == ColumnType::Binary => {
            Err(SchemaError::BinaryPath { name: name() })
        }
        ColumnFrom::Path(part) => pattern
            .and_then(|p| p.names().iter().position(|n| n == part))
            .map(Origin::Part)
            .ok_or_else(|| SchemaError::UnknownPart {
                name: name(),
                part: part.clone(),
            }),
        ColumnFrom::Constant(constant) => Scalar::parse(column.column_type, constant)
            .map(Origin::Constant)
            .ok_or_else(|| SchemaError::Constant {
                name: name(),
                constant: constant.clone(),
                expected,
            }),
    }
}

#[cfg(test)]
mod tests;
