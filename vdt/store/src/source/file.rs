//! A folder of the machine as a source, or one of a claim that is mounted into a pod.
//!
//! [`walk`] lists it, [`read`] reads it, [`beneath`] opens paths without ever leaving it, [`claim`] finds it in a claim.

mod beneath;
mod claim;
mod read;
mod walk;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use object_store::ObjectStore;
use rustix::fs::{FileType, Stat};
use tokio::sync::mpsc;
use vdt_table::SourceContext;

use self::beneath::Root;
use super::SourceError;
use super::globs::Globs;
use super::listing::{Listing, Part};
use super::read_only::ReadOnly;

/// A folder, by its canonical absolute path. The path is opened anew for every listing and read, so a folder that is
/// replaced or mounted again is the new one.
#[derive(Clone, Debug)]
pub(super) struct FileSource {
    name: Arc<str>,
    root: Arc<Root>,
    /// Where the claim is mounted, for a folder of one.
    mount: Option<Arc<Path>>,
    store: Arc<dyn ObjectStore>,
}

/// Parts of a walk that wait for their reader; each holds at most one folder or [`walk::PART_ENTRIES`] entries.
const PARTS_IN_FLIGHT: usize = 8;

impl FileSource {
    /// Finds the folder.
    pub(super) fn open(name: &Arc<str>, path: &Path) -> Result<Self, SourceError> {
        let root = std::fs::canonicalize(path).and_then(|path| {
            // A folder that cannot be read is told now, not by an empty table.
            std::fs::read_dir(&path).map(|_| path)
        });
        match root {
            Ok(path) => {
                let root = Arc::new(Root::new(path));
                let store = Arc::new(ReadOnly(read::FileReader::new(Arc::clone(&root))));
                Ok(Self {
                    name: Arc::clone(name),
                    root,
                    mount: None,
                    store,
                })
            }
            Err(error) => Err(root_error(name, path, error)),
        }
    }

    /// Canonical absolute path of the folder.
    pub(super) fn path(&self) -> &Path {
        self.root.path()
    }

    /// Walks the folder on the blocking pool. Dropping the future stops the walk at its next part.
    pub(super) async fn list(
        &self,
        context: &Arc<SourceContext>,
        globs: &Globs,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Listing, SourceError> {
        let (parts, mut received) = mpsc::channel::<Part>(PARTS_IN_FLIGHT);
        let (context, root, globs) = (Arc::clone(context), Arc::clone(&self.root), globs.clone());
        let walk = tokio::task::spawn_blocking(move || {
            walk::walk(&context, &root, &globs, |part| {
                parts.blocking_send(part).is_ok()
            })
        });
        let mut listing = Listing::default();
        while let Some(part) = received.recv().await {
            listing.add(part);
            progress(listing.entries.len() as u64, listing.bytes);
        }
        match walk.await {
            Ok(walked) => walked.map(|()| listing),
            Err(error) => Err(SourceError::Io {
                name: Arc::clone(&self.name),
                path: self.path().to_path_buf(),
                error: io::Error::other(error),
            }),
        }
    }

    /// The folder's files by key, for reading.
    pub(super) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }
}

fn root_error(name: &Arc<str>, path: &Path, error: io::Error) -> SourceError {
    let name = Arc::clone(name);
    match error.kind() {
        io::ErrorKind::NotFound => SourceError::NotFound {
            name,
            what: format!("folder {}", path.display()),
            remedy: "create it, or correct file.path",
        },
        io::ErrorKind::NotADirectory => SourceError::Invalid {
            name,
            field: "file.path",
            value: path.display().to_string(),
            problem: "a file, not a folder; name the folder that it lies in and include the file by a glob".to_owned(),
        },
        io::ErrorKind::PermissionDenied => forbidden(&name, path, &error),
        _ => SourceError::Io { name, path: path.to_path_buf(), error },
    }
}

fn forbidden(name: &Arc<str>, path: &Path, error: &io::Error) -> SourceError {
    SourceError::Forbidden {
        name: Arc::clone(name),
        what: format!("folder {}", path.display()),
        answer: error.kind().to_string(),
        remedy: "let this user read it, or leave it out with an exclude glob that ends in /**",
    }
}

/// What tells one content of a file from another.
///
/// ```text
///   etag = <mtime, ns, hex>-<size, hex>-<inode, hex>      181d2a4f9c3b7e00-1f400-2a0f31
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    size: u64,
    mtime_ns: i128,
    inode: u64,
}

const NANOS_PER_MILLI: i128 = 1_000_000;
const NANOS_PER_SECOND: i128 = 1_000_000_000;

impl Facts {
    fn of(stat: &Stat) -> Self {
        Self {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: i128::from(stat.st_mtime) * NANOS_PER_SECOND + i128::from(stat.st_mtime_nsec),
            inode: stat.st_ino,
        }
    }

    fn etag(&self) -> String {
        format!("{:x}-{:x}-{:x}", self.mtime_ns, self.size, self.inode)
    }

    /// Unix milliseconds, rounded down.
    fn last_modified_ms(&self) -> i64 {
        i64::try_from(self.mtime_ns.div_euclid(NANOS_PER_MILLI)).unwrap_or(0)
    }

    fn last_modified(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.last_modified_ms()).unwrap_or_default()
    }
}

fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Joins the root and a path below it, for messages.
fn below(root: &Path, path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    root.join(std::ffi::OsStr::from_bytes(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_tell_time_in_milliseconds_and_all_of_it_in_the_etag() {
        let facts = Facts {
            size: 0x1f400,
            mtime_ns: 1_700_000_000_123_456_789,
            inode: 42,
        };
        assert_eq!(facts.last_modified_ms(), 1_700_000_000_123);
        assert_eq!(facts.etag(), "17979cfe3d85cd15-1f400-2a");
        assert_eq!(
            Facts {
                mtime_ns: -1,
                ..facts
            }
            .last_modified_ms(),
            -1
        );
    }
}
