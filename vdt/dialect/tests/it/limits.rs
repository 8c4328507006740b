//! What clients cannot take: places, time, memory. Each with a neighbour who is served all the same.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{Empty, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use vdt_dialect::{DataSurface, Edge, HttpMetrics, Limits, Peer, ServeOptions, serve};

use super::support::{Reply, exchange, get, request, serve_with_limits, shelf};

const KEYS: [&str; 2] = ["main/docs/t/a.bin", "main/docs/t/slow.bin"];
const A: &str = "/main/docs/t/a.bin";

/// More than the sockets of both ends hold.
const BIG: usize = 64 * 1024 * 1024;

/// Time of a reader who stopped: long beside what a busy machine needs for the next piece of one who reads.
const READER: Duration = Duration::from_secs(3);

/// What is read meanwhile.
const SMALL: usize = 4 * 1024 * 1024;

async fn send(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn requests_beyond_the_limit_are_told_to_slow_down() {
    let limits = Limits {
        requests_in_flight: 1,
        ..Limits::default()
    };
    let store = shelf(&KEYS).await;
    let served = serve_with_limits(store.clone(), limits, Duration::ZERO).await;
    let mut slow = send(
        served.address,
        "GET /main/docs/t/slow.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    let mut answer = vec![0; 16];
    slow.read_exact(&mut answer).await.unwrap();
    for (target, code) in [
        (A, "<Code>SlowDown</Code>"),
        ("/v1/main/docs/t/a.bin", "try again"),
    ] {
        let reply = get(served.address, target).await;
        assert_eq!(
            (reply.status, reply.header("retry-after")),
            (503, Some("1")),
            "{target}"
        );
        assert!(reply.text().contains(code), "{}", reply.text());
    }
    store.gate.add_permits(1);
    slow.read_to_end(&mut answer).await.unwrap();
    served.wait_for("vdt_http_requests_in_flight 0").await;
    assert_eq!(get(served.address, A).await.status, 200);
    let metrics = served.metrics();
    assert!(
        metrics.contains("vdt_http_refused_total{dialect=\"S3\",reason=\"RequestsInFlight\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn bytes_that_clients_do_not_take_stop_new_requests_until_they_do() {
    let limits = Limits {
        bytes_in_flight: 1024 * 1024,
        ..Limits::default()
    };
    let store = shelf(&KEYS).await;
    store.put("main/docs/t/big.bin", vec![7_u8; BIG]).await;
    let served = serve_with_limits(store, limits, Duration::ZERO).await;
    let stalled = send(
        served.address,
        "GET /main/docs/t/big.bin HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    .await;
    served
        .wait_for(&format!("vdt_http_bytes_in_flight {}", BIG / 2))
        .await;
    let reply = get(served.address, A).await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1"))
    );
    drop(stalled);
    served.wait_for("vdt_http_bytes_in_flight 0").await;
    assert_eq!(get(served.address, A).await.status, 200);
}

/// A body that ends with its first piece is dropped before a byte of it is written.
#[tokio::test]
async fn the_last_piece_of_a_body_counts_until_its_client_has_taken_it() {
    let limits = Limits {
        bytes_in_flight: 1024 * 1024,
        ..Limits::default()
    };
    let store = shelf(&KEYS).await;
    store.put("main/docs/t/once.bin", vec![7_u8; BIG]).await;
    let served = serve_with_limits(store, limits, Duration::ZERO).await;
    let mut stopped = send(
        served.address,
        "GET /main/docs/t/once.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    served
        .wait_for(&format!("vdt_http_bytes_in_flight {BIG}"))
        .await;
    served.wait_for("vdt_http_requests_in_flight 0").await;
    assert_eq!(get(served.address, A).await.status, 503);
    let mut answer = Vec::new();
    stopped.read_to_end(&mut answer).await.unwrap();
    assert!(Reply::parse(&answer).unwrap().is_whole());
    served.wait_for("vdt_http_bytes_in_flight 0").await;
    assert_eq!(get(served.address, A).await.status, 200);
}

#[tokio::test]
async fn readers_who_take_little_give_way_to_others() {
    let limits = Limits {
        bytes_in_flight: BIG as u64,
        hold_timeout: Duration::ZERO,
        ..Limits::default()
    };
    let store = shelf(&KEYS).await;
    store.put("main/docs/t/once.bin", vec![7_u8; BIG]).await;
    let served = serve_with_limits(store, limits, Duration::ZERO).await;
    let text = "GET /main/docs/t/once.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut first = send(served.address, text).await;
    served
        .wait_for(&format!("vdt_http_bytes_in_flight {BIG}"))
        .await;
    let mut second = send(served.address, text).await;
    served
        .wait_for(&format!("vdt_http_bytes_in_flight {}", 2 * BIG))
        .await;
    // Both take some, as slowly as they may; the limit is full of what they do not take.
    for slow in [&mut first, &mut second] {
        slow.read_exact(&mut [0; 64 * 1024]).await.unwrap();
    }
    assert_eq!(get(served.address, A).await.status, 200);
    served
        .wait_for("vdt_http_connections_ended_total{reason=\"GaveWay\"} 1")
        .await;
    let mut rest = Vec::new();
    assert!(
        first.read_to_end(&mut rest).await.is_err() || rest.len() < BIG - 64 * 1024,
        "the one that held for longest was cut"
    );
    let mut rest = Vec::new();
    second.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() > BIG - 64 * 1024, "the other was not");
    served.wait_for("vdt_http_bytes_in_flight 0").await;
}

/// Who promises a body and does not send it is waited for, in the place of a request; nobody has asked yet who that is.
#[tokio::test(start_paused = true)]
async fn bodies_that_do_not_come_are_waited_for_a_few_at_a_time() {
    const AT_ONCE: usize = 64;
    let surface = DataSurface::new(shelf(&KEYS).await, HttpMetrics::default(), Edge::default());
    let promise = |target: &str| {
        let body = StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, &str>>());
        let request = http::Request::post(target).body(body).unwrap();
        let surface = surface.clone();
        async move { surface.handle(request).await.status().as_u16() }
    };
    let mut waiting: Vec<_> = (0..AT_ONCE)
        .map(|number| match number % 2 {
            0 => Box::pin(promise("/v1/x")),
            _ => Box::pin(promise("/main/x")),
        })
        .collect();
    for one in &mut waiting {
        assert!(futures::poll!(one).is_pending());
    }
    for (target, status) in [("/v1/x", 405), ("/main/x", 403)] {
        let mut one = Box::pin(promise(target));
        assert_eq!(futures::poll!(&mut one), std::task::Poll::Ready(status));
    }
    assert_eq!(waiting.pop().unwrap().await, 403, "within the time for it");
}

/// What hangs is listed by as many as may write listings at a time.
#[tokio::test(start_paused = true)]
async fn listings_are_written_a_few_at_a_time() {
    let surface = DataSurface::new(shelf(&KEYS).await, HttpMetrics::default(), Edge::default());
    let list = |path: &str, depth: &str| {
        let request = http::Request::builder()
            .method("PROPFIND")
            .uri(path)
            .header("Depth", depth)
            .body(Empty::<Bytes>::new())
            .unwrap();
        let surface = surface.clone();
        async move { surface.handle(request).await }
    };
    let mut hanging: Vec<_> = (0..8)
        .map(|number| {
            // One folder has half of all at most.
            let path = format!("/v1/main/{}/hangs/", number / 2);
            let list = &list;
            Box::pin(async move { list(&path, "1").await })
        })
        .collect();
    for one in &mut hanging {
        assert!(futures::poll!(one).is_pending());
    }
    let refused = list("/v1/main/docs/t/", "1").await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers().get("retry-after").unwrap(), "1");
    // One file is no listing.
    assert_eq!(list("/v1/main/docs/t/a.bin", "1").await.status(), 207);
    hanging.pop();
    assert_eq!(list("/v1/main/docs/t/", "1").await.status(), 207);
}

#[tokio::test]
async fn a_reader_that_stops_is_cut_and_one_that_reads_is_not() {
    let limits = Limits {
        progress_timeout: READER,
        ..Limits::default()
    };
    let store = shelf(&KEYS).await;
    store.put("main/docs/t/big.bin", vec![7_u8; BIG]).await;
    store.put("main/docs/t/small.bin", vec![7_u8; SMALL]).await;
    let served = serve_with_limits(store, limits, Duration::ZERO).await;
    let mut stopped = send(
        served.address,
        "GET /main/docs/t/big.bin HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    .await;
    let whole = get(served.address, "/main/docs/t/small.bin").await;
    assert!(whole.is_whole() && whole.body.len() == SMALL);
    served
        .wait_for("vdt_http_connections_ended_total{reason=\"SlowReader\"} 1")
        .await;
    let mut answer = Vec::new();
    let _ = stopped.read_to_end(&mut answer).await;
    assert!(!Reply::parse(&answer).unwrap().is_whole());
    served.wait_for("vdt_http_bytes_in_flight 0").await;
}

#[tokio::test]
async fn idle_connections_are_closed_and_fresh_ones_must_ask() {
    let limits = Limits {
        header_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let served = serve_with_limits(shelf(&KEYS).await, limits, Duration::ZERO).await;
    let mut kept = send(
        served.address,
        &format!("GET {A} HTTP/1.1\r\nHost: x\r\n\r\n"),
    )
    .await;
    let mut answer = Vec::new();
    kept.read_to_end(&mut answer).await.unwrap();
    assert!(Reply::parse(&answer).unwrap().is_whole());
    served
        .wait_for("vdt_http_connections_ended_total{reason=\"Idle\"} 1")
        .await;
    served.wait_for("vdt_http_connections 0").await;
}

/// Slow senders of headers, then ten thousand silent connections, at a listener of 200 places.
#[tokio::test]
async fn ten_thousand_connections_do_not_keep_anybody_out() {
    let limits = Limits {
        connections: 200,
        ..Limits::default()
    };
    let store = shelf(&KEYS).await;
    let served = serve_with_limits(store.clone(), limits, Duration::ZERO).await;
    // A transfer that is under way when they come.
    let mut busy = send(
        served.address,
        "GET /main/docs/t/slow.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    let mut answer = vec![0; 16];
    busy.read_exact(&mut answer).await.unwrap();
    let mut rude = Vec::new();
    for number in 0..10_000 {
        rude.push(match number % 3 {
            0 => {
                send(
                    served.address,
                    "GET /main/docs/t/a.bin HTTP/1.1\r\nHost: x\r\nX-Slow: ",
                )
                .await
            }
            1 => send(served.address, "G").await,
            _ => TcpStream::connect(served.address).await.unwrap(),
        });
        if number % 500 == 499 {
            let asked = tokio::time::timeout(Duration::from_secs(20), get(served.address, A));
            assert_eq!(asked.await.unwrap().status, 200, "after {number}");
        }
    }
    let open = served.metrics().lines().find_map(|line| {
        line.strip_prefix("vdt_http_connections ")?
            .parse::<usize>()
            .ok()
    });
    assert!(open.is_some_and(|open| open <= 200), "{open:?}");
    store.gate.add_permits(1);
    busy.read_to_end(&mut answer).await.unwrap();
    assert!(
        Reply::parse(&answer).unwrap().is_whole(),
        "the busy connection was not touched"
    );
    drop(rude);
}

#[tokio::test]
async fn unix_sockets_are_served_and_know_their_peer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("front.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let surface = DataSurface::new(shelf(&KEYS).await, HttpMetrics::default(), Edge::default());
    let service = tower::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let surface = surface.clone();
        async move {
            let peer = request.extensions().get::<Peer>().copied().unwrap();
            assert!(matches!(peer, Peer::Unix { uid: Some(_) }), "{peer:?}");
            Ok::<_, std::convert::Infallible>(surface.handle(request).await)
        }
    });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async move {
        let _ = stopped.await;
    };
    let serving = tokio::spawn(serve(
        listener,
        service,
        ServeOptions::default(),
        shutdown,
        Duration::ZERO,
    ));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let text = format!("GET {A} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(
        Reply::parse(&answer).unwrap().text(),
        "content of main/docs/t/a.bin"
    );
    stop.send(()).unwrap();
    serving.await.unwrap();
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let served = serve_with_limits(shelf(&KEYS).await, Limits::default(), Duration::ZERO).await;
    let asked = [("X-Request-Id", "mine-1")];
    for target in [
        A,
        "/main/none",
        "/main",
        "/v1/main/docs/t/a.bin",
        "/v1/none",
    ] {
        let own = get(served.address, target).await;
        let id = own.header("x-request-id").unwrap();
        assert_eq!(id.len(), 16, "{target}");
        let s3 = !target.starts_with("/v1");
        assert_eq!(own.header("x-amz-request-id"), s3.then_some(id), "{target}");
        let theirs = request(served.address, "GET", target, &asked).await;
        assert_eq!(theirs.header("x-request-id"), Some("mine-1"), "{target}");
    }
    // Not even a forged one gets into a header or a log.
    let answer = exchange(
        served.address,
        format!("GET {A} HTTP/1.1\r\nHost: x\r\nX-Request-Id: a b\tc\r\nConnection: close\r\n\r\n")
            .as_bytes(),
    )
    .await;
    assert_ne!(
        Reply::parse(&answer).unwrap().header("x-request-id"),
        Some("a b\tc")
    );
}
