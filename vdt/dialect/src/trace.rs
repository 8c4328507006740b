//! What a request is called in logs, here and elsewhere: a request id, and W3C trace context.
//!
//! - The request id is the client's `X-Request-Id` if it is a plain word, else our own. It is sent back, also as `x-amz-request-id`.
//! - A valid `traceparent` (W3C Trace Context, section 3.2) is taken up: logs carry its trace id, its span as parent, and a span id of our own.
//!   Without one a trace begins here.
//!
//! - What is done for a request, here or by whoever is asked for something on its behalf, is done within its trace: [`TraceParent::current`].
//!
//! Ids are random numbers, not secrets.

use std::fmt;

use ::http::header::{HeaderMap, HeaderName};

/// The request id, as clients and proxies write it.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// Characters of a client's request id.
const REQUEST_ID_MAX: usize = 64;

/// What a request is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ids {
    /// Letters, digits, dots, dashes and underscores.
    pub(crate) request: String,
    pub(crate) trace: TraceId,
    /// Our own span.
    pub(crate) span: SpanId,
    /// The client's span.
    pub(crate) parent: Option<SpanId>,
}

/// The trace that something is done in, and the span of the request that it is done for: a `traceparent` for whoever is asked on its behalf. It is said
/// to be recorded by nobody, for logs are all that is kept of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace: TraceId,
    span: SpanId,
}

tokio::task_local! {
    static CURRENT: TraceParent;
}

impl TraceParent {
    /// That of the request that is being answered, or that a task was begun for within its trace.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|current| *current).ok()
    }

    /// Does something within the trace.
    pub fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// Does something within the trace that does not wait.
    pub(crate) fn sync_scope<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-00", self.trace, self.span)
    }
}

/// A task that is done within the current trace, if there is one, wherever it runs.
pub fn in_current_trace<F: Future>(task: F) -> impl Future<Output = F::Output> {
    let current = TraceParent::current();
    async move {
        match current {
            Some(current) => current.scope(task).await,
            None => task.await,
        }
    }
}

/// A span for the logs of a request with these headers: within the trace that they carry, if they do.
#[must_use]
pub fn request_span(headers: &HeaderMap) -> tracing::Span {
    Ids::of(headers).span()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceId(u128);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpanId(u64);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Ids {
    /// Reads the ids that a request brings, and makes the others.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let request = headers
            .get(REQUEST_ID)
            .and_then(|value| value.to_str().ok())
            .filter(|text| is_plain(text))
            .map_or_else(|| format!("{:016X}", fastrand::u64(..)), ToOwned::to_owned);
        let mut parents = headers.get_all(TRACE_PARENT).iter();
        let context = match (parents.next(), parents.next()) {
            (Some(value), None) => value.to_str().ok().and_then(parse),
            _ => None,
        };
        Self {
            request,
            trace: context.map_or_else(|| TraceId(fastrand::u128(1..)), |(trace, _)| trace),
            span: SpanId(fastrand::u64(1..)),
            parent: context.map(|(_, span)| span),
        }
    }

    /// What logs of the request are written in.
    pub(crate) fn span(&self) -> tracing::Span {
        tracing::info_span!(
            target: "vdt::request",
            "request",
            request_id = %self.request,
            trace_id = %self.trace,
            span_id = %self.span,
        )
    }

    /// What is done for the request is done within this.
    pub(crate) fn trace_parent(&self) -> TraceParent {
        TraceParent {
            trace: self.trace,
            span: self.span,
        }
    }
}

fn is_plain(text: &str) -> bool {
    (1..=REQUEST_ID_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// Parses `version-traceid-parentid-flags`. A version that is not known may be longer (section 3.2.4), `ff` is none.
fn parse(text: &str) -> Option<(TraceId, SpanId)> {
    let mut parts = text.split('-');
    let version = hex(parts.next()?, 2)?;
    let trace = hex(parts.next()?, 32)?;
    let span = u64::try_from(hex(parts.next()?, 16)?).ok()?;
    hex(parts.next()?, 2)?;
    let fits = version != 0xff && (version > 0 || parts.next().is_none());
    (fits && trace != 0 && span != 0).then_some((TraceId(trace), SpanId(span)))
}

/// Parses lower-case hexadecimal digits, exactly so many.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let plain = text
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (plain && text.len() == digits)
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::HeaderValue;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn ids(name: HeaderName, values: &[&str]) -> Ids {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_str(value).expect("a value"));
        }
        Ids::of(&headers)
    }

    #[test]
    fn a_trace_is_taken_up_with_a_span_of_our_own() {
        let ids = ids(TRACE_PARENT, &[TRACE]);
        assert_eq!(ids.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(
            ids.parent.map(|span| span.to_string()).as_deref(),
            Some("00f067aa0ba902b7")
        );
        assert_ne!(ids.span.to_string(), "00f067aa0ba902b7");
    }

    #[test]
    fn what_is_no_trace_context_begins_a_trace() {
        let longer = format!("{TRACE}-what");
        for bad in [
            "",
            "00",
            &longer,
            &TRACE.replace("00-4", "ff-4"),
            &TRACE.to_uppercase(),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(ids(TRACE_PARENT, &[bad]).parent, None, "{bad}");
        }
        assert!(parse(&longer.replace("00-4", "01-4")).is_some());
        assert_eq!(ids(TRACE_PARENT, &[TRACE, TRACE]).parent, None);
    }

    #[tokio::test]
    async fn what_is_done_for_a_request_is_done_in_its_trace() {
        let ids = ids(TRACE_PARENT, &[TRACE]);
        let current = || TraceParent::current().map(|current| current.to_string());
        let (elsewhere, task) = ids
            .trace_parent()
            .scope(async {
                (
                    tokio::spawn(async move { current() }),
                    in_current_trace(async move { current() }),
                )
            })
            .await;
        assert_eq!(elsewhere.await.expect("it ends"), None);
        let told = tokio::spawn(task).await.expect("it ends").expect("a trace");
        assert_eq!(parse(&told), Some((ids.trace, ids.span)));
        assert_eq!(current(), None);
    }

    #[test]
    fn request_ids_are_plain_words() {
        assert_eq!(ids(REQUEST_ID, &["a-B_3.4"]).request, "a-B_3.4");
        let long = "a".repeat(65);
        for bad in ["", "a b", "a\tb", "\u{e4}", "<x>", &long] {
            let made = ids(REQUEST_ID, &[bad]).request;
            assert!(made.len() == 16 && made != bad, "{made}");
        }
        assert_ne!(ids(REQUEST_ID, &[]).request, ids(REQUEST_ID, &[]).request);
    }
}
