//! Who may read what.
//!
//! ```text
//!   request ── S3: signature, checked by s3s ─────┐
//!           └─ HTTP: bearer token, by digest ─────┴─> Caller ── Tables ── Visible, the store as this caller sees it
//! ```
//!
//! - A principal may read a set of tables, each by its path. All else is not there for it: no listing shows it, and who asks for it by name gets 403
//!   whether it exists or not.
//! - Where everybody may read, that is of [`Public`] tables too. What is not public is not there: 404, for no credentials would help.
//! - Where [`OwnNames`] are required, who shows no credentials that are looked at must name this machine, or is answered 403.
//! - [`KeyRing`] holds all principals and is replaced as a whole, as what is public is. A request is decided by the ring that is in use when it begins, and goes on to its
//!   end whatever is replaced meanwhile.
//! - Secrets are compared in constant time: signatures by s3s, tokens here, by their SHA-256, with every known token.

mod host;
mod keys;
mod public;
mod tables;
mod token;
mod visible;

pub use host::OwnNames;
pub(crate) use host::{Host, foreign};
pub(crate) use keys::Ring;
pub use keys::{AccessKey, KeyRing, KeyRingError, Principal, Secret};
pub use public::Public;
pub use tables::Tables;
pub(crate) use token::{Presented, presented};
pub(crate) use visible::visible;

use std::sync::Arc;

/// Who may read.
#[derive(Debug, Clone, Default)]
pub enum Access {
    /// Everybody reads all that the store holds; signatures and tokens are not looked at. For a listener that lets in none but those who may.
    #[default]
    Everything,
    /// Everybody reads what is public, and there is nothing else; signatures and tokens are not looked at.
    Anonymous(Arc<Public>),
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
    /// Whether other credentials may give a right to more.
    pub(crate) is_one_of_many: bool,
}

impl Caller {
    /// Anybody, where all that there is may be read.
    pub(crate) fn of_everything() -> Self {
        Self {
            principal: None,
            tables: None,
            is_one_of_many: false,
        }
    }

    /// Anybody, where these tables are all that may be read by whomever.
    pub(crate) fn anybody(tables: Arc<Tables>) -> Self {
        Self {
            tables: Some(tables),
            ..Self::of_everything()
        }
    }

    /// Somebody, where it depends on credentials what may be read.
    pub(crate) fn with_rights(principal: Option<Arc<str>>, tables: Arc<Tables>) -> Self {
        Self {
            principal,
            tables: Some(tables),
            is_one_of_many: true,
        }
    }

    /// Reports whether a path is refused by its name: there is nothing to be read at it, below or above it, and others may. Where nobody may,
    /// it is not there.
    pub(crate) fn is_denied(&self, path: &str) -> bool {
        let may_name = |tables: &Arc<Tables>| tables.may_name(path);
        self.is_one_of_many && !self.tables.as_ref().is_none_or(may_name)
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
