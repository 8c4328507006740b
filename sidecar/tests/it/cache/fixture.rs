//! An origin in memory with a cache before it, and files of artifacts.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{
    Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, Result, memory::InMemory, path::Path,
};
use vdt_rope::{
    Reference, RopeBuilder, RopeStore, RopeStoreOptions, Segment, SourceObject, encode,
    testing::{Recording, Request},
};
use vdt_sidecar::{
    cache::{CacheOptions, CacheStore},
    tiers::{Tiers, TiersOptions},
};

pub(super) const SOURCE: &str = "0123456789abcdef";
pub(super) const TABLE: &str = "main/default/papers";

pub(super) fn source_path(key: &str) -> Path {
    Path::parse(format!("sources/{SOURCE}/{key}")).unwrap()
}

pub(super) fn memory() -> Arc<InMemory> {
    Arc::new(InMemory::new())
}

/// Bytes that differ between artifacts and offsets.
pub(super) fn content(number: usize, bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| (at * 7 + number * 31 + at / 251) as u8)
        .collect()
}

/// Path of a file of the table's log.
pub(super) fn log_path(file: &str) -> Path {
    Path::parse(format!("log/{TABLE}/_delta_log/{file}")).unwrap()
}

/// An error that a store gives for any reason.
pub(super) fn generic(why: &'static str) -> Error {
    Error::Generic {
        store: "test",
        source: why.into(),
    }
}

/// Puts a source object and lists it.
pub(super) async fn put_source(
    store: &dyn ObjectStore,
    key: &str,
    bytes: impl Into<Bytes>,
) -> Arc<SourceObject> {
    let path = source_path(key);
    store.put(&path, bytes.into().into()).await.unwrap();
    Arc::new(listed(store, &path).await)
}

/// The source object at `path` (`sources/<source>/<key>`), as it is listed.
pub(super) async fn listed(store: &dyn ObjectStore, path: &Path) -> SourceObject {
    let meta = store.head(path).await.unwrap();
    let (source, key) = path.as_ref()["sources/".len()..].split_once('/').unwrap();
    SourceObject {
        source: source.into(),
        key: key.into(),
        size: meta.size,
        etag: meta.e_tag.as_deref().map(Into::into),
        last_modified_ms: meta.last_modified.timestamp_millis(),
        version: None,
    }
}

/// Stores a rope in the table; the shown path of its file.
pub(super) async fn put_rope(
    store: &dyn ObjectStore,
    segments: impl IntoIterator<Item = Segment>,
) -> Path {
    let mut builder = RopeBuilder::new();
    for segment in segments {
        match segment {
            Segment::Literal(bytes) => builder.push_literal(&bytes),
            Segment::Zeros(length) => builder.push_zeros(length),
            Segment::Reference(reference) => builder.push_reference(reference),
        };
    }
    let stored = encode(&builder.finish(), b"");
    let folder = Path::parse(format!("log/{TABLE}")).unwrap();
    store
        .put(&folder.join(stored.name.rope_file()), stored.bytes.into())
        .await
        .unwrap();
    Path::parse(TABLE).unwrap().join(stored.name.parquet_file())
}

/// A file of artifacts of the given sizes, a header of 4 bytes before each; and its bytes.
pub(super) async fn put_artifacts(store: &dyn ObjectStore, sizes: &[usize]) -> (Path, Vec<u8>) {
    let (mut segments, mut file) = (Vec::new(), Vec::new());
    for (number, &bytes) in sizes.iter().enumerate() {
        let content = content(number, bytes);
        let header = (number as u32).to_be_bytes();
        file.extend_from_slice(&header);
        file.extend_from_slice(&content);
        let object = put_source(store, &format!("a/{number}"), content).await;
        segments.push(Segment::Literal(header.to_vec().into()));
        segments.push(Segment::Reference(Reference::whole(object)));
    }
    (put_rope(store, segments).await, file)
}

/// A cache over a store that counts, and the files above it.
pub(super) struct Stack {
    /// What the cache asks for.
    pub(super) origin: Arc<Recording>,
    /// What runs ask for.
    pub(super) files: Arc<Recording>,
    pub(super) cache: CacheStore,
    pub(super) ropes: RopeStore,
}

pub(super) async fn tiers() -> Arc<Tiers> {
    Arc::new(Tiers::open(TiersOptions::default()).await.unwrap())
}

impl Stack {
    /// `composed`: whether the origin composes files.
    pub(super) async fn new(
        origin: Arc<dyn ObjectStore>,
        composed: bool,
        options: CacheOptions,
    ) -> Self {
        Self::over(origin, tiers().await, composed, options)
    }

    pub(super) fn over(
        origin: Arc<dyn ObjectStore>,
        tiers: Arc<Tiers>,
        composed: bool,
        options: CacheOptions,
    ) -> Self {
        let composing = RopeStore::new(Arc::clone(&origin), RopeStoreOptions::default());
        let files = Arc::new(Recording::new(Arc::new(composing)));
        let origin = Arc::new(Recording::new(origin));
        let options = CacheOptions {
            files: composed.then(|| Arc::clone(&files) as _),
            ..options
        };
        let cache = CacheStore::new(Arc::clone(&origin) as _, tiers, options);
        let ropes = RopeStore::new(Arc::new(cache.clone()), RopeStoreOptions::default());
        Self {
            origin,
            files,
            cache,
            ropes,
        }
    }

    /// Another cache over the same origin, which composes `files`, and the files above it.
    pub(super) async fn with_files(
        &self,
        files: impl ObjectStore,
        options: CacheOptions,
    ) -> (CacheStore, RopeStore) {
        let options = CacheOptions {
            files: Some(Arc::new(files)),
            ..options
        };
        let cache = CacheStore::new(Arc::clone(&self.origin) as _, tiers().await, options);
        let ropes = RopeStore::new(Arc::new(cache.clone()), RopeStoreOptions::default());
        (cache, ropes)
    }

    /// Requests for source objects since the last call.
    pub(super) fn asked(&self) -> Vec<Request> {
        let requests = self.origin.take().into_iter();
        requests
            .filter(|request| request.is_read_below("sources/"))
            .collect()
    }

    /// Waits until nothing is under way.
    pub(super) async fn settle(&self) {
        let began = std::time::Instant::now();
        while self.cache.in_flight() > 0 {
            assert!(began.elapsed().as_secs() < 60, "something stays under way");
            tokio::task::yield_now().await;
        }
    }
}

pub(super) fn ranged(range: Range<u64>, if_match: Option<&str>) -> GetOptions {
    GetOptions {
        range: Some(GetRange::Bounded(range)),
        if_match: if_match.map(Into::into),
        ..GetOptions::default()
    }
}

/// A body to its end.
pub(super) async fn read(
    store: &dyn ObjectStore,
    path: &Path,
    options: GetOptions,
) -> Result<Vec<u8>> {
    let body = store.get_opts(path, options).await?.into_stream();
    let chunks: Vec<Bytes> = body.try_collect().await?;
    Ok(chunks.concat())
}
