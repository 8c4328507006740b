//! `vdt serve --origin-socket`: the native sidecar of a pod's front door.
//!
//! The socket is served from the first moment on. Manifests that cannot be read are told under /api; the state and each table are tried
//! until they open, with growing pauses, each by a task of its own. A table that has a version is served before its sources are asked.
//! Manifests are read again when they change ([`Follower`]); only what the process was started with, such as the state, stays as it was.

use std::{io, path::Path, sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};
use vdt_crds::chain;
use vdt_dialect::{DataSurface, Edge, HttpMetrics, Limits, ServeOptions, admin::Gate};
use vdt_sidecar::{
    admin,
    files::{Manifests, Taken},
    log::Notices,
    process::Signals,
    ready::Ready,
};
use vdt_store::{Origin, StateStore, StoreError};

use super::{
    DataListener, Serving, asked_cache,
    follow::{Follower, Rights},
    front,
    open::open_state,
    overlap::OwnFolders,
    rope_options,
    supervisor::{Stores, Supervisor, pending},
};
use crate::{
    admin::AdminState,
    args::ServeArgs,
    late_origin::LateOrigin,
    manifests::{self, Loaded},
    metrics::Metrics,
    socket::{self, SocketService, SocketStore},
    tables::Tables,
};

/// First pause before something is tried again, and the longest.
pub(super) const BACKOFF: (Duration, Duration) =
    (Duration::from_millis(500), Duration::from_secs(60));
/// A front door that waits for slow clients reads slowly itself: bodies of the socket may rest this long.
const REST_MAX: Duration = Duration::from_secs(900);

pub(super) async fn run(args: ServeArgs, path: &Path) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let socket = socket::bind(path).await?;
    let watched = manifests::watched(&args.sources);
    let manifests = Manifests::new(watched.clone());
    let loaded = manifests::load_what_can_be(&args.sources);
    let may_pass = loaded.problems.iter().any(|problem| problem.may_pass);
    let manifests = manifests.try_again(may_pass);
    for problem in &loaded.problems {
        warn!(
            manifest = problem.manifest,
            "not served: {}", problem.message
        );
    }
    // In a pod they are the front door's; here they matter to a data listener of our own.
    let (front, cache) = match args.listen.0 {
        Some(address) => (
            Some(front(&args, Some(address), &loaded.declared)?),
            asked_cache(&args, &loaded.declared)?,
        ),
        None => (None, None),
    };
    let notices = Notices::new();
    let rights = front
        .clone()
        .map(|front| Rights::new(front, notices.clone(), watched, &loaded));
    let served = loaded.declared.iter().map(|one| Arc::new(pending(one)));
    let tables = Arc::new(Tables::new(served.collect(), loaded.problems.clone()));
    let (metrics, http_metrics) = Metrics::new(args.listen.0.is_some());
    let metrics = Arc::new(metrics);
    let late = LateOrigin::new(tables.clone());
    let mut serving = Serving::new(&args);

    let stopping = serving.stopping.clone();
    let admin_state = AdminState::new(tables.clone(), late.clone(), metrics.clone(), stopping);
    let router = vdt_dialect::admin::router(Arc::new(admin_state));
    serve_socket(socket, &tables, &late, router.clone(), &mut serving);
    let admin = args.admin_listen.bind("--admin-listen").await?;
    let admin_listen = admin.as_ref().map(|(_, listen)| *listen);
    let mut gate = Gate::local();
    if let Some((listener, _)) = admin {
        let resources = loaded.declared.iter().map(|one| &one.table);
        gate = admin::gate(&args.admin_keys, resources).await?;
        let listeners = &mut serving.listeners;
        listeners.serve_admin(listener, gate.clone(), router);
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

    let opening = Opening {
        args: args.clone(),
        manifests,
        loaded: loaded.clone(),
        tables: tables.clone(),
        origin: late.clone(),
        gate,
        rights,
        tasks: serving.tables.clone(),
        stop: serving.stop.clone(),
    };
    match data.zip(front) {
        None => drop(
            serving
                .tasks
                .spawn(async move { drop(opening.open().await) }),
        ),
        Some(((listener, _), front)) => {
            // A data listener needs the state's id for its cache, so it is served when that is known.
            let state = tokio::select! {
                opened = opening.open() => match opened {
                    Some(state) => state,
                    None => return Ok(()),
                },
                _ = signals.next() => return Ok(()),
            };
            let data = DataListener {
                listener,
                front,
                cache,
                declared: &loaded.declared,
                tables: &tables,
                origin: late,
                state: &state,
                notices,
                metrics: &metrics,
                http_metrics,
            };
            serving.serve_data(&args, data).await?;
        }
    }
    serving.until_signal(&args, &ready, signals).await
}

fn serve_socket(
    listener: socket::Guarded,
    tables: &Arc<Tables>,
    late: &LateOrigin,
    router: axum::Router,
    serving: &mut Serving,
) {
    let store = SocketStore::new(late.clone(), rope_options(Arc::clone(tables)));
    // Not registered: the front door counts the requests of clients, and its metrics stand beside ours.
    let unseen = HttpMetrics::default();
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
    let surface = DataSurface::new(Arc::new(store.clone()), unseen, edge);
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
    serving.listeners.serve(listener, service, options);
}

/// What opens the state and the tables of a pod, and follows its manifests from then on.
struct Opening {
    args: ServeArgs,
    manifests: Manifests,
    loaded: Loaded,
    tables: Arc<Tables>,
    origin: LateOrigin,
    gate: Gate,
    rights: Option<Rights>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Opening {
    /// Opens the state, then every table in a task of its own, and has the manifests followed. `None` when stopped before the state was open and had
    /// been asked whose the tables are.
    async fn open(self) -> Option<StateStore> {
        let (state, ours) = self.open_state().await?;
        let origin = Arc::new(Origin::new(state.clone()));
        let stores = Stores {
            state: state.clone(),
            origin: origin.clone(),
            ours: Arc::new(ours),
        };
        let (tables, tasks) = (self.tables.clone(), self.tasks.clone());
        let mut supervisor = Supervisor::new(tables, stores, tasks, self.stop.clone());
        let starting = Box::pin(supervisor.start(self.loaded));
        let started = self.stop.run_until_cancelled(starting).await?;
        // Not before it is settled who runs a table: that of an owner that is not read first would be said to be missing meanwhile. No claim is waited for
        // without end.
        self.origin.set(origin);
        self.tables.opened(state.clone());
        info!(state = state.location(), "the state store is open");
        let follower = Follower::new(self.args.sources, supervisor, self.gate, self.rights);
        let manifests = match started {
            Taken::Whole => self.manifests,
            Taken::TryAgain => self.manifests.try_again(true),
        };
        self.tasks.spawn(manifests.follow(follower, self.stop));
        Some(state)
    }

    /// Opens the state, however often that takes. `None` when stopped before.
    async fn open_state(&self) -> Option<(StateStore, OwnFolders)> {
        let mut backoff = BACKOFF.0;
        let mut told = String::new();
        loop {
            // A source that meets them is refused by its table's task: no other table waits for its manifest to be mended.
            let opening = async {
                let ours = OwnFolders::of(&self.args).await?;
                let state = open_state(&self.args, &ours).await?;
                anyhow::Ok((state, ours))
            };
            match self.stop.run_until_cancelled(opening).await? {
                Ok(opened) => return Some(opened),
                Err(error) => {
                    let message = chain(error.as_ref());
                    let is_io = error.chain().any(<dyn std::error::Error>::is::<io::Error>);
                    let reason = match error.downcast_ref::<StoreError>() {
                        Some(error) => error.reason(),
                        None if is_io => "StateUnavailable",
                        None => "StateFailed",
                    };
                    let served = self.tables.served();
                    // Else each table tells it.
                    if served.is_empty() && told != message {
                        warn!(reason, "the state store is not open yet: {message}");
                        told.clone_from(&message);
                    }
                    for served in served.iter() {
                        served.failed(reason, message.clone());
                    }
                    self.stop.run_until_cancelled(sleep(backoff)).await?;
                    backoff = (backoff * 2).min(BACKOFF.1);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tokio::time::timeout;

    use super::*;
    use crate::args::{Cli, Command};

    #[tokio::test]
    async fn the_state_is_opened_though_it_lies_in_the_source_of_a_table() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("manuals.yaml");
        std::fs::write(
            &manifest,
            "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {name: manuals}\nspec:\n  \
             sources: [{name: a, type: File, file: {path: .}}]\n",
        )
        .unwrap();
        let state = folder.path().join("state");
        let arguments = ["vdt", "serve", "--state"].map(std::ffi::OsStr::new);
        let paths = [state.as_os_str(), manifest.as_os_str()];
        let Command::Serve(args) = Cli::parse_from(arguments.into_iter().chain(paths)).command
        else {
            panic!("it serves");
        };
        let loaded = manifests::load_what_can_be(&args.sources);
        let served = loaded.declared.iter().map(|one| Arc::new(pending(one)));
        let tables = Arc::new(Tables::new(served.collect(), Vec::new()));
        assert_eq!(tables.served().len(), 1);
        let opening = Opening {
            args: *args,
            manifests: Manifests::new(Vec::new()),
            loaded,
            tables: tables.clone(),
            origin: LateOrigin::new(tables),
            gate: Gate::local(),
            rights: None,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let opened = timeout(Duration::from_secs(20), opening.open_state()).await;
        let (_, ours) = opened.expect("in time").expect("it opens");
        // The table's task refuses the source.
        assert!(ours.refuse(&opening.loaded.declared).await.is_err());
    }
}
