//! Which keys can be served.
//!
//! A key is served if `object_store` parses it into a [`Path`] that prints as the very same key. Whatever fails that is
//! told apart here by reason, for people; the parse itself has the last word.

use object_store::path::Path;

use super::SkipReason;

/// Says why a key cannot be served; `None` for one that can.
pub(super) fn unservable(key: &str, size: u64) -> Option<SkipReason> {
    if key.bytes().any(|byte| byte.is_ascii_control()) {
        return Some(SkipReason::ControlCharacter);
    }
    if key.starts_with('/') {
        return Some(SkipReason::LeadingSlash);
    }
    if key.contains("//") {
        return Some(SkipReason::EmptySegment);
    }
    if key.ends_with('/') {
        return Some(if size == 0 {
            SkipReason::FolderMarker
        } else {
            SkipReason::TrailingSlash
        });
    }
    if key
        .split('/')
        .any(|segment| segment == "." || segment == "..")
    {
        return Some(SkipReason::DotSegment);
    }
    match Path::parse(key) {
        Ok(path) if !key.is_empty() && path.as_ref() == key => None,
        Ok(_) | Err(_) => Some(SkipReason::Unservable),
    }
}

/// Longest example printed, in bytes of the name.
const EXAMPLE_BYTES: usize = 120;

/// Makes a name printable: control characters and whatever is not UTF-8 are escaped, long names are cut.
pub(super) fn example(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name[..name.len().min(EXAMPLE_BYTES)].utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                c if c.is_ascii_control() => text.push_str(&format!("\\x{:02x}", u32::from(c))),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    if name.len() > EXAMPLE_BYTES {
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_unservable_key_has_its_reason() {
        for (key, reason) in [
            ("a\nb", SkipReason::ControlCharacter),
            ("a\u{7f}", SkipReason::ControlCharacter),
            ("/a", SkipReason::LeadingSlash),
            ("a//b", SkipReason::EmptySegment),
            ("a/", SkipReason::FolderMarker),
            ("a/../b", SkipReason::DotSegment),
            ("./a", SkipReason::DotSegment),
            ("", SkipReason::Unservable),
        ] {
            assert_eq!(unservable(key, 0), Some(reason), "{key:?}");
        }
        assert_eq!(unservable("a/", 1), Some(SkipReason::TrailingSlash));
    }

    #[test]
    fn odd_but_servable_keys_pass() {
        for key in [
            "a b",
            " a",
            "a ",
            "a%20b",
            "a+b",
            "a#1",
            "\"'",
            "ü/日本",
            ".a/..b",
            "...",
            "a\\b",
            "~",
            "a?b*c",
        ] {
            assert_eq!(unservable(key, 1), None, "{key:?}");
            assert_eq!(Path::parse(key).unwrap().as_ref(), key);
        }
    }

    #[test]
    fn examples_are_printable_and_short() {
        assert_eq!(example(b"a\nb\xff\xc3\xbc"), "a\\x0ab\\xff\u{fc}");
        assert!(example(&[b'x'; 5000]).len() < 200);
    }
}
