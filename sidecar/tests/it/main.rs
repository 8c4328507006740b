//! Integration tests of the sidecar, one binary.

mod cache;
mod front;
mod tiers;
