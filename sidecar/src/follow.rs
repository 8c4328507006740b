//! The manifests of a front door that runs: read again when they change, and followed as far as a running process can.
//!
//! | followed at once | not before the process is started again |
//! |---|---|
//! | tables that come and go, whom tokens are for, principals and what they may read, whether there are other pods | cache, TLS, whether there are keys at all |
//! | what of cache and TLS only the operator acts upon ([`Cache::for_pods`], [`vdt_crds::Tls::for_pods`]) | |
//!
//! Manifests are followed all or none. Those that are not are told under `/api/v1/tables` and `/readyz`, in the log and by a metric, and the last
//! good ones stand, but for rights that the new ones do not give, which are taken away at once: a file that cannot be read counts there as it was read
//! last. What waits for something else than a change, such as a secret that is not there yet or a file that the system did not let be read, is tried
//! again every second. So are rights to a table in whose place the server still serves another resource's, whether the newest manifests are taken or
//! not: where they are not, rights that waited are given as far as they and the last good ones both give them.

mod owners;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{task::spawn_blocking, time::sleep};
use tracing::{error, info};
use vdt_crds::{
    Cache, VirtualTable,
    api::{RESTART_NEEDED, RefusedManifest},
    status::reason,
};
use vdt_dialect::{HttpMetrics, admin::Gate};

pub(crate) use self::owners::Owners;
use crate::{
    admin::{AdminState, audiences},
    config::{self, Found},
    files::{Follow, Taken},
    front::{Front, Problem},
    log::Notices,
    stack::declared_cache,
};

/// Pause before the server is asked again whose its tables are, before the first request is served.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Follows manifests.
pub(crate) struct Follower {
    /// Files, and folders of them.
    pub(crate) config: Vec<PathBuf>,
    /// Each file as it was read last.
    pub(crate) known: Mutex<Found>,
    /// Those whose manifests were taken last.
    pub(crate) in_use: Mutex<Vec<VirtualTable>>,
    /// As declared at the start.
    pub(crate) cache: Cache,
    /// Says which rights wait.
    pub(crate) owners: Owners,
    /// Takes principals.
    pub(crate) front: Arc<Front>,
    /// Takes tables, and tells what is not followed.
    pub(crate) admin: Arc<AdminState>,
    /// Takes whom tokens of the admin listener are for.
    pub(crate) gate: Gate,
    /// Takes whether there are other pods.
    pub(crate) notices: Notices,
    /// Counts.
    pub(crate) http: HttpMetrics,
}

impl Follower {
    /// Has rights wait, before anything is served by them. Returns whether none do. Waits for a server that does not say whose its tables are: a front
    /// door without rights refuses what its cache could answer.
    pub(crate) async fn begin(self: &Arc<Self>, tables: &[VirtualTable]) -> bool {
        let mut is_told = false;
        let awaited = loop {
            match self.owners.awaited(tables).await {
                Ok(awaited) => break awaited,
                Err(awaited) => {
                    if !std::mem::replace(&mut is_told, true) {
                        info!("waiting for the server to say whose its tables are");
                        self.admin.rights_wait(&awaited);
                    }
                    sleep(ASK_AGAIN).await;
                }
            }
        };
        self.admin.rights_wait(&awaited);
        let are_all = awaited.is_empty();
        if !are_all {
            let tables = tables.to_vec();
            let wait = move |follower: &Self| follower.front.redeclare_except(&tables, &awaited);
            if let Some(Err(problems)) = self.on_a_thread(wait).await {
                // What is given no longer is taken away all the same.
                tracing::debug!(?problems, "the manifests are taken later");
            }
        }
        are_all
    }

    /// Reads the manifests and follows them, or tells why not.
    async fn take(self: &Arc<Self>) -> Taken {
        match self.on_a_thread(Self::read).await {
            Some(Ok(tables)) => {
                let asked = tables.clone();
                let put = move |follower: &Self, awaited: &_| follower.put_in_use(&tables, awaited);
                self.once_asked(&asked, put).await
            }
            Some(Err(Bad { tables, taken })) => {
                let asked = self.still_declared(&tables);
                let give = move |follower: &Self, awaited: &_| {
                    follower.admin.rights_wait(awaited);
                    match follower.give_awaited(&tables, awaited) {
                        true => taken,
                        false => Taken::TryAgain,
                    }
                };
                self.once_asked(&asked, give).await
            }
            None => Taken::TryAgain,
        }
    }

    /// Asks the server whose `tables` are, and goes on with the paths of those to which rights wait.
    async fn once_asked(
        self: &Arc<Self>,
        tables: &[VirtualTable],
        go_on: impl FnOnce(&Self, &BTreeSet<String>) -> Taken + Send + 'static,
    ) -> Taken {
        let awaited = match self.owners.awaited(tables).await {
            Ok(awaited) | Err(awaited) => awaited,
        };
        let are_all = awaited.is_empty();
        let go_on = move |follower: &Self| go_on(follower, &awaited);
        match self.on_a_thread(go_on).await {
            Some(taken) if are_all => taken,
            Some(_) | None => Taken::TryAgain,
        }
    }

    /// Files may lie on a file system that hangs.
    async fn on_a_thread<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let follower = Arc::clone(self);
        spawn_blocking(move || work(follower.as_ref())).await.ok()
    }

    /// Reads the manifests, and takes away at once what they do not give where the server has to be asked before they give anything.
    fn read(&self) -> Result<Vec<VirtualTable>, Bad> {
        let found = config::find(&self.config);
        let (whole, may_pass) = (found.whole(), found.may_pass());
        let known = {
            let mut known = self.known.lock();
            *known = found.or_as(&known);
            known.tables()
        };
        match whole {
            Ok(tables) => {
                if !self.owners.are_known(&tables) {
                    self.front.narrow(&tables);
                }
                Ok(tables)
            }
            Err(bad) => {
                self.owners.forget_others(&known);
                self.front.narrow(&known);
                self.refuse(None, reason::INVALID_SPEC, bad.to_string());
                let taken = match may_pass {
                    true => Taken::TryAgain,
                    // It is read again when it changes.
                    false => Taken::Whole,
                };
                Err(Bad {
                    tables: known,
                    taken,
                })
            }
        }
    }

    /// Those of the tables that were taken last that `tables` declare too.
    fn still_declared(&self, tables: &[VirtualTable]) -> Vec<VirtualTable> {
        let mut last = self.in_use.lock().clone();
        last.retain(|one| tables.iter().any(|other| is_same(one, other)));
        last
    }

    /// Gives the rights that waited and wait no longer, while `tables` are not taken: as far as they and those that were taken last both give them.
    /// Returns whether nothing was in the way.
    fn give_awaited(&self, tables: &[VirtualTable], awaited: &BTreeSet<String>) -> bool {
        let last = self.in_use.lock().clone();
        let is_held = |one: &VirtualTable| {
            awaited.contains(&one.table_path()) || !tables.iter().any(|it| is_same(one, it))
        };
        self.front.give_awaited(&last, tables, is_held)
    }

    fn put_in_use(&self, tables: &[VirtualTable], awaited: &BTreeSet<String>) -> Taken {
        self.admin.rights_wait(awaited);
        if let Err(problems) = self.follow(tables, awaited) {
            let needs_restart = problems.iter().all(|problem| problem.needs_restart);
            let reason = match needs_restart {
                true => RESTART_NEEDED,
                false => reason::INVALID_SPEC,
            };
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let newest = tables
                .iter()
                .filter_map(|table| table.metadata.generation)
                .max();
            self.refuse(newest, reason, lines.join("\n"));
            let are_given = self.give_awaited(tables, awaited);
            return match needs_restart && are_given {
                true => Taken::Whole,
                false => Taken::TryAgain,
            };
        }
        let were_refused = self.admin.redeclared(tables);
        self.gate.redeclare(&audiences(tables));
        self.notices.set_peers(has_peers(tables));
        let mut in_use = self.in_use.lock();
        if were_refused || *in_use != tables {
            tables.clone_into(&mut in_use);
            self.http.manifests_reloaded(true);
            info!(tables = tables.len(), "changed manifests are in use");
        }
        Taken::Whole
    }

    fn follow(
        &self,
        tables: &[VirtualTable],
        awaited: &BTreeSet<String>,
    ) -> Result<(), Vec<Problem>> {
        if let Some(table) = tables.first()
            && declared_cache(tables).for_pods() != self.cache.for_pods()
        {
            self.front.narrow(tables);
            return Err(vec![Problem::fixed(table, "spec.server.cache")]);
        }
        self.front.redeclare_except(tables, awaited)
    }

    fn refuse(&self, generation: Option<i64>, reason: &str, message: String) {
        let refused = RefusedManifest {
            generation,
            reason: reason.to_owned(),
            message,
        };
        let message = refused.message.clone();
        if !self.admin.refused(refused) {
            return;
        }
        match reason {
            RESTART_NEEDED => {
                self.http.manifests_need_restart();
                info!("changed manifests wait for a new process: {message}");
            }
            _ => {
                self.http.manifests_reloaded(false);
                error!("changed manifests are not used; what was in use stays in use: {message}");
            }
        }
    }
}

/// Manifests that are not taken.
struct Bad {
    /// As far as they could be read, now or before.
    tables: Vec<VirtualTable>,
    taken: Taken,
}

/// Whether both are of one resource and of one table.
fn is_same(one: &VirtualTable, other: &VirtualTable) -> bool {
    one.table_path() == other.table_path() && one.owner() == other.owner()
}

impl Follow for Arc<Follower> {
    async fn take(&mut self) -> Taken {
        Follower::take(self).await
    }
}

/// Several pods on one state name only checkpoints that every one of them lists by now.
pub(crate) fn has_peers(tables: &[VirtualTable]) -> bool {
    config::servers(tables).any(|(_, server)| server.replicas > 1)
}
