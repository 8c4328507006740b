//! The `VirtualTable` resource: its types, its schema, and every rule it must keep.

pub mod quantity;
pub mod retention;
mod spec;
pub mod status;

pub use quantity::Quantity;
pub use retention::Retention;
pub use spec::*;
pub use status::{ConditionStatus, SourceStatus, VirtualTableStatus};
