//! The origin of a process whose state may not be open yet, and which does not show everything that is in it.

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
use vdt_dialect::NotYet;
use vdt_sidecar::link::wire::SOURCES;
use vdt_store::Origin;

use crate::{
    metrics::SourceRequests,
    tables::{Tables, Visibility},
};

/// Segments of a table's folder, the bucket's first. What lies below is one table's.
const TABLE_PARTS: usize = 4;

/// An origin whose state is not open yet: every read fails until it is. Of `log` it has what `tables` show.
///
/// A table that is not open yet has not told its sources, nor has a manifest that cannot be used: reads of a source that nobody knows fail until all
/// are. They are not answered with `NotFound`, which would say that the object is gone.
#[derive(Debug, Clone)]
pub(crate) struct LateOrigin {
    origin: Arc<OnceLock<Arc<Origin>>>,
    tables: Arc<Tables>,
    requests: SourceRequests,
}

impl LateOrigin {
    /// An origin of what `tables` declare, before it is there.
    pub(crate) fn new(tables: Arc<Tables>) -> Self {
        Self {
            origin: Arc::default(),
            tables,
            requests: SourceRequests::default(),
        }
    }

    /// Sets the origin, which is there from now on.
    pub(crate) fn set(&self, origin: Arc<Origin>) {
        // The first one stays; there is only one.
        let _ = self.origin.set(origin);
    }

    /// The origin, if it is there.
    pub(crate) fn get(&self) -> Option<&Arc<Origin>> {
        self.origin.get()
    }

    /// How sources answer.
    pub(crate) fn requests(&self) -> &SourceRequests {
        &self.requests
    }

    fn need(&self) -> Result<&Arc<Origin>> {
        self.get()
            .ok_or_else(|| not_yet("the state store is not open yet"))
    }

    /// Refuses what is not shown. As long as it is still being found out whose the tables are, none is known not to be.
    pub(crate) fn permit(&self, location: &Path) -> Result<()> {
        self.need()?;
        match is_visible(self.tables.visibility(inside(location)))? {
            true => Ok(()),
            false => Err(not_found(location)),
        }
    }

    /// Whether what a listing of `folder` has is shown. Without a table that is declared and not known yet no listing is whole: one that is left out is
    /// one that is gone.
    fn is_listed(&self, folder: &Path, location: &Path) -> Result<bool> {
        let inside = inside(location);
        is_visible(match folder.parts().count() < TABLE_PARTS {
            true => self.tables.visibility_in_listing(inside),
            false => self.tables.visibility(inside),
        })
    }

    /// The origin, to list `prefix`; `None` where nothing is shown.
    fn to_list(&self, prefix: &Path) -> Result<Option<&Arc<Origin>>> {
        let origin = self.need()?;
        let is_shown = is_visible(self.tables.visibility(inside(prefix)))?;
        Ok(is_shown.then_some(origin))
    }

    /// What is shown of what `list` says of `prefix`.
    fn listed(
        &self,
        prefix: Option<&Path>,
        list: impl FnOnce(&Origin) -> BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let folder = prefix.cloned().unwrap_or_default();
        let listed = match self.to_list(&folder) {
            Ok(Some(origin)) => list(origin),
            Ok(None) => return stream::empty().boxed(),
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        if folder.parts().count() >= TABLE_PARTS {
            return listed;
        }
        let this = self.clone();
        listed
            .try_filter_map(move |meta| {
                let is_listed = this.is_listed(&folder, &meta.location);
                future::ready(is_listed.map(|is_listed| is_listed.then_some(meta)))
            })
            .boxed()
    }
}

impl fmt::Display for LateOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Some(origin) => origin.fmt(f),
            None => f.write_str("origin, not open yet"),
        }
    }
}

#[async_trait]
impl ObjectStore for LateOrigin {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut parts = location.parts();
        let is_source = parts.next().is_some_and(|part| part.as_ref() == SOURCES);
        if !is_source {
            self.permit(location)?;
        }
        let origin = self.need()?;
        let is_known = is_source && parts.next().is_none_or(|id| origin.knows(id.as_ref()));
        if is_source && !is_known && self.tables.are_opening() {
            return Err(not_yet(
                "the table that declares this source is not open yet",
            ));
        }
        // What nobody declares no source is asked for.
        let asked = is_known.then(|| self.requests.begin());
        let answer = origin.get_opts(location, options).await;
        if let Some(asked) = asked {
            asked.answered(&answer);
        }
        answer
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, |origin| origin.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, |origin| origin.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let folder = prefix.cloned().unwrap_or_default();
        let Some(origin) = self.to_list(&folder)? else {
            return Ok(nothing());
        };
        let mut listed = origin.list_with_delimiter(prefix).await?;
        let prefixes = std::mem::take(&mut listed.common_prefixes);
        for prefix in prefixes {
            if self.is_listed(&folder, &prefix)? {
                listed.common_prefixes.push(prefix);
            }
        }
        let objects = std::mem::take(&mut listed.objects);
        for meta in objects {
            if self.is_listed(&folder, &meta.location)? {
                listed.objects.push(meta);
            }
        }
        Ok(listed)
    }

    vdt_rope::refuse_writes!(read_only);
}

/// A path without its first segment, the bucket.
fn inside(location: &Path) -> &str {
    let inside = location.as_ref().split_once('/');
    inside.map_or("", |(_, inside)| inside)
}

/// Whether it is shown, if that is known.
fn is_visible(visibility: Visibility) -> Result<bool> {
    match visibility {
        Visibility::Visible => Ok(true),
        Visibility::Hidden => Ok(false),
        Visibility::Unknown => Err(not_yet("whose the table is, is not known yet")),
    }
}

/// What is not there yet and may come.
fn not_yet(why: &'static str) -> Error {
    Error::Generic {
        store: "origin",
        source: NotYet(why).into(),
    }
}

pub(crate) fn nothing() -> ListResult {
    ListResult {
        common_prefixes: Vec::new(),
        objects: Vec::new(),
    }
}

pub(crate) fn not_found(path: &Path) -> Error {
    Error::NotFound {
        path: path.to_string(),
        source: "no such object".into(),
    }
}

pub(crate) fn read_only(operation: &str) -> Error {
    Error::NotSupported {
        source: format!("{operation}: the origin is read-only").into(),
    }
}

#[cfg(test)]
mod tests {
    use object_store::{ObjectStoreExt, memory::InMemory};
    use vdt_crds::VirtualTable;
    use vdt_store::{OpenMode, Source, SourceEnv, StateStore};

    use super::*;
    use crate::tables::{Problem, Served};

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
        let tables = Tables::new(vec![Arc::new(served)], Vec::new());
        let tables = Arc::new(tables);
        let late = LateOrigin::new(tables.clone());
        let state =
            StateStore::from_store(Arc::new(InMemory::new()), "memory", OpenMode::ReadWrite);
        let origin = Arc::new(Origin::new(state.await.unwrap()));
        late.set(origin.clone());

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

    #[tokio::test]
    async fn a_folder_is_listed_whole_or_not_at_all() {
        let memory = Arc::new(InMemory::new());
        let state = StateStore::from_store(memory, "memory", OpenMode::ReadWrite);
        let state = state.await.unwrap();
        let served: Vec<_> = ["a", "b"]
            .map(|name| {
                let path = format!("main/default/{name}");
                Arc::new(Served::pending(path, name.to_owned(), None))
            })
            .into();
        for (table, owner) in [("a", "default/a"), ("b", "default/b"), ("c", "default/c")] {
            let table = Path::from(format!("main/default/{table}"));
            state.claim(&table, owner).await.unwrap();
            let log = table.join("_delta_log").join("0.json");
            state.objects().put(&log, "{}".into()).await.unwrap();
        }
        let tables = Tables::new(served.clone(), Vec::new());
        let late = LateOrigin::new(Arc::new(tables));
        late.set(Arc::new(Origin::new(state.clone())));
        served[0].claim(&state, "default/a").await.unwrap();

        let folder = Path::from("log/main/default");
        let level = async || {
            let listed = late.list_with_delimiter(Some(&folder)).await?;
            let tables = listed.common_prefixes.into_iter();
            Ok::<_, Error>(tables.map(String::from).collect::<Vec<_>>())
        };
        let all = async || {
            let listed = late.list(Some(&folder)).map_ok(|meta| meta.location);
            listed.try_collect::<Vec<_>>().await
        };
        // Whose b is, is not known yet.
        assert!(matches!(level().await, Err(Error::Generic { .. })));
        assert!(matches!(all().await, Err(Error::Generic { .. })));
        served[1].claim(&state, "default/other").await.unwrap_err();
        assert_eq!(level().await.unwrap(), ["log/main/default/a"]);
        let is_of_a = |path: &Path| path.as_ref().starts_with("log/main/default/a/");
        let listed = all().await.unwrap();
        assert!(
            !listed.is_empty() && listed.iter().all(is_of_a),
            "{listed:?}"
        );
        served[1].claim(&state, "default/b").await.unwrap();
        let both = ["log/main/default/a", "log/main/default/b"];
        assert_eq!(level().await.unwrap(), both);
        // A manifest that cannot be read may be that of c, and no reason to list nothing.
        let broken = Problem {
            manifest: "c.yaml".to_owned(),
            origin: "c.yaml".to_owned(),
            message: "a typo".to_owned(),
            may_pass: false,
        };
        late.tables.declare(served, vec![broken]);
        assert_eq!(level().await.unwrap(), both);
        let c = Path::from("log/main/default/c");
        let listed = all().await.unwrap();
        assert!(listed.iter().all(|path| !path.prefix_matches(&c)));
        let own = late.list_with_delimiter(Some(&c)).await;
        assert!(matches!(own, Err(Error::Generic { .. })), "{own:?}");
    }
}
