//! `vdt serve`: opens the tables, commits what is new, answers until it is told to stop.
//!
//! ```text
//!   laptop  bind listeners -> open state -> first refresh of each table -> serve
//!   pod     bind socket -> serve -> open state -> open each table, again and again until it is   (--origin-socket)
//!   both    ... SIGINT or SIGTERM -> drain (a second signal: cut) -> end
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
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};
use vdt_dialect::{DrainReport, HttpMetrics, ServeOptions, admin::Gate};
use vdt_rope::{Drift, RopeStoreOptions};
use vdt_sidecar::{
    exit::{BadInput, Cut},
    front::{Front, FrontOptions},
    log::{LogOptions, Notices},
    process::Signals,
    ready::Ready,
    stack::{CacheArgs, CacheDefaults, Stack, StackOptions},
};
use vdt_store::StateStore;

use self::open::{clock, state_folder};
use crate::{
    args::ServeArgs, manifests::Declared, metrics::Metrics, socket::LateOrigin, tables::Tables,
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
    declared: &'a [Declared],
    tables: &'a Arc<Tables>,
    origin: LateOrigin,
    state: &'a StateStore,
    notices: Notices,
    metrics: &'a Metrics,
    http_metrics: HttpMetrics,
}

/// Everything that is served, until the signal.
#[derive(Default)]
struct Serving {
    stop: CancellationToken,
    listeners: Vec<JoinHandle<DrainReport>>,
    tasks: JoinSet<()>,
    /// Tables of a pod, which open one by one.
    tables: TaskTracker,
    stack: Option<Stack>,
}

impl Serving {
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
        info!(
            "stopping: no new connections, bodies may end within {} s",
            args.drain_seconds
        );
        if let Some(path) = &args.ready_file {
            drop(std::fs::remove_file(path));
        }
        if args.origin_socket.is_none() {
            // A terminal that is gone does not keep anything from ending.
            let _ = writeln!(
                stderr(),
                "stopping: waiting up to {} s for bodies under way; Ctrl-C again stops now",
                args.drain_seconds
            );
        }
        tokio::select! {
            ended = self.end() => ended,
            signal = signals.next() => Err(cut(signal)),
        }
    }

    /// Ends everything in order.
    async fn end(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        for listener in self.listeners {
            let drained = listener.await.context("a listener")?;
            if drained.cut > 0 {
                warn!(cut = drained.cut, "bodies were cut at the drain deadline");
            }
        }
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

    /// Serves the admin surface on a TCP listener, behind `gate`.
    fn serve_admin(
        &mut self,
        args: &ServeArgs,
        listener: TcpListener,
        gate: Gate,
        router: axum::Router,
    ) {
        self.listeners.push(tokio::spawn(vdt_dialect::serve_with(
            listener,
            gate.protect(router),
            ServeOptions::of_admin(),
            self.stop.clone().cancelled_owned(),
            drain(args),
        )));
    }

    /// Serves tables on a TCP listener, by a stack of this process: the same as a pod's, over the origin itself.
    async fn serve_data(&mut self, args: &ServeArgs, data: DataListener<'_>) -> anyhow::Result<()> {
        self.follow_commits(data.state, data.notices.clone());
        // One process has a directory for itself, and any number a bucket, maybe behind one address.
        data.notices
            .set_peers(data.state.location().contains("://"));
        let dir = match args.state.as_deref() {
            Some(state) if state.contains("://") => None,
            _ => Some(state_folder(args)?.join("_cache")),
        };
        let manifests = data.declared.iter().map(|one| &one.table);
        let options = StackOptions {
            log: LogOptions::default(),
            notices: data.notices,
            tiers: args.cache.resolve(manifests, CacheDefaults::LAPTOP, dir),
            store_id: data.state.info().store_id.to_string(),
            files: None,
            ropes: rope_options(Arc::clone(data.tables)),
        };
        let origin = Arc::new(data.origin);
        let open = async |registry: &mut Registry| Stack::open(origin, options, registry).await;
        let stack = data.metrics.with_registry(open).await?;
        self.listeners.push(data.front.serve(
            data.listener,
            data.front.tls(),
            stack.files(),
            data.http_metrics.clone(),
            self.stop.clone(),
            drain(args),
        ));
        self.tasks
            .spawn(data.front.watch(data.http_metrics, self.stop.clone()));
        self.stack = Some(stack);
        Ok(())
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

fn drain(args: &ServeArgs) -> Duration {
    Duration::from_secs(args.drain_seconds)
}

/// Refuses what is asked of the cache's disk tier where it has no folder: beside a state that is no directory there is none.
fn check_cache(cache: &CacheArgs, state: Option<&str>) -> Result<(), BadInput> {
    let Some(state) = state.filter(|state| state.contains("://")) else {
        return Ok(());
    };
    let flag = match &cache.cache_disk {
        _ if cache.cache_dir.is_some() => None,
        Some(disk) => (disk.bytes() > 0).then_some("--cache-disk"),
        None => cache.cache_strict.then_some("--cache-strict"),
    };
    match flag {
        None => Ok(()),
        Some(flag) => Err(BadInput::new(format!(
            "{flag} is given, and beside the state {state} there is no folder for the cache's disk tier; give one by --cache-dir, or cache in memory alone without {flag}"
        ))),
    }
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

    use super::*;
    use crate::args::{Cli, Command};

    fn refusal(arguments: &[&str]) -> Option<String> {
        let serve = ["vdt", "serve", "/papers"].iter();
        let Command::Serve(args) = Cli::parse_from(serve.chain(arguments)).command else {
            panic!("it serves");
        };
        let refused = check_cache(&args.cache, args.state.as_deref()).err()?;
        Some(refused.to_string())
    }

    #[test]
    fn a_disk_tier_without_a_folder_is_refused_with_a_remedy() {
        let bucket = ["--state", "s3://corp/state"];
        for asked in [&["--cache-disk", "100Gi"][..], &["--cache-strict"]] {
            let told = refusal(&[&bucket[..], asked].concat()).expect("it is refused");
            for part in [asked[0], bucket[1], "--cache-dir"] {
                assert!(told.contains(part), "{told}");
            }
            let placed = [&bucket[..], asked, &["--cache-dir", "/var/cache/vdt"]].concat();
            assert_eq!(refusal(&placed), None);
            assert_eq!(refusal(asked), None, "it lies beside the state");
        }
        assert_eq!(refusal(&bucket), None);
        assert_eq!(
            refusal(&[&bucket[..], &["--cache-disk", "0"]].concat()),
            None
        );
    }
}
