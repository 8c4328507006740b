//! Opening the state and the tables: each is refreshed once before it is served.
//!
//! A table that cannot be refreshed is served as it was last committed; without any version that is an error, unless other
//! tables can be served.

use std::{
    fmt::Write,
    path::{Path as FsPath, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use tracing::error;
use vdt_crds::chain;
use vdt_sidecar::{exit::BadInput, process::now_ms};
use vdt_store::{
    Clock, Definition, OpenMode, Origin, RefreshReport, SourceOutcome, StateStore, TableRefresh,
    TableStatus,
};

use crate::{
    args::ServeArgs, manifests::Declared, progress::ListingProgress, state, stdout, units,
};

/// A table that is open and has at least one version.
pub(super) struct Opened {
    pub(super) definition: Arc<Definition>,
    pub(super) refresh: TableRefresh,
    pub(super) status: TableStatus,
    pub(super) version: u64,
    pub(super) artifacts: u64,
}

/// The clock of refreshes.
pub(super) fn clock() -> Clock {
    Arc::new(now_ms)
}

/// Opens the state that `args` name, or the default one of these sources.
///
/// # Errors
/// A state or a cache inside a source, and those of [`StateStore::open`].
pub(super) async fn open_state(
    args: &ServeArgs,
    declared: &[Declared],
) -> anyhow::Result<StateStore> {
    if let Some(cache) = &args.cache.cache_dir {
        refuse_inside(declared, cache, ("cache folder", "--cache-dir"))?;
    }
    if let Some(url) = args.state.as_deref().filter(|state| state.contains("://")) {
        return state::open(url, OpenMode::ReadWrite).await;
    }
    let folder = state_folder(args)?;
    refuse_inside(declared, &folder, ("state directory", "--state"))?;
    state::open_folder(&folder, OpenMode::ReadWrite).await
}

/// The directory of a state that is one.
pub(super) fn state_folder(args: &ServeArgs) -> anyhow::Result<PathBuf> {
    match &args.state {
        Some(folder) => Ok(FsPath::new(folder).to_owned()),
        None => state::default_folder(&args.sources.sources, args.sources.manifests.as_deref()),
    }
}

/// A folder of ours inside a source would be listed as artifacts, and change with every refresh. `what` it is, and the flag that names it.
fn refuse_inside(declared: &[Declared], folder: &FsPath, what: (&str, &str)) -> anyhow::Result<()> {
    for one in declared {
        for source in &one.table.spec.sources {
            if let Some(file) = &source.file {
                let root = match (&file.claim_name, &one.env.claims_dir) {
                    (Some(claim), Some(claims)) => claims.join(claim).join(file.path()),
                    _ => one.env.base_dir.join(file.path()),
                };
                refuse_inside_of(&root, folder, what)?;
            }
        }
    }
    Ok(())
}

fn refuse_inside_of(
    source: &FsPath,
    folder: &FsPath,
    (what, flag): (&str, &str),
) -> anyhow::Result<()> {
    let mut existing = std::path::absolute(folder).with_context(|| format!("the {what}"))?;
    let given = existing.clone();
    while !existing.exists() && existing.pop() {}
    let (Ok(existing), Ok(source)) = (existing.canonicalize(), source.canonicalize()) else {
        return Ok(());
    };
    if existing.starts_with(&source) {
        return Err(BadInput::new(format!(
            "the {what} {} lies inside the source {}; give a {flag} outside of it",
            given.display(),
            source.display()
        ))
        .into());
    }
    Ok(())
}

/// Opens all tables and refreshes each once. Those that fail are told; if all do, the first failure is the answer.
///
/// # Errors
/// As said.
pub(super) async fn open_tables(
    declared: &[Declared],
    state: &StateStore,
    origin: &Arc<Origin>,
) -> anyhow::Result<Vec<Opened>> {
    let mut opened = Vec::new();
    let mut failed = Vec::new();
    for one in declared {
        match open_table(one, state, origin).await {
            Ok(table) => opened.push(table),
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
) -> anyhow::Result<Opened> {
    let definition = Arc::new(Definition::open(&declared.table, &declared.env)?);
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
        return Ok(as_committed(definition, refresh, snapshot.version, status));
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
            Ok(as_refreshed(definition, refresh, report))
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
                Ok(as_committed(definition, refresh, snapshot.version, status))
            }
            _ => Err(problem.into()),
        },
    }
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
        version: report.version,
        artifacts: report.artifacts,
        status: TableStatus::after(report, now_ms()),
    }
}

/// A table as it was committed before this process.
pub(super) fn as_committed(
    definition: Arc<Definition>,
    refresh: TableRefresh,
    version: u64,
    status: TableStatus,
) -> Opened {
    let report = RefreshReport::of_version(definition.path().as_ref(), version);
    Opened {
        definition,
        refresh,
        status: TableStatus {
            last: Some(Arc::new(report)),
            ..status
        },
        version,
        artifacts: 0,
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
    let bytes = units::bytes(report.artifact_bytes);
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
    use std::collections::BTreeMap;

    use super::*;

    fn report(listed: u64, shown: u64) -> RefreshReport {
        let mut report = RefreshReport::of_version("main/default/t", 5);
        report.artifacts = shown;
        report.artifact_bytes = 1024;
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
