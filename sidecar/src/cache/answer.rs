//! Answers of [`CacheStore`]: which of what is known of an object a request is answered by, and from which blocks.
//!
//! An object is known by its reference in a rope ([`CacheStore::get_listed`]), or by its name and what it was when it was first read
//! ([`CacheStore::get_named`]). Either way the properties are there before the first block is asked for, and preconditions are checked against them. What
//! cannot be named is passed on. A read that is cancelled lets go of the fetches that it follows.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use chrono::DateTime;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{
    Attributes, Error, GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta, Result,
    path::Path,
};
use vdt_rope::ReadContext;

use super::{
    CacheStore,
    error::STORE,
    fetch::{self, Named},
    fill::{Fill, Target},
    flight::{Follower, given_up},
    piece::{Piece, part_of},
    read::{Body, RUNS_FAILED_MAX, Read},
};
use crate::tiers::{Class, EntryMeta, Insert};

/// So often a reader joins others who ask for an object of which nothing is known: where the origin fails, all of them are told soon,
/// and not one after another.
const OPENS_MAX: u32 = 3;

/// The first answer about an object of which nothing was known. While it is held, what came with it is wanted.
struct Opening {
    _follower: Follower,
    /// Whether another read had asked.
    is_joined: bool,
}

impl CacheStore {
    /// Asks the origin.
    pub(super) async fn pass(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
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

    pub(super) async fn get_listed(
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
            begun: AtomicU64::new(0),
        };
        let result = self.read(location, read, false, options).await;
        if let (Ok(_), Some(window)) = (&result, seen.ahead) {
            shared.read_ahead(&context, window, seen.how);
        }
        result
    }

    pub(super) async fn get_named(
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
                let (meta, opening) = self.open(named, options.range.as_ref()).await?;
                (meta, Some(opening))
            }
        };
        let is_own = opening.as_ref().is_some_and(|opening| !opening.is_joined);
        let read = Read {
            shared: Arc::clone(shared),
            object: named.object(meta),
            context: None,
            how: Insert::Resident,
            begun: AtomicU64::new(0),
        };
        let result = self.read(location, read, is_own, options).await;
        // Until here the blocks that came with the first answer were wanted.
        drop(opening);
        result
    }

    /// Lets go of all that is held of an object whose bytes were not what they should be.
    pub(super) async fn forget(&self, named: &Named) {
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
    ) -> Result<(Arc<EntryMeta>, Opening)> {
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
                    let opening = Opening {
                        _follower: follower,
                        is_joined,
                    };
                    return Ok((meta, opening));
                }
                // What another one asked for may be why it failed.
                Err(failure) if is_joined && tries_left > 0 && !shared.stop.is_cancelled() => {
                    tracing::debug!(location = %named.location, error = %failure.error(), "asking again");
                }
                Err(failure) => return Err(failure.share()),
            }
        }
    }

    /// Answers from blocks. The origin has answered for the first of them, or none is needed, when this returns. `is_own`: this very read asked
    /// for the object, so its first blocks are under way.
    async fn read(
        &self,
        location: &Path,
        read: Read,
        is_own: bool,
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
        if is_own {
            let segment = self.shared.options.segment_blocks;
            read.begun.store(first + segment, Relaxed);
        }
        let mut runs_failed = 0;
        let (piece, meta) = loop {
            let found = match read.piece(first, last, runs_failed > 0).await {
                Ok(mut piece) => piece.meta().await.map(|meta| (piece, meta)),
                Err(failure) => Err(failure),
            };
            match found {
                Ok(found) => break found,
                Err(failure) if failure.is_of_run && runs_failed + 1 < RUNS_FAILED_MAX => {
                    runs_failed += 1;
                }
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
                stream::once(std::future::ready(Ok(part_of(&bytes, part)))).boxed()
            }
            piece => Body::new(Arc::new(read), range.clone(), Some(piece), runs_failed).boxed(),
        };
        Ok(answer(meta, range, body))
    }
}
