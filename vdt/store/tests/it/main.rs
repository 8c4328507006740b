//! Tests of the store, one binary.

mod faults;
mod plan;
mod random;
mod refresh;
mod state;
