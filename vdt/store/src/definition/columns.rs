//! The columns of a manifest as those of a table.

use vdt_crds::{ArtifactAttribute, VirtualTable};
use vdt_table::{Attribute, Column, ColumnFrom, ColumnType, TableSchema};

use crate::error::StoreError;

/// The columns that a manifest declares, or those of every table that declares none.
pub(super) fn columns(table: &VirtualTable) -> Result<TableSchema, StoreError> {
    let Some((schema, columns)) = table
        .spec
        .schema
        .as_ref()
        .and_then(|schema| Some((schema, schema.columns.as_ref()?)))
    else {
        return Ok(TableSchema::artifacts());
    };
    let columns = columns.iter().map(column).collect::<Result<Vec<_>, _>>()?;
    TableSchema::new(columns, schema.path_pattern.as_deref())
        .map_err(|error| StoreError::Manifest(format!("spec.schema: {error}")))
}

fn column(declared: &vdt_crds::Column) -> Result<Column, StoreError> {
    let field = |what: &str| {
        StoreError::Manifest(format!("spec.schema.columns[{}]: {what}", declared.name))
    };
    let from = &declared.from;
    let (column_type, from) = match (&from.artifact, &from.path, &from.constant) {
        (Some(attribute), _, _) => {
            let attribute = self::attribute(*attribute);
            (attribute.column_type(), ColumnFrom::Attribute(attribute))
        }
        (None, Some(part), _) => (typed(declared, field)?, ColumnFrom::Path(part.clone())),
        (None, None, Some(constant)) => (
            typed(declared, field)?,
            ColumnFrom::Constant(constant.clone()),
        ),
        (None, None, None) => {
            return Err(field(
                "set exactly one of artifact, path and constant in from",
            ));
        }
    };
    Ok(Column {
        name: declared.name.clone(),
        column_type,
        from,
        description: declared.description.clone(),
    })
}

fn typed(
    declared: &vdt_crds::Column,
    field: impl Fn(&str) -> StoreError,
) -> Result<ColumnType, StoreError> {
    let declared = declared
        .column_type
        .ok_or_else(|| field("type is required, except with from.artifact"))?;
    Ok(match declared {
        vdt_crds::ColumnType::Long => ColumnType::Long,
        vdt_crds::ColumnType::Integer => ColumnType::Integer,
        vdt_crds::ColumnType::Double => ColumnType::Double,
        vdt_crds::ColumnType::Boolean => ColumnType::Boolean,
        vdt_crds::ColumnType::Date => ColumnType::Date,
        vdt_crds::ColumnType::Timestamp => ColumnType::Timestamp,
        vdt_crds::ColumnType::String => ColumnType::String,
        vdt_crds::ColumnType::Binary => ColumnType::Binary,
    })
}

fn attribute(declared: ArtifactAttribute) -> Attribute {
    match declared {
        ArtifactAttribute::Id => Attribute::Id,
        ArtifactAttribute::Filename => Attribute::Filename,
        ArtifactAttribute::ContentType => Attribute::ContentType,
        ArtifactAttribute::Url => Attribute::Url,
        ArtifactAttribute::Filesize => Attribute::Filesize,
        ArtifactAttribute::Data => Attribute::Data,
        ArtifactAttribute::Checksum => Attribute::Checksum,
        ArtifactAttribute::ChecksumAlgo => Attribute::ChecksumAlgo,
        ArtifactAttribute::LastModified => Attribute::LastModified,
        ArtifactAttribute::ETag => Attribute::ETag,
        ArtifactAttribute::Source => Attribute::Source,
        ArtifactAttribute::VersionId => Attribute::VersionId,
        ArtifactAttribute::StorageClass => Attribute::StorageClass,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Validation accepts a schema if and only if it makes a table.
    fn validation_agrees(schema: &Value) {
        let manifest = json!({
            "apiVersion": "vdt.io/v1alpha1",
            "kind": "VirtualTable",
            "metadata": {"name": "one"},
            "spec": {
                "sources": [{"name": "here", "type": "File", "file": {"path": "."}}],
                "schema": schema,
            },
        });
        let table = vdt_crds::parse(manifest.to_string().as_bytes());
        let table = table.expect("it parses").remove(0);
        let refused = vdt_crds::validate(&table, vdt_crds::Profile::Laptop);
        let made = columns(&table);
        assert_eq!(
            refused.is_empty(),
            made.is_ok(),
            "{schema}: {refused:?} {made:?}"
        );
    }

    #[test]
    fn path_patterns_that_validation_accepts_are_those_that_make_a_table() {
        let long = format!("{{{}}}", "a".repeat(63));
        let too_long = format!("{{{}}}", "a".repeat(64));
        let patterns = "/ ** * *** a a/b /a a/ a//b **/** a** **a {a} {a}/ {a a} }{ {} {_} {1a} {a1} {a-b} {ü} ü/{a} \
                        {{a}} {a/b} {a}{b} {a}* *{a} **{a} {a}-{b} {a}é{b} {a}/{a} {a}/{A} x{a}-*/{b} {a}.* {a}/**/{b}/**";
        let limits = ["", &long, &too_long];
        for pattern in patterns.split(' ').chain(limits) {
            let columns = json!([{"name": "id", "from": {"artifact": "Id"}}]);
            validation_agrees(&json!({"pathPattern": pattern, "columns": columns}));
        }
    }

    #[test]
    fn constants_that_validation_accepts_are_those_that_make_a_table() {
        let texts = [
            "",
            "x",
            "0",
            "-0",
            "+7",
            "007",
            "1.5",
            ".5",
            "1.",
            "1e3",
            "1e400",
            "inf",
            "NaN",
            "true",
            "FALSE",
            "yes",
            "2147483647",
            "2147483648",
            "9223372036854775808",
            "2000-02-29",
            "1900-02-29",
            "19700102",
            "2024-0101",
            "2024-00-10",
            "0000-01-01",
            "9999-12-31",
            "2024-04-31",
            "2024-01-01T",
            "2024-01-01T00:00",
            "2024-01-01 23:59:59.5+0130",
            "20240101T235959,123456789Z",
            "2024-01-01T0000",
            "2024-01-01t00:00z",
            "2024-01-01T24:00",
            "2024-01-01T00:60",
            "2024-01-01T00:00:60",
            "2024-01-01T00:00:00.",
            "2024-01-01T00:0000",
            "2024-01-01T00:00+24:00",
            "2024-01-01T00:00+01:60",
            "2024-01-01T00:00-01",
            "2024-01-01T00",
            "2024-01-01T00:00:00.1234567890",
            "2024-01-01T00:00 Z",
            " 1",
            "1 ",
            "٣",
        ];
        let kinds = [
            "long",
            "integer",
            "double",
            "boolean",
            "date",
            "timestamp",
            "string",
            "binary",
        ];
        for (kind, text) in kinds.iter().flat_map(|kind| texts.map(|text| (kind, text))) {
            let schema =
                json!({"columns": [{"name": "c", "type": kind, "from": {"constant": text}}]});
            validation_agrees(&schema);
        }
    }
}
