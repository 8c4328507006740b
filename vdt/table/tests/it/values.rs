//! The values of a file: as the `parquet` crate reads them, and as they should be.

use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use vdt_table::{
    Artifact, Attribute, ChecksumPolicy, Column, ColumnFrom, Layout, Scalar, SourceContext,
    TableSchema, VirtualFile,
};

use crate::support::content;

/// A value as a reader sees it, in an order of its own only for `max` and `min`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Scalar(Scalar),
}

fn value(field: &Field) -> Value {
    Value::Scalar(match field {
        Field::Null => return Value::Null,
        Field::Long(v) => Scalar::Long(*v),
        Field::Int(v) => Scalar::Integer(*v),
        Field::Double(v) => Scalar::Double(*v),
        Field::Bool(v) => Scalar::Boolean(*v),
        Field::Date(v) => Scalar::Date(*v),
        Field::TimestampMicros(v) => {
            assert_eq!(v % 1_000, 0, "timestamps are whole milliseconds");
            Scalar::Timestamp(v / 1_000)
        }
        Field::Str(v) => Scalar::String(v.as_str().into()),
        Field::Bytes(v) => Scalar::Binary(v.data().into()),
        other => panic!("no such type in a virtual file: {other:?}"),
    })
}

/// What a column should hold for an artifact, written down a second time.
fn expected(
    column: &Column,
    pattern: bool,
    layout: &Layout,
    source: &SourceContext,
    artifact: &Artifact,
) -> Value {
    let object = &artifact.object;
    let name = object.key.strip_prefix(source.prefix.as_str()).unwrap();
    let text = |v: Option<&str>| v.map_or(Value::Null, |v| Value::Scalar(Scalar::String(v.into())));
    let checksum = match layout.checksum {
        ChecksumPolicy::Known if source.etag_is_checksum => object.etag.as_deref(),
        _ => None,
    };
    match &column.from {
        ColumnFrom::Attribute(attribute) => match attribute {
            Attribute::Id => Value::Scalar(Scalar::Long(artifact.id)),
            Attribute::Filename => text(Some(name)),
            Attribute::ContentType => text(
                mime_guess::from_path(name)
                    .first_raw()
                    .filter(|_| !name.ends_with('/')),
            ),
            Attribute::Url => {
                let path: String = object.key.bytes().map(encode).collect();
                text(Some(&format!("{}{path}", source.url_prefix)))
            }
            Attribute::Filesize => Value::Scalar(Scalar::Long(object.size as i64)),
            Attribute::Data => match layout.inlined_bytes(artifact) {
                Some(_) => Value::Scalar(Scalar::Binary(content(object).into())),
                None => Value::Null,
            },
            Attribute::Checksum => text(checksum),
            Attribute::ChecksumAlgo => text(checksum.map(|_| "etag")),
            Attribute::LastModified => {
                match (-62_135_596_800_000..=253_402_300_799_999).contains(&object.last_modified_ms)
                {
                    true => Value::Scalar(Scalar::Timestamp(object.last_modified_ms)),
                    false => Value::Null,
                }
            }
            Attribute::ETag => text(object.etag.as_deref()),
            Attribute::Source => text(Some(&source.name)),
            Attribute::VersionId => text(object.version.as_deref()),
            Attribute::StorageClass => text(artifact.storage_class.as_deref()),
        },
        ColumnFrom::Constant(constant) => {
            Value::Scalar(Scalar::parse(column.column_type, constant).unwrap())
        }
        // The one pattern used here is {a}/**.
        ColumnFrom::Path(_) => match name.split_once('/') {
            Some((part, _)) if pattern && !part.is_empty() => {
                Scalar::parse(column.column_type, part).map_or(Value::Null, Value::Scalar)
            }
            _ => Value::Null,
        },
    }
}

fn encode(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    }
}

/// The rows of a file, by the `parquet` crate.
pub(crate) fn read(bytes: &Bytes) -> Vec<Vec<Value>> {
    let reader = SerializedFileReader::new(bytes.clone()).unwrap();
    let values = |row: Row| {
        row.get_column_iter()
            .map(|(_, field)| value(field))
            .collect()
    };
    let rows = reader.get_row_iter(None).unwrap();
    rows.map(|row| values(row.unwrap())).collect()
}

/// Checks every value of the rows that were read.
pub(crate) fn check_values(
    schema: &TableSchema,
    layout: &Layout,
    source: &SourceContext,
    artifacts: &[Artifact],
    file: &VirtualFile,
    read: &[Vec<Value>],
) {
    let pattern = schema.path_pattern().is_some();
    let mut unparsed = 0;
    assert_eq!(read.len(), artifacts.len());
    for (row, artifact) in read.iter().zip(artifacts) {
        assert_eq!(row.len(), schema.columns().len());
        for (found, column) in row.iter().zip(schema.columns()) {
            let wanted = expected(column, pattern, layout, source, artifact);
            assert_eq!(
                *found, wanted,
                "{} of {:?}",
                column.name, artifact.object.key
            );
            let part = matches!(column.from, ColumnFrom::Path(_));
            unparsed += u64::from(part && *found == Value::Null);
        }
    }
    assert_eq!(file.unparsed, unparsed);
}
