//! A directory as a state store.
//!
//! Reading and listing are object_store's local store; what it does not do is here: one writer at a time (flock), listings
//! in key order, and durability. A put writes a sibling `<name>#<counter>` (which listings hide), then renames it or, for
//! [`PutMode::Create`], links it, so a name never shows half a body. Commits are synced before they are linked;
//! ropes are not, one by one: [`DirStore::flush`] syncs the file system once before the commit that names them. What replaces
//! a file is synced before: an older commit may name that file.
//!
//! A name is on the disk once its put has returned. Whoever lists meanwhile may see one that a loss of power at that moment takes back.
//!
//! The kernel tells each descriptor once of what it could not write. So all flushes go through one that is as old as the
//! store, and who put anything before a flush that failed has failed too ([`PutsSince`]).

mod staged;

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    ops::Range,
    path::{Path as FsPath, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::{
    CopyOptions, Error as ObjectError, GetOptions, GetResult, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result as ObjectResult, local::LocalFileSystem, path::Path,
};
use parking_lot::Mutex;
use uuid::Uuid;

use super::{OpenMode, PutsSince};
use crate::error::StoreError;

const STORE: &str = "state directory";
const LOCK_FILE: &str = "lock";

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct DirStore {
    inner: LocalFileSystem,
    root: PathBuf,
    /// Kept open while the store is: the flock goes with it, also when the process is killed. Flushes go through it.
    lock: Option<Arc<File>>,
    counter: AtomicU64,
    flushes: Arc<Flushes>,
}

/// One flush at a time, and how many have failed.
#[derive(Debug, Default)]
struct Flushes {
    one: Mutex<()>,
    failed: AtomicU64,
}

impl Flushes {
    /// Calls `sync` when no other one runs, unless one has failed since `since`. Blocks.
    fn run(&self, since: u64, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let _one = self.one.lock();
        if self.failed.load(Ordering::SeqCst) != since {
            return Err(io::Error::other(
                "what was written before could not be synced, by another refresh; it is written again",
            ));
        }
        sync().inspect_err(|_| {
            self.failed.fetch_add(1, Ordering::SeqCst);
        })
    }
}

impl DirStore {
    /// Opens (and in [`OpenMode::ReadWrite`] makes and locks) the directory.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::NoState`], and those of the file system.
    pub(super) fn open(path: &FsPath, mode: OpenMode) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Directory {
            path: path.to_owned(),
            source,
        };
        let lock = match mode {
            OpenMode::ReadOnly if !path.is_dir() => {
                return Err(StoreError::NoState {
                    location: path.display().to_string(),
                });
            }
            OpenMode::ReadOnly => None,
            OpenMode::ReadWrite => {
                fs::create_dir_all(path).map_err(failed)?;
                Some(Arc::new(lock(path)?))
            }
        };
        let inner = LocalFileSystem::new_with_prefix(path)
            .map_err(|source| StoreError::state(&path.display().to_string(), source))?;
        let store = Self {
            inner,
            root: fs::canonicalize(path).map_err(failed)?,
            lock,
            // Where a network mount locks for one machine only, two still have names of their own.
            counter: AtomicU64::new(Uuid::new_v4().as_u64_pair().0),
            flushes: Arc::default(),
        };
        if mode == OpenMode::ReadWrite && path.join(super::STORE_FILE).is_file() {
            staged::remove(&store.root).map_err(failed)?;
        }
        Ok(store)
    }

    /// Canonical path.
    pub(super) fn root(&self) -> &FsPath {
        &self.root
    }

    /// Puts from now on.
    pub(super) fn puts_from_now(&self) -> PutsSince {
        PutsSince(self.flushes.failed.load(Ordering::SeqCst))
    }

    /// Syncs the file system that holds the directory.
    ///
    /// # Errors
    /// Those of the file system, also where they were met by another flush since `puts`.
    pub(super) async fn flush(&self, PutsSince(since): PutsSince) -> Result<(), StoreError> {
        let Some(lock) = self.lock.clone() else {
            return Ok(());
        };
        let flushes = self.flushes.clone();
        let synced = tokio::task::spawn_blocking(move || {
            flushes.run(since, || Ok(rustix::fs::syncfs(lock)?))
        });
        synced
            .await
            .map_err(|error| StoreError::task("sync of the state directory", error))?
            .map_err(|source| StoreError::Directory {
                path: self.root.clone(),
                source,
            })
    }

    fn staged(&self, target: &FsPath) -> PathBuf {
        staged::beside(target, self.counter.fetch_add(1, Ordering::Relaxed))
    }
}

fn lock(path: &FsPath) -> Result<File, StoreError> {
    let failed = |source| StoreError::Directory {
        path: path.to_owned(),
        source,
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join(LOCK_FILE))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Makes `folder` and those above it, and syncs those that they are entered in.
fn make_folders(folder: &FsPath) -> io::Result<()> {
    let new: Vec<_> = folder
        .ancestors()
        .take_while(|above| !above.exists())
        .collect();
    fs::create_dir_all(folder)?;
    for folder in new {
        let above = folder.parent().unwrap_or(FsPath::new("."));
        File::open(above)?.sync_all()?;
    }
    Ok(())
}

/// Writes a file whole or not at all.
fn write(staged: &FsPath, target: &FsPath, body: &PutPayload, create: bool) -> io::Result<()> {
    let written = stage(staged, target, body, create);
    if written.is_err() {
        // Its space may be what the next try needs. Where it was published, or never made, there is nothing to remove.
        let _ = fs::remove_file(staged);
    }
    written
}

fn stage(staged: &FsPath, target: &FsPath, body: &PutPayload, create: bool) -> io::Result<()> {
    let folder = target.parent().unwrap_or(FsPath::new("."));
    let mut file = match File::create_new(staged) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_folders(folder)?;
            File::create_new(staged)?
        }
        opened => opened?,
    };
    for chunk in body {
        file.write_all(chunk)?;
    }
    if !create {
        if target.try_exists()? {
            // A version may name what is there, whole or as a crash has left it. Synced first, the name has whole bytes
            // after the next crash, old or new.
            file.sync_all()?;
        } else if let Err(error) = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)
        {
            tracing::debug!(%error, "no early write-out");
        }
        return fs::rename(staged, target);
    }
    file.sync_all()?;
    let linked = fs::hard_link(staged, target);
    fs::remove_file(staged)?;
    linked?;
    File::open(folder)?.sync_all()
}

type Listed = BoxStream<'static, ObjectResult<ObjectMeta>>;

/// A listing in key order.
fn sorted(listed: Listed) -> Listed {
    stream::once(async move {
        let mut found: Vec<ObjectMeta> = listed.try_collect().await?;
        found.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        Ok::<_, ObjectError>(stream::iter(found.into_iter().map(Ok)))
    })
    .try_flatten()
    .boxed()
}

#[async_trait]
impl ObjectStore for DirStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> ObjectResult<PutResult> {
        let create = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => {
                return Err(ObjectError::NotImplemented {
                    operation: "conditional update".into(),
                    implementer: STORE.into(),
                });
            }
        };
        if self.lock.is_none() {
            return Err(ObjectError::NotSupported {
                source: "the state directory was opened for reading".into(),
            });
        }
        let target = self.inner.path_to_filesystem(location)?;
        let staged = self.staged(&target);
        let written =
            tokio::task::spawn_blocking(move || write(&staged, &target, &payload, create))
                .await
                .map_err(|source| ObjectError::JoinError { source })?;
        match written {
            Ok(()) => Ok(PutResult {
                e_tag: None,
                version: None,
            }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(ObjectError::AlreadyExists {
                    path: location.to_string(),
                    source: Box::new(error),
                })
            }
            Err(error) => Err(ObjectError::Generic {
                store: STORE,
                source: Box::new(error),
            }),
        }
    }

    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _options: PutMultipartOptions,
    ) -> ObjectResult<Box<dyn MultipartUpload>> {
        Err(ObjectError::NotImplemented {
            operation: "multipart put".into(),
            implementer: STORE.into(),
        })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> ObjectResult<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> ObjectResult<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, ObjectResult<Path>>,
    ) -> BoxStream<'static, ObjectResult<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, ObjectResult<ObjectMeta>> {
        sorted(self.inner.list(prefix))
    }

    // Of what comes before the offset the inner store reads the names alone: a long log has many.
    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, ObjectResult<ObjectMeta>> {
        sorted(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> ObjectResult<ListResult> {
        let mut found = self.inner.list_with_delimiter(prefix).await?;
        found
            .objects
            .sort_unstable_by(|a, b| a.location.cmp(&b.location));
        found.common_prefixes.sort_unstable();
        Ok(found)
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> ObjectResult<()> {
        Err(ObjectError::NotImplemented {
            operation: "copy".into(),
            implementer: STORE.into(),
        })
    }
}

impl std::fmt::Display for DirStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{STORE} {}", self.root.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_put_before_a_flush_that_failed_has_failed_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = DirStore::open(folder.path(), OpenMode::ReadWrite).expect("it opens");
        let puts = store.puts_from_now();
        store.flush(puts).await.expect("it syncs");
        let others = || Err(io::Error::other("no space"));
        store
            .flushes
            .run(0, others)
            .expect_err("it cannot be synced");
        let error = store.flush(puts).await.expect_err("it may be lost");
        assert!(vdt_crds::chain(&error).contains("by another refresh"));
        let again = store.puts_from_now();
        store.flush(again).await.expect("it is written again");
    }
}
