//! PROPFIND (RFC 4918 9.1): what is there, one `response` for each file and folder.
//!
//! ```text
//!   Depth: 0         the thing itself
//!   Depth: 1         a folder and what lies directly in it
//!   Depth: infinity  a folder and all below it (also without the header)
//! ```
//!
//! The answer is built in memory, because clients want its length, and bounded: a folder with more in it than fits is refused, which
//! RFC 4918 allows for infinity (403 propfind-finite-depth) and which is 507 for Depth 1.
//! Whatever properties the body asks for, these are sent: resourcetype, getcontentlength, getlastmodified, getetag, getcontenttype.

use std::fmt::Write;

use ::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use ::http::{Response, StatusCode};
use chrono::DateTime;
use futures::TryStreamExt;
use http_body_util::Full;
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore};
use quick_xml::escape::escape;

use super::location::Location;
use super::{ROOT, failed, text};
use crate::answer::{EntityTag, Failure, content_type, head, http_date};
use crate::key::encode;
use crate::listings::Listings;
use crate::metrics::DialectLabel;
use crate::surface::{DialectBody, boxed, slow_down};

/// Bytes of a multistatus body, about 40,000 entries. A log is cleaned up long before; a catalog is better listed folder by folder.
const MULTISTATUS_BYTES_MAX: usize = 16 * 1024 * 1024;

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

enum Refused {
    Failure(Failure),
    TooMany,
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
    match find(store, listings, depth, location).await {
        Ok(status) => xml(StatusCode::MULTI_STATUS, status.finish()),
        Err(Refused::Failure(failure)) => {
            if let Location::Folder(path) | Location::Object(path) = location {
                failure.log(path);
            }
            failed(&failure)
        }
        Err(Refused::Busy) => slow_down(DialectLabel::Http),
        Err(Refused::TooMany) if depth == Depth::Infinity => xml(
            StatusCode::FORBIDDEN,
            format!("{XML}<D:error xmlns:D=\"DAV:\"><D:propfind-finite-depth/></D:error>\n"),
        ),
        Err(Refused::TooMany) => text(
            StatusCode::INSUFFICIENT_STORAGE,
            "the folder has too many entries to be listed in one answer",
        ),
    }
}

async fn find(
    store: &dyn ObjectStore,
    listings: &Listings,
    depth: Depth,
    location: &Location,
) -> Result<MultiStatus, Refused> {
    let folder = match location {
        Location::Root => None,
        Location::Folder(path) => Some(path),
        Location::Object(path) => match head(store, path).await {
            Ok(meta) => {
                let mut status = MultiStatus::new();
                status.file(&meta)?;
                return Ok(status);
            }
            // Perhaps a folder without its slash.
            Err(Failure::NotFound) => Some(path),
            Err(failure) => return Err(failure.into()),
        },
    };
    let turn = match depth {
        Depth::Zero => None,
        Depth::One | Depth::Infinity => Some(listings.turn().await.ok_or(Refused::Busy)?),
    };
    let mut status = MultiStatus::new();
    status.folder(folder)?;
    let empty = match depth {
        Depth::Zero => store
            .list(folder)
            .try_next()
            .await
            .or_else(absent)?
            .is_none(),
        Depth::One => level(store, folder, &mut status).await?,
        Depth::Infinity => subtree(store, folder, &mut status).await?,
    };
    // The root is always there; any other folder exists by what lies below it.
    if empty && folder.is_some() {
        return Err(Failure::NotFound.into());
    }
    drop(turn);
    Ok(status)
}

/// Writes what lies directly in a folder, in byte order. Reports whether that is nothing.
async fn level(
    store: &dyn ObjectStore,
    folder: Option<&Path>,
    status: &mut MultiStatus,
) -> Result<bool, Refused> {
    let listed = match store.list_with_delimiter(folder).await {
        Ok(listed) => listed,
        Err(Error::NotFound { .. }) => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    let mut entries: Vec<(String, Option<ObjectMeta>)> = listed
        .objects
        .into_iter()
        .map(|meta| (meta.location.to_string(), Some(meta)))
        .chain(
            listed
                .common_prefixes
                .iter()
                .map(|path| (format!("{path}/"), None)),
        )
        .collect();
    entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    for (name, meta) in &entries {
        match meta {
            Some(meta) => status.file(meta)?,
            None => status.entry(name, None)?,
        }
    }
    Ok(entries.is_empty())
}

/// Writes all below a folder, each folder before what lies in it. Reports whether that is nothing.
async fn subtree(
    store: &dyn ObjectStore,
    folder: Option<&Path>,
    status: &mut MultiStatus,
) -> Result<bool, Refused> {
    let base = folder.map_or(0, |folder| folder.as_ref().len() + 1);
    let mut objects = store.list(folder);
    let mut empty = true;
    // The folder of the file before, with its slash. In byte order all of a folder's files are neighbours.
    let mut open = String::new();
    while let Some(meta) = objects.try_next().await.or_else(absent)? {
        empty = false;
        let name = meta.location.as_ref();
        let parent = name
            .rfind('/')
            .and_then(|at| name.get(..=at))
            .unwrap_or_default();
        for (at, _) in parent.match_indices('/').filter(|(at, _)| *at >= base) {
            let ancestor = parent.get(..=at).unwrap_or_default();
            if !open.starts_with(ancestor) {
                status.entry(ancestor, None)?;
            }
        }
        open = parent.to_owned();
        status.file(&meta)?;
    }
    Ok(empty)
}

/// A folder that the store says is not there has nothing in it.
fn absent<T>(error: Error) -> Result<Option<T>, Error> {
    match error {
        Error::NotFound { .. } => Ok(None),
        other => Err(other),
    }
}

const XML: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n";

/// A multistatus body under construction.
struct MultiStatus {
    xml: String,
}

impl MultiStatus {
    fn new() -> Self {
        Self {
            xml: format!("{XML}<D:multistatus xmlns:D=\"DAV:\">\n"),
        }
    }

    fn folder(&mut self, folder: Option<&Path>) -> Result<(), Refused> {
        match folder {
            Some(path) => self.entry(&format!("{path}/"), None),
            None => self.entry("", None),
        }
    }

    fn file(&mut self, meta: &ObjectMeta) -> Result<(), Refused> {
        self.entry(meta.location.as_ref(), Some(meta))
    }

    /// Writes one `response`: a file with its properties, or a folder, whose name ends with a slash.
    fn entry(&mut self, name: &str, meta: Option<&ObjectMeta>) -> Result<(), Refused> {
        let properties = match meta {
            // object_store's client insists on a date of every entry, and a folder has none.
            None => format!(
                "<D:resourcetype><D:collection/></D:resourcetype><D:getlastmodified>{}</D:getlastmodified>",
                http_date(DateTime::UNIX_EPOCH),
            ),
            Some(meta) => {
                let tag = meta
                    .e_tag
                    .as_deref()
                    .and_then(EntityTag::of_store)
                    .map(|tag| {
                        format!(
                            "<D:getetag>{}</D:getetag>",
                            escape(tag.to_string().as_str())
                        )
                    });
                format!(
                    "<D:resourcetype/><D:getcontentlength>{}</D:getcontentlength><D:getlastmodified>{}</D:getlastmodified>{}<D:getcontenttype>{}</D:getcontenttype>",
                    meta.size,
                    http_date(meta.last_modified),
                    tag.unwrap_or_default(),
                    content_type(&meta.location),
                )
            }
        };
        // The href is percent-encoded and so needs no escaping. Writing to a String does not fail.
        let _ = writeln!(
            self.xml,
            "<D:response><D:href>{ROOT}/{}</D:href><D:propstat><D:prop>{properties}</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>",
            encode(name),
        );
        if self.xml.len() > MULTISTATUS_BYTES_MAX {
            Err(Refused::TooMany)
        } else {
            Ok(())
        }
    }

    fn finish(self) -> String {
        self.xml + "</D:multistatus>\n"
    }
}

fn xml(status: StatusCode, body: String) -> Response<DialectBody> {
    let mut response = Response::new(boxed(Full::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/xml; charset=utf-8"),
    );
    response
}
