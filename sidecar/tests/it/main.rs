//! Integration tests of the sidecar, one binary.

mod front;
mod tiers;
