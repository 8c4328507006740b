//! The tables of this process: those that are refreshed, those that cannot be opened yet, and manifests that cannot be read.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::watch;
use tracing::warn;
use vdt_store::{Outcome, Refresher, RequestError, StateStore, TableStatus, Versions};

use crate::metrics::Metrics;

/// A table that was declared.
#[derive(Debug)]
pub(crate) struct Served {
    /// `<catalog>/<schema>/<table>`.
    pub(crate) path: String,
    /// Third part of the name.
    pub(crate) name: String,
    /// Asks for refreshes, once the table is open.
    refresher: OnceLock<Refresher>,
    /// How it is doing before.
    pending: Mutex<TableStatus>,
}

impl Served {
    /// A table that is not open yet.
    pub(crate) fn pending(path: String, name: String) -> Self {
        Self {
            path,
            name,
            refresher: OnceLock::new(),
            pending: Mutex::default(),
        }
    }

    /// A table that is open.
    pub(crate) fn open(path: String, name: String, refresher: Refresher) -> Self {
        let served = Self::pending(path, name);
        served.opened(refresher);
        served
    }

    /// The table is open from now on.
    pub(crate) fn opened(&self, refresher: Refresher) {
        // A table is opened once.
        let _ = self.refresher.set(refresher);
    }

    /// The table could not be opened.
    pub(crate) fn failed(&self, reason: &'static str, message: String) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.refreshes += 1;
        pending.failures += 1;
        let news = (reason, message);
        if pending.error.as_ref() != Some(&news) {
            warn!(
                table = self.path,
                reason = news.0,
                "not served yet: {}",
                news.1
            );
        }
        pending.error = Some(news);
    }

    /// How it is doing.
    pub(crate) fn status(&self) -> TableStatus {
        match self.refresher.get() {
            Some(refresher) => refresher.status(),
            None => self
                .pending
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    /// Asks for a refresh. A table that is not open yet is tried again anyway.
    ///
    /// # Errors
    /// As [`Refresher::ask`].
    pub(crate) fn ask(&self) -> Result<(), RequestError> {
        self.refresher.get().map_or(Ok(()), Refresher::ask)
    }

    /// Asks for a refresh and waits for it; `None` while the table is not open.
    ///
    /// # Errors
    /// As [`Refresher::ask_and_wait`].
    pub(crate) async fn ask_and_wait(&self) -> Result<Option<Outcome>, RequestError> {
        match self.refresher.get() {
            Some(refresher) => refresher.ask_and_wait().await.map(Some),
            None => Ok(None),
        }
    }

    /// A table is asked for by its whole path, with slashes or dots, or by its name alone.
    pub(crate) fn is_called(&self, asked: &str) -> bool {
        self.path == asked || self.name == asked || self.path.replace('/', ".") == asked
    }
}

/// A manifest that cannot be served, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The file, or the table if it could be told.
    pub(crate) manifest: String,
    /// Every violation, a line each.
    pub(crate) message: String,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Tables {
    /// In the order of their declaration.
    pub(crate) served: Vec<Arc<Served>>,
    /// What was declared and cannot be served.
    pub(crate) problems: Vec<Problem>,
    metrics: Arc<Metrics>,
    state: watch::Sender<Option<StateStore>>,
    /// Versions before there is a state: none.
    before: Versions,
}

impl Tables {
    /// The tables, before their state is open.
    pub(crate) fn new(
        served: Vec<Arc<Served>>,
        problems: Vec<Problem>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            served,
            problems,
            metrics,
            state: watch::Sender::new(None),
            before: Versions::default(),
        }
    }

    /// The state is open from now on.
    pub(crate) fn opened(&self, state: StateStore) {
        self.state.send_replace(Some(state));
        self.before.wake();
    }

    /// The state, once it is open.
    pub(crate) fn state(&self) -> Option<StateStore> {
        self.state.borrow().clone()
    }

    /// The newest versions, of which there are none before the state is open.
    pub(crate) fn versions(&self) -> Versions {
        match &*self.state.borrow() {
            Some(state) => state.versions().clone(),
            None => self.before.clone(),
        }
    }

    /// Id of the state store, when it is open.
    pub(crate) fn store_id(&self) -> Option<String> {
        let state = self.state.borrow();
        Some(state.as_ref()?.info().store_id.to_string())
    }

    /// A read met a changed source: it is counted, logged, and its table refreshed. `file` is a virtual file's path.
    pub(crate) fn drift(&self, file: &str, key: &str, reason: &str) {
        self.metrics.drift.inc();
        warn!(location = file, key, reason, "a source object changed");
        let is_of = |table: &str| {
            file.strip_prefix(table)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        let table = self.served.iter().find(|served| is_of(&served.path));
        if let Some(refresher) = table.and_then(|served| served.refresher.get()) {
            refresher.drift();
        }
    }
}
