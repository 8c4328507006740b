//! Whose the tables are that the server serves: rights to a table wait until it serves nobody else's in its place.
//!
//! The server reads the same manifests a moment earlier or later, and may have to keep a table whose place another resource takes. Until it has let go
//! of it, readers of the next one would be shown what is the former one's.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use tracing::info;
use vdt_crds::VirtualTable;

use crate::{link::Socket, log::Notices};

/// Asks the server whose its tables are, of each owner once.
#[derive(Debug)]
pub(crate) struct Owners {
    socket: Socket,
    /// Told of tables that change hands.
    notices: Notices,
    known: Mutex<Known>,
}

/// Tables by path.
#[derive(Debug, Default)]
struct Known {
    /// Those that the server serves as their owners'.
    confirmed: BTreeMap<String, String>,
    /// Those that were told to wait.
    awaited: BTreeSet<String>,
}

impl Owners {
    pub(crate) fn new(socket: Socket, notices: Notices) -> Self {
        Self {
            socket,
            notices,
            known: Mutex::default(),
        }
    }

    /// Whether the server says that each of `tables` is its owner's, as far as it was asked.
    pub(super) fn are_known(&self, tables: &[VirtualTable]) -> bool {
        let known = self.known.lock();
        let is_known =
            |table: &VirtualTable| known.confirmed.get(&table.table_path()) == Some(&table.owner());
        tables.iter().all(is_known)
    }

    /// Forgets what it knows of tables that `tables` do not name as their owners': who comes back is asked for again.
    pub(super) fn forget_others(&self, tables: &[VirtualTable]) {
        let is_named = |path: &String, owner: &mut String| {
            let mut tables = tables.iter();
            tables.any(|table| table.table_path() == *path && table.owner() == *owner)
        };
        self.known.lock().confirmed.retain(is_named);
    }

    /// Paths of those of `tables` to which rights wait: the server serves another's in their place, or none yet.
    ///
    /// # Errors
    /// With those paths when the server does not say: those of all tables that it was not asked for before.
    pub(super) async fn awaited(
        &self,
        tables: &[VirtualTable],
    ) -> Result<BTreeSet<String>, BTreeSet<String>> {
        let served = match self.are_known(tables) {
            true => Ok(None),
            false => self.socket.owners().await,
        };
        let served = served.inspect_err(|error| {
            tracing::debug!(%error, "the server does not say whose its tables are");
        });
        let is_its_own = |path: &String, owner: &String| match &served {
            Ok(Some(served)) => served.get(path) == Some(owner),
            // What an older server cannot say holds nobody up.
            Ok(None) => true,
            Err(_) => false,
        };
        let mut known = self.known.lock();
        let mut confirmed = BTreeMap::new();
        let mut awaited = BTreeSet::new();
        for table in tables {
            let (path, owner) = (table.table_path(), table.owner());
            let is_known = known.confirmed.get(&path) == Some(&owner);
            if !is_known && !is_its_own(&path, &owner) {
                if !known.awaited.contains(&path) {
                    info!(
                        table = path,
                        owner,
                        "rights to the table wait: the server does not serve it as that resource's"
                    );
                }
                awaited.insert(path);
                continue;
            }
            if !is_known {
                // What was taken of it before is not for the readers of this one.
                self.notices.changed_hands(&path);
            }
            confirmed.insert(path, owner);
        }
        *known = Known {
            confirmed,
            awaited: awaited.clone(),
        };
        match served {
            Ok(_) => Ok(awaited),
            Err(_) => Err(awaited),
        }
    }
}
