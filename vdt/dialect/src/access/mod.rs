//! Who may read what.
//!
//! ```text
//!   request ── S3: signature, checked by s3s ─────┐
//!           └─ HTTP: bearer token, by digest ─────┴─> Caller ── Tables ── Visible, the store as this caller sees it
//! ```
//!
//! - A principal may read a set of tables, each by its path. All else is not there for it: no listing shows it, and who asks for it by name gets 403
//!   whether it exists or not.
//! - [`KeyRing`] holds all principals and is replaced as a whole. A request is decided by the ring that is in use when it begins, and goes on to its
//!   end whatever is replaced meanwhile.
//! - Secrets are compared in constant time: signatures by s3s, tokens here, by their SHA-256, with every known token.

mod keys;
mod tables;
mod token;
mod visible;

pub(crate) use keys::Ring;
pub use keys::{AccessKey, KeyRing, KeyRingError, Principal, Secret};
pub use tables::Tables;
pub(crate) use token::{Presented, presented};
pub(crate) use visible::visible;

use std::sync::Arc;

/// Who may read.
#[derive(Debug, Clone, Default)]
pub enum Access {
    /// Everybody reads everything; signatures and tokens are not looked at.
    #[default]
    Anonymous,
    /// Principals read what they have a right to, and everybody what the ring says is public.
    Keys(Arc<KeyRing>),
}

/// Who a request comes from, and what it may read.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// `None` for somebody who showed no credentials.
    pub(crate) principal: Option<Arc<str>>,
    /// `None` for everything.
    pub(crate) tables: Option<Arc<Tables>>,
}

impl Caller {
    /// Anybody, where access is anonymous.
    pub(crate) fn anybody() -> Self {
        Self {
            principal: None,
            tables: None,
        }
    }

    /// Reports whether there is anything to be read at or below a folder, or above it: what may be asked for by name.
    pub(crate) fn may_name(&self, path: &str) -> bool {
        self.tables
            .as_ref()
            .is_none_or(|tables| tables.may_name(path))
    }

    /// Reports whether an object may be read.
    pub(crate) fn may_read(&self, path: &str) -> bool {
        self.tables
            .as_ref()
            .is_none_or(|tables| tables.contains(path))
    }
}

/// What somebody is told who asks for what they may not read.
pub(crate) const DENIED: &str =
    "these credentials give no right to read this, or there is nothing of that name";

/// The same for somebody who showed no credentials.
pub(crate) const NO_CREDENTIALS: &str =
    "credentials are needed to read this, or there is nothing of that name";
