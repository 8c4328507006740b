//! One connection: handshake, protocol, clocks, end.
//!
//! Plain connections speak HTTP/1.1. Over TLS the client chooses by ALPN between HTTP/1.1 and HTTP/2; without ALPN it is HTTP/1.1. Nothing is
//! guessed from the first bytes, so there is no HTTP/2 without TLS.
//!
//! HTTP/2 is offered because browsers and proxies prefer it, and costs nothing to clients that do not ask for it: those that were measured speak
//! HTTP/1.1 over many connections, which is also faster for large bodies. What one HTTP/2 connection can take is bounded by
//! [`STREAMS`], small windows for request bodies, a header list as large as in HTTP/1.1, [`SEND_BYTES`] of each answer, and h2's own bounds on
//! resets.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ::http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::accept::Peer;
use super::limits::{Limits, PROGRESS_BYTES};
use super::report;
use super::service::HttpService;
use super::traffic::{Overdue, Tracked, Traffic, Watched};
use crate::metrics::{ConnectionEnd, Handshake, Holding, HttpMetrics};
use crate::tls::TlsReload;

/// Bytes of a request's line and headers: four times what a presigned URL with a session token takes.
const HEADER_BYTES: u32 = 32 * 1024;

/// Requests of one HTTP/2 connection at a time: what browsers and proxies use. What is read for 4,096 connections of them is held by
/// [`Limits::requests_in_flight`], and answers that are not taken by [`Limits::bytes_in_flight`] and the clock of readers.
const STREAMS: u32 = 64;

/// Window of a request's body over HTTP/2, in bytes: none is wanted. The least that the protocol starts with.
const WINDOW_BYTES: u32 = 65_535;

/// Bytes of a body that may wait in its stream's buffer over HTTP/2, where hyper would have 400 KiB. While there are fewer, another piece of
/// [`PROGRESS_BYTES`] is put behind them: one is sent while the next one waits, and the socket's own buffer keeps the line busy. All of it is counted as held.
const SEND_BYTES: usize = 2 * PROGRESS_BYTES as usize;

/// The first byte of a TLS record that carries a handshake (RFC 8446 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 51\r\nConnection: close\r\n\r\nthis port speaks TLS: ask with https:// in the URL\n";

/// Bytes of a request that are read and forgotten after [`NOT_TLS`], so that the answer is not lost in a reset.
const NOT_TLS_DRAIN_BYTES: u64 = 64 * 1024;

/// What all connections of a listener share.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) limits: Arc<Limits>,
    pub(super) tls: Option<Arc<TlsReload>>,
    pub(super) metrics: Option<HttpMetrics>,
}

/// A connection as its listener holds it.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) traffic: Arc<Traffic>,
    /// Told when the connection's place is needed.
    pub(super) evict: Notify,
    /// What it holds, where that is counted.
    pub(super) holding: Option<Holding>,
}

impl Handle {
    /// Waits until what the connection holds is in the way of others.
    async fn in_the_way(&self) {
        match &self.holding {
            Some(holding) => holding.holder.told_to_leave().await,
            None => std::future::pending().await,
        }
    }
}

/// Serves one connection until it ends, the client leaves, one of its clocks runs out, or `stopping` and the requests under way are done.
pub(super) async fn connection<IO, S>(
    stream: IO,
    peer: Peer,
    service: S,
    terms: Terms,
    handle: Arc<Handle>,
    mut stopping: watch::Receiver<bool>,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService,
{
    let _open = terms.metrics.as_ref().map(HttpMetrics::connected);
    let stream = Watched::new(stream, Arc::clone(&handle.traffic));
    let Some(tls) = &terms.tls else {
        handle.traffic.ready(false);
        return serve(stream, false, peer, service, terms, handle, stopping).await;
    };
    let handshake = tokio::time::timeout(terms.limits.handshake_timeout, accept(tls, stream));
    let shaken = tokio::select! {
        shaken = handshake => shaken.unwrap_or(Err(Handshake::TimedOut)),
        () = handle.evict.notified() => return terms.ended(ConnectionEnd::Evicted),
        // An error means that the listener is gone.
        _ = stopping.wait_for(|stop| *stop) => return,
    };
    if let Some(metrics) = &terms.metrics {
        metrics.handshake(match &shaken {
            Ok(_) => Handshake::Completed,
            Err(failed) => *failed,
        });
    }
    match shaken {
        Ok(stream) => {
            let multiplexed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            handle.traffic.ready(multiplexed);
            serve(stream, multiplexed, peer, service, terms, handle, stopping).await;
        }
        Err(failed) => tracing::debug!(%peer, ?failed, "no TLS handshake"),
    }
}

async fn accept<IO>(
    tls: &TlsReload,
    mut stream: Watched<IO>,
) -> Result<tokio_rustls::server::TlsStream<Watched<IO>>, Handshake>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    match stream.read_u8().await {
        Ok(TLS_HANDSHAKE) => stream.unread(TLS_HANDSHAKE),
        Ok(byte) => {
            // Every method of HTTP starts with a capital letter.
            if byte.is_ascii_uppercase() && stream.write_all(NOT_TLS).await.is_ok() {
                let _ = stream.shutdown().await;
                let rest = &mut stream.take(NOT_TLS_DRAIN_BYTES);
                // A client that goes on sending is cut by the handshake's timeout.
                let _ = tokio::io::copy(rest, &mut tokio::io::sink()).await;
            }
            return Err(Handshake::NotTls);
        }
        Err(_) => return Err(Handshake::Failed),
    }
    tls.acceptor().accept(stream).await.map_err(|error| {
        tracing::debug!(%error, "TLS handshake failed");
        Handshake::Failed
    })
}

async fn serve<IO, S>(
    stream: IO,
    multiplexed: bool,
    peer: Peer,
    service: S,
    terms: Terms,
    handle: Arc<Handle>,
    mut stopping: watch::Receiver<bool>,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService,
{
    let limits = &terms.limits;
    let mut builder = auto::Builder::new(Tasks::default());
    if multiplexed {
        builder = builder.http2_only();
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_send_buf_size(SEND_BYTES)
            .max_header_list_size(HEADER_BYTES);
    } else {
        builder = builder.http1_only();
        builder
            .http1()
            .timer(TokioTimer::new())
            // The clocks of the connection tell headers and idling apart, and need not be set for each request.
            .header_read_timeout(None)
            .max_buf_size(HEADER_BYTES as usize);
    }
    let service = Counted {
        service,
        peer,
        traffic: Arc::clone(&handle.traffic),
    };
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let mut clocks = tokio::time::interval(limits.tick());
    clocks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut stopped = false;
    let ended = loop {
        tokio::select! {
            ended = &mut serving => break ended,
            // An error means that the listener is gone: the set will drop this task.
            _ = stopping.wait_for(|stop| *stop), if !stopped => {
                stopped = true;
                serving.as_mut().graceful_shutdown();
            }
            () = handle.evict.notified() => {
                // A request may have come between the choice and now.
                if handle.traffic.idle().is_some() {
                    return terms.ended(ConnectionEnd::Evicted);
                }
            }
            () = handle.in_the_way() => {
                tracing::debug!(%peer, "connection cut: others need what it does not take");
                return terms.ended(ConnectionEnd::GaveWay);
            }
            _ = clocks.tick() => match handle.traffic.overdue(limits) {
                None => {}
                Some(overdue) => {
                    let end = match overdue {
                        Overdue::Idle => ConnectionEnd::Idle,
                        Overdue::Header => ConnectionEnd::SlowHeader,
                        Overdue::Reader => ConnectionEnd::SlowReader,
                    };
                    tracing::debug!(%peer, ?end, "connection cut");
                    return terms.ended(end);
                }
            },
        }
    };
    if let Err(error) = ended {
        // Malformed requests, clients that left, bodies cut: all answered or logged where they arose.
        tracing::debug!(%peer, %error, "connection ended");
    }
}

impl Terms {
    fn ended(&self, end: ConnectionEnd) {
        if let Some(metrics) = &self.metrics {
            metrics.connection_ended(end);
        }
    }
}

/// A service whose requests are counted in their connection's traffic and know their peer.
#[derive(Clone)]
struct Counted<S> {
    service: S,
    peer: Peer,
    traffic: Arc<Traffic>,
}

impl<S: HttpService> hyper::service::Service<Request<Incoming>> for Counted<S> {
    type Response = Response<Tracked<S::Body>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let guard = self.traffic.begin();
        request.extensions_mut().insert(self.peer);
        let answering = self.service.clone().oneshot(request);
        Box::pin(async move { Ok(answering.await?.map(|body| Tracked::new(body, guard))) })
    }
}

/// Runs the streams of one HTTP/2 connection; they end with it.
#[derive(Debug, Clone, Default)]
struct Tasks {
    set: Arc<Mutex<JoinSet<()>>>,
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let mut set = self.set.lock();
        while let Some(ended) = set.try_join_next() {
            report(&ended);
        }
        set.spawn(task);
    }
}
