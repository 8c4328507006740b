//! Principals of all manifests, and what each may read.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use vdt_crds::{Access, AccessMode, VirtualTable};
use vdt_dialect::KeyRing;
use vdt_dialect::access::{AccessKey, Principal, Secret, Tables};

use super::secrets::{self, Fingerprint, Secrets, Unreadable};
use super::{FrontOptions, Problem};

/// Keys of a principal's Secret.
const ACCESS_KEY_ID: &str = "accessKeyId";
const SECRET_ACCESS_KEY: &str = "secretAccessKey";
const TOKEN: &str = "token";

/// What the manifests say of access.
#[derive(Debug)]
pub(super) struct Principals {
    declared: Vec<Declared>,
    public: Tables,
    keyed: bool,
    /// Principals without credentials, as of the last read.
    without: AtomicUsize,
}

/// One principal of one manifest.
#[derive(Debug)]
struct Declared {
    name: String,
    owner: String,
    field: String,
    secret: String,
    folder: PathBuf,
    tables: Tables,
    /// As its Secret said when it was of use, until it is gone.
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
    /// Reads the manifests.
    pub(super) fn declared(
        tables: &[VirtualTable],
        options: &FrontOptions,
        secrets: &Secrets,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut all = Self {
            declared: Vec::new(),
            public: public(tables, options),
            keyed: false,
            without: AtomicUsize::new(0),
        };
        for table in tables {
            match access(table) {
                _ if is_public(table, options) => {}
                None => problems.push(Problem::new(
                    table,
                    "spec.server.access",
                    "is not written, and the data listener can be reached from other machines",
                    "write mode Keys with principals, or mode Anonymous if everybody may read; or listen on 127.0.0.1, or give --allow-anonymous",
                )),
                Some(access) => {
                    all.keyed = true;
                    let published = published(table);
                    for (index, principal) in access.principals.iter().enumerate() {
                        all.add(table, &published, index, principal, secrets, problems);
                    }
                }
            }
        }
        all
    }

    fn add(
        &mut self,
        table: &VirtualTable,
        published: &[String],
        index: usize,
        principal: &vdt_crds::Principal,
        secrets: &Secrets,
        problems: &mut Vec<Problem>,
    ) {
        let field = format!("spec.server.access.principals[{index}]");
        let globs = globs(table, &field, &principal.tables, problems);
        let readable: Vec<String> = published
            .iter()
            .filter(|name| principal.tables.is_empty() || globs.is_match(name))
            .cloned()
            .collect();
        if readable.is_empty() {
            tracing::warn!(
                principal = %principal.name,
                manifest = %table.owner(),
                published = %published.join(", "),
                "the principal's globs match no published table: it may read nothing"
            );
        }
        match secrets.folder(&principal.secret_ref.name) {
            Ok(folder) => self.declared.push(Declared {
                name: principal.name.clone(),
                owner: table.owner(),
                field: format!("{field}.secretRef"),
                secret: principal.secret_ref.name.clone(),
                folder,
                tables: paths(table, &readable),
                kept: Mutex::default(),
            }),
            Err(Unreadable {
                message, remedy, ..
            }) => problems.push(
                Problem::new(table, format!("{field}.secretRef.name"), message, remedy)
                    .with_value(&principal.secret_ref.name),
            ),
        }
    }

    /// Takes over what Secrets of the same principals said when they were of use.
    pub(super) fn inherit(&self, before: &Self) {
        for one in &self.declared {
            let is_same = |other: &&Declared| other.name == one.name && other.secret == one.secret;
            let Some(other) = before.declared.iter().find(is_same) else {
                continue;
            };
            let kept = other.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = kept.clone().map(|kept| Principal {
                tables: one.tables.clone(),
                ..kept
            });
            *one.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        }
    }

    /// What everybody may read.
    pub(super) fn public(&self) -> &Tables {
        &self.public
    }

    /// Takes back from everybody what is not among `left`. Returns whether that is anything.
    pub(super) fn narrow(&mut self, left: &Tables) -> bool {
        let before = self.public.clone();
        self.public.narrow(left);
        self.public != before
    }

    /// Says whether any manifest asks for keys.
    pub(super) fn is_needed(&self) -> bool {
        self.keyed
    }

    /// What the principals' files are like now.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let files: Vec<PathBuf> = self
            .declared
            .iter()
            .flat_map(|one| {
                [ACCESS_KEY_ID, SECRET_ACCESS_KEY, TOKEN].map(|key| one.folder.join(key))
            })
            .collect();
        secrets::fingerprint(&files)
    }

    /// Reads the principals' secrets, and says what everybody may read. One whose Secret is of no use is as it was, one without a Secret has no
    /// credentials; neither is in the way of the others.
    pub(super) fn read(&self, problems: &mut Vec<Problem>) -> (Vec<Principal>, Tables) {
        let principals = self
            .declared
            .iter()
            .filter_map(|one| one.current(problems))
            .collect();
        let principals = tell_apart(principals, problems);
        let without = self.declared.len().saturating_sub(principals.len());
        self.without.store(without, Ordering::Relaxed);
        (principals, self.public.clone())
    }

    /// Principals without credentials, as of the last read.
    pub(super) fn without(&self) -> usize {
        self.without.load(Ordering::Relaxed)
    }
}

/// Leaves out who shows the credentials of another before it: that one entry, for others may have its name.
fn tell_apart(principals: Vec<Principal>, problems: &mut Vec<Problem>) -> Vec<Principal> {
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

impl Declared {
    fn current(&self, problems: &mut Vec<Problem>) -> Option<Principal> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match self.read(problems) {
            Found::Credentials(principal) => *kept = Some(*principal),
            Found::Nothing => *kept = None,
            Found::Broken => {}
        }
        kept.clone()
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
            name: self.name.clone(),
            access_key,
            token: token.map(Secret::new),
            tables: self.tables.clone(),
        }))
    }

    fn problem(&self, message: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem {
            manifest: Some(self.owner.clone()),
            field: self.field.clone(),
            value: Some(self.secret.clone()),
            message: message.into(),
            remedy: Some(remedy.into()),
            may_pass: false,
            needs_restart: false,
        }
    }
}

fn access(table: &VirtualTable) -> Option<&Access> {
    table.spec.server.as_ref()?.access.as_ref()
}

/// Whether everybody may read what a manifest publishes.
fn is_public(table: &VirtualTable, options: &FrontOptions) -> bool {
    match access(table) {
        None => options.listen_is_loopback || options.allow_anonymous,
        Some(access) => match access.mode {
            AccessMode::Anonymous => true,
            AccessMode::Keys => false,
        },
    }
}

/// What these manifests leave to everybody.
pub(super) fn public(tables: &[VirtualTable], options: &FrontOptions) -> Tables {
    let mut public = Tables::default();
    for table in tables.iter().filter(|table| is_public(table, options)) {
        public.extend(&paths(table, &published(table)));
    }
    public
}

/// The names that a manifest publishes: the table, its metadata, its legs.
fn published(table: &VirtualTable) -> Vec<String> {
    let name = table.table_name();
    let legs = table
        .spec
        .legs
        .iter()
        .map(|leg| format!("{name}_{}", leg.name));
    [name.to_owned(), table.meta_table_name()]
        .into_iter()
        .chain(legs)
        .collect()
}

fn paths(table: &VirtualTable, names: &[String]) -> Tables {
    let folder = format!("{}/{}", table.catalog(), table.schema_name());
    Tables::new(names.iter().map(|name| format!("{folder}/{name}")))
}

fn globs(
    table: &VirtualTable,
    field: &str,
    globs: &[String],
    problems: &mut Vec<Problem>,
) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for (index, glob) in globs.iter().enumerate() {
        match GlobBuilder::new(glob).literal_separator(true).build() {
            Ok(glob) => {
                set.add(glob);
            }
            Err(error) => problems.push(
                Problem::new(
                    table,
                    format!("{field}.tables[{index}]"),
                    format!("is not a glob: {}", error.kind()),
                    "write a published name, with * for any part of it",
                )
                .with_value(glob),
            ),
        }
    }
    // Each glob of it was built alone.
    set.build().unwrap_or_default()
}
