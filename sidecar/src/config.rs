//! Manifests of the front door, from files and folders.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use vdt_crds::{Profile, Server, VirtualTable};

use crate::{
    exit::BadInput,
    files::{manifests_in, read_manifest},
};

/// What files and folders hold, file by file.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Files that could be read, and what they declare.
    files: Vec<(PathBuf, Vec<VirtualTable>)>,
    /// Files and folders that could not.
    unreadable: Vec<PathBuf>,
    /// Everything that is wrong, a line each.
    lines: Vec<String>,
    /// Whether the system did not let some be read.
    may_pass: bool,
}

/// Reads every manifest.
#[must_use]
pub fn find(paths: &[PathBuf]) -> Found {
    let mut found = Found::default();
    for path in paths {
        match files(path) {
            Ok(files) => files.into_iter().for_each(|file| found.read(file)),
            Err(unread) => found.unreadable(path.clone(), unread),
        }
    }
    let refused = found.refusals();
    found.lines.extend(refused);
    if found.lines.is_empty() && found.files.is_empty() {
        found.lines.push("--config names no manifest".to_owned());
    }
    found
}

impl Found {
    /// Every table. Unlike the server, the front door takes nothing at all when one manifest is bad: the one that cannot be read may be the one that
    /// asks for keys.
    ///
    /// # Errors
    /// Everything that is wrong, a line each.
    pub fn whole(&self) -> Result<Vec<VirtualTable>, BadInput> {
        match self.lines.is_empty() {
            true => Ok(self.tables()),
            false => Err(BadInput {
                lines: self.lines.clone(),
            }),
        }
    }

    /// Whether something may pass that is wrong, while no file changes: the system did not let one be read.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.may_pass
    }

    /// Every table that could be read, good or bad.
    #[must_use]
    pub fn tables(&self) -> Vec<VirtualTable> {
        let tables = self.files.iter().flat_map(|(_, tables)| tables);
        tables.cloned().collect()
    }

    /// The same, with files that could not be read as they were `before`.
    #[must_use]
    pub fn or_as(mut self, before: &Self) -> Self {
        let is_missing = |file: &Path| {
            let mut missing = self.unreadable.iter();
            missing.any(|path| file.starts_with(path))
                && !self.files.iter().any(|(known, _)| known == file)
        };
        let before = before.files.iter();
        let missing: Vec<_> = before
            .filter(|(file, _)| is_missing(file))
            .cloned()
            .collect();
        self.files.extend(missing);
        self
    }

    /// What is wrong with those that could be read.
    fn refusals(&self) -> Vec<String> {
        let shown = self.files.iter();
        let shown: Vec<_> = shown
            .map(|(file, tables)| (file.display().to_string(), tables))
            .collect();
        let tables = shown
            .iter()
            .flat_map(|(file, tables)| tables.iter().map(|table| (table, file.as_str())));
        vdt_crds::refusals(tables).concat()
    }

    fn read(&mut self, file: PathBuf) {
        match read(&file) {
            Ok(tables) => self.files.push((file, tables)),
            Err(unread) => self.unreadable(file, unread),
        }
    }

    fn unreadable(&mut self, path: PathBuf, unread: Unread) {
        self.unreadable.push(path);
        self.may_pass |= unread.may_pass;
        self.lines.extend(unread.lines);
    }
}

/// What manifests say of the pods that serve them, each with its table.
pub(crate) fn servers<'a>(
    tables: impl IntoIterator<Item = &'a VirtualTable>,
) -> impl Iterator<Item = (&'a VirtualTable, &'a Server)> {
    let tables = tables.into_iter();
    tables.filter_map(|table| Some((table, table.spec.server.as_ref()?)))
}

/// Why nothing is known of a file or folder.
struct Unread {
    lines: Vec<String>,
    may_pass: bool,
}

impl Unread {
    fn io(what: &str, path: &Path, error: &io::Error) -> Self {
        Self {
            lines: vec![format!("cannot read {what}{}: {error}", path.display())],
            may_pass: true,
        }
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Unread> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    manifests_in(path).map_err(|error| Unread::io("the folder ", path, &error))
}

fn read(file: &Path) -> Result<Vec<VirtualTable>, Unread> {
    let text = fs::File::open(file)
        .and_then(read_manifest)
        .map_err(|error| Unread::io("", file, &error))?;
    // Whether they keep the rules is looked at over all files: what a bad one says of access is known all the same.
    if let Ok(tables) = vdt_crds::parse(&text) {
        return Ok(tables);
    }
    vdt_crds::parse::read(&text, Profile::Laptop).map_err(|error| Unread {
        lines: error.lines(&file.display().to_string()),
        may_pass: false,
    })
}
