//! The end of an answer, when hyper has it and the client has not: its connection is busy however badly its place is wanted.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use vdt_dialect::{Limits, Listen, Peer, ServeOptions, serve_with};

/// What a connection takes before its client reads, and the body of every answer, which is one piece.
const PIPE_BYTES: usize = 1024;
const BODY_BYTES: usize = 256 * 1024;

/// A listener of pipes within the process, whose buffers are as small as they are said to be.
struct Pipes(mpsc::UnboundedReceiver<DuplexStream>);

impl Listen for Pipes {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, Peer)> {
        match self.0.recv().await {
            Some(stream) => Ok((stream, Peer::Unix { uid: None })),
            None => std::future::pending().await,
        }
    }
}

/// Serves one connection at a time; each that is sent is accepted.
fn serve() -> mpsc::UnboundedSender<DuplexStream> {
    let (connect, connecting) = mpsc::unbounded_channel();
    let service = tower::service_fn(async |_: Request<Incoming>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![7; BODY_BYTES]))))
    });
    let options = ServeOptions {
        limits: Limits {
            connections: 1,
            ..Limits::default()
        },
        ..ServeOptions::default()
    };
    let never = std::future::pending();
    tokio::spawn(serve_with(
        Pipes(connecting),
        service,
        options,
        never,
        Duration::ZERO,
    ));
    connect
}

/// A client that has asked and read nothing.
async fn ask(connect: &mpsc::UnboundedSender<DuplexStream>) -> DuplexStream {
    let (mut client, server) = duplex(PIPE_BYTES);
    connect.send(server).unwrap();
    client
        .write_all(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    client
}

/// A client whose answer has begun to come, and who takes no more of it.
async fn begin(connect: &mpsc::UnboundedSender<DuplexStream>) -> DuplexStream {
    let mut client = ask(connect).await;
    let mut version = [0; 8];
    client.read_exact(&mut version).await.unwrap();
    assert_eq!(&version, b"HTTP/1.1");
    client
}

/// The bytes of the body that come; fewer than promised if the connection ends before.
async fn body(client: &mut DuplexStream) -> usize {
    let mut answer = Vec::new();
    loop {
        let head = answer.windows(4).position(|window| window == b"\r\n\r\n");
        let got = head.map_or(0, |end| answer.len() - end - 4);
        if got == BODY_BYTES || client.read_buf(&mut answer).await.unwrap() == 0 {
            return got;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_being_sent_is_not_cut_to_make_room() {
    let connect = serve();
    let mut slow = begin(&connect).await;
    let mut waiting = ask(&connect).await;
    // Long enough for every try to find room.
    sleep(Duration::from_secs(10)).await;
    assert_eq!(body(&mut slow).await, BODY_BYTES);
    // Now it is idle, and makes room.
    assert_eq!(body(&mut waiting).await, BODY_BYTES);
}

#[tokio::test(start_paused = true)]
async fn who_never_takes_it_is_cut_in_the_time_of_a_reader() {
    let connect = serve();
    let mut stopped = begin(&connect).await;
    let began = Instant::now();
    let mut waiting = ask(&connect).await;
    assert_eq!(body(&mut waiting).await, BODY_BYTES);
    let limits = Limits::default();
    assert!(began.elapsed() >= limits.progress_timeout);
    assert!(began.elapsed() < limits.progress_timeout + Duration::from_secs(10));
    assert!(body(&mut stopped).await < BODY_BYTES);
}
