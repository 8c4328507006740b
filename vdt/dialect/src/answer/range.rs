//! One byte range of a Range header (RFC 9110 14.1.2): `a-b`, `a-`, `-n`.
//!
//! Refused with 416 rather than ignored: malformed ranges and more than one range. Ignoring them would send the whole
//! object, which may be a gigabyte, to a client that asked for something else. Preconditions and If-Range come first all the same. A unit other than bytes is ignored, as it must be.

use std::ops::Range;

use ::http::header::{HeaderMap, RANGE};
use object_store::GetRange;

/// The Range header is not one range of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the Range header is not one range of bytes: bytes=<first>-<last>, bytes=<first>- or bytes=-<length>"
)]
pub struct RangeMalformed;

/// A range as asked for, before the object's size is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeSpec {
    /// Bytes `first` to `last`, both inclusive.
    Closed {
        /// First byte.
        first: u64,
        /// Last byte.
        last: u64,
    },
    /// From byte `first` to the end.
    From {
        /// First byte.
        first: u64,
    },
    /// The last `length` bytes.
    Last {
        /// Bytes.
        length: u64,
    },
}

impl RangeSpec {
    /// Parses the Range header, `None` when there is none or its unit is not bytes.
    ///
    /// # Errors
    /// [`RangeMalformed`].
    pub fn parse(headers: &HeaderMap) -> Result<Option<Self>, RangeMalformed> {
        let mut values = headers.get_all(RANGE).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let text = value.to_str().map_err(|_| RangeMalformed)?;
        let Some((unit, set)) = text.split_once('=') else {
            return Err(RangeMalformed);
        };
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return Ok(None);
        }
        if values.next().is_some() {
            return Err(RangeMalformed);
        }
        Self::parse_one(set.trim()).map(Some).ok_or(RangeMalformed)
    }

    fn parse_one(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        match (first, last) {
            ("", length) => Some(Self::Last {
                length: digits(length)?,
            }),
            (first, "") => Some(Self::From {
                first: digits(first)?,
            }),
            (first, last) => {
                let (first, last) = (digits(first)?, digits(last)?);
                (first <= last).then_some(Self::Closed { first, last })
            }
        }
    }

    /// Resolves against an object of `size` bytes: a half-open range that is not empty, or `None` (416).
    pub(crate) fn resolve(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::Closed { first, last } => first..last.saturating_add(1).min(size),
            Self::From { first } => first..size,
            Self::Last { length } => size.saturating_sub(length)..size,
        };
        (range.start < range.end).then_some(range)
    }

    /// The same range in the store's terms.
    pub fn to_get_range(self) -> GetRange {
        match self {
            // `first` may be the greatest u64; the saturated, empty range is an error of the store and becomes 416.
            Self::Closed { first, last } => GetRange::Bounded(first..last.saturating_add(1)),
            Self::From { first } => GetRange::Offset(first),
            Self::Last { length } => GetRange::Suffix(length),
        }
    }
}

/// Parses 1*DIGIT. More than u64 holds is as far beyond any object as the greatest u64.
fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::HeaderValue;

    fn parse(text: &str) -> Result<Option<RangeSpec>, RangeMalformed> {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_str(text).expect("a header"));
        RangeSpec::parse(&headers)
    }

    #[test]
    fn every_form_resolves() {
        let cases = [
            ("bytes=0-0", 10, Some(0..1)),
            ("bytes=2-5", 10, Some(2..6)),
            ("bytes=2-500", 10, Some(2..10)),
            ("bytes=9-", 10, Some(9..10)),
            ("bytes=-3", 10, Some(7..10)),
            ("bytes=-30", 10, Some(0..10)),
            ("Bytes= 1-2 ", 10, Some(1..3)),
            ("bytes=0-99999999999999999999999", 10, Some(0..10)),
            ("bytes=10-", 10, None),
            ("bytes=10-12", 10, None),
            ("bytes=-0", 10, None),
            ("bytes=0-", 0, None),
            ("bytes=-1", 0, None),
            ("bytes=18446744073709551615-18446744073709551615", 10, None),
        ];
        for (text, size, expected) in cases {
            let spec = parse(text).expect("well formed").expect("bytes");
            assert_eq!(spec.resolve(size), expected, "{text} of {size}");
        }
    }

    #[test]
    fn malformed_ranges_are_refused() {
        for text in [
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-2",
            "bytes=1",
            "bytes=0-1,3-4",
            "bytes=+1-2",
            "bytes=1--2",
            "bytes=-1-",
        ] {
            assert_eq!(parse(text), Err(RangeMalformed), "{text}");
        }
    }

    #[test]
    fn other_units_are_ignored() {
        assert_eq!(parse("rows=1-2").expect("ignored"), None);
    }
}
