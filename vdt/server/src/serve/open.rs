//! Opening the state and the tables: each is refreshed once before it is served.
//!
//! A table that cannot be opened or refreshed is served as it was last committed; without any version that is an error, unless other
//! tables can be served.

use std::{
    collections::BTreeSet,
    fmt::Write,
    path::{Path as FsPath, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use futures::{
    FutureExt,
    future::{self, BoxFuture},
};
use object_store::path::Path;
use tokio::{task::spawn_blocking, time::timeout};
use tracing::error;
use vdt_crds::chain;
use vdt_sidecar::{exit::BadInput, process::now_ms};
use vdt_store::{
    Clock, Definition, OpenMode, Origin, RefreshReport, SourceOutcome, StateStore, StoreError,
    TableRefresh, TableStatus,
    log::{Snapshot, TableLog},
};

use crate::{
    args::ServeArgs,
    manifests::{self, Declared},
    progress::ListingProgress,
    state, stdout, units,
};

/// Time for a file system to say where a path leads.
const PLACE_WAIT: Duration = Duration::from_secs(2);

/// A table that is open and has at least one version.
pub(super) struct Opened {
    pub(super) definition: Arc<Definition>,
    pub(super) refresh: TableRefresh,
    pub(super) status: TableStatus,
}

/// A table that has a version and cannot be opened, as when its folder or Secret is away.
pub(super) struct Standing {
    pub(super) report: RefreshReport,
    /// Why it cannot be opened, and in a sentence.
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// A table with a version to show.
pub(super) enum Shown {
    /// It is refreshed from now on.
    Opened(Box<Opened>),
    /// It is as it was committed until it can be opened.
    Standing(Standing),
}

impl Shown {
    /// The version that is shown.
    pub(super) fn report(&self) -> Option<&RefreshReport> {
        match self {
            Self::Opened(opened) => opened.status.last.as_deref(),
            Self::Standing(standing) => Some(&standing.report),
        }
    }
}

/// The clock of refreshes.
pub(super) fn clock() -> Clock {
    Arc::new(now_ms)
}

/// Opens the state that `args` name, or the default one of these sources.
///
/// # Errors
/// A state or a cache inside a source, a source inside a state, and those of [`StateStore::open`].
pub(super) async fn open_state(
    args: &ServeArgs,
    declared: &[Declared],
) -> anyhow::Result<StateStore> {
    if let Some(cache) = &args.cache.cache_dir {
        let what = ("cache folder", "--cache-dir");
        refuse_overlap(declared, cache, what, false, leads).await?;
    }
    if let Some(url) = args.state.as_deref().filter(|state| state.contains("://")) {
        return state::open(url, OpenMode::ReadWrite).await;
    }
    let folder = state_folder(args)?;
    let what = ("state directory", "--state");
    refuse_overlap(declared, &folder, what, true, leads).await?;
    state::open_folder(&folder, OpenMode::ReadWrite).await
}

/// The directory of a state that is one.
pub(super) fn state_folder(args: &ServeArgs) -> anyhow::Result<PathBuf> {
    match &args.state {
        Some(folder) => Ok(FsPath::new(folder).to_owned()),
        None => state::default_folder(&args.sources.sources, args.sources.manifests.as_deref()),
    }
}

/// Refuses a folder of ours that lies in a source: it would be listed as artifacts, and change with every refresh. A state that
/// a source lies in is refused too: what is in a state directory is vdt's. `what` the folder is, and the flag that names it.
///
/// A source that does not say in time where it leads is where it is written. Our folder has said so, and so has all that it lies in: what hangs holds
/// it, if at all, by a link that hangs too. A folder of ours that does not say it is not used.
async fn refuse_overlap(
    declared: &[Declared],
    folder: &FsPath,
    what: (&str, &str),
    holds_state: bool,
    leads: Leads,
) -> anyhow::Result<()> {
    let (named, flag) = what;
    let ours = leads(folder.to_owned()).await;
    let ours = ours.with_context(|| format!("the {named}"))?;
    let ours = ours.with_context(|| {
        let folder = folder.display();
        format!("the file system of the {named} {folder} does not answer; mend it, or give another {flag}")
    })?;
    let mut roots = BTreeSet::new();
    for one in declared {
        for source in &one.table.spec.sources {
            if let Some(file) = &source.file {
                let root = match (&file.claim_name, &one.env.claims_dir) {
                    (Some(claim), Some(claims)) => claims.join(claim).join(file.path()),
                    _ => one.env.base_dir.join(file.path()),
                };
                roots.insert(root);
            }
        }
    }
    let theirs = roots.iter().map(|root| leads(root.clone()));
    for (root, place) in roots.iter().zip(future::join_all(theirs).await) {
        let theirs = match place? {
            Some(place) => place,
            None => std::path::absolute(root)?,
        };
        refuse_overlap_with(&theirs, &ours, what, holds_state)?;
    }
    Ok(())
}

/// As [`refuse_overlap`], of places.
fn refuse_overlap_with(
    theirs: &FsPath,
    ours: &FsPath,
    (what, flag): (&str, &str),
    holds_state: bool,
) -> anyhow::Result<()> {
    let (named, source) = (
        format!("the {what} {}", ours.display()),
        format!("the source {}", theirs.display()),
    );
    let refused = if ours.starts_with(theirs) {
        format!("{named} lies inside {source}; give a {flag} outside of it")
    } else if holds_state && theirs.starts_with(ours) {
        format!("{source} lies inside {named}; give a {flag} that holds no source")
    } else {
        return Ok(());
    };
    Err(BadInput::new(refused).into())
}

/// Where a path leads; `None` if its file system does not say so in time.
type Leads = fn(PathBuf) -> BoxFuture<'static, anyhow::Result<Option<PathBuf>>>;

fn leads(path: PathBuf) -> BoxFuture<'static, anyhow::Result<Option<PathBuf>>> {
    in_time(PLACE_WAIT, move || real(&path)).boxed()
}

/// What a file system says; `None` if it does not in time. No thread that serves waits for one that hangs.
async fn in_time<T: Send + 'static>(
    wait: Duration,
    look: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> anyhow::Result<Option<T>> {
    match timeout(wait, spawn_blocking(look)).await {
        Ok(said) => Ok(Some(said??)),
        Err(_) => Ok(None),
    }
}

/// Where `path` leads, or would lead once it is there: what exists of it by way of its links.
fn real(path: &FsPath) -> std::io::Result<PathBuf> {
    let given = std::path::absolute(path)?;
    let mut existing = given.as_path();
    loop {
        match (existing.canonicalize(), existing.parent()) {
            (Ok(found), _) => {
                let missing = given.strip_prefix(existing).unwrap_or(FsPath::new(""));
                // Part by part: an empty rest would end the path with a slash.
                return Ok(found.iter().chain(missing).collect());
            }
            (Err(_), Some(above)) => existing = above,
            (Err(error), None) => return Err(error),
        }
    }
}

/// Opens all tables and refreshes each once, in their order. Those that fail are told; if all do, the first failure is the answer.
///
/// # Errors
/// As said.
pub(super) async fn open_tables<'a>(
    declared: &'a [Declared],
    state: &StateStore,
    origin: &Arc<Origin>,
) -> anyhow::Result<Vec<(&'a Declared, Shown)>> {
    let mut opened = Vec::new();
    let mut failed = Vec::new();
    for one in declared {
        match open_table(one, state, origin).await {
            Ok(table) => opened.push((one, table)),
            Err(error) => failed.push(error.context(format!("table {}", one.table.table_name()))),
        }
    }
    if opened.is_empty() {
        return Err(failed.swap_remove(0));
    }
    for problem in failed {
        error!("not served: {}", chain(problem.as_ref()));
    }
    Ok(opened)
}

async fn open_table(
    declared: &Declared,
    state: &StateStore,
    origin: &Arc<Origin>,
) -> anyhow::Result<Shown> {
    let definition = match Definition::open(&declared.table, &declared.env) {
        Ok(definition) => Arc::new(definition),
        Err(problem) => return standing(declared, state, problem).await,
    };
    for source in &definition.sources {
        origin.add_source(source.clone());
    }
    // Somebody else's table is not ours to show.
    state.claim(&definition.path(), &definition.owner).await?;
    let refresh = TableRefresh::new(definition.clone(), state.clone(), clock());
    if definition.suspend
        && let Some(snapshot) = refresh.log().snapshot().await?
    {
        eprintln!(
            "  {} is suspended and served as of version {}",
            definition.name, snapshot.version
        );
        let status = TableStatus::default();
        let opened = as_committed(definition, refresh, &snapshot, status);
        return Ok(Shown::Opened(Box::new(opened)));
    }
    let before = origin.source_reads().bytes;
    let outcome = {
        let progress = ListingProgress::start(&definition.name);
        refresh.run(Some(progress.callback())).await
    };
    match outcome {
        Ok(report) => {
            let read = origin.source_reads().bytes - before;
            print_report(&report, read, declared.table.spec.given.is_some())?;
            let opened = as_refreshed(definition, refresh, report);
            Ok(Shown::Opened(Box::new(opened)))
        }
        Err(problem) => match refresh.log().snapshot().await {
            Ok(Some(snapshot)) => {
                let message = chain(&problem);
                eprintln!(
                    "  warning: {message}; version {} is served as it is",
                    snapshot.version
                );
                let status = TableStatus {
                    error: Some((problem.reason(), message)),
                    ..TableStatus::default()
                };
                let opened = as_committed(definition, refresh, &snapshot, status);
                Ok(Shown::Opened(Box::new(opened)))
            }
            _ => Err(problem.into()),
        },
    }
}

/// The table of a resource that cannot be opened: as it was committed, if it was, and is this resource's.
async fn standing(
    declared: &Declared,
    state: &StateStore,
    problem: StoreError,
) -> anyhow::Result<Shown> {
    let path = Path::from(declared.table.table_path());
    let Some(snapshot) = TableLog::new(state.clone(), path.clone())
        .snapshot()
        .await?
    else {
        return Err(manifests::refused(problem));
    };
    state.claim(&path, &declared.table.owner()).await?;
    Ok(Shown::Standing(Standing {
        report: RefreshReport::of_snapshot(path.as_ref(), &snapshot),
        reason: problem.reason(),
        message: chain(&problem),
    }))
}

/// A table that has just been refreshed.
pub(super) fn as_refreshed(
    definition: Arc<Definition>,
    refresh: TableRefresh,
    report: RefreshReport,
) -> Opened {
    Opened {
        definition,
        refresh,
        status: TableStatus::after(report, now_ms()),
    }
}

/// A table as it was committed before this process.
pub(super) fn as_committed(
    definition: Arc<Definition>,
    refresh: TableRefresh,
    snapshot: &Snapshot,
    status: TableStatus,
) -> Opened {
    let report = RefreshReport::of_snapshot(definition.path().as_ref(), snapshot);
    Opened {
        definition,
        refresh,
        status: TableStatus {
            last: Some(Arc::new(report)),
            ..status
        },
    }
}

fn print_report(
    report: &RefreshReport,
    artifact_bytes_read: u64,
    is_given: bool,
) -> anyhow::Result<()> {
    let mut text = summary(report, artifact_bytes_read);
    let mut warn = |source: &str, problem: &str| {
        let _ = writeln!(text, "  warning: source {source}: {problem}");
    };
    for source in &report.sources {
        if !source.is_current() {
            warn(&source.name, &remedied(source, is_given));
        }
        for (reason, count) in &source.skipped {
            let keys = units::count(*count, "key");
            warn(&source.name, &format!("{keys} left out: {reason}"));
        }
    }
    if report.unsettled > 0 {
        let _ = writeln!(
            text,
            "  note: {} written just now; shown once unchanged for settleSeconds",
            units::count(report.unsettled, "artifact")
        );
    }
    stdout::print(&text)
}

/// What was listed now, and what the table shows where that is something else: a source may be held or out of reach, artifacts too young.
fn summary(report: &RefreshReport, artifact_bytes_read: u64) -> String {
    let listed: u64 = report
        .sources
        .iter()
        .filter_map(|source| source.artifacts)
        .sum();
    let bytes = units::bytes(report.artifact_bytes.unwrap_or_default());
    let version = match report.committed {
        true => format!("version {} committed", report.version),
        false => format!("version {} is current", report.version),
    };
    let (listed_bytes, shown) = match listed == report.artifacts {
        true => (format!(", {bytes}"), String::new()),
        false => {
            let artifacts = units::count(report.artifacts, "artifact");
            (String::new(), format!(" with {artifacts}, {bytes}"))
        }
    };
    format!(
        "  listed {}{listed_bytes} in {:.1} s; {version}{shown}; {artifact_bytes_read} artifact bytes read\n",
        units::count(listed, "artifact"),
        report.listing_seconds,
    )
}

/// What is wrong with a source, with a remedy that whoever gave a folder without a manifest can carry out.
fn remedied(source: &SourceOutcome, is_given: bool) -> String {
    match source.is_held() && is_given {
        true => format!(
            "{}; without a manifest, start `vdt serve` with --on-shrink apply",
            source.message
        ),
        false => source.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::RwLock};

    use vdt_store::SourceEnv;

    use super::*;

    fn report(listed: u64, shown: u64) -> RefreshReport {
        let mut report = RefreshReport::of_version("main/default/t", 5);
        report.artifacts = shown;
        report.artifact_bytes = Some(1024);
        report.sources = vec![SourceOutcome {
            name: "folder".to_owned(),
            reason: "Listed",
            message: String::new(),
            artifacts: Some(listed),
            skipped: BTreeMap::new(),
        }];
        report
    }

    #[test]
    fn a_state_and_a_source_do_not_lie_in_one_another_wherever_links_lead() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("it is there");
        let at = |name: &str| root.join(name);
        std::fs::create_dir_all(at("all/papers/2024")).expect("made");
        std::os::unix::fs::symlink(at("all/papers"), at("link")).expect("made");
        let refused = |source: &str, ours: &str, holds_state| {
            let what = ("state directory", "--state");
            let place = |name| real(&at(name)).expect("it leads somewhere");
            let refused = refuse_overlap_with(&place(source), &place(ours), what, holds_state);
            refused.err().map(|error| {
                assert!(error.is::<BadInput>());
                error.to_string().replace(&*root.to_string_lossy(), "")
            })
        };
        let holds = "the source /all/papers lies inside the state directory /all; give a --state that holds no source";
        let lies = "the state directory /all/papers/new lies inside the source /all/papers; give a --state outside of it";
        for (source, ours, holds_state, expected) in [
            ("all/papers", "all", true, Some(holds)),
            ("link", "all", true, Some(holds)),
            ("all/papers", "all/papers/new", true, Some(lies)),
            ("link", "link/new", false, Some(lies)),
            ("all/papers", "state", true, None),
            ("all/papers", "all/paper", true, None),
            // A cache removes nothing but what it marks as its own.
            ("all/papers", "all", false, None),
        ] {
            let refused = refused(source, ours, holds_state);
            assert_eq!(refused.as_deref(), expected, "{source} {ours}");
        }
        // A source that is away lies where it will be.
        assert!(refused("all/away", "all", true).is_some());
        assert!(refused("all/papers", "all/papers", true).is_some());
    }

    #[test]
    fn a_file_system_that_hangs_holds_up_nothing() {
        static HANGS: RwLock<()> = RwLock::new(());
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().expect("a runtime");
        let hung = HANGS.write();
        let look = || {
            let _hung = HANGS.read();
            Ok(())
        };
        let said = runtime.block_on(async { in_time(Duration::ZERO, look).await });
        assert_eq!(said.expect("nothing failed"), None);
        drop(hung);
        let said = runtime.block_on(async { in_time(Duration::MAX, look).await });
        assert_eq!(said.expect("nothing failed"), Some(()));
    }

    #[tokio::test]
    async fn a_source_that_hangs_is_where_it_is_written_and_a_state_that_hangs_is_not_used() {
        let root = FsPath::new("/somewhere");
        let leads: Leads = |path| {
            let said = (!path.ends_with("hung")).then_some(path);
            future::ready(Ok(said)).boxed()
        };
        let text = "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {name: t}\nspec:\n  \
                    sources: [{name: a, type: File, file: {path: hung}}]\n";
        let declared = Declared {
            table: vdt_crds::parse(text.as_bytes())
                .expect("it parses")
                .remove(0),
            env: SourceEnv {
                base_dir: root.to_owned(),
                ..SourceEnv::default()
            },
            origin: "t.yaml".to_owned(),
        };
        for (ours, expected) in [
            ("state", None),
            ("hung/state", Some("lies inside the source")),
            ("hung", Some("does not answer")),
        ] {
            let (what, folder) = (("state directory", "--state"), root.join(ours));
            let declared = std::slice::from_ref(&declared);
            let refused = refuse_overlap(declared, &folder, what, true, leads).await;
            let refused = refused.err().map(|error| error.to_string());
            let is_expected = match (&refused, expected) {
                (Some(refused), Some(expected)) => refused.contains(expected),
                (refused, expected) => refused.is_none() && expected.is_none(),
            };
            assert!(is_expected, "{ours}: {refused:?}");
        }
    }

    #[test]
    fn what_was_listed_now_is_told_beside_what_is_shown() {
        assert_eq!(
            summary(&report(100, 100), 0),
            "  listed 100 artifacts, 1.0 KiB in 0.0 s; version 5 is current; 0 artifact bytes read\n"
        );
        assert_eq!(
            summary(&report(3, 100), 0),
            "  listed 3 artifacts in 0.0 s; version 5 is current with 100 artifacts, 1.0 KiB; 0 artifact bytes read\n"
        );
    }
}
