//! Integration tests of the sidecar, one binary.

mod cache;
mod front;
mod link;
mod log;
mod tiers;
