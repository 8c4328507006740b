//! An in-memory store with fixed dates, a count of its reads, and objects that fail as their names say.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};
use tokio::sync::Semaphore;

#[derive(Debug)]
pub(crate) struct Shelf {
    inner: InMemory,
    gets: AtomicUsize,
    /// One permit lets one `slow.bin` or `cut-late.bin` go on after its first half.
    pub(crate) gate: Arc<Semaphore>,
}

/// What `replaced.bin` holds after the first HEAD.
pub(crate) const REPLACED: &str = "another object";

/// A shelf with these keys; an object's content is `content of <key>` and so differs from every other's.
pub(crate) async fn shelf(keys: &[&str]) -> Arc<Shelf> {
    let inner = InMemory::new();
    for key in keys {
        let path = Path::parse(key).unwrap();
        inner
            .put(&path, format!("content of {key}").into())
            .await
            .unwrap();
    }
    Arc::new(Shelf {
        inner,
        gets: AtomicUsize::new(0),
        gate: Arc::new(Semaphore::new(0)),
    })
}

impl Shelf {
    /// Calls of `get_opts` since the last question.
    pub(crate) fn gets(&self) -> usize {
        self.gets.swap(0, Ordering::SeqCst)
    }

    pub(crate) async fn put(&self, key: &str, content: impl Into<PutPayload>) {
        self.inner
            .put(&Path::parse(key).unwrap(), content.into())
            .await
            .unwrap();
    }
}

/// 2024-03-01 12:00:00.250 UTC, whatever the clock says.
fn modified() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::milliseconds(1_709_294_400_250)
}

fn dated(mut meta: ObjectMeta) -> ObjectMeta {
    meta.last_modified = modified();
    meta
}

fn failed(location: &Path) -> Error {
    Error::Generic {
        store: "shelf",
        source: format!("a fault asked for at {location}").into(),
    }
}

fn changed(location: &Path) -> Error {
    Error::Precondition {
        path: location.to_string(),
        source: "the source's ETag is another".into(),
    }
}

impl fmt::Display for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shelf")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Shelf {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        let head = options.head;
        let name = location.filename().unwrap_or_default().to_owned();
        if !head {
            match name.as_str() {
                "changed.bin" => return Err(changed(location)),
                "failing.bin" => return Err(failed(location)),
                "refused.bin" => {
                    let path = location.to_string();
                    let source = "a refusal asked for".into();
                    return Err(Error::Unauthenticated { path, source });
                }
                "forbidden.bin" => {
                    let path = location.to_string();
                    return Err(Error::PermissionDenied {
                        path,
                        source: "403 of the source".into(),
                    });
                }
                _ => {}
            }
        }
        let mut result = self.inner.get_opts(location, options).await?;
        result.meta = dated(result.meta);
        if head {
            if name == "replaced.bin" && result.meta.size != REPLACED.len() as u64 {
                self.inner.put(location, REPLACED.into()).await?;
            }
            return Ok(result);
        }
        let (meta, range, attributes) = (
            result.meta.clone(),
            result.range.clone(),
            result.attributes.clone(),
        );
        let bytes: Bytes = result.bytes().await?;
        let half = bytes.len() / 2;
        let (first, second) = (bytes.slice(..half), bytes.slice(half..));
        let chunks: BoxStream<'static, Result<Bytes>> = match name.as_str() {
            "changed-late.bin" => stream::iter([Err(changed(location))]).boxed(),
            "gone-late.bin" => {
                let path = location.to_string();
                stream::iter([Err(Error::NotFound {
                    path,
                    source: "the source's 404".into(),
                })])
                .boxed()
            }
            "changed-later.bin" => stream::iter([Ok(first), Err(changed(location))]).boxed(),
            "cut.bin" => stream::iter([Ok(first), Err(failed(location))]).boxed(),
            "once.bin" => stream::iter([Ok(bytes)]).boxed(),
            "short.bin" => stream::iter([Ok(first)]).boxed(),
            "long.bin" => stream::iter([Ok(bytes.clone()), Ok(bytes)]).boxed(),
            "longer.bin" => stream::iter([Ok([bytes.clone(), bytes].concat().into())]).boxed(),
            "slow.bin" => {
                let gate = Arc::clone(&self.gate);
                let rest = async move {
                    gate.acquire().await.unwrap().forget();
                    Ok(second)
                };
                stream::iter([Ok(first)]).chain(stream::once(rest)).boxed()
            }
            "cut-late.bin" => {
                let (gate, error) = (Arc::clone(&self.gate), failed(location));
                let rest = async move {
                    gate.acquire().await.unwrap().forget();
                    Err(error)
                };
                stream::iter([Ok(first)]).chain(stream::once(rest)).boxed()
            }
            // Two chunks and an empty one between: what a store may do.
            _ => stream::iter([Ok(first), Ok(Bytes::new()), Ok(second)]).boxed(),
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(chunks),
            meta,
            range,
            attributes,
        })
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if prefix.is_some_and(|prefix| prefix.as_ref().ends_with("unlistable")) {
            return stream::iter([Err(failed(&Path::from("unlistable")))]).boxed();
        }
        self.inner.list(prefix).map_ok(dated).boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner
            .list_with_offset(prefix, offset)
            .map_ok(dated)
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        if prefix.is_some_and(|prefix| prefix.as_ref().ends_with("hangs")) {
            std::future::pending::<()>().await;
        }
        let mut listed = self.inner.list_with_delimiter(prefix).await?;
        listed.objects = listed.objects.into_iter().map(dated).collect();
        Ok(listed)
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        panic!("a dialect wrote to its store")
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        panic!("a dialect wrote to its store")
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        panic!("a dialect deleted from its store")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        panic!("a dialect copied in its store")
    }
}
