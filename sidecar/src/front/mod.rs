//! What the edge of a process needs, from manifests and secret files: who may read, and TLS. Read again while the process runs.
//!
//! ```text
//!   manifests ── spec.server.access ──> principals ──> KeyRing ─┐
//!       │        spec.server.tls    ──> pair ────────> TlsReload┴─> Front ── watch: files changed? ── replace
//!       └─ <secrets dir>/<secret name>/<key>
//! ```
//!
//! - Rights are of tables: a principal of one manifest reads what that manifest publishes, as far as its globs go, and nothing of another's. A table
//!   whose manifest is in mode Anonymous is read by all, also beside others that ask for keys.
//! - Everything that is wrong at the start is told at once, each with its field, its value and what to do. No problem shows a secret.
//! - [`Front::watch`] looks at the files once a second, through symbolic links, as Kubernetes swaps a `..data` link under a mounted Secret. What has
//!   changed and can be read is taken as a whole; otherwise what is in use stays in use, with one error in the log and a metric. Files that the
//!   system does not let read are tried again by every look.
//! - Cancel: [`Front::watch`] ends with its token or its future; what it had taken stays.

mod certificate;
mod principals;
mod problem;
mod secrets;
mod watched;

pub use problem::Problem;
pub use watched::Look;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;
use vdt_crds::VirtualTable;
use vdt_dialect::{Access, Edge, HttpMetrics, KeyRing, Limits, TlsReload};

use self::certificate::Certificate;
use self::principals::Principals;
use self::secrets::Secrets;
use self::watched::Watched;

/// Between looks at the files. Kubernetes takes a minute to bring a changed Secret; a second more is nothing, and a look costs a few microseconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What [`Front::load`] needs besides the manifests.
#[derive(Debug, Clone, Default)]
pub struct FrontOptions {
    /// Folder of secrets, `<secret name>/<key>` below it.
    pub secrets_dir: Option<PathBuf>,
    /// Whether only this machine can reach the data listener. There, a manifest that says nothing of access is read by all.
    pub listen_is_loopback: bool,
    /// Whether a manifest that says nothing of access is read by all wherever the listener is.
    pub allow_anonymous: bool,
}

/// The edge of a process: who may read, and TLS.
#[derive(Debug)]
pub struct Front {
    access: Access,
    tls: Option<Arc<TlsReload>>,
    keys: Option<Watched<Principals>>,
    certificate: Option<Watched<Certificate>>,
}

/// What one look at the files led to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reload {
    /// Of the principals' secrets.
    pub keys: Look,
    /// Of certificate and key.
    pub certificate: Look,
}

impl Front {
    /// Reads what the manifests of one process say of access and TLS, and the secrets that they name.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the manifests.
    pub fn load(tables: &[VirtualTable], options: &FrontOptions) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        sections_agree(tables, &mut problems);
        let secrets = Secrets::new(options.secrets_dir.clone());
        let principals = Principals::declared(tables, options, &secrets, &mut problems);
        let certificate = Certificate::declared(tables, &secrets, &mut problems);
        let keys = principals.is_needed().then(|| Watched::new(principals));
        let certificate = certificate.map(Watched::new);

        let mut access = Access::Anonymous;
        if let Some(keys) = &keys {
            let (read, public) = keys.from.read(&mut problems);
            match KeyRing::new(read, public) {
                Ok(ring) => access = Access::Keys(Arc::new(ring)),
                Err(error) => problems.push(Problem::of_keys(&error)),
            }
        }
        let mut tls = None;
        if let Some(certificate) = &certificate
            && let Some(pair) = certificate.from.read(&mut problems)
        {
            match TlsReload::new(&pair) {
                Ok(loaded) => tls = Some(Arc::new(loaded)),
                Err(error) => problems.push(certificate.from.broken(&error)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        tls.iter().for_each(|tls| warn_of_expiry(tls));
        if keys.is_some() && tls.is_none() && !options.listen_is_loopback {
            tracing::warn!(
                "access is by keys and the data listener has no TLS: tokens and data can be read on the way, unless something in front encrypts"
            );
        }
        Ok(Self {
            access,
            tls,
            keys,
            certificate,
        })
    }

    /// Who may read.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access.clone()
    }

    /// TLS of the data listener, `None` for plain HTTP.
    #[must_use]
    pub fn tls(&self) -> Option<Arc<TlsReload>> {
        self.tls.clone()
    }

    /// What stands in front of the dialects, with these limits and an access log.
    #[must_use]
    pub fn edge(&self, limits: Limits) -> Edge {
        Edge {
            access: self.access(),
            limits,
            access_log: true,
        }
    }

    /// Looks at the files once, and takes what has changed. Blocks for as long as reading a few small files takes.
    pub fn reload(&self, metrics: &HttpMetrics) -> Reload {
        let mut reload = Reload::default();
        if let (Some(keys), Access::Keys(ring)) = (&self.keys, &self.access) {
            reload.keys = keys.look(|principals, problems| {
                let (read, public) = principals.read(problems);
                if problems.is_empty()
                    && let Err(error) = ring.replace(read, public)
                {
                    problems.push(Problem::of_keys(&error));
                }
            });
            count(reload.keys, |taken| metrics.keys_reloaded(taken));
        }
        if let (Some(certificate), Some(tls)) = (&self.certificate, &self.tls) {
            reload.certificate = certificate.look(|certificate, problems| {
                if let Some(pair) = certificate.read(problems)
                    && let Err(error) = tls.replace(&pair)
                {
                    problems.push(certificate.broken(&error));
                }
            });
            count(reload.certificate, |taken| {
                metrics.certificate_reloaded(taken);
            });
        }
        reload
    }

    /// Reads changed files again until `cancel`.
    pub async fn watch(self: Arc<Self>, metrics: HttpMetrics, cancel: CancellationToken) {
        if self.keys.is_none() && self.certificate.is_none() {
            return;
        }
        let mut clock = tokio::time::interval(LOOK_EVERY);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = clock.tick() => {}
            }
            let (front, metrics) = (Arc::clone(&self), metrics.clone());
            // Files may lie on a file system that hangs.
            let look = tokio::task::spawn_blocking(move || front.reload(&metrics)).await;
            if let Err(error) = look {
                tracing::error!(%error, "the secrets could not be looked at");
            }
        }
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

fn count(look: Look, counted: impl FnOnce(bool)) {
    match look {
        Look::Unchanged => {}
        Look::Taken => counted(true),
        Look::Refused => counted(false),
    }
}

/// One process has one data listener and one cache.
fn sections_agree(tables: &[VirtualTable], problems: &mut Vec<Problem>) {
    let mut servers = tables
        .iter()
        .filter_map(|table| Some((table, table.spec.server.as_ref()?)));
    let Some((first, server)) = servers.next() else {
        return;
    };
    for (table, other) in servers {
        let sections = [
            ("tls", server.tls == other.tls),
            ("cache", server.cache == other.cache),
        ];
        for (section, same) in sections {
            if !same {
                problems.push(Problem::new(
                    table,
                    format!("spec.server.{section}"),
                    format!(
                        "differs from that of {}, which the same process serves",
                        first.owner()
                    ),
                    "write the same in both, or serve them by two processes",
                ));
            }
        }
    }
}
