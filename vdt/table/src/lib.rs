//! From a listing to virtual Parquet files: groups, layout, ropes, statistics and Delta actions.
//!
//! ```text
//! Artifact ...   sorted by key, streamed in
//!    | groups    which artifacts share a file               Layout: file target, rows
//! FileGroup
//!    | lay_out   pages, row groups, indexes, footer         TableSchema, Layout: row group target
//! VirtualFile    rope, name, exact statistics
//!    | add       the action for the log                     delta: the other actions
//! ```
//!
//! Everything here is pure and synchronous: no I/O, no clock, no randomness. The same input gives the same bytes, on every
//! replica and after every restart. Invariant 7 is kept here: no artifact byte is read to build the log. [`read_rows`] is
//! the way back from a rope to its artifacts; [`meta`] lays out the table's sibling without the artifacts themselves.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod artifact;
mod attribute;
mod chunk;
pub mod delta;
mod file;
mod fill;
mod footer;
mod group;
mod index;
mod layout;
pub mod meta;
mod page;
mod pattern;
mod rows;
mod schema;
mod stats;
mod thrift;
mod time;
mod value;

pub use artifact::{Artifact, FileGroup, SourceContext};
pub use attribute::Attribute;
pub use file::{LayoutError, PADDING_BYTES, VirtualFile, lay_out};
pub use fill::URL_PATH;
pub use group::groups;
pub use layout::{ChecksumPolicy, INLINE_MAX_BYTES, Layout, ROW_GROUPS_MAX};
pub use meta::meta_files;
pub use pattern::{PathPattern, PatternError};
pub use rows::{FileRows, RowsError, read_rows};
pub use schema::{Column, ColumnFrom, ColumnType, SchemaError, TableSchema};
pub use stats::{ColumnStats, Stats};
pub use value::Scalar;
