//! The origin: everything a table is made of, as one read-only `ObjectStore`.
//!
//! ```text
//!   log/<catalog>/<schema>/<table>/_delta_log/...      the log, `_last_checkpoint` synthesised
//!   log/<catalog>/<schema>/<table>/<hash>-<bytes>.rope ropes
//!   sources/<source id>/<key>                          source objects, keys in full
//! ```
//!
//! `_vdt` folders, the lock and `store.json` are not shown. `sources` is read, never listed.
//! `_last_checkpoint` is made from the listing of the same store that answers LIST, so it never names what LIST does not show. There is one in a
//! log and nowhere else.

mod hint;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, future, stream, stream::BoxStream};
use object_store::{
    Error as ObjectError, GetOptions, GetResult, GetResultPayload, ListResult, ObjectMeta,
    ObjectStore, Result as ObjectResult, path::Path,
};
use parking_lot::RwLock;

use crate::{source::Source, state::StateStore};

const STORE: &str = "origin";
/// First segment of everything that the state store holds.
pub const LOG: &str = "log";
/// First segment of source objects.
pub const SOURCES: &str = "sources";
const HIDDEN: &str = "_vdt";
const DELTA_LOG: &str = "_delta_log";
const HINT: &str = "_last_checkpoint";

/// See the module's documentation.
#[derive(Debug)]
pub struct Origin {
    state: StateStore,
    sources: RwLock<HashMap<Arc<str>, Vec<Place>>>,
    hints: Arc<hint::Hints>,
    requests: AtomicU64,
    bytes: Arc<AtomicU64>,
}

/// A source of a place.
#[derive(Debug)]
struct Place {
    source: Arc<Source>,
    /// No table declares it any more; it reads what older versions refer to.
    is_old: bool,
}

/// What has been read of source objects since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceReads {
    /// Requests.
    pub requests: u64,
    /// Bytes of bodies that arrived.
    pub bytes: u64,
}

impl Origin {
    /// An origin over `state`; sources are added as tables open.
    pub fn new(state: StateStore) -> Self {
        Self {
            state,
            sources: RwLock::default(),
            hints: Arc::default(),
            requests: AtomicU64::new(0),
            bytes: Arc::default(),
        }
    }

    /// What has been read of source objects since the start.
    pub fn source_reads(&self) -> SourceReads {
        SourceReads {
            requests: self.requests.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Makes the objects of `source` readable.
    pub fn add_source(&self, source: Arc<Source>) {
        self.replace_sources(&[], &[source]);
    }

    /// Makes the objects of `new` readable, in place of those of `old`. Files of older versions may refer to a place that no source is of any more,
    /// so one source of it stays, which declares nothing.
    pub fn replace_sources(&self, old: &[Arc<Source>], new: &[Arc<Source>]) {
        let mut sources = self.sources.write();
        for source in new {
            let place = Place {
                source: source.clone(),
                is_old: false,
            };
            let same_place = sources.entry(source.id().clone()).or_default();
            same_place.retain(|place| !place.is_old);
            // Before the others: its credentials are the newest.
            same_place.insert(0, place);
        }
        for source in old {
            let Some(same_place) = sources.get_mut(source.id()) else {
                continue;
            };
            let is_alone = same_place.len() == 1;
            if let Some(at) = same_place
                .iter()
                .position(|place| Arc::ptr_eq(&place.source, source))
            {
                match is_alone {
                    true => same_place[at].is_old = true,
                    false => drop(same_place.remove(at)),
                }
            }
        }
    }

    /// Whether a source of the place `id` declares `key`: it lies below the prefix and passes `include` and `exclude`. Files of older
    /// versions may refer to keys that are declared no longer.
    pub fn declares(&self, id: &str, key: &str) -> bool {
        let sources = self.sources.read();
        sources
            .get(id)
            .is_some_and(|same_place| same_place.iter().any(|place| place.declares(key)))
    }

    /// Whether there is, or was, a source of the place `id`.
    pub fn knows(&self, id: &str) -> bool {
        let sources = self.sources.read();
        sources.contains_key(id)
    }

    /// The source that declares `key`; another one of the same place for a key that is declared no longer,
    /// which files of older versions may still refer to.
    fn source_of(&self, id: &str, key: &str) -> Option<Arc<Source>> {
        let sources = self.sources.read();
        let same_place = sources.get(id)?;
        let found = same_place
            .iter()
            .find(|place| place.declares(key))
            .or(same_place.first());
        found.map(|place| place.source.clone())
    }

    /// What is shown of a listing of the state store's folder `inside`. Checkpoints that pass are remembered: the next hint begins there.
    fn listed(
        &self,
        inside: &Path,
        listed: BoxStream<'static, ObjectResult<ObjectMeta>>,
    ) -> BoxStream<'static, ObjectResult<ObjectMeta>> {
        let (hints, log) = (self.hints.clone(), is_log(inside).then(|| inside.clone()));
        listed
            .try_filter(|meta| future::ready(is_shown(&meta.location)))
            .inspect_ok(move |meta| {
                if let Some(log) = &log {
                    hints.observe(log, &meta.location);
                }
            })
            .map_ok(shown)
            .boxed()
    }

    async fn get_source(&self, path: &Path, options: GetOptions) -> ObjectResult<GetResult> {
        let mut parts = path.as_ref().splitn(3, '/').skip(1);
        let (Some(id), Some(key)) = (parts.next(), parts.next()) else {
            return Err(not_found(path));
        };
        let source = self.source_of(id, key).ok_or_else(|| not_found(path))?;
        let key = Path::parse(key).map_err(|_| not_found(path))?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let found = source.store().get_opts(&key, options).await?;
        let meta = ObjectMeta {
            location: path.clone(),
            ..found.meta.clone()
        };
        let (range, attributes) = (found.range.clone(), found.attributes.clone());
        let bytes = self.bytes.clone();
        let counted = found.into_stream().inspect_ok(move |chunk| {
            bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        });
        Ok(GetResult {
            payload: GetResultPayload::Stream(counted.boxed()),
            meta,
            range,
            attributes,
        })
    }
}

impl Place {
    fn declares(&self, key: &str) -> bool {
        !self.is_old && self.source.declared(key)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE} over {}", self.state.location())
    }
}

fn not_found(path: &Path) -> ObjectError {
    ObjectError::NotFound {
        path: path.to_string(),
        source: "no such object".into(),
    }
}

fn read_only(operation: &str) -> ObjectError {
    ObjectError::NotSupported {
        source: format!("{operation}: the origin is read-only").into(),
    }
}

/// Where in the state store `path` lies, or `None` if it is neither `log` nor below it.
fn in_state(path: &Path) -> Option<Path> {
    let mut parts = path.parts();
    (parts.next()?.as_ref() == LOG).then(|| parts.collect())
}

/// Whether `inside` is the folder of a table's log. It is flat.
fn is_log(inside: &Path) -> bool {
    inside.parts().count() == 4 && inside.filename() == Some(DELTA_LOG)
}

/// Tables are three folders deep; what lies higher is the store's own.
fn is_shown(inside: &Path) -> bool {
    inside.parts().count() > 3 && !is_private(inside)
}

/// What is vdt's own in a table, and folders of the state store that are no catalogs, a cache for example: the name of a catalog
/// starts with a letter or a digit.
fn is_private(inside: &Path) -> bool {
    let mut parts = inside.parts();
    parts
        .next()
        .is_some_and(|part| part.as_ref().starts_with('_'))
        || parts.nth(2).is_some_and(|part| part.as_ref() == HIDDEN)
}

/// The inverse of [`in_state`].
fn in_log(inside: &Path) -> Path {
    Path::from(LOG).parts().chain(inside.parts()).collect()
}

fn shown(mut meta: ObjectMeta) -> ObjectMeta {
    meta.location = in_log(&meta.location);
    meta
}

#[async_trait]
impl ObjectStore for Origin {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> ObjectResult<GetResult> {
        if location
            .parts()
            .next()
            .is_some_and(|part| part.as_ref() == SOURCES)
        {
            return self.get_source(location, options).await;
        }
        let inside = in_state(location)
            .filter(is_shown)
            .ok_or_else(|| not_found(location))?;
        if inside.filename() == Some(HINT) {
            let folder = inside.parent().filter(is_log);
            let folder = folder.ok_or_else(|| not_found(location))?;
            let objects = self.state.objects().as_ref();
            return self.hints.get(objects, location, &folder, options).await;
        }
        let mut found = self.state.objects().get_opts(&inside, options).await?;
        found.meta.location = location.clone();
        Ok(found)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, ObjectResult<ObjectMeta>> {
        match prefix.map_or(Some(Path::default()), in_state) {
            Some(inside) => self.listed(&inside, self.state.objects().list(Some(&inside))),
            None => stream::empty().boxed(),
        }
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, ObjectResult<ObjectMeta>> {
        let listed = match (prefix.and_then(in_state), in_state(offset)) {
            // Of a folder in folders some services (SeaweedFS) have an order of their own: what they list after a key is not all that comes
            // after it. A flat one has one order.
            (Some(folder), Some(after)) if is_log(&folder) => {
                let objects = self.state.objects();
                self.listed(&folder, objects.list_with_offset(Some(&folder), &after))
            }
            _ => self.list(prefix),
        };
        let offset = offset.clone();
        listed
            .try_filter(move |meta| future::ready(meta.location > offset))
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> ObjectResult<ListResult> {
        let Some(prefix) = prefix.filter(|path| !path.as_ref().is_empty()) else {
            return Ok(ListResult {
                common_prefixes: vec![Path::from(LOG)],
                objects: Vec::new(),
            });
        };
        let Some(inside) = in_state(prefix) else {
            return Ok(ListResult {
                common_prefixes: Vec::new(),
                objects: Vec::new(),
            });
        };
        let found = self
            .state
            .objects()
            .list_with_delimiter(Some(&inside))
            .await?;
        let folders = found.common_prefixes.into_iter();
        Ok(ListResult {
            common_prefixes: folders
                .filter(|path| !is_private(path))
                .map(|path| in_log(&path))
                .collect(),
            objects: found
                .objects
                .into_iter()
                .filter(|meta| is_shown(&meta.location))
                .map(shown)
                .collect(),
        })
    }

    vdt_rope::refuse_writes!(read_only);
}
