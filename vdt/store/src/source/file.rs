//! A folder of the machine as a source, or one of a claim that is mounted into a pod.
//!
//! [`walk`] lists it, [`lookup`] finds what a walk has missed, [`read`] reads it, [`beneath`] opens paths without ever leaving
//! it, [`facts`] tell one content of a file from another, [`claim`] finds it in a claim.

mod beneath;
mod claim;
mod facts;
mod lookup;
mod read;
mod walk;

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use object_store::ObjectStore;
use tokio::sync::mpsc;
use vdt_rope::SourceObject;
use vdt_table::SourceContext;

use self::beneath::{OpenError, OpenRoot, Root};
use self::facts::Facts;
use super::SourceError;
use super::globs::Globs;
use super::listing::{Entry, Listing, Part};
use super::read_only::ReadOnly;

/// A folder, by its absolute path. The path is followed anew for every listing and read: a folder that is replaced or mounted
/// again, and one that a link on the way leads to now, is the new one. Its files are others then, as their entity tags say.
#[derive(Clone, Debug)]
pub(super) struct FileSource {
    name: Arc<str>,
    root: Arc<Root>,
    store: Arc<dyn ObjectStore>,
    /// How many files the last listing could not have read.
    unreadable: Arc<AtomicU64>,
}

/// Parts of a walk that wait for their reader; each holds at most one folder or [`walk::PART_ENTRIES`] entries.
const PARTS_IN_FLIGHT: usize = 8;

impl FileSource {
    /// Finds the folder. Where it must stay `within` another one, that is given by its canonical path.
    pub(super) fn open(
        name: &Arc<str>,
        path: &Path,
        within: Option<PathBuf>,
    ) -> Result<Self, SourceError> {
        let root = without_parents(path).map_err(|error| io_failed(name, path, error))?;
        let root = Arc::new(Root::new(root, within));
        if let Err(outside @ OpenError::Outside) = root.open() {
            return Err(unopened(name, &root, outside));
        }
        // A folder that cannot be read is told now, not by an empty table.
        std::fs::read_dir(root.path()).map_err(|error| io_failed(name, root.path(), error))?;
        let store = Arc::new(ReadOnly(read::FileReader::new(Arc::clone(&root))));
        Ok(Self {
            name: Arc::clone(name),
            root,
            store,
            unreadable: Arc::default(),
        })
    }

    /// Absolute path of the folder, as it was declared.
    pub(super) fn path(&self) -> &Path {
        self.root.path()
    }

    /// Walks the folder on the blocking pool, unless it lies around or in `state`, a canonical path. Dropping the future stops the walk at
    /// its next part.
    pub(super) async fn list(
        &self,
        context: &Arc<SourceContext>,
        globs: &Globs,
        state: Option<&Path>,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Listing, SourceError> {
        let (parts, mut received) = mpsc::channel::<Part>(PARTS_IN_FLIGHT);
        let (folder, context, globs) = (self.clone(), Arc::clone(context), globs.clone());
        let state = state.map(Path::to_path_buf);
        let walk = tokio::task::spawn_blocking(move || {
            let open = folder.root.open();
            let open = open.map_err(|error| unopened(&context.name, &folder.root, error))?;
            if let Some(state) = state {
                folder.refuse_state(&open, &state)?;
            }
            let place = open.place().to_path_buf();
            walk::walk(&context, &folder.root, open, &globs, |part| {
                parts.blocking_send(part).is_ok()
            })
            .map(|()| place)
        });
        let mut listing = Listing::default();
        while let Some(part) = received.recv().await {
            listing.add(part);
            progress(listing.entries.len() as u64, listing.bytes);
        }
        match walk.await {
            Ok(walked) => walked.map(|folder| {
                self.tell_unreadable(&listing);
                listing.folder = Some(folder);
                listing
            }),
            Err(error) => Err(SourceError::Io {
                name: Arc::clone(&self.name),
                path: self.path().to_path_buf(),
                error: io::Error::other(error),
            }),
        }
    }

    fn refuse_state(&self, open: &OpenRoot<'_>, state: &Path) -> Result<(), SourceError> {
        if !state.starts_with(open.place()) && !open.place().starts_with(state) {
            return Ok(());
        }
        Err(SourceError::Invalid {
            name: Arc::clone(&self.name),
            field: "file.path",
            value: self.path().display().to_string(),
            problem: format!(
                "a folder that the state {} lies in, or that lies in it; name another folder, or give another --state",
                state.display()
            ),
        })
    }

    /// Warns of files that every scan will fail at, when it is another number than it was.
    fn tell_unreadable(&self, listing: &Listing) {
        let count = listing.unreadable.count;
        if self.unreadable.swap(count, Ordering::Relaxed) != count
            && let Some(warning) = listing.warning()
        {
            tracing::warn!(source = %self.name, folder = %self.path().display(), "{warning}");
        }
    }

    /// Those of `keys` that are files of the listed folder now and that `listing` has under no other name; see [`lookup`]. Blocks.
    pub(super) fn find<'a>(
        &self,
        context: &SourceContext,
        keys: impl Iterator<Item = &'a str>,
        listing: &Listing,
    ) -> Result<Vec<Entry>, SourceError> {
        let found = lookup::find(context, &self.root, listing.folder.as_deref(), keys)?;
        Ok(lookup::without_listed(found, &listing.entries))
    }

    /// The folder's files by key, for reading.
    pub(super) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }
}

/// Makes a path absolute, without `..`. What lies above a folder depends on where links lead, so all before the last `..` is resolved, once; links in the
/// rest are left to be followed whenever the path is.
///
/// # Errors
/// Those of the file system, and of a relative path where there is no working folder.
pub fn without_parents(path: &Path) -> io::Result<PathBuf> {
    let mut found = PathBuf::new();
    for part in std::path::absolute(path)?.components() {
        if part == Component::ParentDir {
            found = std::fs::canonicalize(&found)?;
            found.pop();
        } else {
            found.push(part);
        }
    }
    Ok(found)
}

/// Why a root could not be opened.
fn unopened(name: &Arc<str>, root: &Root, error: OpenError) -> SourceError {
    match error {
        OpenError::Outside => SourceError::Invalid {
            name: Arc::clone(name),
            field: "file.path",
            value: root.relative_path().display().to_string(),
            problem: "a link that leads out of the claim; name a folder inside it".to_owned(),
        },
        error => io_failed(name, root.path(), walk::io_error(error)),
    }
}

fn io_failed(name: &Arc<str>, path: &Path, error: io::Error) -> SourceError {
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

/// What could not be read below a root.
fn failed(context: &SourceContext, root: &Root, path: &[u8], error: io::Error) -> SourceError {
    let path = below(root.path(), path);
    if error.kind() == io::ErrorKind::PermissionDenied {
        return forbidden(&context.name, &path, &error);
    }
    SourceError::Io {
        name: Arc::clone(&context.name),
        path,
        error,
    }
}

/// Whether it is a folder of the file system itself that cannot be opened: every ext4 volume has one at its root, readable by root alone.
fn is_system_folder(path: &[u8], error: &OpenError) -> bool {
    let is_denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    path.split(|byte| *byte == b'/').next() == Some(b"lost+found")
        && matches!(error, OpenError::Io(error) if is_denied(error))
}

/// A file as an artifact.
fn entry(context: &SourceContext, root: &OpenRoot<'_>, key: &str, facts: &Facts) -> Entry {
    Entry {
        object: Arc::new(SourceObject {
            source: Arc::clone(&context.id),
            key: key.into(),
            size: facts.size,
            etag: Some(root.etag(facts).into()),
            last_modified_ms: facts.last_modified_ms(),
            version: None,
        }),
        storage_class: None,
        archived: false,
    }
}

/// Joins the root and a path below it, for messages.
fn below(root: &Path, path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    root.join(std::ffi::OsStr::from_bytes(path))
}
