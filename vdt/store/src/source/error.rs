//! What can be wrong with a source, in sentences that say what to do.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::secrets::{SecretError, is_plain};

/// A source that cannot be opened or listed. The table keeps its last version.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A field of the manifest cannot be used.
    #[error("source {name}: {field} {value:?} is {problem}")]
    Invalid {
        /// Source.
        name: Arc<str>,
        /// Field below the source.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is wrong and how to write it.
        problem: String,
    },
    /// The manifest asks for what this version does not do.
    #[error("source {name}: {feature} is not served by this version; use a File or S3 source")]
    Unsupported {
        /// Source.
        name: Arc<str>,
        /// What was asked for.
        feature: String,
    },
    /// A Secret or ConfigMap is not what it should be, or not where.
    #[error("source {name}: {error}")]
    Secret {
        /// Source.
        name: Arc<str>,
        /// The key, and what to do.
        error: SecretError,
    },
    /// There is no identity to call the service with.
    #[error("source {name}: no credentials for {bucket}: {answer}; {remedy}")]
    NoCredentials {
        /// Source.
        name: Arc<str>,
        /// Bucket and endpoint.
        bucket: String,
        /// Where they were looked for last.
        answer: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The service does not know the caller.
    #[error("source {name}: {bucket} does not accept the credentials: {answer}; {remedy}")]
    Credentials {
        /// Source.
        name: Arc<str>,
        /// Bucket and endpoint.
        bucket: String,
        /// What the service said.
        answer: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The caller may not list or read.
    #[error("source {name}: no permission to list {what}: {answer}; {remedy}")]
    Forbidden {
        /// Source.
        name: Arc<str>,
        /// Bucket or folder.
        what: String,
        /// What the service or the system said.
        answer: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The bucket or folder does not exist.
    #[error("source {name}: {what} does not exist; {remedy}")]
    NotFound {
        /// Source.
        name: Arc<str>,
        /// Bucket and endpoint, or folder.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// No TLS connection could be made.
    #[error("source {name}: no TLS connection to {endpoint}: {problem}; {remedy}")]
    Tls {
        /// Source.
        name: Arc<str>,
        /// Endpoint.
        endpoint: String,
        /// What TLS said.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The service is down, slow or overloaded. Tried again at the next refresh.
    #[error(
        "source {name}: {endpoint} cannot be reached: {problem}; is the service up and the endpoint right?"
    )]
    Unreachable {
        /// Source.
        name: Arc<str>,
        /// Endpoint.
        endpoint: String,
        /// What the last attempt met.
        problem: String,
    },
    /// The service answered what a listing cannot be.
    #[error(
        "source {name}: {endpoint} does not list as S3 does: {problem}; see that the endpoint is an S3 service and no proxy alters \
         its answers, or update the service"
    )]
    Protocol {
        /// Source.
        name: Arc<str>,
        /// Bucket and endpoint.
        endpoint: String,
        /// What was wrong with the answer.
        problem: String,
    },
    /// The folder could not be read.
    #[error(
        "source {name}: cannot read {}; it is tried again, see that its file system is mounted and not failing", path.display()
    )]
    Io {
        /// Source.
        name: Arc<str>,
        /// File or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

impl SourceError {
    pub(super) fn secret(name: &Arc<str>, error: SecretError) -> Self {
        let name = Arc::clone(name);
        Self::Secret { name, error }
    }

    /// Names the error in CamelCase, for conditions and metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "SourceInvalid",
            Self::Unsupported { .. } => "SourceUnsupported",
            Self::Secret { .. } => "SecretMissing",
            Self::NoCredentials { .. } | Self::Credentials { .. } => "CredentialsRejected",
            Self::Forbidden { .. } => "AccessDenied",
            Self::NotFound { .. } => "SourceNotFound",
            Self::Tls { .. } => "TlsFailed",
            Self::Unreachable { .. } => "SourceUnreachable",
            Self::Protocol { .. } => "ListingInvalid",
            Self::Io { .. } => "ReadFailed",
        }
    }
}

/// Refuses names that would lead out of the folder of secrets, or of claims.
pub(super) fn plain(source: &Arc<str>, field: &'static str, name: &str) -> Result<(), SourceError> {
    if is_plain(name) {
        return Ok(());
    }
    Err(SourceError::Invalid {
        name: Arc::clone(source),
        field,
        value: name.to_owned(),
        problem: "not a name; it must be one word without slashes".to_owned(),
    })
}
