//! Files by key, for those that a walk has not seen although they are there.
//!
//! POSIX leaves open whether reading a folder shows a name that is given to another file meanwhile (readdir, rename): btrfs
//! shows only what was there when the reading began, others may pass the name by. A key that a listing lacks is therefore
//! asked for by itself before it counts as deleted. What is there is listed as it is; what could not be asked for is an error,
//! as in a walk. Everything here blocks.

use rustix::fs::{FileType, OFlags};
use vdt_table::SourceContext;

use super::beneath::{OpenError, OpenRoot, Root};
use super::facts::Seen;
use super::walk::io_error;
use super::{entry, failed, is_system_folder, root_error};
use crate::source::SourceError;
use crate::source::listing::Entry;

/// Finds the files among `keys`, in their order.
pub(super) fn find<'a>(
    context: &SourceContext,
    root: &Root,
    keys: impl Iterator<Item = &'a str>,
) -> Result<Vec<Entry>, SourceError> {
    let open = root
        .open()
        .map_err(|error| root_error(&context.name, root.path(), io_error(error)))?;
    let mut found = Vec::new();
    for key in keys {
        let seen = see(&open, key.as_bytes())
            .map_err(|error| failed(context, root, key.as_bytes(), io_error(error)))?;
        if let Some(seen) = seen.filter(|seen| seen.kind == FileType::RegularFile) {
            found.push(entry(context, key, &seen.facts));
        }
    }
    Ok(found)
}

fn see(root: &OpenRoot<'_>, path: &[u8]) -> Result<Option<Seen>, OpenError> {
    match root.open(path, OFlags::PATH) {
        Ok(fd) => Ok(Some(Seen::now(&fd)?)),
        Err(OpenError::Missing | OpenError::Outside | OpenError::Loop | OpenError::TooLong) => {
            Ok(None)
        }
        Err(error) if is_system_folder(path, &error) => Ok(None),
        Err(error) => Err(error),
    }
}
