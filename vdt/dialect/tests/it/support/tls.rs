//! A certificate authority of the test, and raw clients that trust it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use vdt_dialect::PemPair;

/// The name that every certificate is for.
const NAME: &str = "localhost";

pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    /// The authority's own certificate, for clients.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Another certificate for localhost.
    pub(crate) fn issue(&self) -> PemPair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2040, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        PemPair {
            certificate_name: "tls.crt".to_owned(),
            certificate: certificate.pem().into_bytes(),
            key_name: "tls.key".to_owned(),
            key: key.serialize_pem().into_bytes(),
        }
    }

    /// A client that offers these protocols.
    pub(crate) fn client(&self, protocols: &[&str]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Every handshake is a whole one, and shows a certificate.
        config.resumption = rustls::client::Resumption::disabled();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        TlsConnector::from(Arc::new(config))
    }
}

/// Connects and shakes hands.
pub(crate) async fn connect(
    client: &TlsConnector,
    address: SocketAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    client
        .connect(ServerName::try_from(NAME).unwrap(), stream)
        .await
}

/// A client of HTTP/2 on a connection of its own, which is a task.
pub(crate) async fn http2(
    authority: &Authority,
    address: SocketAddr,
) -> (
    SendRequest<Empty<Bytes>>,
    JoinHandle<Result<(), hyper::Error>>,
) {
    let stream = connect(&authority.client(&["h2"]), address).await.unwrap();
    let shaken = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = shaken.await.unwrap();
    (sender, tokio::spawn(connection))
}

/// The certificate that the server showed.
pub(crate) fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}
