//! Clients that are broken, rude or slow.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vdt_dialect::Limits;

use super::support::{Reply, exchange, get, serve, serve_with_limits, shelf};

const KEYS: [&str; 2] = ["main/docs/t/a.bin", "main/docs/t/slow.bin"];

#[tokio::test]
async fn malformed_requests_are_refused_and_the_next_client_is_served() {
    let served = serve(shelf(&KEYS).await).await;
    let huge = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "a".repeat(1024 * 1024)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "X: y\r\n".repeat(5000)
    );
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000));
    let key = format!(
        "GET /main/{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "a".repeat(2000)
    );
    let cases: [(&[u8], Option<u16>); 20] = [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Some(400)),
        (b"GET\r\n\r\n", Some(400)),
        (b"GET /main HTTP/9.9\r\n\r\n", Some(400)),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None),
        (b"GET /ma\x00in HTTP/1.1\r\nHost: x\r\n\r\n", Some(400)),
        (b"GET /main HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", Some(400)),
        (b"GET /main HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", Some(400)),
        (b"GET /main HTTP/1.1\r\nHost : x\r\n\r\n", Some(400)),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", Some(200)),
        (b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", Some(405)),
        (b"GET http://elsewhere/main/docs/t/a.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", Some(200)),
        (b"GET /main/docs/t/a.bin HTTP/1.0\r\n\r\n", Some(200)),
        (b"GET /main/docs/t/a.bin?%ff=%00&&==& HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", None),
        (b"GET /main/%ff%fe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", None),
        (b"GET /main/docs/t/a.bin HTTP/1.1\r\nHost: x\r\nRange: bytes=\xff\xfe\r\nConnection: close\r\n\r\n", Some(416)),
        (b"GET /main/docs/t/a.bin HTTP/1.1\r\nHost: x\r\nRange: bytes=\xff\xfe\r\nIf-Match: \xff\r\nConnection: close\r\n\r\n", Some(412)),
        (huge.as_bytes(), Some(431)),
        (many.as_bytes(), Some(431)),
        (long.as_bytes(), None),
        (key.as_bytes(), Some(400)),
    ];
    for (bytes, expected) in cases {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        let answer = exchange(served.address, bytes).await;
        let status = Reply::parse(&answer).map(|reply| reply.status);
        match expected {
            Some(expected) => {
                // A client that is still sending when the server closes may lose the answer, never the connection's end.
                let lost = answer.is_empty() && bytes.len() > 100_000;
                assert!(status == Some(expected) || lost, "{start:?}: {status:?}");
            }
            None => assert!(
                status.is_none_or(|status| (400..500).contains(&status) || status == 200),
                "{start:?}: {status:?}"
            ),
        }
        assert_eq!(
            get(served.address, "/main/docs/t/a.bin").await.status,
            200,
            "after {start:?}"
        );
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_what_was_done_for_it() {
    let store = shelf(&KEYS).await;
    let served = serve(store.clone()).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream
        .write_all(b"GET /main/docs/t/slow.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut head = [0_u8; 16];
    stream.read_exact(&mut head).await.unwrap();
    assert!(served.metrics().contains("vdt_http_requests_in_flight 1"));
    drop(stream);
    served.wait_for("vdt_http_requests_in_flight 0").await;
    let metrics = served.metrics();
    assert!(
        metrics.contains("vdt_http_bodies_cut_total{dialect=\"S3\",by=\"Client\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn headers_that_do_not_end_are_not_waited_for() {
    let limits = Limits {
        header_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let served = serve_with_limits(shelf(&KEYS).await, limits, Duration::ZERO).await;
    for sent in [
        "",
        "GET /main HT",
        "GET /main HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    ] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let ended =
            tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{sent:?} holds its connection");
    }
}

#[tokio::test]
async fn a_body_that_is_not_sent_does_not_hold_the_refusal() {
    let served = serve(shelf(&KEYS).await).await;
    let bytes =
        b"PUT /main/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nConnection: close\r\n\r\nhalf";
    let answer =
        tokio::time::timeout(Duration::from_secs(10), exchange(served.address, bytes)).await;
    assert_eq!(Reply::parse(&answer.unwrap()).unwrap().status, 403);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_their_turn() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let store = shelf(&KEYS).await;
    let served = serve_with_limits(store.clone(), limits, Duration::ZERO).await;
    let mut first = TcpStream::connect(served.address).await.unwrap();
    first
        .write_all(b"GET /main/docs/t/slow.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut head = [0_u8; 16];
    first.read_exact(&mut head).await.unwrap();
    let address = served.address;
    let mut second = tokio::spawn(async move { get(address, "/main/docs/t/a.bin").await });
    assert!(
        tokio::time::timeout(Duration::from_millis(100), &mut second)
            .await
            .is_err()
    );
    store.gate.add_permits(1);
    assert_eq!(second.await.unwrap().status, 200);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let served = serve(shelf(&KEYS).await).await;
    let bytes = b"GET /main/docs/t/a.bin HTTP/1.1\r\nHost: x\r\nRange: bytes=0-6\r\n\r\nGET /main/docs/t/a.bin HTTP/1.1\r\nHost: x\r\nRange: bytes=-4\r\nConnection: close\r\n\r\n";
    let answer = String::from_utf8(exchange(served.address, bytes).await).unwrap();
    assert!(
        answer.find("content").is_some() && answer.ends_with(".bin"),
        "{answer}"
    );
    assert_eq!(answer.matches("HTTP/1.1 206").count(), 2);
}
