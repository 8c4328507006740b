//! Metrics of the data listener, `vdt_http_...`.
//!
//! Labels are bounded: dialects, operations and status classes are fixed sets; never a path, a table or an error's text.
//! A request counts when its status is chosen; its duration ends with its body.

use std::sync::Arc;
use std::time::Instant;

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
    status: StatusClass,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CutLabels {
    dialect: DialectLabel,
    by: CutBy,
}

/// Who ended a body before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum CutBy {
    /// The client left, or the listener was shut down.
    Client,
    /// The store failed.
    Store,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct StatusClass(u16);

impl EncodeLabelValue for StatusClass {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        use std::fmt::Write;
        write!(encoder, "{}xx", self.0)
    }
}

/// The metrics of the data listener. Clones share their values.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    requests: Family<RequestLabels, Counter>,
    response_bytes: Family<OperationLabels, Counter>,
    duration: Family<OperationLabels, Histogram>,
    first_byte: Family<OperationLabels, Histogram>,
    in_flight: Gauge,
    cut: Family<CutLabels, Counter>,
}

impl HttpMetrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let histogram = || Histogram::new(SECONDS);
        let metrics = Self {
            requests: Family::default(),
            response_bytes: Family::default(),
            duration: Family::new_with_constructor(histogram),
            first_byte: Family::new_with_constructor(histogram),
            in_flight: Gauge::default(),
            cut: Family::default(),
        };
        registry.register(
            "vdt_http_requests",
            "Requests answered by the data listener",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "vdt_http_response",
            "Bytes of bodies sent by the data listener",
            Unit::Bytes,
            metrics.response_bytes.clone(),
        );
        registry.register_with_unit(
            "vdt_http_request_duration",
            "Time from a request's headers to the end of its body",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register_with_unit(
            "vdt_http_first_byte",
            "Time from a request's headers to its status, with the first bytes in hand",
            Unit::Seconds,
            metrics.first_byte.clone(),
        );
        registry.register(
            "vdt_http_requests_in_flight",
            "Requests whose body has not ended",
            metrics.in_flight.clone(),
        );
        registry.register(
            "vdt_http_bodies_cut",
            "Bodies that ended before their promised length",
            metrics.cut.clone(),
        );
        metrics
    }

    /// Starts the measure of one request.
    pub(crate) fn start(&self, dialect: DialectLabel, operation: Operation) -> Measure {
        self.in_flight.inc();
        Measure {
            metrics: self.clone(),
            dialect,
            operation,
            started: Instant::now(),
            sent: None,
            ended: false,
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
    /// The counter of the body's bytes, once the status is chosen.
    sent: Option<Arc<Counter>>,
    ended: bool,
}

impl Measure {
    /// The status is chosen.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        let labels = self.labels();
        let status = StatusClass(status.as_u16() / 100);
        let Self {
            metrics,
            dialect,
            operation,
            started,
            ..
        } = self;
        metrics
            .requests
            .get_or_create(&RequestLabels {
                dialect: *dialect,
                operation: *operation,
                status,
            })
            .inc();
        metrics
            .first_byte
            .get_or_create(&labels)
            .observe(started.elapsed().as_secs_f64());
        self.sent = Some(Arc::new(
            metrics.response_bytes.get_or_create_owned(&labels),
        ));
    }

    /// Bytes of the body were handed to the connection.
    pub(crate) fn sent(&self, bytes: u64) {
        if let Some(counter) = &self.sent {
            counter.inc_by(bytes);
        }
    }

    /// The body ended as promised.
    pub(crate) fn ended(&mut self) {
        self.ended = true;
    }

    /// The store failed in the middle of the body.
    pub(crate) fn failed(&mut self) {
        if !self.ended {
            self.cut(CutBy::Store);
        }
    }

    fn cut(&mut self, by: CutBy) {
        self.ended = true;
        self.metrics
            .cut
            .get_or_create(&CutLabels {
                dialect: self.dialect,
                by,
            })
            .inc();
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
        if !self.ended {
            self.cut(CutBy::Client);
        }
        self.metrics.in_flight.dec();
        self.metrics
            .duration
            .get_or_create(&self.labels())
            .observe(self.started.elapsed().as_secs_f64());
    }
}
