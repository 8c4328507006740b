//! `RopeStore`: the `ObjectStore` that shows a table's files where the store below it holds their ropes.
//!
//! The store below, the *origin*, is one `ObjectStore` with two folders:
//!
//! ```text
//! log/<catalog>/<schema>/<table>/_delta_log/...            shown as it is, without the first folder
//! log/<catalog>/<schema>/<table>/<hash>-<bytes>.rope       shown as <hash>-<bytes>.parquet, composed when read
//! sources/<source id>/<full key>                           the objects that references name; never shown
//! ```
//!
//! Promises:
//! - Never a wrong byte (invariant 2). A reference is read with `If-Match` (and its version), and what comes back is
//!   compared again: ETag and size, or size and modification time where there is no ETag; the range, and the number of
//!   bytes. A source that changed is [`object_store::Error::Precondition`], before the first byte where it can be known,
//!   and [`RopeStoreOptions::on_drift`] is told. Never torn, mixed or padded content.
//! - Sizes come from names: HEAD and LIST read no rope.
//! - Memory is bounded (invariant 6): bodies stream, read-ahead is at most [`RopeStoreOptions::read_ahead_bytes`] a body
//!   and [`RopeStoreOptions::read_ahead_total_bytes`] all together, however slow their readers are, and order is kept.
//!   No artifact is ever buffered as a whole for its size's sake.
//! - I/O is minimal: the index of a rope once and the frames of the range (small caches hold both), each source range once.
//! - Each read of a source object carries a [`ReadContext`], so that a cache below can fetch neighbours together.
//! - Listings have the order of the origin's, byte order where that has it.
//!
//! It relies on the origin to answer suffix ranges, to honour `If-Match` with a plain ETag (no quotes), and to check a
//! local file's identity after each read. Timeouts belong to the caller, retries to the origin's clients.
//! It refuses every write. Names of the form `<hash>-<bytes>.parquet` belong to ropes: a real file of such a name is not
//! shown, and a `*.rope` is found under its shown name only.
//!
//! Cancelling a request or dropping a body drops every read that it has in flight. Nothing is stored, so a crash loses
//! nothing.

mod body;
mod budget;
mod cache;
mod compose;
mod context;
mod error;
mod frames;
mod list;
mod paths;
mod read;
mod read_only;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

pub use compose::requested_range;
pub use context::{FileMap, Frame, ReadContext, Reread};
pub use error::{Drift, DriftReason, RopeStoreError};
pub use read::unquoted;

use budget::ReadAheadBudget;
use cache::{FrameCache, IndexCache};
use paths::Shown;

/// Name of this store in errors.
const STORE: &str = "RopeStore";

/// Memory for parsed indexes of ropes, about 2,500 files of 16,000 artifacts; bytes.
const INDEX_CACHE_BYTES: usize = 8 << 20;

/// Called for every read that met a changed source. Called from inside a poll: it must not block.
pub type OnDrift = Arc<dyn Fn(Drift) + Send + Sync>;

/// What a [`RopeStore`] may use, and whom it tells.
#[derive(Clone)]
pub struct RopeStoreOptions {
    /// Most reads of source objects in flight for one body, at least 1, default 16: with 8, scans of small
    /// artifacts left the machine idle part of the time.
    pub concurrent_reads: usize,
    /// A read starts when its first byte is less than this ahead of what was passed on, and no more than this (and one
    /// chunk) is buffered for one body; bytes, default 4 MiB.
    pub read_ahead_bytes: u64,
    /// What all bodies hold beyond what they pass on next, together; bytes, default 64 MiB. A body reads ahead while it
    /// holds less than a quarter of what the others leave of this, so those whose readers take nothing slow the rest down,
    /// and never stop them.
    pub read_ahead_total_bytes: u64,
    /// Memory for decoded frames of ropes, so that neighbouring reads decode a frame once; bytes, default 8 MiB.
    pub frame_cache_bytes: usize,
    /// Told of every source object that turned out to have changed.
    pub on_drift: Option<OnDrift>,
}

impl Default for RopeStoreOptions {
    fn default() -> Self {
        Self {
            concurrent_reads: 16,
            read_ahead_bytes: 4 << 20,
            read_ahead_total_bytes: 64 << 20,
            frame_cache_bytes: 8 << 20,
            on_drift: None,
        }
    }
}

impl fmt::Debug for RopeStoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RopeStoreOptions")
            .field("concurrent_reads", &self.concurrent_reads)
            .field("read_ahead_bytes", &self.read_ahead_bytes)
            .field("read_ahead_total_bytes", &self.read_ahead_total_bytes)
            .field("frame_cache_bytes", &self.frame_cache_bytes)
            .field("on_drift", &self.on_drift.is_some())
            .finish()
    }
}

/// The tables' files over an origin. Cheap to clone; clones share the cache.
#[derive(Debug, Clone)]
pub struct RopeStore {
    shared: Arc<Shared>,
}

/// What every request of a store shares.
#[derive(Debug)]
struct Shared {
    origin: Arc<dyn ObjectStore>,
    options: RopeStoreOptions,
    indexes: IndexCache,
    frames: FrameCache,
    budget: Arc<ReadAheadBudget>,
}

impl RopeStore {
    /// Shows the files of `origin`.
    pub fn new(origin: Arc<dyn ObjectStore>, options: RopeStoreOptions) -> Self {
        let indexes = IndexCache::new(INDEX_CACHE_BYTES);
        let frames = FrameCache::new(options.frame_cache_bytes);
        let budget = Arc::new(ReadAheadBudget::new(options.read_ahead_total_bytes));
        Self {
            shared: Arc::new(Shared {
                origin,
                options,
                indexes,
                frames,
                budget,
            }),
        }
    }

    /// The metadata of a shown file, without its body.
    async fn head_rope(
        &self,
        location: &Path,
        name: crate::FileName,
        rope: &Path,
    ) -> Result<ObjectMeta> {
        let meta = self
            .shared
            .origin
            .head(rope)
            .await
            .map_err(|error| error::relocate(error, location))?;
        Ok(paths::shown_meta(location.clone(), name, &meta))
    }
}

impl fmt::Display for RopeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE}({})", self.shared.origin)
    }
}

#[async_trait]
impl ObjectStore for RopeStore {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        // The usual read, before anything is made of its path. HEAD is passed on: it needs no index.
        if !options.head
            && let Some(known) = self.shared.indexes.find(location)
        {
            return compose::get_known(&self.shared, location, known, options).await;
        }
        match paths::resolve(location) {
            Shown::Plain(inner) => {
                let result = self.shared.origin.get_opts(&inner, options).await;
                let mut result = result.map_err(|error| error::relocate(error, location))?;
                result.meta.location = location.clone();
                Ok(result)
            }
            Shown::Rope { name, path } if options.head => {
                let meta = self.head_rope(location, name, &path).await?;
                compose::without_body(meta, &options)
            }
            Shown::Rope { name, path } => {
                compose::get(&self.shared, location, name, path, options).await
            }
            Shown::Hidden => Err(error::not_found(location)),
        }
    }

    /// Each range by itself: what lies between two ranges may be artifacts, and nobody asked for those.
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        // The futures are made before they are polled, so that none borrows from a closure's argument.
        let reads: Vec<_> = ranges
            .iter()
            .map(|range| self.get_range(location, range.clone()))
            .collect();
        stream::iter(reads)
            .buffered(self.shared.options.concurrent_reads.max(1))
            .try_collect()
            .await
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        list::shown(self.shared.origin.list(Some(&paths::below_log(prefix))))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        list::shown_after(&self.shared.origin, prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.shared
            .origin
            .list_with_delimiter(Some(&paths::below_log(prefix)))
            .await
            .map(list::shown_level)
    }

    async fn put_opts(&self, location: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(error::read_only(location))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(error::read_only(location))
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        locations
            .map(|location| Err(error::read_only(&location?)))
            .boxed()
    }

    async fn copy_opts(&self, _: &Path, to: &Path, _: CopyOptions) -> Result<()> {
        Err(error::read_only(to))
    }

    async fn rename_opts(&self, _: &Path, to: &Path, _: RenameOptions) -> Result<()> {
        Err(error::read_only(to))
    }
}
