//! What is written before it has its name: `<name>#<counter>`, beside it.
//!
//! ```text
//!   store.json#<counter>
//!   <catalog>/<schema>/<table>/<hash>-<bytes>.rope#<counter>
//!   <catalog>/<schema>/<table>/_vdt/owner.json#<counter>
//!   <catalog>/<schema>/<table>/_delta_log/<version, 20 digits>.{json,crc,checkpoint.parquet}#<counter>
//! ```
//!
//! A killed process leaves these behind. Whatever else lies in a state directory is not ours to remove, however it is called.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use vdt_rope::FileName;

use crate::state::STORE_FILE;

/// Where `target` is staged.
pub(super) fn beside(target: &Path, counter: u64) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_os_string();
    name.push(format!("#{counter}"));
    target.with_file_name(name)
}

/// Removes what a killed process had staged, and nothing else. Runs under the lock, in a directory that is a state store.
pub(super) fn remove(root: &Path) -> io::Result<()> {
    remove_of(root, |name| name == STORE_FILE)?;
    for catalog in folders(root)? {
        for schema in folders(&catalog)? {
            for table in folders(&schema)? {
                remove_of(&table, |name| FileName::parse_rope_file(name).is_some())?;
                remove_of(&table.join("_vdt"), |name| name == "owner.json")?;
                remove_of(&table.join("_delta_log"), is_of_log)?;
            }
        }
    }
    Ok(())
}

fn is_of_log(name: &str) -> bool {
    name.split_once('.').is_some_and(|(version, kind)| {
        version.len() == 20
            && version.bytes().all(|digit| digit.is_ascii_digit())
            && matches!(kind, "json" | "crc" | "checkpoint.parquet")
    })
}

/// Removes from `folder`, if it is there, what was staged for names that are `ours`.
fn remove_of(folder: &Path, ours: impl Fn(&str) -> bool) -> io::Result<()> {
    let entries = match fs::symlink_metadata(folder) {
        Ok(found) if found.is_dir() => fs::read_dir(folder)?,
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let is_staged = entry.file_name().to_str().is_some_and(|name| {
            name.rsplit_once('#')
                .is_some_and(|(name, counter)| counter.parse::<u64>().is_ok() && ours(name))
        });
        if is_staged && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The folders in `folder`, as far as catalogs, schemas and tables may be called so. Links are not followed: vdt makes none.
fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Another one, such as a volume's lost+found, may not even be ours to read.
        let is_ours = entry.file_name().to_str().is_some_and(|name| {
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        });
        if is_ours && entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}
