//! object_store's own conformance suite on CacheStore, over every origin that it has: stores, and a server on a socket behind what a pod has in between.
//!
//! The suite writes arbitrary paths, and reads them without conditions. So an adapter gives each path a place below `sources`, where the cache works
//! and reads have the ETag that the object has now, or below `log`, where the link lists. Reads go through the cache twice, the second answer counts:
//! below `sources` it is a hit. What writes is the origin, or the server's store where the origin refuses to.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, integration,
    local::LocalFileSystem, memory::InMemory, path::Path,
};
use vdt_sidecar::{
    cache::{CacheOptions, CacheStore},
    link::OriginClient,
    log::{LogMetrics, LogOptions, LogStore, Notices},
    tiers::{Tiers, TiersOptions},
};

use crate::link::server::Server;

const SOURCE: &str = "sources/0123456789abcdef";
const TABLE: &str = "log/main/docs/t";
const LOG: &str = "log/main/docs/t/_delta_log";
/// No object of the suite has it.
const NO_TAG: &str = "none";
/// The suite's objects have some bytes or some megabytes.
const BLOCK_BYTES: u64 = 16 << 10;

#[derive(Debug)]
struct Adapter {
    /// Where the suite's objects lie.
    place: Path,
    /// What they are written with.
    writer: Arc<dyn ObjectStore>,
    /// What the cache asks.
    origin: Arc<dyn ObjectStore>,
    /// Whether the origin quotes ETags, which what writes does not.
    is_http: bool,
    cache: CacheStore,
}

impl Adapter {
    /// Over an origin that takes writes, which the cache passes on.
    async fn over_store(origin: Arc<dyn ObjectStore>, place: &str) -> Self {
        let cache = cache(&origin, None).await;
        Self {
            place: Path::from(place),
            writer: Arc::new(cache.clone()),
            origin,
            is_http: false,
            cache,
        }
    }

    /// Over a server, by way of what a pod's front door has below its cache.
    async fn over_link(server: &Server, place: &str) -> Self {
        let client = OriginClient::new(server.socket()).unwrap();
        let files = Some(client.files());
        // The suite writes where nobody gives notice of it.
        let trust = LogOptions {
            staleness: Duration::ZERO,
            ..LogOptions::default()
        };
        let (notices, metrics) = (Notices::new(), LogMetrics::default());
        let log = LogStore::new(Arc::new(client), trust, notices, metrics);
        let origin: Arc<dyn ObjectStore> = Arc::new(log);
        // The server has no bucket without an object.
        let other = Path::from(format!("{TABLE} too/a.rope"));
        server.store.put(&other, "rope".into()).await.unwrap();
        Self {
            place: Path::from(place),
            writer: Arc::clone(&server.store) as _,
            cache: cache(&origin, files).await,
            is_http: true,
            origin,
        }
    }

    fn inner(&self, path: &Path) -> Path {
        self.place.parts().chain(path.parts()).collect()
    }

    fn folder(&self, prefix: Option<&Path>) -> Path {
        prefix.map_or_else(|| self.place.clone(), |prefix| self.inner(prefix))
    }

    /// A writer's ETag as the origin shows it.
    fn tag(&self, tag: String) -> String {
        match self.is_http {
            true => format!("\"{tag}\""),
            false => tag,
        }
    }

    fn show(&self) -> impl Fn(ObjectMeta) -> ObjectMeta + Send + use<> {
        let path = self.show_path();
        move |meta| ObjectMeta {
            location: path(&meta.location),
            ..meta
        }
    }

    fn show_path(&self) -> impl Fn(&Path) -> Path + Send + use<> {
        let depth = self.place.parts_count();
        move |path| path.parts().skip(depth).collect()
    }
}

async fn cache(origin: &Arc<dyn ObjectStore>, files: Option<Arc<dyn ObjectStore>>) -> CacheStore {
    let options = CacheOptions {
        block_bytes: BLOCK_BYTES,
        whole_bytes: BLOCK_BYTES,
        files,
        ..CacheOptions::default()
    };
    let tiers = Tiers::open(TiersOptions::default()).await.unwrap();
    CacheStore::new(Arc::clone(origin), Arc::new(tiers), options)
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
        let path = self.inner(location);
        let put = self.writer.put_opts(&path, payload, options).await?;
        Ok(PutResult {
            e_tag: put.e_tag.map(|tag| self.tag(tag)),
            ..put
        })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let path = self.inner(location);
        self.writer.put_multipart_opts(&path, options).await
    }

    async fn get_opts(&self, location: &Path, mut options: GetOptions) -> Result<GetResult> {
        let path = self.inner(location);
        let mut store: &dyn ObjectStore = &self.cache;
        // An If-Match would take the place of that condition (RFC 9110 13.2.2).
        if path.as_ref().starts_with(SOURCE) && options.if_unmodified_since.is_none() {
            let now = self.writer.head(&path).await.ok();
            let now = now.map_or(NO_TAG.to_owned(), |meta| self.tag(meta.e_tag.unwrap()));
            let asked = options.if_match.get_or_insert_with(|| now.clone());
            if *asked != now && asked != "*" {
                // The cache would answer for the object that had this tag; the suite asks for the one that is there.
                store = self.origin.as_ref();
            }
        }
        if let Ok(first) = store.get_opts(&path, options.clone()).await {
            let _: Vec<_> = first.into_stream().try_collect().await?;
        }
        let mut result = store.get_opts(&path, options).await?;
        result.meta = self.show()(result.meta);
        Ok(result)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let place = self.place.clone();
        let inner = move |path: Path| place.parts().chain(path.parts()).collect();
        let show = self.show_path();
        self.writer
            .delete_stream(locations.map_ok(inner).boxed())
            .map_ok(move |path| show(&path))
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = self.cache.list(Some(&self.folder(prefix)));
        listed.map_ok(self.show()).boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (folder, offset) = (self.folder(prefix), self.inner(offset));
        let listed = self.cache.list_with_offset(Some(&folder), &offset);
        listed.map_ok(self.show()).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let folder = self.folder(prefix);
        let found = self.cache.list_with_delimiter(Some(&folder)).await?;
        Ok(ListResult {
            common_prefixes: found.common_prefixes.iter().map(self.show_path()).collect(),
            objects: found.objects.into_iter().map(self.show()).collect(),
        })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (from, to) = (self.inner(from), self.inner(to));
        self.writer.copy_opts(&from, &to, options).await
    }
}

/// The whole suite.
async fn suite(adapter: Adapter) {
    let store: Box<dyn ObjectStore> = Box::new(adapter);
    integration::put_get_delete_list(&store).await;
    integration::list_uses_directories_correctly(&store).await;
    integration::list_with_delimiter(&store).await;
    integration::list_with_offset_exclusivity(&store).await;
    integration::rename_and_copy(&store).await;
    reads(store).await;
}

/// The part of the suite that needs no listing.
async fn reads(store: Box<dyn ObjectStore>) {
    let missing = integration::get_nonexistent_object(&store, None).await;
    assert!(matches!(missing, Err(object_store::Error::NotFound { .. })));
    // Last: they leave objects behind, and the others begin with none.
    integration::stream_get(&store).await;
    integration::get_opts(&store).await;
}

#[tokio::test]
async fn over_memory() {
    suite(Adapter::over_store(Arc::new(InMemory::new()), SOURCE).await).await;
}

#[tokio::test]
async fn over_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let origin = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    suite(Adapter::over_store(Arc::new(origin), SOURCE).await).await;
}

#[tokio::test]
async fn sources_over_the_link_which_does_not_list_them() {
    let server = Server::start().await;
    reads(Box::new(Adapter::over_link(&server, SOURCE).await)).await;
}

#[tokio::test]
async fn a_tables_folder_over_the_link() {
    let server = Server::start().await;
    suite(Adapter::over_link(&server, TABLE).await).await;
}

#[tokio::test]
async fn a_log_over_the_link() {
    let server = Server::start().await;
    suite(Adapter::over_link(&server, LOG).await).await;
}
