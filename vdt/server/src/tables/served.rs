//! One table of this process: whose it is, how it is doing, and which manifest it is served by.

use std::{sync::Arc, time::Duration};

use object_store::path::Path;
use parking_lot::Mutex;
use tracing::warn;
use vdt_crds::api::{ManifestReport, RefusedManifest};
use vdt_store::{
    Outcome, RefreshReport, Refresher, RequestError, StateStore, StoreError, TableStatus,
};

/// Whose a table is, as far as its state has said. Whatever else fails says nothing about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It has not said yet.
    #[default]
    Unclaimed,
    /// Its resource's: it is ours to show.
    Ours,
    /// Another resource keeps it.
    OfAnother,
}

/// A table that was declared.
#[derive(Debug)]
pub(crate) struct Served {
    /// `<catalog>/<schema>/<table>`.
    pub(crate) path: String,
    /// Third part of the name.
    pub(crate) name: String,
    /// Whether it is that of a folder or bucket without a manifest, which flags say how to follow.
    pub(crate) is_given: bool,
    state: Mutex<State>,
}

/// How a table is doing.
#[derive(Debug, Default)]
struct State {
    claim: Claim,
    /// The resource that has claimed it, or tries to.
    owner: String,
    /// Asks for refreshes, once the table is open; counted, so that its successor is told from it.
    refresher: Option<(u64, Refresher)>,
    /// How it is doing before.
    pending: TableStatus,
    manifest: ManifestReport,
    taken: Option<Taken>,
}

/// A manifest that was taken and is not followed yet.
#[derive(Debug)]
struct Taken {
    generation: Option<i64>,
    /// Refreshes that had ended when the table was opened by it. The next one that ends follows it.
    refreshes: Option<u64>,
}

impl State {
    fn status(&self) -> TableStatus {
        match &self.refresher {
            Some((_, refresher)) => refresher.status(),
            None => self.pending.clone(),
        }
    }

    fn take(&mut self, generation: Option<i64>) {
        self.taken = Some(Taken {
            generation,
            refreshes: None,
        });
    }

    /// What was taken is followed.
    fn follow(&mut self) {
        if let Some(taken) = self.taken.take() {
            self.manifest.generation = taken.generation;
        }
    }
}

impl Served {
    /// A table that is not open yet, and the generation of its manifest.
    pub(crate) fn pending(path: String, name: String, generation: Option<i64>) -> Self {
        let mut state = State::default();
        state.take(generation);
        Self {
            path,
            name,
            is_given: false,
            state: Mutex::new(state),
        }
    }

    /// A table that is ours and open.
    pub(crate) fn open(path: String, name: String, refresher: Refresher) -> Self {
        let served = Self::pending(path, name, None);
        served.state.lock().claim = Claim::Ours;
        served.opened(refresher, true);
        served
    }

    /// The same table, given as a folder or bucket (`is_given`) or by a manifest.
    #[must_use]
    pub(crate) fn given(self, is_given: bool) -> Self {
        Self { is_given, ..self }
    }

    /// Has `state` say whether the table is that of the resource `owner`. A claim that holds is not made again.
    ///
    /// # Errors
    /// As [`StateStore::claim`].
    pub(crate) async fn claim(&self, state: &StateStore, owner: &str) -> Result<(), StoreError> {
        if self.whose() == Claim::Ours {
            return Ok(());
        }
        owner.clone_into(&mut self.state.lock().owner);
        let claimed = state.claim(&Path::from(self.path.as_str()), owner).await;
        match &claimed {
            Ok(()) => self.state.lock().claim = Claim::Ours,
            Err(StoreError::OtherOwner { .. }) => self.state.lock().claim = Claim::OfAnother,
            // Nothing was said, so it is whose it was.
            Err(_) => {}
        }
        claimed
    }

    /// The resource (`<namespace>/<name>`) that the table is served for; empty as long as the state has not said that it is its own.
    pub(crate) fn owner(&self) -> String {
        let state = self.state.lock();
        match state.claim {
            Claim::Ours => state.owner.clone(),
            Claim::Unclaimed | Claim::OfAnother => String::new(),
        }
    }

    /// Whose the table is.
    pub(crate) fn whose(&self) -> Claim {
        self.state.lock().claim
    }

    /// The table is declared no longer, by its resource at least: nothing of it is shown from now on.
    pub(crate) fn release(&self) {
        self.state.lock().claim = Claim::Unclaimed;
    }

    /// The table is refreshed by `refresher` from now on. `is_followed`: what the manifest says is done already.
    pub(crate) fn opened(&self, refresher: Refresher, is_followed: bool) {
        let mut state = self.state.lock();
        let ended = refresher.status().refreshes;
        let number = state.refresher.as_ref().map_or(0, |(number, _)| number + 1);
        state.refresher = Some((number, refresher));
        if is_followed {
            state.follow();
        } else if let Some(taken) = &mut state.taken {
            taken.refreshes = Some(ended);
        }
    }

    /// Another manifest of the table is in use; it is followed when a refresh by it has ended.
    pub(crate) fn took(&self, generation: Option<i64>) {
        let mut state = self.state.lock();
        state.take(generation);
        state.manifest.refused = None;
    }

    /// The manifest in use has this generation, and is the newest one again: what was refused meanwhile is forgotten.
    pub(crate) fn same(&self, generation: Option<i64>) {
        let mut state = self.state.lock();
        state.manifest.refused = None;
        match &mut state.taken {
            Some(taken) => taken.generation = generation,
            None => state.manifest.generation = generation,
        }
    }

    /// A newer manifest cannot be used. Returns whether that is news.
    pub(crate) fn refused(&self, refused: RefusedManifest) -> bool {
        self.refused_as(
            refused,
            "a changed manifest is not used; what was in use stays in use",
        )
    }

    /// The manifest is used, though another one declares the table too. Returns whether that is news.
    pub(crate) fn doubled(&self, refused: RefusedManifest) -> bool {
        self.refused_as(
            refused,
            "the manifest is used, though another one declares the table too",
        )
    }

    fn refused_as(&self, refused: RefusedManifest, told: &str) -> bool {
        let mut state = self.state.lock();
        if state.manifest.refused.as_ref() == Some(&refused) {
            return false;
        }
        warn!(
            table = self.path,
            reason = refused.reason,
            "{told}: {}",
            refused.message
        );
        state.manifest.refused = Some(refused);
        true
    }

    /// Which manifest the table is served by.
    pub(crate) fn manifest(&self) -> ManifestReport {
        let mut state = self.state.lock();
        let before = state.taken.as_ref().and_then(|taken| taken.refreshes);
        if before.is_some_and(|before| state.status().refreshes > before) {
            state.follow();
        }
        state.manifest.clone()
    }

    /// The version that is served as long as the table is not open.
    pub(crate) fn committed(&self, report: RefreshReport) {
        self.state.lock().pending.last = Some(Arc::new(report));
    }

    /// The table could not be opened. As long as it never was, that is what comes of its manifest.
    pub(crate) fn failed(&self, reason: &'static str, message: String) {
        let mut state = self.state.lock();
        let pending = &mut state.pending;
        pending.refreshes += 1;
        pending.failures += 1;
        let news = (reason, message);
        if pending.error.as_ref() != Some(&news) {
            let shown = match pending.last {
                Some(_) => "served as it was committed",
                None => "not served yet",
            };
            warn!(table = self.path, reason = news.0, "{shown}: {}", news.1);
        }
        pending.error = Some(news);
        if state.refresher.is_none() {
            state.follow();
        }
    }

    /// How it is doing.
    pub(crate) fn status(&self) -> TableStatus {
        self.state.lock().status()
    }

    /// Longest time between two refreshes of its timer while all is well; `None` without a timer.
    pub(crate) fn interval(&self) -> Option<Duration> {
        self.refresher()?.1.interval()
    }

    /// Whether it is refreshed by somebody.
    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().refresher.is_some()
    }

    /// Why no refresh is made whoever asks, if so.
    pub(crate) fn refusal(&self) -> Option<StoreError> {
        self.refresher()?.1.refusal()
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

    /// A read met a changed source.
    pub(super) fn drift(&self) {
        if let Some((_, refresher)) = self.refresher() {
            refresher.drift();
        }
    }

    fn refresher(&self) -> Option<(u64, Refresher)> {
        self.state.lock().refresher.clone()
    }

    /// A table is asked for by its whole path, with slashes or dots, or by its name alone.
    pub(crate) fn is_called(&self, asked: &str) -> bool {
        self.path == asked || self.name == asked || self.path.replace('/', ".") == asked
    }
}

#[cfg(test)]
mod tests {
    use object_store::{ObjectStoreExt, memory::InMemory};
    use vdt_store::OpenMode;

    use super::*;

    fn pending(generation: Option<i64>) -> Served {
        Served::pending("c/s/t".to_owned(), "t".to_owned(), generation)
    }

    #[test]
    fn a_manifest_is_followed_when_a_refresh_has_ended() {
        let served = pending(Some(1));
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
    fn a_refused_manifest_is_told_until_a_good_one_comes() {
        let served = pending(None);
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

    #[tokio::test]
    async fn only_the_states_word_says_whose_a_table_is() {
        let memory = Arc::new(InMemory::new());
        let state = StateStore::from_store(memory.clone(), "memory", OpenMode::ReadWrite);
        let state = state.await.unwrap();
        let owner = Path::from("c/s/t/_vdt/owner.json");
        let says = async |text: &'static str| {
            memory.put(&owner, text.into()).await.unwrap();
        };
        let served = pending(None);
        let claim = async || served.claim(&state, "docs/copy").await.is_ok();

        says("no JSON").await;
        assert!(!claim().await);
        assert_eq!(served.whose(), Claim::Unclaimed);
        says(r#"{"owner":"docs/manuals"}"#).await;
        assert!(!claim().await);
        assert_eq!(served.whose(), Claim::OfAnother);
        // An error in between says nothing.
        says("no JSON").await;
        assert!(!claim().await);
        served.failed("StateUnavailable", "no".to_owned());
        assert_eq!(served.whose(), Claim::OfAnother);
        says(r#"{"owner":"docs/copy"}"#).await;
        assert!(claim().await);
        assert_eq!(served.whose(), Claim::Ours);
        // A claim that was held once holds, whatever becomes of the state.
        says("no JSON").await;
        assert!(claim().await);
        served.release();
        assert_eq!(served.whose(), Claim::Unclaimed);
    }
}
