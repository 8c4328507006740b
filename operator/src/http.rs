//! `/metrics`, `/healthz`, `/readyz`.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

/// Connections that wait to be accepted, at most: what tokio takes by itself.
const BACKLOG: u32 = 1024;

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
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { cancel.cancelled().await })
        .await
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
    use tokio::net::TcpStream;

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
}
