//! `vdt-sidecar` from start to end.
//!
//! ```text
//!   manifests, secrets -> bind -> admin listener -> first contact with the server -> open the cache -> warm-up -> serve, ready
//!   SIGTERM -> unready -> lame duck: still serving -> drain: bodies finish -> flush the cache -> end
//! ```
//!
//! Secrets may come later: who has none is let in nowhere, and while there is no certificate nothing is served and the admin listener says so.
//!
//! Nothing is served before the first contact: the cache's keys need the id of the server's state. Should the server come back with another
//! state, the process ends with an error, to be started again: what it holds belongs to the old one.

mod announce;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use vdt_crds::VirtualTable;
use vdt_dialect::{HttpMetrics, admin::Gate};
use vdt_rope::{Drift, RopeStoreOptions};

use crate::{
    admin::{self, AdminState},
    args::Args,
    config::{self, Found},
    exit::BadInput,
    files::Manifests,
    follow::{Follower, Owners, has_peers},
    front::{Front, FrontOptions},
    link::{DriftReporter, Forward, LinkState, OriginClient, Socket, Watch},
    listeners::Listeners,
    log::Notices,
    process::Signals,
    stack::{AskedCache, CacheDefaults, Stack, StackOptions, declared_cache},
};

/// Time to end tasks and flush the cache at the end.
const CLOSE_MAX: Duration = Duration::from_secs(15);
/// How much of it tasks may take. They end when they are told to; what hangs must not cost the cache its flush.
const TASKS_MAX: Duration = Duration::from_secs(2);
/// Requests to the server at once for each of those that are no reads.
const ASKED_BESIDE: usize = 16;

/// Runs the front door until a signal ends it.
///
/// # Errors
/// Bad manifests or secrets, addresses in use, a cache directory that another process has, and a server whose state was replaced.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let manifests = Manifests::new(args.config.clone());
    let found = config::find(&args.config);
    let tables = found.whole()?;
    let cache = args.cache.resolve(&tables, CacheDefaults::POD, None)?;
    let front = front(&args, &tables)?;
    let data = args.listen.bind("--listen").await?;
    let admin = args.admin_listen.bind("--admin-listen").await?;
    let mut door = FrontDoor::new(&args, tables, front);
    let admin_listen = admin.as_ref().map(|(_, listen)| *listen);
    if let Some((listener, _)) = admin {
        door.gate = admin::gate(&args.admin_keys, door.tables.iter()).await?;
        let router = admin::router(Arc::clone(&door.admin));
        door.listeners
            .serve_admin(listener, door.gate.clone(), router);
    }
    let listen = data.as_ref().map(|(_, listen)| *listen);
    let opened = tokio::select! {
        opened = door.open(data, found, cache) => opened,
        _ = signals.next() => {
            door.stop.cancel();
            return Ok(());
        }
    };
    let (stack, follower, are_all_given) = opened?;
    let following = manifests.try_again(!are_all_given);
    let following = following.follow(follower, door.stop.clone());
    door.tasks.spawn(following);
    door.serve(stack, listen, admin_listen, signals).await
}

fn front(args: &Args, tables: &[VirtualTable]) -> Result<Arc<Front>, BadInput> {
    let options = FrontOptions {
        secrets_dir: args.secrets_dir.clone(),
        listen_is_loopback: args
            .listen
            .0
            .is_none_or(|address| address.ip().is_loopback()),
        allow_anonymous: args.allow_anonymous,
        secrets_may_come: true,
    };
    Front::load(tables, &options)
        .map(Arc::new)
        .map_err(|problems| BadInput {
            lines: problems.iter().map(ToString::to_string).collect(),
        })
}

struct FrontDoor<'a> {
    args: &'a Args,
    tables: Vec<VirtualTable>,
    front: Arc<Front>,
    socket: Socket,
    notices: Notices,
    link: watch::Receiver<LinkState>,
    /// Of the data listener.
    http: HttpMetrics,
    admin: Arc<AdminState>,
    /// Of the admin listener.
    gate: Gate,
    /// Ends listeners and tasks.
    stop: CancellationToken,
    tasks: JoinSet<()>,
    listeners: Listeners,
}

impl<'a> FrontDoor<'a> {
    fn new(args: &'a Args, tables: Vec<VirtualTable>, front: Arc<Front>) -> Self {
        let stop = CancellationToken::new();
        let drain = Duration::from_secs(args.drain_seconds);
        let listeners = Listeners::new(stop.clone(), drain);
        let socket = Socket::new(&args.origin);
        let notices = Notices::new();
        // Reads that wait for their readers must not keep from it what is new.
        let (watch, link) = Watch::new(socket.beside(ASKED_BESIDE), notices.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(watch.run(stop.clone()));
        let forward = Forward::new(&socket);
        notices.set_peers(has_peers(&tables));
        let mut registry = Registry::default();
        let http = HttpMetrics::register(&mut registry);
        let admin = AdminState::new(link.clone(), forward, &tables, registry);
        Self {
            args,
            tables,
            front,
            socket,
            notices,
            link,
            http,
            admin: Arc::new(admin),
            gate: Gate::local(),
            stop,
            tasks,
            listeners,
        }
    }

    /// Everything up to the first request that is served, by manifests that were `found`, from a `cache`. Returns who follows them, and whether all rights
    /// that they give are in force.
    async fn open(
        &mut self,
        data: Option<(TcpListener, SocketAddr)>,
        found: Found,
        cache: Option<AskedCache>,
    ) -> anyhow::Result<(Stack, Arc<Follower>, bool)> {
        let store_id = self.first_contact().await?;
        let (mut registry, http) = (Registry::default(), self.http.clone());
        let (reporter, reporting) =
            DriftReporter::new(self.socket.beside(ASKED_BESIDE), self.stop.clone());
        self.tasks.spawn(reporting);
        let origin = OriginClient::new(self.socket.clone()).context("the origin's client")?;
        let options = StackOptions {
            log: self.args.staleness.log(),
            notices: self.notices.clone(),
            cache,
            store_id: store_id.to_string(),
            files: Some(origin.files()),
            ropes: RopeStoreOptions {
                on_drift: Some(Arc::new(move |drift: Drift| reporter.report(&drift))),
                ..RopeStoreOptions::default()
            },
        };
        let stack = Stack::open(Arc::new(origin), options, &mut registry).await?;
        // Before the warm-up: what is kept of a table is not for the readers of its next owner.
        let follower = Arc::new(self.follower(found, http.clone()));
        let are_all_given = follower.begin(&self.tables).await;
        stack.warm(&self.tables).await;
        let watch = Arc::clone(&self.front).watch(http.clone(), self.stop.clone());
        self.tasks.spawn(watch);
        if let Some((listener, _)) = data {
            self.admin.unsecured(true);
            let tls = self.front.secured().await;
            self.admin.unsecured(false);
            let (files, listeners) = (stack.files(), &mut self.listeners);
            self.front.serve(listener, tls, files, http, listeners);
        }
        self.admin.opened(stack.clone(), registry);
        Ok((stack, follower, are_all_given))
    }

    /// Who follows manifests that were `found` so far.
    fn follower(&self, found: Found, http: HttpMetrics) -> Follower {
        Follower {
            config: self.args.config.clone(),
            known: Mutex::new(found),
            in_use: Mutex::new(self.tables.clone()),
            cache: declared_cache(&self.tables),
            owners: Owners::new(self.socket.beside(ASKED_BESIDE), self.notices.clone()),
            front: Arc::clone(&self.front),
            admin: Arc::clone(&self.admin),
            gate: self.gate.clone(),
            notices: self.notices.clone(),
            http,
        }
    }

    async fn first_contact(&self) -> anyhow::Result<Arc<str>> {
        let mut link = self.link.clone();
        if link.borrow().store_id.is_none() {
            info!(socket = %self.socket.path().display(), "waiting for the server");
        }
        let state = link
            .wait_for(|link| link.store_id.is_some())
            .await
            .context("the link to the server ended")?;
        state
            .store_id
            .clone()
            .context("the server's state has no id")
    }

    /// Serves until a signal, and closes in order.
    async fn serve(
        self,
        stack: Stack,
        listen: Option<SocketAddr>,
        admin: Option<SocketAddr>,
        mut signals: Signals,
    ) -> anyhow::Result<()> {
        let announcing = self.announce(listen, admin);
        let mut link = self.link.clone();
        let until_signal = async {
            let replaced = async {
                // An error means that nobody watches any more.
                if link.wait_for(|link| link.replaced).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                _ = signals.next() => false,
                () = replaced => true,
            }
        };
        let mut until_signal = std::pin::pin!(until_signal);
        let replaced = tokio::select! {
            ended = &mut until_signal => ended,
            announced = announcing => {
                announced?;
                until_signal.await
            }
        };
        self.admin.stopping();
        if let Some(path) = &self.args.ready_file {
            drop(std::fs::remove_file(path));
        }
        if !replaced {
            let lame_duck = Duration::from_secs(self.args.lame_duck_seconds);
            info!(
                seconds = lame_duck.as_secs(),
                "stopping: unready, still serving"
            );
            sleep(lame_duck).await;
        }
        self.listeners.drained().await?;
        let closed = Instant::now() + CLOSE_MAX;
        end(self.tasks, TASKS_MAX).await;
        if timeout_at(closed, stack.close()).await.is_err() {
            warn!("the cache was not flushed in time");
        }
        if replaced {
            bail!("the server has another state than before; start again with what belongs to it");
        }
        Ok(())
    }
}

/// Waits for tasks that were told to end, for as long as `max`; then they are dropped where they are.
async fn end(mut tasks: JoinSet<()>, max: Duration) {
    let ending = async { while tasks.join_next().await.is_some() {} };
    if timeout(max, ending).await.is_err() {
        warn!(tasks = tasks.len(), "tasks did not end in time");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_hangs_is_waited_for_and_given_up() {
        let mut tasks = JoinSet::new();
        tasks.spawn(std::future::pending());
        tasks.spawn(sleep(TASKS_MAX / 2));
        let began = Instant::now();
        end(tasks, TASKS_MAX).await;
        assert_eq!(began.elapsed(), TASKS_MAX);
    }
}
