//! Metrics under the names of controller-runtime, so that existing dashboards and alerts work, and two of our own.

mod workqueue;

use std::{
    sync::atomic::AtomicU64,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use http::{Request, Response};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Metric, Registry},
};
use tower::{Layer, Service};

pub(crate) use workqueue::WorkQueue;

/// Name of the controller, as a label.
pub(crate) const CONTROLLER: &str = "virtualtable";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Controller {
    controller: &'static str,
}

/// The only one.
const VIRTUAL_TABLE: Controller = Controller {
    controller: CONTROLLER,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reconciled {
    controller: &'static str,
    result: &'static str,
}

impl Reconciled {
    fn with(result: &'static str) -> Self {
        Self {
            controller: CONTROLLER,
            result,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    code: String,
    method: String,
    host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableCondition {
    namespace: String,
    name: String,
    r#type: String,
    status: String,
}

/// Registers a metric, and hands it out to be set.
fn registered<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// All metrics.
#[derive(Clone)]
pub(crate) struct Metrics {
    reconciles: Family<Reconciled, Counter>,
    errors: Family<Controller, Counter>,
    terminal_errors: Family<Controller, Counter>,
    panics: Family<Controller, Counter>,
    seconds: Family<Controller, Histogram>,
    max_concurrent: Family<Controller, Gauge>,
    active: Family<Controller, Gauge>,
    /// Tables that wait for a look.
    pub(crate) queue: WorkQueue,
    queue_retries: Family<Named, Counter>,
    leader: Family<Named, Gauge>,
    calls: Family<Call, Counter>,
    conditions: Family<TableCondition, Gauge<f64, AtomicU64>>,
    lost: Counter,
}

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done; looked at again later, as every table is.
    Success,
    /// Done, and only a person can help.
    Stalled,
    /// Tried again.
    Error,
}

impl Metrics {
    /// Registers all metrics.
    pub(crate) fn new(registry: &mut Registry, concurrency: u16) -> Self {
        let metrics = Self {
            reconciles: registered(
                registry,
                "controller_runtime_reconcile",
                "Reconciliations by result",
                Family::default(),
            ),
            errors: registered(
                registry,
                "controller_runtime_reconcile_errors",
                "Reconciliations that failed",
                Family::default(),
            ),
            terminal_errors: registered(
                registry,
                "controller_runtime_terminal_reconcile_errors",
                "Reconciliations that only a person can help",
                Family::default(),
            ),
            panics: registered(
                registry,
                "controller_runtime_reconcile_panics",
                "Reconciliations that panicked",
                Family::default(),
            ),
            seconds: registered(
                registry,
                "controller_runtime_reconcile_time_seconds",
                "Length of reconciliations",
                Family::new_with_constructor(|| {
                    Histogram::new(exponential_buckets(0.005, 2.0, 14))
                }),
            ),
            max_concurrent: registered(
                registry,
                "controller_runtime_max_concurrent_reconciles",
                "Most reconciliations at once",
                Family::default(),
            ),
            active: registered(
                registry,
                "controller_runtime_active_workers",
                "Reconciliations under way",
                Family::default(),
            ),
            queue: WorkQueue::new(registry),
            queue_retries: registered(
                registry,
                "workqueue_retries",
                "Tables put back after a failure",
                Family::default(),
            ),
            leader: registered(
                registry,
                "leader_election_master_status",
                "Whether this process leads: 1 or 0",
                Family::default(),
            ),
            calls: registered(
                registry,
                "rest_client_requests",
                "Requests to the API server by code, method and host",
                Family::default(),
            ),
            conditions: registered(
                registry,
                "vdt_virtualtable_condition",
                "Conditions of tables: 1 for the status that holds",
                Family::default(),
            ),
            lost: registered(
                registry,
                "vdt_node_loss_claims_deleted",
                "Caches that were deleted because their node is gone",
                Counter::default(),
            ),
        };
        metrics
            .max_concurrent
            .get_or_create(&VIRTUAL_TABLE)
            .set(i64::from(concurrency));
        drop(metrics.errors.get_or_create(&VIRTUAL_TABLE));
        drop(metrics.terminal_errors.get_or_create(&VIRTUAL_TABLE));
        drop(metrics.panics.get_or_create(&VIRTUAL_TABLE));
        drop(metrics.active.get_or_create(&VIRTUAL_TABLE));
        drop(metrics.queue_retries.get_or_create(&queue()));
        for result in ["success", "requeue", "requeue_after", "error"] {
            drop(metrics.reconciles.get_or_create(&Reconciled::with(result)));
        }
        metrics
    }

    /// A reconcile begins.
    pub(crate) fn begin(&self) {
        self.active.get_or_create(&VIRTUAL_TABLE).inc();
    }

    /// A reconcile panicked; it ends as an error, too.
    pub(crate) fn panicked(&self) {
        self.panics.get_or_create(&VIRTUAL_TABLE).inc();
    }

    /// A reconcile ended.
    pub(crate) fn end(&self, outcome: Outcome, took: Duration) {
        self.active.get_or_create(&VIRTUAL_TABLE).dec();
        self.seconds
            .get_or_create(&VIRTUAL_TABLE)
            .observe(took.as_secs_f64());
        let result = match outcome {
            Outcome::Success => "success",
            Outcome::Stalled => {
                self.terminal_errors.get_or_create(&VIRTUAL_TABLE).inc();
                "success"
            }
            Outcome::Error => {
                self.errors.get_or_create(&VIRTUAL_TABLE).inc();
                self.queue_retries.get_or_create(&queue()).inc();
                "error"
            }
        };
        self.reconciles
            .get_or_create(&Reconciled::with(result))
            .inc();
    }

    /// Says whether this process leads.
    pub(crate) fn lead(&self, lease: &str, leads: bool) {
        self.leader
            .get_or_create(&Named {
                name: lease.to_owned(),
            })
            .set(i64::from(leads));
    }

    /// A cache was deleted because its node is gone.
    pub(crate) fn lose_claims(&self, claims: usize) {
        self.lost.inc_by(claims as u64);
    }

    /// Shows the conditions of a table.
    pub(crate) fn show(
        &self,
        namespace: &str,
        name: &str,
        conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
    ) {
        for condition in conditions {
            for status in ["True", "False", "Unknown"] {
                let labels = TableCondition {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    r#type: condition.type_.clone(),
                    status: status.to_owned(),
                };
                let holds = condition.status == status;
                self.conditions
                    .get_or_create(&labels)
                    .set(f64::from(u8::from(holds)));
            }
        }
    }

    /// Forgets a table, or some of its conditions.
    pub(crate) fn forget<'a>(
        &self,
        namespace: &str,
        name: &str,
        types: impl IntoIterator<Item = &'a str>,
    ) {
        for kind in types {
            for status in ["True", "False", "Unknown"] {
                self.conditions.remove(&TableCondition {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    r#type: kind.to_owned(),
                    status: status.to_owned(),
                });
            }
        }
    }
}

fn queue() -> Named {
    Named {
        name: CONTROLLER.to_owned(),
    }
}

/// Counts requests to the API server.
#[derive(Clone)]
pub(crate) struct Counting {
    /// What is counted with.
    pub(crate) metrics: Metrics,
    /// Host and port of the API server. Requests do not know it yet where they are counted.
    pub(crate) host: String,
}

impl<S> Layer<S> for Counting {
    type Service = CountingService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CountingService {
            inner,
            metrics: self.metrics.clone(),
            host: self.host.clone(),
        }
    }
}

/// A service that counts.
#[derive(Clone)]
pub(crate) struct CountingService<S> {
    inner: S,
    metrics: Metrics,
    host: String,
}

impl<S, I, O> Service<Request<I>> for CountingService<S>
where
    S: Service<Request<I>, Response = Response<O>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<I>) -> Self::Future {
        let method = request.method().to_string();
        let host = self.host.clone();
        let calls = self.metrics.calls.clone();
        self.inner
            .call(request)
            .map(move |answer| {
                let code = match &answer {
                    Ok(response) => response.status().as_u16().to_string(),
                    Err(_) => "<error>".to_owned(),
                };
                calls.get_or_create(&Call { code, method, host }).inc();
                answer
            })
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_controller_runtime() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry, 8);
        metrics.begin();
        metrics.panicked();
        metrics.end(Outcome::Error, Duration::from_millis(10));
        metrics.begin();
        metrics.end(Outcome::Stalled, Duration::from_millis(10));
        metrics.lead("vdt-leader", true);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "controller_runtime_reconcile_total{controller=\"virtualtable\",result=\"error\"} 1",
            "controller_runtime_reconcile_total{controller=\"virtualtable\",result=\"success\"} 1",
            "controller_runtime_reconcile_errors_total{controller=\"virtualtable\"} 1",
            "controller_runtime_terminal_reconcile_errors_total{controller=\"virtualtable\"} 1",
            "controller_runtime_reconcile_panics_total{controller=\"virtualtable\"} 1",
            "controller_runtime_reconcile_time_seconds_count{controller=\"virtualtable\"} 2",
            "controller_runtime_max_concurrent_reconciles{controller=\"virtualtable\"} 8",
            "controller_runtime_active_workers{controller=\"virtualtable\"} 0",
            "workqueue_retries_total{name=\"virtualtable\"} 1",
            "leader_election_master_status{name=\"vdt-leader\"} 1",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }
}
