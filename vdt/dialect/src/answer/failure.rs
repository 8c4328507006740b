//! One table: what went wrong -> HTTP status -> S3 code, and what clients do with it.
//!
//! | failure | status | S3 code | clients (measured) |
//! |---|---|---|---|
//! | not found | 404 | NoSuchKey | give up at once; fine for `_last_checkpoint` |
//! | not modified | 304 | - | - |
//! | the client's precondition | 412 | PreconditionFailed | give up at once |
//! | a source changed | 412 | PreconditionFailed | give up at once, DuckDB within a second |
//! | range outside, malformed, or several | 416 | InvalidRange | give up at once |
//! | not supported by the store | 501 | NotImplemented | give up |
//! | the store or a source fails | 500 | InternalError | retry a few times within seconds |
//!
//! **A changed source is 412**, although the client sent no condition. Its bytes will never again be those that the path
//! promises, so a retry is useless: with 503 Daft and ClickHouse go on for a minute and more. 404 would be a lie
//! that Spark may be told to skip silently (`ignoreMissingFiles`), 409 becomes "already exists" in object_store. 412 is what Hadoop's S3A
//! calls "the remote file changed during read", and what object_store turns back into `Error::Precondition`, so a proxy that reads through
//! this dialect sees the same error as we did.
//!
//! **A failing source is 500**, not 503: 503 tells S3 clients to slow down, and two of them cost Daft 33 s, where 500 is retried by all.
//! 503 SlowDown is for overload; 429 is fatal in Daft and never used.
//!
//! The store's own refusal of credentials is a failure of ours, never the client's 401 or 403.

use std::{fmt, iter};

use ::http::StatusCode;
use ::http::header::{CONTENT_RANGE, HeaderMap, HeaderValue};
use object_store::Error;
use object_store::path::Path;

use super::RangeMalformed;
use crate::log_limit::LogLimit;

/// A cause of the store's that passes by itself: what serves the object has not come up yet. A normal event of a start, and no error in the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}; ask again")]
pub struct NotYet(pub &'static str);

/// Why a request for an object is not answered with its bytes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No such object.
    #[error("there is no such object")]
    NotFound,
    /// The client has it already.
    #[error("the object has not changed")]
    NotModified { validators: HeaderMap },
    /// A precondition of the client does not hold.
    #[error("a precondition of the request does not hold")]
    PreconditionFailed,
    /// What the object is composed of is not what it was.
    #[error(
        "a source object changed or vanished after the table's version was made; open the table again to read its newest version"
    )]
    SourceChanged { source: Error },
    /// The range lies outside the object.
    #[error("the range lies outside the object, which has {size} bytes")]
    RangeNotSatisfiable { size: u64 },
    /// The Range header is not one range of bytes.
    #[error("{}", RangeMalformed)]
    RangeMalformed { size: u64 },
    /// The store cannot do this.
    #[error("this is not supported")]
    NotSupported { source: Error },
    /// The store or what is behind it failed. The cause is logged, not sent.
    #[error("the object could not be read from its source; try again")]
    Internal {
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Failure {
    /// A broken promise of the store.
    pub(crate) fn internal(message: String) -> Self {
        Self::Internal {
            source: message.into(),
        }
    }

    /// Classifies an error that came with the first chunk: the object is there, so what is missing is a source of it.
    pub(crate) fn of_body(error: Error) -> Self {
        match Self::from(error) {
            Self::NotFound => Self::SourceChanged {
                source: Error::Precondition {
                    path: String::new(),
                    source: "a source object is gone".into(),
                },
            },
            other => other,
        }
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NotModified { .. } => StatusCode::NOT_MODIFIED,
            Self::PreconditionFailed | Self::SourceChanged { .. } => {
                StatusCode::PRECONDITION_FAILED
            }
            Self::RangeNotSatisfiable { .. } | Self::RangeMalformed { .. } => {
                StatusCode::RANGE_NOT_SATISFIABLE
            }
            Self::NotSupported { .. } => StatusCode::NOT_IMPLEMENTED,
            Self::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The code of an S3 error document.
    pub(crate) fn s3_code(&self) -> &'static str {
        match self {
            Self::NotFound => "NoSuchKey",
            Self::NotModified { .. } => "NotModified",
            Self::PreconditionFailed | Self::SourceChanged { .. } => "PreconditionFailed",
            Self::RangeNotSatisfiable { .. } | Self::RangeMalformed { .. } => "InvalidRange",
            Self::NotSupported { .. } => "NotImplemented",
            Self::Internal { .. } => "InternalError",
        }
    }

    /// Headers that belong to the status: Content-Range of a 416, validators of a 304.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match self {
            Self::NotModified { validators } => headers.extend(validators.clone()),
            Self::RangeNotSatisfiable { size } | Self::RangeMalformed { size } => {
                if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
                    headers.insert(CONTENT_RANGE, value);
                }
            }
            Self::NotFound
            | Self::PreconditionFailed
            | Self::SourceChanged { .. }
            | Self::NotSupported { .. }
            | Self::Internal { .. } => {}
        }
        headers
    }

    /// Gives a 304 the validators of the object.
    pub(crate) fn with_validators(self, validators: HeaderMap) -> Self {
        match self {
            Self::NotModified { .. } => Self::NotModified { validators },
            other => other,
        }
    }

    /// Logs what is not the client's doing, with its cause. Called once, where the failure becomes a response.
    pub(crate) fn log(&self, location: &Path) {
        match self {
            Self::SourceChanged { source } => log_change(location, source),
            Self::Internal { source } if is_not_yet(source.as_ref()) => {
                tracing::debug!(%location, error = %Chain(source.as_ref()), "asked for too early");
            }
            Self::Internal { source } if is_refusal(source.as_ref()) => {
                log_refusal(location, source.as_ref());
            }
            Self::Internal { source } => {
                tracing::error!(%location, error = %Chain(source.as_ref()), "read failed");
            }
            Self::NotSupported { source } => {
                tracing::warn!(%location, error = %Chain(source), "read not supported by the store");
            }
            Self::NotFound
            | Self::NotModified { .. }
            | Self::PreconditionFailed
            | Self::RangeNotSatisfiable { .. }
            | Self::RangeMalformed { .. } => {}
        }
    }
}

/// Lines that would come with every read of a folder: whoever reads an old version meets as many changes as it has reads, and a source that refuses one
/// read refuses all.
static READS: LogLimit = LogLimit::new();

/// How many lines were left out of those about the files beside `location`, if there is to be one now.
fn admit(location: &Path, kind: &'static str) -> Option<u64> {
    let folder = location.as_ref().rsplit_once('/');
    READS.admit(folder.map_or("", |(folder, _)| folder), kind)
}

/// Logs that what `location` is composed of is not given to us: of the files of a folder, one line in a while.
pub(super) fn log_refusal(location: &Path, error: &(dyn std::error::Error + 'static)) {
    if let Some(left_out) = admit(location, "Refused") {
        tracing::error!(%location, left_out, error = %Chain(error), "read failed");
    }
}

/// Whether an error is the store's refusal of our credentials.
pub(super) fn is_refusal(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(
        error.downcast_ref(),
        Some(Error::PermissionDenied { .. } | Error::Unauthenticated { .. })
    )
}

/// Logs that what `location` is composed of has changed: of the files of a folder, one line in a while.
pub(super) fn log_change(location: &Path, error: &(dyn std::error::Error + 'static)) {
    if let Some(left_out) = admit(location, "SourceChanged") {
        tracing::warn!(%location, left_out, error = %Chain(error), "source object changed");
    }
}

/// Whether an error of the store says that a source of an object changed, whose body is under way.
pub(super) fn is_change(error: &Error) -> bool {
    matches!(
        error,
        Error::Precondition { .. } | Error::NotModified { .. } | Error::NotFound { .. }
    )
}

/// Whether an error has [`NotYet`] among its causes.
fn is_not_yet(error: &(dyn std::error::Error + 'static)) -> bool {
    iter::successors(Some(error), |error| error.source()).any(<dyn std::error::Error>::is::<NotYet>)
}

/// An error and all its causes in one line, for logs. A cause whose text is in the line already is not told twice.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(next) = cause {
            let line = next.to_string();
            if !text.contains(&line) {
                text.push_str(": ");
                text.push_str(&line);
            }
            cause = next.source();
        }
        f.write_str(&text)
    }
}

impl From<Error> for Failure {
    /// Classifies an error of the store. No condition of the client is ever given to the store (`answer` evaluates them itself),
    /// so a failed precondition there means that a source changed.
    fn from(error: Error) -> Self {
        match error {
            // A path that cannot be is the path of no object.
            Error::NotFound { .. } | Error::InvalidPath { .. } => Self::NotFound,
            error @ (Error::Precondition { .. } | Error::NotModified { .. }) => {
                Self::SourceChanged { source: error }
            }
            error @ (Error::NotSupported { .. } | Error::NotImplemented { .. }) => {
                Self::NotSupported { source: error }
            }
            error @ (Error::Generic { .. }
            | Error::JoinError { .. }
            | Error::AlreadyExists { .. }
            | Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::UnknownConfigurationKey { .. }) => Self::Internal {
                source: error.into(),
            },
            // The enum is not exhaustive: a kind of error we do not know is a failure of the store.
            error => Self::Internal {
                source: error.into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stores_errors_have_one_status_each() {
        let path = || "p".to_owned();
        let source = || -> Box<dyn std::error::Error + Send + Sync> { "cause".into() };
        let cases = [
            (
                Error::NotFound {
                    path: path(),
                    source: source(),
                },
                404,
                "NoSuchKey",
            ),
            (
                Error::Precondition {
                    path: path(),
                    source: source(),
                },
                412,
                "PreconditionFailed",
            ),
            (
                Error::Generic {
                    store: "s",
                    source: source(),
                },
                500,
                "InternalError",
            ),
            (
                Error::PermissionDenied {
                    path: path(),
                    source: source(),
                },
                500,
                "InternalError",
            ),
            (
                Error::Unauthenticated {
                    path: path(),
                    source: source(),
                },
                500,
                "InternalError",
            ),
            (
                Error::NotSupported { source: source() },
                501,
                "NotImplemented",
            ),
        ];
        for (error, status, code) in cases {
            let failure = Failure::from(error);
            assert_eq!(
                (failure.status().as_u16(), failure.s3_code()),
                (status, code),
                "{failure}"
            );
        }
    }

    #[test]
    fn a_log_line_has_every_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("{text}")]
        struct Layer {
            text: &'static str,
            source: Option<Box<Layer>>,
        }
        let layer = |text, source: Option<Layer>| Layer {
            text,
            source: source.map(Box::new),
        };
        let denied = layer("permission denied", None);
        let file = layer("reading a.pdf", Some(denied));
        let error = layer("a source failed", Some(layer("reading a.pdf", Some(file))));
        assert_eq!(
            Chain(&error).to_string(),
            "a source failed: reading a.pdf: permission denied"
        );
    }

    #[test]
    fn what_is_not_there_yet_is_known_by_its_cause() {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Generic {
            store: "s",
            source,
        };
        let is = |error| match Failure::from(error) {
            Failure::Internal { source } => is_not_yet(source.as_ref()),
            other => panic!("{other}"),
        };
        assert!(is(failed(Box::new(NotYet("the state is not open")))));
        let nested = failed(Box::new(NotYet("the state is not open")));
        assert!(is(failed(Box::new(nested))));
        assert!(!is(failed("the state is not open".into())));
    }

    #[test]
    fn a_source_missing_under_an_existing_object_is_a_change() {
        let gone = Error::NotFound {
            path: "p".to_owned(),
            source: "cause".into(),
        };
        assert!(matches!(
            Failure::of_body(gone),
            Failure::SourceChanged { .. }
        ));
    }
}
