//! Tests of the crate from outside, one binary.
#![allow(clippy::unwrap_used, missing_docs)]

mod algebra;
mod generate;
mod stored;
