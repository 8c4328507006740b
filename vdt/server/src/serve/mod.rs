//! `vdt serve`: opens the tables, commits what is new, answers until it is told to stop.
//!
//! ```text
//!   laptop  bind listeners -> open state -> first refresh of each table -> serve
//!   pod     bind socket -> serve -> open state -> open each table, again and again until it is   (--origin-socket)
//!   both    ... SIGINT or SIGTERM -> unready -> lame duck: still serving -> drain (a second signal: cut) -> end
//! ```
//!
//! On a laptop whatever is wrong with what was given ends the process with a sentence. In a pod nothing does: the front door serves what it
//! holds, and needs a server that tries again. The state is consistent wherever the process ends.

mod follow;
mod laptop;
mod open;
mod overlap;
mod pod;
mod supervisor;

use std::{
    io::{Write, stderr},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    signal::unix::SignalKind,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};
use vdt_crds::VirtualTable;
use vdt_dialect::HttpMetrics;
use vdt_rope::{Drift, RopeStoreOptions};
use vdt_sidecar::{
    exit::{BadInput, Cut},
    front::{Front, FrontOptions},
    listeners::Listeners,
    log::Notices,
    process::Signals,
    ready::Ready,
    stack::{AskedCache, CacheDefaults, Stack, StackOptions},
};
use vdt_store::StateStore;

use self::open::{clock, state_folder};
use crate::{
    args::ServeArgs, late_origin::LateOrigin, manifests::Declared, metrics::Metrics, tables::Tables,
};

/// Runs the command until a signal ends it.
///
/// # Errors
/// Bad manifests, addresses in use, a state that cannot be opened, and sources that cannot be listed while there is no version;
/// with `--origin-socket` a socket or address that cannot be listened on alone.
pub(crate) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    match args.origin_socket.clone() {
        Some(socket) => Box::pin(pod::run(args, &socket)).await,
        None => Box::pin(laptop::run(args)).await,
    }
}

/// Time for the tasks beside the listeners to end: they are told to, and only a file system that hangs keeps one. A pod's grace has room for it.
const TASKS_END: Duration = Duration::from_secs(2);

/// What a data listener serves, and to whom.
struct DataListener<'a> {
    listener: TcpListener,
    front: Arc<Front>,
    cache: Option<AskedCache>,
    declared: &'a [Declared],
    tables: &'a Arc<Tables>,
    origin: LateOrigin,
    state: &'a StateStore,
    notices: Notices,
    metrics: &'a Metrics,
    http_metrics: HttpMetrics,
}

/// Everything that is served, until the signal.
struct Serving {
    /// Nothing new should be sent here, though it would be served until `stop`.
    stopping: CancellationToken,
    stop: CancellationToken,
    listeners: Listeners,
    tasks: JoinSet<()>,
    /// Tables of a pod, which open one by one.
    tables: TaskTracker,
    stack: Option<Stack>,
}

impl Serving {
    /// Nothing yet.
    fn new(args: &ServeArgs) -> Self {
        let stop = CancellationToken::new();
        let drain = Duration::from_secs(args.drain_seconds);
        Self {
            stopping: CancellationToken::new(),
            listeners: Listeners::new(stop.clone(), drain),
            stop,
            tasks: JoinSet::new(),
            tables: TaskTracker::new(),
            stack: None,
        }
    }

    /// Waits for the signal and ends everything in order; a second signal ends it at once.
    async fn until_signal(
        self,
        args: &ServeArgs,
        ready: &Ready,
        mut signals: Signals,
    ) -> anyhow::Result<()> {
        if let Some(path) = &args.ready_file {
            ready
                .write(path)
                .with_context(|| format!("writing the ready file {}", path.display()))?;
        }
        signals.next().await;
        self.stopping.cancel();
        if let Some(path) = &args.ready_file {
            drop(std::fs::remove_file(path));
        }
        let lame_duck = lame_duck(args);
        info!(
            seconds = lame_duck.as_secs(),
            "stopping: unready, still serving"
        );
        if args.origin_socket.is_none() {
            let first = match lame_duck.as_secs() {
                0 => String::new(),
                seconds => format!("serving for another {seconds} s, then "),
            };
            // A terminal that is gone does not keep anything from ending.
            let _ = writeln!(
                stderr(),
                "stopping: {first}waiting up to {} s for bodies under way; Ctrl-C again stops now",
                args.drain_seconds
            );
        }
        tokio::select! {
            ended = self.end(lame_duck) => ended,
            signal = signals.another() => Err(cut(signal)),
        }
    }

    /// Goes on serving for as long as `lame_duck`, and then ends everything in order.
    async fn end(mut self, lame_duck: Duration) -> anyhow::Result<()> {
        sleep(lame_duck).await;
        self.listeners.drained().await?;
        self.tables.close();
        let tasks = async {
            while self.tasks.join_next().await.is_some() {}
            self.tables.wait().await;
        };
        if timeout(TASKS_END, tasks).await.is_err() {
            warn!("what looks at files and sources does not end, and is cut");
        }
        if let Some(stack) = self.stack {
            stack.close().await;
        }
        Ok(())
    }

    /// Serves tables on a TCP listener, by a stack of this process: the same as a pod's, over the origin itself.
    async fn serve_data(&mut self, args: &ServeArgs, data: DataListener<'_>) -> anyhow::Result<()> {
        self.follow_commits(data.state, data.notices.clone());
        // One process has a directory for itself, and any number a bucket, maybe behind one address.
        data.notices
            .set_peers(data.state.location().contains("://"));
        let options = StackOptions {
            log: args.staleness.log(),
            notices: data.notices,
            cache: data.cache,
            store_id: data.state.info().store_id.to_string(),
            files: None,
            ropes: rope_options(Arc::clone(data.tables)),
        };
        let origin = Arc::new(data.origin);
        let open = async |registry: &mut Registry| Stack::open(origin, options, registry).await;
        let stack = data.metrics.with_registry(open).await?;
        self.warm(&stack, data.declared);
        data.front.serve(
            data.listener,
            data.front.tls(),
            stack.files(),
            data.http_metrics.clone(),
            &mut self.listeners,
        );
        self.tasks
            .spawn(data.front.watch(data.http_metrics, self.stop.clone()));
        self.stack = Some(stack);
        Ok(())
    }

    /// Warms up beside what is served: whoever starts a server by hand waits for it.
    fn warm(&mut self, stack: &Stack, declared: &[Declared]) {
        let tables = declared.iter().map(|one| one.table.clone());
        let tables: Vec<VirtualTable> = tables.collect();
        let (stack, stop) = (stack.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let _ = stop.run_until_cancelled(stack.warm(&tables)).await;
        });
    }

    /// Keeps notices up to date with what this process commits.
    fn follow_commits(&mut self, state: &StateStore, notices: Notices) {
        let (versions, stop) = (state.versions().clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let mut seen = 0;
            while stop
                .run_until_cancelled(versions.wait(seen))
                .await
                .is_some()
            {
                let (seq, newer) = versions.newer_than(seen);
                for noticed in newer {
                    notices.committed(noticed.table.as_ref(), noticed.version);
                }
                seen = seq;
            }
        });
    }
}

fn cut(signal: SignalKind) -> anyhow::Error {
    let signal = signal.as_raw_value();
    Cut { signal }.into()
}

/// Readers are given time to move on where they come by themselves. A front door that reads through the socket has ended before.
fn lame_duck(args: &ServeArgs) -> Duration {
    match args.listen.0 {
        Some(_) => Duration::from_secs(args.lame_duck_seconds),
        None => Duration::ZERO,
    }
}

/// The cache that is asked for. In a state that is a directory its disk tier has a folder.
///
/// # Errors
/// When flags ask for a disk tier that has no folder.
fn asked_cache(args: &ServeArgs, declared: &[Declared]) -> anyhow::Result<Option<AskedCache>> {
    let dir = match args.state.as_deref() {
        Some(state) if state.contains("://") => None,
        _ => Some(state_folder(args)?.join("_cache")),
    };
    let tables = declared.iter().map(|one| &one.table);
    Ok(args.cache.resolve(tables, CacheDefaults::LAPTOP, dir)?)
}

/// Who may read by way of the data listener, and TLS.
///
/// # Errors
/// Everything that is wrong with the manifests' `access` and `tls` and with the secrets that they name.
fn front(
    args: &ServeArgs,
    listen: Option<SocketAddr>,
    declared: &[Declared],
) -> Result<Arc<Front>, BadInput> {
    let options = FrontOptions {
        secrets_dir: args.sources.secrets_dir.clone(),
        listen_is_loopback: listen.is_none_or(|listen| listen.ip().is_loopback()),
        allow_anonymous: args.allow_anonymous,
        secrets_may_come: false,
    };
    let tables: Vec<_> = declared.iter().map(|one| one.table.clone()).collect();
    Front::load(&tables, &options)
        .map(Arc::new)
        .map_err(|problems| BadInput {
            lines: problems.iter().map(ToString::to_string).collect(),
        })
}

/// A read that meets a changed source is logged, and refreshes its table.
fn rope_options(tables: Arc<Tables>) -> RopeStoreOptions {
    RopeStoreOptions {
        on_drift: Some(Arc::new(move |drift: Drift| {
            tables.drift(
                drift.location.as_ref(),
                &drift.key,
                &drift.reason.to_string(),
            );
        })),
        ..RopeStoreOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tokio::time::Instant;

    use super::*;
    use crate::args::{Cli, Command};

    fn serve(arguments: &[&str]) -> ServeArgs {
        let serve = ["vdt", "serve", "/papers"].iter();
        let Command::Serve(args) = Cli::parse_from(serve.chain(arguments)).command else {
            panic!("it serves");
        };
        *args
    }

    #[test]
    fn the_disk_tier_lies_in_a_state_that_is_a_directory_or_where_it_is_told() {
        let disk = |arguments: &[&str]| {
            let asked = asked_cache(&serve(arguments), &[]).expect("it is taken");
            let disk = asked.expect("a cache").tiers.disk;
            disk.map(|disk| disk.dir.display().to_string())
        };
        let bucket = ["--state", "s3://corp/state"];
        let folder = "/var/cache/vdt";
        assert_eq!(disk(&bucket), None);
        assert_eq!(
            disk(&["--state", "/state"]).as_deref(),
            Some("/state/_cache")
        );
        for state in [&bucket[..], &["--state", "/state"]] {
            let placed = disk(&[state, &["--cache-dir", folder]].concat());
            assert_eq!(placed.as_deref(), Some(folder));
        }
        let strict = serve(&[&bucket[..], &["--cache-strict"]].concat());
        let refused = asked_cache(&strict, &[]).expect_err("it is refused");
        assert!(refused.is::<BadInput>(), "{refused}");
    }

    #[test]
    fn readers_are_given_time_only_where_they_come_by_themselves() {
        let seconds = |arguments: &[&str]| lame_duck(&serve(arguments)).as_secs();
        assert_eq!(seconds(&[]), 0);
        assert_eq!(seconds(&["--lame-duck-seconds", "7"]), 7);
        let pod = ["--origin-socket", "/run/s", "--lame-duck-seconds", "7"];
        assert_eq!(seconds(&pod), 0);
        assert_eq!(
            seconds(&[&pod[..], &["--listen", "127.0.0.1:0"]].concat()),
            7
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_lame_duck_serves_on_before_it_stops() {
        const LAME: Duration = Duration::from_secs(7);
        let serving = Serving::new(&serve(&[]));
        let (began, stop) = (Instant::now(), serving.stop.clone());
        let served = tokio::spawn(async move {
            stop.cancelled().await;
            began.elapsed()
        });
        serving.end(LAME).await.expect("it ends");
        assert_eq!(served.await.expect("it is told"), LAME);
    }
}
