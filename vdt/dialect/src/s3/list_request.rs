//! What LIST version 1 and 2 have in common: how a page is asked for, and what of it is written down.

use std::time::SystemTime;

use ::http::Extensions;
use chrono::{DateTime, SubsecRound, Utc};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use s3s::dto::{CommonPrefix, ETag, EncodingType, Object, ObjectStorageClass, Timestamp};
use s3s::{S3Result, s3_error};

use super::list::{Item, Page};
use crate::answer::EntityTag;
use crate::key::encode;

/// Most items of a page, as in S3; also what is given when the client names no number.
const MAX_KEYS: u16 = 1000;

/// Starts every continuation token, so that a token of something else is refused.
const TOKEN_MARK: &str = "k1.";

/// How many items a page of LIST may have, in place of S3's thousand: an extension of requests that come by a way of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageKeys(pub u16);

impl PageKeys {
    fn of(extensions: &Extensions) -> i32 {
        let Self(max_keys) = extensions.get().copied().unwrap_or(Self(MAX_KEYS));
        max_keys.into()
    }
}

/// What LIST version 1 and 2 have in common, as asked for.
pub(super) struct ListRequest {
    pub(super) bucket: String,
    pub(super) prefix: String,
    pub(super) delimiter: Option<String>,
    pub(super) after: String,
    pub(super) max_keys: i32,
    url: bool,
}

impl ListRequest {
    pub(super) fn new(
        bucket: String,
        prefix: Option<String>,
        delimiter: Option<String>,
        max_keys: Option<i32>,
        encoding: Option<&EncodingType>,
        extensions: &Extensions,
    ) -> S3Result<Self> {
        let url = match encoding.map(EncodingType::as_str) {
            None | Some("") => false,
            Some(EncodingType::URL) => true,
            Some(_) => return Err(s3_error!(InvalidArgument, "encoding-type is url or absent")),
        };
        let page_keys = PageKeys::of(extensions);
        let max_keys = max_keys.unwrap_or(page_keys);
        if max_keys < 0 {
            return Err(s3_error!(
                InvalidArgument,
                "max-keys is a number from 0 to 1000"
            ));
        }
        Ok(Self {
            bucket,
            prefix: prefix.unwrap_or_default(),
            delimiter: delimiter.filter(|delimiter| !delimiter.is_empty()),
            after: String::new(),
            max_keys: max_keys.min(page_keys),
            url,
        })
    }

    /// Encodes a key or prefix as the client asked for.
    pub(super) fn text(&self, key: &str) -> String {
        if self.url {
            encode(key)
        } else {
            key.to_owned()
        }
    }

    pub(super) fn encoding(&self) -> Option<EncodingType> {
        self.url
            .then(|| EncodingType::from_static(EncodingType::URL))
    }

    /// Splits a page into the two lists of an answer.
    pub(super) fn lists(&self, page: Page) -> (Vec<Object>, Vec<CommonPrefix>) {
        let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
        for item in page.items {
            match item {
                Item::CommonPrefix(prefix) => {
                    prefixes.push(CommonPrefix {
                        prefix: Some(self.text(&prefix)),
                    });
                }
                Item::Object { key, meta } => objects.push(Object {
                    key: Some(self.text(&key)),
                    size: i64::try_from(meta.size).ok(),
                    last_modified: Some(Timestamp::from(whole_seconds(meta.last_modified))),
                    e_tag: meta
                        .e_tag
                        .as_deref()
                        .and_then(EntityTag::of_store)
                        .map(|tag| {
                            let opaque = tag.opaque().to_owned();
                            if tag.is_weak() {
                                ETag::Weak(opaque)
                            } else {
                                ETag::Strong(opaque)
                            }
                        }),
                    storage_class: Some(ObjectStorageClass::from_static(
                        ObjectStorageClass::STANDARD,
                    )),
                    ..Object::default()
                }),
            }
        }
        (objects, prefixes)
    }
}

/// A time as HEAD tells it too (RFC 9110, section 5.6.7, has no fractions): Spark takes the times of its history from there, and looks them up in a listing.
fn whole_seconds(time: DateTime<Utc>) -> SystemTime {
    time.trunc_subsecs(0).into()
}

/// The continuation token of a page that ended with `name`.
pub(super) fn token(name: &str) -> String {
    format!(
        "{TOKEN_MARK}{}",
        utf8_percent_encode(name, NON_ALPHANUMERIC)
    )
}

/// What the page before ended with.
pub(super) fn token_key(token: &str) -> S3Result<String> {
    let key = token
        .strip_prefix(TOKEN_MARK)
        .and_then(|key| percent_decode_str(key).decode_utf8().ok())
        .filter(|key| !key.is_empty());
    match key {
        Some(key) => Ok(key.into_owned()),
        None => Err(s3_error!(
            InvalidArgument,
            "the continuation token is not one of ours"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_tells_times_as_head_does() {
        let time = DateTime::from_timestamp_millis(1_750_000_000_999).unwrap();
        let second = DateTime::from_timestamp(1_750_000_000, 0).unwrap();
        assert_eq!(whole_seconds(time), SystemTime::from(second));
    }
}
