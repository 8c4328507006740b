//! What can go wrong between a listing and a committed version. A variant exists where a caller acts differently on it.

use std::{io, path::PathBuf};

use object_store::path::Path;
use vdt_rope::stored::StoredError;
use vdt_table::RowsError;

use crate::source::{REJECTED, SourceError};

/// Errors of the state store, the log and the refresh. Each says this layer only; the cause is the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process writes this state directory.
    #[error(
        "state directory {path:?} is in use by another vdt process; stop that one or give another --state"
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// There is no state store here.
    #[error("no vdt state at {location:?}; `vdt serve` makes one")]
    NoState {
        /// Directory or URL.
        location: String,
    },
    /// The state that was opened is there no more.
    #[error(
        "state at {location:?} was emptied or replaced while it is in use: its store.json is missing, or another one; restore it from a backup. \
         If it is meant to go, start vdt again: its tables begin anew"
    )]
    StateGone {
        /// Directory or URL.
        location: String,
    },
    /// A newer version wrote the state.
    #[error(
        "state at {location:?} has format {found}, this version reads up to {known}; use the newer vdt that wrote it"
    )]
    NewerState {
        /// Directory or URL.
        location: String,
        /// Format found.
        found: u32,
        /// Newest format that this version knows.
        known: u32,
    },
    /// The service of the state does not honour `If-None-Match: *`, or not atomically.
    #[error(
        "the service of the state {location:?} let {won} of {puts} puts of one new object win, where exactly one may: writers \
         would replace each other's commits, and one replica alone meets its successor; use a service, or a version of it, \
         that honours If-None-Match: * on PUT"
    )]
    Unconditional {
        /// URL.
        location: String,
        /// Puts that raced.
        puts: usize,
        /// Puts that the service says it has carried out.
        won: usize,
    },
    /// The table belongs to another resource.
    #[error(
        "table {table} belongs to {held_by:?}, not to {owner:?}; give another --state or a manifest with spec.table{}",
        by_that_path(held_by, owner)
    )]
    OtherOwner {
        /// `<catalog>/<schema>/<table>`.
        table: String,
        /// Who asked.
        owner: String,
        /// Who has it.
        held_by: String,
    },
    /// The state directory cannot be used.
    #[error(
        "state directory {path:?} cannot be used; see that it may be written, and that its disk is neither full nor failing"
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The state store failed.
    #[error(
        "state store {location} failed; it is tried again, see that it can be reached, read and written"
    )]
    State {
        /// Directory, URL or object.
        location: String,
        /// Why.
        source: Box<object_store::Error>,
    },
    /// A stored JSON document is not what it should be.
    #[error(
        "stored document {path} is damaged; restore it from a backup, or give another --state, where the table begins anew"
    )]
    Json {
        /// The object.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The Delta log cannot be read.
    #[error(
        "delta log of {table} cannot be read; if it is damaged, restore its _delta_log from a backup"
    )]
    Log {
        /// `<catalog>/<schema>/<table>`.
        table: String,
        /// Why.
        source: Box<deltalake::DeltaTableError>,
    },
    /// A table's log is gone, although that of the table without `data`, which is written after it, is there.
    #[error(
        "the delta log of {table} is missing, and that of {meta} is there; restore it from a backup, or give another --state, where the table \
         begins anew"
    )]
    LogMissing {
        /// `<catalog>/<schema>/<table>`.
        table: String,
        /// The same with `_meta`.
        meta: String,
    },
    /// A table's log is gone, and nothing is left of it; this process has met it.
    #[error(
        "the delta log of {table}, which was at version {version}, was removed while it is in use; restore it from a backup. If it is meant to \
         go, start vdt again: the table begins anew"
    )]
    LogGone {
        /// `<catalog>/<schema>/<table>`.
        table: String,
        /// The newest version that was met.
        version: u64,
    },
    /// A stored rope cannot be read.
    #[error("rope {path} cannot be read; if it is damaged, restore it from a backup")]
    Rope {
        /// The object.
        path: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An artifact or a schema cannot be laid out.
    #[error("layout of {table}")]
    Layout {
        /// `<catalog>/<schema>/<table>`.
        table: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Somebody else committed first, again and again.
    #[error(
        "{table} lost {attempts} commits in a row to other writers; it is tried again at the next refresh"
    )]
    Contended {
        /// `<catalog>/<schema>/<table>`.
        table: String,
        /// How often it was tried.
        attempts: usize,
    },
    /// What a manifest names was not opened in time.
    #[error(
        "folders or secrets of {table} do not answer; it is tried again, see that their file systems are mounted and not failing"
    )]
    Slow {
        /// `<catalog>/<schema>/<table>`.
        table: String,
    },
    /// The table is suspended.
    #[error(
        "{table} is suspended, it is served as it was committed; set spec.suspend to false to refresh it"
    )]
    Suspended {
        /// `<catalog>/<schema>/<table>`.
        table: String,
    },
    /// A source cannot be opened or listed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The manifest asks for what cannot be served.
    #[error("{0}")]
    Manifest(String),
    /// A Secret or ConfigMap of the state's bucket is not what it should be, or not where.
    #[error("{0}")]
    Secret(String),
    /// A refresh panicked, which is a defect of vdt. The next one tries again.
    #[error(
        "a refresh of {table} ended early: {message}; it is tried again, please report it with the log's lines before this one"
    )]
    Panicked {
        /// `<catalog>/<schema>/<table>`.
        table: String,
        /// What the panic said.
        message: String,
    },
    /// A task of ours ended early: it panicked, which is a defect of vdt, or the process is going down.
    #[error("{task} ended early; please report it with the log's lines before this one")]
    Task {
        /// What it did.
        task: &'static str,
        /// Why.
        source: tokio::task::JoinError,
    },
}

/// [`StoreError::reason`] of a table that another resource keeps.
pub const OTHER_OWNER: &str = "OtherOwner";

impl StoreError {
    pub(crate) fn state(location: &str, source: object_store::Error) -> Self {
        Self::State {
            location: location.to_owned(),
            source: Box::new(source),
        }
    }

    pub(crate) fn object(path: &Path, source: object_store::Error) -> Self {
        Self::state(path.as_ref(), source)
    }

    pub(crate) fn json(path: &Path, source: serde_json::Error) -> Self {
        Self::Json {
            path: path.to_string(),
            source,
        }
    }

    pub(crate) fn task(task: &'static str, source: tokio::task::JoinError) -> Self {
        Self::Task { task, source }
    }

    /// Reason in CamelCase for a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "StateLocked",
            Self::NoState { .. } | Self::StateGone { .. } | Self::LogGone { .. } => "StateMissing",
            Self::NewerState { .. } => "StateNewer",
            Self::OtherOwner { .. } => OTHER_OWNER,
            Self::State { source, .. } => refusal(source).unwrap_or("StateUnavailable"),
            Self::Unconditional { .. } | Self::Directory { .. } => "StateUnavailable",
            Self::Rope { source, .. } if is_newer(source.as_ref()) => "StateNewer",
            Self::Json { .. } | Self::Log { .. } | Self::LogMissing { .. } | Self::Rope { .. } => {
                "StateCorrupt"
            }
            Self::Layout { .. } => "LayoutFailed",
            Self::Contended { .. } => "Contended",
            Self::Slow { .. } => "SourceUnreachable",
            Self::Suspended { .. } => "Suspended",
            Self::Source(error) => error.reason(),
            Self::Manifest(_) => "ManifestInvalid",
            Self::Secret(_) => "SecretMissing",
            Self::Panicked { .. } | Self::Task { .. } => "Cancelled",
        }
    }

    /// Whether the manifest is at fault, and not what it names.
    pub fn is_of_manifest(&self) -> bool {
        matches!(
            self,
            Self::Manifest(_)
                | Self::Secret(_)
                | Self::Source(SourceError::Invalid { .. } | SourceError::Unsupported { .. })
        )
    }
}

/// What else helps where one folder may be given by several paths.
fn by_that_path(held_by: &str, owner: &str) -> &'static str {
    let is_folder = |owner: &str| owner.starts_with("folder:");
    match is_folder(held_by) && is_folder(owner) {
        true => ", or give the folder by that path",
        false => "",
    }
}

/// Why a bucket refuses whoever asks, named as [`SourceError::reason`] does. None where it does not.
fn refusal(error: &object_store::Error) -> Option<&'static str> {
    // S3 says of keys that it does not know, or that are old, what it says of those that may not or of a malformed request: which it is, is in its answer.
    let is_rejected = |source: &(dyn std::error::Error + 'static)| {
        let answer = vdt_crds::chain(source);
        REJECTED.iter().any(|code| answer.contains(code))
    };
    match error {
        object_store::Error::Unauthenticated { .. } => Some("CredentialsRejected"),
        object_store::Error::PermissionDenied { source, .. }
        | object_store::Error::Generic { source, .. }
            if is_rejected(source.as_ref()) =>
        {
            Some("CredentialsRejected")
        }
        object_store::Error::PermissionDenied { .. } => Some("AccessDenied"),
        _ => None,
    }
}

/// Whether a newer version wrote what a rope cannot be read of: itself, or the rows in it.
pub(crate) fn is_newer(error: &(dyn std::error::Error + 'static)) -> bool {
    let stored = error.downcast_ref::<StoredError>();
    let rows = error.downcast_ref::<RowsError>();
    stored.is_some_and(StoredError::is_newer) || rows.is_some_and(RowsError::is_newer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rope_of_a_later_vdt_is_not_damaged_and_one_of_an_earlier_is_not_newer() {
        let reason = |source: Box<dyn std::error::Error + Send + Sync>| {
            let path = "t/r.rope".to_owned();
            StoreError::Rope { path, source }.reason()
        };
        for (found, expected) in [(255, "StateNewer"), (0, "StateCorrupt")] {
            assert_eq!(reason(Box::new(StoredError::Version { found })), expected);
            assert_eq!(reason(Box::new(RowsError::Version { found })), expected);
        }
        assert_eq!(reason("it is missing".into()), "StateCorrupt");
    }

    #[test]
    fn a_folder_may_be_given_by_another_path() {
        let told = |held_by: &str, owner: &str| {
            let error = StoreError::OtherOwner {
                table: "main/default/papers".to_owned(),
                owner: owner.to_owned(),
                held_by: held_by.to_owned(),
            };
            error.to_string()
        };
        let remedy = "give another --state or a manifest with spec.table";
        let folder = "folder:/papers";
        assert!(told("docs/papers", folder).ends_with(remedy));
        assert!(told(folder, "docs/papers").ends_with(remedy));
        let by_path = format!("{remedy}, or give the folder by that path");
        assert!(told(folder, "folder:/link").ends_with(&by_path));
    }

    #[test]
    fn a_state_says_what_a_source_would_of_who_is_refused() {
        let path = || "main/default/t".to_owned();
        let denied = |answer: &str| object_store::Error::PermissionDenied {
            path: path(),
            source: answer.into(),
        };
        for (source, expected) in [
            (
                denied("403: <Code>InvalidAccessKeyId</Code>"),
                "CredentialsRejected",
            ),
            (
                denied("403: <Code>SignatureDoesNotMatch</Code>"),
                "CredentialsRejected",
            ),
            (denied("403: <Code>AccessDenied</Code>"), "AccessDenied"),
            (
                object_store::Error::Generic {
                    store: "S3",
                    source: "400: <Code>ExpiredToken</Code>".into(),
                },
                "CredentialsRejected",
            ),
            (
                object_store::Error::Generic {
                    store: "S3",
                    source: "503: <Code>SlowDown</Code>".into(),
                },
                "StateUnavailable",
            ),
            (
                object_store::Error::Unauthenticated {
                    path: path(),
                    source: "401".into(),
                },
                "CredentialsRejected",
            ),
            (
                object_store::Error::NotFound {
                    path: path(),
                    source: "404".into(),
                },
                "StateUnavailable",
            ),
        ] {
            let error = StoreError::state("s3://vdt-state", source);
            assert_eq!(error.reason(), expected, "{error:?}");
        }
    }
}
