//! What can be wrong with a source, in sentences that say what to do.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

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
    /// A Secret or ConfigMap is not where it should be.
    #[error("source {name}: {object} has no key {key}: {}", expected(.file.as_ref()))]
    MissingSecret {
        /// Source.
        name: Arc<str>,
        /// `Secret corp-ro` or `ConfigMap roots`.
        object: String,
        /// Key in it.
        key: String,
        /// The file it is read from; none without a folder of secrets.
        file: Option<PathBuf>,
    },
    /// The service does not know the caller, or there is no identity to call with.
    #[error("source {name}: {bucket} does not accept the credentials: {answer}; {remedy}")]
    Credentials {
        /// Source.
        name: Arc<str>,
        /// Bucket and endpoint.
        bucket: String,
        /// What the service said, or what is missing.
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
    #[error("source {name}: {endpoint} does not list as S3 does: {problem}")]
    Protocol {
        /// Source.
        name: Arc<str>,
        /// Bucket and endpoint.
        endpoint: String,
        /// What was wrong with the answer.
        problem: String,
    },
    /// The folder could not be read.
    #[error("source {name}: cannot read {}", path.display())]
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
    /// Names the error in CamelCase, for conditions and metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "SourceInvalid",
            Self::Unsupported { .. } => "SourceUnsupported",
            Self::MissingSecret { .. } => "SecretMissing",
            Self::Credentials { .. } => "CredentialsRejected",
            Self::Forbidden { .. } => "AccessDenied",
            Self::NotFound { .. } => "SourceNotFound",
            Self::Tls { .. } => "TlsFailed",
            Self::Unreachable { .. } => "SourceUnreachable",
            Self::Protocol { .. } => "ListingInvalid",
            Self::Io { .. } => "ReadFailed",
        }
    }

    /// Name of the source.
    pub fn source_name(&self) -> &Arc<str> {
        match self {
            Self::Invalid { name, .. }
            | Self::Unsupported { name, .. }
            | Self::MissingSecret { name, .. }
            | Self::Credentials { name, .. }
            | Self::Forbidden { name, .. }
            | Self::NotFound { name, .. }
            | Self::Tls { name, .. }
            | Self::Unreachable { name, .. }
            | Self::Protocol { name, .. }
            | Self::Io { name, .. } => name,
        }
    }
}

fn expected(file: Option<&PathBuf>) -> String {
    match file {
        Some(file) => format!("the file {} is missing or empty; create it", file.display()),
        None => "no folder of secrets is given; name one with --secrets-dir".to_owned(),
    }
}
