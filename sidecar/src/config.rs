//! Manifests of the front door, from files and folders.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use vdt_crds::{ParseError, Profile, VirtualTable};

use crate::{exit::BadInput, files::manifests_in};

/// Reads every manifest. Unlike the server, the front door serves nothing at all when one is bad: the one that cannot be read may be the one
/// that asks for keys.
///
/// # Errors
/// Everything that is wrong, a line each.
pub fn load(paths: &[PathBuf]) -> Result<Vec<VirtualTable>, BadInput> {
    let (mut tables, mut lines) = (Vec::new(), Vec::new());
    for path in paths {
        match files(path) {
            Ok(files) => {
                for file in files {
                    read(&file, &mut tables, &mut lines);
                }
            }
            Err(line) => lines.push(line),
        }
    }
    if lines.is_empty() && tables.is_empty() {
        lines.push("--config names no manifest".to_owned());
    }
    if lines.is_empty() {
        Ok(tables)
    } else {
        Err(BadInput { lines })
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    manifests_in(path)
        .map_err(|error| format!("cannot read the folder {}: {error}", path.display()))
}

fn read(file: &Path, tables: &mut Vec<VirtualTable>, lines: &mut Vec<String>) {
    let shown = file.display();
    let mut text = Vec::new();
    let limit = vdt_crds::parse::MAX_BYTES as u64 + 1;
    let read = fs::File::open(file).and_then(|opened| opened.take(limit).read_to_end(&mut text));
    if let Err(error) = read {
        lines.push(format!("cannot read {shown}: {error}"));
        return;
    }
    match vdt_crds::parse::read(&text, Profile::Laptop) {
        Ok(read) => tables.extend(read),
        Err(ParseError::Invalid(documents)) => lines.extend(
            documents
                .iter()
                .flat_map(|document| &document.violations)
                .map(|violation| format!("{shown}: {violation}")),
        ),
        Err(other) => lines.push(format!("{shown}: {other}")),
    }
}
