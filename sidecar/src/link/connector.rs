//! object_store's HTTP over the socket.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use http_body_util::BodyExt;
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
        HttpResponse, HttpResponseBody, HttpService,
    },
};

use vdt_dialect::TraceParent;

use super::pool::{Socket, SocketError};

/// The trace that the server's logs of a request carry (W3C Trace Context, section 3.2).
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// Gives clients of object_store the socket instead of the network.
#[derive(Debug, Clone)]
pub(super) struct OverSocket(pub(super) Socket);

impl HttpConnector for OverSocket {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait::async_trait]
impl HttpService for OverSocket {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (mut parts, body) = request.into_parts();
        let body = bytes_of(body).await?;
        if let Some(trace) = TraceParent::current()
            && let Ok(trace) = HeaderValue::from_str(&trace.to_string())
        {
            parts.headers.insert(TRACE_PARENT, trace);
        }
        let request = http::Request::from_parts(parts, body);
        let response = self.0.send(request).await.map_err(error)?;
        Ok(response.map(|body| HttpResponseBody::new(body.map_err(error))))
    }
}

/// Requests of a reader have no body or a short one.
async fn bytes_of(body: HttpRequestBody) -> Result<Bytes, HttpError> {
    match body.as_bytes() {
        Some(bytes) => Ok(bytes.clone()),
        None => Ok(body.collect().await?.to_bytes()),
    }
}

/// The kind decides whether object_store tries again: yes where the request did not arrive or a read was cut.
fn error(error: SocketError) -> HttpError {
    let kind = match &error {
        SocketError::Connect { .. } => HttpErrorKind::Connect,
        SocketError::Broken(_) => HttpErrorKind::Interrupted,
        SocketError::Busy
        | SocketError::Silent(_)
        | SocketError::TooLong(_)
        | SocketError::Request(_) => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
