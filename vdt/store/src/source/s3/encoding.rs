//! How a service encodes keys in a listing.
//!
//! Keys are asked for with `encoding-type=url`, since XML cannot hold every character. What comes then is of two kinds, and
//! they differ in what a plus is:
//!
//! ```text
//!   key            AWS, MinIO, SeaweedFS     RFC 3986  a plus as it is
//!   "a b"          a+b                       a%20b     a%20b
//!   "a+b"          a%2Bb                     a%2Bb     a+b
//! ```
//!
//! A page with `%20` or `%2B` in it tells which it is, and one without a plus need not tell. For any other page the service
//! is asked: a listing tells the prefix that it was asked for, encoded as keys are ([`PROBE`]).

use std::borrow::Cow;

/// What the prefix of a listing is lengthened by to find out how the service encodes a space and a plus.
pub(super) const PROBE: &str = " +";

/// How keys are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyEncoding {
    /// As they are.
    Plain,
    /// `%XX`, and a plus is a plus (RFC 3986).
    Percent,
    /// `%XX`, and a plus is a space (`application/x-www-form-urlencoded`).
    Form,
}

impl KeyEncoding {
    /// What the texts of one page are encoded in, given its `EncodingType`; `None` if a plus in them may be either.
    pub(super) fn detect<'a>(
        encoding_type: &str,
        mut texts: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Option<Self> {
        let any = |part: &[u8]| texts.clone().any(|text| contains(text, part));
        if encoding_type != "url" {
            Some(Self::Plain)
        } else if any(b"%20") {
            Some(Self::Percent)
        } else if any(b"%2B") || any(b"%2b") || !texts.any(|text| text.contains(&b'+')) {
            Some(Self::Form)
        } else {
            None
        }
    }

    /// What the answer to a probe shows: the prefix that ended in [`PROBE`]. A service that does not tell it is taken for one
    /// like AWS.
    pub(super) fn of_probe(prefix: &[u8]) -> Self {
        if prefix.ends_with(b"%20+") || prefix.to_ascii_uppercase().ends_with(b"%20%2B") {
            Self::Percent
        } else {
            Self::Form
        }
    }

    /// The key that a text stands for; bytes, since percent-encoding can hold what is not UTF-8.
    pub(super) fn decode(self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => text.to_vec(),
            Self::Percent => percent_decoded(text),
            Self::Form => {
                let spaced = text.iter().map(|byte| match byte {
                    b'+' => b' ',
                    other => *other,
                });
                percent_decoded(&spaced.collect::<Vec<_>>())
            }
        }
    }
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    Cow::from(percent_encoding::percent_decode(text)).into_owned()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detected(texts: &[&str]) -> Option<KeyEncoding> {
        KeyEncoding::detect("url", texts.iter().map(|text| text.as_bytes()))
    }

    #[test]
    fn a_page_shows_what_a_plus_is_or_does_not() {
        assert_eq!(detected(&["a+b", "c%2Bd"]), Some(KeyEncoding::Form));
        assert_eq!(detected(&["a+b", "c%20d"]), Some(KeyEncoding::Percent));
        assert_eq!(detected(&["ab", "c%2520d"]), Some(KeyEncoding::Form));
        assert_eq!(detected(&["a+b", "c%2520d"]), None);
        assert_eq!(
            KeyEncoding::detect("", [b"a+b".as_slice()].into_iter()),
            Some(KeyEncoding::Plain)
        );
    }

    #[test]
    fn a_probe_tells() {
        assert_eq!(KeyEncoding::of_probe(b"x/%20+"), KeyEncoding::Percent);
        assert_eq!(KeyEncoding::of_probe(b"x/%20%2b"), KeyEncoding::Percent);
        assert_eq!(KeyEncoding::of_probe(b"x/+%2B"), KeyEncoding::Form);
        assert_eq!(
            KeyEncoding::of_probe(b"x/ +"),
            KeyEncoding::Form,
            "a prefix as it was sent tells nothing"
        );
        assert_eq!(KeyEncoding::of_probe(b""), KeyEncoding::Form);
    }

    #[test]
    fn texts_are_decoded() {
        assert_eq!(KeyEncoding::Form.decode(b"a+b%2Bc"), b"a b+c");
        assert_eq!(KeyEncoding::Percent.decode(b"a+b%20c"), b"a+b c");
        assert_eq!(KeyEncoding::Plain.decode(b"a+b%20c"), b"a+b%20c");
        assert_eq!(KeyEncoding::Form.decode(b"a%FF"), b"a\xff");
    }
}
