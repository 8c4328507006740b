//! Requests over a Unix socket: HTTP/1.1, on connections that hyper-util's client keeps and uses again.
//!
//! - At most [`REQUESTS_MAX`] are under way; beyond that a request waits a moment and then fails.
//! - A connection that the server closed while it was idle costs another connection, not an error: the request has not been sent then.
//! - Connections live on the runtime that the socket was made in, whichever thread asks: one that a thread of the data listener made would
//!   wait for the requests of that thread, and end with it.
//! - Clocks: [`CONNECT_MAX`] to connect, [`ANSWER_MAX`] to an answer's headers, [`SILENCE_MAX`] of silence within a body while its reader waits.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri, uri::PathAndQuery};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    rt::Executor,
};
use hyper_util::{
    client::legacy::{self, Client},
    rt::{TokioIo, TokioTimer},
};
use tokio::{
    net::UnixStream,
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tower::Service;

/// Requests at a time: less than the server accepts connections, and than a soft limit of 4,096 open files leaves beside clients.
const REQUESTS_MAX: usize = 1024;
/// Time to wait for one of them to end.
const PERMIT_WAIT: Duration = Duration::from_secs(5);
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
    #[error("as many requests wait for the server as may")]
    Busy,
    /// The server did not answer.
    #[error("the server did not answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// The connection broke, or what came over it was not HTTP.
    #[error("the connection to the server broke")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
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
    client: Client<Connector, Full<Bytes>>,
    permits: Arc<Semaphore>,
}

impl Socket {
    /// The socket at `path`, which need not be there yet. Needs a runtime: connections live on it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::of_at_most(REQUESTS_MAX, path.into())
    }

    fn of_at_most(requests_max: usize, path: PathBuf) -> Self {
        let runtime = Handle::current();
        let client = Client::builder(On(runtime.clone()))
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_MAX)
            .build(Connector {
                path: path.as_path().into(),
                runtime,
            });
        let permits = Arc::new(Semaphore::new(requests_max));
        Self {
            shared: Arc::new(Shared {
                path,
                client,
                permits,
            }),
        }
    }

    /// One to the same server for at most so many requests, which are not counted among those of this one.
    pub(crate) fn beside(&self, requests_max: usize) -> Self {
        Self::of_at_most(requests_max, self.shared.path.clone())
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
        // The client asks in origin form, and names the authority as Host (RFC 9112 3.2).
        let path = parts.uri.into_parts().path_and_query;
        parts.uri = Uri::builder()
            .scheme("http")
            .authority("origin")
            .path_and_query(path.unwrap_or(PathAndQuery::from_static("/")))
            .build()
            .map_err(SocketError::Request)?;
        let request = Request::from_parts(parts, Full::new(body));
        let answer = async {
            let permits = Arc::clone(&self.shared.permits);
            let Ok(Ok(permit)) = timeout(PERMIT_WAIT, permits.acquire_owned()).await else {
                return Err(SocketError::Busy);
            };
            let response = self.shared.client.request(request).await;
            let response = response.map_err(|error| self.failed(error))?;
            Ok(response.map(|inner| SocketBody {
                inner,
                silence: None,
                _permit: permit,
            }))
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

    fn failed(&self, error: legacy::Error) -> SocketError {
        if !error.is_connect() {
            return SocketError::Broken(error.into());
        }
        let cause = error
            .source()
            .and_then(|cause| cause.downcast_ref::<io::Error>());
        SocketError::Connect {
            path: self.shared.path.clone(),
            source: match cause {
                Some(cause) => io::Error::new(cause.kind(), cause.to_string()),
                None => io::Error::other(error),
            },
        }
    }
}

/// Connects to the socket, on the runtime that it was made in.
#[derive(Debug, Clone)]
struct Connector {
    path: Arc<Path>,
    runtime: Handle,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = Arc::clone(&self.path);
        let connecting = self
            .runtime
            .spawn(async move { timeout(CONNECT_MAX, UnixStream::connect(path)).await });
        let connecting = AbortOnDropHandle::new(connecting);
        Box::pin(async move {
            let connected = connecting.await.map_err(io::Error::other)?;
            let stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
            stream.map(TokioIo::new)
        })
    }
}

/// What drives connections runs there too.
#[derive(Debug, Clone)]
struct On(Handle);

impl<F> Executor<F> for On
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// The body of an answer.
#[derive(Debug)]
pub struct SocketBody {
    inner: Incoming,
    silence: Option<Pin<Box<Sleep>>>,
    _permit: OwnedSemaphorePermit,
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
                let broken = |error: hyper::Error| SocketError::Broken(error.into());
                Poll::Ready(frame.map(|frame| frame.map_err(broken)))
            }
            Poll::Pending => {
                let silence = this
                    .silence
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(SILENCE_MAX)));
                ready!(silence.as_mut().poll(cx));
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
    async fn a_request_that_waits_gets_the_permit_of_one_that_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("origin.sock");
        let serving = tokio::spawn(serve(UnixListener::bind(&path).expect("a socket")));
        let socket = Socket::of_at_most(2, path);
        let ask = async || {
            let request = Request::get("/").body(Bytes::new()).expect("a request");
            socket.send(request).await
        };
        let (one, two) = (ask().await.expect("one"), ask().await.expect("two"));
        let mut three = Box::pin(ask());
        assert!(futures::poll!(three.as_mut()).is_pending());
        assert_eq!(socket.shared.permits.available_permits(), 0);
        one.into_body().collect().await.expect("a body");
        three.await.expect("three");
        // What is dropped before its end gives its permit back too.
        drop(two);
        assert_eq!(socket.shared.permits.available_permits(), 2);
        serving.abort();
    }
}
