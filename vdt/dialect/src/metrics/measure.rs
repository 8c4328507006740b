//! The measure of one request, from its headers to the end of its body.

use std::mem;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ::http::StatusCode;
use prometheus_client::metrics::counter::Counter;

use super::HttpMetrics;
use super::labels::{CutBy, CutLabels, DialectLabel, Operation, OperationLabels};

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

/// The measure of one request. It is under way until the last of its body is handed over; whatever happens to it, dropping this closes the books.
#[derive(Debug)]
pub(crate) struct Measure {
    metrics: HttpMetrics,
    dialect: DialectLabel,
    operation: Operation,
    started: Instant,
    first_byte: Option<Duration>,
    sent_bytes: u64,
    /// The counter of the body's bytes, once the status is chosen.
    sent: Option<Counter>,
    end: Option<BodyEnd>,
    /// Whether it counts among the requests under way.
    is_under_way: bool,
}

impl Measure {
    /// A request's headers are complete.
    pub(super) fn start(metrics: HttpMetrics, dialect: DialectLabel, operation: Operation) -> Self {
        metrics.families.in_flight.inc();
        metrics.families.requests_now.fetch_add(1, Ordering::AcqRel);
        Self {
            metrics,
            dialect,
            operation,
            started: Instant::now(),
            first_byte: None,
            sent_bytes: 0,
            sent: None,
            end: None,
            is_under_way: true,
        }
    }

    /// The status is chosen.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        let families = &self.metrics.families;
        let known = families.known(self.labels());
        families.answered(known, status);
        let first_byte = self.started.elapsed();
        known.first_byte.observe(first_byte.as_secs_f64());
        self.first_byte = Some(first_byte);
        self.sent = Some(known.response_bytes.clone());
    }

    /// Bytes of the body were handed to the connection.
    pub(crate) fn sent(&mut self, bytes: u64) {
        if let Some(counter) = &self.sent {
            counter.inc_by(bytes);
        }
        self.sent_bytes += bytes;
    }

    /// The body ended as promised. A client of HTTP/2 may refuse to take its last piece, which is counted by its bytes: nothing more is done for it.
    pub(crate) fn ended(&mut self) {
        self.end.get_or_insert(BodyEnd::Whole);
        self.leave();
    }

    /// The store failed in the middle of the body.
    pub(crate) fn failed(&mut self) {
        if self.end.is_none() {
            self.cut(CutBy::Store);
            self.end = Some(BodyEnd::Store);
        }
        self.leave();
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

    /// The request is not under way any more.
    fn leave(&mut self) {
        if mem::take(&mut self.is_under_way) {
            let families = &self.metrics.families;
            families.in_flight.dec();
            families.requests_now.fetch_sub(1, Ordering::AcqRel);
        }
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
        self.leave();
        self.metrics
            .families
            .known(self.labels())
            .duration
            .observe(self.started.elapsed().as_secs_f64());
    }
}
