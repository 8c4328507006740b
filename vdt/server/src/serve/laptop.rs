//! `vdt serve` on a laptop: everything in one process, and a sentence for whatever is wrong.

use std::{fmt::Write, fs, net::SocketAddr, path::Path, sync::Arc};

use anyhow::Context;
use vdt_crds::TableSchema;
use vdt_dialect::Access;
use vdt_sidecar::{
    admin::gate,
    exit::BadInput,
    log::Notices,
    process::Signals,
    ready::{Ready, ReadyTable},
};
use vdt_store::{Origin, schedule};

use super::{
    DataListener, Serving, asked_cache, clock, cut, front,
    open::{Servable, open_state, open_tables},
    overlap::OwnFolders,
    supervisor::{Stores, pending, run_table},
};
use crate::{
    admin::AdminState,
    args::ServeArgs,
    late_origin::LateOrigin,
    manifests::{self, Declared},
    metrics::Metrics,
    snippets::{Reach, snippets},
    stdout,
    tables::{Served, Tables},
};

pub(super) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    // By a task of its own: what a folder holds up does not keep a signal from being heard.
    let mut opening = tokio::spawn({
        let args = args.clone();
        async move { open(&args).await }
    });
    let (serving, ready) = tokio::select! {
        opened = &mut opening => opened.context("opening what is served")??,
        signal = signals.next() => {
            opening.abort();
            return Err(cut(signal));
        }
    };
    serving.until_signal(&args, &ready, signals).await
}

/// Opens what there is, commits what is new, and serves it. Dropped anywhere, the last whole commits stand.
async fn open(args: &ServeArgs) -> anyhow::Result<(Serving, Ready)> {
    let mut declared = manifests::load(&args.sources)?;
    manifests::apply(&args.given, &mut declared)?;
    check(args)?;
    let cache = asked_cache(args, &declared)?;
    let front = front(args, args.listen.0, &declared)?;
    let data = args.listen.bind("--listen").await?;
    let admin = args.admin_listen.bind("--admin-listen").await?;
    let gate = gate(&args.admin_keys, declared.iter().map(|one| &one.table)).await?;
    let ours = OwnFolders::of(args).await?;
    ours.refuse(&declared).await?;
    let state = open_state(args, &ours).await?;
    let origin = Arc::new(Origin::new(state.clone()));
    let opened = open_tables(&declared, &state, &origin).await?;
    let stores = Stores {
        state: state.clone(),
        origin: origin.clone(),
        ours: Arc::new(ours),
    };
    // What is not served is nobody's to read: it may be the table of somebody else, which lies in the state under the same name.
    let shown: Vec<_> = opened.iter().map(|(one, _)| one.table.clone()).collect();
    front.narrow(&shown);

    let (metrics, http_metrics) = Metrics::new(args.listen.0.is_some());
    let metrics = Arc::new(metrics);
    let mut serving = Serving::new(args);
    let listen = data.as_ref().map(|(_, listen)| *listen);
    let is_tls = front.tls().is_some();
    let mut ready = Vec::new();
    let mut served = Vec::new();
    for (one, table) in opened {
        let report = table.report();
        ready.push(ReadyTable {
            version: report.map_or(0, |report| report.version),
            artifacts: report.map_or(0, |report| report.artifacts),
            ..ReadyTable::of(&one.table, listen, is_tls)
        });
        served.push(serve_table(one, table, &stores, &mut serving).await?);
    }
    let tables = Arc::new(Tables::new(served, Vec::new()));
    tables.opened(state.clone());
    let late = LateOrigin::new(tables.clone());
    late.set(origin);

    if let Some((listener, _)) = data {
        let data = DataListener {
            listener,
            front: front.clone(),
            cache,
            declared: &declared,
            tables: &tables,
            origin: late.clone(),
            state: &state,
            notices: Notices::new(),
            metrics: &metrics,
            http_metrics,
        };
        serving.serve_data(args, data).await?;
    }
    let admin_listen = admin.as_ref().map(|(_, listen)| *listen);
    if let Some((listener, _)) = admin {
        let admin_state = AdminState::new(tables, late, metrics, serving.stopping.clone());
        let admin_state = admin_state.with_stack(serving.stack.clone());
        let router = vdt_dialect::admin::router(Arc::new(admin_state));
        serving.listeners.serve_admin(listener, gate, router);
    }
    let reach = listen.map(|listen| Reach {
        listen,
        tls: is_tls,
        keys: matches!(front.access(), Access::Keys(_)),
    });
    let schema = declared
        .first()
        .and_then(|one| one.table.spec.schema.as_ref());
    announce(
        &ready,
        (reach, schema),
        admin_listen,
        &absolute(state.location()),
    )?;
    let document = Ready {
        listen,
        admin: admin_listen,
        socket: None,
        tables: ready,
    };
    Ok((serving, document))
}

/// Has a table refreshed from now on, or opened first, however often that takes.
async fn serve_table(
    one: &Declared,
    table: Servable,
    stores: &Stores,
    serving: &mut Serving,
) -> anyhow::Result<Arc<Served>> {
    let stop = serving.stop.clone();
    let is_given = one.table.spec.given.is_some();
    match table {
        Servable::Opened(table) => {
            let (refresher, task) = schedule(table.refresh, table.status);
            let task = task.run(clock(), stop.cancelled_owned());
            serving.tasks.spawn(task);
            let path = table.definition.path().to_string();
            let served = Served::open(path, table.definition.name.clone(), refresher);
            Ok(Arc::new(served.given(is_given)))
        }
        Servable::Unopened(table) => {
            let served = Arc::new(pending(one).given(is_given));
            served.claim(&stores.state, &one.table.owner()).await?;
            served.committed(table.report);
            served.failed(table.reason, table.message);
            let task = run_table(one.clone(), served.clone(), stores.clone(), stop);
            serving.tasks.spawn(task);
            Ok(served)
        }
    }
}

/// Prints where everything is.
fn announce(
    tables: &[ReadyTable],
    (reach, schema): (Option<Reach>, Option<&TableSchema>),
    admin: Option<SocketAddr>,
    state: &str,
) -> anyhow::Result<()> {
    let mut text = String::new();
    for table in tables {
        let _ = writeln!(text, "  {:<12} {}   {}", table.name, table.s3, table.http);
    }
    if let Some(admin) = admin {
        let _ = writeln!(text, "  admin        http://{admin}/");
    }
    let _ = writeln!(text, "  state        {state}");
    if let (Some(table), Some(reach)) = (tables.first(), reach) {
        text.push_str(&snippets(reach, &table.s3, schema));
    }
    text.push_str("  Ctrl-C stops the server.\n");
    stdout::print(&text)
}

/// A place as it is named from anywhere.
fn absolute(place: &str) -> String {
    match place.contains("://") {
        true => place.to_owned(),
        false => std::path::absolute(place)
            .map_or_else(|_| place.to_owned(), |path| path.display().to_string()),
    }
}

/// Refuses what would be found wrong only after a listing that may take minutes.
fn check(args: &ServeArgs) -> Result<(), BadInput> {
    if let Some(address) = args.listen.0.filter(|address| address.port() != 0)
        && args.admin_listen.0 == Some(address)
    {
        return Err(BadInput::new(format!(
            "--listen and --admin-listen are both {address}; give one of them another port"
        )));
    }
    if let Some(folder) = args.ready_file.as_deref().and_then(Path::parent) {
        is_folder(folder, "--ready-file is to lie in")?;
    }
    match &args.sources.secrets_dir {
        Some(folder) => is_folder(folder, "--secrets-dir is"),
        None => Ok(()),
    }
}

fn is_folder(folder: &Path, what: &str) -> Result<(), BadInput> {
    let problem = match fs::metadata(folder) {
        // The parent of a bare name.
        _ if folder.as_os_str().is_empty() => return Ok(()),
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => "which is no folder".to_owned(),
        Err(error) => format!("which cannot be opened: {error}"),
    };
    Err(BadInput::new(format!(
        "{what} {}, {problem}",
        folder.display()
    )))
}
