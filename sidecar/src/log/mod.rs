//! `LogStore`: the `ObjectStore` that answers what changes in an origin from one snapshot a table.
//!
//! What is immutable (ropes, commits, checkpoints, source objects) passes through; the cache above keeps it. What changes is kept here:
//!
//! ```text
//! log/<catalog>/<schema>/<table>/_delta_log/           LIST, flat and by level      one snapshot,
//! log/<catalog>/<schema>/<table>/_delta_log/_last_checkpoint                        taken hint first, so that
//! log/<catalog>/<schema>/<table>/_delta_log/<n>.json   whether it exists            the hint never names what
//! log/<catalog>/<schema>/<table>/_delta_log/<n>.crc    whether it exists, bodies    LIST does not show
//! log/..., any other level                             LIST by level
//! ```
//!
//! Promises:
//! - A snapshot is trusted until a notice for its table, or for [`LogOptions::staleness`]. An answer is never older than that while the origin answers.
//! - While the origin is away the last snapshot is served, however old, and counted.
//! - One reader takes a snapshot, the others wait for it. A reader that leaves passes the turn on.
//! - Memory is bounded: [`TABLES_MAX`] snapshots, levels of at most [`LEVEL_OBJECTS_MAX`] objects.
//!
//! It relies on the origin's listing to be complete. It refuses every write.

mod kept;
mod metrics;
mod notices;
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
use tokio::time::{Instant, timeout};

pub use metrics::LogMetrics;
pub use notices::Notices;

use kept::{Kept, Shelf};
use snapshot::{File, Object, Snapshot};

/// Snapshots kept. Each is a listing of one log; tables are declared, so more than this are names that clients made up.
pub const TABLES_MAX: usize = 1024;
/// Levels kept that are no log: folders of tables, schemas, catalogs.
const LEVELS_MAX: usize = 256;
/// Objects of a level that is kept, about 3 MiB; a larger one is listed each time.
pub const LEVEL_OBJECTS_MAX: usize = 10_000;
/// Bodies of `.crc` files kept. Clients read the newest of a table.
const CHECKSUMS_MAX: usize = 1024;
/// How long an origin that is up may take for a snapshot before the last one is served.
const TAKE_MAX: Duration = Duration::from_secs(5);

/// How a [`LogStore`] trusts.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// How long a snapshot is trusted without a notice. Default 1 s: other replicas commit too, and nobody tells of those.
    pub staleness: Duration,
    /// Age below which a checkpoint is not named by `_last_checkpoint`. Default 0; at least twice the longest staleness while [`Notices::has_peers`],
    /// because a client may ask one process for the hint and another for the listing.
    pub hint_age: Duration,
}

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
    tables: Shelf<Kept<Snapshot>>,
    levels: Shelf<Kept<ListResult>>,
    checksums: Shelf<Object>,
}

impl LogStore {
    /// Answers for `origin`, as `notices` tell and `options` allow.
    pub fn new(
        origin: Arc<dyn ObjectStore>,
        options: LogOptions,
        notices: Notices,
        metrics: LogMetrics,
    ) -> Self {
        metrics.follow(&notices);
        Self {
            shared: Arc::new(Shared {
                origin,
                options,
                notices,
                metrics,
                tables: Shelf::new(TABLES_MAX),
                levels: Shelf::new(LEVELS_MAX),
                checksums: Shelf::new(CHECKSUMS_MAX),
            }),
        }
    }
}

impl Shared {
    /// The snapshot of the log in `folder`.
    async fn snapshot(&self, folder: &Path) -> Result<Arc<Snapshot>> {
        let kept = self.tables.of(folder);
        let origin = Arc::clone(&self.origin);
        self.fresh(folder, &kept, || Snapshot::take(origin, folder.clone()))
            .await
    }

    /// What is kept, if it is still trusted; else what `take` takes; else, with the origin away, what is kept all the same.
    async fn fresh<T, F>(
        &self,
        folder: &Path,
        kept: &Kept<T>,
        take: impl FnOnce() -> F,
    ) -> Result<Arc<T>>
    where
        F: Future<Output = Result<T>>,
    {
        let is_trusted = |at: &kept::Taken<T>| {
            at.stamp == self.notices.stamp(folder)
                && at.at.elapsed() < self.options.staleness
                && self.notices.is_origin_up()
        };
        if let Some(taken) = kept.last().filter(|taken| is_trusted(taken)) {
            return Ok(taken.value);
        }
        let asked = Instant::now();
        let _turn = kept.turn().await;
        let last = kept.last();
        if let Some(taken) = last.as_ref().filter(|taken| is_trusted(taken)) {
            return Ok(Arc::clone(&taken.value));
        }
        if let Some(taken) = last.as_ref().filter(|_| !self.notices.is_origin_up()) {
            self.metrics.stale_answer();
            return Ok(Arc::clone(&taken.value));
        }
        // One attempt answers for everybody who waited for it, and for a moment more where there is something to serve.
        match (kept.refused(), &last) {
            (Some(refused), Some(taken))
                if refused.at > asked || refused.at.elapsed() < self.options.staleness =>
            {
                self.metrics.stale_answer();
                return Ok(Arc::clone(&taken.value));
            }
            (Some(refused), None) if refused.at > asked => return Err(away(&refused.message)),
            _ => {}
        }
        // Before the first request: a notice that comes meanwhile makes the snapshot stale at once.
        let (stamp, at) = (self.notices.stamp(folder), Instant::now());
        self.metrics.snapshot_taken();
        let taken = match &last {
            None => take().await,
            Some(_) => timeout(TAKE_MAX, take())
                .await
                .unwrap_or_else(|_| Err(away(&format!("no answer within {TAKE_MAX:?}")))),
        };
        let error = match taken {
            Ok(value) => return Ok(kept.put(value, stamp, at)),
            Err(error) if !is_away(&error) => return Err(error),
            Err(error) => error,
        };
        kept.refuse(&error.to_string());
        let Some(taken) = last else {
            return Err(error);
        };
        tracing::debug!(%folder, %error, "the origin does not answer; the last snapshot is served");
        self.metrics.stale_answer();
        Ok(taken.value)
    }

    async fn level(&self, folder: Path) -> Result<ListResult> {
        let kept = self.levels.of(&folder);
        let origin = Arc::clone(&self.origin);
        let listed = self
            .fresh(&folder, &kept, || async {
                origin.list_with_delimiter(Some(&folder)).await
            })
            .await?;
        if listed.objects.len() + listed.common_prefixes.len() > LEVEL_OBJECTS_MAX {
            self.levels.forget(&folder);
        }
        Ok(ListResult {
            common_prefixes: listed.common_prefixes.clone(),
            objects: listed.objects.clone(),
        })
    }

    async fn get_in_log(
        &self,
        folder: &Path,
        location: &Path,
        options: GetOptions,
    ) -> Result<GetResult> {
        let file = File::of(location);
        if matches!(file, File::Other) {
            return self.origin.get_opts(location, options).await;
        }
        let snapshot = self.snapshot(folder).await?;
        match file {
            File::Hint => match snapshot.hint(self.hint_age()) {
                Some(hint) => hint.answer(&options),
                None => Err(not_found(location)),
            },
            File::Commit | File::Checksum => {
                let Some(listed) = snapshot.find(location) else {
                    return Err(not_found(location));
                };
                if options.head {
                    return Object::head(listed.clone(), &options);
                }
                if matches!(file, File::Checksum) {
                    return self.checksum(location).await?.answer(&options);
                }
                self.origin.get_opts(location, options).await
            }
            File::Other => self.origin.get_opts(location, options).await,
        }
    }

    /// A client may ask another process for the listing than for the hint.
    fn hint_age(&self) -> Duration {
        match self.notices.has_peers() {
            true => self.options.hint_age.max(self.options.staleness * 2),
            false => self.options.hint_age,
        }
    }

    async fn checksum(&self, location: &Path) -> Result<Arc<Object>> {
        if let Some(kept) = self.checksums.get(location) {
            return Ok(kept);
        }
        let object = Object::get(self.origin.as_ref(), location).await?;
        Ok(self.checksums.put(location, object))
    }
}

/// Whether an error says that the origin cannot answer, rather than what it answered.
fn is_away(error: &Error) -> bool {
    !matches!(
        error,
        Error::NotFound { .. }
            | Error::Precondition { .. }
            | Error::NotModified { .. }
            | Error::NotSupported { .. }
            | Error::InvalidPath { .. }
    )
}

fn away(message: &str) -> Error {
    Error::Generic {
        store: "LogStore",
        source: message.into(),
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
            None => self.shared.origin.get_opts(location, options).await,
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let Some(folder) = prefix.and_then(log_folder).cloned() else {
            return self.shared.origin.list(prefix);
        };
        let shared = Arc::clone(&self.shared);
        let snapshot = async move { shared.snapshot(&folder).await };
        stream::once(snapshot)
            .map_ok(|snapshot| stream::iter(snapshot.after(None)).map(Ok))
            .try_flatten()
            .boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let Some(folder) = prefix.and_then(log_folder).cloned() else {
            return self.shared.origin.list_with_offset(prefix, offset);
        };
        let (shared, offset) = (Arc::clone(&self.shared), offset.clone());
        let snapshot = async move { shared.snapshot(&folder).await };
        stream::once(snapshot)
            .map_ok(move |snapshot| stream::iter(snapshot.after(Some(&offset))).map(Ok))
            .try_flatten()
            .boxed()
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
