//! One connection: requests one after another, bodies read to their end and counted.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderName, HeaderValue, RANGE};
use hyper::{StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::plan::Request;

/// Where requests go.
pub(crate) struct Server {
    host: String,
    address: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Server {
    pub(crate) fn new(
        url: &str,
        cacert: Option<&Path>,
        headers: &[String],
    ) -> anyhow::Result<Self> {
        let uri: Uri = url
            .parse()
            .with_context(|| format!("{url} is no URL of a server"))?;
        let authority = uri.authority().context("the URL names no host")?;
        let is_https = uri.scheme_str() == Some("https");
        let port = authority
            .port_u16()
            .unwrap_or(if is_https { 443 } else { 80 });
        let tls = if is_https {
            let mut roots = rustls::RootCertStore::empty();
            let file = cacert.context("https needs --cacert")?;
            for certificate in CertificateDer::pem_file_iter(file)? {
                roots.add(certificate?)?;
            }
            let config = rustls::ClientConfig::builder()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let name = ServerName::try_from(authority.host().to_owned())?;
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        let headers = headers
            .iter()
            .map(|header| {
                let (name, value) = header
                    .split_once(':')
                    .with_context(|| format!("{header:?} is no header: write name: value"))?;
                Ok((name.trim().parse()?, value.trim().parse()?))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            host: authority.to_string(),
            address: format!("{}:{port}", authority.host()),
            tls,
            headers,
        })
    }
}

/// A body that was read.
pub(crate) struct Answer {
    pub(crate) bytes: u64,
    pub(crate) first_byte: Instant,
    pub(crate) end: Instant,
}

/// An idle connection. A failed request uses it up.
pub(crate) struct Connection(SendRequest<Empty<Bytes>>);

impl Connection {
    /// The idle connection, or a new one where there is none or the server has closed it.
    pub(crate) async fn reuse(idle: Option<Self>, server: &Server) -> anyhow::Result<Self> {
        if let Some(mut idle) = idle
            && idle.0.ready().await.is_ok()
        {
            return Ok(idle);
        }
        Self::open(server).await
    }

    async fn open(server: &Server) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(&server.address).await?;
        stream.set_nodelay(true)?;
        let sender = match &server.tls {
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await?;
                let (sender, connection) = handshake(TokioIo::new(stream)).await?;
                tokio::task::spawn_local(connection);
                sender
            }
            None => {
                let (sender, connection) = handshake(TokioIo::new(stream)).await?;
                tokio::task::spawn_local(connection);
                sender
            }
        };
        Ok(Self(sender))
    }

    /// Sends a request and reads its body.
    pub(crate) async fn get(
        mut self,
        server: &Server,
        request: &Request<'_>,
    ) -> anyhow::Result<(Self, Answer)> {
        let mut built = hyper::Request::get(request.path)
            .header(HOST, &server.host)
            .header(RANGE, format!("bytes={}-{}", request.first, request.last));
        for (name, value) in &server.headers {
            built = built.header(name, value);
        }
        let response = self.0.send_request(built.body(Empty::new())?).await?;
        let first_byte = Instant::now();
        let status = response.status();
        let mut body = response.into_body();
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame?.data_ref().map_or(0, |data| data.len() as u64);
        }
        let wanted = request.last - request.first + 1;
        if status != StatusCode::PARTIAL_CONTENT || bytes != wanted {
            bail!(
                "{}: {status} with {bytes} bytes, wanted 206 with {wanted}",
                request.path
            );
        }
        Ok((
            self,
            Answer {
                bytes,
                first_byte,
                end: Instant::now(),
            },
        ))
    }
}
