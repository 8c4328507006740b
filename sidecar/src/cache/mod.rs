//! `CacheStore`: blocks of immutable objects, kept in the tiers, around another `ObjectStore`.
//!
//! ```text
//!   RopeStore   GET sources/<id>/<key> 3 MiB..5 MiB, If-Match, for this body of that file
//!   CacheStore  blocks 3 and 4: in memory? on the disk? under way? else one request for both
//!   origin      GET sources/<id>/<key> 3 MiB..5 MiB, If-Match
//! ```
//!
//! What it caches never changes under its name: source objects by (source, key, ETag or size and time, version), ropes, commits and
//! checkpoints by (store id, path) and what they were when they were first read. Everything else (listings, the hint, `.crc`, HEAD of what
//! is not known, sources without a condition) is the origin's to answer, and so are writes.
//!
//! Promises:
//! - Never a wrong byte. What the origin sends is compared with what was asked for (ETag, or time, and size; the range; the length) before
//!   an entry becomes resident. An object that changed is another object: blocks of both never meet in one response.
//! - A hit asks the origin nothing, not even HEAD, and goes on when the origin is away. A miss then gives the origin's error.
//! - Each byte is fetched once: whoever wants what is under way follows it. Readers that leave or are slow hold nobody up.
//! - Memory in flight is bounded: by the fill budget, and for each body by its block and the next.
//! - Neighbours are fetched together, scans are read ahead and are no residents.
//!
//! Cancelling a read ends the fetches that nobody else follows. A crash loses what the tiers had not written.

mod error;
mod fetch;
mod fill;
mod flight;
mod key;
mod metrics;
mod options;
mod pack;
mod read;
mod report;
mod run;
mod scan;
mod stats;
mod subject;
mod warm;

use std::{
    fmt,
    ops::Range,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result, path::Path,
};
use tokio::{runtime::Handle, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vdt_rope::{ReadContext, Reread};

pub use error::CacheError;
pub use metrics::CacheMetrics;
pub use options::CacheOptions;
pub use warm::{WarmOptions, WarmReport};

use self::{
    error::STORE,
    fetch::Named,
    fill::{Fill, Target},
    flight::{Flights, Follower, given_up},
    key::Identity,
    pack::Layouts,
    read::{Body, Piece, Read},
    scan::Scans,
    stats::Counters,
    subject::Subject,
};
use crate::tiers::{Class, Entry, EntryMeta, Insert, Key, Tiers};

/// Bytes of one permit of a budget.
const BUDGET_UNIT_BYTES: u64 = 1024;

/// So often a reader joins others who ask for an object of which nothing is known: where the origin fails, all of them are told soon,
/// and not one after another.
const OPENS_MAX: u32 = 3;

/// A cache around an origin. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct CacheStore {
    shared: Arc<Shared>,
}

/// What every request shares.
#[derive(Debug)]
struct Shared {
    origin: Arc<dyn ObjectStore>,
    tiers: Arc<Tiers>,
    options: CacheOptions,
    flights: Flights,
    layouts: Layouts,
    scans: Scans,
    counters: Counters,
    /// Bytes that fetches have under way.
    budget: Arc<Semaphore>,
    /// Bytes that are read ahead.
    ahead_budget: Arc<Semaphore>,
    /// Requests to sources for read-ahead.
    ahead_reads: Semaphore,
    tasks: TaskTracker,
    /// Where they run, whichever thread a request is answered on.
    runtime: Handle,
    stop: CancellationToken,
}

impl Shared {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.runtime);
    }

    fn budget_units(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES)).unwrap_or(u32::MAX)
    }

    /// Keeps an object's properties under its name.
    fn remember(&self, name: Identity, meta: &EntryMeta) {
        let entry = Entry {
            meta: meta.clone(),
            bytes: Bytes::new(),
        };
        self.tiers
            .insert(Class::Metadata, name.meta_key(), entry, Insert::Resident);
    }

    /// Whether an entry is held, as far as can be said without reading it.
    fn may_hold(&self, class: Class, key: Key) -> bool {
        self.tiers.may_hold(class, key)
    }
}

impl CacheStore {
    /// Puts a cache before `origin`. Needs a runtime: fetches are tasks on it.
    pub fn new(origin: Arc<dyn ObjectStore>, tiers: Arc<Tiers>, options: CacheOptions) -> Self {
        let options = options.bounded();
        let permits = |bytes: u64| {
            let units = bytes.div_ceil(BUDGET_UNIT_BYTES);
            let units = usize::try_from(units).unwrap_or(usize::MAX);
            Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS)))
        };
        let shared = Shared {
            budget: permits(options.fill_budget_bytes),
            ahead_budget: permits(options.read_ahead_total_bytes),
            ahead_reads: Semaphore::new(options.concurrent_reads),
            scans: Scans::new(options.read_ahead_bytes, options.run_bytes),
            origin,
            tiers,
            options,
            flights: Flights::default(),
            layouts: Layouts::default(),
            counters: Counters::default(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            stop: CancellationToken::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Ends all fetches and waits for them. Readers that follow one get an error; the tiers stay open.
    pub async fn close(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Entries that are being fetched.
    pub fn in_flight(&self) -> usize {
        self.shared.flights.len()
    }

    /// Asks the origin.
    async fn pass(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let shared = Arc::clone(&self.shared);
        let result = shared.get(location, options).await?;
        let (meta, range, attributes) = (
            result.meta.clone(),
            result.range.clone(),
            result.attributes.clone(),
        );
        let body = result.into_stream().inspect_ok(move |chunk| {
            let bytes = chunk.len() as u64;
            shared.counters.came(bytes);
            shared.counters.served.fetch_add(bytes, Relaxed);
        });
        Ok(GetResult {
            payload: GetResultPayload::Stream(body.boxed()),
            meta,
            range,
            attributes,
        })
    }

    async fn get_listed(
        &self,
        location: &Path,
        object: fetch::Object,
        context: ReadContext,
        options: GetOptions,
    ) -> Result<GetResult> {
        let shared = &self.shared;
        shared.counters.touched(
            &context.object.source,
            &context.object.key,
            context.object.size,
        );
        let seen = shared.scans.observe(&context);
        let read = Read {
            shared: Arc::clone(shared),
            object,
            context: Some(context.clone()),
            how: seen.how,
        };
        let result = self.read(location, read, options).await;
        if let (Ok(_), Some(window)) = (&result, seen.ahead) {
            shared.read_ahead(&context, window, seen.how);
        }
        result
    }

    async fn get_named(
        &self,
        location: &Path,
        named: Named,
        options: GetOptions,
    ) -> Result<GetResult> {
        if named.if_match.is_some() {
            return self.get_known_as(location, &named, options).await;
        }
        match self.get_known_as(location, &named, options.clone()).await {
            // The object was written anew since its properties were remembered. What it is now has been remembered meanwhile.
            Err(Error::Precondition { .. }) => self.get_known_as(location, &named, options).await,
            done => done,
        }
    }

    /// As [`Self::get_named`], by what is remembered of the object.
    async fn get_known_as(
        &self,
        location: &Path,
        named: &Named,
        options: GetOptions,
    ) -> Result<GetResult> {
        let shared = &self.shared;
        let known = shared.tiers.get(Class::Metadata, named.name.meta_key());
        let (meta, opening) = match known.await {
            Some((entry, _)) => (Arc::new(entry.meta), None),
            None if options.head => {
                let is_plain = options.range.is_none();
                let result = self.pass(location, options).await?;
                if is_plain {
                    shared.remember(named.name, &fetch::entry_meta(&result.meta));
                }
                return Ok(result);
            }
            None => {
                let (meta, follower) = self.open(named, options.range.as_ref()).await?;
                (meta, Some(follower))
            }
        };
        let read = Read {
            shared: Arc::clone(shared),
            object: named.object(meta),
            context: None,
            how: Insert::Resident,
        };
        let result = self.read(location, read, options).await;
        // Until here the blocks that came with the first answer were wanted.
        drop(opening);
        result
    }

    /// Lets go of all that is held of an object whose bytes were not what they should be.
    async fn forget(&self, named: &Named) {
        let (tiers, block_bytes) = (&self.shared.tiers, self.shared.options.block_bytes);
        let key = named.name.meta_key();
        let Some((entry, _)) = tiers.get(Class::Metadata, key).await else {
            return;
        };
        tracing::warn!(location = %named.location, "a damaged object is let go and read again");
        let blocks = entry.meta.size.div_ceil(block_bytes);
        let object = named.object(Arc::new(entry.meta));
        for block in 0..blocks {
            tiers.remove(object.identity.block_key(block_bytes, block));
        }
        tiers.remove(key);
    }

    /// Asks the origin for an object of which nothing is known but the name.
    async fn open(
        &self,
        named: &Named,
        range: Option<&GetRange>,
    ) -> Result<(Arc<EntryMeta>, Follower)> {
        let (shared, key) = (&self.shared, named.name.meta_key());
        let mut tries_left = OPENS_MAX;
        loop {
            tries_left -= 1;
            let mut is_joined = true;
            let follower = {
                let mut registry = shared.flights.lock();
                match registry.follow(key) {
                    Some(follower) => Some(follower),
                    None => {
                        is_joined = false;
                        let target = Target::new(key, Class::Metadata, None, []);
                        let fill = Fill::start(
                            shared,
                            &mut registry,
                            named.location.clone(),
                            [target].into(),
                            Insert::Resident,
                        );
                        let follower = registry.follow(key);
                        let opening = fetch::open(fill, named.clone(), range.cloned());
                        shared.spawn(opening);
                        follower
                    }
                }
            };
            let mut follower = follower.ok_or_else(|| given_up(&named.location).share())?;
            match follower.meta().await {
                Ok(meta) => {
                    if is_joined {
                        shared.counters.joined();
                    } else {
                        shared.counters.miss(named.class);
                    }
                    return Ok((meta, follower));
                }
                // What another one asked for may be why it failed.
                Err(failure) if is_joined && tries_left > 0 && !shared.stop.is_cancelled() => {
                    tracing::debug!(location = %named.location, error = %failure.error(), "asking again");
                }
                Err(failure) => return Err(failure.share()),
            }
        }
    }

    /// Answers from blocks. The origin has answered for the first of them, or none is needed, when this returns.
    async fn read(
        &self,
        location: &Path,
        read: Read,
        mut options: GetOptions,
    ) -> Result<GetResult> {
        let object_meta = |meta: &EntryMeta| ObjectMeta {
            location: location.clone(),
            last_modified: DateTime::from_timestamp_millis(meta.last_modified_ms)
                .unwrap_or_default(),
            size: meta.size,
            e_tag: meta.etag.as_deref().map(Into::into),
            version: meta.version.as_deref().map(Into::into),
        };
        if read.object.if_match.is_some() {
            // The identity keeps the condition, however the tag is quoted.
            options.if_match = Some("*".to_owned());
        }
        let size = read.object.meta.size;
        let range = match &options.range {
            Some(range) => range.as_range(size).map_err(|error| Error::Generic {
                store: STORE,
                source: Box::new(error),
            })?,
            None => 0..size,
        };
        let answer = |meta: ObjectMeta, range, body| GetResult {
            payload: GetResultPayload::Stream(body),
            meta,
            range,
            attributes: Attributes::default(),
        };
        if options.head || range.is_empty() {
            let meta = object_meta(&read.object.meta);
            options.check_preconditions(&meta)?;
            return Ok(answer(meta, range, stream::empty().boxed()));
        }
        let (first, last) = (read.block_of(range.start), read.block_of(range.end - 1));
        let mut is_alone = false;
        let (piece, meta) = loop {
            let found = match read.piece(first, last, is_alone).await {
                Ok(mut piece) => piece.meta().await.map(|meta| (piece, meta)),
                Err(failure) => Err(failure),
            };
            match found {
                Ok(found) => break found,
                Err(failure) if failure.is_of_run && !is_alone => is_alone = true,
                Err(failure) => return Err(failure.share()),
            }
        };
        let meta = object_meta(&meta);
        options.check_preconditions(&meta)?;
        let block_start = first * self.shared.options.block_bytes;
        let body = match piece {
            // The usual hit: one block, one chunk.
            Piece::Held(_, bytes) if first == last => {
                let part = (range.start - block_start) as usize..(range.end - block_start) as usize;
                let length = range.end - range.start;
                self.shared.counters.served.fetch_add(length, Relaxed);
                stream::once(std::future::ready(Ok(bytes.slice(part)))).boxed()
            }
            piece => Body::new(Arc::new(read), range.clone(), Some(piece), is_alone).boxed(),
        };
        Ok(answer(meta, range, body))
    }
}

impl fmt::Display for CacheStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE}({})", self.shared.origin)
    }
}

#[async_trait]
impl ObjectStore for CacheStore {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let subject = self.subject(location, &options);
        if Reread::is_asked(&options) {
            if let Some(Subject::Named(named)) = &subject {
                self.forget(named).await;
            }
            return self.pass(location, options).await;
        }
        match subject {
            Some(Subject::Listed(object, context)) => {
                self.get_listed(location, object, context, options).await
            }
            Some(Subject::Named(named)) => self.get_named(location, named, options).await,
            None => self.pass(location, options).await,
        }
    }

    /// Each range by itself: blocks join them.
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        // The futures are made before they are polled, so that none borrows from a closure's argument.
        let reads: Vec<_> = ranges
            .iter()
            .map(|range| self.get_range(location, range.clone()))
            .collect();
        stream::iter(reads)
            .buffered(self.shared.options.concurrent_reads)
            .try_collect()
            .await
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.shared.origin.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.shared.origin.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.shared.origin.list_with_delimiter(prefix).await
    }

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.shared
            .origin
            .put_opts(location, payload, options)
            .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.shared
            .origin
            .put_multipart_opts(location, options)
            .await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.shared.origin.delete_stream(locations)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.shared.origin.copy_opts(from, to, options).await
    }
}
