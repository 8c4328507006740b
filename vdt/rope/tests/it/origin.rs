//! An origin in memory: ropes below `log/`, the objects they refer to below `sources/`.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt};
use vdt_rope::{
    Drift, FileName, Reference, Rope, RopeBuilder, RopeStore, RopeStoreOptions, Segment,
    SourceObject, encode,
};

pub(crate) const SOURCE: &str = "0123456789abcdef";
pub(crate) const TABLE: &str = "main/default/papers";

pub(crate) fn source_path(key: &str) -> Path {
    Path::parse(format!("sources/{SOURCE}/{key}")).unwrap()
}

/// The listed object for what a store says of it.
pub(crate) fn listed(key: &str, meta: &ObjectMeta) -> Arc<SourceObject> {
    Arc::new(SourceObject {
        source: SOURCE.into(),
        key: key.into(),
        size: meta.size,
        etag: meta.e_tag.as_deref().map(Into::into),
        last_modified_ms: meta.last_modified.timestamp_millis(),
        version: None,
    })
}

/// Puts a source object and lists it.
pub(crate) async fn put_source(
    store: &dyn ObjectStore,
    key: &str,
    bytes: impl Into<Bytes>,
) -> Arc<SourceObject> {
    let path = source_path(key);
    store.put(&path, bytes.into().into()).await.unwrap();
    listed(key, &store.head(&path).await.unwrap())
}

/// Stores a rope in the table; the shown path of its file.
pub(crate) async fn put_rope(store: &dyn ObjectStore, rope: &Rope) -> Path {
    let stored = encode(rope, b"annotation");
    let folder = Path::parse(format!("log/{TABLE}")).unwrap();
    store
        .put(&folder.join(stored.name.rope_file()), stored.bytes.into())
        .await
        .unwrap();
    shown(stored.name)
}

pub(crate) fn shown(name: FileName) -> Path {
    Path::parse(TABLE).unwrap().join(name.parquet_file())
}

pub(crate) fn rope(segments: impl IntoIterator<Item = Segment>) -> Rope {
    segments.into_iter().collect()
}

pub(crate) fn whole(object: &Arc<SourceObject>) -> Segment {
    Segment::Reference(Reference::whole(Arc::clone(object)))
}

pub(crate) fn part(object: &Arc<SourceObject>, range: std::ops::Range<u64>) -> Segment {
    Segment::Reference(Reference {
        object: Arc::clone(object),
        offset: range.start,
        length: range.end - range.start,
    })
}

pub(crate) fn literal(bytes: impl Into<Bytes>) -> Segment {
    Segment::Literal(bytes.into())
}

/// A file of `count` artifacts `a/0`, `a/1`... of `bytes` bytes each, a header of 4 bytes before each, padding and a
/// footer behind them; and its content.
pub(crate) async fn put_artifacts(
    store: &dyn ObjectStore,
    count: usize,
    bytes: usize,
) -> (Path, Vec<u8>) {
    let mut builder = RopeBuilder::new();
    let mut file = Vec::new();
    for number in 0..count {
        let content: Vec<u8> = (0..bytes)
            .map(|at| (at * 7 + number * 31 + at / 251) as u8)
            .collect();
        let header = (number as u32).to_be_bytes();
        let object = put_source(store, &format!("a/{number}"), content.clone()).await;
        builder.push_literal(&header);
        builder.push_reference(Reference::whole(object));
        file.extend_from_slice(&header);
        file.extend_from_slice(&content);
    }
    builder.push_zeros(512 * 1024);
    builder.push_literal(b"footer");
    file.resize(file.len() + 512 * 1024, 0);
    file.extend_from_slice(b"footer");
    (put_rope(store, &builder.finish()).await, file)
}

/// A store over `origin` that remembers which sources changed.
pub(crate) fn watched(origin: Arc<dyn ObjectStore>) -> (RopeStore, Arc<Mutex<Vec<Drift>>>) {
    let drifts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&drifts);
    let on_drift = Arc::new(move |drift| seen.lock().unwrap().push(drift));
    let options = RopeStoreOptions {
        on_drift: Some(on_drift),
        ..RopeStoreOptions::default()
    };
    (RopeStore::new(origin, options), drifts)
}

pub(crate) fn over(origin: Arc<dyn ObjectStore>) -> RopeStore {
    RopeStore::new(origin, RopeStoreOptions::default())
}

pub(crate) fn memory() -> Arc<InMemory> {
    Arc::new(InMemory::new())
}

/// A body: its chunks until the end or an error.
pub(crate) async fn read(
    store: &dyn ObjectStore,
    path: &Path,
    range: std::ops::Range<u64>,
) -> object_store::Result<Vec<u8>> {
    let options = GetOptions {
        range: Some(range.into()),
        ..GetOptions::default()
    };
    let chunks: Vec<Bytes> = store
        .get_opts(path, options)
        .await?
        .into_stream()
        .try_collect()
        .await?;
    Ok(chunks.concat())
}

/// All that an error says, inner errors included.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let inner = std::iter::successors(error.source(), |inner| inner.source());
    inner.fold(error.to_string(), |text, inner| format!("{text}: {inner}"))
}
