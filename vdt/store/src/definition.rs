//! A manifest turned into what a refresh needs: narrow types, open sources, fingerprints.

mod columns;
mod configuration;

use std::{sync::Arc, time::Duration};

use object_store::path::Path;
use vdt_crds::{ChecksumMode, META_SUFFIX, OnShrink, VirtualTable};
use vdt_table::{ChecksumPolicy, Layout, TableSchema};

pub use self::configuration::Edition;

pub(crate) use self::configuration::{
    EDITION_KEY, LAYOUT_KEY, PLACE_KEY, SOURCE_KEY, committed_place,
};

use self::columns::columns;
use crate::{
    error::StoreError,
    source::{Source, SourceEnv},
};

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
            edition: Edition::of(table),
        })
    }

    /// `<catalog>/<schema>/<table>`.
    pub fn path(&self) -> Path {
        Path::from_iter([self.catalog.as_str(), &self.schema, &self.name])
    }

    /// Path of the table beside it that has no `data`.
    pub fn meta_path(&self) -> Path {
        let name = format!("{}{META_SUFFIX}", self.name);
        Path::from_iter([self.catalog.as_str(), &self.schema, &name])
    }
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
