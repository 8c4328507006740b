//! `include` and `exclude`: globs on the key below the prefix.
//!
//! `*` and `?` do not cross a slash, `**` does. A key passes if it matches one of `include` (all when there is none) and
//! none of `exclude`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use super::SourceError;

/// The compiled globs of a source.
#[derive(Clone, Debug)]
pub(super) struct Globs {
    include: Option<GlobSet>,
    exclude: GlobSet,
    /// Folders whose whole content an `exclude` ending in `/**` leaves out, so that a walk need not enter them.
    closed: GlobSet,
}

impl Globs {
    /// Compiles the globs of a source.
    pub(super) fn new(
        name: &Arc<str>,
        include: &[String],
        exclude: &[String],
    ) -> Result<Self, SourceError> {
        let closed: Vec<String> = exclude
            .iter()
            .filter_map(|glob| glob.strip_suffix("/**"))
            .map(str::to_owned)
            .collect();
        Ok(Self {
            include: if include.is_empty() {
                None
            } else {
                Some(set(name, "include", include)?)
            },
            exclude: set(name, "exclude", exclude)?,
            closed: set(name, "exclude", &closed)?,
        })
    }

    /// True if the key below the prefix, which need not be UTF-8, is wanted.
    pub(super) fn pass(&self, filename: &[u8]) -> bool {
        let path = OsStr::from_bytes(filename);
        self.include
            .as_ref()
            .is_none_or(|globs| globs.is_match(path))
            && !self.exclude.is_match(path)
    }

    /// True if nothing in this folder (its path below the prefix, without a trailing slash) can pass.
    pub(super) fn closes(&self, folder: &[u8]) -> bool {
        self.closed.is_match(OsStr::from_bytes(folder))
    }
}

fn set(name: &Arc<str>, field: &'static str, globs: &[String]) -> Result<GlobSet, SourceError> {
    let invalid = |glob: &str, error: &globset::Error| SourceError::Invalid {
        name: Arc::clone(name),
        field,
        value: glob.to_owned(),
        problem: format!("not a glob: {}; write for example **/*.pdf", error.kind()),
    };
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(compile(glob).map_err(|error| invalid(glob, &error))?);
    }
    set.build()
        .map_err(|error| invalid(error.glob().unwrap_or_default(), &error))
}

fn compile(glob: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(glob).literal_separator(true).build()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn globs(include: &[&str], exclude: &[&str]) -> Globs {
        let owned = |globs: &[&str]| {
            globs
                .iter()
                .map(|glob| (*glob).to_owned())
                .collect::<Vec<_>>()
        };
        Globs::new(&"s".into(), &owned(include), &owned(exclude)).unwrap()
    }

    #[test]
    fn a_star_stays_in_its_folder_and_two_do_not() {
        let one = globs(&["*.pdf"], &[]);
        assert!(one.pass(b"a.pdf") && one.pass(b".a b.pdf") && !one.pass(b"x/a.pdf"));
        let two = globs(&["**/*.pdf"], &[]);
        assert!(two.pass(b"a.pdf") && two.pass(b"x/y/a.pdf") && !two.pass(b"a.png"));
    }

    #[test]
    fn exclude_wins_and_closes_whole_folders() {
        let globs = globs(&["**/*.pdf"], &["drafts/**", "**/.git/**"]);
        assert!(
            globs.pass(b"a.pdf") && !globs.pass(b"drafts/a.pdf") && !globs.pass(b"x/.git/a.pdf")
        );
        assert!(globs.closes(b"drafts") && globs.closes(b"x/.git") && !globs.closes(b"x"));
    }

    #[test]
    fn names_that_are_not_utf8_are_matched_too() {
        assert!(globs(&["*.pdf"], &[]).pass(b"\xff.pdf"));
        assert!(!globs(&[], &["*.pdf"]).pass(b"\xff.pdf"));
    }

    #[test]
    fn a_broken_glob_names_itself() {
        let error = Globs::new(&"s".into(), &["a[".to_owned()], &[]).unwrap_err();
        assert!(
            error.to_string().contains("include") && error.to_string().contains("a["),
            "{error}"
        );
    }
}
