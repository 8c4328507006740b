//! The way to the origin in a pod: a Unix socket that the `vdt` server offers in a folder of its own.
//!
//! ```text
//!   CacheStore -> LogStore -> OriginClient -> pool -> socket -> S3 dialect of the server: buckets log, files, sources
//!                    ^                         |
//!                    └── notices -- watch ─────┤  GET /-/versions?after=N   a long poll
//!        RopeStore's drift ------- drift ──────┤  POST /-/drift
//!        rights ------------------ ask --------┤  GET /-/owners
//!        admin listener ---------- forward ────┘  /-/admin/...
//! ```
//!
//! Promises:
//! - The server going away is a normal event: nothing here panics, hangs or gives up. A request fails within a bounded time, and the next
//!   one after the server's return succeeds.
//! - A version that the server commits is known here at once, and everything that was known is forgotten when the server has been away.
//! - A source object is read with `If-Match`. One whose source has no strong ETag travels under a made-up one ([`wire::MadeUpTag`]), which never leaves
//!   this module.
//!
//! Cancel: dropping a request or a body closes its connection, which ends the server's work for it.

mod ask;
mod client;
mod connector;
mod drift;
mod forward;
mod pool;
mod watch;
pub mod wire;

pub use client::OriginClient;
pub use drift::DriftReporter;
pub use forward::Forward;
pub(crate) use forward::unavailable;
pub use pool::{Socket, SocketError};
pub use watch::{LinkState, Watch};
