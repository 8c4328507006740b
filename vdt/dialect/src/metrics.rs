//! Metrics of the data listener, `vdt_http_...`.
//!
//! Labels are bounded: dialects, operations, reasons and the statuses that vdt gives are fixed sets; never a path, a table, a principal or an
//! error's text. A request counts when its status is chosen; its duration ends with its body.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::http::StatusCode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds in seconds, from a memory hit on loopback to a large file over a slow link.
const SECONDS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
    30.0, 300.0,
];

/// A protocol's surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum DialectLabel {
    S3,
    Http,
}

/// What a request asks for, across dialects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Operation {
    GetObject,
    HeadObject,
    ListObjects,
    ListBuckets,
    HeadBucket,
    GetBucketLocation,
    Propfind,
    Options,
    /// Refused: vdt is read-only.
    Write,
    /// Everything else, refused too.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    dialect: DialectLabel,
    operation: Operation,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    dialect: DialectLabel,
    operation: Operation,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CutLabels {
    dialect: DialectLabel,
    by: CutBy,
}

/// Who ended a body before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum CutBy {
    /// The client left, was too slow, or the listener was shut down.
    Client,
    /// The store failed.
    Store,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    dialect: DialectLabel,
    reason: Refused,
}

/// Why the front door turned a request away, before any dialect answered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Refused {
    /// Too many requests at a time: 503.
    RequestsInFlight,
    /// Too many bytes wait for their clients: 503.
    BytesInFlight,
    /// No credentials, or none that are known: 401, in S3 403.
    Unauthenticated,
    /// The principal has no right on what was asked for: 403.
    Denied,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    reason: ConnectionEnd,
}

/// Why a listener ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum ConnectionEnd {
    /// No request came.
    Idle,
    /// A request's headers did not end.
    SlowHeader,
    /// The client did not take what it asked for.
    SlowReader,
    /// Its place was needed.
    Evicted,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabels {
    outcome: Handshake,
}

/// How a TLS handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Handshake {
    /// As it should.
    Completed,
    /// With an error of either side.
    Failed,
    /// Not in time.
    TimedOut,
    /// The client does not speak TLS.
    NotTls,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    what: Reloaded,
    outcome: Outcome,
}

/// What is read again while a listener runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Reloaded {
    Certificate,
    Keys,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Outcome {
    Taken,
    /// What was in use stays in use.
    Refused,
}

/// A family of one, so that the gauge is absent until it has a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NoLabels {}

/// The metrics of the data listener. Clones share their values.
#[derive(Debug, Clone, Default)]
pub struct HttpMetrics {
    families: Arc<Families>,
}

#[derive(Debug)]
struct Families {
    requests: Family<RequestLabels, Counter>,
    response_bytes: Family<OperationLabels, Counter>,
    duration: Family<OperationLabels, Histogram>,
    first_byte: Family<OperationLabels, Histogram>,
    in_flight: Gauge,
    bytes_in_flight: Gauge,
    cut: Family<CutLabels, Counter>,
    refused: Family<RefusalLabels, Counter>,
    connections: Gauge,
    connections_ended: Family<EndLabels, Counter>,
    handshakes: Family<HandshakeLabels, Counter>,
    certificate_ends: Family<NoLabels, Gauge>,
    reloads: Family<ReloadLabels, Counter>,
    /// What admission compares with its limits.
    requests_now: AtomicU64,
    bytes_now: AtomicU64,
}

impl Default for Families {
    fn default() -> Self {
        let histogram = || Histogram::new(SECONDS);
        Self {
            requests: Family::default(),
            response_bytes: Family::default(),
            duration: Family::new_with_constructor(histogram),
            first_byte: Family::new_with_constructor(histogram),
            in_flight: Gauge::default(),
            bytes_in_flight: Gauge::default(),
            cut: Family::default(),
            refused: Family::default(),
            connections: Gauge::default(),
            connections_ended: Family::default(),
            handshakes: Family::default(),
            certificate_ends: Family::default(),
            reloads: Family::default(),
            requests_now: AtomicU64::new(0),
            bytes_now: AtomicU64::new(0),
        }
    }
}

impl HttpMetrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        metrics.families.register(registry);
        metrics
    }

    /// Starts the measure of one request.
    pub(crate) fn start(&self, dialect: DialectLabel, operation: Operation) -> Measure {
        self.families.in_flight.inc();
        self.families.requests_now.fetch_add(1, Ordering::AcqRel);
        Measure {
            metrics: self.clone(),
            dialect,
            operation,
            started: Instant::now(),
            first_byte: None,
            sent_bytes: 0,
            held: 0,
            sent: None,
            end: None,
        }
    }

    /// Requests that were started and have not ended.
    pub(crate) fn requests_now(&self) -> u64 {
        self.families.requests_now.load(Ordering::Acquire)
    }

    /// Bytes handed to connections that may not have taken them yet.
    pub(crate) fn bytes_now(&self) -> u64 {
        self.families.bytes_now.load(Ordering::Acquire)
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

    /// Tells when the certificate in use ends, in seconds since the epoch.
    pub(crate) fn certificate_ends(&self, not_after: i64) {
        let family = &self.families.certificate_ends;
        family.get_or_create(&NoLabels {}).set(not_after);
    }

    /// Counts a certificate that was read again, and taken or not.
    pub fn certificate_reloaded(&self, taken: bool) {
        self.reloaded(Reloaded::Certificate, taken);
    }

    /// Counts keys that were read again, and taken or not.
    pub fn keys_reloaded(&self, taken: bool) {
        self.reloaded(Reloaded::Keys, taken);
    }

    fn reloaded(&self, what: Reloaded, taken: bool) {
        let outcome = if taken {
            Outcome::Taken
        } else {
            Outcome::Refused
        };
        let labels = ReloadLabels { what, outcome };
        self.families.reloads.get_or_create(&labels).inc();
    }
}

impl Families {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "vdt_http_requests",
            "Requests answered by the data listener",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "vdt_http_response",
            "Bytes of bodies sent by the data listener",
            Unit::Bytes,
            self.response_bytes.clone(),
        );
        registry.register_with_unit(
            "vdt_http_request_duration",
            "Time from a request's headers to the end of its body",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register_with_unit(
            "vdt_http_first_byte",
            "Time from a request's headers to its status, with the first bytes in hand",
            Unit::Seconds,
            self.first_byte.clone(),
        );
        registry.register(
            "vdt_http_requests_in_flight",
            "Requests whose body has not ended",
            self.in_flight.clone(),
        );
        registry.register(
            "vdt_http_bytes_in_flight",
            "Bytes of bodies that were read and not yet taken by connections",
            self.bytes_in_flight.clone(),
        );
        registry.register(
            "vdt_http_bodies_cut",
            "Bodies that ended before their promised length",
            self.cut.clone(),
        );
        registry.register(
            "vdt_http_refused",
            "Requests turned away by the front door",
            self.refused.clone(),
        );
        registry.register(
            "vdt_http_connections",
            "Connections that are open",
            self.connections.clone(),
        );
        registry.register(
            "vdt_http_connections_ended",
            "Connections ended by the listener",
            self.connections_ended.clone(),
        );
        registry.register(
            "vdt_tls_handshakes",
            "TLS handshakes",
            self.handshakes.clone(),
        );
        registry.register(
            "vdt_tls_certificate_expiry_timestamp_seconds",
            "When the certificate in use ends, Unix time",
            self.certificate_ends.clone(),
        );
        registry.register(
            "vdt_http_reloads",
            "Certificates and keys that were read again",
            self.reloads.clone(),
        );
    }
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyEnd {
    /// As promised.
    Whole,
    /// The client left or was cut.
    Client,
    /// The store failed.
    Store,
}

impl BodyEnd {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Client => "client",
            Self::Store => "store",
        }
    }
}

/// The measure of one request. Whatever happens to the request, dropping this closes the books.
#[derive(Debug)]
pub(crate) struct Measure {
    metrics: HttpMetrics,
    dialect: DialectLabel,
    operation: Operation,
    started: Instant,
    first_byte: Option<Duration>,
    sent_bytes: u64,
    /// Bytes of the piece that was handed on last.
    held: u64,
    /// The counter of the body's bytes, once the status is chosen.
    sent: Option<Counter>,
    end: Option<BodyEnd>,
}

impl Measure {
    /// The status is chosen.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        let labels = self.labels();
        let families = &self.metrics.families;
        let request = RequestLabels {
            dialect: self.dialect,
            operation: self.operation,
            status: status.as_u16(),
        };
        families.requests.get_or_create(&request).inc();
        let first_byte = self.started.elapsed();
        families
            .first_byte
            .get_or_create(&labels)
            .observe(first_byte.as_secs_f64());
        self.first_byte = Some(first_byte);
        self.sent = Some(families.response_bytes.get_or_create_owned(&labels));
    }

    /// The connection asks for more: it has taken what it was given.
    pub(crate) fn taken(&mut self) {
        if self.held > 0 {
            let families = &self.metrics.families;
            families.bytes_now.fetch_sub(self.held, Ordering::AcqRel);
            families.bytes_in_flight.dec_by(gauge(self.held));
            self.held = 0;
        }
    }

    /// Bytes of the body were handed to the connection.
    pub(crate) fn sent(&mut self, bytes: u64) {
        if let Some(counter) = &self.sent {
            counter.inc_by(bytes);
        }
        self.sent_bytes += bytes;
        self.held += bytes;
        let families = &self.metrics.families;
        families.bytes_now.fetch_add(bytes, Ordering::AcqRel);
        families.bytes_in_flight.inc_by(gauge(bytes));
    }

    /// The body ended as promised.
    pub(crate) fn ended(&mut self) {
        self.end.get_or_insert(BodyEnd::Whole);
    }

    /// The store failed in the middle of the body.
    pub(crate) fn failed(&mut self) {
        if self.end.is_none() {
            self.cut(CutBy::Store);
            self.end = Some(BodyEnd::Store);
        }
    }

    /// How the body ended; a body that is still under way would end by its client now.
    pub(crate) fn end(&self) -> BodyEnd {
        self.end.unwrap_or(BodyEnd::Client)
    }

    /// Bytes handed to the connection.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Time since the request's headers.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Time from the request's headers to its status.
    pub(crate) fn first_byte(&self) -> Option<Duration> {
        self.first_byte
    }

    pub(crate) fn dialect(&self) -> DialectLabel {
        self.dialect
    }

    pub(crate) fn operation(&self) -> Operation {
        self.operation
    }

    fn cut(&self, by: CutBy) {
        let labels = CutLabels {
            dialect: self.dialect,
            by,
        };
        self.metrics.families.cut.get_or_create(&labels).inc();
    }

    fn labels(&self) -> OperationLabels {
        OperationLabels {
            dialect: self.dialect,
            operation: self.operation,
        }
    }
}

impl Drop for Measure {
    fn drop(&mut self) {
        if self.end.is_none() {
            self.cut(CutBy::Client);
        }
        self.taken();
        let families = &self.metrics.families;
        families.in_flight.dec();
        families.requests_now.fetch_sub(1, Ordering::AcqRel);
        families
            .duration
            .get_or_create(&self.labels())
            .observe(self.started.elapsed().as_secs_f64());
    }
}

fn gauge(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
