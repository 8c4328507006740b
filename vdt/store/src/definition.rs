//! A manifest turned into what a refresh needs: narrow types, open sources, fingerprints.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use object_store::path::Path;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use vdt_crds::{ArtifactAttribute, ChecksumMode, OnShrink, VirtualTable};
use vdt_table::{
    Attribute, ChecksumPolicy, Column, ColumnFrom, ColumnType, Layout, SourceContext, TableSchema,
};

use crate::{
    error::StoreError,
    log::Snapshot,
    source::{Source, SourceEnv},
};

/// Version of what a layout's fingerprint covers and of what a layout becomes. Raise it when the same declaration comes out as other
/// files: of two versions of vdt on one state store, the newer one decides.
const LAYOUT_FORM: u32 = 2;

/// Configuration key of the fingerprint of columns and layout.
pub(crate) const LAYOUT_KEY: &str = "vdt.layout";
/// Configuration key of [`LAYOUT_FORM`].
const FORM_KEY: &str = "vdt.layoutForm";
/// Configuration key prefix of the fingerprint of one source's declaration.
pub(crate) const SOURCE_KEY: &str = "vdt.source.";
/// Configuration key prefix of the place that a source's rows are laid out for.
pub(crate) const PLACE_KEY: &str = "vdt.place.";
/// Configuration key of the [`Edition`] that the table was last edited by.
pub(crate) const EDITION_KEY: &str = "vdt.edition";

/// One table as declared.
#[derive(Debug, Clone)]
pub struct Definition {
    /// First part of the table's name, the bucket of the S3 dialect.
    pub catalog: String,
    /// Second part.
    pub schema: String,
    /// Third part.
    pub name: String,
    /// Who writes the table: `<namespace>/<metadata.name>`, or the place that was given without a resource.
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
    /// Which edition of the resource this is, where an API server numbers them.
    pub edition: Option<Edition>,
}

/// An edition of a resource: editions of one uid follow one another by generation, those of two uids are not ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edition {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
}

impl std::fmt::Display for Edition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.uid, self.generation)
    }
}

impl Edition {
    fn parse(text: &str) -> Option<Self> {
        let (uid, generation) = text.rsplit_once('/')?;
        Some(Self {
            uid: uid.to_owned(),
            generation: generation.parse().ok()?,
        })
    }
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
        let columns = columns(table)?;
        Ok(Self {
            catalog: table.catalog().to_owned(),
            schema: table.schema_name().to_owned(),
            name: table.table_name().to_owned(),
            owner: table.owner(),
            layout: layout(table).for_columns(&columns),
            columns,
            sources,
            refresh: refresh(table),
            suspend: table.spec.suspend,
            edition: edition(table),
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

    /// The table's configuration in its `metaData` action: what the layout depends on, fingerprinted. Where one entry
    /// differs from the committed one, the table was edited.
    pub(crate) fn configuration(&self) -> BTreeMap<String, String> {
        let mut configuration = self.layout_configuration();
        for source in &self.sources {
            let name = source.name();
            configuration.insert(
                format!("{SOURCE_KEY}{name}"),
                fingerprint(&source.fingerprint()),
            );
            configuration.insert(format!("{PLACE_KEY}{name}"), place(&source.context()));
        }
        configuration
    }

    /// The part of it that columns and layout make.
    pub(crate) fn layout_configuration(&self) -> BTreeMap<String, String> {
        let layout = format!("{LAYOUT_FORM} {:?} {:?}", self.columns, self.layout);
        BTreeMap::from([
            (LAYOUT_KEY.to_owned(), fingerprint(&layout)),
            (FORM_KEY.to_owned(), LAYOUT_FORM.to_string()),
        ])
    }

    /// Why this definition has nothing to say about `snapshot` any more, if so: a newer edition of the resource, or a newer vdt,
    /// has edited the table.
    pub(crate) fn superseded_by(&self, snapshot: &Snapshot) -> Option<String> {
        let form: u32 = snapshot.configuration(FORM_KEY)?.parse().ok()?;
        if form > LAYOUT_FORM {
            return Some(format!(
                "a newer vdt has laid the table out (form {form}, this one knows {LAYOUT_FORM}); update this one"
            ));
        }
        let own = self.edition.as_ref()?;
        let committed = Edition::parse(snapshot.configuration(EDITION_KEY)?)?;
        (committed.uid == own.uid && committed.generation > own.generation).then(|| {
            format!(
                "the table was edited by generation {} of its resource, this process has generation {}; \
                 it serves what is committed until it is given the newer one",
                committed.generation, own.generation
            )
        })
    }
}

/// The place of a source as the configuration holds it.
fn place(context: &SourceContext) -> String {
    json!({
        "id": &*context.id,
        "prefix": context.prefix,
        "urlPrefix": context.url_prefix,
        "etagIsChecksum": context.etag_is_checksum,
    })
    .to_string()
}

/// The place that the committed rows of the source `name` are laid out for.
pub(crate) fn committed_place(snapshot: &Snapshot, name: &str) -> Option<SourceContext> {
    let place = snapshot.configuration(&format!("{PLACE_KEY}{name}"))?;
    let place: Value = serde_json::from_str(place).ok()?;
    Some(SourceContext {
        name: name.into(),
        id: place["id"].as_str()?.into(),
        prefix: place["prefix"].as_str()?.to_owned(),
        url_prefix: place["urlPrefix"].as_str()?.to_owned(),
        etag_is_checksum: place["etagIsChecksum"].as_bool()?,
    })
}

fn edition(table: &VirtualTable) -> Option<Edition> {
    Some(Edition {
        uid: table.metadata.uid.clone()?,
        generation: table.metadata.generation?,
    })
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
    RefreshSettings {
        interval: declared.interval(),
        settle: declared.settle(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_of_a_layout_is_that_of_its_form() {
        let folder = tempfile::tempdir().expect("a folder");
        let table = VirtualTable::for_folder(folder.path());
        let env = SourceEnv {
            base_dir: folder.path().to_owned(),
            ..SourceEnv::default()
        };
        let definition = Definition::open(&table, &env).expect("it opens");
        // Another fingerprint lays every table out again. If that is meant, raise LAYOUT_FORM and write the new one here: then
        // the newer one of two versions of vdt decides, and they do not undo each other's work.
        assert_eq!(
            definition.layout_configuration(),
            BTreeMap::from([
                (LAYOUT_KEY.to_owned(), "600f1e45a57e46b0".to_owned()),
                (FORM_KEY.to_owned(), "2".to_owned()),
            ])
        );
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
            let manifest = json!({
                "apiVersion": "vdt.io/v1alpha1",
                "kind": "VirtualTable",
                "metadata": {"name": "one"},
                "spec": {
                    "sources": [{"name": "here", "type": "File", "file": {"path": "."}}],
                    "schema": {"columns": [{"name": "c", "type": kind, "from": {"constant": text}}]},
                },
            });
            let table = vdt_crds::parse(manifest.to_string().as_bytes());
            let table = table.expect("it parses").remove(0);
            let refused = vdt_crds::validate(&table, vdt_crds::Profile::Laptop);
            let made = columns(&table);
            assert_eq!(
                refused.is_empty(),
                made.is_ok(),
                "{kind} {text:?}: {refused:?} {made:?}"
            );
        }
    }

    #[test]
    fn an_edition_reads_back() {
        let edition = Edition {
            uid: "0b1c-22".to_owned(),
            generation: 12,
        };
        assert_eq!(Edition::parse(&edition.to_string()), Some(edition));
        assert_eq!(Edition::parse("12"), None);
        assert_eq!(Edition::parse("a/b"), None);
    }
}
