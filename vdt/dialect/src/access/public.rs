//! What everybody may read.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Tables;

/// The tables that everybody may read, where nobody is asked who they are. Shared with the surface, and replaced from outside.
#[derive(Debug, Default)]
pub struct Public {
    tables: ArcSwap<Tables>,
}

impl Public {
    /// Everybody may read `tables`.
    pub fn new(tables: Tables) -> Self {
        Self {
            tables: ArcSwap::from_pointee(tables),
        }
    }

    /// Puts others in their place, for all requests that begin from now on.
    pub fn replace(&self, tables: Tables) {
        self.tables.store(Arc::new(tables));
    }

    pub(crate) fn current(&self) -> Arc<Tables> {
        self.tables.load_full()
    }
}
