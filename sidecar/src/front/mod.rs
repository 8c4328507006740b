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
//!   changed and can be read is taken as a whole; otherwise what is in use stays in use, with one error in the log and a metric.
//! - Cancel: [`Front::watch`] ends with its token or its future; what it had taken stays.

mod certificate;
mod principals;
mod problem;
mod secrets;

pub use problem::Problem;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;
use vdt_crds::VirtualTable;
use vdt_dialect::{Access, Edge, HttpMetrics, KeyRing, Limits, TlsReload};

use self::certificate::Certificate;
use self::principals::Principals;
use self::secrets::{Fingerprint, Secrets};

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

/// Something made of secret files, and what the files were like when it was made or last tried.
#[derive(Debug)]
struct Watched<T> {
    from: T,
    seen: Mutex<Fingerprint>,
}

/// What one look at the files led to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reload {
    /// Of the principals' secrets.
    pub keys: Look,
    /// Of certificate and key.
    pub certificate: Look,
}

/// What became of files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Look {
    /// They are as they were, or there are none.
    #[default]
    Unchanged,
    /// They changed, and what they say is in use.
    Taken,
    /// They changed, and cannot be used; what was in use stays in use.
    Refused,
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

impl<T: Source> Watched<T> {
    fn new(from: T) -> Self {
        // Before the files are read: what changes meanwhile is noticed by the first look.
        let seen = Mutex::new(from.files());
        Self { from, seen }
    }

    /// Takes what has changed by `take`, which tells what is wrong.
    fn look(&self, take: impl FnOnce(&T, &mut Vec<Problem>)) -> Look {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.from.files();
        if *seen == now {
            return Look::Unchanged;
        }
        let mut problems = Vec::new();
        take(&self.from, &mut problems);
        // Files that changed again while they were read differ from this, and are read again by the next look.
        *seen = now;
        if problems.is_empty() {
            tracing::info!(what = T::NAME, "secrets changed and are in use");
            return Look::Taken;
        }
        for problem in &problems {
            tracing::error!(what = T::NAME, %problem, "changed secrets are not used; what was in use stays in use");
        }
        Look::Refused
    }
}

/// What is made of secret files.
trait Source {
    /// As the log calls it.
    const NAME: &'static str;

    /// What the files are like now.
    fn files(&self) -> Fingerprint;
}

impl Source for Principals {
    const NAME: &'static str = "keys";

    fn files(&self) -> Fingerprint {
        self.fingerprint()
    }
}

impl Source for Certificate {
    const NAME: &'static str = "certificate";

    fn files(&self) -> Fingerprint {
        self.fingerprint()
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
