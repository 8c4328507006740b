//! Opening the state and the tables: each is refreshed once before it is served.
//!
//! A table that cannot be opened or refreshed is served as it was last committed; without any version that is an error, unless other
//! tables can be served.

use std::{
    fmt::Write,
    path::{Path as FsPath, PathBuf},
    sync::Arc,
};

use object_store::path::Path;
use tracing::error;
use vdt_crds::chain;
use vdt_sidecar::process::now_ms;
use vdt_store::{
    Clock, Definition, OpenMode, Origin, RefreshReport, StateStore, StoreError, TableRefresh,
    TableStatus,
    log::{Snapshot, TableLog},
};

use super::overlap::OwnFolders;
use crate::{
    args::ServeArgs,
    manifests::{self, Declared},
    progress::ListingProgress,
    state, stdout,
    tables::remedied,
    units,
};

/// A table that is open and has at least one version.
pub(super) struct Opened {
    pub(super) definition: Arc<Definition>,
    pub(super) refresh: TableRefresh,
    pub(super) status: TableStatus,
}

/// A table that has a version and cannot be opened, as when its folder or Secret is away.
pub(super) struct Unopened {
    pub(super) report: RefreshReport,
    /// Why it cannot be opened, and in a sentence.
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// A table with a version to serve.
pub(super) enum Servable {
    /// It is refreshed from now on.
    Opened(Box<Opened>),
    /// It is served as it was committed until it can be opened.
    Unopened(Unopened),
}

impl Servable {
    /// The version that is served.
    pub(super) fn report(&self) -> Option<&RefreshReport> {
        match self {
            Self::Opened(opened) => opened.status.last.as_deref(),
            Self::Unopened(unopened) => Some(&unopened.report),
        }
    }
}

/// The clock of refreshes.
pub(super) fn clock() -> Clock {
    Arc::new(now_ms)
}

/// Opens the state that `args` name, or the default one of these sources, which is none of `ours` where it is a bucket.
///
/// # Errors
/// Those of [`StateStore::open`].
pub(super) async fn open_state(args: &ServeArgs, ours: &OwnFolders) -> anyhow::Result<StateStore> {
    match ours.state() {
        Some(folder) => state::open_folder(folder, OpenMode::ReadWrite).await,
        None => {
            let url = args.state.as_deref().unwrap_or_default();
            state::open(url, OpenMode::ReadWrite).await
        }
    }
}

/// The directory of a state that is one.
pub(super) fn state_folder(args: &ServeArgs) -> anyhow::Result<PathBuf> {
    match &args.state {
        Some(folder) => Ok(FsPath::new(folder).to_owned()),
        None => state::default_folder(&args.sources.sources, args.sources.manifests.as_deref()),
    }
}

/// Opens all tables and refreshes each once, in their order. Those that fail are told; if all do, the first failure is the answer, and the others are told.
///
/// # Errors
/// As said.
pub(super) async fn open_tables<'a>(
    declared: &'a [Declared],
    state: &StateStore,
    origin: &Arc<Origin>,
) -> anyhow::Result<Vec<(&'a Declared, Servable)>> {
    let mut opened = Vec::new();
    let mut failed = Vec::new();
    for one in declared {
        match open_table(one, state, origin).await {
            Ok(table) => opened.push((one, table)),
            Err(error) => failed.push(error.context(format!("table {}", one.table.table_name()))),
        }
    }
    let mut failed = failed.into_iter();
    let first = match opened.is_empty() {
        true => failed.next(),
        false => None,
    };
    for problem in failed {
        error!(
            "not served until vdt serve is started again: {}",
            chain(problem.as_ref())
        );
    }
    first.map_or(Ok(opened), Err)
}

async fn open_table(
    declared: &Declared,
    state: &StateStore,
    origin: &Arc<Origin>,
) -> anyhow::Result<Servable> {
    let definition = match Definition::open(&declared.table, &declared.env) {
        Ok(definition) => Arc::new(definition),
        Err(problem) => return unopened(declared, state, problem).await,
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
        return Ok(Servable::Opened(Box::new(opened)));
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
            Ok(Servable::Opened(Box::new(opened)))
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
                Ok(Servable::Opened(Box::new(opened)))
            }
            _ => Err(problem.into()),
        },
    }
}

/// The table of a resource that cannot be opened: as it was committed, if it was, and is this resource's.
async fn unopened(
    declared: &Declared,
    state: &StateStore,
    problem: StoreError,
) -> anyhow::Result<Servable> {
    // What is wrong with what was given is told at once: a laptop does not read it again.
    if problem.is_of_manifest() {
        return Err(manifests::refused(problem));
    }
    let path = Path::from(declared.table.table_path());
    let Some(snapshot) = TableLog::new(state.clone(), path.clone())
        .snapshot()
        .await?
    else {
        return Err(manifests::refused(problem));
    };
    state.claim(&path, &declared.table.owner()).await?;
    Ok(Servable::Unopened(Unopened {
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
    if report.unparsed > 0 {
        let _ = writeln!(
            text,
            "  warning: {} of pathPattern are null, as the key does not match it or the part is not of its column's type; see `vdt plan`",
            units::count(report.unparsed, "value")
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use vdt_store::SourceOutcome;

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
