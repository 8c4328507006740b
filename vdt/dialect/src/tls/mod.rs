//! TLS of a listener: one certificate, replaced while connections go on.
//!
//! - A new pair is parsed and its key compared with its certificate before it is taken; a broken one leaves the old pair in use.
//! - A connection keeps what it was made with; the next handshake gets the new certificate.
//! - TLS 1.2 and 1.3 by rustls with AWS-LC, which encrypts with the widest instructions that the processor has, ALPN `h2` and `http/1.1`. Clients are not asked for certificates.

mod validity;

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::metrics::HttpMetrics;

/// A certificate chain and its key in PEM, with the names under which errors speak of them: paths, as a rule.
#[derive(Clone)]
pub struct PemPair {
    /// Name of the certificate file.
    pub certificate_name: String,
    /// The chain, the server's own certificate first.
    pub certificate: Vec<u8>,
    /// Name of the key file.
    pub key_name: String,
    /// The private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for PemPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PemPair")
            .field("certificate_name", &self.certificate_name)
            .field("key_name", &self.key_name)
            .finish_non_exhaustive()
    }
}

/// Why a pair is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file holds no certificate.
    #[error(
        "{name} holds no PEM certificate: it must hold the server's certificate and then its intermediates, each between BEGIN CERTIFICATE and END CERTIFICATE"
    )]
    NoCertificate {
        /// The file.
        name: String,
    },
    /// A certificate cannot be parsed.
    #[error("certificate {number} of {name} cannot be read: write the file again from its source")]
    BadCertificate {
        /// The file.
        name: String,
        /// Which of its certificates, from 1.
        number: usize,
    },
    /// The key file holds no key.
    #[error(
        "{name} holds no unencrypted PEM private key: it must hold one, PKCS #8, PKCS #1 or SEC 1 (decrypt it with `openssl pkey`)"
    )]
    NoKey {
        /// The file.
        name: String,
    },
    /// The key is of a kind that is not served.
    #[error(
        "the key in {name} is not one that can be used: take an ECDSA key on P-256 or P-384, an Ed25519 key, or an RSA key of 2048 to 8192 bits"
    )]
    BadKey {
        /// The file.
        name: String,
        /// What the cryptography says.
        source: rustls::Error,
    },
    /// The key belongs to another certificate.
    #[error(
        "the key in {key_name} does not belong to the first certificate of {certificate_name}: the server's own certificate comes first, and both files must be of one issue"
    )]
    Mismatch {
        /// The certificate file.
        certificate_name: String,
        /// The key file.
        key_name: String,
    },
    /// The TLS library was built without a protocol version that is needed.
    #[error("no TLS version can be offered")]
    NoVersion {
        /// What the library says.
        source: rustls::Error,
    },
}

/// The certificate of a listener and whatever else a handshake needs. Shared, and replaced from outside.
pub struct TlsReload {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    metrics: OnceLock<HttpMetrics>,
}

/// A pair that was taken.
struct Pair {
    key: Arc<CertifiedKey>,
    /// When the server's certificate begins and ends, in seconds since the epoch; unknown where it is written in a way that only rustls understands.
    validity: Option<(i64, i64)>,
}

struct Current {
    pair: ArcSwap<Pair>,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Current")
    }
}

impl std::fmt::Debug for TlsReload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsReload")
            .field("not_after", &self.not_after())
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.pair.load().key))
    }
}

impl TlsReload {
    /// Takes the first pair.
    ///
    /// # Errors
    /// [`TlsError`], which names the file and says what to do.
    pub fn new(pair: &PemPair) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = Arc::new(Current {
            pair: ArcSwap::from_pointee(parse(pair, &provider)?),
        });
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&current) as _;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::NoVersion { source })?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            current,
            metrics: OnceLock::new(),
        })
    }

    /// Takes another pair for all handshakes from now on.
    ///
    /// # Errors
    /// [`TlsError`]; the pair that was in use stays in use.
    pub fn replace(&self, pair: &PemPair) -> Result<(), TlsError> {
        let parsed = parse(pair, &aws_lc_rs::default_provider())?;
        self.current.pair.store(Arc::new(parsed));
        self.tell_validity();
        Ok(())
    }

    /// When the server's certificate ends, in seconds since the epoch, where that could be read.
    pub fn not_after(&self) -> Option<i64> {
        self.validity().map(|(_, not_after)| not_after)
    }

    fn validity(&self) -> Option<(i64, i64)> {
        self.current.pair.load().validity
    }

    /// Tells these metrics of the certificate from now on.
    pub(crate) fn observe(&self, metrics: &HttpMetrics) {
        let _ = self.metrics.set(metrics.clone());
        self.tell_validity();
    }

    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    fn tell_validity(&self) {
        if let (Some(metrics), Some((not_before, not_after))) =
            (self.metrics.get(), self.validity())
        {
            metrics.certificate_in_use(not_before, not_after);
        }
    }
}

fn parse(pair: &PemPair, provider: &CryptoProvider) -> Result<Pair, TlsError> {
    let name = || pair.certificate_name.clone();
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&pair.certificate) {
        let number = chain.len() + 1;
        chain.push(certificate.map_err(|_| TlsError::BadCertificate {
            name: name(),
            number,
        })?);
    }
    let Some(first) = chain.first() else {
        return Err(TlsError::NoCertificate { name: name() });
    };
    let validity = validity::of(first);
    let key = PrivateKeyDer::from_pem_slice(&pair.key).map_err(|_| TlsError::NoKey {
        name: pair.key_name.clone(),
    })?;
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|source| match source {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch {
            certificate_name: name(),
            key_name: pair.key_name.clone(),
        },
        rustls::Error::InvalidCertificate(_) => TlsError::BadCertificate {
            name: name(),
            number: 1,
        },
        source => TlsError::BadKey {
            name: pair.key_name.clone(),
            source,
        },
    })?;
    Ok(Pair {
        key: Arc::new(key),
        validity,
    })
}
