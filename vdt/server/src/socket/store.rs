//! The three buckets of the socket as one `ObjectStore`.
//!
//! ```text
//! log/<catalog>/<schema>/<table>/...             the origin's log and ropes
//! files/<catalog>/<schema>/<table>/<name>.parquet   the same tables' files, composed here
//! sources/<source id>/<key>                      source objects that are declared; never listed
//! ```
//!
//! Of `log` and `files` there is what this process declares: a state may hold tables of others, whose readers are not ours.
//!
//! What a source declares no longer is not served under `sources`. A retained rope may still refer to it: such bytes are read through
//! `files`, where the rope itself is the proof.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use futures::{
    StreamExt, TryStreamExt, future,
    stream::{self, BoxStream},
};
use object_store::{
    Error, GetOptions, GetResult, ListResult, ObjectMeta, ObjectStore, Result, path::Path,
};
use vdt_rope::{RopeStore, RopeStoreOptions};
use vdt_sidecar::link::wire::{FILES, LOG, MadeUpTag, SOURCES};
use vdt_store::Origin;

use crate::tables::Tables;

/// An origin whose state is not open yet: every read fails until it is.
///
/// A table that is not open yet has not told its sources: reads of a source that nobody knows fail until all tables are open. They are not
/// answered with `NotFound`, which would say that the object is gone.
#[derive(Debug, Clone)]
pub(crate) struct Late {
    origin: Arc<OnceLock<Arc<Origin>>>,
    tables: Arc<Tables>,
}

impl Late {
    /// An origin of what `tables` declare, before it is there.
    pub(crate) fn new(tables: Arc<Tables>) -> Self {
        Self {
            origin: Arc::default(),
            tables,
        }
    }

    /// The origin, which is there from now on.
    pub(crate) fn arrived(&self, origin: Arc<Origin>) {
        // The first one stays; there is only one.
        let _ = self.origin.set(origin);
    }

    /// The origin, if it is there.
    pub(crate) fn get(&self) -> Option<&Arc<Origin>> {
        self.origin.get()
    }

    fn need(&self) -> Result<&Arc<Origin>> {
        self.get().ok_or_else(|| Error::Generic {
            store: "origin",
            source: "the state store is not open yet".into(),
        })
    }
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Some(origin) => origin.fmt(f),
            None => f.write_str("origin, not open yet"),
        }
    }
}

#[async_trait]
impl ObjectStore for Late {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let origin = self.need()?;
        let mut parts = location.parts();
        if parts
            .next()
            .is_some_and(|bucket| bucket.as_ref() == SOURCES)
            && parts.next().is_some_and(|id| !origin.knows(id.as_ref()))
            && self.tables.are_opening()
        {
            return Err(Error::Generic {
                store: "origin",
                source: "the table that declares this source is not open yet; ask again".into(),
            });
        }
        origin.get_opts(location, options).await
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.need() {
            Ok(origin) => origin.list(prefix),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.need() {
            Ok(origin) => origin.list_with_offset(prefix, offset),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.need()?.list_with_delimiter(prefix).await
    }

    vdt_rope::refuse_writes!(read_only);
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(crate) struct SocketStore {
    origin: Late,
    files: RopeStore,
    tables: Arc<Tables>,
}

impl SocketStore {
    /// The buckets over `origin`, of what `tables` declare; `options` are those of composing.
    pub(crate) fn new(origin: Late, options: RopeStoreOptions, tables: Arc<Tables>) -> Self {
        let files = RopeStore::new(Arc::new(origin.clone()), options);
        Self {
            origin,
            files,
            tables,
        }
    }

    /// Whether `location` (`log/...`, `files/...`) lies in a table that is declared, or is a folder that one lies in.
    fn shows(&self, location: &Path) -> bool {
        let inside: Path = location.parts().skip(1).collect();
        self.tables.shows(inside.as_ref())
    }

    fn shown(
        &self,
        listed: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let this = self.clone();
        let shown = move |meta: &ObjectMeta| future::ready(this.shows(&meta.location));
        listed.try_filter(shown).boxed()
    }

    /// Whether the object at `path` (`sources/<id>/<key>`) is declared by a source of an open table.
    pub(crate) fn declares(&self, path: &str) -> bool {
        let mut parts = path.splitn(3, '/').skip(1);
        match (self.origin.get(), parts.next(), parts.next()) {
            (Some(origin), Some(id), Some(key)) => origin.declares(id, key),
            _ => false,
        }
    }

    async fn get_source(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if !self.declares(location.as_ref()) {
            // Asked for by a way around the service's own check, if there is one.
            return Err(not_found(location));
        }
        // A tag that was made up here is for us to compare; the source does not know it.
        let made_up = options.if_match.as_deref().and_then(MadeUpTag::parse);
        let mut result = match made_up {
            None => self.origin.get_opts(location, options).await?,
            Some(expected) => {
                let options = GetOptions {
                    if_match: None,
                    ..options
                };
                let head = GetOptions {
                    head: true,
                    version: options.version.clone(),
                    ..GetOptions::default()
                };
                match self.origin.get_opts(location, options).await {
                    Ok(result) => {
                        compare(location, expected, &result.meta)?;
                        result
                    }
                    // A range past the end of an object that has shrunk is an error of any kind.
                    Err(error) => {
                        if let Ok(found) = self.origin.get_opts(location, head).await {
                            compare(location, expected, &found.meta)?;
                        }
                        return Err(error);
                    }
                }
            }
        };
        let is_strong = result
            .meta
            .e_tag
            .as_deref()
            .is_some_and(|tag| !tag.starts_with("W/"));
        if !is_strong {
            let made_up = tag_of(&result.meta);
            result.meta.e_tag = Some(format!("\"{made_up}\""));
        }
        Ok(result)
    }
}

impl fmt::Display for SocketStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "socket of {}", self.origin)
    }
}

fn tag_of(meta: &ObjectMeta) -> MadeUpTag {
    MadeUpTag {
        size: meta.size,
        last_modified_ms: meta.last_modified.timestamp_millis(),
    }
}

fn compare(location: &Path, expected: MadeUpTag, found: &ObjectMeta) -> Result<()> {
    let found = tag_of(found);
    if found == expected {
        return Ok(());
    }
    Err(Error::Precondition {
        path: location.to_string(),
        source: format!("{expected} was asked for, {found} is there").into(),
    })
}

fn first(path: &Path) -> String {
    path.parts()
        .next()
        .map(|part| part.as_ref().to_owned())
        .unwrap_or_default()
}

fn not_found(path: &Path) -> Error {
    Error::NotFound {
        path: path.to_string(),
        source: "no such object".into(),
    }
}

fn read_only(operation: &str) -> Error {
    Error::NotSupported {
        source: format!("{operation}: the origin is read-only").into(),
    }
}

#[async_trait]
impl ObjectStore for SocketStore {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let bucket = first(location);
        if bucket != SOURCES && !self.shows(location) {
            return Err(not_found(location));
        }
        match bucket.as_str() {
            LOG => self.origin.get_opts(location, options).await,
            SOURCES => self.get_source(location, options).await,
            FILES => {
                let shown: Path = location.parts().skip(1).collect();
                let mut result = self.files.get_opts(&shown, options).await?;
                result.meta.location = location.clone();
                Ok(result)
            }
            _ => Err(not_found(location)),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match prefix {
            Some(prefix) if first(prefix) == LOG => self.shown(self.origin.list(Some(prefix))),
            _ => stream::empty().boxed(),
        }
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        match prefix {
            Some(prefix) if first(prefix) == LOG => {
                self.shown(self.origin.list_with_offset(Some(prefix), offset))
            }
            _ => stream::empty().boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        match prefix {
            Some(prefix) if first(prefix) == LOG => {
                let mut listed = self.origin.list_with_delimiter(Some(prefix)).await?;
                listed.common_prefixes.retain(|folder| self.shows(folder));
                listed.objects.retain(|meta| self.shows(&meta.location));
                Ok(listed)
            }
            _ => Ok(ListResult {
                common_prefixes: Vec::new(),
                objects: Vec::new(),
            }),
        }
    }

    vdt_rope::refuse_writes!(read_only);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use object_store::memory::InMemory;
    use vdt_crds::VirtualTable;
    use vdt_store::{OpenMode, Source, SourceEnv, StateStore};

    use super::*;
    use crate::{metrics::Metrics, tables::Served};

    #[tokio::test]
    async fn what_a_table_that_is_not_open_yet_may_declare_is_not_gone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.pdf"), "content").unwrap();
        let spec = VirtualTable::for_folder(folder.path())
            .spec
            .sources
            .remove(0);
        let env = SourceEnv {
            base_dir: folder.path().to_owned(),
            ..SourceEnv::default()
        };
        let source = Arc::new(Source::open(&spec, &env).unwrap());
        let served = Served::pending("main/default/t".to_owned(), "t".to_owned(), None);
        let (metrics, _) = Metrics::new(false);
        let tables = Tables::new(vec![Arc::new(served)], Vec::new(), Arc::new(metrics));
        let tables = Arc::new(tables);
        let late = Late::new(tables.clone());
        let state =
            StateStore::from_store(Arc::new(InMemory::new()), "memory", OpenMode::ReadWrite);
        let origin = Arc::new(Origin::new(state.await.unwrap()));
        late.arrived(origin.clone());

        let path = Path::from(format!("sources/{}/a.pdf", source.id()));
        let error = late
            .get_opts(&path, GetOptions::default())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Generic { .. }), "{error:?}");
        origin.add_source(source);
        late.get_opts(&path, GetOptions::default()).await.unwrap();
        let elsewhere = Path::from("sources/0011223344556677/a.pdf");
        tables.declare(Vec::new(), Vec::new());
        let error = late
            .get_opts(&elsewhere, GetOptions::default())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    }
}
