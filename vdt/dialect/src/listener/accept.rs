//! Where connections come from: TCP and Unix sockets, or whatever else gives streams.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Something that accepts connections. A caller that wants to choose whom to serve wraps a listener and accepts in a loop.
pub trait Listen: Send + 'static {
    /// What is accepted.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next connection. Cancel: no connection may be lost.
    ///
    /// # Errors
    /// When the process or the system is out of something; the call is repeated after a moment.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;

    /// Moves a connection that was just accepted to the runtime that this is called on, so that its thread is the one that wakes when bytes
    /// come. By default it stays with the runtime that accepted it, which works as well, with a detour.
    ///
    /// # Errors
    /// When the system is out of something; the connection is lost.
    fn settle(stream: Self::Stream) -> io::Result<Self::Stream> {
        Ok(stream)
    }
}

/// Who is at the other end of a connection: an extension of every request that a listener of this crate hands to its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A TCP client.
    Tcp(SocketAddr),
    /// A process of this machine, with its user where the kernel tells.
    Unix {
        /// The user id of the process that connected.
        uid: Option<u32>,
    },
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix { uid: Some(uid) } => write!(f, "unix:{uid}"),
            Self::Unix { uid: None } => f.write_str("unix"),
        }
    }
}

impl Listen for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, Peer)> {
        let (stream, address) = TcpListener::accept(self).await?;
        // Small answers must not wait for the acknowledgement of the last one. Best effort.
        let _ = stream.set_nodelay(true);
        // A socket of both families shows those of IPv4 as IPv6.
        let ip = address.ip().to_canonical();
        Ok((stream, Peer::Tcp(SocketAddr::new(ip, address.port()))))
    }

    fn settle(stream: TcpStream) -> io::Result<TcpStream> {
        TcpStream::from_std(stream.into_std()?)
    }
}

impl Listen for UnixListener {
    type Stream = UnixStream;

    async fn accept(&mut self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = UnixListener::accept(self).await?;
        let uid = stream.peer_cred().ok().map(|peer| peer.uid());
        Ok((stream, Peer::Unix { uid }))
    }

    fn settle(stream: UnixStream) -> io::Result<UnixStream> {
        UnixStream::from_std(stream.into_std()?)
    }
}
