//! A store of objects that exist nowhere.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::store::requested_range;

/// Objects below `prefix` that exist nowhere: of one size, with an ETag, and with bytes made up as they are read.
/// Everything else is `inner`'s.
#[derive(Debug)]
pub struct Generated {
    inner: Arc<dyn ObjectStore>,
    prefix: Path,
    size: u64,
    chunk_bytes: u64,
    produced: Arc<AtomicU64>,
}

impl Generated {
    /// ETag of every object.
    pub const ETAG: &'static str = "generated";

    /// Objects of `size` bytes, sent in chunks of `chunk_bytes`.
    pub fn new(inner: Arc<dyn ObjectStore>, prefix: &str, size: u64, chunk_bytes: u64) -> Self {
        Self {
            inner,
            prefix: Path::from(prefix),
            size,
            chunk_bytes,
            produced: Arc::default(),
        }
    }

    /// Bytes that were made up so far, in all bodies.
    pub fn produced(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.produced)
    }

    /// The byte at an offset of any object.
    pub fn byte_at(offset: u64) -> u8 {
        // Differs between neighbours and between multiples of any chunk size.
        (offset ^ (offset >> 8) ^ (offset >> 16) ^ (offset >> 24)) as u8
    }
}

impl fmt::Display for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Generated({})", self.inner)
    }
}

decorate! {
impl ObjectStore for Generated {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if location.prefix_match(&self.prefix).is_none() {
            return self.inner.get_opts(location, options).await;
        }
        let meta = ObjectMeta {
            location: location.clone(),
            // The epoch.
            last_modified: Default::default(),
            size: self.size,
            e_tag: Some(Self::ETAG.into()),
            version: None,
        };
        options.check_preconditions(&meta)?;
        let range = requested_range(&options, self.size, "Generated")?;
        let (produced, chunk_bytes) = (Arc::clone(&self.produced), self.chunk_bytes);
        let body = stream::unfold(range.clone(), move |left| {
            let produced = Arc::clone(&produced);
            async move {
                let chunk = left.start..left.end.min(left.start + chunk_bytes);
                if chunk.is_empty() {
                    return None;
                }
                produced.fetch_add(chunk.end - chunk.start, Ordering::SeqCst);
                let bytes: Vec<u8> = chunk.clone().map(Self::byte_at).collect();
                Some((Ok(Bytes::from(bytes)), chunk.end..left.end))
            }
        });
        let body = if options.head {
            stream::empty().boxed()
        } else {
            body.fuse().boxed()
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(body),
            meta,
            range,
            attributes: Attributes::default(),
        })
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
}
}
