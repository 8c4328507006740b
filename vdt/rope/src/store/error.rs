//! What can go wrong, and how it is told.
//!
//! To a client an error is an [`object_store::Error`], whose variant says what kind it is: `NotFound`, `Precondition`
//! (a source changed, or the caller's own condition), `PermissionDenied` (a write), `Generic` for the rest. What happened
//! is a [`RopeStoreError`] inside.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use object_store::Error;
use object_store::path::Path;

use super::STORE;
use crate::name::{FileName, PARQUET_SUFFIX, ROPE_SUFFIX};
use crate::segment::SourceObject;
use crate::stored::StoredError;

/// A source object that is no longer the one that was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// The virtual file that refers to it, as shown.
    pub location: Path,
    /// Id of the source.
    pub source: Arc<str>,
    /// Key of the object.
    pub key: String,
    /// How it was noticed.
    pub reason: DriftReason,
}

/// How a change was noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriftReason {
    /// The object does not exist any more.
    Gone,
    /// The source refused `If-Match`.
    Refused,
    /// The response has another ETag, or none.
    Etag {
        /// ETag in the listing.
        listed: String,
        /// ETag of the response.
        found: Option<String>,
    },
    /// The response tells another size.
    Size {
        /// Bytes in the listing.
        listed: u64,
        /// Bytes by the response.
        found: u64,
    },
    /// The response tells another modification time.
    LastModified {
        /// Unix milliseconds in the listing.
        listed: i64,
        /// Unix milliseconds of the response.
        found: i64,
    },
}

impl fmt::Display for DriftReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("it is gone"),
            Self::Refused => f.write_str("its ETag no longer matches"),
            Self::Etag {
                listed,
                found: Some(found),
            } => write!(f, "its ETag is {found}, not {listed}"),
            Self::Etag {
                listed,
                found: None,
            } => write!(f, "its response has no ETag to compare with {listed}"),
            Self::Size { listed, found } => write!(f, "its size is {found} bytes, not {listed}"),
            Self::LastModified { listed, found } => {
                write!(f, "it was modified at {found} ms, not {listed} ms")
            }
        }
    }
}

/// What a [`RopeStore`](super::RopeStore) has to say beyond an [`object_store::Error`].
#[derive(Debug, thiserror::Error)]
pub enum RopeStoreError {
    /// The source object of a reference changed after it was listed.
    #[error("source object {key} of source {source_id} has changed: {reason}")]
    Changed {
        /// Id of the source.
        source_id: Arc<str>,
        /// Key of the object.
        key: String,
        /// How it was noticed.
        reason: DriftReason,
    },
    /// A source object could not be read.
    #[error("source object {key} of source {source_id} could not be read")]
    Source {
        /// Id of the source.
        source_id: Arc<str>,
        /// Key of the object.
        key: String,
        /// What the source's client said.
        source: Error,
    },
    /// A source answered with another range than it was asked for.
    #[error(
        "source object {key} of source {source_id} was read at {found:?} where {expected:?} was asked for"
    )]
    SourceRange {
        /// Id of the source.
        source_id: Arc<str>,
        /// Key of the object.
        key: String,
        /// Half-open range asked for.
        expected: Range<u64>,
        /// Half-open range of the response.
        found: Range<u64>,
    },
    /// A source sent fewer or more bytes than it promised.
    #[error("source object {key} of source {source_id} sent {found} bytes{} where it promised {expected}", if *.is_more { " or more" } else { "" })]
    SourceLength {
        /// Id of the source.
        source_id: Arc<str>,
        /// Key of the object.
        key: String,
        /// Bytes promised.
        expected: u64,
        /// Bytes counted until the end, or until there were too many.
        found: u64,
        /// Whether reading stopped at too many.
        is_more: bool,
    },
    /// A reference names a key that no path can hold: vdt does not list such keys.
    #[error("source object {key:?} of source {source_id} has a key that cannot be read")]
    SourceKey {
        /// Id of the source.
        source_id: Arc<str>,
        /// Key of the object.
        key: String,
    },
    /// A stored rope is damaged.
    #[error(
        "the rope of {location} is damaged; restore {} of the state from a backup",
        stored_at(location)
    )]
    Damaged {
        /// The virtual file, as shown.
        location: Path,
        /// What is wrong, and where.
        source: StoredError,
    },
    /// A stored rope is another one than its name says.
    #[error(
        "the rope of {location} is that of {found}; restore {} of the state from a backup",
        stored_at(location)
    )]
    Misnamed {
        /// The virtual file, as shown.
        location: Path,
        /// Name by the rope's trailer.
        found: FileName,
    },
    /// The origin answered with other bytes of a rope than it was asked for.
    #[error("the rope of {location} was read at {found:?} where {expected:?} was asked for")]
    RopeRange {
        /// The virtual file, as shown.
        location: Path,
        /// Half-open range asked for.
        expected: Range<u64>,
        /// Half-open range of the response.
        found: Range<u64>,
    },
    /// No such file.
    #[error("no such file in the table")]
    NotFound,
    /// A write.
    #[error("tables are read-only: write to the source instead")]
    ReadOnly,
}

impl RopeStoreError {
    pub(super) fn source(object: &SourceObject, source: Error) -> Self {
        Self::Source {
            source_id: Arc::clone(&object.source),
            key: object.key.to_string(),
            source,
        }
    }
}

/// Where the rope of a virtual file is stored.
fn stored_at(location: &Path) -> String {
    let path = location.as_ref();
    let stem = path.strip_suffix(PARQUET_SUFFIX).unwrap_or(path);
    format!("{stem}{ROPE_SUFFIX}")
}

impl From<RopeStoreError> for Error {
    fn from(error: RopeStoreError) -> Self {
        Error::Generic {
            store: STORE,
            source: Box::new(error),
        }
    }
}

pub(super) fn not_found(location: &Path) -> Error {
    Error::NotFound {
        path: location.to_string(),
        source: Box::new(RopeStoreError::NotFound),
    }
}

pub(super) fn read_only(location: &Path) -> Error {
    Error::PermissionDenied {
        path: location.to_string(),
        source: Box::new(RopeStoreError::ReadOnly),
    }
}

/// An error of the origin under the path that was asked for.
pub(super) fn relocate(error: Error, location: &Path) -> Error {
    let path = location.to_string();
    match error {
        Error::NotFound { .. } => not_found(location),
        Error::Precondition { source, .. } => Error::Precondition { path, source },
        Error::NotModified { source, .. } => Error::NotModified { path, source },
        Error::PermissionDenied { source, .. } => Error::PermissionDenied { path, source },
        Error::Unauthenticated { source, .. } => Error::Unauthenticated { path, source },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_rope_is_told_with_its_place_and_a_remedy() {
        let name = "abababababababababababababababab-1234";
        let location = Path::from(format!("main/docs/t/{name}.parquet"));
        let damaged = RopeStoreError::Damaged {
            location,
            source: StoredError::TooShort { bytes: 3 },
        };
        assert_eq!(
            damaged.to_string(),
            format!(
                "the rope of main/docs/t/{name}.parquet is damaged; restore main/docs/t/{name}.rope of the state from a backup"
            )
        );
    }
}
