//! Paths of the HTTP dialect, parsed at the door.
//!
//! A segment is percent-decoded by itself and must then be a plain name. Refused with 400, never repaired: `.` and `..`, empty segments, a
//! slash or backslash that came in percent-encoded, control characters, broken percent-encoding, bytes that are not UTF-8.
//! So no spelling of a path reaches another object than the one it spells.

use std::borrow::Cow;

use object_store::path::Path;
use percent_encoding::percent_decode_str;

use super::ROOT;
use crate::key::exact_path;

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// Above all catalogs.
    Root,
    /// A folder: the path ended with a slash.
    Folder(Path),
    /// A file, or a folder without its slash.
    Object(Path),
}

/// Why a path is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadPath {
    #[error("the path holds a percent sign that encodes nothing, or bytes that are not UTF-8")]
    Encoding,
    #[error(
        "the path holds an empty segment, \".\", \"..\", an encoded slash, a backslash or a control character"
    )]
    Segment,
}

impl Location {
    /// Parses the path of a request, which starts with [`ROOT`].
    pub(crate) fn parse(path: &str) -> Result<Self, BadPath> {
        let rest = path.strip_prefix(ROOT).ok_or(BadPath::Segment)?;
        if rest.is_empty() || rest == "/" {
            return Ok(Self::Root);
        }
        let rest = rest.strip_prefix('/').ok_or(BadPath::Segment)?;
        let (rest, folder) = match rest.strip_suffix('/') {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let decoded = if rest.contains('%') {
            let segments = rest
                .split('/')
                .map(segment)
                .collect::<Result<Vec<_>, _>>()?;
            Cow::Owned(segments.join("/"))
        } else {
            // Most paths stand for themselves.
            for name in rest.split('/') {
                plain(name)?;
            }
            Cow::Borrowed(rest)
        };
        let path = exact_path(&decoded).ok_or(BadPath::Segment)?;
        Ok(if folder {
            Self::Folder(path)
        } else {
            Self::Object(path)
        })
    }
}

fn segment(encoded: &str) -> Result<String, BadPath> {
    let mut rest = encoded.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        match rest.get(at + 1..at + 3) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => {
                rest = rest.get(at + 3..).unwrap_or_default();
            }
            _ => return Err(BadPath::Encoding),
        }
    }
    let name = percent_decode_str(encoded)
        .decode_utf8()
        .map_err(|_| BadPath::Encoding)?;
    plain(&name)?;
    Ok(name.into_owned())
}

/// Refuses what is no plain name.
fn plain(name: &str) -> Result<(), BadPath> {
    let is_plain = !name.is_empty()
        && name != "."
        && name != ".."
        && !name
            .chars()
            .any(|c| c == '/' || c == '\\' || c.is_control());
    if is_plain {
        Ok(())
    } else {
        Err(BadPath::Segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_are_taken() {
        let path = |text: &str| exact_path(text).expect("a path");
        let cases = [
            ("/v1", Location::Root),
            ("/v1/", Location::Root),
            ("/v1/main", Location::Object(path("main"))),
            ("/v1/main/docs/t/", Location::Folder(path("main/docs/t"))),
            (
                "/v1/main/docs/t/a%20b%25.json",
                Location::Object(path("main/docs/t/a b%.json")),
            ),
            (
                "/v1/main/docs/t/...",
                Location::Object(path("main/docs/t/...")),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(Location::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn tricks_are_refused() {
        use BadPath::{Encoding, Segment};
        let cases = [
            ("/v1/main/../x", Segment),
            ("/v1/main/%2e%2e/x", Segment),
            ("/v1/main/.%2E/x", Segment),
            ("/v1/main/./x", Segment),
            ("/v1/main//x", Segment),
            ("/v1//", Segment),
            ("/v1/main/a%2fb", Segment),
            ("/v1/main/a%5Cb", Segment),
            ("/v1/main/a\\b", Segment),
            ("/v1/main/a%00", Segment),
            ("/v1/main/a%0a", Segment),
            ("/v1/main/%C2%85", Segment),
            ("/v1/main/a%", Encoding),
            ("/v1/main/a%2", Encoding),
            ("/v1/main/a%zz", Encoding),
            ("/v1/main/%ff", Encoding),
        ];
        for (text, expected) in cases {
            assert_eq!(Location::parse(text), Err(expected), "{text}");
        }
    }
}
