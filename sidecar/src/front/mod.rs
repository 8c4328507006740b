//! What the edge of a process needs, from manifests and secret files: who may read, and TLS. Read again while the process runs.
//!
//! ```text
//!   manifests ── spec.server.access ──> Rights ── principals ──> KeyRing ──┐
//!       │        spec.server.tls    ──> pair ──────────────────> TlsReload ┴─> Front ── watch: files changed? ── replace
//!       └─ <secrets dir>/<secret name>/<key>
//! ```
//!
//! - Rights are of tables: a principal of one manifest reads what that manifest publishes, as far as its globs go, and nothing of another's. A table
//!   whose manifest is in mode Anonymous is read by all, also beside others that ask for keys. What no manifest declares is read by nobody,
//!   though the state or the cache may hold it.
//! - A manifest that says nothing of access is read by all where only this machine reaches the listener. As long as there is one, who shows no
//!   credentials must name this machine: a browser would tell the answers to any site that has its name resolve to loopback.
//! - Everything that is wrong at the start is told at once, each with its field, its value and what to do. No problem shows a secret. In a pod,
//!   where Secrets come and go by themselves, those that are missing or of no use do not end the start ([`FrontOptions::secrets_may_come`]).
//! - [`Front::redeclare`] takes other principals and rights while the process runs, all or none. Whether there are keys at all, and TLS, stay.
//!   Manifests that are not taken give nothing, and take away all the same: a principal that is gone, and whatever table is not given to whom it was
//!   given ([`Front::narrow`]). Only rights to tables that waited for the server are given meanwhile, as far as those that were taken last and the
//!   newest both give them.
//! - [`Front::watch`] looks at the files once a second, through symbolic links, as Kubernetes swaps a `..data` link under a mounted Secret. What has
//!   changed and can be used is taken, each principal for itself. Of a principal whose Secret is of no use what it had stays in use, and of the
//!   certificate too, with one error in the log and a metric; a Secret that is gone or empty takes its principal's credentials away. Files that
//!   the system does not let read are tried again by every look.
//! - Cancel: [`Front::watch`] ends with its token or its future; what it had taken stays, and a look under way is taken or not, as a whole.

mod certificate;
mod listener;
mod principals;
mod problem;
mod rights;
mod secrets;
mod sections;
mod watched;

pub use problem::Problem;
pub use watched::Outcome;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vdt_crds::{Tls, VirtualTable};
use vdt_dialect::{
    Access, Edge, HttpMetrics, Limits, TlsReload,
    access::{KeyRingError, OwnNames, Principal},
};

use self::certificate::Certificate;
use self::principals::Principals;
use self::rights::Rights;
use self::secrets::Secrets;
use self::sections::{declared_tls, sections_agree};
use self::watched::Watched;
use crate::files::LOOK_EVERY;
use crate::process::every;

/// What [`Front::load`] needs besides the manifests.
#[derive(Debug, Clone, Default)]
pub struct FrontOptions {
    /// Folder of secrets, `<secret name>/<key>` below it.
    pub secrets_dir: Option<PathBuf>,
    /// Whether only this machine can reach the data listener. There, a manifest that says nothing of access is read by all.
    pub listen_is_loopback: bool,
    /// Whether a manifest that says nothing of access is read by all wherever the listener is.
    pub allow_anonymous: bool,
    /// Whether secrets that are missing or of no use are waited for, instead of being errors of the start: a principal has no credentials until its
    /// Secret is good, and [`Front::secured`] waits for the certificate.
    pub secrets_may_come: bool,
}

/// The edge of a process: who may read, and TLS.
#[derive(Debug)]
pub struct Front {
    options: FrontOptions,
    /// As declared at the start.
    declared_tls: Tls,
    /// Of the kind that the manifests of the start ask for.
    access: Access,
    own_names: Arc<OwnNames>,
    principals: RwLock<Watched<Principals>>,
    /// None for plain HTTP, and while the certificate is waited for.
    tls: watch::Sender<Option<Arc<TlsReload>>>,
    certificate: Option<Watched<Certificate>>,
}

/// What one look at the files led to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reload {
    /// Of the principals' secrets.
    pub keys: Outcome,
    /// Of certificate and key.
    pub certificate: Outcome,
}

impl Front {
    /// Reads what the manifests of one process say of access and TLS, and the secrets that they name.
    ///
    /// # Errors
    /// Everything that is wrong; of the secrets' content only where they may not come later.
    pub fn load(tables: &[VirtualTable], options: &FrontOptions) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        sections_agree(tables, &mut problems);
        let secrets = Secrets::new(options.secrets_dir.clone());
        let rights = Rights::of(tables, options, &mut problems);
        let access = match rights.ask_for_keys() {
            true => Access::Keys(Arc::default()),
            false => Access::Anonymous(Arc::default()),
        };
        let principals = Watched::new(Principals::new(rights, &secrets, &mut problems));
        let certificate = Certificate::declared(tables, &secrets, &mut problems).map(Watched::new);

        let (mut of_keys, mut of_tls) = (Vec::new(), Vec::new());
        let read = principals.from.read(&mut of_keys);
        let tls = certificate
            .as_ref()
            .and_then(|certificate| certificate.from.load(&mut of_tls));
        if options.secrets_may_come && problems.is_empty() {
            principals.first_read(&of_keys);
            certificate
                .iter()
                .for_each(|certificate| certificate.first_read(&of_tls));
        } else {
            problems.append(&mut of_keys);
            problems.append(&mut of_tls);
        }
        let front = Self {
            options: options.clone(),
            declared_tls: declared_tls(tables),
            access,
            own_names: Arc::default(),
            principals: RwLock::new(principals),
            tls: watch::Sender::new(tls),
            certificate,
        };
        let principals = front.principals.read();
        if let Err(error) = front.put(&principals.from, read) {
            problems.push(Problem::of_keys(&error));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        principals.from.tell_of_nothing();
        drop(principals);
        if front.has_keys() && front.certificate.is_none() && !options.listen_is_loopback {
            tracing::warn!(
                "access is by keys and the data listener has no TLS: tokens and data can be read on the way, unless something in front encrypts"
            );
        }
        Ok(front)
    }

    /// Takes what other manifests say of principals and rights, for all requests that begin from now on. Blocks for a few small files.
    ///
    /// # Errors
    /// Everything that is wrong, of secrets' content only where they may not come later, and what only a new process can take; then all stays as it
    /// was but for what the manifests take away ([`Front::narrow`]).
    pub fn redeclare(&self, tables: &[VirtualTable]) -> Result<(), Vec<Problem>> {
        self.redeclare_except(tables, &BTreeSet::new())
    }

    /// As [`Self::redeclare`], but for rights to the tables at the paths `awaited`, which nobody has yet.
    pub(crate) fn redeclare_except(
        &self,
        tables: &[VirtualTable],
        awaited: &BTreeSet<String>,
    ) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        sections_agree(tables, &mut problems);
        let mut rights = Rights::of(tables, &self.options, &mut problems);
        let is_awaited = |table: &&VirtualTable| awaited.contains(&table.table_path());
        for table in tables.iter().filter(is_awaited) {
            rights.withhold(table);
        }
        if let Some(first) = tables.first() {
            if declared_tls(tables) != self.declared_tls {
                problems.push(Problem::fixed(first, "spec.server.tls"));
            }
            if rights.ask_for_keys() != self.has_keys() {
                problems.push(Problem::fixed(first, "spec.server.access.mode"));
            }
        }
        if problems.is_empty() && *self.principals.read().from.rights() == rights {
            return Ok(());
        }
        let taken = self.replace(rights.clone(), problems);
        if taken.is_err() {
            self.keep_within(&rights);
        } else if awaited.is_empty() {
            self.principals.read().from.tell_of_nothing();
        }
        taken
    }

    /// Has these rights decide, unless there are `problems` already, or others with the secrets.
    fn replace(&self, rights: Rights, mut problems: Vec<Problem>) -> Result<(), Vec<Problem>> {
        let secrets = Secrets::new(self.options.secrets_dir.clone());
        let others = Principals::new(rights, &secrets, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut principals = self.principals.write();
        others.inherit(&principals.from);
        let watched = Watched::new(others);
        let mut of_keys = Vec::new();
        let read = watched.from.read(&mut of_keys);
        if !of_keys.is_empty() && !self.options.secrets_may_come {
            return Err(of_keys);
        }
        self.put(&watched.from, read)
            .map_err(|error| vec![Problem::of_keys(&error)])?;
        watched.first_read(&of_keys);
        *principals = watched;
        Ok(())
    }

    /// Takes away what `tables`, which are not taken otherwise, do not give too: who is revoked, and what is withdrawn or asks for keys now, must not
    /// wait for a restart or for the mend of something else. Gives nothing, and reads no secret.
    pub fn narrow(&self, tables: &[VirtualTable]) {
        // What is wrong is told by who takes them.
        self.keep_within(&Rights::of(tables, &self.options, &mut Vec::new()));
    }

    /// Gives what nobody has any right to yet of the tables of `last`, which were taken, though `now`, which are newer, are not: as far as both give it,
    /// and but for those that are `held` back. Returns whether nothing was in the way, such as a secret.
    pub(crate) fn give_awaited(
        &self,
        last: &[VirtualTable],
        now: &[VirtualTable],
        held: impl Fn(&VirtualTable) -> bool,
    ) -> bool {
        // What is wrong is told by who takes them.
        let mut problems = Vec::new();
        let mut both = Rights::of(last, &self.options, &mut problems);
        let mut is_any_held = false;
        for table in last.iter().filter(|table| held(table)) {
            both.withhold(table);
            is_any_held = true;
        }
        both.narrow(&Rights::of(now, &self.options, &mut problems));
        let mut rights = self.principals.read().from.rights().clone();
        if !rights.add(&both) {
            return true;
        }
        if let Err(problems) = self.replace(rights, Vec::new()) {
            tracing::debug!(?problems, "rights that waited for the server wait on");
            return false;
        }
        tracing::info!("rights that waited for the server are given");
        if !is_any_held {
            self.principals.read().from.tell_of_nothing();
        }
        true
    }

    fn keep_within(&self, rights: &Rights) {
        let mut principals = self.principals.write();
        if !principals.from.narrow(rights) {
            return;
        }
        // What is wrong with the secrets is told by the looks at them.
        let held = principals.from.held(&mut Vec::new());
        match self.put(&principals.from, held) {
            Ok(()) => tracing::info!("rights that the manifests do not give are taken away"),
            Err(error) => tracing::error!(%error, "rights are not taken away"),
        }
    }

    /// Has all requests that begin from now on decided by these principals, with the credentials that were `read`.
    fn put(&self, principals: &Principals, read: Vec<Principal>) -> Result<(), KeyRingError> {
        let rights = principals.rights();
        let own_names = rights.are_by_silence();
        // Between the two steps the stricter of both holds.
        self.own_names
            .require(own_names || self.own_names.are_required());
        match &self.access {
            Access::Everything => {}
            Access::Anonymous(public) => public.replace(rights.public()),
            Access::Keys(ring) => ring.replace(read, rights.public())?,
        }
        self.own_names.require(own_names);
        Ok(())
    }

    fn has_keys(&self) -> bool {
        matches!(self.access, Access::Keys(_))
    }

    /// Who may read.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access.clone()
    }

    /// TLS of the data listener, `None` for plain HTTP and while its certificate is waited for.
    #[must_use]
    pub fn tls(&self) -> Option<Arc<TlsReload>> {
        self.tls.borrow().clone()
    }

    /// TLS of the data listener, `None` for plain HTTP. Waits until [`Front::watch`] has found the certificate, if there is none yet.
    pub async fn secured(&self) -> Option<Arc<TlsReload>> {
        self.certificate.as_ref()?;
        let mut tls = self.tls.subscribe();
        // The sender is of this very object.
        let tls = tls.wait_for(Option::is_some).await.ok()?;
        tls.clone()
    }

    /// What stands in front of the dialects, with these limits and an access log.
    #[must_use]
    pub fn edge(&self, limits: Limits) -> Edge {
        Edge {
            access: self.access(),
            own_names: Arc::clone(&self.own_names),
            limits,
            access_log: true,
        }
    }

    /// Looks at the files once, and takes what has changed. Blocks for as long as reading a few small files takes.
    pub fn reload(&self, metrics: &HttpMetrics) -> Reload {
        let mut reload = Reload::default();
        if self.has_keys() {
            let watched = self.principals.read();
            reload.keys = watched.check(|principals, problems| {
                let read = principals.read(problems);
                let put = self.put(principals, read);
                problems.extend(put.err().map(|error| Problem::of_keys(&error)));
            });
            count(reload.keys, |taken| metrics.keys_reloaded(taken));
            metrics.keys_refused(watched.are_refused());
            metrics.principals_without_credentials(watched.from.without());
        }
        if let Some(certificate) = &self.certificate {
            reload.certificate = certificate.check(|certificate, problems| match self.tls() {
                Some(tls) => certificate.replace(&tls, problems),
                None => {
                    if let Some(first) = certificate.load(problems) {
                        self.tls.send_replace(Some(first));
                    }
                }
            });
            count(reload.certificate, |taken| {
                metrics.certificate_reloaded(taken);
            });
            metrics.certificate_refused(certificate.are_refused());
        }
        reload
    }

    /// Reads changed files again until `cancel`, which does not wait for a look that hangs.
    pub async fn watch(self: Arc<Self>, metrics: HttpMetrics, cancel: CancellationToken) {
        cancel.run_until_cancelled(self.looks(metrics)).await;
    }

    async fn looks(self: Arc<Self>, metrics: HttpMetrics) {
        if !self.has_keys() && self.certificate.is_none() {
            return;
        }
        let mut ticks = every(LOOK_EVERY);
        loop {
            ticks.tick().await;
            let (front, metrics) = (Arc::clone(&self), metrics.clone());
            // Files may lie on a file system that hangs.
            let look = tokio::task::spawn_blocking(move || front.reload(&metrics)).await;
            if let Err(error) = look {
                tracing::error!(%error, "the secrets could not be looked at");
            }
        }
    }
}

fn count(outcome: Outcome, counted: impl FnOnce(bool)) {
    match outcome {
        Outcome::Unchanged => {}
        Outcome::Taken => counted(true),
        Outcome::Refused => counted(false),
    }
}
