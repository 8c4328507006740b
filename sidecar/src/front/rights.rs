//! Who may read what, as manifests say it. Pure: no file is looked at.
//!
//! ```text
//!   <catalog>/<schema>/<name> ── Readers: everybody, or principals, each a name with a Secret
//! ```
//!
//! - A principal of one manifest reads what that manifest publishes, as far as its globs go. The same name and Secret in two manifests is one principal,
//!   with the rights of both.
//! - What two manifests publish both, which is a mistake of one of them, is given only as far as both give it.
//! - Manifests that are not taken give nothing and take away all that they do not give ([`Rights::narrow`]).

use std::collections::{BTreeMap, BTreeSet};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use vdt_crds::{AccessMode, VirtualTable};
use vdt_dialect::access::Tables;

use super::{FrontOptions, Problem};

/// A principal and the Secret of its credentials.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Holder {
    pub(super) name: String,
    pub(super) secret: String,
}

/// Where a principal is declared first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) holder: Holder,
    /// `<namespace>/<name>` of the manifest.
    pub(super) owner: String,
    /// The principal's place in it.
    pub(super) field: String,
}

/// What manifests say of access.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rights {
    readers: BTreeMap<String, Readers>,
    /// Each once, in the order of the manifests.
    principals: Vec<Declared>,
    keyed: bool,
}

/// Who may read one table.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Readers {
    Everybody {
        /// No manifest says so: it is because only this machine reaches the listener.
        by_silence: bool,
    },
    Principals(BTreeSet<Holder>),
}

impl Readers {
    /// Those to whom both give it.
    fn of_both(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Everybody { by_silence: one }, Self::Everybody { by_silence: other }) => {
                Self::Everybody {
                    by_silence: *one || *other,
                }
            }
            (Self::Everybody { .. }, Self::Principals(some))
            | (Self::Principals(some), Self::Everybody { .. }) => Self::Principals(some.clone()),
            (Self::Principals(one), Self::Principals(other)) => Self::Principals(one & other),
        }
    }

    fn is_anybody(&self) -> bool {
        match self {
            Self::Everybody { .. } => true,
            Self::Principals(some) => !some.is_empty(),
        }
    }

    fn name(&self, holder: &Holder) -> bool {
        match self {
            Self::Everybody { .. } => false,
            Self::Principals(some) => some.contains(holder),
        }
    }
}

impl Rights {
    /// Reads the manifests.
    pub(super) fn of(
        tables: &[VirtualTable],
        options: &FrontOptions,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut rights = Self::default();
        for table in tables {
            let access = table
                .spec
                .server
                .as_ref()
                .and_then(|server| server.access.as_ref());
            match access {
                Some(access) => match access.mode {
                    AccessMode::Anonymous => rights.give_everybody(table, false),
                    AccessMode::Keys => rights.give(table, &access.principals, problems),
                },
                None if options.allow_anonymous => rights.give_everybody(table, false),
                None if options.listen_is_loopback => rights.give_everybody(table, true),
                None => problems.push(Problem::new(
                    table,
                    "spec.server.access",
                    "is not written, and the data listener can be reached from other machines",
                    "write mode Keys with principals, or mode Anonymous if everybody may read; or listen on 127.0.0.1, or give --allow-anonymous",
                )),
            }
        }
        rights
    }

    fn give_everybody(&mut self, table: &VirtualTable, by_silence: bool) {
        for name in published(table) {
            self.publish(table, &name, Readers::Everybody { by_silence });
        }
    }

    fn give(
        &mut self,
        table: &VirtualTable,
        principals: &[vdt_crds::Principal],
        problems: &mut Vec<Problem>,
    ) {
        self.keyed = true;
        let mut given = Vec::new();
        for (index, principal) in principals.iter().enumerate() {
            let field = format!("spec.server.access.principals[{index}]");
            let globs = globs(table, &field, &principal.tables, problems);
            let holder = Holder {
                name: principal.name.clone(),
                secret: principal.secret_ref.name.clone(),
            };
            if !self.has(&holder) {
                self.principals.push(Declared {
                    holder: holder.clone(),
                    owner: table.owner(),
                    field,
                });
            }
            given.push((holder, globs));
        }
        for name in published(table) {
            let matching = given.iter().filter(|(_, globs)| globs.is_match(&name));
            let holders = matching.map(|(holder, _)| holder.clone()).collect();
            self.publish(table, &name, Readers::Principals(holders));
        }
    }

    fn publish(&mut self, table: &VirtualTable, name: &str, readers: Readers) {
        let path = path(table, name);
        let both = match self.readers.get(&path) {
            Some(others) => others.of_both(&readers),
            None => readers,
        };
        self.readers.insert(path, both);
    }

    /// Gives nobody anything of what the manifest publishes.
    pub(super) fn withhold(&mut self, table: &VirtualTable) {
        for name in published(table) {
            self.readers.remove(&path(table, &name));
        }
    }

    /// Adds what `more` give of tables that these say nothing of, and those to whom it is given. Returns whether anybody is given anything.
    pub(super) fn add(&mut self, more: &Self) -> bool {
        let mut is_any = false;
        for (path, readers) in &more.readers {
            if self.readers.contains_key(path) {
                continue;
            }
            is_any |= readers.is_anybody();
            self.readers.insert(path.clone(), readers.clone());
            for principal in &more.principals {
                if readers.name(&principal.holder) && !self.has(&principal.holder) {
                    self.principals.push(principal.clone());
                }
            }
        }
        is_any
    }

    /// Takes away what `left` does not give too, and principals to whom it leaves nothing and whom it does not name. Returns whether that is anything.
    pub(super) fn narrow(&mut self, left: &Self) -> bool {
        let before = self.clone();
        self.readers.retain(|path, readers| {
            let Some(others) = left.readers.get(path) else {
                return false;
            };
            *readers = readers.of_both(others);
            true
        });
        let readers = &self.readers;
        self.principals.retain(|principal| {
            let reads = |readers: &Readers| readers.name(&principal.holder);
            left.has(&principal.holder) || readers.values().any(reads)
        });
        *self != before
    }

    /// Whether any manifest asks for keys.
    pub(super) fn ask_for_keys(&self) -> bool {
        self.keyed
    }

    /// Each principal once.
    pub(super) fn principals(&self) -> &[Declared] {
        &self.principals
    }

    /// Whether there is such a principal.
    pub(super) fn has(&self, holder: &Holder) -> bool {
        self.principals.iter().any(|known| known.holder == *holder)
    }

    /// What everybody may read.
    pub(super) fn public(&self) -> Tables {
        self.tables(|readers| matches!(readers, Readers::Everybody { .. }))
    }

    /// Whether some of that is public only because no manifest says anything of it.
    pub(super) fn are_by_silence(&self) -> bool {
        let mut all = self.readers.values();
        all.any(|readers| matches!(readers, Readers::Everybody { by_silence: true }))
    }

    /// What a principal may read beside that.
    pub(super) fn tables_of(&self, holder: &Holder) -> Tables {
        self.tables(|readers| readers.name(holder))
    }

    fn tables(&self, are_meant: impl Fn(&Readers) -> bool) -> Tables {
        let meant = self
            .readers
            .iter()
            .filter(|(_, readers)| are_meant(readers));
        Tables::new(meant.map(|(path, _)| path.clone()))
    }
}

/// Where something is that a manifest publishes.
fn path(table: &VirtualTable, name: &str) -> String {
    format!("{}/{}/{name}", table.catalog(), table.schema_name())
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

/// What a principal's globs match; everything without any. One that is no glob is a problem, so it gives nothing, and takes nothing away either.
fn globs(
    table: &VirtualTable,
    field: &str,
    globs: &[String],
    problems: &mut Vec<Problem>,
) -> GlobSet {
    let build = |glob: &str| GlobBuilder::new(glob).literal_separator(true).build();
    let mut set = GlobSetBuilder::new();
    let mut all = globs.is_empty();
    for (index, glob) in globs.iter().enumerate() {
        match build(glob) {
            Ok(glob) => {
                set.add(glob);
            }
            Err(error) => {
                all = true;
                problems.push(
                    Problem::new(
                        table,
                        format!("{field}.tables[{index}]"),
                        format!("is not a glob: {}", error.kind()),
                        "write a published name, with * for any part of it",
                    )
                    .with_value(glob),
                );
            }
        }
    }
    if all && let Ok(glob) = build("*") {
        set.add(glob);
    }
    // Each glob of it was built alone.
    set.build().unwrap_or_default()
}

#[cfg(test)]
mod tests;
