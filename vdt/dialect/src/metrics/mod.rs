//! Metrics of the data listener, `vdt_http_...`.
//!
//! Labels are bounded: dialects, operations, reasons and the statuses that vdt gives are fixed sets; never a path, a table, a principal or an
//! error's text. A request counts when its status is chosen; its duration ends with its body.

mod held;
mod labels;
mod measure;

pub(crate) use held::{Holder, Holding};
pub(crate) use labels::{ConnectionEnd, DialectLabel, Handshake, Operation, Refused};
pub(crate) use measure::Measure;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::http::StatusCode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

use self::held::Ledger;
use self::labels::{
    CutLabels, EndLabels, HandshakeLabels, NoLabels, OperationLabels, Outcome, RefusalLabels,
    RefusedLabels, ReloadLabels, Reloaded, RequestLabels,
};

/// Upper bounds in seconds, from a memory hit on loopback to a large file over a slow link.
const SECONDS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
    30.0, 300.0,
];

/// Makes a metric, registers it, and hands it out to be set.
pub fn registered<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: Metric + Clone + Default,
{
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// The metrics of the data listener. Clones share their values.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    families: Arc<Families>,
}

impl Default for HttpMetrics {
    /// Metrics that nobody is shown.
    fn default() -> Self {
        Self::register(&mut Registry::default())
    }
}

#[derive(Debug)]
struct Families {
    requests: Family<RequestLabels, Counter>,
    response_bytes: Family<OperationLabels, Counter>,
    duration: Family<OperationLabels, Histogram>,
    first_byte: Family<OperationLabels, Histogram>,
    in_flight: Gauge,
    ledger: Arc<Ledger>,
    cut: Family<CutLabels, Counter>,
    refused: Family<RefusalLabels, Counter>,
    connections: Gauge,
    connections_ended: Family<EndLabels, Counter>,
    handshakes: Family<HandshakeLabels, Counter>,
    certificate_begins: Family<NoLabels, Gauge>,
    certificate_ends: Family<NoLabels, Gauge>,
    reloads: Family<ReloadLabels, Counter>,
    refused_now: Family<RefusedLabels, Gauge>,
    without_credentials: Gauge,
    /// What admission compares with its limits.
    requests_now: AtomicU64,
    /// Members of the families above, so that a request need not look them up.
    known: [[OnceLock<Known>; OPERATIONS]; DIALECTS],
}

const DIALECTS: usize = DialectLabel::Http as usize + 1;

const OPERATIONS: usize = Operation::Unknown as usize + 1;

/// What is counted for each request of a dialect's operation.
#[derive(Debug)]
struct Known {
    labels: OperationLabels,
    response_bytes: Counter,
    duration: Histogram,
    first_byte: Histogram,
    /// Requests answered with 200 and 206.
    whole: OnceLock<Counter>,
    partial: OnceLock<Counter>,
}

impl HttpMetrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let families = Families::register(registry);
        for labels in ReloadLabels::all() {
            drop(families.reloads.get_or_create(&labels));
        }
        for labels in RefusedLabels::all() {
            drop(families.refused_now.get_or_create(&labels));
        }
        for labels in CutLabels::all() {
            drop(families.cut.get_or_create(&labels));
        }
        Self {
            families: Arc::new(families),
        }
    }

    /// Starts the measure of one request.
    pub(crate) fn start(&self, dialect: DialectLabel, operation: Operation) -> Measure {
        Measure::start(self.clone(), dialect, operation)
    }

    /// Requests that were started and have not ended.
    pub(crate) fn requests_now(&self) -> u64 {
        self.families.requests_now.load(Ordering::Acquire)
    }

    /// Reports whether connections hold no more than `limit` bytes that they have not taken, or make way for whoever asks: those that have held
    /// theirs for longest, and for `patience` at least.
    pub(crate) fn has_room(&self, limit: u64, patience: Duration) -> bool {
        self.families.ledger.has_room(limit, patience)
    }

    /// Ends the connection that takes least of what it was given, if it has not for `patience`.
    pub(crate) fn free_one(&self, patience: Duration) {
        self.families.ledger.free_one(patience);
    }

    /// Counts what a connection holds.
    pub(crate) fn holding(&self) -> Holding {
        self.families.ledger.open()
    }

    /// Counts a request that was turned away.
    pub(crate) fn refused(&self, dialect: DialectLabel, reason: Refused) {
        let labels = RefusalLabels { dialect, reason };
        self.families.refused.get_or_create(&labels).inc();
    }

    /// Counts a connection until the answer is dropped.
    pub(crate) fn connected(&self) -> Connected {
        self.families.connections.inc();
        Connected(self.families.connections.clone())
    }

    /// Counts a connection that its listener ended.
    pub(crate) fn connection_ended(&self, reason: ConnectionEnd) {
        let labels = EndLabels { reason };
        self.families.connections_ended.get_or_create(&labels).inc();
    }

    /// Counts a handshake.
    pub(crate) fn handshake(&self, outcome: Handshake) {
        let labels = HandshakeLabels { outcome };
        self.families.handshakes.get_or_create(&labels).inc();
    }

    /// Tells when the certificate in use begins and ends, in seconds since the epoch.
    pub(crate) fn certificate_in_use(&self, not_before: i64, not_after: i64) {
        let Families {
            certificate_begins,
            certificate_ends,
            ..
        } = &*self.families;
        certificate_begins
            .get_or_create(&NoLabels {})
            .set(not_before);
        certificate_ends.get_or_create(&NoLabels {}).set(not_after);
    }

    /// Counts a certificate that was read again, and taken or not.
    pub fn certificate_reloaded(&self, taken: bool) {
        self.reloaded(Reloaded::Certificate, Outcome::of(taken));
    }

    /// Tells whether the certificate as it was read last is of no use.
    pub fn certificate_refused(&self, is_refused: bool) {
        self.refused_now(Reloaded::Certificate, is_refused);
    }

    /// Counts keys that were read again, and taken or not.
    pub fn keys_reloaded(&self, taken: bool) {
        self.reloaded(Reloaded::Keys, Outcome::of(taken));
    }

    /// Tells whether keys as they were read last are of no use.
    pub fn keys_refused(&self, are_refused: bool) {
        self.refused_now(Reloaded::Keys, are_refused);
    }

    /// Tells how many principals have no credentials, because their Secrets are missing or of no use.
    pub fn principals_without_credentials(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.families.without_credentials.set(count);
    }

    /// Counts manifests that were read again, and taken or not.
    pub fn manifests_reloaded(&self, taken: bool) {
        self.reloaded(Reloaded::Manifests, Outcome::of(taken));
        self.refused_now(Reloaded::Manifests, !taken);
    }

    /// Counts manifests that were read again and wait for the process to be started again.
    pub fn manifests_need_restart(&self) {
        self.reloaded(Reloaded::Manifests, Outcome::RestartNeeded);
        self.refused_now(Reloaded::Manifests, false);
    }

    fn reloaded(&self, what: Reloaded, outcome: Outcome) {
        let labels = ReloadLabels { what, outcome };
        self.families.reloads.get_or_create(&labels).inc();
    }

    fn refused_now(&self, what: Reloaded, is_refused: bool) {
        let refused = &self.families.refused_now;
        refused
            .get_or_create(&RefusedLabels { what })
            .set(i64::from(is_refused));
    }
}

impl Families {
    fn register(registry: &mut Registry) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        Self {
            requests: registered(
                registry,
                "vdt_http_requests",
                "Requests answered by the data listener",
            ),
            response_bytes: with_unit(
                registry,
                "vdt_http_response",
                "Bytes of bodies sent by the data listener",
                Unit::Bytes,
                Family::default(),
            ),
            duration: with_unit(
                registry,
                "vdt_http_request_duration",
                "Time from a request's headers to the end of its body",
                Unit::Seconds,
                Family::new_with_constructor(histogram),
            ),
            first_byte: with_unit(
                registry,
                "vdt_http_first_byte",
                "Time from a request's headers to its status, with the first bytes in hand",
                Unit::Seconds,
                Family::new_with_constructor(histogram),
            ),
            in_flight: registered(
                registry,
                "vdt_http_requests_in_flight",
                "Requests whose body has not ended",
            ),
            ledger: Arc::new(Ledger::shown_by(registered(
                registry,
                "vdt_http_bytes_in_flight",
                "Bytes of bodies that connections were given and clients have not taken",
            ))),
            cut: registered(
                registry,
                "vdt_http_bodies_cut",
                "Bodies that ended before their promised length",
            ),
            refused: registered(
                registry,
                "vdt_http_refused",
                "Requests turned away by the front door",
            ),
            connections: registered(
                registry,
                "vdt_http_connections",
                "Connections that are open",
            ),
            connections_ended: registered(
                registry,
                "vdt_http_connections_ended",
                "Connections ended by the listener",
            ),
            handshakes: registered(registry, "vdt_tls_handshakes", "TLS handshakes"),
            certificate_begins: registered(
                registry,
                "vdt_tls_certificate_start_timestamp_seconds",
                "Since when the certificate in use is valid, Unix time",
            ),
            certificate_ends: registered(
                registry,
                "vdt_tls_certificate_expiry_timestamp_seconds",
                "When the certificate in use ends, Unix time",
            ),
            reloads: registered(
                registry,
                "vdt_http_reloads",
                "Certificates, keys and manifests that were read again",
            ),
            refused_now: registered(
                registry,
                "vdt_http_reload_refused",
                "1 while the certificate, keys or manifests are refused as they were read last",
            ),
            without_credentials: registered(
                registry,
                "vdt_http_principals_without_credentials",
                "Principals whose Secrets are missing or of no use",
            ),
            requests_now: AtomicU64::new(0),
            known: Default::default(),
        }
    }

    /// What is counted for an operation of a dialect.
    fn known(&self, labels: OperationLabels) -> &Known {
        let known = &self.known[labels.dialect as usize][labels.operation as usize];
        known.get_or_init(|| Known {
            response_bytes: self.response_bytes.get_or_create_owned(&labels),
            duration: self.duration.get_or_create_owned(&labels),
            first_byte: self.first_byte.get_or_create_owned(&labels),
            whole: OnceLock::new(),
            partial: OnceLock::new(),
            labels,
        })
    }

    /// Counts a request whose status is chosen.
    fn answered(&self, known: &Known, status: StatusCode) {
        let counter = || {
            self.requests.get_or_create_owned(&RequestLabels {
                dialect: known.labels.dialect,
                operation: known.labels.operation,
                status: status.as_u16(),
            })
        };
        match status {
            StatusCode::OK => known.whole.get_or_init(counter).inc(),
            StatusCode::PARTIAL_CONTENT => known.partial.get_or_init(counter).inc(),
            _ => counter().inc(),
        };
    }
}

/// As [`registered`], of a metric that is told in a unit.
fn with_unit<M: Metric + Clone>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    unit: Unit,
    metric: M,
) -> M {
    registry.register_with_unit(name, help, unit, metric.clone());
    metric
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests;
