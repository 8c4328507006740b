//! The HTTP/WebDAV dialect: `/v1/<catalog>/<schema>/<table>/...`.
//!
//! GET and HEAD of files, OPTIONS, and PROPFIND, without which no Delta client can open a table over HTTP. No locks, no properties of one's
//! own, no writes: class 1 of RFC 4918 as far as reading goes. Everything else is 405 with Allow.
//!
//! A folder is anything that files lie below, with or without a slash at its end; GET of one is 404 (it has no content).
//! Errors are one line of plain text.

mod location;
mod propfind;

use std::sync::Arc;

use ::http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use ::http::request::Parts;
use ::http::{Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{Empty, Full};
use object_store::ObjectStore;

use self::location::Location;
use crate::answer::{self, Failure, HeadRange, ReadRequest};
use crate::metrics::Operation;
use crate::request;
use crate::surface::{DialectBody, boxed};

/// First segment of every path of this dialect.
const ROOT: &str = "/v1";

const ALLOWED: HeaderValue = HeaderValue::from_static("OPTIONS, GET, HEAD, PROPFIND");

/// HTTP/WebDAV over one store.
#[derive(Debug)]
pub(crate) struct HttpDialect {
    store: Arc<dyn ObjectStore>,
}

impl HttpDialect {
    pub(crate) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store }
    }

    /// Reports whether a path is of this dialect.
    pub(crate) fn serves(path: &str) -> bool {
        path.strip_prefix(ROOT)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Classifies a request.
    pub(crate) fn operation(method: &Method) -> Operation {
        match *method {
            Method::GET => Operation::GetObject,
            Method::HEAD => Operation::HeadObject,
            Method::OPTIONS => Operation::Options,
            Method::PUT | Method::POST | Method::DELETE | Method::PATCH => Operation::Write,
            _ => match method.as_str() {
                "PROPFIND" => Operation::Propfind,
                "PROPPATCH" | "MKCOL" | "COPY" | "MOVE" | "LOCK" | "UNLOCK" => Operation::Write,
                _ => Operation::Unknown,
            },
        }
    }

    /// Answers one request.
    pub(crate) async fn handle<B>(&self, request: Request<B>) -> Response<DialectBody>
    where
        B: http_body::Body<Data = Bytes> + Send,
    {
        let (parts, body) = request.into_parts();
        // A PROPFIND's body names properties; all of ours are sent whatever it says.
        request::drain(body).await;
        let location = match Location::parse(parts.uri.path()) {
            Ok(location) => location,
            Err(refused) => return text(StatusCode::BAD_REQUEST, &refused.to_string()),
        };
        match Self::operation(&parts.method) {
            Operation::GetObject | Operation::HeadObject => self.read(&parts, &location).await,
            Operation::Propfind => propfind::answer(&*self.store, &parts.headers, &location).await,
            Operation::Options => options(),
            _ => {
                let mut response = text(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "vdt tables are read-only: this path serves OPTIONS, GET, HEAD and PROPFIND",
                );
                response.headers_mut().insert(ALLOW, ALLOWED);
                response
            }
        }
    }

    async fn read(&self, parts: &Parts, location: &Location) -> Response<DialectBody> {
        let path = match location {
            Location::Object(path) => path,
            Location::Root | Location::Folder(_) => {
                return text(
                    StatusCode::NOT_FOUND,
                    "a folder has no content: list it with PROPFIND",
                );
            }
        };
        let answered = match ReadRequest::parse(&parts.method, &parts.headers, HeadRange::Ignored) {
            Ok(asked) => answer::read(&*self.store, path, &asked).await,
            Err(failure) => Err(failure),
        };
        match answered {
            Ok(answer) => {
                let mut response = Response::new(boxed(answer.body));
                *response.status_mut() = answer.status;
                *response.headers_mut() = answer.headers;
                response
            }
            Err(failure) => {
                failure.log(path);
                failed(&failure)
            }
        }
    }
}

fn options() -> Response<DialectBody> {
    let mut response = Response::new(boxed(Empty::new()));
    let headers = response.headers_mut();
    headers.insert(
        HeaderName::from_static("dav"),
        HeaderValue::from_static("1"),
    );
    headers.insert(ALLOW, ALLOWED);
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

/// The response of a failed read.
fn failed(failure: &Failure) -> Response<DialectBody> {
    let mut response = if failure.status() == StatusCode::NOT_MODIFIED {
        Response::new(boxed(Empty::new()))
    } else {
        text(failure.status(), &failure.to_string())
    };
    *response.status_mut() = failure.status();
    response.headers_mut().extend(failure.headers());
    response
}

fn text(status: StatusCode, message: &str) -> Response<DialectBody> {
    let mut response = Response::new(boxed(Full::from(format!("{message}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
