//! Object stores for tests: one that records, one that alters what passes, one that makes bytes up.
//!
//! They wrap any store and compose, so the same faults fit everywhere in the data path.

/// An `ObjectStore` that passes to its `inner` store what the given methods do not.
macro_rules! decorate {
    (impl ObjectStore for $store:ty { $($method:tt)* }) => {
        #[async_trait::async_trait]
        impl ObjectStore for $store {
            $($method)*

            async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
                self.inner.put_opts(location, payload, options).await
            }

            async fn put_multipart_opts(
                &self,
                location: &Path,
                options: PutMultipartOptions,
            ) -> Result<Box<dyn MultipartUpload>> {
                self.inner.put_multipart_opts(location, options).await
            }

            fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
                self.inner.delete_stream(locations)
            }

            async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
                self.inner.copy_opts(from, to, options).await
            }
        }
    };
}

mod altered;
mod generated;
mod recording;

use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{GetResult, GetResultPayload, Result};

pub use altered::Altered;
pub use generated::Generated;
pub use recording::{Recording, Request};

/// The same result with another body.
pub fn with_body(
    result: GetResult,
    change: impl FnOnce(BoxStream<'static, Result<Bytes>>) -> BoxStream<'static, Result<Bytes>>,
) -> GetResult {
    let (meta, range, attributes) = (
        result.meta.clone(),
        result.range.clone(),
        result.attributes.clone(),
    );
    GetResult {
        payload: GetResultPayload::Stream(change(result.into_stream())),
        meta,
        range,
        attributes,
    }
}
