//! `vdt-operator run`: wiring.
//!
//! ```text
//! client --> watches (every replica) --> ready --> lease (one replica) --> looks --> end
//! SIGTERM: no new look begins, those under way end, the lease is given up
//! lease lost: the process ends at once
//! ```

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use futures::StreamExt;
use kube::{
    Client, Config,
    client::ClientBuilder,
    runtime::{
        controller,
        events::{Recorder, Reporter},
    },
};
use prometheus_client::registry::Registry;
use tokio::{sync::mpsc::UnboundedReceiver, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    args::RunArgs,
    controller::{Context, reconcile},
    http::{self, Ready},
    lease::Election,
    metrics::{Counting, Metrics},
    names,
    start::{self, REQUEST},
    status::gather::Pods,
    watches::{Scope, TableRef, Watches, table_ref},
};

/// Looks under way have this long to end after SIGTERM.
const FINISH: Duration = Duration::from_secs(20);
/// Events of a table that come closer together than this are one.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// Runs until interrupted.
///
/// # Errors
/// There is no cluster, an address is in use, the key cannot be made, or the lease was lost.
pub(crate) async fn run(args: RunArgs) -> anyhow::Result<()> {
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry, args.concurrency);
    let cancel = CancellationToken::new();
    let ready = Ready::default();
    let mut tasks = JoinSet::new();
    let mut servers = serve(&args, registry, &ready, &cancel);
    tasks.spawn(interrupted(cancel.clone()));

    let config = Config::infer()
        .await
        .context("finding a cluster: set KUBECONFIG, or run in a pod")?;
    let client = client(config.clone(), &metrics)?;
    // Whoever waits for a key or for full stores does not lead either.
    metrics.lead(&args.lease_name, false);
    let (context, queue) = tokio::select! {
        prepared = prepare(&args, client, &metrics, &cancel, &mut tasks) => prepared,
        () = cancel.cancelled() => return Ok(()),
        ended = servers.join_next() => return ended_early(ended),
    };
    ready.set();
    let tables = context.watches.tables.len();
    tracing::info!(tables, "the stores are full");

    if !args.leader_elect {
        metrics.lead(&args.lease_name, true);
        return look(context, queue, &cancel, args.concurrency).await;
    }
    let mut election = election(&args, config)?;
    tokio::select! {
        () = election.acquire() => {}
        () = cancel.cancelled() => return Ok(()),
        ended = servers.join_next() => return ended_early(ended),
    }
    tracing::info!(lease = args.lease_name, "leading");
    metrics.lead(&args.lease_name, true);
    // Looks end first, then the lease is given up.
    let finished = CancellationToken::new();
    let mut looks = std::pin::pin!(look(context, queue, &cancel, args.concurrency));
    let mut hold = std::pin::pin!(election.hold(&finished));
    tokio::select! {
        result = &mut looks => {
            finished.cancel();
            hold.await;
            result
        }
        _ = &mut hold => bail!("lost the lease {}: it was not renewed in time, or somebody else has it", args.lease_name),
    }
}

/// Serves metrics and health. A listener that ends before `cancel` ends the process.
fn serve(
    args: &RunArgs,
    registry: Registry,
    ready: &Ready,
    cancel: &CancellationToken,
) -> JoinSet<anyhow::Result<()>> {
    let mut servers = JoinSet::new();
    for (what, address, router) in [
        (
            "metrics",
            args.metrics_listen,
            http::metrics(Arc::new(registry)),
        ),
        ("health", args.health_listen, http::health(ready.clone())),
    ] {
        let cancel = cancel.clone();
        servers.spawn(async move {
            http::serve(address, router, cancel)
                .await
                .with_context(|| format!("serving {what} on {address}"))
        });
    }
    servers
}

/// Waits for the key and for full stores. Returns what all looks share, and the queue.
async fn prepare(
    args: &RunArgs,
    client: Client,
    metrics: &Metrics,
    cancel: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> (Arc<Context>, UnboundedReceiver<TableRef>) {
    let scope = match args.namespace.as_str() {
        "" => Scope::Cluster,
        namespace => {
            tracing::info!(
                "one namespace: caches of lost nodes are not healed, for Nodes cannot be seen"
            );
            Scope::Namespace(namespace.to_owned())
        }
    };
    let signer = start::key(&client, &args.own_namespace, &args.admin_key_secret).await;
    let defined = start::defined(&client).await;
    let (watches, queue) = Watches::start(
        &client,
        &scope,
        args.secrets_watch,
        &defined,
        metrics.queue.clone(),
        tasks,
    );
    watches.synced().await;
    let operator = format!("{}/{}", args.own_namespace, args.lease_name);
    let reporter = Reporter {
        controller: names::OPERATOR.to_owned(),
        instance: args.identity.clone(),
    };
    let context = Context {
        recorder: Recorder::new(client.clone(), reporter),
        defined,
        client,
        watches,
        pods: Pods::new(args.admin_port),
        shipped: args.pods.shipped(
            signer.public_pem().to_owned(),
            args.own_namespace.clone(),
            operator,
        ),
        signer,
        metrics: metrics.clone(),
        ending: cancel.clone(),
        lease: args.lease_duration(),
        memory: parking_lot::Mutex::new(HashMap::new()),
    };
    (Arc::new(context), queue)
}

/// Makes the election. It has a connection of its own: what waits elsewhere does not keep the lease waiting.
fn election(args: &RunArgs, mut config: Config) -> anyhow::Result<Election> {
    let identity = start::identity(args.identity.as_deref())?;
    config.default_retry = false;
    let client = Client::try_from(config).context("a client for the lease")?;
    Ok(Election::new(
        client,
        &args.own_namespace,
        &args.lease_name,
        identity,
        args.lease_duration(),
    ))
}

fn ended_early(
    ended: Option<Result<anyhow::Result<()>, tokio::task::JoinError>>,
) -> anyhow::Result<()> {
    match ended {
        Some(Ok(Err(error))) => Err(error),
        _ => Ok(()),
    }
}

/// A client without retries of its own: whoever asks knows better when to ask again.
fn client(mut config: Config, metrics: &Metrics) -> anyhow::Result<Client> {
    config.default_retry = false;
    config.connect_timeout = Some(REQUEST);
    config.write_timeout = Some(REQUEST);
    let host = config
        .cluster_url
        .authority()
        .map_or_else(String::new, ToString::to_string);
    let builder = ClientBuilder::try_from(config).context("a client for the cluster")?;
    Ok(builder
        .with_layer(&Counting {
            metrics: metrics.clone(),
            host,
        })
        .build())
}

/// Looks at tables until cancelled. Looks that are under way then are waited for.
async fn look(
    context: Arc<Context>,
    queue: UnboundedReceiver<TableRef>,
    cancel: &CancellationToken,
    concurrency: u16,
) -> anyhow::Result<()> {
    context.watches.lead();
    let queue = futures::stream::unfold(queue, |mut queue| async move {
        queue.recv().await.map(|table| (table, queue))
    })
    .map(Ok::<_, std::convert::Infallible>)
    .take_until(cancel.clone().cancelled_owned());
    let forgetful = context.clone();
    let looks = controller::applier(
        |object, context: Arc<Context>| Box::pin(reconcile(object, context)),
        |_, error, _| match *error {},
        context.clone(),
        context.watches.tables.clone(),
        queue,
        controller::Config::default()
            .concurrency(concurrency)
            .debounce(DEBOUNCE),
    )
    .for_each(move |result| {
        // A table that is gone is no longer in the store.
        if let Err(controller::Error::ObjectNotFound(table)) = result {
            let namespace = table.namespace.as_deref().unwrap_or_default();
            forgetful.forget(&table_ref(&table.name, namespace));
        }
        std::future::ready(())
    });
    let mut looks = std::pin::pin!(looks);
    tokio::select! {
        () = &mut looks => {}
        () = cancel.cancelled() => {
            context.watches.follow();
            if tokio::time::timeout(FINISH, looks).await.is_err() {
                tracing::warn!("looks under way did not end in time");
            }
        }
    }
    Ok(())
}

/// Cancels on SIGINT and SIGTERM.
async fn interrupted(cancel: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        tracing::warn!("signals cannot be heard");
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("ending");
    cancel.cancel();
}
