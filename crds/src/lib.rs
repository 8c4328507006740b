//! The `VirtualTable` resource: its types, its schema, and every rule it must obey.
//!
//! ```text
//! manifest --parse--> VirtualTable --validate--> violations (none: fine) --unsupported--> what this version cannot serve
//!                          |
//!                          +--crd()--> the CustomResourceDefinition, from the same types
//! ```
//!
//! Bounds (lengths, patterns, enums) are declared once, beside the field: the schema is derived from them, and parsing and validation read the schema. Rules
//! across fields are in [`validate()`] and, for the API server, as CEL in the definition: two ways to judge, one set of sentences, one corpus of examples. The crate reads and writes nothing: no file, no network, no clock.

mod adhoc;
pub mod api;
mod chain;
mod crd;
mod for_pods;
pub mod parse;
pub mod quantity;
mod refusals;
mod resolved;
pub mod retention;
mod rules;
mod schema;
mod shorten;
pub mod snippets;
mod spec;
pub mod status;
pub mod units;
mod unsupported;
mod validate;
mod violation;

pub use adhoc::BucketUrlError;
pub use chain::chain;
pub use crd::{crd, crd_yaml};
pub use parse::{API_VERSION, KIND, ParseError, parse};
pub use quantity::Quantity;
pub use refusals::{doubles, refusals};
pub use resolved::{Location, META_SUFFIX};
pub use retention::Retention;
pub use shorten::shorten;
pub use spec::*;
pub use status::{ConditionStatus, SourceStatus, VirtualTableStatus};
pub use unsupported::unsupported;
pub use validate::{Profile, validate, validate_update};
pub use violation::{Violation, ViolationKind};
