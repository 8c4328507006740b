//! What the manifests, as they are now, change of a table that runs. Pure.

use std::{collections::HashMap, path::Path};

use crate::{manifests::Declared, tables::Problem};

/// What is done to a table that runs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// Its resource declares it, in the same or in other words, which are followed.
    Follow,
    /// It goes on as it is, because of a problem: its manifest cannot be used.
    Retain(&'a Problem),
    /// It is declared no longer, or is another resource's.
    Remove,
}

/// Decides what is done to a table that is `running`, where `one` is declared in its place. A manifest that is refused, or cannot be read, ends no
/// table, also where another one declares the same table meanwhile: a mistake in one file takes away nothing that another one gave.
pub(super) fn change<'a>(
    running: &Declared,
    one: Option<&Declared>,
    problems: &'a [Problem],
) -> Change<'a> {
    let path = running.table.table_path();
    let of_table = |problem: &&Problem| problem.manifest == path;
    let of_ours = |problem: &&Problem| of_table(problem) && problem.origin == running.origin;
    let refused = problems.iter().find(of_ours);
    let hidden = || {
        let mut problems = problems.iter();
        problems.find(|problem| covers(problem, &running.origin))
    };
    let problem = match one {
        None => refused
            .or_else(|| problems.iter().find(of_table))
            .or_else(hidden),
        Some(one) => {
            let is_ours = one.table.owner() == running.table.owner();
            if is_ours && (refused.is_none() || one.origin == running.origin) {
                return Change::Follow;
            }
            refused.or_else(hidden)
        }
    };
    problem.map_or(Change::Remove, Change::Retain)
}

/// What is declared, by `<catalog>/<schema>/<table>`.
pub(super) fn by_path(declared: &[Declared]) -> HashMap<String, &Declared> {
    let paths = declared.iter().map(|one| (one.table.table_path(), one));
    paths.collect()
}

/// Whether a problem with a file or a folder hides what `origin` declares.
fn covers(problem: &Problem, origin: &str) -> bool {
    problem.is_of_file()
        && (problem.origin == origin || Path::new(origin).starts_with(&problem.origin))
}
