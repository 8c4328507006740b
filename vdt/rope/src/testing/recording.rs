//! A store that records what it is asked for.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

use super::with_body;
use crate::store::ReadContext;

/// A request that a [`Recording`] store saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A GET of a body.
    Get {
        /// Path of the object.
        location: Path,
        /// The range asked for.
        range: Option<GetRange>,
        /// `If-Match`.
        if_match: Option<String>,
    },
    /// A HEAD.
    Head {
        /// Path of the object.
        location: Path,
    },
    /// A listing.
    List {
        /// The prefix.
        prefix: Option<Path>,
        /// What was asked for comes after this.
        offset: Option<Path>,
        /// Whether only one level was asked for.
        is_one_level: bool,
    },
}

impl Request {
    /// A GET of the half-open `range`.
    pub fn get(location: &str, range: Range<u64>, if_match: Option<&str>) -> Self {
        let location = Path::parse(location).unwrap_or_default();
        Self::Get {
            location,
            range: Some(GetRange::Bounded(range)),
            if_match: if_match.map(Into::into),
        }
    }

    /// Whether it is a GET or a HEAD below `folder`.
    pub fn is_read_below(&self, folder: &str) -> bool {
        match self {
            Self::Get { location, .. } | Self::Head { location } => {
                location.as_ref().starts_with(folder)
            }
            Self::List { .. } => false,
        }
    }
}

/// Records every request for reading, counts the bytes that pass, and the bodies that are open.
#[derive(Debug)]
pub struct Recording {
    inner: Arc<dyn ObjectStore>,
    requests: Mutex<Vec<Request>>,
    contexts: Mutex<Vec<ReadContext>>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    bytes: AtomicU64,
    open: AtomicUsize,
    open_max: AtomicUsize,
}

/// A request or a body that has not ended.
struct Open(Arc<Counters>);

impl Open {
    fn new(counters: &Arc<Counters>) -> Self {
        let open = counters.open.fetch_add(1, Ordering::SeqCst) + 1;
        counters.open_max.fetch_max(open, Ordering::SeqCst);
        Self(Arc::clone(counters))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Recording {
    /// Records what `inner` is asked for.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self {
            inner,
            requests: Mutex::default(),
            contexts: Mutex::default(),
            counters: Arc::default(),
        }
    }

    /// The requests since the last call, in their order.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock())
    }

    /// What the GETs since the last call were for, as far as they told, in their order.
    pub fn take_contexts(&self) -> Vec<ReadContext> {
        std::mem::take(&mut *self.contexts.lock())
    }

    /// Bytes of bodies that passed since the start.
    pub fn bytes(&self) -> u64 {
        self.counters.bytes.load(Ordering::SeqCst)
    }

    /// GETs that are under way: asked for, and their body neither ended nor dropped.
    pub fn open(&self) -> usize {
        self.counters.open.load(Ordering::SeqCst)
    }

    /// The most GETs that were under way at once.
    pub fn open_max(&self) -> usize {
        self.counters.open_max.load(Ordering::SeqCst)
    }

    fn record(&self, request: Request) {
        self.requests.lock().push(request);
    }
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recording({})", self.inner)
    }
}

decorate! {
impl ObjectStore for Recording {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if options.head {
            self.record(Request::Head {
                location: location.clone(),
            });
            return self.inner.get_opts(location, options).await;
        }
        if let Some(context) = ReadContext::of(&options) {
            self.contexts.lock().push(context.clone());
        }
        let (range, if_match) = (options.range.clone(), options.if_match.clone());
        self.record(Request::Get {
            location: location.clone(),
            range,
            if_match,
        });
        let open = Open::new(&self.counters);
        let result = self.inner.get_opts(location, options).await?;
        Ok(with_body(result, |body| {
            let body = body.inspect_ok(move |chunk| {
                open.0.bytes.fetch_add(chunk.len() as u64, Ordering::SeqCst);
            });
            body.boxed()
        }))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.record(Request::List {
            prefix: prefix.cloned(),
            offset: None,
            is_one_level: false,
        });
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.record(Request::List {
            prefix: prefix.cloned(),
            offset: Some(offset.clone()),
            is_one_level: false,
        });
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.record(Request::List {
            prefix: prefix.cloned(),
            offset: None,
            is_one_level: true,
        });
        self.inner.list_with_delimiter(prefix).await
    }
}
}
