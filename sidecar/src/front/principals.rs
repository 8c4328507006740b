//! Principals and their secret files: the credentials with which what [`Rights`] say is read.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use vdt_dialect::KeyRing;
use vdt_dialect::access::{AccessKey, Principal, Secret, Tables};

use super::Problem;
use super::rights::{Declared, Rights};
use super::secrets::{self, Fingerprint, Secrets, Unreadable};

/// Keys of a principal's Secret.
const ACCESS_KEY_ID: &str = "accessKeyId";
const SECRET_ACCESS_KEY: &str = "secretAccessKey";
const TOKEN: &str = "token";

/// Rights, and the credentials of those who have them.
#[derive(Debug)]
pub(super) struct Principals {
    rights: Rights,
    credentials: Vec<Credentials>,
    /// Principals without credentials, as of the last read.
    without: AtomicUsize,
}

/// The Secret of one principal.
#[derive(Debug)]
struct Credentials {
    of: Declared,
    folder: PathBuf,
    /// As the Secret said when it was of use, until it is gone. Without tables: those are what rights say at any time.
    kept: Mutex<Option<Principal>>,
}

/// What a principal's Secret says.
enum Found {
    Credentials(Box<Principal>),
    /// There is none, or nothing in it: that takes all rights away.
    Nothing,
    /// Something that is of no use, such as half a file.
    Broken,
}

impl Principals {
    /// Finds the Secrets of those who have rights; reads none.
    pub(super) fn new(rights: Rights, secrets: &Secrets, problems: &mut Vec<Problem>) -> Self {
        let mut credentials = Vec::new();
        for of in rights.principals() {
            match secrets.folder(&of.holder.secret) {
                Ok(folder) => credentials.push(Credentials {
                    of: of.clone(),
                    folder,
                    kept: Mutex::default(),
                }),
                Err(Unreadable {
                    message, remedy, ..
                }) => problems.push(
                    Problem::of(
                        &of.owner,
                        format!("{}.secretRef.name", of.field),
                        message,
                        remedy,
                    )
                    .with_value(&of.holder.secret),
                ),
            }
        }
        Self {
            rights,
            credentials,
            without: AtomicUsize::new(0),
        }
    }

    /// What may be read by whom.
    pub(super) fn rights(&self) -> &Rights {
        &self.rights
    }

    /// Takes over what Secrets of the same principals said when they were of use.
    pub(super) fn inherit(&self, before: &Self) {
        for one in &self.credentials {
            let mut others = before.credentials.iter();
            if let Some(other) = others.find(|other| other.of.holder == one.of.holder) {
                one.keep(other.kept());
            }
        }
    }

    /// Takes away what `left` does not give too. Returns whether that is anything.
    pub(super) fn narrow(&mut self, left: &Rights) -> bool {
        self.rights.narrow(left)
    }

    /// What the principals' files are like now.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let files: Vec<PathBuf> = self
            .credentials
            .iter()
            .flat_map(|one| {
                [ACCESS_KEY_ID, SECRET_ACCESS_KEY, TOKEN].map(|key| one.folder.join(key))
            })
            .collect();
        secrets::fingerprint(&files)
    }

    /// Reads the principals' secrets. One whose Secret is of no use is as it was, one without a Secret has no credentials; neither is in the way of
    /// the others.
    pub(super) fn read(&self, problems: &mut Vec<Problem>) -> Vec<Principal> {
        for one in &self.credentials {
            one.refresh(problems);
        }
        self.held(problems)
    }

    /// The principals as their secrets were when they were read last.
    pub(super) fn held(&self, problems: &mut Vec<Problem>) -> Vec<Principal> {
        let named = self.credentials.iter();
        let named = named.filter(|one| self.rights.has(&one.of.holder));
        let principals = named.filter_map(|one| {
            Some(Principal {
                tables: self.rights.tables_of(&one.of.holder),
                ..one.kept()?
            })
        });
        let principals = tell_apart(principals, problems);
        let without = self.rights.principals().len();
        let without = without.saturating_sub(principals.len());
        self.without.store(without, Ordering::Relaxed);
        principals
    }

    /// Principals without credentials, as of the last read.
    pub(super) fn without(&self) -> usize {
        self.without.load(Ordering::Relaxed)
    }

    /// Says who may read nothing, which nobody means.
    pub(super) fn tell_of_nothing(&self) {
        for one in self.rights.principals() {
            if self.rights.tables_of(&one.holder).is_empty() {
                tracing::warn!(
                    principal = %one.holder.name,
                    manifest = %one.owner,
                    "the principal's globs match no published table: it may read nothing"
                );
            }
        }
    }
}

/// Leaves out who shows the credentials of another before it: that one entry, for others may have its name.
fn tell_apart(
    principals: impl Iterator<Item = Principal>,
    problems: &mut Vec<Problem>,
) -> Vec<Principal> {
    let mut apart = Vec::new();
    for principal in principals {
        apart.push(principal);
        if let Err(error) = KeyRing::new(apart.clone(), Tables::default()) {
            problems.push(Problem::of_keys(&error));
            apart.pop();
        }
    }
    apart
}

impl Credentials {
    fn kept(&self) -> Option<Principal> {
        self.kept.lock().clone()
    }

    fn keep(&self, principal: Option<Principal>) {
        *self.kept.lock() = principal;
    }

    fn refresh(&self, problems: &mut Vec<Problem>) {
        match self.read(problems) {
            Found::Credentials(principal) => self.keep(Some(*principal)),
            Found::Nothing => self.keep(None),
            Found::Broken => {}
        }
    }

    fn read(&self, problems: &mut Vec<Problem>) -> Found {
        let before = problems.len();
        let mut word = |key: &str| {
            secrets::read_word(&self.folder.join(key)).unwrap_or_else(|unreadable| {
                problems.push(Problem {
                    may_pass: unreadable.may_pass,
                    ..self.problem(unreadable.message, unreadable.remedy)
                });
                None
            })
        };
        let (id, secret, token) = (word(ACCESS_KEY_ID), word(SECRET_ACCESS_KEY), word(TOKEN));
        if problems.len() > before {
            return Found::Broken;
        }
        let access_key = match (id, secret) {
            (None, None) => None,
            (Some(id), Some(_)) if id.contains(['/', ',']) => {
                problems.push(self.problem(
                    format!(
                        "{ACCESS_KEY_ID} holds a slash or a comma, which no signature can carry"
                    ),
                    "make it of letters and digits",
                ));
                return Found::Broken;
            }
            (Some(id), Some(secret)) => Some(AccessKey {
                id,
                secret: Secret::new(secret),
            }),
            (Some(_), None) | (None, Some(_)) => {
                problems.push(self.problem(
                    format!(
                        "{} has one of {ACCESS_KEY_ID} and {SECRET_ACCESS_KEY} and not the other",
                        self.folder.display()
                    ),
                    "write both, or neither and a token",
                ));
                return Found::Broken;
            }
        };
        if access_key.is_none() && token.is_none() {
            problems.push(self.problem(
                format!("{} holds no credentials", self.folder.display()),
                format!("write {ACCESS_KEY_ID} and {SECRET_ACCESS_KEY} for S3 clients, {TOKEN} for the others, or all three, each a file there"),
            ));
            return Found::Nothing;
        }
        Found::Credentials(Box::new(Principal {
            name: self.of.holder.name.clone(),
            access_key,
            token: token.map(Secret::new),
            tables: Tables::default(),
        }))
    }

    fn problem(&self, message: impl Into<String>, remedy: impl Into<String>) -> Problem {
        let field = format!("{}.secretRef", self.of.field);
        Problem::of(&self.of.owner, field, message, remedy).with_value(&self.of.holder.secret)
    }
}
