//! One request from its headers to the end of its body: measured, and logged as one line when it ends.
//!
//! The line is an event of target `vdt::access`, level INFO, with fields. It holds neither query nor headers but the User-Agent, so no signature,
//! token or presigned URL; what comes from the client is escaped and cut.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use ::http::header::USER_AGENT;
use ::http::{Method, Request, StatusCode};
use tracing::Span;

use crate::listener::Peer;
use crate::metrics::Measure;
use crate::trace::Ids;

/// Target of the access log.
const TARGET: &str = "vdt::access";

/// Characters of a path in the log: the longest key has 1,024 bytes, percent-encoded three times that.
const PATH_MAX: usize = 1024;

/// Characters of a User-Agent in the log.
const USER_AGENT_MAX: usize = 160;

/// Where a dialect says who asks, once it knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Who(Arc<Asker>);

#[derive(Debug, Default)]
struct Asker {
    is_known: AtomicBool,
    principal: OnceLock<Arc<str>>,
}

impl Who {
    pub(crate) fn set(&self, principal: Option<&Arc<str>>) {
        self.0.is_known.store(true, Ordering::Relaxed);
        if let Some(principal) = principal {
            // Only the first counts, and there is no second.
            let _ = self.0.principal.set(Arc::clone(principal));
        }
    }

    /// Whether it was said who asks, be it nobody in particular.
    pub(crate) fn is_known(&self) -> bool {
        self.0.is_known.load(Ordering::Relaxed)
    }
}

/// The S3 code of an answer that is an error: an extension of a dialect's response, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ErrorCode(pub(crate) Cow<'static, str>);

/// One request under way. Dropping it writes its line.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) measure: Measure,
    pub(crate) ids: Ids,
    pub(crate) who: Who,
    /// What logs of this request are written in.
    pub(crate) span: Span,
    status: Option<StatusCode>,
    code: Option<ErrorCode>,
    line: Option<Box<Line>>,
}

/// What the line needs of the request.
#[derive(Debug)]
struct Line {
    method: Method,
    path: String,
    user_agent: String,
    peer: Option<Peer>,
}

impl Exchange {
    /// Begins with a request's headers. `log` says whether there is to be a line.
    pub(crate) fn new<B>(request: &Request<B>, measure: Measure, log: bool) -> Self {
        let ids = Ids::of(request.headers());
        let span = ids.span();
        let enabled = log && tracing::enabled!(target: TARGET, tracing::Level::INFO);
        let line = enabled.then(|| {
            let user_agent = request.headers().get(USER_AGENT);
            Box::new(Line {
                method: request.method().clone(),
                path: escaped(request.uri().path().as_bytes(), PATH_MAX),
                user_agent: user_agent.map_or_else(String::new, |agent| {
                    escaped(agent.as_bytes(), USER_AGENT_MAX)
                }),
                peer: request.extensions().get().copied(),
            })
        });
        Self {
            measure,
            ids,
            who: Who::default(),
            span,
            status: None,
            code: None,
            line,
        }
    }

    /// The status is chosen, and of an error in S3 its code.
    pub(crate) fn answered(&mut self, status: StatusCode, code: Option<ErrorCode>) {
        self.status = Some(status);
        self.code = code;
        self.measure.answered(status);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let Some(line) = self.line.take() else {
            return;
        };
        let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
        tracing::info!(
            target: TARGET,
            principal = self.who.0.principal.get().map_or("-", |name| name),
            dialect = ?self.measure.dialect(),
            operation = ?self.measure.operation(),
            method = %line.method,
            path = %line.path,
            // 0 when the client left before there was one.
            status = self.status.map_or(0, |status| status.as_u16()),
            code = self.code.as_ref().map(|code| &*code.0),
            bytes = self.measure.sent_bytes(),
            end = self.measure.end().as_str(),
            duration_ms = milliseconds(self.measure.elapsed()),
            first_byte_ms = self.measure.first_byte().map(milliseconds),
            user_agent = %line.user_agent,
            peer = line.peer.map(tracing::field::display),
            request_id = %self.ids.request,
            trace_id = %self.ids.trace,
            span_id = %self.ids.span,
            parent_span_id = self.ids.parent.map(tracing::field::display),
            "request"
        );
    }
}

/// Printable ASCII as it is but for quotes and backslashes, everything else as `\x..`, cut at `max` characters.
fn escaped(bytes: &[u8], max: usize) -> String {
    let mut text = String::new();
    for byte in bytes {
        if text.len() >= max {
            text.push_str("...");
            break;
        }
        match byte {
            b'"' | b'\\' | 0..0x20 | 0x7f.. => {
                // Writing to a String does not fail.
                let _ = write!(text, "\\x{byte:02x}");
            }
            plain => text.push(char::from(*plain)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send_cannot_forge_a_line() {
        assert_eq!(escaped(b"a b/c%20", 99), "a b/c%20");
        assert_eq!(
            escaped(b"a\n\"x\" \x1b[31m\xff\\", 99),
            r"a\x0a\x22x\x22 \x1b[31m\xff\x5c"
        );
        assert_eq!(escaped(b"abcdef", 3), "abc...");
    }
}
