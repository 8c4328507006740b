//! `vdt-operator`: a VirtualTable becomes serving pods.
//!
//! ```text
//! dereference -> validate -> build -> apply -> status        one look at one table (controller)
//!     GETs        pure       pure     writes   one write
//! ```
//!
//! The operator has no webhook and adds no finalizer: while it is away, tables can still be served, created and deleted.
//!
//! Also a library, for `kubectl vt plan`, which predicts the outcome of a look with [`preview()`].

mod apply;
mod args;
mod backoff;
mod build;
mod check;
mod command;
mod controller;
mod dereference;
#[cfg(test)]
mod fake_api;
mod held;
mod http;
mod lease;
mod metrics;
mod names;
mod preview;
mod render;
mod run;
mod start;
mod status;
mod token;
mod validate;
mod watches;

pub use build::ADMIN_PORT;
pub use command::main;
pub use preview::{Live, Preview, Refused, preview};
