//! Tests of the resource from outside: its definition, checked examples, transitions, and hostile manifests.
#![allow(clippy::unwrap_used, missing_docs)]

mod definition;
mod examples;
mod hostile;
mod schema;
mod strict;
