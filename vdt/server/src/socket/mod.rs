//! The origin's socket: what the front door of a pod reads, and nobody else.
//!
//! ```text
//! /log/..., /files/...                 S3 dialect over SocketStore, read-only       (store)
//! /sources/...                         GET and HEAD of one object, with If-Match     (sources)
//! /-/versions /-/drift /-/probe        notices, reports, `vdt probe`                (service)
//! /-/admin/...                         the admin surface
//! ```
//!
//! Who may connect: processes of the same user, or of root. The kernel tells ([`Guarded`]); the folder is closed to others as well
//! where it is ours to close.
//!
//! A socket file that is left over answers no connection, and is replaced. One that answers is another server's.

mod bind;
mod service;
mod sources;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use bind::{Guarded, bind};
pub(crate) use service::SocketService;
pub(crate) use store::SocketStore;
