//! object_store's own conformance suite on RopeStore.
//!
//! The suite writes first and addresses arbitrary paths; RopeStore is read-only and names files by their content. So an
//! adapter stands between: a put of bytes at a path makes a source object and a rope of one reference to it, stored in
//! the folder of that path, and the adapter remembers which shown file stands for the path. Everything that is read
//! (GET, HEAD, listings) goes through RopeStore; locations are renamed on the way.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    UploadPart, integration,
};
use vdt_rope::{Reference, RopeBuilder, RopeStore, encode};

use crate::origin::{listed, over, source_path};

#[derive(Debug, Clone)]
struct Adapter {
    origin: Arc<InMemory>,
    store: RopeStore,
    /// The shown file of each path of the suite.
    files: Arc<Mutex<BTreeMap<Path, Path>>>,
}

impl Adapter {
    fn new() -> Self {
        let origin = Arc::new(InMemory::new());
        Self {
            store: over(origin.clone()),
            origin,
            files: Arc::default(),
        }
    }

    fn shown(&self, path: &Path) -> Result<Path> {
        let missing = || Error::NotFound {
            path: path.to_string(),
            source: "never put".into(),
        };
        self.files
            .lock()
            .unwrap()
            .get(path)
            .cloned()
            .ok_or_else(missing)
    }

    /// The path of the suite for a shown file.
    fn original(&self, mut meta: ObjectMeta) -> ObjectMeta {
        let files = self.files.lock().unwrap();
        let found = files.iter().find(|(_, shown)| **shown == meta.location);
        meta.location = found.expect("every shown file was put").0.clone();
        meta
    }

    async fn remove(&self, path: &Path) -> Result<()> {
        let shown = self.shown(path)?;
        self.files.lock().unwrap().remove(path);
        let rope = format!("log/{}", shown.as_ref().replace(".parquet", ".rope"));
        self.origin.delete(&Path::parse(rope)?).await
    }

    async fn write(&self, path: &Path, payload: PutPayload) -> Result<PutResult> {
        if self.shown(path).is_ok() {
            self.remove(path).await?;
        }
        let key = format!("objects/{path}");
        self.origin.put(&source_path(&key), payload).await?;
        let object = listed(&key, &self.origin.head(&source_path(&key)).await?);
        let mut rope = RopeBuilder::new();
        rope.push_reference(Reference::whole(object));
        let stored = encode(&rope.finish(), b"");
        let folder = path.parent().unwrap_or_default();
        let inner = Path::from_iter(
            [Path::from("log"), folder.clone()]
                .iter()
                .flat_map(Path::parts),
        );
        self.origin
            .put(&inner.join(stored.name.rope_file()), stored.bytes.into())
            .await?;
        self.files
            .lock()
            .unwrap()
            .insert(path.clone(), folder.join(stored.name.parquet_file()));
        Ok(PutResult {
            e_tag: Some(stored.name.e_tag()),
            version: None,
        })
    }
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Adapter({})", self.store)
    }
}

#[derive(Debug)]
struct Upload {
    adapter: Adapter,
    path: Path,
    parts: Vec<PutPayload>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts.push(data);
        futures::future::ready(Ok(())).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let payload = self
            .parts
            .iter()
            .flat_map(|part| part.iter().cloned())
            .collect();
        self.adapter.write(&self.path, payload).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        Ok(())
    }
}

#[async_trait]
impl ObjectStore for Adapter {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        _: PutOptions,
    ) -> Result<PutResult> {
        self.write(location, payload).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(Upload {
            adapter: self.clone(),
            path: location.clone(),
            parts: Vec::new(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let shown = self.shown(location)?;
        let mut result = self.store.get_opts(&shown, options).await?;
        result.meta = self.original(result.meta);
        Ok(result)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let adapter = self.clone();
        let delete = move |location: Path| {
            let adapter = adapter.clone();
            async move { adapter.remove(&location).await.map(|()| location) }
        };
        locations.and_then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let adapter = self.clone();
        self.store
            .list(prefix)
            .map_ok(move |meta| adapter.original(meta))
            .boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        // Shown names sort by content, the suite's by name: RopeStore is asked for what lies after each file of the
        // suite that is not past the offset, and what all of these answers hold is kept.
        let adapter = self.clone();
        let passed: Vec<_> = self
            .files
            .lock()
            .unwrap()
            .iter()
            .filter(|(path, _)| *path <= offset)
            .map(|(_, shown)| shown.clone())
            .collect();
        let prefix = prefix.cloned();
        stream::once(async move {
            let mut left: Vec<ObjectMeta> =
                adapter.store.list(prefix.as_ref()).try_collect().await?;
            for shown in passed {
                let after: Vec<_> = adapter
                    .store
                    .list_with_offset(prefix.as_ref(), &shown)
                    .try_collect()
                    .await?;
                assert!(
                    after.iter().all(|meta| meta.location > shown),
                    "the offset is exclusive"
                );
                left.retain(|meta| meta.location != shown);
            }
            Ok::<_, Error>(stream::iter(
                left.into_iter().map(move |meta| Ok(adapter.original(meta))),
            ))
        })
        .try_flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let result = self.store.list_with_delimiter(prefix).await?;
        let objects = result
            .objects
            .into_iter()
            .map(|meta| self.original(meta))
            .collect();
        Ok(ListResult {
            common_prefixes: result.common_prefixes,
            objects,
        })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, _: CopyOptions) -> Result<()> {
        let bytes = self.get(from).await?.bytes().await?;
        self.write(to, bytes.into()).await.map(|_| ())
    }
}

#[tokio::test]
async fn get_opts() {
    integration::get_opts(&Adapter::new()).await;
}

#[tokio::test]
async fn stream_get() {
    integration::stream_get(&Adapter::new()).await;
}

#[tokio::test]
async fn list_with_delimiter() {
    integration::list_with_delimiter(&Adapter::new()).await;
}

#[tokio::test]
async fn list_uses_directories_correctly() {
    integration::list_uses_directories_correctly(&Adapter::new()).await;
}

#[tokio::test]
async fn list_with_offset_exclusivity() {
    integration::list_with_offset_exclusivity(&Adapter::new()).await;
}

#[tokio::test]
async fn get_nonexistent_object() {
    let error = integration::get_nonexistent_object(&over(Arc::new(InMemory::new())), None)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }));
    let location = Path::from(format!("a/{}-5.parquet", "0".repeat(32)));
    let error =
        integration::get_nonexistent_object(&over(Arc::new(InMemory::new())), Some(location))
            .await
            .unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }));
}
