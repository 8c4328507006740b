//! A manifest turned into what a refresh needs: narrow types, open sources, fingerprints.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use object_store::path::Path;
use sha2::{Digest, Sha256};
use vdt_crds::{ArtifactAttribute, ChecksumMode, OnShrink, VirtualTable};
use vdt_table::{Attribute, ChecksumPolicy, Column, ColumnFrom, ColumnType, Layout, TableSchema};

use crate::{
    error::StoreError,
    source::{Source, SourceEnv},
};

/// Configuration key of the fingerprint of columns and layout.
pub(crate) const LAYOUT_KEY: &str = "vdt.layout";
/// Configuration key prefix of the fingerprint of one source's declaration.
pub(crate) const SOURCE_KEY: &str = "vdt.source.";

/// One table as declared.
#[derive(Debug, Clone)]
pub struct Definition {
    /// First part of the table's name, the bucket of the S3 dialect.
    pub catalog: String,
    /// Second part.
    pub schema: String,
    /// Third part.
    pub name: String,
    /// `<namespace>/<metadata.name>`: who writes the table.
    pub owner: String,
    /// Its columns.
    pub columns: TableSchema,
    /// How its files are laid out.
    pub layout: Layout,
    /// Where its artifacts come from, by name.
    pub sources: Vec<Arc<Source>>,
    /// When and how it is refreshed.
    pub refresh: RefreshSettings,
    /// Refreshes are stopped; what is committed is served.
    pub suspend: bool,
}

/// `spec.refresh`, parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshSettings {
    /// From the end of a listing to the next. `None`: on request only.
    pub interval: Option<Duration>,
    /// How long an artifact must be unchanged before it is published.
    pub settle: Duration,
    /// Whether a listing that lost more than half of its artifacts is refused.
    pub hold_shrunk: bool,
}

impl Definition {
    /// Reads a validated manifest and opens its sources. Nothing is asked of any network.
    ///
    /// # Errors
    /// [`StoreError::Manifest`] and [`StoreError::Source`], with field, value and remedy.
    pub fn open(table: &VirtualTable, env: &SourceEnv) -> Result<Self, StoreError> {
        let mut sources = table
            .spec
            .sources
            .iter()
            .map(|spec| Source::open(spec, env).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        sources.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(Self {
            catalog: table.catalog().to_owned(),
            schema: table.schema_name().to_owned(),
            name: table.table_name().to_owned(),
            owner: table.owner(),
            columns: columns(table)?,
            layout: layout(table),
            sources,
            refresh: refresh(table),
            suspend: table.spec.suspend,
        })
    }

    /// `<catalog>/<schema>/<table>`.
    pub fn path(&self) -> Path {
        Path::from_iter([self.catalog.as_str(), &self.schema, &self.name])
    }

    /// Path of the table beside it that has no `data`.
    pub fn meta_path(&self) -> Path {
        let name = format!("{}_meta", self.name);
        Path::from_iter([self.catalog.as_str(), &self.schema, &name])
    }

    /// The table's configuration in its `metaData` action: what the layout depends on, fingerprinted.
    pub(crate) fn configuration(&self) -> BTreeMap<String, String> {
        let mut configuration: BTreeMap<String, String> = self
            .sources
            .iter()
            .map(|source| {
                let key = format!("{SOURCE_KEY}{}", source.name());
                (key, fingerprint(&source.fingerprint()))
            })
            .collect();
        let layout = format!("{:?} {:?}", self.columns, self.layout);
        configuration.insert(LAYOUT_KEY.to_owned(), fingerprint(&layout));
        configuration
    }
}

fn fingerprint(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..8])
}

fn layout(table: &VirtualTable) -> Layout {
    let declared = &table.spec.layout;
    Layout {
        inline_max_bytes: declared.inline_max_bytes.bytes(),
        file_target_bytes: declared.file_target_bytes.bytes(),
        row_group_target_bytes: declared.row_group_target_bytes.bytes(),
        checksum: match table.spec.checksum {
            ChecksumMode::Known | ChecksumMode::Sha256 | ChecksumMode::Crc32c => {
                ChecksumPolicy::Known
            }
            ChecksumMode::None => ChecksumPolicy::None,
        },
        ..Layout::default()
    }
}

fn refresh(table: &VirtualTable) -> RefreshSettings {
    let declared = &table.spec.refresh;
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    RefreshSettings {
        interval: (declared.interval_seconds > 0).then(|| seconds(declared.interval_seconds)),
        settle: seconds(declared.settle_seconds),
        hold_shrunk: declared.on_shrink == OnShrink::Hold,
    }
}

fn columns(table: &VirtualTable) -> Result<TableSchema, StoreError> {
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
