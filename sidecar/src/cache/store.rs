//! [`CacheStore`] as an `ObjectStore`: reads of what can be named are answered from blocks, all else is the origin's, writes above all.

use std::{fmt, ops::Range};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};
use vdt_rope::Reread;

use super::{CacheStore, error::STORE, subject::Subject};

impl fmt::Display for CacheStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE}({})", self.shared.origin)
    }
}

#[async_trait]
impl ObjectStore for CacheStore {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let subject = self.subject(location, &options);
        if Reread::is_asked(&options) {
            if let Some(Subject::Named(named)) = &subject {
                self.forget(named).await;
            }
            return self.pass(location, options).await;
        }
        match subject {
            Some(Subject::Listed(context)) => self.get_listed(location, &context, options).await,
            Some(Subject::Named(named)) => self.get_named(location, named, options).await,
            None => self.pass(location, options).await,
        }
    }

    /// Each range by itself: blocks join them.
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        // The futures are made before they are polled, so that none borrows from a closure's argument.
        let reads: Vec<_> = ranges
            .iter()
            .map(|range| self.get_range(location, range.clone()))
            .collect();
        stream::iter(reads)
            .buffered(self.shared.options.concurrent_reads)
            .try_collect()
            .await
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.shared.origin.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.shared.origin.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.shared.origin.list_with_delimiter(prefix).await
    }

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.shared
            .origin
            .put_opts(location, payload, options)
            .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.shared
            .origin
            .put_multipart_opts(location, options)
            .await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.shared.origin.delete_stream(locations)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.shared.origin.copy_opts(from, to, options).await
    }
}
