//! `LogStore`: the `ObjectStore` that answers what changes in an origin from one snapshot a table.
//!
//! What is immutable (ropes, commits, checkpoints, source objects) passes through; the cache above keeps it. What changes is kept here:
//!
//! ```text
//! log/<catalog>/<schema>/<table>/_delta_log/           LIST, flat and by level      one snapshot:
//! log/<catalog>/<schema>/<table>/_delta_log/_last_checkpoint                        its hint never names
//! log/<catalog>/<schema>/<table>/_delta_log/<n>.json   whether it exists, HEAD      what its listing
//! log/<catalog>/<schema>/<table>/_delta_log/<n>.crc    the same, and bodies         does not show
//! log/<catalog>/<schema>/<table>/_delta_log/...        HEAD of what is listed
//! log/..., any other level                             LIST by level
//! log/<catalog>/<schema>/<table>                       LIST, flat, made of the level and the log
//! ```
//!
//! There is a `_last_checkpoint` in a log and nowhere else.
//!
//! Promises:
//! - A snapshot is trusted until a notice for its table, or for [`LogOptions::staleness`]. An answer is never older than that while the origin answers.
//! - While the origin is away the last snapshot is served, however old, and counted. One reader has waited for it then; the next ones do not. That it
//!   answers again is noticed within some 10 s, or by a notice.
//! - A snapshot is taken once for everybody who wants it, and to its end, whoever leaves.
//! - A log is append-only: what is listed anew begins at the newest checkpoint. All of it is listed when that is not what it was, when the origin has been
//!   away, and from time to time: a state may be restored from a backup.
//! - Memory is bounded and counted: [`TABLES_MAX`] snapshots of 96 MiB together, levels of 8 MiB, each of at most [`LEVEL_OBJECTS_MAX`] objects, and
//!   checksums of 4 MiB. Those that were read longest ago are let go, and are taken anew when they are read; the one that is being read is kept whole.
//!   What was read in the last minute, and all while the origin is away, may take twice as much.
//!
//! It relies on the origin's listing to be complete. It refuses every write.

mod attempt;
mod fresh;
mod kept;
mod lru;
mod metrics;
mod notices;
mod object;
mod snapshot;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{
    Error, GetOptions, GetResult, ListResult, ObjectMeta, ObjectStore, Result, path::Path,
};
use tokio::runtime::Handle;

pub use metrics::LogMetrics;
pub use notices::Notices;

use fresh::Weighed;
use kept::Kept;
use lru::LruMap;
use object::{Object, meta_bytes, path_bytes};
use snapshot::{File, Snapshot};

/// Snapshots kept. Each is a listing of one log; tables are declared, so more than this are names that clients made up.
pub const TABLES_MAX: usize = 1024;
/// Bytes of snapshots: by the size of an entry, logs of some 200,000 commits together, with their checksums.
const TABLES_BYTES_MAX: u64 = 96 << 20;
/// Levels kept that are no log: folders of tables, schemas, catalogs.
const LEVELS_MAX: usize = 256;
const LEVELS_BYTES_MAX: u64 = 8 << 20;
/// Objects of a level that is kept, about 3 MiB; a larger one is listed each time.
pub const LEVEL_OBJECTS_MAX: usize = 10_000;
/// Bodies of `.crc` files kept. Clients read the newest of a table.
const CHECKSUMS_MAX: usize = 1024;
const CHECKSUMS_BYTES_MAX: u64 = 4 << 20;

/// How a [`LogStore`] trusts.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// How long a snapshot is trusted without a notice. Default 1 s: other replicas commit too, and nobody tells of those.
    pub staleness: Duration,
    /// Age below which a checkpoint is not named by `_last_checkpoint`, but one before it that is known. Default 0; at least a minute while
    /// [`Notices::has_peers`], because a client may ask one process for the hint and another for the listing, which is served from what is
    /// known while the origin is slow or away.
    pub hint_age: Duration,
}

/// [`LogOptions::hint_age`] beside others, at least. A listing is a second old by default; the rest is for an origin that is away and comes back soon.
const HINT_AGE_BESIDE_PEERS: Duration = Duration::from_secs(60);

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            staleness: Duration::from_secs(1),
            hint_age: Duration::ZERO,
        }
    }
}

/// See the module's documentation. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LogStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    origin: Arc<dyn ObjectStore>,
    options: LogOptions,
    notices: Notices,
    metrics: LogMetrics,
    tables: LruMap<Kept<Snapshot>>,
    levels: LruMap<Kept<ListResult>>,
    /// Levels that are too large to be kept.
    large: LruMap<()>,
    checksums: LruMap<Object>,
    /// Where attempts in place of readers run, whichever thread a request is answered on.
    runtime: Handle,
}

impl LogStore {
    /// Answers for `origin`, as `notices` tell and `options` allow. Needs a runtime.
    pub fn new(
        origin: Arc<dyn ObjectStore>,
        options: LogOptions,
        notices: Notices,
        metrics: LogMetrics,
    ) -> Self {
        let kept = metrics.kept_bytes();
        Self {
            shared: Arc::new(Shared {
                origin,
                options,
                tables: LruMap::new(TABLES_MAX, TABLES_BYTES_MAX, kept, &notices),
                levels: LruMap::new(LEVELS_MAX, LEVELS_BYTES_MAX, kept, &notices),
                large: LruMap::new(LEVELS_MAX, u64::MAX, kept, &notices),
                checksums: LruMap::new(CHECKSUMS_MAX, CHECKSUMS_BYTES_MAX, kept, &notices),
                notices,
                metrics,
                runtime: Handle::current(),
            }),
        }
    }

    /// The listing of the log in `folder`, after `offset`.
    fn listed(&self, folder: Path, offset: Option<Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let shared = Arc::clone(&self.shared);
        stream::once(async move { shared.snapshot(&folder).await })
            .map_ok(move |snapshot| stream::iter(snapshot.after(offset.as_ref())).map(Ok))
            .try_flatten()
            .boxed()
    }

    /// All that is below a table's folder, of what is kept. A folder too large for that is the origin's to list: whoever only wants to know whether there
    /// is anything gets its first page.
    fn below_table(&self, folder: Path) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.shared.large.get(&folder).is_some() {
            return self.shared.origin.list(Some(&folder));
        }
        let store = self.clone();
        let streams = async move {
            let ListResult {
                mut objects,
                common_prefixes,
            } = store.shared.level(folder).await?;
            let mut streams = Vec::new();
            for child in common_prefixes {
                let begin = format!("{child}/");
                let behind =
                    objects.partition_point(|meta| meta.location.as_ref() < begin.as_str());
                let later = objects.split_off(behind);
                streams.push(stream::iter(objects).map(Ok).boxed());
                let store = store.clone();
                // Not before it is its turn: whoever wants one object asks for no more.
                let below = stream::once(async move { store.list(Some(&child)) });
                streams.push(below.flatten().boxed());
                objects = later;
            }
            streams.push(stream::iter(objects).map(Ok).boxed());
            Ok::<_, Error>(stream::iter(streams).flatten())
        };
        stream::once(streams).try_flatten().boxed()
    }
}

impl Shared {
    /// The snapshot of the log in `folder`.
    async fn snapshot(self: &Arc<Self>, folder: &Path) -> Result<Arc<Snapshot>> {
        let kept = self.tables.of(folder);
        let (origin, log) = (Arc::clone(&self.origin), folder.clone());
        let hint_age = self.hint_age();
        let take = move |begin| Snapshot::take(Arc::clone(&origin), log.clone(), begin, hint_age);
        self.fresh(folder, &kept, take).await
    }

    async fn level(self: &Arc<Self>, folder: Path) -> Result<ListResult> {
        let kept = self.levels.of(&folder);
        let (origin, level) = (Arc::clone(&self.origin), folder.clone());
        // One answer, not a stream: what the origin sends meanwhile is not heard of. A level that is kept is a few pages at most.
        let take = move |_| {
            let (origin, level) = (Arc::clone(&origin), level.clone());
            async move { origin.list_with_delimiter(Some(&level)).await }
        };
        let listed = self.fresh(&folder, &kept, take).await?;
        Ok(ListResult {
            common_prefixes: listed.common_prefixes.clone(),
            objects: listed.objects.clone(),
        })
    }

    async fn get_in_log(
        self: &Arc<Self>,
        folder: &Path,
        location: &Path,
        options: GetOptions,
    ) -> Result<GetResult> {
        let file = File::of(location);
        if matches!(file, File::Other) && !options.head {
            return self.origin.get_opts(location, options).await;
        }
        let snapshot = self.snapshot(folder).await?;
        match (file, snapshot.find(location)) {
            (File::Hint, _) => match snapshot.hint(self.hint_age()) {
                Some(hint) => hint.answer(&options),
                None => Err(not_found(location)),
            },
            (File::Commit | File::Checksum, None) => Err(not_found(location)),
            (File::Commit | File::Checksum | File::Other, Some(listed)) if options.head => {
                Object::head(listed.clone(), &options)
            }
            (File::Checksum, Some(listed)) => self.checksum(listed).await?.answer(&options),
            (File::Commit, Some(_)) | (File::Other, _) => {
                self.origin.get_opts(location, options).await
            }
        }
    }

    /// A client may ask another process for the listing than for the hint.
    fn hint_age(&self) -> Duration {
        match self.notices.has_peers() {
            true => self.options.hint_age.max(HINT_AGE_BESIDE_PEERS),
            false => self.options.hint_age,
        }
    }

    async fn checksum(&self, listed: &ObjectMeta) -> Result<Arc<Object>> {
        let location = &listed.location;
        // A state that is restored from a backup has another one under the same name.
        let kept = self.checksums.get(location);
        if let Some(kept) = kept.filter(|kept| kept.is(listed)) {
            return Ok(kept);
        }
        let object = Object::get(self.origin.as_ref(), location).await?;
        let bytes = object.bytes();
        Ok(self.checksums.put(location, object, bytes))
    }
}

impl Weighed for Snapshot {
    fn weigh(&self, shared: &Shared, folder: &Path, kept: &Arc<Kept<Self>>) {
        shared.tables.weigh(folder, kept, self.bytes());
    }
}

impl Weighed for ListResult {
    fn weigh(&self, shared: &Shared, folder: &Path, kept: &Arc<Kept<Self>>) {
        if self.objects.len() + self.common_prefixes.len() > LEVEL_OBJECTS_MAX {
            shared.levels.forget(folder);
            shared.large.put(folder, (), 0);
        } else {
            let objects = self.objects.iter().map(meta_bytes);
            let folders = self.common_prefixes.iter().map(path_bytes);
            shared
                .levels
                .weigh(folder, kept, objects.chain(folders).sum());
        }
    }
}

fn not_found(location: &Path) -> Error {
    Error::NotFound {
        path: location.to_string(),
        source: "it is not in the log".into(),
    }
}

fn refused(operation: &str) -> Error {
    Error::NotSupported {
        source: format!("{operation}: the log is read-only").into(),
    }
}

/// `path` if it is the folder of a table's log: `log/<catalog>/<schema>/<table>/_delta_log`.
fn log_folder(path: &Path) -> Option<&Path> {
    let mut parts = path.parts();
    let is_log = parts.next().is_some_and(|part| part.as_ref() == "log")
        && parts
            .nth(3)
            .is_some_and(|part| part.as_ref() == "_delta_log")
        && parts.next().is_none();
    is_log.then_some(path)
}

/// Whether `path` is a folder wherever there is something: a catalog, a schema, a table, a table's log. Hadoop asks for those as if they
/// were objects, also while the origin is away.
fn is_folder(path: &Path) -> bool {
    is_in_log(path) && (path.parts().count() <= 4 || log_folder(path).is_some())
}

/// Whether `path` is the folder of a table: `log/<catalog>/<schema>/<table>`.
fn is_table(path: &Path) -> bool {
    is_in_log(path) && path.parts_count() == 4
}

/// Whether `path` lies in `log`, so that its level is worth keeping.
fn is_in_log(path: &Path) -> bool {
    path.parts()
        .next()
        .is_some_and(|part| part.as_ref() == "log")
}

impl fmt::Display for LogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogStore({})", self.shared.origin)
    }
}

#[async_trait]
impl ObjectStore for LogStore {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if is_folder(location) {
            return Err(not_found(location));
        }
        let parent = location.parent();
        match parent.as_ref().and_then(log_folder) {
            Some(folder) => self.shared.get_in_log(folder, location, options).await,
            None if is_in_log(location) && File::of(location) == File::Hint => {
                Err(not_found(location))
            }
            None => self.shared.origin.get_opts(location, options).await,
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match prefix {
            Some(folder) if log_folder(folder).is_some() => self.listed(folder.clone(), None),
            Some(folder) if is_table(folder) => self.below_table(folder.clone()),
            _ => self.shared.origin.list(prefix),
        }
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        match prefix.and_then(log_folder) {
            Some(folder) => self.listed(folder.clone(), Some(offset.clone())),
            None => self.shared.origin.list_with_offset(prefix, offset),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        match prefix {
            Some(folder) if log_folder(folder).is_some() => {
                Ok(self.shared.snapshot(folder).await?.level(folder))
            }
            Some(folder) if is_in_log(folder) => self.shared.level(folder.clone()).await,
            _ => self.shared.origin.list_with_delimiter(prefix).await,
        }
    }

    vdt_rope::refuse_writes!(refused);
}
