//! Opening the state and the tables: each is refreshed once before it is served.
//!
//! A table that cannot be refreshed is served as it was last committed; without any version that is an error, unless other
//! tables can be served.

use std::{
    path::{Path as FsPath, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use tracing::error;
use vdt_crds::chain;
use vdt_sidecar::{exit::BadInput, process::now_ms};
use vdt_store::{
    Clock, Definition, OpenMode, Origin, RefreshReport, StateStore, TableRefresh, TableStatus,
};

use crate::{
    args::ServeArgs,
    manifests::{self, Declared},
    progress::ListingProgress,
    units,
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
/// A state inside a source, and those of [`StateStore::open`].
pub(super) async fn open_state(
    args: &ServeArgs,
    declared: &[Declared],
) -> anyhow::Result<StateStore> {
    if let Some(url) = args.state.as_deref().filter(|state| state.contains("://")) {
        return Ok(StateStore::open(url, OpenMode::ReadWrite).await?);
    }
    let folder = state_folder(args)?;
    for one in declared {
        for source in &one.table.spec.sources {
            if let Some(file) = &source.file {
                let root = match (&file.claim_name, &one.env.claims_dir) {
                    (Some(claim), Some(claims)) => claims.join(claim).join(file.path()),
                    _ => one.env.base_dir.join(file.path()),
                };
                refuse_inside(&folder, &root)?;
            }
        }
    }
    Ok(StateStore::open_directory(&folder, OpenMode::ReadWrite).await?)
}

/// The directory of a state that is one.
pub(super) fn state_folder(args: &ServeArgs) -> anyhow::Result<PathBuf> {
    match &args.state {
        Some(folder) => Ok(FsPath::new(folder).to_owned()),
        None => manifests::default_state(&args.sources.sources, args.sources.manifests.as_deref()),
    }
}

/// A state inside a source would be listed as artifacts, and change with every refresh.
fn refuse_inside(state: &FsPath, source: &FsPath) -> anyhow::Result<()> {
    let mut existing = std::path::absolute(state).context("the state directory")?;
    let given = existing.clone();
    while !existing.exists() && existing.pop() {}
    let (Ok(existing), Ok(source)) = (existing.canonicalize(), source.canonicalize()) else {
        return Ok(());
    };
    if existing.starts_with(&source) {
        return Err(BadInput::new(format!(
            "the state directory {} lies inside the source {}; give a --state outside of it",
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
            print_report(&report, origin.source_reads().bytes - before);
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

fn print_report(report: &RefreshReport, artifact_bytes_read: u64) {
    println!(
        "  listed {}, {} in {:.1} s; version {} {}; {} artifact bytes read",
        units::count(report.artifacts, "artifact"),
        units::bytes(report.artifact_bytes),
        report.listing_seconds,
        report.version,
        if report.committed {
            "committed"
        } else {
            "is current"
        },
        artifact_bytes_read,
    );
    for source in report.sources.iter().filter(|source| !source.is_current()) {
        println!("  warning: source {}: {}", source.name, source.message);
    }
    for source in &report.sources {
        for (reason, count) in &source.skipped {
            println!(
                "  warning: source {}: {} left out: {reason}",
                source.name,
                units::count(*count, "key")
            );
        }
    }
    if report.unsettled > 0 {
        println!(
            "  note: {} written just now; shown once unchanged for settleSeconds",
            units::count(report.unsettled, "artifact")
        );
    }
}
