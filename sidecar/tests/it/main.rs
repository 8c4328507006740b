//! Integration tests of the sidecar, one binary.
#![allow(clippy::unwrap_used, missing_docs)]

mod cache;
mod conformance;
mod front;
mod link;
mod log;
mod long_log;
mod tiers;
