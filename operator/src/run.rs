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
    watches::{Scope, TableRef, Watches},
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
    let registry = Arc::new(registry);
    let cancel = CancellationToken::new();
    let ready = Ready::default();
    let mut tasks = JoinSet::new();
    let mut servers: JoinSet<anyhow::Result<()>> = JoinSet::new();
    for (what, address, router) in [
        ("metrics", args.metrics_listen, http::metrics(registry)),
        ("health", args.health_listen, http::health(ready.clone())),
    ] {
        let cancel = cancel.clone();
        servers.spawn(async move {
            http::serve(address, router, cancel)
                .await
                .with_context(|| format!("serving {what} on {address}"))
        });
    }
    tasks.spawn(interrupted(cancel.clone()));

    let config = Config::infer()
        .await
        .context("finding a cluster: set KUBECONFIG, or run in a pod")?;
    let client = client(config.clone(), &metrics)?;
    let scope = match args.namespace.as_str() {
        "" => Scope::Cluster,
        namespace => Scope::Namespace(namespace.to_owned()),
    };
    if matches!(scope, Scope::Namespace(_)) {
        tracing::info!(
            "one namespace: caches of lost nodes are not healed, for Nodes cannot be seen"
        );
    }
    // Whoever waits for a key or for full stores does not lead either.
    metrics.lead(&args.lease_name, false);
    let signer = tokio::select! {
        signer = start::key(&client, &args.own_namespace, &args.admin_key_secret) => signer,
        () = cancel.cancelled() => return Ok(()),
        ended = servers.join_next() => return ended_early(ended),
    };
    let defined = start::defined(&client).await;
    let (watches, queue) = Watches::start(
        &client,
        &scope,
        args.secrets_watch,
        &defined,
        metrics.queue.clone(),
        &mut tasks,
    );
    tokio::select! {
        () = watches.synced() => {}
        () = cancel.cancelled() => return Ok(()),
        ended = servers.join_next() => return ended_early(ended),
    }
    ready.set();
    tracing::info!(tables = watches.tables.len(), "the stores are full");

    let keys = signer.public_pem().to_owned();
    let operator = format!("{}/{}", args.own_namespace, args.lease_name);
    let shipped = args
        .pods
        .shipped(keys, args.own_namespace.clone(), operator);
    let reporter = Reporter {
        controller: names::OPERATOR.to_owned(),
        instance: args.identity.clone(),
    };
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        defined,
        client,
        watches,
        pods: Pods::new(args.admin_port),
        signer,
        shipped,
        metrics: metrics.clone(),
        ending: cancel.clone(),
        lease: args.lease_duration(),
        memory: std::sync::Mutex::new(HashMap::new()),
    });

    if !args.leader_elect {
        metrics.lead(&args.lease_name, true);
        return look(context, queue, &cancel, args.concurrency).await;
    }
    let identity = start::identity(args.identity.as_deref())?;
    // A connection of its own: what waits elsewhere does not keep the lease waiting.
    let mut config = config;
    config.default_retry = false;
    let lease_client = Client::try_from(config).context("a client for the lease")?;
    let mut election = Election::new(
        lease_client,
        &args.own_namespace,
        &args.lease_name,
        identity,
        args.lease_duration(),
    );
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
            let key = crate::watches::table_ref(
                &table.name,
                table.namespace.as_deref().unwrap_or_default(),
            );
            forgetful.forget(&key);
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
