//! Every rule of the resource, as pure functions.
//!
//! [`validate`] returns *all* violations, in the order of the document: bounds first, read from the schema itself, then rules across fields, in the
//! API server's words. [`validate_update`] adds what a change may not do. Nothing here reads a clock, a file or the network, and nothing stops at
//! the first finding.
//!
//! A laptop and a cluster run the same manifest. What only pods need (`server`, `server.state`, `server.access`, a claim for a directory) is asked
//! for in a cluster only; a directory's `path` is asked for on a laptop only.

mod columns;
pub(crate) mod constant;
mod pattern;
pub(crate) mod sentence;
mod server;
mod source;
mod table;
mod update;

pub(crate) use table::MAX_NAME_CHARS;

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use crate::{
    crd::SCHEMA,
    schema,
    spec::VirtualTable,
    violation::{Violation, ViolationKind},
};

/// Where a manifest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `vdt serve` on one machine.
    Laptop,
    /// Pods made by the operator.
    Cluster,
}

/// Returns every violation of a manifest, none if it is good.
#[must_use]
pub fn validate(table: &VirtualTable, profile: Profile) -> Vec<Violation> {
    let value =
        serde_json::to_value(table).expect("a VirtualTable is JSON: its maps have string keys");
    let mut found = schema::check("", &value, &SCHEMA);
    let mut rules = Rules {
        profile,
        found: Vec::new(),
    };
    table::check(table, &mut rules);
    found.append(&mut rules.found);
    found
}

/// Returns what a change from `old` to `new` may not do, none if it may. `new` itself is validated by [`validate`].
#[must_use]
pub fn validate_update(old: &VirtualTable, new: &VirtualTable) -> Vec<Violation> {
    let mut rules = Rules {
        profile: Profile::Cluster,
        found: Vec::new(),
    };
    update::check(&old.spec, &new.spec, &mut rules);
    rules.found
}

/// Collects broken rules.
struct Rules {
    profile: Profile,
    found: Vec<Violation>,
}

impl Rules {
    /// Records that the rule `message` is broken at `path` unless it holds. `value` is what is written there.
    fn demand(
        &mut self,
        holds: bool,
        path: impl Into<String>,
        value: impl Serialize,
        message: impl Into<Cow<'static, str>>,
    ) {
        if !holds {
            let value = serde_json::to_value(value).unwrap_or_default();
            let violation = Violation::new(ViolationKind::Rule, path, message);
            self.found.push(if value.is_null() {
                violation
            } else {
                violation.with_value(&value)
            });
        }
    }

    /// Records that something is missing at `path` unless it is there.
    fn require(
        &mut self,
        there: bool,
        path: impl Into<String>,
        message: impl Into<Cow<'static, str>>,
    ) {
        if !there {
            self.found
                .push(Violation::new(ViolationKind::Missing, path, message));
        }
    }

    /// Records a broken rule with what to do, and without the value: it may hold a password.
    fn refuse(&mut self, violation: Violation) {
        self.found.push(violation);
    }
}

/// What is shown where there is no value, or none worth showing.
const NOTHING: Value = Value::Null;
