//! Runs a service on a socket: HTTP/1.1, bounded in what a client can cost, ended within a deadline.
//!
//! - Headers beyond [`Limits::header_bytes`] are 431, and a client that does not finish sending them within [`Limits::header_timeout`], or leaves a
//!   connection idle for as long, is disconnected.
//! - Beyond [`Limits::connections`] nothing is accepted until one ends; clients wait in the kernel's queue.
//! - Shutdown: the socket is closed, idle connections end, requests under way are finished. What has not ended within the drain time is cut,
//!   which a client sees as a broken transfer, and counted in the [`DrainReport`].
//! - Cancel: dropping [`serve`]'s future cuts every connection at once.
//!
//! Each connection is a task of a set that this function owns and awaits. TLS belongs between accept and `connection`, which
//! takes any stream.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use ::http::{Request, Response};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::surface::BoxError;

/// What clients may take of a listener.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time. Default 4,096: 200 busy clients of 20 connections, and with full headers 128 MiB.
    pub connections: usize,
    /// Bytes of a request's line and headers, at least 8 KiB. Default 32 KiB: four times what a presigned URL with a session token takes.
    pub header_bytes: usize,
    /// Time to send headers, and to leave a connection idle. Default 60 s: as long as clients keep idle connections for.
    pub header_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            header_bytes: 32 * 1024,
            header_timeout: Duration::from_secs(60),
        }
    }
}

/// hyper's smallest buffer.
const HEADER_BYTES_MIN: usize = 8192;

/// Time between tries to accept while the process is out of file descriptors or memory: long enough not to spin, short enough not to be noticed.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// How the connections ended that were open at shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections that ended by themselves within the drain time.
    pub finished: usize,
    /// Connections that were cut at its end.
    pub cut: usize,
}

/// Serves until `shutdown`, then drains for at most `drain`. With default [`Limits`].
pub async fn serve<S, B>(
    listener: TcpListener,
    service: S,
    shutdown: impl Future<Output = ()>,
    drain: Duration,
) -> DrainReport
where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    serve_with(listener, service, &Limits::default(), shutdown, drain).await
}

/// Serves with the given limits; otherwise as [`serve`].
pub async fn serve_with<S, B>(
    listener: TcpListener,
    service: S,
    limits: &Limits,
    shutdown: impl Future<Output = ()>,
    drain: Duration,
) -> DrainReport
where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut connections = JoinSet::new();
    let (stop, stopping) = watch::channel(false);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let full = connections.len() >= limits.connections;
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept(), if !full => match accepted {
                Ok((stream, peer)) => {
                    // Small answers must not wait for the acknowledgement of the last one. Best effort.
                    let _ = stream.set_nodelay(true);
                    let service = service.clone();
                    connections.spawn(connection(stream, peer, service, limits.clone(), stopping.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    drop(listener);
    let open = connections.len();
    // Receivers are gone only when there is no connection.
    let _ = stop.send(true);
    let ending = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    let in_time = tokio::time::timeout(drain, ending).await.is_ok();
    let cut = if in_time { 0 } else { connections.len() };
    connections.shutdown().await;
    DrainReport {
        finished: open - cut,
        cut,
    }
}

/// Serves one connection until it ends, the client leaves, or `stopping` and the request under way is done.
async fn connection<IO, S, B>(
    stream: IO,
    peer: SocketAddr,
    service: S,
    limits: Limits,
    mut stopping: watch::Receiver<bool>,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes.max(HEADER_BYTES_MIN))
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut serving = std::pin::pin!(serving);
    // An error means that the listener is gone: the set will drop this task.
    let stopped = async { stopping.wait_for(|stop| *stop).await.is_ok() };
    let ended = tokio::select! {
        ended = &mut serving => ended,
        _ = stopped => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        // Malformed requests, clients that left, bodies cut: all answered or logged where they arose.
        tracing::debug!(%peer, %error, "connection ended");
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection panicked");
    }
}
