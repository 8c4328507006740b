//! The HTTP/WebDAV dialect: `/v1/<catalog>/<schema>/<table>/...`.
//!
//! GET and HEAD of files, OPTIONS, and PROPFIND, without which no Delta client can open a table over HTTP. No locks, no properties of one's
//! own, no writes: class 1 of RFC 4918 as far as reading goes. Everything else is 405 with Allow.
//!
//! A folder is anything that files lie below, with or without a slash at its end; GET of one is 404 (it has no content), but a browser, which asks
//! for text/html, gets a page that lists it. Errors are one line of plain text.
//!
//! Where access is by keys, a token is asked for: 401 without one, 403 for what it gives no right to.

mod location;
mod page;
mod propfind;

use std::sync::Arc;

use ::http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, WWW_AUTHENTICATE,
};
use ::http::request::Parts;
use ::http::{Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{Empty, Full};
use object_store::ObjectStore;
use object_store::path::Path;

use self::location::Location;
use crate::access::{Caller, DENIED, NO_CREDENTIALS, visible};
use crate::answer::{self, Failure, HeadRange, ReadRequest};
use crate::edge::{Authenticator, Rejection};
use crate::exchange::Who;
use crate::listings::{Listings, exists};
use crate::metrics::{DialectLabel, Operation};
use crate::surface::{DialectBody, boxed};

/// First segment of every path of this dialect.
const ROOT: &str = "/v1";

const ALLOWED: HeaderValue = HeaderValue::from_static("OPTIONS, GET, HEAD, PROPFIND");

/// Listings that are written at a time. One may have [`propfind::WHOLE_BYTES_MAX`], and as much again of what the store says.
const LISTINGS: usize = 8;

/// Segments of `<catalog>/<schema>/<table>`.
const TABLE_PARTS: usize = 3;

/// HTTP/WebDAV over one store.
#[derive(Debug)]
pub(crate) struct HttpDialect {
    store: Arc<dyn ObjectStore>,
    auth: Authenticator,
    listings: Listings,
}

impl HttpDialect {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, auth: Authenticator) -> Self {
        Self {
            store,
            listings: Listings::new(DialectLabel::Http, LISTINGS, auth.metrics.clone()),
            auth,
        }
    }

    /// The answer when there is too much to do.
    pub(crate) fn slow_down() -> Response<DialectBody> {
        text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server has as much to do as it can: try again",
        )
    }

    /// The answer to a request that nobody may make so.
    pub(crate) fn forbidden(message: &str) -> Response<DialectBody> {
        text(StatusCode::FORBIDDEN, message)
    }

    /// Reports whether a path is of this dialect.
    pub(crate) fn serves(path: &str) -> bool {
        path.strip_prefix(ROOT)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Reports whether a client asks what the host is, before it asks for a path of this dialect, as Windows does. A browser's question whether it may
    /// read across origins names a method.
    pub(crate) fn introduces(method: &Method, path: &str, headers: &HeaderMap) -> bool {
        method == Method::OPTIONS
            && matches!(path, "/" | "*")
            && !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
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
    pub(crate) async fn handle<B>(&self, request: Request<B>, who: &Who) -> Response<DialectBody>
    where
        B: http_body::Body<Data = Bytes> + Send,
    {
        let (parts, body) = request.into_parts();
        // A PROPFIND's body names properties; all of ours are sent whatever it says.
        self.auth.drains.drain(body).await;
        let operation = Self::operation(&parts.method);
        if operation == Operation::Options {
            return options();
        }
        let location = match Location::parse(parts.uri.path()) {
            Ok(location) => location,
            Err(refused) => return text(StatusCode::BAD_REQUEST, &refused.to_string()),
        };
        match operation {
            Operation::GetObject | Operation::HeadObject | Operation::Propfind => {
                let caller = match self.admit(&parts.headers, &location, who) {
                    Ok(caller) => caller,
                    Err(refused) => return *refused,
                };
                let store = visible(&self.store, &caller);
                if operation == Operation::Propfind {
                    propfind::answer(&*store, &self.listings, &parts.headers, &location).await
                } else {
                    read(&*store, &self.listings, &parts, &location).await
                }
            }
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

    /// Decides who asks, and refuses what they ask for by name and may not read.
    fn admit(
        &self,
        headers: &HeaderMap,
        location: &Location,
        who: &Who,
    ) -> Result<Caller, Box<Response<DialectBody>>> {
        let caller = self.auth.bearer(headers).map_err(unauthenticated)?;
        who.set(caller.principal.as_ref());
        let path = match location {
            Location::Root => "",
            Location::Folder(path) | Location::Object(path) => path.as_ref(),
        };
        if !caller.is_denied(path) {
            return Ok(caller);
        }
        self.auth.denied(DialectLabel::Http);
        Err(Box::new(if caller.principal.is_some() {
            text(StatusCode::FORBIDDEN, DENIED)
        } else {
            challenge(NO_CREDENTIALS, "Bearer realm=\"vdt\"")
        }))
    }
}

async fn read(
    store: &dyn ObjectStore,
    listings: &Listings,
    parts: &Parts,
    location: &Location,
) -> Response<DialectBody> {
    let html = page::is_wanted(&parts.headers);
    let path = match location {
        Location::Object(path) => path,
        Location::Root if html => return page::answer(store, listings, None).await,
        Location::Folder(path) if html => return page::answer(store, listings, Some(path)).await,
        Location::Root | Location::Folder(_) => return folder(),
    };
    let asked = ReadRequest::parse(&parts.method, &parts.headers, HeadRange::Ignored);
    match answer::read(store, path, &asked).await {
        Ok(answer) => {
            let mut response = Response::new(boxed(answer.body));
            *response.status_mut() = answer.status;
            *response.headers_mut() = answer.headers;
            response
        }
        // Perhaps a folder without its slash.
        Err(Failure::NotFound) if html => page::answer(store, listings, Some(path)).await,
        Err(Failure::NotFound) if is_folder(store, listings, path).await => folder(),
        Err(failure) => {
            failure.log(path);
            failed(&failure)
        }
    }
}

/// Reports whether something lies below `path`. Only of a catalog, a schema or a table: clients ask all the time for commits that are not there, and
/// that must cost no listing.
async fn is_folder(store: &dyn ObjectStore, listings: &Listings, path: &Path) -> bool {
    if path.parts_count() > TABLE_PARTS {
        return false;
    }
    let Some(_permit) = listings.permit(path.as_ref()).await else {
        return false;
    };
    matches!(exists(store, path).await, Ok(true))
}

/// The answer to a GET of a folder.
fn folder() -> Response<DialectBody> {
    text(
        StatusCode::NOT_FOUND,
        "a folder has no content: list it with PROPFIND",
    )
}

fn unauthenticated(rejection: Rejection) -> Box<Response<DialectBody>> {
    Box::new(match rejection {
        Rejection::Missing => challenge(
            "a token is needed: send it as Authorization: Bearer, or as the password of Basic",
            "Bearer realm=\"vdt\"",
        ),
        Rejection::Wrong => challenge(
            "the credentials are not known: send a token as Authorization: Bearer, or as the password of Basic",
            "Bearer realm=\"vdt\", error=\"invalid_token\"",
        ),
    })
}

/// 401 (RFC 9110 15.5.2). Browsers ask their user for Basic, the others know what they send.
fn challenge(message: &str, bearer: &'static str) -> Response<DialectBody> {
    let mut response = text(StatusCode::UNAUTHORIZED, message);
    let headers = response.headers_mut();
    headers.append(
        WWW_AUTHENTICATE,
        HeaderValue::from_static("Basic realm=\"vdt\", charset=\"UTF-8\""),
    );
    headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(bearer));
    response
}

fn options() -> Response<DialectBody> {
    let mut response = Response::new(boxed(Empty::new()));
    let headers = response.headers_mut();
    headers.insert(
        HeaderName::from_static("dav"),
        HeaderValue::from_static("1"),
    );
    headers.insert(
        HeaderName::from_static("ms-author-via"),
        HeaderValue::from_static("DAV"),
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
