//! `vdt serve`: opens the tables, commits what is new, answers until it is told to stop.
//!
//! ```text
//!   bind both listeners -> open state -> first refresh of each table -> serve -> SIGINT or SIGTERM -> drain -> end
//! ```
//!
//! A table that cannot be refreshed at the start is served as it was last committed; without any version that is an error,
//! unless other tables can be served. The state is consistent wherever the process ends.

use std::{
    collections::HashMap,
    io::ErrorKind,
    net::SocketAddr,
    path::{Path as FsPath, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use object_store::path::Path;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use vdt_crds::AccessMode;
use vdt_dialect::{
    DataSurface,
    admin::{Gate, Tokens, system_seconds},
};
use vdt_rope::{Drift, RopeStore, RopeStoreOptions};
use vdt_store::{
    Clock, Definition, OpenMode, Origin, RefreshReport, Refresher, StateStore, StoreError,
    TableRefresh, TableStatus, chain, schedule,
};

use crate::{
    admin::{AdminState, Served},
    args::ServeArgs,
    clock::now_ms,
    exit::BadInput,
    manifests::{self, Declared},
    metrics::Metrics,
    progress::ListingProgress,
    ready::{Ready, ReadyTable},
    snippets::snippets,
    units,
};

/// A table that is open and has at least one version.
struct Opened {
    definition: Arc<Definition>,
    refresh: TableRefresh,
    status: TableStatus,
    version: u64,
    artifacts: u64,
}

/// Runs the command until a signal ends it.
///
/// # Errors
/// Bad manifests, addresses in use, a state that cannot be opened, and sources that cannot be listed while there is no version.
pub(crate) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let declared = manifests::load(&args.sources)?;
    check_access(&args, &declared)?;
    let (data, listen) = bind(args.listen, "--listen").await?;
    let (admin, admin_listen) = bind(args.admin_listen, "--admin-listen").await?;
    let gate = gate(&args.admin_keys, &declared).await?;
    let state = open_state(&args, &declared).await?;
    let origin = Arc::new(Origin::new(state.clone()));
    let opened = open_tables(&declared, &state, &origin).await?;

    let (metrics, http_metrics) = Metrics::new();
    let metrics = Arc::new(metrics);
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let mut tables = Vec::new();
    let mut ready = Vec::new();
    for table in opened {
        ready.push(ready_table(&table, listen));
        let (refresher, task) = schedule(table.refresh, table.status);
        tables.push(Served {
            path: table.definition.path().to_string(),
            name: table.definition.name.clone(),
            refresher,
        });
        tasks.spawn(task.run(clock(), stop.clone().cancelled_owned()));
    }
    let store = RopeStore::new(origin.clone(), rope_options(&tables, metrics.clone()));
    let surface = DataSurface::new(Arc::new(store), http_metrics);
    let admin_state = Arc::new(AdminState::new(tables, state, origin, metrics));

    let drain = Duration::from_secs(args.drain_seconds);
    let serve_data = tokio::spawn(vdt_dialect::serve(
        data,
        surface,
        stop.clone().cancelled_owned(),
        drain,
    ));
    let admin_router = gate.protect(vdt_dialect::admin::router(admin_state));
    let serve_admin = tokio::spawn(vdt_dialect::serve(
        admin,
        admin_router,
        stop.clone().cancelled_owned(),
        drain,
    ));

    announce(&ready, listen, admin_listen);
    let document = Ready {
        listen,
        admin: admin_listen,
        tables: ready,
    };
    if let Some(path) = &args.ready_file {
        document
            .write(path)
            .with_context(|| format!("writing the ready file {}", path.display()))?;
    }
    wait_for_signal().await?;
    info!(
        "stopping: no new connections, bodies may end within {} s",
        drain.as_secs()
    );
    if let Some(path) = &args.ready_file {
        drop(std::fs::remove_file(path));
    }
    stop.cancel();
    let drained = serve_data.await.context("the data listener")?;
    if drained.cut > 0 {
        warn!(cut = drained.cut, "bodies were cut at the drain deadline");
    }
    serve_admin.await.context("the admin listener")?;
    while tasks.join_next().await.is_some() {}
    Ok(())
}

fn clock() -> Clock {
    Arc::new(now_ms)
}

/// Anonymous access is for loopback, unless the command line or every manifest says otherwise.
fn check_access(args: &ServeArgs, declared: &[Declared]) -> anyhow::Result<()> {
    let mode = |one: &Declared| {
        let server = one.table.spec.server.as_ref();
        server
            .and_then(|server| server.access.as_ref())
            .map(|access| access.mode)
    };
    if args.listen.ip().is_loopback() {
        return Ok(());
    }
    let all_anonymous = declared
        .iter()
        .all(|one| mode(one) == Some(AccessMode::Anonymous));
    if args.allow_anonymous || all_anonymous {
        return Ok(());
    }
    Err(BadInput::new(format!(
        "--listen {} is reachable from other machines and this version knows no credentials; \
         listen on 127.0.0.1, or say --allow-anonymous if everybody may read",
        args.listen
    ))
    .into())
}

/// Who may see the admin surface: this machine, and bearers of tokens for one of the resources.
async fn gate(keys: &[PathBuf], declared: &[Declared]) -> anyhow::Result<Gate> {
    if keys.is_empty() {
        return Ok(Gate::local());
    }
    let audiences: Vec<String> = declared
        .iter()
        .map(|one| {
            let metadata = &one.table.metadata;
            let namespace = metadata.namespace.as_deref().unwrap_or("default");
            format!(
                "{namespace}/{}",
                metadata.name.as_deref().unwrap_or_default()
            )
        })
        .collect();
    let tokens = Tokens::open(keys, &audiences, system_seconds());
    Ok(Gate::local().with_tokens(tokens.await.context("--admin-keys")?))
}

async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = match TcpListener::bind(address).await {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            bail!(
                "{flag} {address} is in use by another process; stop it, or give another address (port 0 picks a free one)"
            )
        }
        bound => bound.with_context(|| format!("{flag} {address}"))?,
    };
    let address = listener.local_addr().context("the address listened on")?;
    Ok((listener, address))
}

async fn open_state(args: &ServeArgs, declared: &[Declared]) -> anyhow::Result<StateStore> {
    if let Some(url) = args.state.as_deref().filter(|state| state.contains("://")) {
        return Ok(StateStore::open(url, OpenMode::ReadWrite).await?);
    }
    let folder = match &args.state {
        Some(folder) => FsPath::new(folder).to_owned(),
        None => manifests::default_state(&args.sources.sources, args.sources.manifests.as_deref())?,
    };
    for one in declared {
        for source in &one.table.spec.sources {
            if let Some(file) = &source.file {
                let root = one.env.base_dir.join(file.path.as_deref().unwrap_or("."));
                refuse_inside(&folder, &root)?;
            }
        }
    }
    Ok(StateStore::open_directory(&folder, OpenMode::ReadWrite).await?)
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

async fn open_tables(
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
            let (version, artifacts) = (report.version, report.artifacts);
            Ok(Opened {
                definition,
                refresh,
                status: TableStatus::after(report, now_ms()),
                version,
                artifacts,
            })
        }
        // Somebody else's table is not ours to show.
        Err(problem @ StoreError::OtherOwner { .. }) => Err(problem.into()),
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

fn as_committed(
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

fn ready_table(table: &Opened, listen: SocketAddr) -> ReadyTable {
    let path = table.definition.path();
    ReadyTable {
        catalog: table.definition.catalog.clone(),
        schema: table.definition.schema.clone(),
        name: table.definition.name.clone(),
        s3: format!("s3://{path}"),
        http: format!("http://{listen}/v1/{path}"),
        version: table.version,
        artifacts: table.artifacts,
    }
}

fn announce(tables: &[ReadyTable], listen: SocketAddr, admin: SocketAddr) {
    for table in tables {
        println!("  {:<12} {}   {}", table.name, table.s3, table.http);
    }
    println!("  admin        http://{admin}/");
    if let Some(table) = tables.first() {
        print!("{}", snippets(listen, &table.s3));
    }
    println!("  Ctrl-C stops the server.");
}

/// A read that meets a changed source is counted, logged, and refreshes its table.
fn rope_options(tables: &[Served], metrics: Arc<Metrics>) -> RopeStoreOptions {
    let refreshers: HashMap<String, Refresher> = tables
        .iter()
        .map(|served| (served.path.clone(), served.refresher.clone()))
        .collect();
    RopeStoreOptions {
        on_drift: Some(Arc::new(move |drift: Drift| {
            metrics.drift.inc();
            warn!(location = %drift.location, key = drift.key.as_ref() as &str, reason = ?drift.reason, "a source object changed");
            let table: Path = drift.location.parts().take(3).collect();
            if let Some(refresher) = refreshers.get(table.as_ref()) {
                refresher.drift();
            }
        })),
        ..RopeStoreOptions::default()
    }
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
