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

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;
    use proptest::prelude::*;

    const TABLE: &str = "[ab]{1,2}/[a_-]{1,2}/[ab_-]{1,2}";

    async fn names(listed: BoxStream<'static, Result<ObjectMeta>>) -> Vec<String> {
        let all: Vec<_> = listed.try_collect().await.expect("memory does not fail");
        all.iter().map(|meta| meta.location.to_string()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whoever may read some tables sees the listing of a store that holds nothing else.
        #[test]
        fn listings_are_those_of_a_store_without_the_rest(
            readable in prop::collection::btree_set(TABLE, 0..5),
            hidden in prop::collection::btree_set(TABLE, 0..5),
            files in prop::collection::vec("[a-c](/[a-c-]{1,2})?", 1..4),
            prefix in "([ab]{1,2}(/[a_-]{1,2}(/[ab_-]{1,2}(/[a-c])?)?)?)?",
            offset in "[ab]{1,2}/[a_-]{1,2}/[ab_-]{1,2}/[a-c]",
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let (all, own) = (InMemory::new(), InMemory::new());
                for (table, file) in readable.union(&hidden).flat_map(|table| files.iter().map(move |file| (table, file))) {
                    // A file is no folder too.
                    let path = Path::from(format!("{table}/{}/{file}", file.len()));
                    all.put(&path, "x".into()).await.expect("put");
                    if readable.contains(table) {
                        own.put(&path, "x".into()).await.expect("put");
                    }
                }
                let caller = Caller::anybody(Arc::new(Tables::new(readable.iter().cloned())));
                let all: Arc<dyn ObjectStore> = Arc::new(all);
                let seen = visible(&all, &caller);
                let prefix = (!prefix.is_empty()).then(|| Path::from(prefix.as_str()));
                let (prefix, offset) = (prefix.as_ref(), Path::from(offset));
                assert_eq!(names(seen.list(prefix)).await, names(own.list(prefix)).await);
                assert_eq!(
                    names(seen.list_with_offset(prefix, &offset)).await,
                    names(own.list_with_offset(prefix, &offset)).await
                );
                let (level, expected) = (
                    seen.list_with_delimiter(prefix).await.expect("listed"),
                    own.list_with_delimiter(prefix).await.expect("listed"),
                );
                assert_eq!(level.common_prefixes, expected.common_prefixes);
                assert_eq!(level.objects.len(), expected.objects.len());
                for path in names(all.list(None)).await {
                    let path = Path::from(path);
                    assert_eq!(seen.get(&path).await.is_ok(), own.get(&path).await.is_ok());
                }
            });
        }
    }
}
