//! A store that delays, fails, cuts short, or sends too much.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::with_body;

type BeforeGet = Box<dyn Fn(&Path, &GetOptions) -> Option<Error> + Send + Sync>;
type AlterResult = Box<dyn Fn(GetResult) -> GetResult + Send + Sync>;

/// Alters the GETs below a prefix: delays them, fails them, or changes what comes back.
pub struct Altered {
    inner: Arc<dyn ObjectStore>,
    prefix: Path,
    delay: Duration,
    before: BeforeGet,
    alter: AlterResult,
}

impl Altered {
    /// Changes nothing yet.
    pub fn new(inner: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        let prefix = Path::from(prefix);
        Self {
            inner,
            prefix,
            delay: Duration::ZERO,
            before: Box::new(|_, _| None),
            alter: Box::new(|result| result),
        }
    }

    /// Answers after `delay`.
    #[must_use]
    pub fn delaying(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Fails where `error` gives one.
    #[must_use]
    pub fn failing(
        mut self,
        error: impl Fn(&Path, &GetOptions) -> Option<Error> + Send + Sync + 'static,
    ) -> Self {
        self.before = Box::new(error);
        self
    }

    /// Changes what comes back.
    #[must_use]
    pub fn altering(
        mut self,
        alter: impl Fn(GetResult) -> GetResult + Send + Sync + 'static,
    ) -> Self {
        self.alter = Box::new(alter);
        self
    }

    /// Ends bodies after `bytes` bytes, without an error.
    #[must_use]
    pub fn cutting(self, bytes: usize) -> Self {
        self.altering(move |result| with_body(result, |body| cut(body, bytes)))
    }

    /// Appends `more` to bodies, as a chunk that comes later.
    #[must_use]
    pub fn appending(self, more: &'static [u8]) -> Self {
        self.altering(move |result| {
            with_body(result, |body| {
                body.chain(later(Ok(Bytes::from_static(more)))).boxed()
            })
        })
    }

    /// Ends bodies after `bytes` bytes with `error`, which comes later.
    #[must_use]
    pub fn breaking(self, bytes: usize, error: impl Fn() -> Error + Send + Sync + 'static) -> Self {
        self.altering(move |result| {
            let error = error();
            with_body(result, |body| {
                cut(body, bytes).chain(later(Err(error))).boxed()
            })
        })
    }
}

/// Gives `item` after a while.
fn later(item: Result<Bytes>) -> impl Stream<Item = Result<Bytes>> {
    stream::once(async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        item
    })
}

impl fmt::Debug for Altered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Altered")
            .field("inner", &self.inner)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Altered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Altered({})", self.inner)
    }
}

decorate! {
impl ObjectStore for Altered {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if location.prefix_match(&self.prefix).is_none() {
            return self.inner.get_opts(location, options).await;
        }
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        if let Some(error) = (self.before)(location, &options) {
            return Err(error);
        }
        self.inner
            .get_opts(location, options)
            .await
            .map(&self.alter)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
}
}

/// The first `bytes` bytes of a body.
fn cut(body: BoxStream<'static, Result<Bytes>>, bytes: usize) -> BoxStream<'static, Result<Bytes>> {
    body.scan(bytes, |left, chunk| {
        let chunk = chunk.map(|chunk| chunk.slice(..chunk.len().min(*left)));
        let is_over = *left == 0;
        *left -= chunk.as_ref().map_or(0, Bytes::len);
        std::future::ready((!is_over).then_some(chunk))
    })
    .boxed()
}
