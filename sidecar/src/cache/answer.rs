//! Answers of [`CacheStore`]: which of what is known of an object a request is answered by, and from which blocks.
//!
//! An object is known by its reference in a rope ([`CacheStore::get_listed`]), or by its name and what it was when it was first read
//! ([`CacheStore::get_named`]). Either way the properties are there before the first block is asked for, and preconditions are checked against them. Where a
//! name may come to stand for another object, as in a log after its state was restored, the origin's HEAD tells first, which a listing answers
//! ([`LogStore`](crate::log::LogStore)). What cannot be named is passed on. A read that is cancelled lets go of the fetches that it follows.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use chrono::DateTime;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{
    Attributes, Error, GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta,
    ObjectStoreExt, Result, path::Path,
};
use vdt_rope::{ReadContext, requested_range};

use super::{
    CacheStore,
    body::Body,
    error::STORE,
    fetch,
    fill::{Fill, Order, Target},
    flight::Follower,
    object::{Named, Object, difference, entry_meta},
    read::Read,
};
use crate::tiers::{Class, EntryMeta, Insert};

/// So often a reader joins others who ask for an object of which nothing is known: where the origin fails, all of them are told soon,
/// and not one after another.
const OPENS_MAX: u32 = 3;

/// Size of an object that is about to tell it.
const SIZE_UNKNOWN: u64 = 0;

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
            shared.counters.bytes.inc_by(bytes);
            shared.counters.served.inc_by(bytes);
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
        context: &ReadContext,
        options: GetOptions,
    ) -> Result<GetResult> {
        let shared = &self.shared;
        let listed = &context.object;
        shared
            .counters
            .touched(&listed.source, &listed.key, listed.size);
        let seen = shared.scans.observe(context);
        let object = Object::listed(location.clone(), context.clone());
        let read = Read::new(shared, object, seen.how);
        let result = self.read(location, read, false, options).await;
        if let (Ok(_), Some(window)) = (&result, seen.ahead) {
            shared.read_ahead(context, window, seen.how);
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
        let (meta, opening) = match self.remembered(named).await? {
            Some(meta) => (meta, None),
            None if options.head => {
                let is_plain = options.range.is_none();
                let result = self.pass(location, options).await?;
                if is_plain {
                    shared.remember(named.name, &entry_meta(&result.meta));
                }
                return Ok(result);
            }
            None => {
                let (meta, opening) = self.open(named, options.range.as_ref()).await?;
                ((*meta).clone(), Some(opening))
            }
        };
        let is_own = opening.as_ref().is_some_and(|opening| !opening.is_joined);
        let read = Read::new(shared, named.object(meta), Insert::Resident);
        let result = self.read(location, read, is_own, options).await;
        // Until here the blocks that came with the first answer were wanted.
        drop(opening);
        result
    }

    /// What is remembered of an object, if the name still stands for it as far as the origin tells: while that is away, the listing that was kept of its
    /// log. Without one nobody knows whose the log is by now, and what is held may be of a table that has changed hands.
    async fn remembered(&self, named: &Named) -> Result<Option<EntryMeta>> {
        let (tiers, key) = (&self.shared.tiers, named.name.meta_key());
        let Some((entry, _)) = tiers.get(Class::Metadata, key).await else {
            return Ok(None);
        };
        if !named.is_replaceable {
            return Ok(Some(entry.meta));
        }
        let what = match self.shared.origin.head(&named.location).await {
            Ok(found) => match difference(&entry.meta, &found) {
                None => return Ok(Some(entry.meta)),
                Some(what) => what,
            },
            Err(error) => {
                if matches!(error, Error::NotFound { .. }) {
                    tiers.remove(key);
                }
                return Err(error);
            }
        };
        tracing::debug!(location = %named.location, what, "another object has taken the name of a cached one");
        tiers.remove(key);
        Ok(None)
    }

    /// Lets go of all that is held of an object whose bytes were not what they should be.
    pub(super) async fn forget(&self, named: &Named) {
        let tiers = &self.shared.tiers;
        let key = named.name.meta_key();
        let Some((entry, _)) = tiers.get(Class::Metadata, key).await else {
            return;
        };
        tracing::warn!(location = %named.location, "a damaged object is let go and read again");
        let block_bytes = self.shared.options.block_bytes_of(entry.meta.size);
        let blocks = entry.meta.size.div_ceil(block_bytes);
        let object = named.object(entry.meta);
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
            let (mut follower, fill) = {
                let mut registry = shared.flights.lock();
                match registry.follow(key, SIZE_UNKNOWN) {
                    Some(follower) => (follower, None),
                    None => {
                        let target = Target::new(key, Class::Metadata, SIZE_UNKNOWN, None, []);
                        let order = Order::of(shared, &named.location, Insert::Resident);
                        let follower = order.interest.follow(&target.flight);
                        let fill = Fill::start(shared, &mut registry, order, [target].into());
                        (follower, Some(fill))
                    }
                }
            };
            let is_joined = fill.is_none();
            if let Some(fill) = fill {
                shared.spawn(fetch::open(fill, named.clone(), range.cloned()));
            }
            match follower.meta().await {
                Ok(meta) => {
                    if is_joined {
                        shared.counters.joins.inc();
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
        if read.object.is_tagged() {
            // The identity keeps the condition, however the tag is quoted.
            options.if_match = Some("*".to_owned());
        }
        let size = read.object.size;
        let range = requested_range(&options, size, STORE)?;
        let answer = |meta: ObjectMeta, range, body| GetResult {
            payload: GetResultPayload::Stream(body),
            meta,
            range,
            attributes: Attributes::default(),
        };
        if options.head || range.is_empty() {
            let meta = object_meta(&read.object.meta());
            options.check_preconditions(&meta)?;
            return Ok(answer(meta, range, stream::empty().boxed()));
        }
        if is_own {
            let segment = self.shared.options.segment_blocks;
            read.begun
                .store(read.block_of(range.start) + segment, Relaxed);
        }
        let mut body = Body::new(read, range.clone());
        let meta = object_meta(&body.open().await?);
        options.check_preconditions(&meta)?;
        Ok(answer(meta, range, body.boxed()))
    }
}
