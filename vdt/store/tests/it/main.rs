//! Tests of the store, one binary.

mod conditional;
mod conformance;
mod faults;
mod known;
mod log;
mod origin;
mod plan;
mod random;
mod refresh;
mod refreshers;
mod rows;
mod schedule;
mod source;
mod state;
