//! What clients of HTTP/2 cannot take: one connection carries many requests, and each can be held up by itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::task::JoinHandle;
use vdt_dialect::{Limits, TlsReload};

use super::support::tls::{Authority, connect, http2};
use super::support::{Served, Setup, Shelf, serve_setup, shelf};

const KEYS: [&str; 1] = ["main/docs/t/a.bin"];
const A: &str = "/main/docs/t/a.bin";

/// More than the sockets of both ends hold.
const BIG: usize = 64 * 1024 * 1024;

/// What is read of it before a client stops.
const SMALL: usize = 4 * 1024 * 1024;

/// Time of a reader who stopped: long beside what a busy machine needs for the next piece of one who reads.
const READER: Duration = Duration::from_secs(3);

/// A window that has no room for any answer.
const NARROW: u32 = 1;

async fn serve(store: Arc<Shelf>, authority: &Authority, limits: Limits) -> Served {
    let setup = Setup {
        limits,
        tls: Some(Arc::new(TlsReload::new(&authority.issue()).unwrap())),
        ..Setup::default()
    };
    serve_setup(store, setup).await
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    let request = Request::get(format!("https://localhost{path}"));
    request.body(Empty::new()).unwrap()
}

/// A client that pings all the time, with a window for each of its streams, in bytes.
async fn pinging(
    authority: &Authority,
    address: SocketAddr,
    window: impl Into<Option<u32>>,
) -> (
    SendRequest<Empty<Bytes>>,
    JoinHandle<Result<(), hyper::Error>>,
) {
    let stream = connect(&authority.client(&["h2"]), address).await.unwrap();
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(window)
        .keep_alive_interval(Duration::from_millis(50))
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    (sender, tokio::spawn(connection))
}

#[tokio::test]
async fn an_http2_stream_that_is_not_read_is_cut_with_its_connection() {
    let authority = Authority::new();
    let store = shelf(&KEYS).await;
    store.put("main/docs/t/big.bin", vec![7_u8; BIG]).await;
    store.put("main/docs/t/small.bin", vec![7_u8; SMALL]).await;
    let limits = Limits {
        progress_timeout: READER,
        ..Limits::default()
    };
    let served = serve(store, &authority, limits).await;
    let (mut sender, connection) = http2(&authority, served.address).await;
    // A whole body passes.
    let read = sender.send_request(get("/main/docs/t/small.bin"));
    let whole = read.await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(whole.to_bytes().len(), SMALL);
    let stopped = sender.send_request(get("/main/docs/t/big.bin"));
    let stopped = stopped.await.unwrap();
    served
        .wait_for("vdt_http_connections_ended_total{reason=\"SlowReader\"} 1")
        .await;
    assert!(stopped.into_body().collect().await.is_err());
    let _ = connection.await;
}

/// Pings are answered, and are no requests.
#[tokio::test]
async fn an_http2_client_that_only_pings_is_idle() {
    let authority = Authority::new();
    let limits = Limits {
        idle_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let served = serve(shelf(&KEYS).await, &authority, limits).await;
    let (mut sender, connection) = pinging(&authority, served.address, None).await;
    let read = sender.send_request(get(A)).await.unwrap();
    read.into_body().collect().await.unwrap();
    served
        .wait_for("vdt_http_connections_ended_total{reason=\"Idle\"} 1")
        .await;
    let _ = connection.await;
}

/// Its window keeps the end of an answer back whose request has ended long since.
#[tokio::test]
async fn an_http2_client_that_pings_and_does_not_take_the_last_piece_is_cut() {
    let authority = Authority::new();
    let limits = Limits {
        progress_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let served = serve(shelf(&KEYS).await, &authority, limits).await;
    let (mut sender, connection) = pinging(&authority, served.address, NARROW).await;
    let read = sender.send_request(get("/v1/nothing")).await.unwrap();
    assert_eq!(read.status(), 404);
    served
        .wait_for("vdt_http_connections_ended_total{reason=\"SlowReader\"} 1")
        .await;
    assert!(read.into_body().collect().await.is_err());
    let _ = connection.await;
}

/// A window of nothing holds up whole answers, refusals among them: they are no requests under way, and keep nobody out.
#[tokio::test]
async fn answers_that_nobody_takes_keep_nobody_out() {
    let authority = Authority::new();
    let limits = Limits {
        requests_in_flight: 2,
        ..Limits::default()
    };
    let served = serve(shelf(&KEYS).await, &authority, limits).await;
    let (mut sender, connection) = pinging(&authority, served.address, 0).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        let answer = sender.send_request(get("/v1/nothing")).await.unwrap();
        assert_eq!(answer.status(), 404);
        held.push(answer);
    }
    served.wait_for("vdt_http_requests_in_flight 0").await;
    let (mut other, its) = http2(&authority, served.address).await;
    let read = other.send_request(get(A)).await.unwrap();
    assert_eq!(read.status(), 200);
    read.into_body().collect().await.unwrap();
    drop((sender, held, other));
    let _ = tokio::join!(connection, its);
}

#[tokio::test]
async fn header_bombs_are_refused_over_http2_too() {
    let authority = Authority::new();
    let served = serve(shelf(&KEYS).await, &authority, Limits::default()).await;
    for (count, length) in [(1, 1024 * 1024), (2000, 100)] {
        let (mut sender, connection) = http2(&authority, served.address).await;
        let mut request = get(A);
        for number in 0..count {
            let name: http::HeaderName = format!("x-{number}").parse().unwrap();
            let value = "a".repeat(length).parse().unwrap();
            request.headers_mut().insert(name, value);
        }
        let answer = sender.send_request(request).await;
        assert!(
            answer.is_err() || answer.is_ok_and(|answer| answer.status() == 431),
            "{count}"
        );
        drop(sender);
        let _ = connection.await;
    }
}
