//! A store that reads and does nothing else.

use std::fmt;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

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

impl<R: Read> ReadOnly<R> {
    fn refuse<T>(&self, what: &str) -> Result<T> {
        Err(Error::NotSupported {
            source: format!("{} is a source: it is only read, {what} is refused", self.0).into(),
        })
    }
}

#[async_trait]
impl<R: Read> ObjectStore for ReadOnly<R> {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.read(location, options).await
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        self.refuse("put")
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.refuse("put")
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        drop(locations);
        let refused = self.refuse("delete");
        stream::once(async { refused }).boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let refused = self.refuse("list");
        stream::once(async { refused }).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        self.refuse("list")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        self.refuse("copy")
    }
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
