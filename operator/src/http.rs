//! `/metrics`, `/healthz`, `/readyz`, for whoever reaches the port: a client that asks nothing, or takes nothing, keeps no other out.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use prometheus_client::registry::Registry;
use tokio::{
    net::{TcpListener, TcpSocket},
    task::{AbortHandle, JoinSet},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// Connections that wait to be accepted, at most: what tokio takes by itself.
const BACKLOG: u32 = 1024;
/// Connections at a time. Beyond it the oldest one ends: who has a question is answered within milliseconds.
const CONNECTIONS_MAX: usize = 128;
/// Time for the headers of a request to come, the pause before it included: scrapers come once a minute.
const HEADERS_MAX: Duration = Duration::from_secs(75);
/// Pause after a connection that could not be accepted: there is no file descriptor, say.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Says whether the stores have seen the cluster. A process that stands by is ready, too: it would take over.
#[derive(Clone, Default)]
pub(crate) struct Ready(Arc<AtomicBool>);

impl Ready {
    /// The stores have seen the cluster.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Serves on `address` until `cancel`. `[::]` is every address of the machine, those of IPv4 too; where there is no IPv6 it is 0.0.0.0.
pub(crate) async fn serve(
    address: SocketAddr,
    router: Router,
    cancel: CancellationToken,
) -> io::Result<()> {
    let listener = listen(address, TcpSocket::new_v6).await?;
    cancel
        .run_until_cancelled(serve_on(&listener, &router))
        .await;
    Ok(())
}

/// Serves for ever. Cancel: connections end at once.
async fn serve_on(listener: &TcpListener, router: &Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADERS_MAX);
    let mut tasks = JoinSet::new();
    let mut oldest = VecDeque::<AbortHandle>::new();
    loop {
        let accepted = tokio::select! {
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => TokioIo::new(stream),
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        oldest.retain(|connection| !connection.is_finished());
        if oldest.len() >= CONNECTIONS_MAX
            && let Some(connection) = oldest.pop_front()
        {
            connection.abort();
        }
        let service = TowerToHyperService::new(router.clone());
        let connection = http.serve_connection(stream, service);
        // How a client ends is its own affair.
        oldest.push_back(tasks.spawn(async move { drop(connection.await) }));
    }
}

/// Listens on `address`; `new_v6` makes a socket of IPv6. What a socket does with IPv4 is otherwise up to the system (`net.ipv6.bindv6only`).
/// The processes of the pods do the same in `sidecar/src/process.rs`: this crate does not depend on theirs.
async fn listen(
    address: SocketAddr,
    new_v6: impl FnOnce() -> io::Result<TcpSocket>,
) -> io::Result<TcpListener> {
    if address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        return TcpListener::bind(address).await;
    }
    let socket = match new_v6() {
        Ok(socket) => socket,
        // EAFNOSUPPORT, as a rule. Whatever else it is, the other family's socket has it too, and says it.
        Err(error) => {
            tracing::info!(%error, port = address.port(), "no IPv6 here: listening on 0.0.0.0");
            return TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await;
        }
    };
    rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// `/metrics`.
pub(crate) fn metrics(registry: Arc<Registry>) -> Router {
    Router::new().route(
        "/metrics",
        get(move || {
            let registry = registry.clone();
            async move { encode(&registry) }
        }),
    )
}

fn encode(registry: &Registry) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// `/healthz` and `/readyz`.
pub(crate) fn health(ready: Ready) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || {
                let is_ready = ready.0.load(Ordering::SeqCst);
                async move {
                    if is_ready {
                        (StatusCode::OK, "ok\n")
                    } else {
                        (
                            StatusCode::SERVICE_UNAVAILABLE,
                            "the stores are not full yet\n",
                        )
                    }
                }
            }),
        )
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    const EVERYWHERE: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);
    /// Of Linux.
    const EAFNOSUPPORT: i32 = 97;

    #[tokio::test]
    async fn probes_of_both_families_are_answered() {
        let listener = listen(EVERYWHERE, TcpSocket::new_v6).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
        // A machine whose kernel has no IPv6, or whose loopback has not.
        let has_v6 = std::net::TcpListener::bind((v6, 0)).is_ok();
        let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
        for own in [v4].into_iter().chain(has_v6.then_some(v6)) {
            TcpStream::connect((own, port)).await.unwrap();
            let (_, peer) = listener.accept().await.unwrap();
            assert_eq!(peer.ip().to_canonical(), own);
        }
    }

    #[tokio::test]
    async fn without_ipv6_every_address_of_ipv4_is_listened_on() {
        let none = || Err(io::Error::from_raw_os_error(EAFNOSUPPORT));
        let listener = listen(EVERYWHERE, none).await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(address.ip(), Ipv4Addr::UNSPECIFIED);
    }

    #[tokio::test]
    async fn clients_that_ask_nothing_keep_nobody_out() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = health(Ready::default());
        let serving = tokio::spawn(async move { serve_on(&listener, &router).await });
        let mut silent = Vec::new();
        for _ in 0..=CONNECTIONS_MAX {
            let mut one = TcpStream::connect(address).await.unwrap();
            one.write_all(b"GET /").await.unwrap();
            silent.push(one);
        }
        let mut probe = TcpStream::connect(address).await.unwrap();
        let request = b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        probe.write_all(request).await.unwrap();
        let mut answer = String::new();
        probe.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        // The first ones made room.
        let ended = silent[0].read(&mut [0]).await;
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
        serving.abort();
    }
}
