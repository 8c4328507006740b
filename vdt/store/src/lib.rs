//! Sources, state store, Delta log, refresh, and the origin that serves them as one `ObjectStore`.
//!
//! ```text
//!   manifest -> Definition -> TableRefresh::run -> versions in the StateStore -> Origin -> (RopeStore, dialects)
//!                   |              ^
//!                 Source -- list --+      schedule: timer, requests, changed sources
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`source`] | listing and reading of folders and buckets |
//! | [`state`] | the directory or bucket that log and ropes live in |
//! | [`log`] | one table's Delta log: snapshots, compare-and-swap commits, checkpoints |
//! | [`plan`] | what a refresh must do, pure |
//! | [`refresh`] | one refresh, from listing to commit |
//! | [`mod@schedule`] | when refreshes run |
//! | [`origin`] | everything a table is made of, as an `ObjectStore` |
//! | [`versions`] | the newest versions, for callers that wait for the next |

pub mod definition;
pub mod error;
pub mod log;
pub mod origin;
pub mod plan;
pub mod refresh;
mod rows;
pub mod schedule;
mod secrets;
pub mod source;
pub mod state;
pub mod versions;

pub use definition::{Definition, Edition, RefreshSettings};
pub use error::StoreError;
pub use origin::Origin;
pub use refresh::{Clock, Progress, RefreshReport, SourceOutcome, TableRefresh};
pub use schedule::{Outcome, RefreshTask, Refresher, RequestError, TableStatus, schedule};
pub use source::{Source, SourceEnv, SourceError};
pub use state::{OpenMode, StateStore};
pub use versions::Versions;
