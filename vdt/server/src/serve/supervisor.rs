//! The tables of a pod, each run by a task of its own, and what a changed manifest does to them.
//!
//! ```text
//!   a table that is new          claimed, then opened, however often that takes
//!   one that says something else its new definition is opened first; then the task that refreshes it is replaced, and it is refreshed at once
//!   one that says the same       left alone
//!   one that is gone             not refreshed and not shown any more; its state stays
//!   one that cannot be used      the last good one stands, and the table says so; so it does where another file declares the same table
//!   another resource's           as one that is gone, and one that is new
//!   one that several declare     run by the resource that owns it, whichever is read first or came first
//! ```
//!
//! Nothing of this interrupts a read: what is committed is served whoever refreshes it. Nothing is served before the claim.

mod change;
mod owners;
mod task;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, future, stream};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;
use vdt_crds::{VirtualTable, api::RefusedManifest, chain};
use vdt_sidecar::files::Taken;
use vdt_store::{Definition, Origin, StoreError, TableStatus};

pub(super) use self::task::{Stores, run_table};
use self::{
    change::{Change, by_path, change},
    task::{TableTask, open_definition},
};
use crate::{
    manifests::{Declared, Loaded},
    tables::{Problem, Served, Tables},
};

/// Claims made at a time.
const CLAIMS: usize = 16;
/// Time for the state to say whose a table is, before others go on.
const CLAIM_WAIT: Duration = Duration::from_secs(5);

/// Time for folders and secrets of an edited manifest to be looked at, before others go on.
const OPEN_WAIT: Duration = Duration::from_secs(5);
/// The same while another one is waited for already.
const OPEN_WAIT_NEXT: Duration = Duration::from_millis(500);

/// Runs the tables of a pod.
pub(super) struct Supervisor {
    tables: Arc<Tables>,
    stores: Stores,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// By `<catalog>/<schema>/<table>`.
    running: HashMap<String, Running>,
    /// Released, their tasks not awaited yet.
    released: Vec<Running>,
    /// What is opened for longer than [`OPEN_WAIT`], by path.
    opening: HashMap<String, Opening>,
    /// [`CLAIM_WAIT`].
    claim_wait: Duration,
}

/// A table and its task.
struct Running {
    declared: Declared,
    served: Arc<Served>,
    stop: CancellationToken,
    task: JoinHandle<Option<Arc<Definition>>>,
}

/// What is being opened, and for which manifest.
type Opening = (Declared, JoinHandle<Result<Arc<Definition>, StoreError>>);

/// A table that is declared and not open yet.
pub(super) fn pending(declared: &Declared) -> Served {
    let table = &declared.table;
    Served::pending(
        table.table_path(),
        table.table_name().to_owned(),
        table.metadata.generation,
    )
}

impl Supervisor {
    /// Runs none yet.
    pub(super) fn new(
        tables: Arc<Tables>,
        stores: Stores,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            tables,
            stores,
            tasks,
            stop,
            running: HashMap::new(),
            released: Vec::new(),
            opening: HashMap::new(),
            claim_wait: CLAIM_WAIT,
        }
    }

    /// The resources whose tables it runs, as they were declared when that was taken.
    pub(super) fn resources(&self) -> impl Iterator<Item = &VirtualTable> {
        self.running.values().map(|running| &running.declared.table)
    }

    /// Runs what the process was started with. Each table is claimed once before: whoever asks for the first time then finds all that was
    /// there before the start, unless the state does not answer in time.
    pub(super) async fn start(&mut self, loaded: Loaded) -> Taken {
        let served = self.tables.served();
        let (state, wait) = (&self.stores.state, self.claim_wait);
        let claims: Vec<_> = loaded
            .declared
            .iter()
            .zip(served.iter())
            .map(|(one, served)| async move {
                timeout(wait, served.claim(state, &one.table.owner())).await
            })
            .collect();
        // What fails is made again, and told, by the table's own task.
        let made = stream::iter(claims).buffer_unordered(CLAIMS);
        made.for_each(|_| future::ready(())).await;
        // Nobody tries to run what is another's.
        self.settle(&loaded.declared, &loaded.doubles).await;
        for (one, served) in loaded.declared.iter().zip(served.iter()) {
            if !self.running.contains_key(&served.path) {
                self.run(one.clone(), Arc::clone(served), None, None);
            }
        }
        self.apply(loaded).await
    }

    /// Releases what the manifests do not declare any more, or not as that resource's, before anybody is given rights to what they declare in its
    /// place: from now on nothing of it is shown. Its task is awaited by [`Self::apply`]. Returns the paths of what was released now.
    pub(super) fn release(&mut self, declared: &[Declared], problems: &[Problem]) -> Vec<String> {
        let by_path = by_path(declared);
        let gone: Vec<Running> = self
            .running
            .extract_if(|path, running| {
                let change = change(&running.declared, by_path.get(path).copied(), problems);
                matches!(change, Change::Remove)
            })
            .map(|(_, running)| running)
            .collect();
        if gone.is_empty() {
            return Vec::new();
        }
        for running in &gone {
            running.stop.cancel();
            running.served.release();
            self.opening.remove(&running.served.path);
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
        self.released.extend(gone);
        paths
    }

    /// Does what the manifests say now.
    pub(super) async fn apply(&mut self, loaded: Loaded) -> Taken {
        self.release(&loaded.declared, &loaded.problems);
        for running in mem::take(&mut self.released) {
            let table = running.end(&self.stores.origin).await;
            info!(table, "the table is declared no longer; its state stays");
        }
        let mut taken = self.settle(&loaded.declared, &loaded.doubles).await;
        let Loaded {
            declared,
            problems,
            doubles,
        } = loaded;
        let retained = self.retained(&declared, &problems);
        let mut order: Vec<String> = declared.iter().map(|one| one.table.table_path()).collect();
        for one in declared {
            let path = one.table.table_path();
            let generation = one.table.metadata.generation;
            match self.running.get(&path) {
                Some(_) if retained.contains_key(&path) => {}
                Some(running) if running.declared.is_same(&one) => {
                    running.served.same(generation);
                    self.opening.remove(&path);
                }
                Some(_) => {
                    if let Err(error) = self.replace(&path, one).await {
                        taken = Taken::TryAgain;
                        self.refuse(&path, generation, &error);
                    }
                }
                None => {
                    info!(table = path, "a new table is declared");
                    let served = Arc::new(pending(&one));
                    self.run(one, served, None, None);
                }
            }
        }
        for (path, problem) in &retained {
            if let Taken::TryAgain = self.retain(path, problem, &doubles).await {
                taken = Taken::TryAgain;
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
        let told: Vec<&Problem> = retained.values().collect();
        let others: Vec<Problem> = problems
            .into_iter()
            .filter(|problem| !told.contains(&problem))
            .collect();
        self.tables.declare(served, others);
        taken
    }

    /// Tables that go on as they are, each with the problem that is the reason. By path: what one pod is told first is told first by all.
    fn retained(&self, declared: &[Declared], problems: &[Problem]) -> BTreeMap<String, Problem> {
        let by_path = by_path(declared);
        let retained = self.running.iter().filter_map(|(path, running)| {
            match change(&running.declared, by_path.get(path).copied(), problems) {
                Change::Retain(problem) => Some((path.clone(), problem.clone())),
                Change::Follow | Change::Remove => None,
            }
        });
        retained.collect()
    }

    /// Tells of a table that goes on as it is why its changed manifest is not used.
    fn refuse(&self, path: &str, generation: Option<i64>, error: &StoreError) {
        if let Some(running) = self.running.get(path) {
            running.served.refused(RefusedManifest {
                generation,
                reason: error.reason().to_owned(),
                message: chain(error),
            });
        }
    }

    /// Opens a definition, unless that takes so long that it holds up others: then it goes on, and is taken when it is asked for again.
    async fn open(&mut self, path: &str, one: &Declared) -> Result<Arc<Definition>, StoreError> {
        let begun = self.opening.remove(path);
        let begun = begun.filter(|(declared, _)| declared.is_same(one));
        let mut task = match begun {
            Some((_, task)) => task,
            None => {
                let (one, ours) = (one.clone(), Arc::clone(&self.stores.ours));
                tokio::spawn(async move { open_definition(&one, &ours).await })
            }
        };
        // Others may be on the same file system: one of them is waited for.
        let is_held_up = self.opening.values().any(|(_, task)| !task.is_finished());
        let wait = if is_held_up {
            OPEN_WAIT_NEXT
        } else {
            OPEN_WAIT
        };
        match timeout(wait, &mut task).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(source)) => Err(StoreError::Task {
                task: "opening of a table",
                source,
            }),
            Err(_) => {
                self.opening.insert(path.to_owned(), (one.clone(), task));
                Err(StoreError::Slow {
                    table: path.to_owned(),
                })
            }
        }
    }

    /// Has a table run by another definition of the same resource. What it has not claimed yet its new task claims, as the old one would have.
    async fn replace(&mut self, path: &str, one: Declared) -> Result<(), StoreError> {
        let definition = self.open(path, &one).await?;
        let Some(running) = self.running.remove(path) else {
            return Ok(());
        };
        running.stop.cancel();
        // It ends between two steps; what it has committed is whole.
        let before = running.task.await.ok().flatten();
        let old = before.as_ref().map_or(&[][..], |before| &before.sources);
        self.stores.origin.replace_sources(old, &definition.sources);
        info!(
            table = path,
            generation = one.table.metadata.generation,
            "a changed manifest is in use"
        );
        running.served.took(one.table.metadata.generation);
        let status = running.served.is_open().then(|| running.served.status());
        self.run(one, running.served, Some(definition), status);
        Ok(())
    }

    fn run(
        &mut self,
        declared: Declared,
        served: Arc<Served>,
        definition: Option<Arc<Definition>>,
        status: Option<TableStatus>,
    ) {
        let stop = self.stop.child_token();
        let task = TableTask {
            declared: declared.clone(),
            served: Arc::clone(&served),
            definition,
            stores: self.stores.clone(),
        };
        let running = Running {
            declared,
            served,
            stop: stop.clone(),
            task: self.tasks.spawn(task.run(status, stop)),
        };
        self.running
            .insert(running.declared.table.table_path(), running);
    }
}

impl Running {
    /// Awaits the end of its task, and releases the table. Returns its path.
    async fn end(self, origin: &Origin) -> String {
        self.stop.cancel();
        if let Ok(Some(definition)) = self.task.await {
            origin.replace_sources(&definition.sources, &[]);
        }
        self.served.release();
        self.served.path.clone()
    }
}
