//! GET and HEAD of one source object: what the S3 dialect does, with the condition and the version passed on to the source.
//!
//! The dialect evaluates conditions itself and knows no versions, because tables have none. Source objects do, where a bucket keeps them.
//!
//! - The first chunk is awaited before a status is chosen, so a source that fails or has changed gives a clean error.
//! - A body that cannot be completed breaks its connection.
//! - A refusal is tried once more after a second: credentials that are rotated are refused for a moment.
//! - Why a source does not give an object is logged here: the front door is told only whether asking again may help.

use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode, Uri,
    header::{
        ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH, LAST_MODIFIED,
    },
    request::Parts,
};
use http_body_util::{BodyExt, Empty, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use object_store::{Error, GetOptions, GetResult, Result, path::Path};
use percent_encoding::percent_decode_str;
use tracing::{Span, warn};
use vdt_crds::chain;
use vdt_dialect::{BoxError, EntityTag, LogLimit, RangeSpec, http_date};

use super::{service::Answer, store::SocketStore};
use crate::metrics::is_refusal;

const VERSION_ID: &str = "x-amz-version-id";

/// Lines about reads that failed: a source that refuses one refuses all.
static FAILURES: LogLimit = LogLimit::new();

/// How long after a refusal the source is asked again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Answers a request for `path` (`sources/<id>/<key>`), which has passed the guards.
pub(super) async fn read(store: &SocketStore, path: &str, request: &Parts) -> Answer {
    let head = match request.method {
        Method::GET => false,
        Method::HEAD => true,
        _ => return failed(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    };
    let Ok(location) = Path::parse(path) else {
        return failed(StatusCode::NOT_FOUND, "NoSuchKey");
    };
    if location.as_ref() != path {
        return failed(StatusCode::NOT_FOUND, "NoSuchKey");
    }
    let Ok(range) = RangeSpec::parse(&request.headers) else {
        return failed(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
    };
    let is_partial = range.is_some();
    let options = GetOptions {
        if_match: text(&request.headers, IF_MATCH.as_str()),
        version: version(&request.uri),
        range: range.map(RangeSpec::to_get_range),
        head,
        ..GetOptions::default()
    };
    let read = twice(|| store.get_source(&location, options.clone()));
    match read.await {
        Ok(result) => answer(result, head, is_partial).await,
        Err(error) => refused(path, &error),
    }
}

/// What `read` gives, or gives a second later if it was refused.
async fn twice<T, F: Future<Output = Result<T>>>(read: impl Fn() -> F) -> Result<T> {
    match read().await {
        Err(error) if is_refusal(&error) => {
            tokio::time::sleep(AGAIN_AFTER).await;
            read().await
        }
        answer => answer,
    }
}

async fn answer(result: GetResult, head: bool, is_partial: bool) -> Answer {
    let (meta, range) = (result.meta.clone(), result.range.clone());
    let path = meta.location.clone();
    let length = match head {
        true => meta.size,
        false => range.end.saturating_sub(range.start),
    };
    let body = if head {
        UnsyncBoxBody::new(Empty::new().map_err(|never| match never {}))
    } else {
        let mut chunks = result.into_stream();
        let first = match chunks.next().await {
            Some(Err(error)) => return refused(path.as_ref(), &error),
            Some(Ok(first)) => Some(first),
            None => None,
        };
        let chunks = chunks.inspect_err(move |error| tell(path.as_ref(), error));
        let all = stream::iter(first.map(Ok)).chain(in_current_span(chunks));
        UnsyncBoxBody::new(StreamBody::new(
            all.map_ok(Frame::data).map_err(BoxError::from),
        ))
    };
    let mut response = Response::new(body);
    if is_partial && !head {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    let headers = response.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    let mut say = |name: &'static str, value: String| {
        // A source whose tag cannot be a header has none that could be compared.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    say(CONTENT_TYPE.as_str(), "application/octet-stream".to_owned());
    if is_partial && !head {
        let last = range.end.saturating_sub(1);
        say(
            CONTENT_RANGE.as_str(),
            format!("bytes {}-{last}/{}", range.start, meta.size),
        );
    }
    say(LAST_MODIFIED.as_str(), http_date(meta.last_modified));
    if let Some(tag) = meta.e_tag.as_deref().and_then(EntityTag::of_store) {
        say(ETAG.as_str(), tag.to_header());
    }
    if let Some(version) = meta.version {
        say(VERSION_ID, version);
    }
    response
}

/// The rest of a body: what is logged while it is read belongs to its request, as what was logged before it.
fn in_current_span<S: Stream + Unpin>(mut chunks: S) -> impl Stream<Item = S::Item> {
    let span = Span::current();
    stream::poll_fn(move |context| span.in_scope(|| chunks.poll_next_unpin(context)))
}

fn refused(path: &str, error: &Error) -> Answer {
    tell(path, error);
    match error {
        Error::NotFound { .. } | Error::InvalidPath { .. } => {
            failed(StatusCode::NOT_FOUND, "NoSuchKey")
        }
        Error::Precondition { .. } | Error::NotModified { .. } => {
            failed(StatusCode::PRECONDITION_FAILED, "PreconditionFailed")
        }
        // Asking again does not help. 403 is the socket's own, of what is not declared.
        error if is_refusal(error) => super::service::document(
            StatusCode::UNAUTHORIZED,
            "AccessDenied",
            "the source refuses the read; the server's log has its words",
        ),
        _ => failed(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
    }
}

/// Logs why a source did not give the object at `path`: of a source and a kind of failure, one line in a while. That it has changed is told by who
/// composes of it.
fn tell(path: &str, error: &Error) {
    let kind = match error {
        Error::NotFound { .. }
        | Error::InvalidPath { .. }
        | Error::Precondition { .. }
        | Error::NotModified { .. } => return,
        Error::PermissionDenied { .. } => "PermissionDenied",
        Error::Unauthenticated { .. } => "Unauthenticated",
        _ => "Failed",
    };
    let mut parts = path.splitn(3, '/').skip(1);
    let (source_id, key) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    if let Some(left_out) = FAILURES.admit(source_id, kind) {
        let error = chain(error);
        warn!(
            source_id,
            key, kind, left_out, error, "a source object could not be read"
        );
    }
}

fn failed(status: StatusCode, code: &'static str) -> Answer {
    super::service::document(status, code, "the source object was not read")
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn version(uri: &Uri) -> Option<String> {
    let pairs = uri
        .query()?
        .split('&')
        .filter_map(|pair| pair.split_once('='));
    let (_, value) = { pairs }.find(|(name, _)| *name == "versionId")?;
    percent_decode_str(value)
        .decode_utf8()
        .ok()
        .map(|value| value.into_owned())
}

#[cfg(test)]
mod tests;
