//! PROPFIND (RFC 4918 9.1): what is there, one `response` for each file and folder.
//!
//! ```text
//!   Depth: 0         the thing itself
//!   Depth: 1         a folder and what lies directly in it
//!   Depth: infinity  a folder and all below it (also without the header)
//! ```
//!
//! Clients want an answer's length, so it is built in memory up to [`WHOLE_BYTES_MAX`]. One that has more, such as that of a log of very many
//! commits, is sent without its length, in pieces that are written as the client takes them; what fails then breaks the connection.
//!
//! Whatever properties the body asks for, these are sent: resourcetype, getcontentlength, getlastmodified, getetag, getcontenttype.

mod multistatus;

use ::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use ::http::{Response, StatusCode};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use futures::{TryStreamExt, future};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore};
use sync_wrapper::SyncStream;
use tokio::sync::OwnedSemaphorePermit;

use self::multistatus::MultiStatus;
use super::location::Location;
use super::{failed, text};
use crate::answer::{Failure, head};
use crate::listings::{Listings, exists};
use crate::metrics::DialectLabel;
use crate::surface::{DialectBody, boxed, slow_down};

/// Bytes of an answer that is written before it is sent: about 40,000 entries.
pub(super) const WHOLE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of a piece of a longer one, after the first.
const PIECE_BYTES: usize = 256 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    Zero,
    One,
    Infinity,
}

impl Depth {
    /// Parses the header; its absence means infinity.
    fn parse(headers: &HeaderMap) -> Option<Self> {
        let Some(value) = headers.get(HeaderName::from_static("depth")) else {
            return Some(Self::Infinity);
        };
        match value.to_str().ok()?.trim() {
            "0" => Some(Self::Zero),
            "1" => Some(Self::One),
            text if text.eq_ignore_ascii_case("infinity") => Some(Self::Infinity),
            _ => None,
        }
    }
}

/// What a `response` is about.
enum Entry {
    File(ObjectMeta),
    /// A folder's path, with a slash at its end.
    Folder(String),
}

impl Entry {
    fn name(&self) -> &str {
        match self {
            Self::File(meta) => meta.location.as_ref(),
            Self::Folder(name) => name,
        }
    }
}

/// Entries in their order. A folder that the store says is not there has none.
type Entries = BoxStream<'static, Result<Entry, Error>>;

/// A body under construction, and how it ends.
enum Found {
    Whole(MultiStatus),
    Long(MultiStatus, Entries, OwnedSemaphorePermit),
}

enum Refused {
    Failure(Failure),
    Busy,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failure(error.into())
    }
}

/// Answers a PROPFIND.
pub(crate) async fn answer(
    store: &dyn ObjectStore,
    listings: &Listings,
    headers: &HeaderMap,
    location: &Location,
) -> Response<DialectBody> {
    let Some(depth) = Depth::parse(headers) else {
        return text(StatusCode::BAD_REQUEST, "Depth is 0, 1 or infinity");
    };
    let path = match location {
        Location::Root => None,
        Location::Folder(path) | Location::Object(path) => Some(path),
    };
    let body = match find(store, listings, depth, location).await {
        Ok(Found::Whole(status)) => boxed(Full::from(status.finish())),
        Ok(Found::Long(status, entries, permit)) => {
            long(status, entries, permit, path.cloned().unwrap_or_default())
        }
        Err(Refused::Failure(failure)) => {
            if let Some(path) = path {
                failure.log(path);
            }
            return failed(&failure);
        }
        Err(Refused::Busy) => return slow_down(DialectLabel::Http),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::MULTI_STATUS;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/xml; charset=utf-8"),
    );
    response
}

async fn find(
    store: &dyn ObjectStore,
    listings: &Listings,
    depth: Depth,
    location: &Location,
) -> Result<Found, Refused> {
    let mut status = MultiStatus::new();
    let folder = match location {
        Location::Root => None,
        Location::Folder(path) => Some(path),
        Location::Object(path) => match head(store, path).await {
            Ok(meta) => {
                status.file(&meta);
                return Ok(Found::Whole(status));
            }
            // Perhaps a folder without its slash.
            Err(Failure::NotFound) => Some(path),
            Err(failure) => return Err(failure.into()),
        },
    };
    status.folder(&folder.map_or_else(String::new, |path| format!("{path}/")));
    let permit = listings.permit(folder.map_or("", AsRef::as_ref)).await;
    let permit = permit.ok_or(Refused::Busy)?;
    if depth == Depth::Zero {
        let exists = match folder {
            Some(folder) => exists(store, folder).await?,
            None => true,
        };
        return match exists {
            true => Ok(Found::Whole(status)),
            false => Err(Failure::NotFound.into()),
        };
    }
    let mut entries = match depth {
        Depth::Infinity => subtree(store, folder),
        Depth::One | Depth::Zero => level(store, folder).await?,
    };
    let Some(first) = entries.try_next().await? else {
        // The root is always there; any other folder exists by what lies below it.
        return match folder {
            None => Ok(Found::Whole(status)),
            Some(_) => Err(Failure::NotFound.into()),
        };
    };
    status.entry(&first);
    if status.fill(&mut entries, WHOLE_BYTES_MAX).await? {
        return Ok(Found::Whole(status));
    }
    drop(permit);
    let permit = listings.long_permit().ok_or(Refused::Busy)?;
    Ok(Found::Long(status, entries, permit))
}

/// What lies directly in a folder, in byte order.
async fn level(store: &dyn ObjectStore, folder: Option<&Path>) -> Result<Entries, Error> {
    let listed = match store.list_with_delimiter(folder).await {
        Ok(listed) => listed,
        Err(Error::NotFound { .. }) => return Ok(stream::empty().boxed()),
        Err(error) => return Err(error),
    };
    let files = listed.objects.into_iter().map(Entry::File);
    let folders = listed.common_prefixes.into_iter();
    let folders = folders.map(|path| Entry::Folder(format!("{path}/")));
    let mut entries: Vec<Entry> = files.chain(folders).collect();
    entries.sort_unstable_by(|a, b| a.name().cmp(b.name()));
    Ok(stream::iter(entries).map(Ok).boxed())
}

/// All below a folder, each folder before what lies in it.
fn subtree(store: &dyn ObjectStore, folder: Option<&Path>) -> Entries {
    let base = folder.map_or(0, |folder| folder.as_ref().len() + 1);
    // The folder of the file before, with its slash. In byte order all of a folder's files are neighbours.
    let mut open = String::new();
    present(store.list(folder))
        .map_ok(move |meta| {
            let name = meta.location.as_ref();
            let parent = name
                .rfind('/')
                .and_then(|at| name.get(..=at))
                .unwrap_or_default()
                .to_owned();
            let mut entries: Vec<Entry> = parent
                .match_indices('/')
                .filter(|(at, _)| *at >= base)
                .filter_map(|(at, _)| parent.get(..=at))
                .filter(|ancestor| !open.starts_with(ancestor))
                .map(|ancestor| Entry::Folder(ancestor.to_owned()))
                .collect();
            open = parent;
            entries.push(Entry::File(meta));
            stream::iter(entries).map(Ok)
        })
        .try_flatten()
        .boxed()
}

/// A listing that ends where the store says that the folder is not there.
fn present(
    listed: BoxStream<'static, Result<ObjectMeta, Error>>,
) -> BoxStream<'static, Result<ObjectMeta, Error>> {
    let present = listed.scan((), |(), listed| {
        future::ready(match listed {
            Err(Error::NotFound { .. }) => None,
            listed => Some(listed),
        })
    });
    present.boxed()
}

/// The rest of an answer whose beginning is written. The permit ends with it.
fn long(
    status: MultiStatus,
    entries: Entries,
    permit: OwnedSemaphorePermit,
    path: Path,
) -> DialectBody {
    // What is written; the rest, until all is.
    let start = (status, Some((entries, permit)));
    let pieces = stream::try_unfold(Some(start), move |state| {
        let path = path.clone();
        async move {
            let Some((mut status, rest)) = state else {
                return Ok(None);
            };
            let Some((mut entries, permit)) = rest else {
                return Ok(Some((Bytes::from(status.finish()), None)));
            };
            let piece = Bytes::from(status.take());
            let filled = status.fill(&mut entries, PIECE_BYTES).await;
            let is_end = filled.map_err(|error| {
                let failure = Failure::from(error);
                failure.log(&path);
                failure
            })?;
            let rest = (!is_end).then_some((entries, permit));
            Ok::<_, Failure>(Some((piece, Some((status, rest)))))
        }
    });
    boxed(StreamBody::new(SyncStream::new(
        pieces.map_ok(Frame::data).boxed(),
    )))
}
