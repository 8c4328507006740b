//! One engine that answers a read of one object, for every dialect.
//!
//! A read is GET or HEAD of one object, with preconditions (RFC 9110 13.2.2) and one byte range (RFC 9110 14.2).
//!
//! ```text
//!   headers ── ReadRequest ──┐
//!                            ├── settle ── 200 / 206 / 304 / 412 / 416, headers, range
//!   object_store ── meta ────┘                    │
//!                └── stream ──────────────── ReadBody (exactly that many bytes, or an error)
//! ```
//!
//! - A plain or ranged GET costs the store one `get_opts`: the metadata that comes with the stream settles the request.
//!   A HEAD, and a GET that may end as 304, ask for metadata first; an object that changes between the two is settled once more.
//! - The first chunk is awaited before a status is chosen, so a source that fails or has changed gives a clean error.
//! - Cancel: dropping the future or the body drops the store's stream; nothing is left running here.

mod body;
mod conditions;
mod date;
mod etag;
mod failure;
mod range;

pub(crate) use body::ReadBody;
pub use date::http_date;
pub use etag::EntityTag;
pub use failure::NotYet;
pub(crate) use failure::{Chain, Failure};
pub use range::{RangeMalformed, RangeSpec};

use std::fmt::Write;
use std::ops::Range;

use ::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue,
    LAST_MODIFIED,
};
use ::http::{Method, StatusCode};
use bytes::Bytes;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore};

use self::conditions::Conditions;

/// Headers of an answer, with those that are added on its way out.
const ANSWER_HEADERS: usize = 12;

/// Characters of a Content-Range with offsets below a petabyte.
const CONTENT_RANGE_BYTES: usize = 64;

/// Whether a HEAD request's Range header means something.
///
/// RFC 9110 14.2 defines ranges for GET only; S3 honours them for HEAD too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadRange {
    Honoured,
    Ignored,
}

/// What a client asks of one object, parsed from method and headers.
#[derive(Debug)]
pub(crate) struct ReadRequest {
    head: bool,
    conditions: Conditions,
    /// A malformed one is refused where it counts: an object that is missing, or a condition that does not hold, comes first.
    range: Result<Option<RangeSpec>, RangeMalformed>,
}

/// A status, its headers, and the bytes.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: ReadBody,
}

/// What of the object is served once preconditions and range are settled.
struct Settled {
    range: Range<u64>,
    partial: bool,
}

impl ReadRequest {
    /// Parses a GET or HEAD.
    pub(crate) fn parse(method: &Method, headers: &HeaderMap, head_range: HeadRange) -> Self {
        let head = method == Method::HEAD;
        let range = match (head, head_range) {
            (true, HeadRange::Ignored) => Ok(None),
            (true, HeadRange::Honoured) | (false, _) => RangeSpec::parse(headers),
        };
        Self {
            head,
            conditions: Conditions::parse(headers),
            range,
        }
    }

    /// The same, where the object is asked for as its only part: as a range of the whole, unless it is for another one.
    pub(crate) fn into_part(mut self) -> Self {
        if self.range == Ok(None) {
            self.range = Ok(Some(RangeSpec::From { first: 0 }));
        }
        self
    }

    /// Evaluates preconditions, then the range, against the object as it is.
    fn settle(&self, meta: &ObjectMeta) -> Result<Settled, Failure> {
        let mut range_applies = true;
        if !self.conditions.is_empty() {
            let tag = meta.e_tag.as_deref().and_then(EntityTag::of_store);
            self.conditions
                .evaluate(tag.as_ref(), meta.last_modified)
                .map_err(|failure| failure.with_validators(validators(meta)))?;
            range_applies = self
                .conditions
                .range_applies(tag.as_ref(), meta.last_modified);
        }
        let wanted = match self.range {
            _ if !range_applies => None,
            Ok(wanted) => wanted,
            Err(RangeMalformed) => return Err(Failure::RangeMalformed { size: meta.size }),
        };
        match wanted {
            None => Ok(Settled {
                range: 0..meta.size,
                partial: false,
            }),
            Some(spec) => match spec.resolve(meta.size) {
                Some(range) => Ok(Settled {
                    range,
                    partial: true,
                }),
                None => Err(Failure::RangeNotSatisfiable { size: meta.size }),
            },
        }
    }
}

/// Answers a read of `location`.
///
/// # Errors
/// A [`Failure`] that says which status the client gets.
pub(crate) async fn read(
    store: &dyn ObjectStore,
    location: &Path,
    request: &ReadRequest,
) -> Result<Answer, Failure> {
    if request.head {
        let meta = head(store, location).await?;
        let settled = request.settle(&meta)?;
        return Ok(answer(location, &meta, &settled, ReadBody::empty()));
    }
    let range = match request.range {
        Ok(range) if !request.conditions.need_metadata_first() => range,
        // A malformed one counts, or the whole object is the answer.
        _ => {
            let result = get_settled(store, location, request).await?;
            return stream(location, request, result).await;
        }
    };
    let options = GetOptions {
        range: range.map(RangeSpec::to_get_range),
        ..GetOptions::default()
    };
    match store.get_opts(location, options).await {
        Ok(result) => stream(location, request, result).await,
        Err(error) => {
            let failure = Failure::from(error);
            // Stores have no error of their own for a range outside the object: the object's size tells.
            if range.is_some() && matches!(failure, Failure::Internal { .. }) {
                let meta = head(store, location).await?;
                request.settle(&meta)?;
            }
            Err(failure)
        }
    }
}

/// Opens the object whose metadata settles the request.
async fn get_settled(
    store: &dyn ObjectStore,
    location: &Path,
    request: &ReadRequest,
) -> Result<GetResult, Failure> {
    let meta = head(store, location).await?;
    match get_as(store, location, request, &meta).await {
        Err(Failure::SourceChanged { source }) => {
            // Another object by now, such as a newer `_last_checkpoint`; or the same one, of which a source has changed.
            let now = head(store, location).await?;
            match now.e_tag == meta.e_tag {
                true => Err(Failure::SourceChanged { source }),
                false => get_as(store, location, request, &now).await,
            }
        }
        done => done,
    }
}

/// Opens the object that `meta` is of, if that settles to a body.
async fn get_as(
    store: &dyn ObjectStore,
    location: &Path,
    request: &ReadRequest,
    meta: &ObjectMeta,
) -> Result<GetResult, Failure> {
    let Settled { range, partial } = request.settle(meta)?;
    let options = GetOptions {
        range: partial.then_some(GetRange::Bounded(range)),
        // The body must be of the object whose metadata decided. A mismatch is a change, not the client's condition.
        if_match: meta.e_tag.clone().filter(|tag| !tag.starts_with("W/")),
        ..GetOptions::default()
    };
    Ok(store.get_opts(location, options).await?)
}

/// Fetches the metadata of one object.
pub(crate) async fn head(store: &dyn ObjectStore, location: &Path) -> Result<ObjectMeta, Failure> {
    let options = GetOptions {
        head: true,
        ..GetOptions::default()
    };
    Ok(store.get_opts(location, options).await?.meta)
}

async fn stream(
    location: &Path,
    request: &ReadRequest,
    result: GetResult,
) -> Result<Answer, Failure> {
    let settled = request.settle(&result.meta)?;
    if result.range != settled.range {
        return Err(Failure::internal(format!(
            "the store gave bytes {:?} of {location} where {:?} were asked for",
            result.range, settled.range
        )));
    }
    let length = settled.range.end - settled.range.start;
    let meta = result.meta.clone();
    let mut chunks = result.into_stream();
    let mut first = Bytes::new();
    while first.is_empty() && length > 0 {
        first = match chunks.next().await {
            Some(Ok(chunk)) => chunk,
            Some(Err(error)) => return Err(Failure::of_body(error)),
            None => {
                return Err(Failure::internal(format!(
                    "the store gave no byte of {location}"
                )));
            }
        };
    }
    if first.len() as u64 > length {
        return Err(Failure::internal(format!(
            "the store gave too much of {location}"
        )));
    }
    let body = ReadBody::new(location.clone(), first, chunks, length);
    Ok(answer(location, &meta, &settled, body))
}

fn answer(location: &Path, meta: &ObjectMeta, settled: &Settled, body: ReadBody) -> Answer {
    let Range { start, end } = settled.range;
    let mut headers = HeaderMap::with_capacity(ANSWER_HEADERS);
    add_validators(&mut headers, meta);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(content_type(location)),
    );
    headers.insert(CONTENT_LENGTH, HeaderValue::from(end - start));
    if settled.partial {
        // A settled range is never empty, so `end - 1` is its last byte.
        let mut value = String::with_capacity(CONTENT_RANGE_BYTES);
        // Writing to a String does not fail.
        let _ = write!(
            value,
            "bytes {start}-{}/{}",
            end.saturating_sub(1),
            meta.size
        );
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value)) {
            headers.insert(CONTENT_RANGE, value);
        }
    }
    let status = if settled.partial {
        StatusCode::PARTIAL_CONTENT
    } else {
        StatusCode::OK
    };
    Answer {
        status,
        headers,
        body,
    }
}

/// ETag and Last-Modified: what a 304 repeats (RFC 9110 15.4.5).
fn validators(meta: &ObjectMeta) -> HeaderMap {
    let mut headers = HeaderMap::new();
    add_validators(&mut headers, meta);
    headers
}

fn add_validators(headers: &mut HeaderMap, meta: &ObjectMeta) {
    if let Some(tag) = meta.e_tag.as_deref().and_then(EntityTag::of_store)
        && let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(tag.to_header()))
    {
        headers.insert(ETAG, value);
    }
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(http_date(meta.last_modified))) {
        headers.insert(LAST_MODIFIED, value);
    }
}

/// The media type of an object, by its extension.
pub(crate) fn content_type(location: &Path) -> &'static str {
    match location.extension() {
        Some("json") => "application/json",
        Some("parquet") => "application/vnd.apache.parquet",
        _ => "application/octet-stream",
    }
}
