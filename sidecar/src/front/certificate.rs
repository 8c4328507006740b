//! Certificate and key of the data listener.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use vdt_crds::{TlsMode, VirtualTable};
use vdt_dialect::tls::TlsError;
use vdt_dialect::{PemPair, TlsReload};

use super::Problem;
use super::secrets::{self, Fingerprint, Secrets, Unreadable};
use crate::config::servers;

/// Keys of a kubernetes.io/tls Secret.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// Where certificate and key lie, and which manifest says so.
#[derive(Debug)]
pub(super) struct Certificate {
    owner: String,
    field: &'static str,
    secret: String,
    files: [PathBuf; 2],
}

impl Certificate {
    /// Reads the manifests; those that say something of TLS say the same, or that is a problem by itself. `None` for plain HTTP.
    pub(super) fn declared(
        tables: &[VirtualTable],
        secrets: &Secrets,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let (table, server) = servers(tables).next()?;
        let tls = &server.tls;
        let (field, secret) = match tls.mode {
            TlsMode::Disabled => return None,
            // Which must be set is a rule of the resource.
            TlsMode::Secret => (
                "spec.server.tls.secretRef.name",
                tls.secret_ref.as_ref()?.name.clone(),
            ),
            TlsMode::CertManager => ("spec.server.tls.issuerRef", issued_secret(table)),
        };
        match secrets.folder(&secret) {
            Ok(folder) => Some(Self {
                owner: table.owner(),
                field,
                secret,
                files: [folder.join(CERTIFICATE), folder.join(KEY)],
            }),
            Err(Unreadable {
                message, remedy, ..
            }) => {
                problems.push(Problem::new(table, field, message, remedy).with_value(&secret));
                None
            }
        }
    }

    /// What the files are like now.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        secrets::fingerprint(&self.files)
    }

    /// Reads the pair and begins to serve with it.
    pub(super) fn load(&self, problems: &mut Vec<Problem>) -> Option<Arc<TlsReload>> {
        let tls = TlsReload::new(&self.read(problems)?)
            .map_err(|error| problems.push(self.broken(&error)))
            .ok()?;
        warn_of_expiry(&tls);
        Some(Arc::new(tls))
    }

    /// Reads the pair and puts it in the place of that which is in use.
    pub(super) fn replace(&self, tls: &TlsReload, problems: &mut Vec<Problem>) {
        if let Some(pair) = self.read(problems)
            && let Err(error) = tls.replace(&pair)
        {
            problems.push(self.broken(&error));
        }
    }

    /// Reads both files.
    fn read(&self, problems: &mut Vec<Problem>) -> Option<PemPair> {
        let mut read = |path: &PathBuf| match secrets::read(path) {
            Ok(Some(bytes)) => Some(bytes),
            Ok(None) => {
                problems.push(self.problem(
                    format!("there is no file {}", path.display()),
                    "put certificate and key there, as tls.crt and tls.key, in PEM",
                ));
                None
            }
            Err(Unreadable {
                message,
                remedy,
                may_pass,
            }) => {
                problems.push(Problem {
                    may_pass,
                    ..self.problem(message, &remedy)
                });
                None
            }
        };
        let [certificate, key] = &self.files;
        let (chain, secret) = (read(certificate), read(key));
        Some(PemPair {
            certificate_name: certificate.display().to_string(),
            certificate: chain?,
            key_name: key.display().to_string(),
            key: secret?,
        })
    }

    /// A pair that cannot be used.
    fn broken(&self, error: &TlsError) -> Problem {
        Problem {
            remedy: None,
            ..self.problem(error.to_string(), "")
        }
    }

    fn problem(&self, message: String, remedy: &str) -> Problem {
        Problem::of(&self.owner, self.field, message, remedy).with_value(&self.secret)
    }
}

/// A certificate that has ended is served all the same: clients say so better than a listener that is not there.
fn warn_of_expiry(tls: &TlsReload) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs().cast_signed());
    if let Some(not_after) = tls.not_after().filter(|not_after| *not_after <= now) {
        tracing::warn!(
            not_after,
            "the certificate of the data listener has ended; clients will refuse it"
        );
    }
}

/// The Secret that cert-manager writes: named after the resource, so that nobody has to name it.
fn issued_secret(table: &VirtualTable) -> String {
    format!("{}-tls", table.metadata.name.as_deref().unwrap_or_default())
}
