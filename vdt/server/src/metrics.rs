//! Metrics of tables, refreshes and source reads, beside those of the data listener. Prometheus text.

mod requests;

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use vdt_dialect::{HttpMetrics, metrics::registered};
use vdt_store::{TableStatus, origin::SourceReads};

pub(crate) use requests::{SourceRequests, is_refusal};

use crate::tables::Served;

/// One table. Tables are few and declared, so the label is bounded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableLabels {
    table: String,
}

/// One source of a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabels {
    table: String,
    source: String,
}

/// All metrics of the process.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    version: Family<TableLabels, Gauge>,
    artifacts: Family<TableLabels, Gauge>,
    artifact_bytes: Family<TableLabels, Gauge>,
    unsettled: Family<TableLabels, Gauge>,
    refreshes: Family<TableLabels, Counter>,
    failures: Family<TableLabels, Counter>,
    last_success: Family<TableLabels, Gauge<f64, AtomicU64>>,
    duration: Family<TableLabels, Gauge<f64, AtomicU64>>,
    interval: Family<TableLabels, Gauge<f64, AtomicU64>>,
    current: Family<SourceLabels, Gauge>,
    skipped: Family<SourceLabels, Gauge>,
    manifest_current: Family<TableLabels, Gauge>,
    source_requests: Counter,
    source_bytes: Counter,
}

impl Metrics {
    /// Registers everything; also answers the part that the data listener keeps itself, which is not shown where there is none (`listens`): in a
    /// pod that part is the front door's, and stands in one text with these.
    pub(crate) fn new(listens: bool) -> (Self, HttpMetrics) {
        let mut registry = Registry::default();
        let http = match listens {
            true => HttpMetrics::register(&mut registry),
            false => HttpMetrics::default(),
        };
        let metrics = Self {
            version: registered(
                &mut registry,
                "vdt_table_version",
                "Newest version of the table",
            ),
            artifacts: registered(
                &mut registry,
                "vdt_table_artifacts",
                "Artifacts in the newest version",
            ),
            artifact_bytes: registered(
                &mut registry,
                "vdt_table_artifacts_bytes",
                "Bytes of the artifacts in the newest version",
            ),
            unsettled: registered(
                &mut registry,
                "vdt_table_unsettled_artifacts",
                "Artifacts held back until they have settled",
            ),
            refreshes: registered(
                &mut registry,
                "vdt_refresh_runs",
                "Refreshes that ended since the start",
            ),
            failures: registered(
                &mut registry,
                "vdt_refresh_failures",
                "Refreshes that failed since the start; of a source that cannot be listed vdt_source_current tells",
            ),
            last_success: registered(
                &mut registry,
                "vdt_refresh_last_success_timestamp_seconds",
                "When the last refresh ended that listed every source, Unix time",
            ),
            duration: registered(
                &mut registry,
                "vdt_refresh_duration_seconds",
                "How long the last refresh took",
            ),
            interval: registered(
                &mut registry,
                "vdt_table_refresh_interval_seconds",
                "Longest time that the timer leaves between two refreshes while all is well; none without a timer",
            ),
            current: registered(
                &mut registry,
                "vdt_source_current",
                "1 when the newest version shows what the source holds; none while a table is suspended or another pod decides about it",
            ),
            skipped: registered(
                &mut registry,
                "vdt_source_skipped_keys",
                "Keys of the last listing that cannot be served",
            ),
            manifest_current: registered(
                &mut registry,
                "vdt_table_manifest_current",
                "1 when no newer manifest of the table is refused",
            ),
            source_requests: registered(
                &mut registry,
                "vdt_source_requests",
                "Reads of source objects since the start",
            ),
            source_bytes: registered(
                &mut registry,
                "vdt_source_read_bytes",
                "Bytes read of source objects since the start",
            ),
            registry: Mutex::new(registry),
        };
        (metrics, http)
    }

    /// Gives `make` the registry, to add metrics of its own.
    pub(crate) async fn with_registry<T>(&self, make: impl AsyncFnOnce(&mut Registry) -> T) -> T {
        // Taken out for the while: whoever asks for metrics meanwhile sees none of them.
        let mut registry = mem::take(&mut *self.registry.lock());
        let made = make(&mut registry).await;
        *self.registry.lock() = registry;
        made
    }

    /// Shows how sources answer, too.
    pub(crate) fn show(&self, requests: &SourceRequests) {
        requests.register(&mut self.registry.lock());
    }

    /// Prometheus text of everything, with the tables as they are now.
    pub(crate) fn encode(&self, tables: &[Arc<Served>], reads: SourceReads) -> String {
        let registry = self.registry.lock();
        self.forget();
        for served in tables {
            let is_suspended = served.refusal().is_some();
            self.observe(&served.path, &served.status(), is_suspended);
            let labels = TableLabels {
                table: served.path.clone(),
            };
            self.manifest_current
                .get_or_create(&labels)
                .set(i64::from(served.manifest().refused.is_none()));
            if let Some(interval) = served.interval() {
                self.interval
                    .get_or_create(&labels)
                    .set(interval.as_secs_f64());
            }
        }
        set(&self.source_requests, reads.requests);
        set(&self.source_bytes, reads.bytes);
        let mut text = String::new();
        match encode(&mut text, &registry) {
            Ok(()) => text,
            // Writing to a String does not fail.
            Err(error) => format!("# {error}\n"),
        }
    }

    /// Tables and sources that are declared no longer have no metrics; what is said of the others is said anew each time.
    fn forget(&self) {
        for gauges in [
            &self.version,
            &self.artifacts,
            &self.artifact_bytes,
            &self.unsettled,
            &self.manifest_current,
        ] {
            gauges.clear();
        }
        self.refreshes.clear();
        self.failures.clear();
        self.last_success.clear();
        self.duration.clear();
        self.interval.clear();
        self.current.clear();
        self.skipped.clear();
    }

    fn observe(&self, table: &str, status: &TableStatus, is_suspended: bool) {
        let labels = TableLabels {
            table: table.to_owned(),
        };
        set(&self.refreshes.get_or_create(&labels), status.refreshes);
        set(&self.failures.get_or_create(&labels), status.failures);
        if let Some(time_ms) = status.last_success_ms {
            self.last_success
                .get_or_create(&labels)
                .set(time_ms as f64 / 1000.0);
        }
        let Some(last) = &status.last else { return };
        self.version
            .get_or_create(&labels)
            .set(to_gauge(last.version));
        self.artifacts
            .get_or_create(&labels)
            .set(to_gauge(last.artifacts));
        if let Some(bytes) = last.artifact_bytes {
            self.artifact_bytes
                .get_or_create(&labels)
                .set(to_gauge(bytes));
        }
        if last.sources.is_empty() {
            // As committed: no refresh has told anything yet.
            return;
        }
        self.unsettled
            .get_or_create(&labels)
            .set(to_gauge(last.unsettled));
        self.duration.get_or_create(&labels).set(last.seconds);
        for source in &last.sources {
            let labels = SourceLabels {
                table: table.to_owned(),
                source: source.name.clone(),
            };
            if !is_suspended && !source.is_superseded() {
                self.current
                    .get_or_create(&labels)
                    .set(i64::from(source.is_current()));
            }
            let skipped = source.skipped.values().sum();
            self.skipped.get_or_create(&labels).set(to_gauge(skipped));
        }
    }
}

/// Shows a count that is kept elsewhere.
fn set(counter: &Counter, count: u64) {
    counter.inner().store(count, Ordering::Relaxed);
}

fn to_gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use super::*;

    /// Name and labels of every series.
    fn series(text: &str) -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()))
            .collect()
    }

    #[test]
    fn no_series_of_a_pod_stands_twice() {
        let (server, _) = Metrics::new(false);
        let servers = series(&server.encode(&[], SourceReads::default()));
        // What the front door shows of its data listener, and a server with one of its own.
        let mut registry = Registry::default();
        let _door = HttpMetrics::register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).expect("a String takes everything");
        let doors = series(&text);
        assert!(!servers.is_empty() && !doors.is_empty());
        let all: Vec<&String> = servers.iter().chain(&doors).collect();
        let once: HashSet<&String> = all.iter().copied().collect();
        assert_eq!(once.len(), all.len(), "{all:?}");
        let (laptop, _) = Metrics::new(true);
        let laptops = series(&laptop.encode(&[], SourceReads::default()));
        assert!(doors.iter().all(|one| laptops.contains(one)));
    }

    #[test]
    fn of_a_table_as_it_was_committed_only_what_is_known_is_shown() {
        let (metrics, _) = Metrics::new(false);
        let served = Served::pending("c/s/t".to_owned(), "t".to_owned(), None);
        served.committed(vdt_store::RefreshReport {
            artifacts: 7,
            ..vdt_store::RefreshReport::of_version("c/s/t", 3)
        });
        let text = metrics.encode(&[Arc::new(served)], SourceReads::default());
        for shown in ["vdt_table_version", "vdt_table_artifacts"] {
            assert!(
                text.contains(&format!("\n{shown}{{table=\"c/s/t\"}} ")),
                "{text}"
            );
        }
        assert!(
            text.contains("vdt_table_artifacts{table=\"c/s/t\"} 7\n"),
            "{text}"
        );
        for unknown in [
            "vdt_table_artifacts_bytes{",
            "vdt_table_unsettled_artifacts{",
            "vdt_refresh_duration_seconds{",
            "vdt_refresh_last_success_timestamp_seconds{",
        ] {
            assert!(!text.contains(unknown), "{text}");
        }
    }

    #[test]
    fn of_sources_that_another_pod_decides_about_nothing_is_shown() {
        let (metrics, _) = Metrics::new(false);
        let shown = |reason: &'static str| {
            let served = Served::pending("c/s/t".to_owned(), "t".to_owned(), None);
            let mut report = vdt_store::RefreshReport::of_version("c/s/t", 3);
            report.sources = vec![vdt_store::SourceOutcome {
                name: "a".to_owned(),
                reason,
                message: String::new(),
                artifacts: None,
                skipped: BTreeMap::new(),
            }];
            served.committed(report);
            let text = metrics.encode(&[Arc::new(served)], SourceReads::default());
            let mut lines = text.lines();
            let series = "vdt_source_current{table=\"c/s/t\",source=\"a\"} ";
            lines.find_map(|line| Some(line.strip_prefix(series)?.to_owned()))
        };
        assert_eq!(shown("Listed").as_deref(), Some("1"));
        assert_eq!(shown("Shrunk").as_deref(), Some("0"));
        assert_eq!(shown("AccessDenied").as_deref(), Some("0"));
        assert_eq!(shown("Superseded"), None);
    }
}
