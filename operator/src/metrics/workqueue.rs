//! The queue of tables as controller-runtime measures its own.
//!
//! ```text
//! something happens to a table --add----+
//! its time has come ---------(its due)--+--> waits --begin--> is looked at --end--> is due again, some time
//! ```
//!
//! The queue itself is that of kube's controller, which has no numbers. What goes in and what comes out is seen here, so these are true: a table that is
//! due waits from that moment on, also while nobody has noticed.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        counter::Counter,
        gauge::ConstGauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use tokio::time::Instant;

use super::{CONTROLLER, registered};
use crate::watches::TableRef;

/// Measures the queue.
#[derive(Clone)]
pub(crate) struct WorkQueue {
    tables: Arc<Mutex<Tables>>,
    adds: Counter,
    waited: Histogram,
    worked: Histogram,
}

/// Since when tables wait, from when on they are due, and since when they are looked at.
#[derive(Default)]
struct Tables {
    waiting: HashMap<TableRef, Instant>,
    due: HashMap<TableRef, Instant>,
    looked_at: HashMap<TableRef, Instant>,
}

impl WorkQueue {
    /// Registers the metrics of the queue.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let seconds = || Histogram::new(exponential_buckets(1e-3, 4.0, 10));
        let registry = registry.sub_registry_with_label(("name".into(), CONTROLLER.into()));
        let queue = Self {
            tables: Arc::default(),
            adds: registered(
                registry,
                "workqueue_adds",
                "Tables put into the queue",
                Counter::default(),
            ),
            waited: registered(
                registry,
                "workqueue_queue_duration_seconds",
                "How long tables waited for a look",
                seconds(),
            ),
            worked: registered(
                registry,
                "workqueue_work_duration_seconds",
                "Length of looks",
                seconds(),
            ),
        };
        registry.register_collector(Box::new(Now(queue.tables.clone())));
        queue
    }

    /// A queue that nobody reads the metrics of.
    #[cfg(test)]
    pub(crate) fn unread() -> Self {
        Self::new(&mut Registry::default())
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock()
    }

    /// Something happened to a table. One that waits already waits once.
    pub(crate) fn add(&self, table: &TableRef) {
        self.tables()
            .waiting
            .entry(table.clone())
            .or_insert_with(|| {
                self.adds.inc();
                Instant::now()
            });
    }

    /// A table is taken out of the queue.
    pub(crate) fn begin(&self, table: &TableRef) {
        let (mut tables, now) = (self.tables(), Instant::now());
        let due = tables.due.remove(table);
        let since = tables.waiting.remove(table).unwrap_or_else(|| {
            self.adds.inc();
            due.unwrap_or(now)
        });
        self.waited.observe((now - since).as_secs_f64());
        tables.looked_at.insert(table.clone(), now);
    }

    /// A look ended. `after`: the table is due again after this, without an event.
    pub(crate) fn end(&self, table: &TableRef, after: Option<Duration>) {
        let (mut tables, now) = (self.tables(), Instant::now());
        if let Some(since) = tables.looked_at.remove(table) {
            self.worked.observe((now - since).as_secs_f64());
        }
        if let Some(after) = after {
            tables.due.insert(table.clone(), now + after);
        }
    }

    /// A table is gone: nobody looks at it any more.
    pub(crate) fn forget(&self, table: &TableRef) {
        let mut tables = self.tables();
        tables.waiting.remove(table);
        tables.due.remove(table);
    }
}

impl Tables {
    /// How many tables wait.
    fn depth(&self, now: Instant) -> usize {
        let due = self.due.iter().filter(|(table, at)| {
            **at <= now
                && !self.waiting.contains_key(*table)
                && !self.looked_at.contains_key(*table)
        });
        self.waiting.len() + due.count()
    }

    /// How long the looks under way have taken, in seconds.
    fn unfinished(&self, now: Instant) -> impl Iterator<Item = f64> {
        self.looked_at
            .values()
            .map(move |since| (now - *since).as_secs_f64())
    }
}

/// What is true when it is asked for.
struct Now(Arc<Mutex<Tables>>);

impl fmt::Debug for Now {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Now")
    }
}

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (depth, total, longest) = {
            let tables = self.0.lock();
            let now = Instant::now();
            let depth = u32::try_from(tables.depth(now)).unwrap_or(u32::MAX);
            let longest = tables.unfinished(now).fold(0.0, f64::max);
            (
                f64::from(depth),
                // A sum of nothing would be -0.
                tables.unfinished(now).fold(0.0, |all, one| all + one),
                longest,
            )
        };
        for (name, help, value) in [
            ("workqueue_depth", "Tables that wait for a look", depth),
            (
                "workqueue_unfinished_work_seconds",
                "How long the looks under way have taken, together",
                total,
            ),
            (
                "workqueue_longest_running_processor_seconds",
                "How long the longest look under way has taken",
                longest,
            ),
        ] {
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watches::table_ref;

    #[tokio::test(start_paused = true)]
    async fn what_goes_in_and_comes_out_is_counted_and_timed() {
        let mut registry = Registry::default();
        let queue = WorkQueue::new(&mut registry);
        let (one, other) = (table_ref("one", "docs"), table_ref("other", "docs"));
        let pass = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        let shows = |lines: &[&str]| {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            for line in lines {
                let (name, value) = line.split_once(' ').unwrap();
                let line = format!("workqueue_{name}{{name=\"virtualtable\"}} {value}");
                assert!(
                    text.lines().any(|found| found == line),
                    "{line} is not in\n{text}"
                );
            }
        };
        // Twice the same, once another.
        for table in [&one, &one, &other] {
            queue.add(table);
        }
        pass(3).await;
        shows(&["adds_total 2", "depth 2.0", "unfinished_work_seconds 0.0"]);
        queue.begin(&one);
        pass(2).await;
        shows(&[
            "depth 1.0",
            "queue_duration_seconds_sum 3.0",
            "unfinished_work_seconds 2.0",
            "longest_running_processor_seconds 2.0",
        ]);
        queue.end(&one, Some(Duration::from_secs(20)));
        shows(&["work_duration_seconds_sum 2.0", "depth 1.0"]);
        queue.forget(&other);
        pass(19).await;
        shows(&["depth 0.0", "adds_total 2"]);
        // It is due, and nobody takes it for four seconds.
        pass(5).await;
        shows(&["depth 1.0"]);
        queue.begin(&one);
        shows(&[
            "depth 0.0",
            "adds_total 3",
            "queue_duration_seconds_sum 7.0",
        ]);
        queue.end(&one, None);
        pass(60).await;
        shows(&["depth 0.0", "unfinished_work_seconds 0.0"]);
    }
}
