//! Tests of the crate from outside, one binary.
#![allow(clippy::unwrap_used, missing_docs)]

mod algebra;
mod conformance;
mod drift;
mod generate;
mod origin;
mod stored;
mod streaming;
mod view;
