//! From what a service answers to what a person should do.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;
use object_store::client::{HttpError, HttpErrorKind};

use super::settings::Settings;
use crate::source::SourceError;

/// One attempt that did not give a page.
#[derive(Debug)]
pub(super) enum Failure {
    /// No answer: connection, TLS, time.
    Transport(HttpError),
    /// No identity to sign with.
    NoCredentials(String),
    /// An answer that is an error.
    Status {
        status: StatusCode,
        /// S3's word for it, such as `NoSuchBucket`; empty where the body is not S3's.
        code: String,
        message: String,
        /// Region of the bucket, where the answer tells it.
        region: Option<String>,
    },
    /// An answer that is not a listing.
    Answer(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(error) => f.write_str(&innermost(error)),
            Self::NoCredentials(problem) | Self::Answer(problem) => f.write_str(problem),
            Self::Status {
                status,
                code,
                message,
                ..
            } if code.is_empty() => {
                write!(
                    f,
                    "HTTP {status}{}{message}",
                    if message.is_empty() { "" } else { ": " }
                )
            }
            Self::Status { code, message, .. } => write!(f, "{code}: {message}"),
        }
    }
}

/// A `<Error>` document.
#[derive(Debug, Default)]
pub(super) struct ErrorDocument {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) region: Option<String>,
}

/// Bytes shown of an answer that is not S3's.
const SHOWN_BYTES: usize = 200;

impl ErrorDocument {
    /// An answer that is not S3's: a proxy's page, or that of another kind of server.
    pub(super) fn of_other(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES)]);
        Self {
            message: text.split_whitespace().collect::<Vec<_>>().join(" "),
            ..Self::default()
        }
    }

    pub(super) fn into_failure(self, status: StatusCode, region: Option<String>) -> Failure {
        Failure::Status {
            status,
            code: self.code,
            message: self.message,
            region: self.region.or(region),
        }
    }
}

impl Failure {
    /// True if the same request may succeed a moment later.
    pub(super) fn is_retryable(&self) -> bool {
        match self {
            Self::Transport(error) => {
                tls_problem(error).is_none_or(|problem| is_cut(&problem))
                    && match error.kind() {
                        HttpErrorKind::Connect
                        | HttpErrorKind::Request
                        | HttpErrorKind::Timeout
                        | HttpErrorKind::Interrupted
                        | HttpErrorKind::Unknown => true,
                        // Decode, and what later versions may add.
                        _ => false,
                    }
            }
            Self::NoCredentials(_) | Self::Answer(_) => false,
            Self::Status { status, code, .. } => {
                (status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED)
                    || *status == StatusCode::TOO_MANY_REQUESTS
                    || *status == StatusCode::REQUEST_TIMEOUT
                    || matches!(
                        code.as_str(),
                        "SlowDown" | "InternalError" | "RequestTimeout" | "ServiceUnavailable"
                    )
            }
        }
    }

    /// True if it is the caller who is not known, which other credentials would mend: they are read anew for each try.
    pub(super) fn is_of_credentials(&self) -> bool {
        match self {
            Self::NoCredentials(_) => true,
            Self::Status { code, .. } => code != CLOCK && REJECTED.contains(&code.as_str()),
            Self::Transport(_) | Self::Answer(_) => false,
        }
    }

    /// The sentence for the user.
    pub(super) fn into_error(self, settings: &Settings) -> SourceError {
        let name = Arc::clone(&settings.name);
        let retryable = self.is_retryable();
        let answer = self.to_string();
        match self {
            Self::Transport(error) => match tls_problem(&error) {
                Some(problem) => SourceError::Tls {
                    name,
                    endpoint: settings.service.clone(),
                    problem,
                    remedy: "give the certificate authority in s3.caBundle, or correct the scheme of s3.endpoint",
                },
                None => SourceError::Unreachable {
                    name,
                    endpoint: settings.service.clone(),
                    problem: answer,
                },
            },
            Self::NoCredentials(_) => SourceError::NoCredentials {
                name,
                bucket: settings.place(),
                answer,
                remedy: settings.remedy,
            },
            Self::Status { .. } if retryable => SourceError::Unreachable {
                name,
                endpoint: settings.place(),
                problem: answer,
            },
            Self::Status {
                status,
                code,
                region,
                ..
            } => refused(settings, status, &code, region, answer),
            Self::Answer(problem) => SourceError::Protocol {
                name,
                endpoint: settings.place(),
                problem,
            },
        }
    }
}

/// Code of a service whose clock is not that of this machine.
const CLOCK: &str = "RequestTimeTooSkewed";
/// Codes with which services refuse credentials, of status 400, 401 or 403.
pub(crate) const REJECTED: [&str; 8] = [
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "InvalidClientTokenId",
    "InvalidSecurity",
    CLOCK,
];

fn refused(
    settings: &Settings,
    status: StatusCode,
    code: &str,
    region: Option<String>,
    answer: String,
) -> SourceError {
    let name = Arc::clone(&settings.name);
    match (code, status) {
        (CLOCK, _) => SourceError::Credentials {
            name,
            bucket: settings.place(),
            answer,
            remedy: "set the clock of this machine",
        },
        (code, status)
            if REJECTED.contains(&code) || (code, status) == ("", StatusCode::UNAUTHORIZED) =>
        {
            SourceError::Credentials {
                name,
                bucket: settings.place(),
                answer,
                remedy: settings.remedy,
            }
        }
        ("NoSuchBucket", _) => SourceError::NotFound {
            name,
            what: settings.place(),
            remedy: "correct s3.bucket or s3.endpoint, or create the bucket",
        },
        (
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException",
            _,
        ) => SourceError::Invalid {
            name,
            field: "s3.region",
            value: settings.region.clone(),
            problem: match region {
                Some(region) => format!("not the region of {}; write {region}", settings.place()),
                None => format!(
                    "not the region of {}, or s3.endpoint is wrong: {answer}",
                    settings.place()
                ),
            },
        },
        (
            _,
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::BAD_REQUEST,
        ) if region
            .as_ref()
            .is_some_and(|region| *region != settings.region) =>
        {
            let region = region.unwrap_or_default();
            SourceError::Invalid {
                name,
                field: "s3.region",
                value: settings.region.clone(),
                problem: format!("not the region of {}; write {region}", settings.place()),
            }
        }
        ("AccessDenied" | "AllAccessDisabled" | "AccountProblem", _)
        | ("", StatusCode::FORBIDDEN) => SourceError::Forbidden {
            name,
            what: settings.place(),
            answer,
            remedy: "grant s3:ListBucket on the bucket and s3:GetObject on its keys, or use other credentials",
        },
        ("", StatusCode::NOT_FOUND) => SourceError::NotFound {
            name,
            what: settings.place(),
            remedy: "correct s3.bucket or s3.endpoint; what answers there does not speak S3",
        },
        (_, _) => SourceError::Protocol {
            name,
            endpoint: settings.place(),
            problem: answer,
        },
    }
}

/// What TLS has to say, if it is TLS that failed.
fn tls_problem(error: &HttpError) -> Option<String> {
    let problem = innermost(error);
    let lower = problem.to_lowercase();
    // The TLS library's types are not ours to see through the transport, its words are. A connection that ends without the word by which
    // TLS ends one was well until then.
    let is_tls = ["certificate", "tls", "ssl", "corrupt message", "handshake"]
        .iter()
        .any(|word| lower.contains(word));
    (is_tls && !lower.contains("close_notify")).then_some(problem)
}

/// Whether TLS was not refused but cut off: by a service that is starting or overloaded, or by one that does not speak it.
fn is_cut(problem: &str) -> bool {
    problem.to_lowercase().contains("eof")
}

/// The last and most telling message of a chain.
fn innermost(error: &HttpError) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
