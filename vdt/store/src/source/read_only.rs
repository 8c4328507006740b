//! A store that reads and does nothing else.

use std::fmt;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetResult, ListResult, ObjectMeta, ObjectStore, Result};

/// What a source must be able to do: one ranged, conditional read.
#[async_trait]
pub(super) trait Read: fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// Reads a range, or only tells the facts when `options.head` is set.
    async fn read(&self, location: &Path, options: GetOptions) -> Result<GetResult>;
}

/// An [`ObjectStore`] of a source. Sources belong to somebody else: nothing is written, and listing them is the business of
/// [`Source::list`](super::Source::list), so a listing through the store is refused too.
#[derive(Debug)]
pub(super) struct ReadOnly<R>(pub(super) R);

impl<R: Read> fmt::Display for ReadOnly<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

fn refused(what: &str) -> Error {
    Error::NotSupported {
        source: format!("a source is only read: {what} is refused").into(),
    }
}

#[async_trait]
impl<R: Read> ObjectStore for ReadOnly<R> {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.read(location, options).await
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::once(async { Err(refused("list")) }).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(refused("list"))
    }

    vdt_rope::refuse_writes!(refused);
}

/// Writes every entity tag of an `If-Match` or `If-None-Match` value in quotes, as HTTP wants it (RFC 9110 8.8.3).
pub(super) fn quoted(tags: &str) -> String {
    if tags.trim() == "*" {
        return tags.to_owned();
    }
    let quote = |tag: &str| {
        let tag = tag.trim();
        if tag.ends_with('"') {
            tag.to_owned()
        } else {
            format!("\"{tag}\"")
        }
    };
    tags.split(',').map(quote).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn tags_are_quoted_once() {
        for (given, sent) in [
            ("a", "\"a\""),
            ("\"a\"", "\"a\""),
            ("*", "*"),
            ("a, \"b\"", "\"a\", \"b\""),
            ("W/\"a\"", "W/\"a\""),
        ] {
            assert_eq!(quoted(given), sent);
        }
    }
}
