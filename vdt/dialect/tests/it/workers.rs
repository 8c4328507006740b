//! Connections on threads of their own: where they go, and what one of them cannot do to the others.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use vdt_dialect::{DrainReport, HttpService, Limits, ServeOptions, Workers, serve};

/// Answers with the name of the thread that it runs on. `/panic` panics, `/hold` keeps the thread until it is told otherwise.
fn service(held: Arc<Notify>, release: mpsc::Receiver<()>) -> impl HttpService {
    let release = Arc::new(Mutex::new(release));
    tower::service_fn(move |request: Request<Incoming>| {
        let (held, release) = (Arc::clone(&held), Arc::clone(&release));
        async move {
            match request.uri().path() {
                "/panic" => panic!("a handler that panics"),
                "/hold" => {
                    held.notify_one();
                    release.lock().unwrap().recv().unwrap();
                }
                _ => {}
            }
            let name = thread::current().name().unwrap_or_default().to_owned();
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(name))))
        }
    })
}

struct Served {
    address: SocketAddr,
    held: Arc<Notify>,
    release: mpsc::Sender<()>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<DrainReport>,
}

async fn served(workers: usize, connections: usize) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let held = Arc::new(Notify::new());
    let (release, released) = mpsc::channel();
    let service = service(Arc::clone(&held), released);
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move {
        let _ = stopped.await;
    };
    let options = ServeOptions {
        limits: Limits {
            connections,
            ..Limits::default()
        },
        workers: Some(Workers::start(workers).unwrap()),
        ..ServeOptions::default()
    };
    let drain = Duration::from_secs(30);
    let task = tokio::spawn(serve(listener, service, options, shutdown, drain));
    Served {
        address,
        held,
        release,
        stop,
        task,
    }
}

/// A connection that is kept.
struct Client(TcpStream);

impl Client {
    async fn connect(served: &Served) -> Self {
        Self(TcpStream::connect(served.address).await.unwrap())
    }

    async fn send(&mut self, path: &str) {
        let text = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// The body of the next answer; `None` when the connection ends without one.
    async fn body(&mut self) -> Option<String> {
        let mut answer = Vec::new();
        loop {
            let text = String::from_utf8(answer.clone()).unwrap();
            // A worker's name has one digit here.
            if let Some((_, body)) = text.split_once("\r\n\r\n")
                && body.len() == "vdt-data-0".len()
            {
                return Some(body.to_owned());
            }
            if self.0.read_buf(&mut answer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn get(&mut self, path: &str) -> Option<String> {
        self.send(path).await;
        self.body().await
    }
}

#[tokio::test]
async fn connections_go_to_the_thread_that_has_the_fewest_and_stay() {
    let served = served(2, 16).await;
    let mut clients = Vec::new();
    for number in 0..4 {
        let mut client = Client::connect(&served).await;
        let home = client.get("/").await.unwrap();
        assert_eq!(home, format!("vdt-data-{}", number % 2));
        clients.push((client, home));
    }
    for (client, home) in &mut clients {
        assert_eq!(client.get("/").await.as_ref(), Some(&*home));
    }
    drop(clients);
    served.stop.send(()).unwrap();
    assert_eq!(served.task.await.unwrap().cut, 0);
}

#[tokio::test]
async fn a_thread_that_is_held_up_holds_up_its_own_connections_only() {
    let served = served(2, 16).await;
    let mut holding = Client::connect(&served).await;
    holding.send("/hold").await;
    served.held.notified().await;
    let mut other = Client::connect(&served).await;
    assert_eq!(other.get("/").await.as_deref(), Some("vdt-data-1"));
    served.release.send(()).unwrap();
    assert_eq!(holding.body().await.as_deref(), Some("vdt-data-0"));
}

#[tokio::test]
async fn a_connection_that_panics_ends_alone_and_gives_its_place_back() {
    // One for the connection that is kept, one for the next, one for that whose task has not quite ended.
    let places = 3;
    let served = served(1, places).await;
    let mut kept = Client::connect(&served).await;
    assert!(kept.get("/").await.is_some());
    for _ in 0..2 * places {
        let mut panicking = Client::connect(&served).await;
        assert_eq!(panicking.get("/panic").await, None);
        assert_eq!(kept.get("/").await.as_deref(), Some("vdt-data-0"));
    }
    let mut next = Client::connect(&served).await;
    assert_eq!(next.get("/").await.as_deref(), Some("vdt-data-0"));
}

#[tokio::test]
async fn requests_under_way_on_every_thread_are_finished_at_shutdown() {
    let served = served(2, 16).await;
    let mut holding = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(&served).await;
        client.send("/hold").await;
        served.held.notified().await;
        holding.push(client);
    }
    served.stop.send(()).unwrap();
    // No connection is taken any more: shutdown has begun.
    while TcpStream::connect(served.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    for client in &mut holding {
        served.release.send(()).unwrap();
        assert!(client.body().await.is_some());
    }
    let report = served.task.await.unwrap();
    assert_eq!((report.finished, report.cut), (2, 0));
}
