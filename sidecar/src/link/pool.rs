//! Connections to a Unix socket: HTTP/1.1, kept and used again.
//!
//! - A request takes the connection that was used last, or makes one. At most [`OPEN_MAX`] are open; beyond that requests wait a moment and then fail.
//! - A connection comes back when its body has been read to the end; a body that is dropped before closes it. While as many are open as may be it is
//!   not kept: a request may wait for its place, and has looked for idle ones already.
//! - One that the server closed while it was idle costs another connection, not an error: the request has not been sent then.
//! - Connections live on the runtime that the socket was made in, whichever thread asks: one that a thread of the data listener made would
//!   wait for the requests of that thread, and end with it.
//! - Clocks: [`CONNECT_MAX`] to connect, [`ANSWER_MAX`] to an answer's headers, [`SILENCE_MAX`] of silence within a body while its reader waits.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header::HOST};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::UnixStream,
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

/// Connections at a time: less than the server accepts, and than a soft limit of 4,096 open files leaves beside clients.
const OPEN_MAX: usize = 1024;
/// Time to wait for one of them.
const OPEN_WAIT: Duration = Duration::from_secs(5);
/// Connections kept while idle: those of a busy second.
const IDLE_MAX: usize = 128;
/// How long an idle one is kept: half of what the server allows.
const IDLE_TIME: Duration = Duration::from_secs(30);
/// Time to connect to a socket on this machine.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Time to the headers of an answer: longer than the server takes to give a source up.
const ANSWER_MAX: Duration = Duration::from_secs(65);
/// Silence within a body, likewise.
const SILENCE_MAX: Duration = Duration::from_secs(40);

/// Why a request over the socket got no answer.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Nobody listens: the server is away.
    #[error("cannot connect to the server's socket {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Too many requests at once.
    #[error("{OPEN_MAX} requests wait for the server already")]
    Busy,
    /// The server did not answer.
    #[error("the server did not answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// The connection broke, or what came over it was not HTTP.
    #[error("the connection to the server broke")]
    Broken(#[source] hyper::Error),
    /// The answer is larger than any that is expected.
    #[error("the server's answer has more than {0} bytes")]
    TooLong(usize),
    /// The request cannot be written down.
    #[error("the request has no valid form")]
    Request(#[source] http::Error),
}

/// The socket of a server. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Socket {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    idle: Mutex<VecDeque<Idle>>,
    open: Arc<Semaphore>,
    runtime: Handle,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Drives it; it ends with the connection.
    _task: AbortOnDropHandle<()>,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Socket {
    /// The socket at `path`, which need not be there yet. Needs a runtime: connections live on it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::of_at_most(OPEN_MAX, path)
    }

    fn of_at_most(open_max: usize, path: impl Into<PathBuf>) -> Self {
        Self {
            shared: Arc::new(Shared {
                path: path.into(),
                idle: Mutex::default(),
                open: Arc::new(Semaphore::new(open_max)),
                runtime: Handle::current(),
            }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Sends a request and waits for the headers of the answer, at most `answer_max`.
    ///
    /// # Errors
    /// [`SocketError`] when there is no answer.
    pub async fn send_within(
        &self,
        request: Request<Bytes>,
        answer_max: Duration,
    ) -> Result<Response<SocketBody>, SocketError> {
        let (mut parts, body) = request.into_parts();
        // Origin form (RFC 9112 3.2.1), and the Host that HTTP/1.1 asks for.
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = path
            .parse()
            .map_err(|error: http::uri::InvalidUri| SocketError::Request(error.into()))?;
        parts
            .headers
            .entry(HOST)
            .or_insert(http::HeaderValue::from_static("origin"));
        let mut request = Request::from_parts(parts, Full::new(body));
        let answer = async {
            while let Some(mut connection) = self.take_idle().await {
                match connection.sender.try_send_request(request).await {
                    Ok(response) => return Ok(self.answer(connection, response)),
                    Err(mut failed) => match failed.take_message() {
                        // Closed while it was idle: nothing was sent.
                        Some(unsent) => request = unsent,
                        None => return Err(SocketError::Broken(failed.into_error())),
                    },
                }
            }
            let mut connection = self.connect().await?;
            let response = connection.sender.send_request(request).await;
            Ok(self.answer(connection, response.map_err(SocketError::Broken)?))
        };
        match timeout(answer_max, answer).await {
            Ok(answered) => answered,
            Err(_) => Err(SocketError::Silent(answer_max)),
        }
    }

    /// As [`Socket::send_within`], with the time that a read of a source may take.
    ///
    /// # Errors
    /// As [`Socket::send_within`].
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<SocketBody>, SocketError> {
        self.send_within(request, ANSWER_MAX).await
    }

    /// Sends a request and reads the whole answer, at most `bytes_max` of it and all within `answer_max`.
    ///
    /// # Errors
    /// As [`Socket::send_within`], and [`SocketError::TooLong`].
    pub async fn exchange(
        &self,
        request: Request<Bytes>,
        bytes_max: usize,
        answer_max: Duration,
    ) -> Result<Response<Bytes>, SocketError> {
        let exchange = async {
            let (parts, body) = self.send_within(request, answer_max).await?.into_parts();
            match Limited::new(body, bytes_max).collect().await {
                Ok(body) => Ok(Response::from_parts(parts, body.to_bytes())),
                Err(error) => Err(match error.downcast::<SocketError>() {
                    Ok(error) => *error,
                    Err(_) => SocketError::TooLong(bytes_max),
                }),
            }
        };
        match timeout(answer_max, exchange).await {
            Ok(answered) => answered,
            Err(_) => Err(SocketError::Silent(answer_max)),
        }
    }

    fn answer(&self, connection: Connection, response: Response<Incoming>) -> Response<SocketBody> {
        response.map(|inner| SocketBody {
            inner,
            connection: Some(connection),
            pool: self.clone(),
            silence: None,
        })
    }

    /// An idle connection that is still open, the one that was used last.
    async fn take_idle(&self) -> Option<Connection> {
        loop {
            let idle = self.lock().pop_back()?;
            let mut connection = idle.connection;
            if idle.since.elapsed() > IDLE_TIME || connection.sender.is_closed() {
                continue;
            }
            // It was put back at the end of a body; the task behind it may not have noticed yet.
            if connection.sender.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }

    async fn connect(&self) -> Result<Connection, SocketError> {
        let open = Arc::clone(&self.shared.open);
        let Ok(Ok(permit)) = timeout(OPEN_WAIT, open.acquire_owned()).await else {
            return Err(SocketError::Busy);
        };
        // Both the stream and what drives it belong to the runtime that they are made on.
        let connecting = self.shared.runtime.spawn(open_at(self.shared.path.clone()));
        let connected = AbortOnDropHandle::new(connecting).await;
        let (sender, task) = connected.map_err(|stopped| SocketError::Connect {
            path: self.shared.path.clone(),
            source: io::Error::other(stopped),
        })??;
        Ok(Connection {
            sender,
            _task: task,
            _permit: permit,
        })
    }

    fn put_back(&self, connection: Connection) {
        if self.shared.open.available_permits() == 0 {
            return;
        }
        let since = Instant::now();
        let mut idle = self.lock();
        while idle.len() >= IDLE_MAX
            || idle
                .front()
                .is_some_and(|oldest| oldest.since.elapsed() > IDLE_TIME)
        {
            idle.pop_front();
        }
        idle.push_back(Idle { connection, since });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Idle>> {
        self.shared
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A new connection, and the task that drives it.
async fn open_at(
    path: PathBuf,
) -> Result<(SendRequest<Full<Bytes>>, AbortOnDropHandle<()>), SocketError> {
    let connecting = timeout(CONNECT_MAX, UnixStream::connect(&path));
    let connected = connecting.await.map_err(|_| io::ErrorKind::TimedOut.into());
    let stream = connected
        .flatten()
        .map_err(|source| SocketError::Connect { path, source })?;
    let (sender, connection) = http1::Builder::new()
        .handshake(TokioIo::new(stream))
        .await
        .map_err(SocketError::Broken)?;
    let task = tokio::spawn(async move {
        // Whoever waits for an answer is told; an idle connection ends unseen.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the server ended");
        }
    });
    Ok((sender, AbortOnDropHandle::new(task)))
}

/// The body of an answer. Read to its end it gives its connection back.
#[derive(Debug)]
pub struct SocketBody {
    inner: Incoming,
    connection: Option<Connection>,
    pool: Socket,
    silence: Option<Pin<Box<Sleep>>>,
}

impl SocketBody {
    fn end(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.put_back(connection);
        }
    }
}

impl Body for SocketBody {
    type Data = Bytes;
    type Error = SocketError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SocketError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.silence = None;
                match &frame {
                    None => this.end(),
                    Some(Ok(_)) if this.inner.is_end_stream() => this.end(),
                    Some(Ok(_)) => {}
                    Some(Err(_)) => this.connection = None,
                }
                Poll::Ready(frame.map(|frame| frame.map_err(SocketError::Broken)))
            }
            Poll::Pending => {
                let silence = this
                    .silence
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(SILENCE_MAX)));
                ready!(silence.as_mut().poll(cx));
                this.connection = None;
                Poll::Ready(Some(Err(SocketError::Silent(SILENCE_MAX))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for SocketBody {
    fn drop(&mut self) {
        // An answer without a body was never polled.
        if self.inner.is_end_stream() {
            self.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixListener,
    };

    use super::*;

    /// Answers every request of every connection with two bytes.
    async fn serve(listener: UnixListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 1024];
                while stream.read(&mut request).await.is_ok_and(|bytes| bytes > 0) {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    }

    #[tokio::test]
    async fn who_waits_for_a_place_gets_that_of_a_connection_that_comes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("origin.sock");
        let serving = tokio::spawn(serve(UnixListener::bind(&path).expect("a socket")));
        let socket = Socket::of_at_most(2, &path);
        let ask = async || {
            let request = Request::get("/").body(Bytes::new()).expect("a request");
            socket.send(request).await
        };
        let (one, two) = (ask().await.expect("one"), ask().await.expect("two"));
        let three = async {
            let began = Instant::now();
            ask().await.expect("three");
            assert!(began.elapsed() < OPEN_WAIT, "{:?}", began.elapsed());
        };
        let come_back = async {
            // The third looks for an idle one first, and waits.
            tokio::time::sleep(Duration::from_millis(50)).await;
            one.into_body().collect().await.expect("a body");
        };
        tokio::join!(three, come_back);
        // With room for more, they are kept.
        drop(two);
        ask()
            .await
            .expect("four")
            .into_body()
            .collect()
            .await
            .expect("a body");
        assert_eq!(socket.lock().len(), 1);
        serving.abort();
    }
}
