//! The tables of this process: those that are refreshed, those that cannot be opened yet, and manifests that cannot be read.
//!
//! In a pod they come and go with the manifests. A table that stays is the same [`Served`] throughout; who refreshes it is replaced.

mod served;

use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;
use tracing::debug;
use vdt_crds::META_SUFFIX;
use vdt_store::{SourceOutcome, StateStore, Versions};

pub(crate) use served::{Claim, Served};

/// A manifest that cannot be served, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The file, or the table if it could be told.
    pub(crate) manifest: String,
    /// The file.
    pub(crate) origin: String,
    /// Every violation, a line each.
    pub(crate) message: String,
    /// Whether the system did not let it be read, which may pass while nothing changes.
    pub(crate) may_pass: bool,
}

impl Problem {
    /// Whether nothing is known of its file or folder but that it cannot be used.
    pub(crate) fn is_of_file(&self) -> bool {
        self.manifest == self.origin
    }
}

/// Whether a path is shown. What is not ours is not ours to show, whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visibility {
    /// What is there is.
    Visible,
    /// The state has not said yet whose it is, or a manifest that cannot be used may declare it.
    Unknown,
    /// It is not.
    Hidden,
}

/// Tables in the order of their declaration, and what was declared and cannot be served.
type Declared = (Arc<[Arc<Served>]>, Arc<[Problem]>);

/// All of them.
#[derive(Debug)]
pub(crate) struct Tables {
    declared: RwLock<Declared>,
    state: watch::Sender<Option<StateStore>>,
    /// Versions before there is a state: none.
    before: Versions,
}

impl Tables {
    /// The tables, before their state is open.
    pub(crate) fn new(served: Vec<Arc<Served>>, problems: Vec<Problem>) -> Self {
        Self {
            declared: RwLock::new((served.into(), problems.into())),
            state: watch::Sender::new(None),
            before: Versions::default(),
        }
    }

    /// The tables as they are declared now.
    pub(crate) fn served(&self) -> Arc<[Arc<Served>]> {
        Arc::clone(&self.declared.read().0)
    }

    /// What is declared now and cannot be served.
    pub(crate) fn problems(&self) -> Arc<[Problem]> {
        Arc::clone(&self.declared.read().1)
    }

    /// Whether `path` is shown: it lies in a table of ours or in its twin without data, or is a folder that one of them lies in.
    pub(crate) fn visibility(&self, path: &str) -> Visibility {
        match self.declared_at(path) {
            Some(visibility) => visibility,
            None if self.may_declare(path) => Visibility::Unknown,
            None => Visibility::Hidden,
        }
    }

    /// The same in a listing of a folder above tables, which has nothing of what no manifest declares: one that cannot be read would else fail the
    /// listings of all tables, for as long as a state has any folder of others.
    pub(crate) fn visibility_in_listing(&self, path: &str) -> Visibility {
        self.declared_at(path).unwrap_or(Visibility::Hidden)
    }

    /// Whether `path` is shown because of tables that are declared; `None` if there are none.
    fn declared_at(&self, path: &str) -> Option<Visibility> {
        let served = self.served();
        let mut visibility = None;
        for table in served.iter().filter(|table| meets(&table.path, path)) {
            match table.whose() {
                Claim::Ours => return Some(Visibility::Visible),
                Claim::Unclaimed => visibility = Some(Visibility::Unknown),
                Claim::OfAnother => {
                    visibility.get_or_insert(Visibility::Hidden);
                }
            }
        }
        visibility
    }

    /// Whether a manifest that cannot be used may declare what lies at `path`. To a process that was started after it was broken its table is not known,
    /// and must not be gone for those who know it from before.
    fn may_declare(&self, path: &str) -> bool {
        let is_of = |problem: &Problem| match problem.is_of_file() {
            true => true,
            false => meets(&problem.manifest, path),
        };
        self.problems().iter().any(is_of)
    }

    /// Whether a table is not open yet, or its manifest cannot be used: what it is made of is not all known.
    pub(crate) fn are_opening(&self) -> bool {
        !self.problems().is_empty() || self.served().iter().any(|served| !served.is_open())
    }

    /// Puts others in their place.
    pub(crate) fn declare(&self, served: Vec<Arc<Served>>, problems: Vec<Problem>) {
        *self.declared.write() = (served.into(), problems.into());
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

    /// A read met a changed source: its table is refreshed. `file` is a virtual file's path. Whoever answers the reader logs it.
    pub(crate) fn drift(&self, file: &str, key: &str, reason: &str) {
        debug!(location = file, key, reason, "a source object changed");
        let is_of = |table: &str| {
            file.strip_prefix(table)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        let served = self.served();
        if let Some(table) = served.iter().find(|served| is_of(&served.path)) {
            table.drift();
        }
    }
}

/// What is wrong with a source, with a remedy that whoever gave a folder or bucket without a manifest (`is_given`) can carry out.
pub(crate) fn remedied(source: &SourceOutcome, is_given: bool) -> String {
    match source.is_held() && is_given {
        true => format!(
            "{}; without a manifest, start `vdt serve` with --on-shrink apply",
            source.message
        ),
        false => source.message.clone(),
    }
}

/// Whether `path` lies in the table at `table` or in its twin without data, or is a folder that they lie in.
fn meets(table: &str, path: &str) -> bool {
    let is_end = |rest: &str| rest.is_empty() || rest.starts_with('/');
    match path.strip_prefix(table) {
        Some(rest) => is_end(rest) || rest.strip_prefix(META_SUFFIX).is_some_and(is_end),
        None => table
            .strip_prefix(path)
            .is_some_and(|rest| path.is_empty() || rest.starts_with('/')),
    }
}

#[cfg(test)]
mod tests {
    use object_store::{memory::InMemory, path::Path};
    use vdt_store::OpenMode;

    use super::*;

    fn declared(paths: &[&str]) -> (Tables, Vec<Arc<Served>>) {
        let pending = |path: &&str| {
            let (_, name) = path.rsplit_once('/').unwrap();
            Arc::new(Served::pending((*path).to_owned(), name.to_owned(), None))
        };
        let served: Vec<_> = paths.iter().map(pending).collect();
        (Tables::new(served.clone(), Vec::new()), served)
    }

    async fn memory() -> StateStore {
        let memory = Arc::new(InMemory::new());
        let state = StateStore::from_store(memory, "memory", OpenMode::ReadWrite);
        state.await.unwrap()
    }

    #[tokio::test]
    async fn tables_and_their_folders_are_shown_and_no_others() {
        let (tables, served) = declared(&["main/docs/papers"]);
        let shown = [
            "",
            "main",
            "main/docs",
            "main/docs/papers",
            "main/docs/papers/_delta_log/0.json",
            "main/docs/papers_meta/_delta_log/0.json",
        ];
        for path in shown {
            assert_eq!(tables.visibility(path), Visibility::Unknown, "{path:?}");
        }
        served[0]
            .claim(&memory().await, "docs/papers")
            .await
            .unwrap();
        for path in shown {
            assert_eq!(tables.visibility(path), Visibility::Visible, "{path:?}");
        }
        for path in [
            "mai",
            "main/doc",
            "main/docs/pap",
            "main/docs/papers_me",
            "main/docs/papers_more/x",
            "other/docs/papers",
        ] {
            assert_eq!(tables.visibility(path), Visibility::Hidden, "{path:?}");
        }
        tables.declare(Vec::new(), Vec::new());
        for path in ["main/docs/papers/_delta_log/0.json", ""] {
            assert_eq!(tables.visibility(path), Visibility::Hidden, "{path:?}");
        }
    }

    #[tokio::test]
    async fn what_a_broken_manifest_may_declare_is_not_gone() {
        let problem = |manifest: &str| Problem {
            manifest: manifest.to_owned(),
            origin: "b.yaml".to_owned(),
            message: "a typo".to_owned(),
            may_pass: false,
        };
        let (tables, served) = declared(&["main/docs/a"]);
        served[0].claim(&memory().await, "docs/a").await.unwrap();
        let (b, c) = (
            "main/docs/b/_delta_log/0.json",
            "main/docs/c/_delta_log/0.json",
        );
        let seen = |problems: Vec<Problem>| {
            tables.declare(served.clone(), problems);
            [b, c, "main/docs/a/_delta_log/0.json"].map(|path| tables.visibility(path))
        };
        let all = [
            Visibility::Unknown,
            Visibility::Unknown,
            Visibility::Visible,
        ];
        assert_eq!(seen(vec![problem("b.yaml")]), all);
        // Its tables may be known, though they cannot be served.
        let its = [Visibility::Unknown, Visibility::Hidden, Visibility::Visible];
        assert_eq!(seen(vec![problem("main/docs/b")]), its);
        let mended = [Visibility::Hidden, Visibility::Hidden, Visibility::Visible];
        assert_eq!(seen(Vec::new()), mended);
    }

    #[tokio::test]
    async fn a_table_that_another_resource_keeps_is_not_shown() {
        let (tables, served) = declared(&["c/s/t", "c/s/u"]);
        let state = memory().await;
        state.claim(&Path::from("c/s/t"), "docs/t").await.unwrap();
        served[0].claim(&state, "docs/other").await.unwrap_err();
        let paths = ["c/s/t/_delta_log/0.json", "c/s/t_meta/_delta_log/0.json"];
        for path in paths {
            assert_eq!(tables.visibility(path), Visibility::Hidden, "{path}");
        }
        // What it says next, such as that the state is away, is no claim.
        served[0].failed("StateUnavailable", "no".to_owned());
        for path in paths {
            assert_eq!(tables.visibility(path), Visibility::Hidden, "{path}");
        }
        assert_eq!(
            tables.visibility("c/s"),
            Visibility::Unknown,
            "for the other one"
        );
        served[1].claim(&state, "docs/u").await.unwrap();
        assert_eq!(tables.visibility("c/s"), Visibility::Visible);
    }
}
