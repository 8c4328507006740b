//! A store as one caller sees it: what may not be read is not there.

use std::fmt;
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::{Caller, Tables};

/// The store as `caller` sees it; the store itself for somebody who may read everything.
pub(crate) fn visible(store: &Arc<dyn ObjectStore>, caller: &Caller) -> Arc<dyn ObjectStore> {
    match &caller.tables {
        None => Arc::clone(store),
        Some(tables) => Arc::new(Visible {
            store: Arc::clone(store),
            tables: Arc::clone(tables),
        }),
    }
}

#[derive(Debug)]
struct Visible {
    store: Arc<dyn ObjectStore>,
    tables: Arc<Tables>,
}

impl fmt::Display for Visible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Visible({})", self.store)
    }
}

fn text(path: Option<&Path>) -> &str {
    path.map_or("", AsRef::as_ref)
}

fn read_only<T>() -> Result<T> {
    Err(Error::NotSupported {
        source: "dialects read".into(),
    })
}

impl Visible {
    /// Lists each table below a folder, in the order of keys. Tables that may not be read are not even walked.
    fn walk(
        &self,
        folder: &str,
        list: impl Fn(&dyn ObjectStore, &Path) -> BoxStream<'static, Result<ObjectMeta>>
        + Send
        + 'static,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let tables: Vec<Path> = self.tables.below(folder).map(Path::from).collect();
        let store = Arc::clone(&self.store);
        stream::iter(tables)
            .flat_map(move |table| {
                list(&*store, &table).filter_map(async |listed| match listed {
                    // A table that is not there yet has nothing in it.
                    Err(Error::NotFound { .. }) => None,
                    listed => Some(listed),
                })
            })
            .boxed()
    }
}

#[async_trait::async_trait]
impl ObjectStore for Visible {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if !self.tables.contains(location.as_ref()) {
            return Err(Error::NotFound {
                path: location.to_string(),
                source: "not for this caller".into(),
            });
        }
        self.store.get_opts(location, options).await
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.tables.contains(text(prefix)) {
            return self.store.list(prefix);
        }
        self.walk(text(prefix), |store, table| store.list(Some(table)))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.tables.contains(text(prefix)) {
            return self.store.list_with_offset(prefix, offset);
        }
        let offset = offset.clone();
        self.walk(text(prefix), move |store, table| {
            store.list_with_offset(Some(table), &offset)
        })
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        if self.tables.contains(text(prefix)) {
            return self.store.list_with_delimiter(prefix).await;
        }
        if !self.tables.may_name(text(prefix)) {
            return Ok(ListResult {
                objects: Vec::new(),
                common_prefixes: Vec::new(),
            });
        }
        let mut listed = self.store.list_with_delimiter(prefix).await?;
        listed
            .common_prefixes
            .retain(|folder| self.tables.may_name(folder.as_ref()));
        listed
            .objects
            .retain(|meta| self.tables.contains(meta.location.as_ref()));
        Ok(listed)
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        read_only()
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        read_only()
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        stream::iter([read_only()]).boxed()
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        read_only()
    }
}
