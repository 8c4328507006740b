//! Integration tests of the sidecar, one binary.

mod tiers;
