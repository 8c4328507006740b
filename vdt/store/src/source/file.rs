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
use std::time::Duration;

use object_store::ObjectStore;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use vdt_rope::SourceObject;
use vdt_table::SourceContext;

use self::beneath::{OpenError, OpenRoot, Root};
use self::facts::Facts;
pub(super) use self::lookup::is_outdated;
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
    /// The last visit that was given up. Until it ends, its thread waits for the file system.
    hung: Arc<Mutex<Option<AbortHandle>>>,
}

/// A visit that tells nothing for so long waits for a file system that does not answer, as a network mount does without its server. Its table's
/// other sources do not wait with it.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(300);

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
            hung: Arc::default(),
        })
    }

    /// Absolute path of the folder, as it was declared.
    pub(super) fn path(&self) -> &Path {
        self.root.path()
    }

    /// Walks the folder on the blocking pool, unless it lies around or in `state`, a canonical path. Dropping the future stops the walk at
    /// its next part; where there is none for [`SILENCE_MAX`] that is an error, also of all walks until the file system answers.
    pub(super) async fn list(
        &self,
        context: &Arc<SourceContext>,
        globs: &Globs,
        state: Option<&Path>,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Listing, SourceError> {
        let is_hung = |visit: &AbortHandle| !visit.is_finished();
        if self.hung.lock().as_ref().is_some_and(is_hung) {
            return Err(self.silent());
        }
        let (parts, received) = mpsc::channel::<Part>(PARTS_IN_FLIGHT);
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
        let Some(mut listing) = gathered(received, progress).await else {
            return Err(self.given_up(walk.abort_handle()));
        };
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

    /// Gives up a visit that has fallen silent: there is no other one until it ends.
    pub(super) fn given_up(&self, visit: AbortHandle) -> SourceError {
        *self.hung.lock() = Some(visit);
        self.silent()
    }

    fn silent(&self) -> SourceError {
        let seconds = SILENCE_MAX.as_secs();
        let problem = format!("its file system has not answered for {seconds} s");
        SourceError::Io {
            name: Arc::clone(&self.name),
            path: self.path().to_path_buf(),
            error: io::Error::new(io::ErrorKind::TimedOut, problem),
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

/// Puts the parts of a walk together; `None` if it falls silent.
async fn gathered(
    mut parts: mpsc::Receiver<Part>,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Option<Listing> {
    let mut listing = Listing::default();
    while let Some(part) = tokio::time::timeout(SILENCE_MAX, parts.recv()).await.ok()? {
        listing.add(part);
        progress(listing.entries.len() as u64, listing.bytes);
    }
    Some(listing)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_walk_may_take_long_and_may_not_fall_silent() {
        let began = tokio::time::Instant::now();
        let (send, parts) = mpsc::channel(1);
        let slow = tokio::spawn(async move {
            for _ in 0..10 {
                tokio::time::sleep(SILENCE_MAX / 2).await;
                send.send(Part::default()).await.unwrap();
            }
        });
        assert!(gathered(parts, &|_, _| {}).await.is_some());
        slow.await.unwrap();
        assert!(began.elapsed() >= SILENCE_MAX * 5);

        let (_hangs, parts) = mpsc::channel(1);
        assert!(gathered(parts, &|_, _| {}).await.is_none());
    }

    #[tokio::test]
    async fn a_folder_that_hangs_is_not_walked_again_until_it_answers() {
        let folder = tempfile::tempdir().unwrap();
        let source = FileSource::open(&"s".into(), folder.path(), None).unwrap();
        let context = Arc::new(SourceContext {
            name: "s".into(),
            id: "s".into(),
            prefix: String::new(),
            url_prefix: String::new(),
            etag_is_checksum: false,
        });
        let globs = Globs::new(&context.name, &[], &[]).unwrap();
        let list = async || source.list(&context, &globs, None, &|_, _| {}).await;
        let (answer, waits) = std::sync::mpsc::channel::<()>();
        let visit = tokio::task::spawn_blocking(move || waits.recv());
        source.given_up(visit.abort_handle());
        let error = list().await.unwrap_err();
        assert_eq!(error.reason(), "ReadFailed");
        drop(answer);
        let _ = visit.await.unwrap();
        list().await.unwrap();
    }
}
