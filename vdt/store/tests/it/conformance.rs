//! object_store's own conformance suite on the origin.
//!
//! The suite writes first and the origin is read-only, so an adapter writes around it: below `log/` into the state store,
//! below `sources/` into the folder of the source, an upload in parts when it is complete. Everything that is read goes
//! through the origin.

use std::{fmt, fs, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, future, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
    integration, memory::InMemory, path::Path, prefix::PrefixStore,
};
use tempfile::TempDir;
use vdt_crds::VirtualTable;
use vdt_store::{Definition, OpenMode, Origin, SourceEnv, StateStore};

fn write(path: &std::path::Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, bytes).expect("written");
}

/// An upload into a folder: the file is not there before all of it is.
#[derive(Debug)]
struct Parts {
    path: PathBuf,
    written: Vec<u8>,
}

#[async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        // Parts are in the order of the calls, whichever of the futures is first.
        self.written.extend_from_slice(&Bytes::from(part));
        future::ready(Ok(())).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        write(&self.path, &self.written);
        Ok(PutResult {
            e_tag: None,
            version: None,
        })
    }

    async fn abort(&mut self) -> Result<()> {
        self.written.clear();
        Ok(())
    }
}

#[derive(Debug)]
struct Adapter {
    origin: Origin,
    state: Arc<dyn ObjectStore>,
    folder: PathBuf,
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "adapter of {}", self.origin)
    }
}

enum Place {
    State(Path),
    File(PathBuf),
}

impl Adapter {
    fn place(&self, location: &Path) -> Place {
        let mut parts = location.parts();
        let first = parts.next().expect("a prefix");
        if first.as_ref() == "log" {
            return Place::State(Path::from_iter(parts));
        }
        let key: PathBuf = parts.skip(1).map(|part| part.as_ref().to_owned()).collect();
        Place::File(self.folder.join(key))
    }

    async fn remove(&self, location: &Path) -> Result<()> {
        match self.place(location) {
            Place::State(path) => self.state.delete(&path).await,
            Place::File(path) => {
                drop(fs::remove_file(path));
                Ok(())
            }
        }
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
        match self.place(location) {
            Place::State(path) => self.state.put_opts(&path, payload, options).await,
            Place::File(path) => {
                write(&path, &Bytes::from(payload));
                let meta = self.origin.head(location).await?;
                Ok(PutResult {
                    e_tag: meta.e_tag,
                    version: meta.version,
                })
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        match self.place(location) {
            Place::State(path) => self.state.put_multipart_opts(&path, options).await,
            Place::File(path) => Ok(Box::new(Parts {
                path,
                written: Vec::new(),
            })),
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.origin.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (state, folder) = (self.state.clone(), self.folder.clone());
        locations
            .and_then(move |location| {
                let adapter = Self {
                    origin: Origin::new(blank()),
                    state: state.clone(),
                    folder: folder.clone(),
                };
                async move { adapter.remove(&location).await.map(|()| location) }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.origin.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.origin.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.origin.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, _: CopyOptions) -> Result<()> {
        let body = self.get(from).await?.bytes().await?;
        self.put(to, body.into()).await.map(|_| ())
    }
}

fn blank() -> StateStore {
    let opened = StateStore::from_store(Arc::new(InMemory::new()), "memory", OpenMode::ReadWrite);
    futures::executor::block_on(opened).expect("memory opens")
}

/// The adapter's `log` and `sources`, each seen as a store of its own.
fn stores(folder: &TempDir) -> (PrefixStore<Adapter>, PrefixStore<Adapter>) {
    let adapter = || {
        let state = blank();
        let origin = Origin::new(state.clone());
        let env = SourceEnv {
            base_dir: folder.path().to_owned(),
            ..SourceEnv::default()
        };
        let definition = Definition::open(&VirtualTable::for_folder(folder.path()), &env)
            .expect("a folder opens");
        let source = definition.sources[0].clone();
        origin.add_source(source.clone());
        let adapter = Adapter {
            origin,
            state: state.objects().clone(),
            folder: folder.path().to_owned(),
        };
        (adapter, source)
    };
    let (log, _) = adapter();
    let (sources, source) = adapter();
    (
        PrefixStore::new(log, "log/main/default/papers"),
        PrefixStore::new(sources, Path::from_iter(["sources", source.id()])),
    )
}

#[tokio::test]
async fn get_opts() {
    let folder = TempDir::new().expect("a folder");
    let (log, sources) = stores(&folder);
    integration::get_opts(&log).await;
    integration::get_opts(&sources).await;
}

#[tokio::test]
async fn stream_get() {
    let folder = TempDir::new().expect("a folder");
    let (log, sources) = stores(&folder);
    integration::stream_get(&log).await;
    integration::stream_get(&sources).await;
}

#[tokio::test]
async fn list_with_delimiter() {
    let folder = TempDir::new().expect("a folder");
    integration::list_with_delimiter(&stores(&folder).0).await;
}

#[tokio::test]
async fn list_uses_directories_correctly() {
    let folder = TempDir::new().expect("a folder");
    integration::list_uses_directories_correctly(&stores(&folder).0).await;
}

#[tokio::test]
async fn list_with_offset_exclusivity() {
    let folder = TempDir::new().expect("a folder");
    integration::list_with_offset_exclusivity(&stores(&folder).0).await;
}

#[tokio::test]
async fn get_nonexistent_object() {
    let folder = TempDir::new().expect("a folder");
    let (log, sources) = stores(&folder);
    for store in [log, sources] {
        let error = integration::get_nonexistent_object(&store, None)
            .await
            .expect_err("nothing is there");
        assert!(
            matches!(error, object_store::Error::NotFound { .. }),
            "{error}"
        );
    }
}
