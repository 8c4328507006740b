//! The manifests of a pod's server, read again when they change: tables for the supervisor, whom tokens of the admin listener are for, and rights for a
//! data listener of its own.
//!
//! What takes away comes before what gives. A table whose place another resource takes is let go before the other's principals are given rights to
//! the place, and a manifest that cannot be used takes away what the others do not give any more, as in the front door of a pod
//! ([`vdt_sidecar::follow`]).

#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tracing::warn;
use vdt_crds::VirtualTable;
use vdt_dialect::admin::Gate;
use vdt_sidecar::{
    admin::audiences,
    config::{self, Found},
    files::{Follow, Taken},
    front::Front,
    log::Notices,
};

use super::supervisor::Supervisor;
use crate::{
    args::SourceArgs,
    manifests::{self, Declared, Loaded},
};

/// Reads manifests again when they change.
pub(super) struct Follower {
    sources: SourceArgs,
    supervisor: Supervisor,
    /// Of the admin listener.
    gate: Gate,
    /// Of a data listener of our own, if there is one.
    rights: Option<Rights>,
}

impl Follower {
    /// Has `supervisor` run what `sources` declare.
    pub(super) fn new(
        sources: SourceArgs,
        supervisor: Supervisor,
        gate: Gate,
        rights: Option<Rights>,
    ) -> Self {
        let follower = Self {
            sources,
            supervisor,
            gate,
            rights,
        };
        follower.admit();
        follower
    }

    /// Has the admin listener take the tokens of the resources whose tables run.
    fn admit(&self) {
        self.gate.redeclare(&audiences(self.supervisor.resources()));
    }
}

impl Follow for Follower {
    async fn take(&mut self) -> Taken {
        let sources = self.sources.clone();
        // The files may lie on a file system that hangs.
        let load = move || manifests::load_what_can_be(&sources);
        let Ok(loaded) = spawn_blocking(load).await else {
            return Taken::TryAgain;
        };
        let Loaded {
            declared, problems, ..
        } = &loaded;
        let gone = self.supervisor.release(declared, problems);
        self.admit();
        if let Some(rights) = &self.rights {
            for path in &gone {
                rights.notices.changed_hands(path);
            }
        }
        let mut taken = match &self.rights {
            Some(rights) => rights.clone().follow(declared, problems.is_empty()).await,
            None => Taken::Whole,
        };
        if problems.iter().any(|problem| problem.may_pass) {
            taken = Taken::TryAgain;
        }
        let applied = self.supervisor.apply(loaded).await;
        self.admit();
        match applied {
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
    /// Those that `front` has by what was `loaded`, partly from files that are `watched`. What cannot be used takes away at the start as it does later: of a
    /// table that two manifests declare, `front` knows but one.
    pub(super) fn new(
        front: Arc<Front>,
        notices: Notices,
        watched: Vec<PathBuf>,
        loaded: &Loaded,
    ) -> Self {
        let mut seen = Seen::default();
        seen.see(&watched, &loaded.declared);
        if !loaded.problems.is_empty() {
            front.narrow(&seen.tables());
        }
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
        // Held by one take at a time.
        let mut seen = self.seen.lock();
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
