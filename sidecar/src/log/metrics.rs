//! Metrics of the log: `vdt_log_...`.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// Counts what a [`LogStore`](super::LogStore) does. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct LogMetrics {
    stale_answers: Counter,
    snapshots: Counter,
    kept_bytes: Gauge,
}

impl LogMetrics {
    /// Registers all of it.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "vdt_log_stale_answers",
            "Answers about a table's log that were older than allowed because the origin was away",
            metrics.stale_answers.clone(),
        );
        registry.register(
            "vdt_log_snapshots",
            "Snapshots of tables' logs taken from the origin",
            metrics.snapshots.clone(),
        );
        registry.register(
            "vdt_log_kept_bytes",
            "Bytes of memory that snapshots, levels and checksums of tables' logs take",
            metrics.kept_bytes.clone(),
        );
        metrics
    }

    /// Stale answers so far.
    #[must_use]
    pub fn stale_answers(&self) -> u64 {
        self.stale_answers.get()
    }

    pub(super) fn stale_answer(&self) {
        self.stale_answers.inc();
    }

    pub(super) fn snapshot_taken(&self) {
        self.snapshots.inc();
    }

    /// The gauge of what is kept.
    pub(super) fn kept_bytes(&self) -> &Gauge {
        &self.kept_bytes
    }
}
