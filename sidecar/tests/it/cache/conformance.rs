//! object_store's own conformance suite on CacheStore.
//!
//! The suite writes arbitrary paths, and reads them without conditions. So an adapter gives each path a place where the cache works: a
//! source object, read with the ETag that it has now. Reads go through the cache twice, the second answer counts: it is a hit.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, integration,
    local::LocalFileSystem, path::Path,
};
use vdt_sidecar::cache::{CacheOptions, CacheStore};

use super::fixture::{SOURCE, memory, tiers};

#[derive(Debug)]
struct Adapter {
    origin: Arc<dyn ObjectStore>,
    cache: CacheStore,
}

impl Adapter {
    async fn new(origin: Arc<dyn ObjectStore>) -> Self {
        let options = CacheOptions {
            block_bytes: 64,
            ..CacheOptions::default()
        };
        Self {
            cache: CacheStore::new(Arc::clone(&origin), tiers().await, options),
            origin,
        }
    }
}

fn inner(path: &Path) -> Path {
    Path::parse(format!("sources/{SOURCE}/{path}")).unwrap()
}

fn folder(prefix: Option<&Path>) -> Path {
    match prefix {
        Some(prefix) if !prefix.as_ref().is_empty() => inner(prefix),
        _ => Path::parse(format!("sources/{SOURCE}")).unwrap(),
    }
}

fn shown_path(path: &Path) -> Path {
    path.parts().skip(2).collect()
}

fn shown(mut meta: ObjectMeta) -> ObjectMeta {
    meta.location = shown_path(&meta.location);
    meta
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Adapter({})", self.cache)
    }
}

#[async_trait]
impl ObjectStore for Adapter {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.cache
            .put_opts(&inner(location), payload, options)
            .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.cache
            .put_multipart_opts(&inner(location), options)
            .await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let path = inner(location);
        let now = self.origin.head(&path).await.ok();
        // An If-Match would take the place of that condition (RFC 9110 13.2.2).
        let now = now.filter(|_| options.if_unmodified_since.is_none());
        let now_tag = now.and_then(|meta| meta.e_tag);
        let condition = options.if_match.clone().or(now_tag.clone());
        if condition != now_tag && now_tag.is_some() && options.if_match.as_deref() != Some("*") {
            // The cache would answer for the object that had this tag; the suite asks for the one that is there.
            return self.origin.get_opts(&path, options).await;
        }
        let options = GetOptions {
            if_match: condition,
            ..options
        };
        if let Ok(first) = self.cache.get_opts(&path, options.clone()).await {
            let _: Vec<_> = first.into_stream().try_collect().await?;
        }
        let mut result = self.cache.get_opts(&path, options).await?;
        result.meta = shown(result.meta);
        Ok(result)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let locations = locations.map_ok(|path| inner(&path)).boxed();
        self.cache
            .delete_stream(locations)
            .map_ok(|path| shown_path(&path))
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.cache.list(Some(&folder(prefix))).map_ok(shown).boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.cache
            .list_with_offset(Some(&folder(prefix)), &inner(offset))
            .map_ok(shown)
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let found = self
            .cache
            .list_with_delimiter(Some(&folder(prefix)))
            .await?;
        Ok(ListResult {
            common_prefixes: found.common_prefixes.iter().map(shown_path).collect(),
            objects: found.objects.into_iter().map(shown).collect(),
        })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.cache
            .copy_opts(&inner(from), &inner(to), options)
            .await
    }
}

async fn suite(origin: Arc<dyn ObjectStore>) {
    let store: Box<dyn ObjectStore> = Box::new(Adapter::new(origin).await);
    integration::stream_get(&store).await;
    integration::put_get_delete_list(&store).await;
    integration::list_uses_directories_correctly(&store).await;
    integration::list_with_delimiter(&store).await;
    integration::list_with_offset_exclusivity(&store).await;
    integration::rename_and_copy(&store).await;
    // Last: it leaves an object behind, and the others begin with none.
    integration::get_opts(&store).await;
    let missing = integration::get_nonexistent_object(&store, None).await;
    assert!(matches!(missing, Err(object_store::Error::NotFound { .. })));
}

#[tokio::test]
async fn over_memory() {
    suite(memory()).await;
}

#[tokio::test]
async fn over_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    suite(Arc::new(
        LocalFileSystem::new_with_prefix(folder.path()).unwrap(),
    ))
    .await;
}
