//! Preconditions of a read, evaluated in the order of RFC 9110 13.2.2.
//!
//! 1. If-Match, else If-Unmodified-Since: false is 412.
//! 2. If-None-Match, else If-Modified-Since: false is 304.
//! 3. If-Range: false drops the Range header.
//!
//! Dates that cannot be parsed are ignored, but for that of an If-Range, which then is true of nothing; so is one of several tags or of `*`, which
//! RFC 9110 13.1.5 does not know. Last-Modified is compared in whole seconds, as it is sent.

use ::http::header::{
    HeaderMap, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE,
};
use chrono::{DateTime, Utc};

use super::Failure;
use super::date::parse_http_date;
use super::etag::{EntityTag, EntityTags};

#[derive(Debug, Default)]
pub(crate) struct Conditions {
    if_match: Option<EntityTags>,
    if_unmodified_since: Option<DateTime<Utc>>,
    if_none_match: Option<EntityTags>,
    if_modified_since: Option<DateTime<Utc>>,
    if_range: Option<IfRange>,
}

#[derive(Debug)]
enum IfRange {
    /// `None` is a tag that no object has.
    Tag(Option<EntityTag>),
    Date(DateTime<Utc>),
}

impl Conditions {
    pub(crate) fn parse(headers: &HeaderMap) -> Self {
        let date = |name| joined(headers, name).as_deref().and_then(parse_http_date);
        let tags = |name| joined(headers, name).as_deref().map(EntityTags::parse);
        Self {
            if_match: tags(IF_MATCH),
            if_unmodified_since: date(IF_UNMODIFIED_SINCE),
            if_none_match: tags(IF_NONE_MATCH),
            if_modified_since: date(IF_MODIFIED_SINCE),
            if_range: joined(headers, IF_RANGE).map(|text| match parse_http_date(&text) {
                Some(at) => IfRange::Date(at),
                None => IfRange::Tag(EntityTag::of_client(&text)),
            }),
        }
    }

    /// Reports whether the request has no condition.
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            if_match,
            if_unmodified_since,
            if_none_match,
            if_modified_since,
            if_range,
        } = self;
        if_match.is_none()
            && if_unmodified_since.is_none()
            && if_none_match.is_none()
            && if_modified_since.is_none()
            && if_range.is_none()
    }

    /// Reports whether metadata should be fetched before the body: a 304 is likely, or the range may be dropped.
    pub(crate) fn need_metadata_first(&self) -> bool {
        self.if_none_match.is_some() || self.if_modified_since.is_some() || self.if_range.is_some()
    }

    /// Evaluates steps 1 and 2.
    ///
    /// # Errors
    /// [`Failure::PreconditionFailed`] or [`Failure::NotModified`].
    pub(crate) fn evaluate(
        &self,
        tag: Option<&EntityTag>,
        last_modified: DateTime<Utc>,
    ) -> Result<(), Failure> {
        let modified = last_modified.timestamp();
        let unchanged = match (&self.if_match, self.if_unmodified_since) {
            (Some(tags), _) => tags.contain(tag, EntityTag::strong_eq),
            (None, Some(since)) => modified <= since.timestamp(),
            (None, None) => true,
        };
        if !unchanged {
            return Err(Failure::PreconditionFailed);
        }
        let news = match (&self.if_none_match, self.if_modified_since) {
            (Some(tags), _) => !tags.contain(tag, EntityTag::weak_eq),
            (None, Some(since)) => modified > since.timestamp(),
            (None, None) => true,
        };
        if news {
            Ok(())
        } else {
            Err(Failure::NotModified {
                validators: HeaderMap::new(),
            })
        }
    }

    /// Evaluates step 3: whether the Range header counts.
    pub(crate) fn range_applies(
        &self,
        tag: Option<&EntityTag>,
        last_modified: DateTime<Utc>,
    ) -> bool {
        match &self.if_range {
            None => true,
            Some(IfRange::Tag(wanted)) => wanted
                .as_ref()
                .zip(tag)
                .is_some_and(|(wanted, tag)| wanted.strong_eq(tag)),
            Some(IfRange::Date(at)) => at.timestamp() == last_modified.timestamp(),
        }
    }
}

/// All values of a header, joined by commas as RFC 9110 5.3 allows for lists. A value of other bytes than ASCII counts: what it names is no tag and no
/// date of ours.
fn joined(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let mut values = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    let first = values.next()?.into_owned();
    Some(values.fold(first, |all, value| all + "," + &value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::HeaderValue;

    const AT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    /// The object: tag "t", changed at AT plus half a second.
    fn object() -> (EntityTag, DateTime<Utc>) {
        let at = parse_http_date(AT).expect("a date") + chrono::Duration::milliseconds(500);
        (EntityTag::of_store("t").expect("a tag"), at)
    }

    fn parsed(headers: &[(HeaderName, &'static str)]) -> Conditions {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
            map.append(name, value);
        }
        Conditions::parse(&map)
    }

    fn status(headers: &[(HeaderName, &'static str)]) -> u16 {
        let (tag, at) = object();
        match parsed(headers).evaluate(Some(&tag), at) {
            Ok(()) => 200,
            Err(failure) => failure.status().as_u16(),
        }
    }

    #[test]
    fn preconditions_follow_rfc_9110_13_2_2() {
        let cases: &[(&[(HeaderName, &'static str)], u16)] = &[
            (&[], 200),
            (&[(IF_MATCH, "\"t\"")], 200),
            (&[(IF_MATCH, "t")], 200),
            (&[(IF_MATCH, "*")], 200),
            (&[(IF_MATCH, "\"x\""), (IF_MATCH, "\"t\"")], 200),
            (&[(IF_MATCH, "\"x\"")], 412),
            (&[(IF_MATCH, "\"*\"")], 412),
            (&[(IF_MATCH, "\"\u{e9}\"")], 412),
            (&[(IF_MATCH, "\"\u{e9}\", \"t\"")], 200),
            (&[(IF_NONE_MATCH, "\"*\"")], 200),
            (&[(IF_NONE_MATCH, "\"\u{e9}\"")], 200),
            (&[(IF_UNMODIFIED_SINCE, "\u{e9}")], 200),
            (&[(IF_MATCH, "W/\"t\"")], 412),
            (&[(IF_UNMODIFIED_SINCE, AT)], 200),
            (&[(IF_UNMODIFIED_SINCE, BEFORE)], 412),
            (&[(IF_UNMODIFIED_SINCE, "nonsense")], 200),
            // If-Match present: If-Unmodified-Since is not looked at.
            (&[(IF_MATCH, "\"t\""), (IF_UNMODIFIED_SINCE, BEFORE)], 200),
            (&[(IF_NONE_MATCH, "\"t\"")], 304),
            (&[(IF_NONE_MATCH, "W/\"t\"")], 304),
            (&[(IF_NONE_MATCH, "*")], 304),
            (&[(IF_NONE_MATCH, "\"x\"")], 200),
            (&[(IF_MODIFIED_SINCE, AT)], 304),
            (&[(IF_MODIFIED_SINCE, AFTER)], 304),
            (&[(IF_MODIFIED_SINCE, BEFORE)], 200),
            // If-None-Match present: If-Modified-Since is not looked at.
            (&[(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, AFTER)], 200),
            (&[(IF_MATCH, "\"x\""), (IF_NONE_MATCH, "\"t\"")], 412),
            (&[(IF_MATCH, "\"t\""), (IF_NONE_MATCH, "\"t\"")], 304),
        ];
        for (headers, expected) in cases {
            assert_eq!(status(headers), *expected, "{headers:?}");
        }
    }

    #[test]
    fn a_range_applies_to_the_one_object_that_if_range_names() {
        let (tag, at) = object();
        for (value, expected) in [
            ("\"t\"", true),
            ("t", true),
            (AT, true),
            ("\"x\"", false),
            ("W/\"t\"", false),
            ("*", false),
            ("\"*\"", false),
            ("\"x\", \"t\"", false),
            ("\"t\", \"t\"", false),
            ("\"\u{e9}\"", false),
            ("", false),
            (BEFORE, false),
            (AFTER, false),
        ] {
            let conditions = parsed(&[(IF_RANGE, value)]);
            assert_eq!(
                conditions.range_applies(Some(&tag), at),
                expected,
                "{value}"
            );
            assert!(
                !conditions.range_applies(None, at) || value == AT,
                "{value}"
            );
        }
    }
}
