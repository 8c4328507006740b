//! Keys: between the text of a request and the store's paths.

use object_store::path::Path;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but RFC 3986's unreserved characters and the slash.
const KEY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

/// Percent-encodes a key, keeping its slashes.
pub(crate) fn encode(key: &str) -> String {
    utf8_percent_encode(key, KEY).to_string()
}

/// The store's path of this very text, `None` when the store has no such path.
///
/// [`Path::parse`] drops a leading and a trailing slash, which would give one object several names.
pub(crate) fn exact_path(text: &str) -> Option<Path> {
    Path::parse(text)
        .ok()
        .filter(|path| path.as_ref() == text && !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_text_is_a_path() {
        for text in ["a", "a/b", "a b/ä+%.json"] {
            assert_eq!(
                exact_path(text).map(|path| path.to_string()).as_deref(),
                Some(text)
            );
        }
        for text in [
            "", "/", "/a", "a/", "a//b", "a/../b", "..", "./a", "a\nb", "a/\u{0}",
        ] {
            assert_eq!(exact_path(text), None, "{text:?}");
        }
    }

    #[test]
    fn keys_are_encoded_like_paths_of_a_url() {
        assert_eq!(encode("a b/ä+%~.json"), "a%20b/%C3%A4%2B%25~.json");
    }
}
