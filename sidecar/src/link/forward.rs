//! Passes requests of the admin listener on to the server.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderName, Request, Response, StatusCode, Uri,
    header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, COOKIE, HOST, TRANSFER_ENCODING},
};
use http_body_util::{BodyExt, Limited, combinators::BoxBody};
use hyper::body::Body;

use super::{
    pool::{Socket, SocketError},
    wire::ADMIN_PREFIX,
};

/// Requests at a time.
const REQUESTS_MAX: usize = 64;
/// Most bytes of a request's body. What the admin surface takes is in the query.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Most bytes of what the server says of its tables.
const TABLES_BYTES_MAX: usize = 16 << 20;
/// Time for an answer: a refresh that is waited for lists whole buckets.
const ANSWER_MAX: Duration = Duration::from_secs(600);
/// What belongs to the connection that a request came on, or to the check that it has passed.
const DROPPED: [HeaderName; 5] = [AUTHORIZATION, CONNECTION, COOKIE, HOST, TRANSFER_ENCODING];

/// The body of a forwarded answer.
pub(crate) type ForwardBody = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// See the module's documentation. Who may ask has been checked before.
#[derive(Debug, Clone)]
pub struct Forward {
    socket: Socket,
}

impl Forward {
    /// Time for the server to tell of its tables.
    pub(crate) const TABLES_TIME_MAX: Duration = Duration::from_secs(30);

    /// Forwards to the server behind `socket`, 64 requests at a time: whoever asks for metrics takes nothing away from reads.
    pub fn new(socket: &Socket) -> Self {
        let socket = socket.beside(REQUESTS_MAX);
        Self { socket }
    }

    /// Answers `request` as the server's admin surface does; 503 while the server is away.
    pub async fn call<B>(&self, request: Request<B>) -> Response<ForwardBody>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (mut parts, body) = request.into_parts();
        let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
            return refused(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the request's body is too long",
            );
        };
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = match format!("{ADMIN_PREFIX}{path}").parse::<Uri>() {
            Ok(uri) => uri,
            Err(_) => return refused(StatusCode::BAD_REQUEST, "the request has no valid path"),
        };
        for name in DROPPED {
            parts.headers.remove(name);
        }
        let request = Request::from_parts(parts, body.to_bytes());
        match self.socket.send_within(request, ANSWER_MAX).await {
            Ok(response) => response.map(|body| BoxBody::new(body.map_err(Into::into))),
            Err(error) => unavailable(&error),
        }
    }

    /// The body of a GET of the server's admin surface, within `answer_max`.
    ///
    /// # Errors
    /// [`SocketError`] when there is no answer.
    pub async fn get(
        &self,
        path: &str,
        bytes_max: usize,
        answer_max: Duration,
    ) -> Result<Response<Bytes>, SocketError> {
        let request = Request::get(format!("{ADMIN_PREFIX}{path}"))
            .body(Bytes::new())
            .map_err(SocketError::Request)?;
        self.socket.exchange(request, bytes_max, answer_max).await
    }

    /// What the server says of its tables.
    ///
    /// # Errors
    /// As [`Forward::get`].
    pub async fn tables(&self) -> Result<Response<Bytes>, SocketError> {
        let (bytes_max, time_max) = (TABLES_BYTES_MAX, Self::TABLES_TIME_MAX);
        self.get("/api/v1/tables", bytes_max, time_max).await
    }
}

/// What is answered for a server that does not.
pub(crate) fn unavailable(error: &SocketError) -> Response<ForwardBody> {
    tracing::debug!(%error, "the server did not answer a request of the admin listener");
    refused(
        StatusCode::SERVICE_UNAVAILABLE,
        "the server is away; what the cache holds is served meanwhile, try again in a moment",
    )
}

fn refused(status: StatusCode, message: &str) -> Response<ForwardBody> {
    let text = serde_json::json!({ "error": message }).to_string();
    let body = http_body_util::Full::new(Bytes::from(text)).map_err(|never| match never {});
    let mut response = Response::new(BoxBody::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}
