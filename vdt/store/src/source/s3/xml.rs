//! The XML of listings.
//!
//! ```text
//!   ListBucketResult      Contents*  CommonPrefixes*  IsTruncated  NextContinuationToken  EncodingType      ListObjectsV2
//!   ListVersionsResult    Version*   CommonPrefixes*  IsTruncated  NextKeyMarker NextVersionIdMarker       ListObjectVersions
//!   Error                 Code  Message  Region
//! ```
//!
//! `EncodingType` may come after the keys, and what a plus in them is may have to be asked for ([`KeyEncoding`]), so a page is read
//! first and its keys are decoded then. Elements of no interest, such as `Owner`, are passed over with all they contain. Only
//! a page that says whether it is the last is a page: what is missing from a listing is taken out of the table.

use chrono::DateTime;
use quick_xml::events::Event;
use quick_xml::reader::Reader;
use vdt_crds::shorten;
use vdt_rope::MAX_LENGTH;

use super::encoding::KeyEncoding;
use super::failure::{ErrorDocument, Failure};

/// One page of a listing.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Page {
    pub(super) objects: Vec<Object>,
    /// Common prefixes; one that is not UTF-8 cannot be asked for and is left out.
    pub(super) prefixes: Vec<String>,
    /// How many common prefixes were left out.
    pub(super) lost_prefixes: usize,
    pub(super) truncated: bool,
    /// Continuation token, or key marker of a version listing. What XML or UTF-8 cannot hold of it is U+FFFD.
    pub(super) next: Option<String>,
    pub(super) next_version: Option<String>,
}

/// One object of a page.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Object {
    /// Key; bytes, since percent-encoding can hold what is not UTF-8.
    pub(super) key: Vec<u8>,
    pub(super) size: u64,
    /// Strong tag without quotes.
    pub(super) etag: Option<String>,
    pub(super) last_modified_ms: i64,
    pub(super) storage_class: Option<String>,
    pub(super) version: Option<String>,
    /// False for a version that is not the newest.
    pub(super) latest: bool,
}

/// A page as it came, with keys as the service encodes them.
#[derive(Debug)]
pub(super) struct RawPage {
    page: Page,
    prefixes: Vec<Vec<u8>>,
    key_marker: Option<Vec<u8>>,
    encoding_type: String,
    /// The prefix that was asked for.
    pub(super) prefix: Vec<u8>,
}

impl RawPage {
    /// How keys are encoded, if the page tells it.
    pub(super) fn encoding(&self) -> Option<KeyEncoding> {
        let keys = self.page.objects.iter().map(|object| &object.key);
        let texts = keys.chain(&self.prefixes).chain(&self.key_marker);
        KeyEncoding::detect(self.encoding_type.trim(), texts.map(Vec::as_slice))
    }

    /// The page with its keys decoded.
    pub(super) fn decode(self, encoding: KeyEncoding) -> Page {
        let mut page = self.page;
        page.prefixes = self
            .prefixes
            .iter()
            .filter_map(|prefix| String::from_utf8(encoding.decode(prefix)).ok())
            .collect();
        page.lost_prefixes = self.prefixes.len() - page.prefixes.len();
        for object in &mut page.objects {
            object.key = encoding.decode(&object.key);
        }
        if let Some(marker) = self.key_marker {
            let marker = encoding.decode(&marker);
            page.next = Some(String::from_utf8_lossy(&marker).into_owned());
        }
        page
    }
}

/// Most that is kept of what a service says of an error, in characters: it goes into conditions and logs.
const MESSAGE_CHARS_MAX: usize = 1024;
const CODE_CHARS_MAX: usize = 128;

/// Reads a page.
pub(super) fn page(body: &[u8]) -> Result<RawPage, Failure> {
    let mut document = Document::new(body);
    let root = document.root()?;
    match root.as_str() {
        "ListBucketResult" | "ListVersionsResult" => document.listing(),
        "Error" => {
            let error = document.error()?;
            // A service may find out about its trouble after it has sent 200.
            Err(error.into_failure(http::StatusCode::OK, None))
        }
        other => Err(Failure::Answer(format!(
            "the answer is <{other}>, not a listing"
        ))),
    }
}

/// Reads an error document; `None` if it is none.
pub(super) fn error(body: &[u8]) -> Option<ErrorDocument> {
    let mut document = Document::new(body);
    (document.root().ok()? == "Error").then(|| document.error().ok())?
}

struct Document<'a> {
    reader: Reader<&'a [u8]>,
}

/// A child of the element under way.
enum Child {
    Element(String),
    End,
}

impl<'a> Document<'a> {
    fn new(body: &'a [u8]) -> Self {
        let mut reader = Reader::from_reader(body);
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        config.check_end_names = true;
        Self { reader }
    }

    fn event(&mut self) -> Result<Event<'a>, Failure> {
        let event = self.reader.read_event();
        event.map_err(|error| {
            Failure::Answer(format!(
                "not XML: {error} at byte {}",
                self.reader.error_position()
            ))
        })
    }

    fn root(&mut self) -> Result<String, Failure> {
        match self.child() {
            Ok(Child::Element(name)) => Ok(name),
            Ok(Child::End) | Err(_) => Err(Failure::Answer("the answer is not XML".to_owned())),
        }
    }

    /// Goes to the next child element, past any text, or to the end of the parent.
    fn child(&mut self) -> Result<Child, Failure> {
        loop {
            match self.event()? {
                Event::Start(start) => {
                    return Ok(Child::Element(
                        String::from_utf8_lossy(start.local_name().as_ref()).into_owned(),
                    ));
                }
                Event::End(_) => return Ok(Child::End),
                Event::Eof => return Err(Failure::Answer("the answer is cut off".to_owned())),
                _ => {}
            }
        }
    }

    /// Passes over the rest of the element under way, however deep it is.
    fn skip(&mut self) -> Result<(), Failure> {
        let mut depth = 1_usize;
        while depth > 0 {
            match self.child()? {
                Child::Element(_) => depth += 1,
                Child::End => depth -= 1,
            }
        }
        Ok(())
    }

    /// Text of the element under way, to its end. Nothing is trimmed: keys may begin and end with spaces.
    fn text(&mut self) -> Result<Vec<u8>, Failure> {
        let mut text = Vec::new();
        loop {
            match self.event()? {
                Event::Text(part) => text.extend_from_slice(&part),
                Event::CData(part) => text.extend_from_slice(&part),
                Event::GeneralRef(reference) => {
                    let name = String::from_utf8_lossy(&reference).into_owned();
                    match quick_xml::escape::resolve_xml_entity(&name) {
                        Some(character) => text.extend_from_slice(character.as_bytes()),
                        // A reference to what is no character of XML stands for a control character.
                        None => {
                            let character =
                                reference.resolve_char_ref().ok().flatten().unwrap_or('\0');
                            text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                        }
                    }
                }
                Event::Start(_) => self.skip()?,
                Event::End(_) => return Ok(text),
                Event::Eof => return Err(Failure::Answer("the answer is cut off".to_owned())),
                _ => {}
            }
        }
    }

    fn string(&mut self) -> Result<String, Failure> {
        Ok(String::from_utf8_lossy(&self.text()?).into_owned())
    }

    fn listing(&mut self) -> Result<RawPage, Failure> {
        let mut page = Page::default();
        let (mut prefixes, mut key_marker) = (Vec::new(), None);
        let (mut encoding_type, mut prefix) = (String::new(), Vec::new());
        let mut truncated = None;
        while let Child::Element(name) = self.child()? {
            match name.as_str() {
                "Contents" | "Version" => {
                    let object = self.object()?;
                    page.objects.push(object);
                }
                "CommonPrefixes" => {
                    while let Child::Element(name) = self.child()? {
                        if name == "Prefix" {
                            prefixes.push(self.text()?);
                        } else {
                            self.skip()?;
                        }
                    }
                }
                "IsTruncated" => truncated = Some(self.string()?),
                "NextContinuationToken" => page.next = Some(self.string()?),
                "NextKeyMarker" => key_marker = Some(self.text()?),
                "NextVersionIdMarker" => page.next_version = Some(self.string()?),
                "EncodingType" => encoding_type = self.string()?,
                "Prefix" => prefix = self.text()?,
                _ => self.skip()?,
            }
        }
        page.truncated = is_truncated(truncated.as_deref())?;
        if !page.truncated && page.next.as_ref().is_some_and(|next| !next.is_empty()) {
            return Err(Failure::Answer(
                "a page says that it is the last, and how to ask for the next".to_owned(),
            ));
        }
        Ok(RawPage {
            page,
            prefixes,
            key_marker,
            encoding_type,
            prefix,
        })
    }

    fn object(&mut self) -> Result<Object, Failure> {
        let mut object = Object {
            latest: true,
            ..Object::default()
        };
        let (mut size, mut modified) = (None, None);
        while let Child::Element(name) = self.child()? {
            match name.as_str() {
                "Key" => object.key = self.text()?,
                "Size" => size = Some(self.string()?),
                "LastModified" => modified = Some(self.string()?),
                "ETag" => object.etag = strong(&self.string()?),
                "StorageClass" => {
                    object.storage_class = Some(self.string()?).filter(|class| !class.is_empty())
                }
                "VersionId" => {
                    object.version = Some(self.string()?).filter(|version| !version.is_empty())
                }
                "IsLatest" => object.latest = self.string()?.trim() == "true",
                _ => self.skip()?,
            }
        }
        let key = || String::from_utf8_lossy(&object.key).into_owned();
        object.size = size
            .as_deref()
            .and_then(|size| size.trim().parse().ok())
            .filter(|size| *size <= MAX_LENGTH)
            .ok_or_else(|| {
                let problem = "which is no number of bytes up to 2^63 - 1";
                Failure::Answer(format!("key {:?} has size {size:?}, {problem}", key()))
            })?;
        object.last_modified_ms = modified
            .as_deref()
            .and_then(|time| DateTime::parse_from_rfc3339(time.trim()).ok())
            .ok_or_else(|| Failure::Answer(format!("key {:?} has time {modified:?}", key())))?
            .timestamp_millis();
        Ok(object)
    }

    fn error(&mut self) -> Result<ErrorDocument, Failure> {
        let mut error = ErrorDocument::default();
        while let Child::Element(name) = self.child()? {
            match name.as_str() {
                "Code" => error.code = shorten(&self.string()?, CODE_CHARS_MAX),
                "Message" => error.message = shorten(&self.string()?, MESSAGE_CHARS_MAX),
                "Region" => error.region = Some(self.string()?),
                _ => self.skip()?,
            }
        }
        Ok(error)
    }
}

fn is_truncated(told: Option<&str>) -> Result<bool, Failure> {
    match told.map(|told| told.trim().to_ascii_lowercase()).as_deref() {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        _ => Err(Failure::Answer(format!(
            "a page does not say whether it is the last: IsTruncated is {}",
            told.map_or("missing".to_owned(), |told| format!("{told:?}"))
        ))),
    }
}

/// A tag without its quotes; weak and empty tags are none.
fn strong(tag: &str) -> Option<String> {
    let tag = tag.trim();
    if tag.starts_with("W/") {
        return None;
    }
    let tag = tag.trim_matches('"');
    (!tag.is_empty()).then(|| tag.to_owned())
}

#[cfg(test)]
mod tests;
