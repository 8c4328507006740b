//! The manifests of a pod's server, read again when they change: tables for the keeper, and rights for a data listener of its own.
//!
//! What takes away comes before what gives. A table whose place another resource takes is let go before the other's principals are given rights to
//! the place, and a manifest that cannot be used takes away what the others do not give any more, as in the front door of a pod
//! ([`vdt_sidecar::follow`]).

#[cfg(test)]
mod tests;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::task::spawn_blocking;
use tracing::warn;
use vdt_crds::VirtualTable;
use vdt_sidecar::{
    config::{self, Found},
    files::{Follow, Taken},
    front::Front,
    log::Notices,
};

use super::keep::Keeper;
use crate::{
    args::SourceArgs,
    manifests::{self, Declared},
};

/// Reads manifests again when they change.
pub(super) struct Follower {
    pub(super) sources: SourceArgs,
    pub(super) keeper: Keeper,
    /// Of a data listener of our own, if there is one.
    pub(super) rights: Option<Rights>,
}

impl Follow for Follower {
    async fn take(&mut self) -> Taken {
        let sources = self.sources.clone();
        // The files may lie on a file system that hangs.
        let load = move || manifests::load_what_can_be(&sources);
        let Ok((declared, problems)) = spawn_blocking(load).await else {
            return Taken::TryAgain;
        };
        let gone = self.keeper.let_go(&declared, &problems);
        if let Some(rights) = &self.rights {
            for path in &gone {
                rights.notices.changed_hands(path);
            }
        }
        let mut taken = match &self.rights {
            Some(rights) => rights.clone().follow(&declared, problems.is_empty()).await,
            None => Taken::Whole,
        };
        if problems.iter().any(|problem| problem.may_pass) {
            taken = Taken::TryAgain;
        }
        match self.keeper.take(declared, problems).await {
            Taken::Whole => taken,
            Taken::TryAgain => Taken::TryAgain,
        }
    }
}

/// Who may read from a data listener of our own, as manifests say it.
#[derive(Clone)]
pub(super) struct Rights {
    front: Arc<Front>,
    /// Told of tables that change hands.
    notices: Notices,
    /// Manifests, and folders of them.
    watched: Vec<PathBuf>,
    seen: Arc<Mutex<Seen>>,
}

/// What was seen last.
#[derive(Default)]
struct Seen {
    /// Each manifest as it was read last.
    known: Found,
    /// What has no manifest.
    given: Vec<VirtualTable>,
    /// What was told of them.
    told: Vec<String>,
}

impl Rights {
    /// Those that `front` has by what is `declared`, partly by files that are `watched`.
    pub(super) fn new(
        front: Arc<Front>,
        notices: Notices,
        watched: Vec<PathBuf>,
        declared: &[Declared],
    ) -> Self {
        let mut seen = Seen::default();
        seen.see(&watched, declared);
        Self {
            front,
            notices,
            watched,
            seen: Arc::new(Mutex::new(seen)),
        }
    }

    async fn follow(self, declared: &[Declared], are_whole: bool) -> Taken {
        let declared = declared.to_vec();
        let follow = move || self.take(&declared, are_whole);
        spawn_blocking(follow).await.unwrap_or(Taken::TryAgain)
    }

    /// Gives rights all or none: a manifest that cannot be used may be the one that asks for keys. Takes them away at once. Blocks for small files.
    fn take(&self, declared: &[Declared], are_whole: bool) -> Taken {
        // Held by one take at a time. Every state between two statements is a valid one.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.see(&self.watched, declared);
        if !are_whole {
            self.front.narrow(&seen.tables());
            // They are read again when they change.
            return Taken::Whole;
        }
        let tables: Vec<_> = declared.iter().map(|one| one.table.clone()).collect();
        let problems = self.front.redeclare(&tables).err().unwrap_or_default();
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        if seen.told != told {
            for problem in &told {
                warn!("what manifests newly give waits: {problem}");
            }
            seen.told = told;
        }
        match problems.iter().all(|problem| problem.needs_restart) {
            true => Taken::Whole,
            // A Secret may come, or be mended, while no manifest changes.
            false => Taken::TryAgain,
        }
    }
}

impl Seen {
    fn see(&mut self, watched: &[PathBuf], declared: &[Declared]) {
        self.known = config::find(watched).or_as(&self.known);
        for one in declared.iter().filter(|one| one.table.spec.given.is_some()) {
            let path = one.table.table_path();
            if self.given.iter().all(|known| known.table_path() != path) {
                self.given.push(one.table.clone());
            }
        }
    }

    /// Every table, with those of manifests that cannot be read as they were.
    fn tables(&self) -> Vec<VirtualTable> {
        [self.known.tables(), self.given.clone()].concat()
    }
}
