//! Tests of the store, one binary.

mod conformance;
mod faults;
mod log;
mod origin;
mod plan;
mod random;
mod refresh;
mod source;
mod state;
