//! Answers that hyper has and the client has not: how much of one that is, and that its connection is busy however badly its place is wanted.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{Empty, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy, duplex, split};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use vdt_dialect::listener::PROGRESS_BYTES;
use vdt_dialect::{HttpService, Limits, Listen, Peer, ServeOptions, TlsReload};

use super::support::tls::Authority;

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
    let service = tower::service_fn(async |_: Request<Incoming>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![7; BODY_BYTES]))))
    });
    serve_by(service, None)
}

fn serve_by(
    service: impl HttpService,
    tls: Option<Arc<TlsReload>>,
) -> mpsc::UnboundedSender<DuplexStream> {
    let (connect, connecting) = mpsc::unbounded_channel();
    let options = ServeOptions {
        limits: Limits {
            connections: 1,
            ..Limits::default()
        },
        tls,
        ..ServeOptions::default()
    };
    let never = std::future::pending();
    tokio::spawn(vdt_dialect::serve(
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

/// Bytes of what is sent that a client gets: a handshake and a few records, the first of which has the head of an answer.
const HEAD_BYTES: u64 = 40 * 1024;

/// The client's windows are wide, and nothing comes through its socket once the answer has begun.
#[tokio::test]
async fn of_an_answer_over_http2_that_is_not_taken_few_pieces_are_asked_for() {
    let piece = usize::try_from(PROGRESS_BYTES).unwrap();
    let given = Arc::new(AtomicU64::new(0));
    let giving = given.clone();
    let service = tower::service_fn(move |_: Request<Incoming>| {
        let given = giving.clone();
        let pieces = stream::repeat_with(move || {
            given.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Infallible>(Frame::data(Bytes::from(vec![7; piece])))
        });
        let response = Response::new(StreamBody::new(pieces));
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let authority = Authority::new();
    let tls = TlsReload::new(&authority.issue()).unwrap();
    let connect = serve_by(service, Some(Arc::new(tls)));
    let (client, near) = duplex(PIPE_BYTES);
    let (far, server) = duplex(PIPE_BYTES);
    connect.send(server).unwrap();
    let ((mut asked, mut answer), (sent, mut to_server)) = (split(near), split(far));
    tokio::spawn(async move { copy(&mut asked, &mut to_server).await });
    tokio::spawn(async move {
        let mut sent = sent.take(HEAD_BYTES);
        let _ = copy(&mut sent, &mut answer).await;
        std::future::pending::<()>().await;
        drop((sent, answer));
    });
    let name = ServerName::try_from("localhost").unwrap();
    let client = authority.client(&["h2"]).connect(name, client);
    let (mut sender, connection) = Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1 << 24)
        .initial_connection_window_size(1 << 24)
        .handshake(TokioIo::new(client.await.unwrap()))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://localhost/x").body(Empty::<Bytes>::new());
    let asking = sender.send_request(request.unwrap());
    let answered = tokio::time::timeout(Duration::from_secs(20), asking).await;
    let _response = answered.expect("it begins").unwrap();
    let mut before = 0;
    while given.load(Ordering::SeqCst) > before {
        before = given.load(Ordering::SeqCst);
        sleep(Duration::from_millis(200)).await;
    }
    // Two that wait, one behind them, and what has been encrypted.
    assert!((1..=6).contains(&before), "{before} pieces");
}
