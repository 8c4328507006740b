//! The service of the data listener: picks the dialect, measures, and hands out streaming bodies.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::http::header::CONTENT_LENGTH;
use ::http::{HeaderValue, Method, Request, Response};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use object_store::ObjectStore;

use crate::http::HttpDialect;
use crate::metrics::{DialectLabel, HttpMetrics, Measure};
use crate::s3::S3Dialect;

/// Any error, as bodies carry it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A dialect's body, before it is measured.
pub(crate) type DialectBody = BoxBody<Bytes, BoxError>;

/// Wraps a dialect's own body.
pub(crate) fn boxed<B>(body: B) -> DialectBody
where
    B: Body<Data = Bytes> + Send + Sync + 'static,
    B::Error: Into<BoxError>,
{
    BoxBody::new(body.map_err(Into::into))
}

/// All dialects over one store: the service to give to [`serve`](crate::serve) for the data listener.
///
/// `/v1` and everything below it is HTTP/WebDAV, all else is S3. A bucket has at least three characters, so none is named `v1`.
#[derive(Debug, Clone)]
pub struct DataSurface {
    dialects: Arc<Dialects>,
}

#[derive(Debug)]
struct Dialects {
    s3: S3Dialect,
    http: HttpDialect,
    metrics: HttpMetrics,
}

impl DataSurface {
    /// Serves the objects of `store`, whose first path segments are the buckets, to anybody who asks.
    ///
    /// The store is expected to list in byte order of whole paths; LIST fails with an error where it does not.
    pub fn new(store: Arc<dyn ObjectStore>, metrics: HttpMetrics) -> Self {
        let s3 = S3Dialect::new(Arc::clone(&store));
        let http = HttpDialect::new(store);
        Self {
            dialects: Arc::new(Dialects { s3, http, metrics }),
        }
    }

    /// Answers one request. Cancel: dropping the future or the response's body drops what the store was doing for it.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send,
    {
        let Dialects { s3, http, metrics } = &*self.dialects;
        let method = request.method().clone();
        let uri = request.uri();
        let (mut measure, response) = if HttpDialect::serves(uri.path()) {
            let measure = metrics.start(DialectLabel::Http, HttpDialect::operation(&method));
            (measure, http.handle(request).await)
        } else {
            let operation = S3Dialect::operation(&method, uri);
            let measure = metrics.start(DialectLabel::S3, operation);
            (measure, s3.handle(operation, request).await)
        };
        measure.answered(response.status());
        let (mut parts, mut body) = response.into_parts();
        if method == Method::HEAD {
            // The answer to HEAD has the length of the body that it does not have.
            if let Some(length) = body.size_hint().exact() {
                parts
                    .headers
                    .entry(CONTENT_LENGTH)
                    .or_insert_with(|| HeaderValue::from(length));
            }
            body = boxed(http_body_util::Empty::new());
        }
        Response::from_parts(parts, ResponseBody::new(body, measure))
    }
}

impl<B> tower::Service<Request<B>> for DataSurface
where
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let surface = self.clone();
        Box::pin(async move { Ok(surface.handle(request).await) })
    }
}

/// The body of a response of [`DataSurface`]: streamed as the client takes it, measured until it ends.
#[derive(Debug)]
pub struct ResponseBody {
    inner: DialectBody,
    measure: Measure,
}

impl ResponseBody {
    fn new(inner: DialectBody, mut measure: Measure) -> Self {
        // hyper does not poll a body that is known to be at its end.
        if inner.is_end_stream() {
            measure.ended();
        }
        Self { inner, measure }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let frame = std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.measure.sent(data.len() as u64);
                }
                if this.inner.is_end_stream() {
                    this.measure.ended();
                }
            }
            Some(Err(_)) => this.measure.failed(),
            None => this.measure.ended(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
