//! Tests of the store, one binary.

mod conformance;
mod faults;
mod log;
mod origin;
mod plan;
mod random;
mod refresh;
mod refreshers;
mod schedule;
mod source;
mod state;
