//! One connection: requests one after another, bodies read to their end and counted.
//!
//! A client of its own, because a general one costs the generator as much time for each request as a good server needs: requests are one
//! write, heads are parsed in place, bodies are read into one buffer and forgotten. It speaks what a cache answers to a ranged GET: HTTP/1.1 with
//! Content-Length. Everything else is an error of the request.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::plan::Request;

/// Bytes read at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// Headers of a response at most.
const HEADERS_MAX: usize = 64;

/// What a plain and a TLS connection have in common.
trait Stream: AsyncRead + AsyncWrite {}

impl<S: AsyncRead + AsyncWrite> Stream for S {}

/// Where requests go.
pub(crate) struct Server {
    address: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// The lines of every request behind the first two.
    headers: String,
}

impl Server {
    /// `url` is `http://host:port` or `https://host:port`; a port may be left out.
    pub(crate) fn new(
        url: &str,
        cacert: Option<&Path>,
        headers: &[String],
    ) -> anyhow::Result<Self> {
        let no_url = || format!("{url} is no URL of a server: write http://host:port");
        let (scheme, rest) = url.split_once("://").with_context(no_url)?;
        let is_https = match scheme {
            "http" => false,
            "https" => true,
            _ => bail!(no_url()),
        };
        let authority = rest.trim_end_matches('/');
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse::<u16>().with_context(no_url)?),
            None => (authority, if is_https { 443 } else { 80 }),
        };
        let tls = if is_https {
            let mut roots = rustls::RootCertStore::empty();
            let file = cacert.context("https needs --cacert")?;
            for certificate in CertificateDer::pem_file_iter(file)? {
                roots.add(certificate?)?;
            }
            let config = rustls::ClientConfig::builder()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let name = ServerName::try_from(host.to_owned())?;
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        let mut lines = format!("Host: {authority}\r\n");
        for header in headers {
            let (name, value) = header
                .split_once(':')
                .filter(|_| !header.contains(['\r', '\n']))
                .with_context(|| format!("{header:?} is no header: write name: value"))?;
            lines += &format!("{}: {}\r\n", name.trim(), value.trim());
        }
        Ok(Self {
            address: format!("{host}:{port}"),
            tls,
            headers: lines + "\r\n",
        })
    }
}

/// A body that was read.
pub(crate) struct Answer {
    pub(crate) bytes: u64,
    pub(crate) first_byte: Instant,
    pub(crate) end: Instant,
}

/// The head of a response.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Bytes of the head itself.
    bytes: usize,
    body_bytes: u64,
    is_last: bool,
}

/// An idle connection. A failed request uses it up, and so does a server that says it will close.
pub(crate) struct Connection {
    stream: Pin<Box<dyn Stream>>,
    buffer: Box<[u8]>,
    is_over: bool,
}

impl Connection {
    /// The idle connection, or a new one where there is none or the server closes it.
    pub(crate) async fn reuse(idle: Option<Self>, server: &Server) -> anyhow::Result<Self> {
        match idle {
            Some(idle) if !idle.is_over => Ok(idle),
            _ => Self::open(server).await,
        }
    }

    async fn open(server: &Server) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(&server.address).await?;
        stream.set_nodelay(true)?;
        let stream: Pin<Box<dyn Stream>> = match &server.tls {
            Some((connector, name)) => Box::pin(connector.connect(name.clone(), stream).await?),
            None => Box::pin(stream),
        };
        Ok(Self {
            stream,
            buffer: vec![0; BUFFER_BYTES].into(),
            is_over: false,
        })
    }

    /// Sends a request and reads its body.
    pub(crate) async fn get(
        mut self,
        server: &Server,
        request: &Request<'_>,
    ) -> anyhow::Result<(Self, Answer)> {
        let (path, headers) = (request.path, &server.headers);
        let sent = format!(
            "GET {path} HTTP/1.1\r\nRange: bytes={}-{}\r\n{headers}",
            request.first, request.last
        );
        self.stream.write_all(sent.as_bytes()).await?;
        self.stream.flush().await?;
        let (head, mut filled) = self.head().await?;
        let first_byte = Instant::now();
        let wanted = request.last - request.first + 1;
        if head.status != 206 || head.body_bytes != wanted {
            let (status, bytes) = (head.status, head.body_bytes);
            bail!("{path}: {status} with {bytes} bytes, wanted 206 with {wanted}");
        }
        let mut bytes = (filled - head.bytes) as u64;
        while bytes < wanted {
            filled = self.stream.read(&mut self.buffer).await?;
            if filled == 0 {
                bail!("{path}: the body ended after {bytes} of {wanted} bytes");
            }
            bytes += filled as u64;
        }
        if bytes > wanted {
            bail!("{path}: {bytes} bytes came, wanted {wanted}");
        }
        self.is_over = head.is_last;
        let end = Instant::now();
        Ok((
            self,
            Answer {
                bytes,
                first_byte,
                end,
            },
        ))
    }

    /// Reads a head, and with it the bytes behind it that came at once: how many the buffer holds in all.
    async fn head(&mut self) -> anyhow::Result<(Head, usize)> {
        let mut filled = 0;
        loop {
            let came = self.stream.read(&mut self.buffer[filled..]).await?;
            if came == 0 {
                bail!("the server closed the connection before the head of its answer ended");
            }
            filled += came;
            if let Some(head) = parse(&self.buffer[..filled])? {
                return Ok((head, filled));
            }
        }
    }
}

/// Parses a head; `None` while it has not ended.
fn parse(bytes: &[u8]) -> anyhow::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(bytes)? else {
        return Ok(None);
    };
    let value = |name: &str| {
        response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))
            .and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let body_bytes = value("content-length").context("an answer without Content-Length")?;
    Ok(Some(Head {
        status: response.code.unwrap_or(0),
        bytes: length,
        body_bytes: body_bytes.trim().parse()?,
        is_last: value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_parsed_once_it_has_ended() {
        let text =
            b"HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nConnection: close\r\n\r\nab";
        for length in 0..text.len() - 2 {
            assert_eq!(parse(&text[..length]).expect("so far"), None, "{length}");
        }
        let expected = Head {
            status: 206,
            bytes: text.len() - 2,
            body_bytes: 5,
            is_last: true,
        };
        assert_eq!(parse(text).expect("sound"), Some(expected));
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn servers_are_named_by_their_url() {
        let server = Server::new("http://h:81/", None, &["a:b ".into()]).expect("a server");
        assert_eq!(server.address, "h:81");
        assert_eq!(server.headers, "Host: h:81\r\na: b\r\n\r\n");
        let server = Server::new("http://h", None, &[]).expect("a server");
        assert_eq!(server.address, "h:80");
        for bad in ["h:80", "ftp://h", "http://h:x", "https://h"] {
            assert!(Server::new(bad, None, &[]).is_err(), "{bad}");
        }
        assert!(Server::new("http://h", None, &["a: b\r\nc: d".into()]).is_err());
    }
}
