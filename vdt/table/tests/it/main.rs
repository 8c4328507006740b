//! Virtual files as the `parquet` crate reads them, and the other promises of the crate from outside.

#![allow(clippy::unwrap_used, missing_docs)]

mod goldens;
mod limits;
mod meta;
mod readback;
mod statistics;
mod support;
mod values;
