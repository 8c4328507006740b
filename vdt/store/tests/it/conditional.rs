//! Services whose conditional puts are none: a state store in them is refused before anything is written.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result, memory::InMemory, path::Path,
};
use vdt_store::{OpenMode, StateStore, StoreError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// `If-None-Match` is not looked at.
    Ignored,
    /// It is looked at, then another request has its turn, then the object is written.
    NotAtomic,
    /// It is honoured, and nothing may be deleted.
    NoDelete,
}

#[derive(Debug)]
struct Service {
    inner: Arc<InMemory>,
    fault: Fault,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[async_trait]
impl ObjectStore for Service {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        if options.mode == PutMode::Create && self.fault != Fault::NoDelete {
            options.mode = PutMode::Overwrite;
            if self.fault == Fault::NotAtomic {
                if self.inner.head(location).await.is_ok() {
                    return Err(Error::AlreadyExists {
                        path: location.to_string(),
                        source: "it is there".into(),
                    });
                }
                tokio::task::yield_now().await;
            }
        }
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        if self.fault != Fault::NoDelete {
            return self.inner.delete_stream(locations);
        }
        let denied = Error::PermissionDenied {
            path: "any".to_owned(),
            source: "no s3:DeleteObject".into(),
        };
        stream::iter([Err(denied)]).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

async fn open(inner: &Arc<InMemory>, fault: Fault) -> Result<StateStore, StoreError> {
    let inner = inner.clone();
    let service = Arc::new(Service { inner, fault });
    StateStore::from_store(service, "s3://state/x", OpenMode::ReadWrite).await
}

async fn objects(inner: &InMemory) -> Vec<(Path, Option<String>)> {
    let listed: Vec<_> = inner.list(None).try_collect().await.expect("it lists");
    // The store in memory counts puts in its ETags.
    listed
        .into_iter()
        .map(|meta| (meta.location, meta.e_tag))
        .collect()
}

#[tokio::test]
async fn a_service_without_conditional_puts_is_refused_and_nothing_is_written() {
    for fault in [Fault::Ignored, Fault::NotAtomic] {
        let inner = Arc::new(InMemory::new());
        let fresh = open(&inner, fault).await.expect_err("no state is made");
        assert!(objects(&inner).await.is_empty(), "{fault:?}");

        open(&inner, Fault::NoDelete).await.expect("it opens");
        let before = inner.get(&Path::from("store.json")).await.expect("there");
        let error = open(&inner, fault).await.expect_err("none is opened");
        let after = inner.get(&Path::from("store.json")).await.expect("there");
        assert_eq!(after.meta.e_tag, before.meta.e_tag, "{fault:?}");
        for error in [fresh, error] {
            assert!(
                matches!(error, StoreError::Unconditional { won, .. } if won > 1),
                "{fault:?}: {error:?}"
            );
            let told = error.to_string();
            for part in ["s3://state/x", "8 of 8", "If-None-Match: *"] {
                assert!(told.contains(part), "{fault:?}: {told}");
            }
        }
    }
}

#[tokio::test]
async fn what_was_put_to_find_out_is_deleted_where_that_is_allowed() {
    let inner = Arc::new(InMemory::new());
    let state = StateStore::from_store(inner.clone(), "memory", OpenMode::ReadWrite)
        .await
        .expect("it opens");
    let names = async || -> Vec<String> {
        let objects = objects(&inner).await.into_iter();
        objects.map(|(path, _)| path.to_string()).collect()
    };
    assert_eq!(names().await, ["store.json"]);
    let again = open(&inner, Fault::NoDelete).await.expect("it opens");
    assert_eq!(again.info(), state.info());
    let names = names().await;
    assert!(
        names.len() == 2 && names[0].starts_with("_probe/"),
        "{names:?}"
    );
}

#[tokio::test]
async fn a_reader_puts_nothing() {
    let inner = Arc::new(InMemory::new());
    let opened = StateStore::from_store(inner.clone(), "memory", OpenMode::ReadOnly).await;
    assert!(matches!(opened, Err(StoreError::NoState { .. })));
    open(&inner, Fault::NoDelete).await.expect("it opens");
    let before = objects(&inner).await;
    StateStore::from_store(inner.clone(), "memory", OpenMode::ReadOnly)
        .await
        .expect("it opens");
    assert_eq!(objects(&inner).await, before);
}
