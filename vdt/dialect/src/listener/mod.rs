//! Runs a service on a socket: bounded in what a client can cost, ended within a deadline.
//!
//! ```text
//!   Listen (TCP, Unix) ── accept ── a task for each connection: TLS handshake ── HTTP/1.1 or HTTP/2 ── service
//!                            │                     │
//!                    connections (Limits)    clocks (traffic)
//! ```
//!
//! - Headers beyond 32 KiB are 431. A client that does not finish its handshake or its headers, leaves its connection idle, or
//!   does not take what it asked for, is disconnected in the time that [`Limits`] gives it.
//! - Beyond [`Limits::connections`] the connections that have been without a request for longest, first those that never had one, make room. One
//!   whose last answer is still being sent is busy. While all are busy nothing is served until one ends; clients wait in the kernel's queue.
//! - What a connection was given and has not taken is counted to the last byte. Those that hold it for longest give way when the data surface has
//!   no room for a new request ([`Limits::hold_timeout`]).
//! - Shutdown: the socket is closed, idle connections end, requests under way are finished. What has not ended within the drain time is cut,
//!   which a client sees as a broken transfer, and counted in the [`DrainReport`].
//! - Cancel: dropping [`serve`]'s future cuts every connection at once.
//!
//! Each connection is a task of a set that this function owns and awaits.

mod accept;
mod connection;
mod limits;
mod service;
mod traffic;
mod workers;

pub use accept::{Listen, Peer};
pub use limits::{Limits, PROGRESS_BYTES};
pub use service::HttpService;
pub use workers::Workers;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinError, JoinSet};

use self::connection::{Handle, Terms, connection};
use self::traffic::Traffic;
use crate::metrics::HttpMetrics;
use crate::tls::TlsReload;

/// Time between tries to accept while the process is out of file descriptors or memory, and to find room for a connection: long enough not to
/// spin, short enough not to be noticed.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Connections that make room at a time: finding them means looking at all.
const EVICTED_AT_ONCE: usize = 64;

/// How a listener serves. Plain HTTP with default [`Limits`], unless more is asked for.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// What clients may take.
    pub limits: Limits,
    /// Speaks TLS with this certificate; plain HTTP without.
    pub tls: Option<Arc<TlsReload>>,
    /// Counts connections, handshakes, how they end and what they hold, and tells the certificate's expiry.
    pub metrics: Option<HttpMetrics>,
    /// Threads that connections live on; without, they are tasks of the runtime that serves.
    pub workers: Option<Workers>,
}

impl ServeOptions {
    /// Plain HTTP with the limits of an admin listener ([`Limits::of_admin`]).
    pub fn of_admin() -> Self {
        Self {
            limits: Limits::of_admin(),
            ..Self::default()
        }
    }
}

/// How the connections ended that were open at shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections that ended by themselves within the drain time.
    pub finished: usize,
    /// Connections that were cut at its end.
    pub cut: usize,
}

/// Serves until `shutdown`, then drains for at most `drain`.
pub async fn serve<L, S>(
    mut listener: L,
    service: S,
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
    drain: Duration,
) -> DrainReport
where
    L: Listen,
    S: HttpService,
{
    let ServeOptions {
        limits,
        tls,
        metrics,
        workers,
    } = options;
    if let (Some(tls), Some(metrics)) = (&tls, &metrics) {
        tls.observe(metrics);
    }
    let terms = Terms {
        limits: Arc::new(limits),
        tls,
        metrics,
    };
    let mut connections = Connections::new(terms.limits.connections, workers);
    let (stop, stopping) = watch::channel(false);
    let mut shutdown = std::pin::pin!(shutdown);
    // Accepted, and without a place yet.
    let mut held = None;
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.tasks.join_next_with_id() => connections.ended(ended),
            accepted = listener.accept(), if held.is_none() => match accepted {
                Ok(accepted) => held = Some(accepted),
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
            () = tokio::time::sleep(ACCEPT_RETRY), if held.is_some() => {}
        }
        if held.is_some()
            && connections.has_room()
            && let Some((stream, peer)) = held.take()
        {
            let holding = terms.metrics.as_ref().map(HttpMetrics::holding);
            let holder = holding.as_ref().map(|holding| Arc::clone(&holding.holder));
            let handle = Arc::new(Handle {
                traffic: Arc::new(Traffic::new(holder)),
                evict: Notify::new(),
                holding,
            });
            let (service, terms) = (service.clone(), terms.clone());
            let (stopping, its_handle) = (stopping.clone(), Arc::clone(&handle));
            let task = async move {
                match L::settle(stream) {
                    Ok(stream) => {
                        connection(stream, peer, service, terms, its_handle, stopping).await;
                    }
                    Err(error) => tracing::warn!(%error, %peer, "a connection was lost"),
                }
            };
            connections.spawn(task, handle);
        }
    }
    drop(held);
    drop(listener);
    let tasks = &mut connections.tasks;
    let open = tasks.len();
    // Receivers are gone only when there is no connection.
    let _ = stop.send(true);
    let ending = async {
        while let Some(ended) = tasks.join_next().await {
            report(&ended);
        }
    };
    let in_time = tokio::time::timeout(drain, ending).await.is_ok();
    let cut = if in_time { 0 } else { tasks.len() };
    tasks.shutdown().await;
    DrainReport {
        finished: open - cut,
        cut,
    }
}

/// The connections of a listener, as many as it may have.
struct Connections {
    limit: usize,
    tasks: JoinSet<()>,
    workers: Option<Workers>,
    /// How many each worker has.
    loads: Vec<usize>,
    /// On which worker each runs.
    homes: HashMap<Id, usize>,
    handles: HashMap<Id, Arc<Handle>>,
    /// Those that were told to make room and have not ended yet.
    leaving: HashMap<Id, Arc<Handle>>,
}

impl Connections {
    fn new(limit: usize, workers: Option<Workers>) -> Self {
        Self {
            limit,
            tasks: JoinSet::new(),
            loads: vec![0; workers.as_ref().map_or(0, Workers::count)],
            workers,
            homes: HashMap::new(),
            handles: HashMap::new(),
            leaving: HashMap::new(),
        }
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static, handle: Arc<Handle>) {
        let id = match &self.workers {
            None => self.tasks.spawn(task).id(),
            Some(workers) => {
                let loads = self.loads.iter().enumerate();
                let home = loads.min_by_key(|(_, load)| **load).map_or(0, |(n, _)| n);
                let id = self.tasks.spawn_on(task, workers.runtime(home)).id();
                self.loads[home] += 1;
                self.homes.insert(id, home);
                id
            }
        };
        self.handles.insert(id, handle);
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        self.handles.remove(&id);
        self.leaving.remove(&id);
        if let Some(home) = self.homes.remove(&id) {
            self.loads[home] -= 1;
        }
        report(&ended.map(|_| ()));
    }

    /// Reports whether there is a place, and asks for one if not.
    fn has_room(&mut self) -> bool {
        if self.tasks.len() < self.limit {
            return true;
        }
        // One that got a request meanwhile stays.
        let staying: Vec<Id> = self
            .leaving
            .iter()
            .filter(|(_, handle)| handle.traffic.idle().is_none())
            .map(|(id, _)| *id)
            .collect();
        for id in staying {
            if let Some(handle) = self.leaving.remove(&id) {
                self.handles.insert(id, handle);
            }
        }
        // Another may have been busy for a moment, and not have listened.
        for handle in self.leaving.values() {
            handle.evict.notify_one();
        }
        if self.leaving.is_empty() {
            self.evict();
        }
        false
    }

    fn evict(&mut self) {
        let mut idle: Vec<(bool, std::cmp::Reverse<u64>, Id)> = self
            .handles
            .iter()
            .filter_map(|(id, handle)| {
                let (served, since) = handle.traffic.idle()?;
                Some((served, std::cmp::Reverse(since), *id))
            })
            .collect();
        // A quarter at most: those that wait are few, and what is idle may be wanted.
        let count = EVICTED_AT_ONCE.min(self.limit.div_ceil(4)).min(idle.len());
        if count == 0 {
            return;
        }
        idle.select_nth_unstable_by_key(count - 1, |(served, since, _)| (*served, *since));
        for (_, _, id) in idle.into_iter().take(count) {
            if let Some(handle) = self.handles.remove(&id) {
                handle.evict.notify_one();
                self.leaving.insert(id, handle);
            }
        }
    }
}

fn report(ended: &Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection panicked");
    }
}
