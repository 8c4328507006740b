//! Shutdown: no new connections, bodies finish within the drain time, what is left is cut and counted.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vdt_dialect::{DrainReport, Limits};

use super::support::{Reply, serve_with_limits, shelf};

/// Asks for the slow object and reads its head and first half.
async fn half_read(address: std::net::SocketAddr) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /main/docs/t/slow.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.windows(7).any(|window| window == b"content") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
    }
    (stream, answer)
}

#[tokio::test]
async fn a_body_finishes_within_the_drain_time() {
    let store = shelf(&["main/docs/t/slow.bin"]).await;
    let served = serve_with_limits(store.clone(), Limits::default(), Duration::from_secs(30)).await;
    let address = served.address;
    // One idle connection beside: it ends by itself.
    let _idle = TcpStream::connect(address).await.unwrap();
    let (mut stream, mut answer) = half_read(address).await;
    let stopping = served.stop();
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), refused)
        .await
        .unwrap();
    store.gate.add_permits(1);
    stream.read_to_end(&mut answer).await.unwrap();
    let reply = Reply::parse(&answer).unwrap();
    assert!(reply.is_whole(), "{reply:?}");
    assert_eq!(reply.text(), "content of main/docs/t/slow.bin");
    let report = stopping.await.unwrap();
    assert_eq!(report.cut, 0);
    assert!(report.finished >= 1);
}

#[tokio::test]
async fn a_body_beyond_the_drain_time_is_cut_and_counted() {
    let store = shelf(&["main/docs/t/slow.bin"]).await;
    let served = serve_with_limits(store, Limits::default(), Duration::from_millis(100)).await;
    let (mut stream, mut answer) = half_read(served.address).await;
    let report = served.stop().await.unwrap();
    assert_eq!(
        report,
        DrainReport {
            finished: 0,
            cut: 1
        }
    );
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!Reply::parse(&answer).unwrap().is_whole());
}
