//! `vdt serve --origin-socket`: the native sidecar of a pod's front door.
//!
//! The socket is served from the first moment on. Manifests that cannot be read are told under /api; the state and each table are tried
//! until they open, with growing pauses, each by a task of its own. A table that has a version is served before its sources are asked.
//! Manifests are read again when they change ([`Keeper`]); only what the process was started with, such as the state, stays as it was.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};
use vdt_crds::chain;
use vdt_dialect::{DataSurface, Edge, HttpMetrics, Limits, ServeOptions};
use vdt_sidecar::{admin::gate, files::Manifests, log::Notices, ready::Ready};
use vdt_store::{Origin, StateStore, StoreError};

use super::{
    Serving, check_cache, drain,
    follow::{Follower, Rights},
    front,
    keep::{Keeper, pending},
    open::open_state,
    open_stack, rope_options, serve_data,
};
use crate::{
    admin::AdminState,
    args::ServeArgs,
    manifests::{self, Declared},
    metrics::Metrics,
    socket::{self, Late, SocketService, SocketStore},
    tables::Tables,
};

/// First pause before something is tried again, and the longest.
pub(super) const BACKOFF: (Duration, Duration) =
    (Duration::from_millis(500), Duration::from_secs(60));
/// A front door that waits for slow clients reads slowly itself: bodies of the socket may rest this long.
const REST_MAX: Duration = Duration::from_secs(900);

pub(super) async fn run(args: ServeArgs, path: &Path) -> anyhow::Result<()> {
    let socket = socket::bind(path).await?;
    let watched = manifests::watched(&args.sources);
    let manifests = Manifests::new(watched.clone());
    let (declared, problems) = manifests::load_what_can_be(&args.sources);
    for problem in &problems {
        warn!(
            manifest = problem.manifest,
            "not served: {}", problem.message
        );
    }
    // In a pod they are the front door's; here they matter to a data listener of our own.
    let front = match args.listen.0 {
        Some(address) => {
            check_cache(&args.cache, args.state.as_deref())?;
            Some(front(&args, Some(address), &declared)?)
        }
        None => None,
    };
    let notices = Notices::new();
    let rights = front
        .clone()
        .map(|front| Rights::new(front, notices.clone(), watched, &declared));
    let served: Vec<_> = declared.iter().map(|one| Arc::new(pending(one))).collect();
    let (metrics, http_metrics) = Metrics::new(args.listen.0.is_some());
    let metrics = Arc::new(metrics);
    let tables = Arc::new(Tables::new(served, problems));
    let late = Late::new(tables.clone());
    let mut serving = Serving::default();

    let admin_state = Arc::new(AdminState::new(
        tables.clone(),
        late.clone(),
        metrics.clone(),
    ));
    let router = vdt_dialect::admin::router(admin_state);
    serve_socket(socket, &args, &tables, &late, router.clone(), &mut serving);
    let admin = args.admin_listen.bind("--admin-listen").await?;
    let admin_listen = admin.as_ref().map(|(_, listen)| *listen);
    if let Some((listener, _)) = admin {
        let gate = gate(&args.admin_keys, declared.iter().map(|one| &one.table)).await?;
        serving.listeners.push(tokio::spawn(vdt_dialect::serve(
            listener,
            gate.protect(router),
            serving.stop.clone().cancelled_owned(),
            drain(&args),
        )));
    }
    let data = args.listen.bind("--listen").await?;
    let listen = data.as_ref().map(|(_, listen)| *listen);
    let ready = Ready {
        listen,
        admin: admin_listen,
        socket: Some(path.to_owned()),
        tables: Vec::new(),
    };
    info!(socket = %path.display(), "serving the origin");

    let opening = open_all(
        args.clone(),
        manifests,
        declared.clone(),
        (tables.clone(), late.clone(), rights),
        serving.tables.clone(),
        serving.stop.clone(),
    );
    match data.zip(front) {
        None => drop(serving.tasks.spawn(async move { drop(opening.await) })),
        Some(((listener, _), front)) => {
            // A data listener needs the state's id for its cache, so it is served when that is known.
            let state = tokio::select! {
                opened = opening => match opened {
                    Some(state) => state,
                    None => return Ok(()),
                },
                signal = vdt_sidecar::process::wait_for_signal() => return signal,
            };
            serving.follow(&state, notices.clone());
            let stack = metrics
                .with_registry(async |registry| {
                    open_stack(&args, &declared, late, &state, (&tables, notices), registry).await
                })
                .await?;
            serve_data(listener, &stack, http_metrics, front, &args, &mut serving);
            serving.stack = Some(stack);
        }
    }
    serving.until_signal(&args, &ready).await
}

fn serve_socket(
    listener: socket::Guarded,
    args: &ServeArgs,
    tables: &Arc<Tables>,
    late: &Late,
    router: axum::Router,
    serving: &mut Serving,
) {
    let store = SocketStore::new(late.clone(), rope_options(Arc::clone(tables)));
    // Not registered: the front door counts the requests of clients, and its metrics stand beside ours.
    let unseen = HttpMetrics::register(&mut prometheus_client::registry::Registry::default());
    let limits = Limits {
        progress_timeout: REST_MAX,
        requests_in_flight: Limits::default().connections,
        bytes_in_flight: u64::MAX,
        ..Limits::default()
    };
    let edge = Edge {
        limits: limits.clone(),
        access_log: false,
        ..Edge::default()
    };
    let surface = DataSurface::with(Arc::new(store.clone()), unseen, edge);
    let service = SocketService::new(
        store,
        surface,
        router,
        Arc::clone(tables),
        serving.stop.clone(),
    );
    let options = ServeOptions {
        limits,
        ..ServeOptions::default()
    };
    serving.listeners.push(tokio::spawn(vdt_dialect::serve_with(
        listener,
        service,
        options,
        serving.stop.clone().cancelled_owned(),
        drain(args),
    )));
}

/// Opens the state, however often that takes. `None` when stopped before.
async fn open_state_late(
    args: &ServeArgs,
    declared: &[Declared],
    tables: &Tables,
    stop: &CancellationToken,
) -> Option<StateStore> {
    let mut backoff = BACKOFF.0;
    loop {
        match stop.run_until_cancelled(open_state(args, declared)).await? {
            Ok(state) => return Some(state),
            Err(error) => {
                let message = chain(error.as_ref());
                let reason = error
                    .downcast_ref::<StoreError>()
                    .map_or("StateFailed", StoreError::reason);
                for served in tables.served().iter() {
                    served.failed(reason, message.clone());
                }
                stop.run_until_cancelled(sleep(backoff)).await?;
                backoff = (backoff * 2).min(BACKOFF.1);
            }
        }
    }
}

/// Opens the state, then every table in a task of its own, and follows the manifests from then on. `None` when stopped before the state was open
/// and had been asked whose the tables are.
async fn open_all(
    args: ServeArgs,
    manifests: Manifests,
    declared: Vec<Declared>,
    (tables, late, rights): (Arc<Tables>, Late, Option<Rights>),
    tasks: TaskTracker,
    stop: CancellationToken,
) -> Option<StateStore> {
    let state = open_state_late(&args, &declared, &tables, &stop).await?;
    let origin = Arc::new(Origin::new(state.clone()));
    let mut keeper = Keeper::new(
        tables.clone(),
        state.clone(),
        origin.clone(),
        tasks.clone(),
        stop.clone(),
    );
    stop.run_until_cancelled(keeper.start(declared)).await?;
    late.arrived(origin);
    tables.opened(state.clone());
    let follower = Follower {
        sources: args.sources,
        keeper,
        rights,
    };
    tasks.spawn(manifests.follow(follower, stop));
    Some(state)
}
