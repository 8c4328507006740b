//! The service of the data listener: picks the dialect, measures, and hands out streaming bodies.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::http::header::{CONTENT_LENGTH, HeaderName, RETRY_AFTER};
use ::http::{HeaderValue, Method, Request, Response, StatusCode};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use object_store::ObjectStore;
use tracing::Instrument;

use crate::access::foreign;
use crate::edge::{Authenticator, Edge, RETRY_AFTER_SECONDS};
use crate::exchange::{Exchange, Who};
use crate::http::HttpDialect;
use crate::listener::Limits;
use crate::metrics::{DialectLabel, HttpMetrics, Operation, Refused};
use crate::s3::S3Dialect;
use crate::trace::REQUEST_ID;

/// The request id, as S3 writes it.
const AMZ_REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");

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
    auth: Authenticator,
    metrics: HttpMetrics,
    limits: Limits,
    access_log: bool,
}

impl DataSurface {
    /// Serves the objects of `store`, whose first path segments are the buckets, through `edge`.
    ///
    /// The store is expected to list in byte order of whole paths; LIST fails with an error where it does not.
    pub fn new(store: Arc<dyn ObjectStore>, metrics: HttpMetrics, edge: Edge) -> Self {
        let Edge {
            access,
            own_names,
            limits,
            access_log,
        } = edge;
        let auth = Authenticator::new(access, own_names, metrics.clone());
        let s3 = S3Dialect::new(Arc::clone(&store), auth.clone());
        let http = HttpDialect::new(store, auth.clone());
        Self {
            dialects: Arc::new(Dialects {
                s3,
                http,
                auth,
                metrics,
                limits,
                access_log,
            }),
        }
    }

    /// Answers one request. Cancel: dropping the future or the response's body drops what the store was doing for it.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send,
    {
        let dialects = &*self.dialects;
        let method = request.method().clone();
        let uri = request.uri();
        let is_http = HttpDialect::serves(uri.path())
            || HttpDialect::introduces(&method, uri.path(), request.headers());
        let (dialect, operation) = if is_http {
            (DialectLabel::Http, HttpDialect::operation(&method))
        } else {
            (DialectLabel::S3, S3Dialect::operation(&method, uri))
        };
        let measure = dialects.metrics.start(dialect, operation);
        let mut exchange = Exchange::new(&request, measure, dialects.access_log);
        let trace = exchange.ids.trace_parent();
        let mut response = match dialects.refuse(dialect, &request) {
            Some(refused) => refused,
            None => {
                let answering = dialects.answer(dialect, operation, request, &exchange.who);
                trace
                    .scope(answering.instrument(exchange.span.clone()))
                    .await
            }
        };
        let code = response.extensions_mut().remove();
        exchange.answered(response.status(), code);
        let (mut parts, mut body) = response.into_parts();
        if method == Method::HEAD {
            // The answer to HEAD has the length of the body that it does not have. A 304 has that of the object or none (RFC 9110 8.6).
            if let Some(length) = body.size_hint().exact()
                && parts.status != StatusCode::NOT_MODIFIED
            {
                parts
                    .headers
                    .entry(CONTENT_LENGTH)
                    .or_insert_with(|| HeaderValue::from(length));
            }
            body = boxed(http_body_util::Empty::new());
        }
        if let Ok(id) = HeaderValue::from_str(&exchange.ids.request) {
            if dialect == DialectLabel::S3 {
                parts.headers.insert(AMZ_REQUEST_ID, id.clone());
            }
            parts.headers.insert(REQUEST_ID, id);
        }
        Response::from_parts(parts, ResponseBody::new(body, exchange))
    }
}

impl Dialects {
    /// The dialect's answer. In a box of its own: the futures of both are large, and would be moved with every future around them.
    fn answer<'a, B>(
        &'a self,
        dialect: DialectLabel,
        operation: Operation,
        request: Request<B>,
        who: &'a Who,
    ) -> BoxFuture<'a, Response<DialectBody>>
    where
        B: Body<Data = Bytes> + Send + 'a,
    {
        match dialect {
            DialectLabel::Http => self.http.handle(request, who).boxed(),
            DialectLabel::S3 => self.s3.handle(operation, request, who).boxed(),
        }
    }

    /// The answer to a request that no dialect sees: there is too much to do, or it names a host that it must not.
    fn refuse<B>(
        &self,
        dialect: DialectLabel,
        request: &Request<B>,
    ) -> Option<Response<DialectBody>> {
        if let Some(reason) = self.overload() {
            self.metrics.refused(dialect, reason);
            return Some(slow_down(dialect));
        }
        let host = self.auth.foreign_host(request.uri(), request.headers())?;
        self.auth.denied(dialect);
        Some(misnamed(dialect, host))
    }

    /// Says why nothing more can be taken on. The request that asks is counted already.
    fn overload(&self) -> Option<Refused> {
        let requests = usize::try_from(self.metrics.requests_now()).unwrap_or(usize::MAX);
        let patience = self.limits.hold_timeout;
        if requests > self.limits.requests_in_flight {
            self.metrics.free_one(patience);
            Some(Refused::RequestsInFlight)
        } else if self.metrics.has_room(self.limits.bytes_in_flight, patience) {
            None
        } else {
            Some(Refused::BytesInFlight)
        }
    }
}

/// 503, never 429: that one is fatal in Daft.
pub(crate) fn slow_down(dialect: DialectLabel) -> Response<DialectBody> {
    let mut response = match dialect {
        DialectLabel::S3 => S3Dialect::slow_down(),
        DialectLabel::Http => HttpDialect::slow_down(),
    };
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    response
}

/// 403 for who asks by a foreign name.
fn misnamed(dialect: DialectLabel, host: &[u8]) -> Response<DialectBody> {
    let message = foreign(host);
    match dialect {
        DialectLabel::S3 => S3Dialect::forbidden(&message),
        DialectLabel::Http => HttpDialect::forbidden(&message),
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
    exchange: Exchange,
}

impl ResponseBody {
    fn new(inner: DialectBody, mut exchange: Exchange) -> Self {
        // hyper does not poll a body that is known to be at its end.
        if inner.is_end_stream() {
            exchange.measure.ended();
        }
        Self { inner, exchange }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self { inner, exchange } = &mut *self;
        let _span = exchange.span.enter();
        let measure = &mut exchange.measure;
        let trace = exchange.ids.trace_parent();
        let polled = trace.sync_scope(|| Pin::new(&mut *inner).poll_frame(cx));
        let frame = std::task::ready!(polled);
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    measure.sent(data.len() as u64);
                }
                if inner.is_end_stream() {
                    measure.ended();
                }
            }
            Some(Err(_)) => measure.failed(),
            None => measure.ended(),
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
