//! The tables of a pod, each kept by a task of its own, and what a changed manifest does to them.
//!
//! ```text
//!   a table that is new          claimed, then opened, however often that takes
//!   one that says something else its new definition is opened first; then the task that refreshes it is replaced, and it is refreshed at once
//!   one that says the same       left alone
//!   one that is gone             not refreshed and not shown any more; its state stays
//!   one that cannot be used      the last good one stands, and the table says so; so it does where another file declares the same table
//!   another resource's           as one that is gone, and one that is new
//! ```
//!
//! Nothing of this interrupts a read: what is committed is served whoever refreshes it. Nothing is served before the claim.

mod fate;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use futures::{StreamExt, future, stream};
use object_store::path::Path;
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;
use vdt_crds::{api::RefusedManifest, chain, status::reason};
use vdt_sidecar::files::Taken;
use vdt_store::{
    Definition, Origin, RefreshReport, StateStore, StoreError, TableRefresh, TableStatus,
    log::TableLog, schedule,
};

use self::fate::{Fate, by_path, fate};
use super::{
    clock,
    open::{Opened, as_committed, as_refreshed},
    pod::BACKOFF,
};
use crate::{
    manifests::Declared,
    tables::{Problem, Served, Tables},
};

/// Claims made at a time when the process starts.
const CLAIMS: usize = 16;

/// Keeps the tables of a pod.
pub(super) struct Keeper {
    tables: Arc<Tables>,
    place: Place,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// By `<catalog>/<schema>/<table>`.
    running: HashMap<String, Running>,
    /// Let go, their tasks not awaited yet.
    leaving: Vec<Running>,
}

/// Where tables are kept.
#[derive(Clone)]
struct Place {
    state: StateStore,
    origin: Arc<Origin>,
}

/// A table and who keeps it.
struct Running {
    declared: Declared,
    served: Arc<Served>,
    stop: CancellationToken,
    task: JoinHandle<Option<Arc<Definition>>>,
}

/// A table that is declared and not open yet.
pub(super) fn pending(declared: &Declared) -> Served {
    let table = &declared.table;
    Served::pending(
        table.table_path(),
        table.table_name().to_owned(),
        table.metadata.generation,
    )
}

/// Keeps one table alone until `stop`: opens it, however often that takes, and refreshes it from then on.
pub(super) fn keep(
    declared: Declared,
    served: Arc<Served>,
    state: &StateStore,
    origin: &Arc<Origin>,
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let kept = Kept {
        declared,
        served,
        definition: None,
        place: Place {
            state: state.clone(),
            origin: origin.clone(),
        },
    };
    async move { drop(kept.run(None, stop).await) }
}

impl Keeper {
    /// Keeps none yet.
    pub(super) fn new(
        tables: Arc<Tables>,
        state: StateStore,
        origin: Arc<Origin>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            tables,
            place: Place { state, origin },
            tasks,
            stop,
            running: HashMap::new(),
            leaving: Vec::new(),
        }
    }

    /// Keeps what the process was started with. Each table is claimed once before: whoever asks for the first time then finds all that was
    /// there before the start.
    pub(super) async fn start(&mut self, declared: Vec<Declared>) {
        let served = self.tables.served();
        let state = &self.place.state;
        let claims: Vec<_> = declared
            .iter()
            .zip(served.iter())
            .map(|(one, served)| async move { served.claim(state, &one.table.owner()).await })
            .collect();
        // What fails is made again, and told, by the table's own task.
        let made = stream::iter(claims).buffer_unordered(CLAIMS);
        made.for_each(|_| future::ready(())).await;
        for (one, served) in declared.into_iter().zip(served.iter()) {
            self.keep(one, Arc::clone(served), None, None);
        }
    }

    /// Lets go what the manifests do not declare any more, or not as that resource's, before anybody is given rights to what they declare in its
    /// place: from now on nothing of it is shown. Its task is awaited by [`Self::take`]. Returns the paths of what was let go now.
    pub(super) fn let_go(&mut self, declared: &[Declared], problems: &[Problem]) -> Vec<String> {
        let by_path = by_path(declared);
        let gone: Vec<Running> = self
            .running
            .extract_if(|path, running| {
                let fate = fate(&running.declared, by_path.get(path).copied(), problems);
                matches!(fate, Fate::Goes)
            })
            .map(|(_, running)| running)
            .collect();
        if gone.is_empty() {
            return Vec::new();
        }
        for running in &gone {
            running.stop.cancel();
            running.served.let_go();
        }
        // A claim under way may be answered yet: what is not among the tables is not shown whatever comes of it.
        let is_gone = |served: &Arc<Served>| {
            let mut gone = gone.iter();
            gone.any(|running| Arc::ptr_eq(&running.served, served))
        };
        let served = self.tables.served();
        let stay = served.iter().filter(|served| !is_gone(served)).cloned();
        let problems = self.tables.problems().to_vec();
        self.tables.declare(stay.collect(), problems);
        let paths = gone
            .iter()
            .map(|running| running.declared.table.table_path());
        let paths = paths.collect();
        self.leaving.extend(gone);
        paths
    }

    /// Does what the manifests say now. `problems` are those that cannot be used.
    pub(super) async fn take(&mut self, declared: Vec<Declared>, problems: Vec<Problem>) -> Taken {
        self.let_go(&declared, &problems);
        for running in std::mem::take(&mut self.leaving) {
            running.end(&self.place.origin).await;
        }
        let mut taken = Taken::Whole;
        let stay = self.that_stay(&declared, &problems);
        let mut order: Vec<String> = declared.iter().map(|one| one.table.table_path()).collect();
        for one in declared {
            let path = one.table.table_path();
            let generation = one.table.metadata.generation;
            match self.running.get(&path) {
                Some(_) if stay.contains_key(&path) => {}
                Some(running) if running.declared.is_same(&one) => {
                    running.served.same(generation);
                }
                Some(_) => {
                    if let Err(error) = self.replace(&path, one).await {
                        taken = Taken::TryAgain;
                        if let Some(running) = self.running.get(&path) {
                            running.served.refused(RefusedManifest {
                                generation,
                                reason: error.reason().to_owned(),
                                message: chain(&error),
                            });
                        }
                    }
                }
                None => {
                    info!(table = path, "a new table is declared");
                    let served = Arc::new(pending(&one));
                    self.keep(one, served, None, None);
                }
            }
        }
        for (path, problem) in &stay {
            if let Some(running) = self.running.get(path) {
                running.served.refused(RefusedManifest {
                    generation: None,
                    reason: reason::INVALID_SPEC.to_owned(),
                    message: problem.message.clone(),
                });
            }
            if !order.contains(path) {
                order.push(path.clone());
            }
        }
        let served: Vec<_> = order
            .iter()
            .filter_map(|path| Some(Arc::clone(&self.running.get(path)?.served)))
            .collect();
        // What tables that go on tell is told once.
        let told: Vec<&Problem> = stay.values().collect();
        let others: Vec<Problem> = problems
            .into_iter()
            .filter(|problem| !told.contains(&problem))
            .collect();
        self.tables.declare(served, others);
        taken
    }

    /// Tables that go on as they are, each with the problem that is the reason. By path: what one pod is told first is told first by all.
    fn that_stay(&self, declared: &[Declared], problems: &[Problem]) -> BTreeMap<String, Problem> {
        let by_path = by_path(declared);
        let stay = self.running.iter().filter_map(|(path, running)| {
            match fate(&running.declared, by_path.get(path).copied(), problems) {
                Fate::Stays(problem) => Some((path.clone(), problem.clone())),
                Fate::Declared | Fate::Goes => None,
            }
        });
        stay.collect()
    }

    /// Has a table kept by another definition.
    async fn replace(&mut self, path: &str, one: Declared) -> Result<(), StoreError> {
        let definition = open_definition(&one).await?;
        let state = &self.place.state;
        state.claim(&definition.path(), &definition.owner).await?;
        let Some(running) = self.running.remove(path) else {
            return Ok(());
        };
        running.stop.cancel();
        // It ends between two steps; what it has committed is whole.
        let before = running.task.await.ok().flatten();
        let old = before.as_ref().map_or(&[][..], |before| &before.sources);
        self.place.origin.replace_sources(old, &definition.sources);
        info!(
            table = path,
            generation = one.table.metadata.generation,
            "a changed manifest is in use"
        );
        running.served.took(one.table.metadata.generation);
        let status = running.served.is_open().then(|| running.served.status());
        self.keep(one, running.served, Some(definition), status);
        Ok(())
    }

    fn keep(
        &mut self,
        declared: Declared,
        served: Arc<Served>,
        definition: Option<Arc<Definition>>,
        status: Option<TableStatus>,
    ) {
        let stop = self.stop.child_token();
        let kept = Kept {
            declared: declared.clone(),
            served: Arc::clone(&served),
            definition,
            place: self.place.clone(),
        };
        let task = self.tasks.spawn(kept.run(status, stop.clone()));
        let running = Running {
            declared,
            served,
            stop,
            task,
        };
        self.running
            .insert(running.declared.table.table_path(), running);
    }
}

impl Running {
    /// Awaits the end of its task and lets the table go.
    async fn end(self, origin: &Origin) {
        self.stop.cancel();
        if let Ok(Some(definition)) = self.task.await {
            origin.replace_sources(&definition.sources, &[]);
        }
        self.served.let_go();
        info!(
            table = self.served.path,
            "the table is declared no longer; its state stays"
        );
    }
}

/// Opens what is declared. Folders and secrets are looked at, on file systems that may hang: a thread that serves does not wait for them.
async fn open_definition(declared: &Declared) -> Result<Arc<Definition>, StoreError> {
    let (table, env) = (declared.table.clone(), declared.env.clone());
    let opened = spawn_blocking(move || Definition::open(&table, &env)).await;
    match opened {
        Ok(opened) => Ok(Arc::new(opened?)),
        Err(error) => Err(StoreError::Manifest(error.to_string())),
    }
}

/// One table and what its task needs.
struct Kept {
    declared: Declared,
    served: Arc<Served>,
    definition: Option<Arc<Definition>>,
    place: Place,
}

impl Kept {
    /// Opens the table, however often that takes, and refreshes it from then on. Returns its definition, for who comes after.
    async fn run(
        mut self,
        status: Option<TableStatus>,
        stop: CancellationToken,
    ) -> Option<Arc<Definition>> {
        let mut backoff = BACKOFF.0;
        let opened = loop {
            match stop.run_until_cancelled(Box::pin(self.try_open())).await {
                None => return self.definition,
                Some(Ok(opened)) => break opened,
                Some(Err(error)) => self.served.failed(error.reason(), chain(&error)),
            }
            if stop.run_until_cancelled(sleep(backoff)).await.is_none() {
                return self.definition;
            }
            backoff = (backoff * 2).min(BACKOFF.1);
        };
        let is_still = opened.definition.suspend;
        // As committed: the sources have not been asked yet, or not for this definition.
        let is_old = opened.status.refreshes == 0 && !is_still;
        let (refresher, task) = schedule(opened.refresh, status.unwrap_or(opened.status));
        if is_old {
            // The queue is new, so there is room.
            let _ = refresher.ask();
        }
        self.served.opened(refresher, !is_old);
        task.run(clock(), stop.cancelled_owned()).await;
        self.definition
    }

    async fn try_open(&mut self) -> Result<Opened, StoreError> {
        let Place { state, origin } = &self.place;
        // Before its sources are looked at: whose it is must be known of a table that cannot be opened as well.
        let owner = self.declared.table.owner();
        self.served.claim(state, &owner).await?;
        let definition = match &self.definition {
            Some(definition) => definition.clone(),
            None => {
                let opened = match open_definition(&self.declared).await {
                    Ok(opened) => opened,
                    Err(error) => {
                        self.stand().await;
                        return Err(error);
                    }
                };
                origin.replace_sources(&[], &opened.sources);
                self.definition.insert(opened).clone()
            }
        };
        let refresh = TableRefresh::new(definition.clone(), state.clone(), clock());
        if let Some(snapshot) = refresh.log().snapshot().await? {
            let status = TableStatus::default();
            return Ok(as_committed(definition, refresh, &snapshot, status));
        }
        let report = refresh.run(None).await?;
        Ok(as_refreshed(definition, refresh, report))
    }

    /// Has the table say which version of it stands while it cannot be opened.
    async fn stand(&self) {
        let path = Path::from(self.served.path.as_str());
        let log = TableLog::new(self.place.state.clone(), path);
        if let Ok(Some(snapshot)) = log.snapshot().await {
            let report = RefreshReport::of_snapshot(&self.served.path, &snapshot);
            self.served.stands(report);
        }
    }
}
