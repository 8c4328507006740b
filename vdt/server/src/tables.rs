//! The tables of this process: those that are refreshed, those that cannot be opened yet, and manifests that cannot be read.
//!
//! In a pod they come and go with the manifests. A table that stays is the same [`Served`] throughout; who refreshes it is replaced.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use tokio::sync::watch;
use tracing::warn;
use vdt_crds::{
    META_SUFFIX,
    api::{ManifestReport, RefusedManifest},
};
use vdt_store::{
    Outcome, Refresher, RequestError, StateStore, TableStatus, Versions, error::OTHER_OWNER,
};

use crate::metrics::Metrics;

/// A table that was declared.
#[derive(Debug)]
pub(crate) struct Served {
    /// `<catalog>/<schema>/<table>`.
    pub(crate) path: String,
    /// Third part of the name.
    pub(crate) name: String,
    state: Mutex<State>,
}

/// How a table is doing.
#[derive(Debug, Default)]
struct State {
    /// Asks for refreshes, once the table is open; counted, so that its successor is told from it.
    refresher: Option<(u64, Refresher)>,
    /// How it is doing before.
    pending: TableStatus,
    manifest: ManifestReport,
    /// A manifest that was taken and not followed yet: its generation, and how many refreshes had ended then.
    taken: Option<(Option<i64>, u64)>,
}

impl Served {
    /// A table that is not open yet, and the generation of its manifest.
    pub(crate) fn pending(path: String, name: String, generation: Option<i64>) -> Self {
        let state = State {
            taken: Some((generation, 0)),
            ..State::default()
        };
        Self {
            path,
            name,
            state: Mutex::new(state),
        }
    }

    /// A table that is open.
    pub(crate) fn open(path: String, name: String, refresher: Refresher) -> Self {
        let served = Self::pending(path, name, None);
        served.opened(refresher, false);
        served
    }

    /// The table is refreshed by `refresher` from now on. `is_still`: it is suspended, so what was taken is followed already.
    pub(crate) fn opened(&self, refresher: Refresher, is_still: bool) {
        let mut state = self.lock();
        let number = state.refresher.as_ref().map_or(0, |(number, _)| number + 1);
        if state.refresher.is_none()
            && let Some((_, before)) = &mut state.taken
        {
            // It counts anew: what ended before were attempts to open the table.
            *before = 0;
        }
        state.refresher = Some((number, refresher));
        if is_still && let Some((generation, _)) = state.taken.take() {
            state.manifest.generation = generation;
        }
    }

    /// Another manifest of the table is in use; it is followed when a refresh has ended.
    pub(crate) fn took(&self, generation: Option<i64>) {
        let ended = self.status().refreshes;
        let mut state = self.lock();
        state.taken = Some((generation, ended));
        state.manifest.refused = None;
    }

    /// The manifest in use has this generation, and is the newest one again: what was refused meanwhile is forgotten.
    pub(crate) fn same(&self, generation: Option<i64>) {
        let mut state = self.lock();
        state.manifest.refused = None;
        match &mut state.taken {
            Some((taken, _)) => *taken = generation,
            None => state.manifest.generation = generation,
        }
    }

    /// A newer manifest cannot be used. Returns whether that is news.
    pub(crate) fn refused(&self, refused: RefusedManifest) -> bool {
        let mut state = self.lock();
        if state.manifest.refused.as_ref() == Some(&refused) {
            return false;
        }
        warn!(
            table = self.path,
            reason = refused.reason,
            "a changed manifest is not used; what was in use stays in use: {}",
            refused.message
        );
        state.manifest.refused = Some(refused);
        true
    }

    /// Which manifest the table is served by.
    pub(crate) fn manifest(&self) -> ManifestReport {
        let ended = self.status().refreshes;
        let mut state = self.lock();
        if let Some((generation, before)) = state.taken
            && ended > before
        {
            state.manifest.generation = generation;
            state.taken = None;
        }
        state.manifest.clone()
    }

    /// The table could not be opened.
    pub(crate) fn failed(&self, reason: &'static str, message: String) {
        let mut state = self.lock();
        let pending = &mut state.pending;
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

    /// Whether the state says that another resource keeps it.
    pub(crate) fn is_of_another(&self) -> bool {
        let state = self.lock();
        let error = state.pending.error.as_ref();
        state.refresher.is_none() && error.is_some_and(|(reason, _)| *reason == OTHER_OWNER)
    }

    /// How it is doing.
    pub(crate) fn status(&self) -> TableStatus {
        let state = self.lock();
        match &state.refresher {
            Some((_, refresher)) => refresher.status(),
            None => state.pending.clone(),
        }
    }

    /// Longest time between two refreshes of its timer while all is well; `None` without a timer.
    pub(crate) fn interval(&self) -> Option<Duration> {
        self.refresher()?.1.interval()
    }

    /// Whether it is refreshed by somebody.
    pub(crate) fn is_open(&self) -> bool {
        self.lock().refresher.is_some()
    }

    /// Asks for a refresh. A table that is not open yet is tried again anyway.
    ///
    /// # Errors
    /// As [`Refresher::ask`].
    pub(crate) fn ask(&self) -> Result<(), RequestError> {
        self.refresher()
            .map_or(Ok(()), |(_, refresher)| refresher.ask())
    }

    /// Asks for a refresh and waits for it; `None` while the table is not open.
    ///
    /// # Errors
    /// As [`Refresher::ask_and_wait`].
    pub(crate) async fn ask_and_wait(&self) -> Result<Option<Outcome>, RequestError> {
        loop {
            let Some((number, refresher)) = self.refresher() else {
                return Ok(None);
            };
            match refresher.ask_and_wait().await {
                // Its successor is asked.
                Err(RequestError::Closed)
                    if self.refresher().is_some_and(|(now, _)| now != number) => {}
                waited => return waited.map(Some),
            }
        }
    }

    fn refresher(&self) -> Option<(u64, Refresher)> {
        self.lock().refresher.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// The file.
    pub(crate) origin: String,
    /// Every violation, a line each.
    pub(crate) message: String,
}

/// Tables in the order of their declaration, and what was declared and cannot be served.
type Declared = (Arc<[Arc<Served>]>, Arc<[Problem]>);

/// All of them.
#[derive(Debug)]
pub(crate) struct Tables {
    declared: RwLock<Declared>,
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
            declared: RwLock::new((served.into(), problems.into())),
            metrics,
            state: watch::Sender::new(None),
            before: Versions::default(),
        }
    }

    /// The tables as they are declared now.
    pub(crate) fn served(&self) -> Arc<[Arc<Served>]> {
        Arc::clone(&self.read().0)
    }

    /// What is declared now and cannot be served.
    pub(crate) fn problems(&self) -> Arc<[Problem]> {
        Arc::clone(&self.read().1)
    }

    /// Whether a path lies in a table that is declared or in its twin without data, or is a folder that one of them lies in.
    pub(crate) fn shows(&self, path: &str) -> bool {
        let meets = |table: &str| {
            let (short, long) = match path.len() < table.len() {
                true => (path, table),
                false => (table, path),
            };
            long.strip_prefix(short)
                .is_some_and(|rest| short.is_empty() || rest.is_empty() || rest.starts_with('/'))
        };
        // One that another resource keeps is not ours to show, whoever asks.
        self.served()
            .iter()
            .filter(|served| !served.is_of_another())
            .any(|served| meets(&served.path) || meets(&format!("{}{META_SUFFIX}", served.path)))
    }

    /// Whether a table that is declared is not open yet.
    pub(crate) fn are_opening(&self) -> bool {
        self.served().iter().any(|served| !served.is_open())
    }

    /// Puts others in their place.
    pub(crate) fn declare(&self, served: Vec<Arc<Served>>, problems: Vec<Problem>) {
        let declared = (served.into(), problems.into());
        *self
            .declared
            .write()
            .unwrap_or_else(PoisonError::into_inner) = declared;
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Declared> {
        self.declared.read().unwrap_or_else(PoisonError::into_inner)
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
        let served = self.served();
        let table = served.iter().find(|served| is_of(&served.path));
        if let Some((_, refresher)) = table.and_then(|served| served.refresher()) {
            refresher.drift();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use vdt_store::StoreError;

    use super::*;

    #[test]
    fn a_manifest_is_followed_when_a_refresh_has_ended() {
        let served = Served::pending("c/s/t".to_owned(), "t".to_owned(), Some(1));
        assert_eq!(served.manifest().if_any(), None);
        served.failed("SourceNotFound", "no".to_owned());
        assert_eq!(served.manifest().generation, Some(1));
        served.took(Some(2));
        assert_eq!(served.manifest().generation, Some(1));
        // Only a number of its own: nothing else changed, so nothing has to be followed anew.
        served.same(Some(3));
        served.failed("SourceNotFound", "no".to_owned());
        assert_eq!(served.manifest().generation, Some(3));
    }

    #[test]
    fn tables_and_their_folders_are_shown_and_no_others() {
        let served = Served::pending("main/docs/papers".to_owned(), "papers".to_owned(), None);
        let (metrics, _) = Metrics::new(false);
        let tables = Tables::new(vec![Arc::new(served)], Vec::new(), Arc::new(metrics));
        for path in [
            "",
            "main",
            "main/docs",
            "main/docs/papers",
            "main/docs/papers/_delta_log/0.json",
            "main/docs/papers_meta/_delta_log/0.json",
        ] {
            assert!(tables.shows(path), "{path:?}");
        }
        for path in [
            "mai",
            "main/doc",
            "main/docs/pap",
            "main/docs/papers_more/x",
            "other/docs/papers",
        ] {
            assert!(!tables.shows(path), "{path:?}");
        }
        tables.declare(Vec::new(), Vec::new());
        assert!(!tables.shows("main/docs/papers/_delta_log/0.json") && !tables.shows(""));
    }

    #[test]
    fn a_table_that_another_resource_keeps_is_not_shown() {
        let served = Arc::new(Served::pending("c/s/t".to_owned(), "t".to_owned(), None));
        let (metrics, _) = Metrics::new(false);
        let tables = Tables::new(vec![served.clone()], Vec::new(), Arc::new(metrics));
        served.failed("SourceNotFound", "no".to_owned());
        assert!(tables.shows("c/s/t/_delta_log/0.json"));
        let error = StoreError::OtherOwner {
            table: "c/s/t".to_owned(),
            owner: "docs/t".to_owned(),
            held_by: "docs/other".to_owned(),
        };
        served.failed(error.reason(), error.to_string());
        for path in [
            "c/s/t/_delta_log/0.json",
            "c/s/t_meta/_delta_log/0.json",
            "c/s",
        ] {
            assert!(!tables.shows(path), "{path}");
        }
    }

    #[test]
    fn a_refused_manifest_is_told_until_a_good_one_comes() {
        let served = Served::pending("c/s/t".to_owned(), "t".to_owned(), None);
        served.failed("SourceNotFound", "no".to_owned());
        served.same(Some(1));
        let refused = RefusedManifest {
            generation: Some(2),
            reason: "InvalidSpec".to_owned(),
            message: "spec.x is 1; write 2".to_owned(),
        };
        assert!(served.refused(refused.clone()));
        assert!(!served.refused(refused.clone()), "told once");
        let report = served.manifest();
        assert_eq!(
            (report.generation, report.refused),
            (Some(1), Some(refused))
        );
        served.took(Some(3));
        assert_eq!(served.manifest().refused, None);
    }
}
