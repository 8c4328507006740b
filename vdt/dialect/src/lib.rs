//! Protocols over any [`ObjectStore`](object_store::ObjectStore): S3, HTTP/WebDAV, and the admin surface.
//!
//! The store's first path segment is the bucket (S3) or the catalog (HTTP); nothing here knows what the objects mean.
//!
//! ```text
//!   data listener                                             admin listener
//!   /<bucket>/<key>                      s3    ─┐             / /api/ /refresh
//!   /v1/<catalog>/<schema>/<table>/...   http  ─┤             /metrics /healthz /readyz
//!                                               │                     │
//!                                            answer ── ObjectStore   Admin (a trait)
//! ```
//!
//! Promises, kept here for every dialect:
//! - Read-only. Every request that would write is refused with a status and an explanation.
//! - The length of an object is known before its first byte is sent, and a body that cannot be completed breaks its connection:
//!   it is never padded and never ends early as if it were whole.
//! - Bodies stream; memory does not grow with the size of an object.
//! - Nothing a client sends makes the process panic or hold a connection indefinitely.
//!
//! [`DataSurface`] is the service of the data listener, [`admin::router`] behind an [`admin::Gate`] that of the admin listener, and
//! [`listener::serve`] runs either of them on a socket. What precedes the data listener is in [`Edge`]: [`access`] says who may read what,
//! [`Limits`] how much at a time; [`tls`] is the listener's.

mod answer;
mod key;
mod listings;
mod log_limit;
mod request;

pub mod access;
pub mod admin;
mod edge;
mod exchange;
mod http;
pub mod listener;
pub mod metrics;
mod s3;
mod surface;
pub mod tls;
mod trace;

pub use access::{Access, KeyRing};
pub use admin::{Admin, AdminError, Readiness, Reason};
pub use answer::{EntityTag, NotYet, RangeMalformed, RangeSpec, http_date};
pub use edge::Edge;
pub use listener::{DrainReport, HttpService, Limits, Listen, Peer, ServeOptions, Workers, serve};
pub use log_limit::LogLimit;
pub use metrics::HttpMetrics;
pub use s3::PageKeys;
pub use surface::{BoxError, DataSurface, ResponseBody};
pub use tls::{PemPair, TlsReload};
pub use trace::{TraceParent, in_current_trace, request_span};
