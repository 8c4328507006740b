//! How long sources take to answer, and how they answer.

use std::time::Instant;

use object_store::{Error, GetResult, Result};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Upper bounds in seconds, from a file on this machine to the longest that a bucket is waited for.
const SECONDS: [f64; 15] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// How a source answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Outcome {
    /// With the object.
    Answered,
    /// The object is another one by now, or gone.
    Changed,
    /// The credentials are not valid, or lack permission.
    Refused,
    /// With an error of its own, or not at all.
    Failed,
    /// Whoever asked left before the answer.
    GivenUp,
}

impl Outcome {
    const ALL: [Self; 5] = [
        Self::Answered,
        Self::Changed,
        Self::Refused,
        Self::Failed,
        Self::GivenUp,
    ];

    fn of(answer: &Result<GetResult>) -> Self {
        match answer {
            Ok(_) => Self::Answered,
            Err(
                Error::NotFound { .. } | Error::Precondition { .. } | Error::NotModified { .. },
            ) => Self::Changed,
            Err(error) if is_refusal(error) => Self::Refused,
            Err(_) => Self::Failed,
        }
    }
}

/// Whether a source refuses the read to us.
pub(crate) fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. }
    )
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: Outcome,
}

/// Requests for source objects: time to the headers of the answer, retries included. Cheap to clone; clones are one.
#[derive(Debug, Clone)]
pub(crate) struct SourceRequests {
    seconds: Family<Labels, Histogram>,
}

impl Default for SourceRequests {
    fn default() -> Self {
        let seconds = Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> _);
        for outcome in Outcome::ALL {
            drop(seconds.get_or_create(&Labels { outcome }));
        }
        Self { seconds }
    }
}

impl SourceRequests {
    /// A source is asked.
    pub(crate) fn begin(&self) -> Asked<'_> {
        Asked {
            requests: self,
            began: Instant::now(),
            outcome: Outcome::GivenUp,
        }
    }

    /// Shows them in `registry`.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "vdt_source_request",
            "Time to the headers of a source's answer, retries included",
            Unit::Seconds,
            self.seconds.clone(),
        );
    }
}

/// A request that is under way, measured when it is dropped: given up unless it is answered.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    requests: &'a SourceRequests,
    began: Instant,
    outcome: Outcome,
}

impl Asked<'_> {
    /// The source gave this answer.
    pub(crate) fn answered(mut self, answer: &Result<GetResult>) {
        self.outcome = Outcome::of(answer);
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let outcome = self.outcome;
        let seconds = self.requests.seconds.get_or_create(&Labels { outcome });
        seconds.observe(self.began.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::{GetOptions, ObjectStore, memory::InMemory, path::Path};
    use tokio_util::sync::CancellationToken;
    use vdt_crds::VirtualTable;
    use vdt_dialect::Admin;
    use vdt_store::{OpenMode, Origin, Source, SourceEnv, StateStore};

    use super::*;
    use crate::{admin::AdminState, late_origin::LateOrigin, metrics::Metrics, tables::Tables};

    #[tokio::test]
    async fn what_sources_are_asked_for_is_measured() {
        let tables = Arc::new(Tables::new(Vec::new(), Vec::new()));
        let late = LateOrigin::new(tables.clone());
        let memory = Arc::new(InMemory::new());
        let state = StateStore::from_store(memory, "memory", OpenMode::ReadWrite);
        let origin = Arc::new(Origin::new(state.await.expect("a state")));
        let folder = tempfile::tempdir().expect("a folder");
        let spec = VirtualTable::for_folder(folder.path()).spec.sources;
        let source = Source::open(&spec[0], &SourceEnv::default()).expect("a source");
        let gone = format!("sources/{}/a.pdf", source.id());
        origin.add_source(Arc::new(source));
        late.set(origin);
        let metrics = Arc::new(Metrics::new(false).0);
        let admin = AdminState::new(tables, late.clone(), metrics, CancellationToken::new());
        let count = async |outcome: &str| {
            let text = admin.metrics().await;
            let series = format!("vdt_source_request_seconds_count{{outcome=\"{outcome}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&series));
            line.map(str::to_owned)
        };
        assert_eq!(count("Answered").await.as_deref(), Some("0"));
        // What is of the log or of no source that is known is not.
        for path in [gone.as_str(), "sources/00aa/a.pdf", "log/c/s/t/x"] {
            let gone = late
                .get_opts(&Path::from(path), GetOptions::default())
                .await;
            assert!(matches!(gone, Err(Error::NotFound { .. })), "{path}");
        }
        assert_eq!(count("Changed").await.as_deref(), Some("1"));
        assert_eq!(count("GivenUp").await.as_deref(), Some("0"));
        drop(late.requests().begin());
        assert_eq!(count("GivenUp").await.as_deref(), Some("1"));
    }

    #[test]
    fn refusals_are_told_from_failures() {
        let source = || "cause".into();
        let path = || "p".to_owned();
        for (error, expected) in [
            (
                Error::PermissionDenied {
                    path: path(),
                    source: source(),
                },
                Outcome::Refused,
            ),
            (
                Error::Precondition {
                    path: path(),
                    source: source(),
                },
                Outcome::Changed,
            ),
            (
                Error::Generic {
                    store: "S3",
                    source: source(),
                },
                Outcome::Failed,
            ),
        ] {
            assert_eq!(Outcome::of(&Err(error)), expected);
        }
    }
}
