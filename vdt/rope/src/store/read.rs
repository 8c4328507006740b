//! One read of a source object: a reference, checked.
//!
//! Invariant 2, never a wrong byte, is kept here. The read carries `If-Match` and the version; the response's ETag, size
//! and range are compared with the listing's; the bytes are counted, and the last chunk is held back until the source
//! has ended, so that a body that is too long fails before its end is passed on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, Result};

use super::context::ReadContext;
use super::error::{Drift, DriftReason, RopeStoreError};
use super::{Shared, paths};
use crate::segment::{Reference, SourceObject};

/// Reads the references of one virtual file.
#[derive(Debug, Clone)]
pub(super) struct SourceReader {
    pub(super) shared: Arc<Shared>,
    /// The virtual file, as shown.
    pub(super) location: Arc<Path>,
}

impl SourceReader {
    /// Opens a reference. The object is the listed one when this returns.
    async fn open(
        self,
        reference: Reference,
        context: ReadContext,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let object = &reference.object;
        let Some(path) = paths::source_path(object) else {
            let (source_id, key) = (Arc::clone(&object.source), object.key.to_string());
            return Err(RopeStoreError::SourceKey { source_id, key }.into());
        };
        let mut options = GetOptions {
            range: Some(GetRange::Bounded(reference.range())),
            if_match: object.etag.as_deref().map(Into::into),
            version: object.version.as_deref().map(Into::into),
            ..GetOptions::default()
        };
        options.extensions.insert(context);
        let result = match self.shared.origin.get_opts(&path, options).await {
            Ok(result) => result,
            Err(error) => return Err(self.explain(object, &path, error).await),
        };
        if let Some(reason) = difference(object, &result.meta) {
            return Err(self.drift(object, reason));
        }
        if result.range != reference.range() {
            return Err(RopeStoreError::SourceRange {
                source_id: Arc::clone(&object.source),
                key: object.key.to_string(),
                expected: reference.range(),
                found: result.range,
            }
            .into());
        }
        Ok(result.into_stream())
    }

    /// An error of a source, told as a change where it is one.
    fn failed(&self, object: &SourceObject, error: Error) -> Error {
        match error {
            Error::Precondition { .. } => self.drift(object, DriftReason::Refused),
            Error::NotFound { .. } => self.drift(object, DriftReason::Gone),
            other => RopeStoreError::source(object, other).into(),
        }
    }

    /// As [`Self::failed`]. Without an ETag the source could not refuse: a range past the end of an object that has
    /// shrunk is an error of any kind, and only a HEAD tells.
    async fn explain(&self, object: &SourceObject, path: &Path, error: Error) -> Error {
        let is_told = matches!(error, Error::Precondition { .. } | Error::NotFound { .. });
        if !is_told
            && object.etag.is_none()
            && object.version.is_none()
            && let Ok(meta) = self.shared.origin.head(path).await
            && let Some(reason) = difference(object, &meta)
        {
            return self.drift(object, reason);
        }
        self.failed(object, error)
    }

    fn drift(&self, object: &SourceObject, reason: DriftReason) -> Error {
        let (source_id, key) = (Arc::clone(&object.source), object.key.to_string());
        // Whoever answers the reader says it aloud.
        tracing::debug!(location = %self.location, source_id = %source_id, key, reason = %reason, "source object changed");
        if let Some(on_drift) = &self.shared.options.on_drift {
            on_drift(Drift {
                location: Path::clone(&self.location),
                source: Arc::clone(&source_id),
                key: key.clone(),
                reason: reason.clone(),
            });
        }
        Error::Precondition {
            path: self.location.to_string(),
            source: Box::new(RopeStoreError::Changed {
                source_id,
                key,
                reason,
            }),
        }
    }
}

/// What a response tells of an object that is not as listed.
fn difference(object: &SourceObject, found: &ObjectMeta) -> Option<DriftReason> {
    if let Some(listed) = object.etag.as_deref() {
        let etag = found.e_tag.as_deref().map(unquoted);
        if etag != Some(listed) {
            return Some(DriftReason::Etag {
                listed: listed.into(),
                found: etag.map(Into::into),
            });
        }
    } else {
        let modified = found.last_modified.timestamp_millis();
        if modified != object.last_modified_ms {
            return Some(DriftReason::LastModified {
                listed: object.last_modified_ms,
                found: modified,
            });
        }
    }
    (found.size != object.size).then_some(DriftReason::Size {
        listed: object.size,
        found: found.size,
    })
}

/// A strong entity tag without its quotes (RFC 9110 8.8.3). A weak one keeps its `W/` and so equals none of a listed one.
pub fn unquoted(tag: &str) -> &str {
    tag.strip_prefix('"')
        .and_then(|tag| tag.strip_suffix('"'))
        .unwrap_or(tag)
}

/// A read in flight. It does nothing unless it is polled; dropping it cancels it.
pub(super) struct Read {
    reader: SourceReader,
    object: Arc<SourceObject>,
    state: State,
    promised: u64,
    received: u64,
    /// Bytes that were taken by [`Self::pop`].
    passed: u64,
    /// The last promised chunk, until the source has ended.
    held: Bytes,
    buffer: VecDeque<Bytes>,
}

enum State {
    Opening(BoxFuture<'static, Result<BoxStream<'static, Result<Bytes>>>>),
    Streaming(BoxStream<'static, Result<Bytes>>),
    Ended,
    Failed(Option<Error>),
}

impl Read {
    pub(super) fn new(reader: &SourceReader, reference: Reference, context: ReadContext) -> Self {
        let object = Arc::clone(&reference.object);
        let promised = reference.length;
        let state = State::Opening(reader.clone().open(reference, context).boxed());
        Self {
            reader: reader.clone(),
            object,
            state,
            promised,
            received: 0,
            passed: 0,
            held: Bytes::new(),
            buffer: VecDeque::new(),
        }
    }

    /// Whether the source has not answered yet.
    pub(super) fn is_opening(&self) -> bool {
        matches!(self.state, State::Opening(_))
    }

    /// Whether polling would bring nothing more.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Ended | State::Failed(_))
    }

    /// Whether it failed. What came before is still buffered.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed(_))
    }

    /// The error, once.
    pub(super) fn take_error(&mut self) -> Option<Error> {
        match &mut self.state {
            State::Failed(error) => error.take(),
            State::Opening(_) | State::Streaming(_) | State::Ended => None,
        }
    }

    /// The next chunk that has come.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let chunk = self.buffer.pop_front()?;
        self.passed += chunk.len() as u64;
        Some(chunk)
    }

    /// Bytes that are still to be taken.
    pub(super) fn left(&self) -> u64 {
        self.promised - self.passed
    }

    /// Whether a chunk has come.
    pub(super) fn has_chunk(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Polls for one event: the answer, a chunk (its bytes are buffered and returned), the end, a failure.
    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<u64> {
        match &mut self.state {
            State::Opening(opening) => {
                self.state = match ready!(opening.poll_unpin(cx)) {
                    Ok(stream) => State::Streaming(stream),
                    Err(error) => State::Failed(Some(error)),
                };
                Poll::Ready(0)
            }
            State::Streaming(stream) => {
                let event = ready!(stream.poll_next_unpin(cx));
                Poll::Ready(self.receive(event))
            }
            State::Ended | State::Failed(_) => Poll::Ready(0),
        }
    }

    /// Takes what the source sent; the bytes that are buffered now and were not before.
    fn receive(&mut self, event: Option<Result<Bytes>>) -> u64 {
        match event {
            Some(Ok(chunk)) => {
                self.received += chunk.len() as u64;
                if self.received > self.promised {
                    self.fail_length(true);
                } else if self.received == self.promised && !chunk.is_empty() {
                    self.held = chunk;
                } else if !chunk.is_empty() {
                    let bytes = chunk.len() as u64;
                    self.buffer.push_back(chunk);
                    return bytes;
                }
                0
            }
            Some(Err(error)) => {
                self.state = State::Failed(Some(self.reader.failed(&self.object, error)));
                0
            }
            None if self.received < self.promised => {
                self.fail_length(false);
                0
            }
            None => {
                self.state = State::Ended;
                let last = std::mem::take(&mut self.held);
                let bytes = last.len() as u64;
                self.buffer.push_back(last);
                bytes
            }
        }
    }

    fn fail_length(&mut self, is_more: bool) {
        let error = RopeStoreError::SourceLength {
            source_id: Arc::clone(&self.object.source),
            key: self.object.key.to_string(),
            expected: self.promised,
            found: self.received,
            is_more,
        };
        self.state = State::Failed(Some(error.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_no_part_of_a_tag() {
        assert_eq!(unquoted("\"abc\""), "abc");
        assert_eq!(unquoted("abc"), "abc");
        assert_eq!(unquoted("W/\"abc\""), "W/\"abc\"");
        assert_eq!(unquoted("\""), "\"");
    }
}
