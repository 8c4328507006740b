//! What goes wrong between a miss and its bytes, told to everyone who waits.

use std::{fmt, ops::Range, sync::Arc};

use object_store::{Error, path::Path};

/// Name of this store in errors.
pub(super) const STORE: &str = "CacheStore";

/// What a [`CacheStore`](super::CacheStore) has to say beyond an [`object_store::Error`].
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The origin answered with another object than the one that was asked for.
    #[error("the origin has another {location}: {what}")]
    Changed {
        /// The object.
        location: Path,
        /// What differs.
        what: String,
    },
    /// The origin answered with another range than it was asked for.
    #[error("the origin sent {found:?} of {location} where {expected:?} was asked for")]
    Range {
        /// The object.
        location: Path,
        /// Half-open range asked for.
        expected: Range<u64>,
        /// Half-open range of the response.
        found: Range<u64>,
    },
    /// The origin sent fewer or more bytes than it promised.
    #[error("the origin sent {found} bytes{} of {location} where it promised {expected}", if *.is_more { " or more" } else { "" })]
    Length {
        /// The object.
        location: Path,
        /// Bytes promised.
        expected: u64,
        /// Bytes counted.
        found: u64,
        /// Whether counting stopped at too many.
        is_more: bool,
    },
    /// The fetch ended before it was complete: the cache is closing.
    #[error("the fetch of {location} was given up; ask again")]
    GivenUp {
        /// The object.
        location: Path,
    },
}

impl From<CacheError> for Error {
    fn from(error: CacheError) -> Self {
        let CacheError::Changed { location, .. } = &error else {
            return Error::Generic {
                store: STORE,
                source: Box::new(error),
            };
        };
        Error::Precondition {
            path: location.to_string(),
            source: Box::new(error),
        }
    }
}

/// An error of what several readers wait for: a fetch, or a snapshot of a log.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    error: Arc<Error>,
    /// Whether reading each object by itself may do better.
    pub(super) is_of_run: bool,
}

impl Failure {
    pub(crate) fn new(error: impl Into<Error>) -> Self {
        Self {
            error: Arc::new(error.into()),
            is_of_run: false,
        }
    }

    pub(super) fn of_run(mut self) -> Self {
        self.is_of_run = true;
        self
    }

    pub(crate) fn error(&self) -> &Error {
        &self.error
    }

    /// The error for one reader: of the same kind, with the same causes.
    pub(crate) fn share(&self) -> Error {
        let source: Box<Shared> = Box::new(Shared(Arc::clone(&self.error)));
        match &*self.error {
            Error::NotFound { path, .. } => Error::NotFound {
                path: path.clone(),
                source,
            },
            Error::Precondition { path, .. } => Error::Precondition {
                path: path.clone(),
                source,
            },
            Error::NotModified { path, .. } => Error::NotModified {
                path: path.clone(),
                source,
            },
            Error::PermissionDenied { path, .. } => Error::PermissionDenied {
                path: path.clone(),
                source,
            },
            Error::Unauthenticated { path, .. } => Error::Unauthenticated {
                path: path.clone(),
                source,
            },
            Error::NotSupported { .. } => Error::NotSupported { source },
            Error::Generic { store, .. } => Error::Generic { store, source },
            // The enum is not exhaustive; the rest are errors of writes and configurations.
            _ => Error::Generic {
                store: STORE,
                source,
            },
        }
    }
}

/// The cause of a shared error, as its own.
#[derive(Debug)]
struct Shared(Arc<Error>);

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Shared {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}
