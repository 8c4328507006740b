//! Reading files of a folder, never a wrong byte.
//!
//! A body comes from one open descriptor. Every piece is read and then, before a byte of it is passed on, the descriptor is
//! asked for size, times and inode again ([`Seen`]): if they are no longer those of the first answer, the body ends with
//! [`Error::Precondition`] (invariant 2: never a wrong byte). An overwrite in place changes the times before it changes the
//! content, so a piece that has new bytes in it is never passed on. A file replaced by rename goes on being read as it was.
//!
//! The first piece is read together with the opening, in one visit to the blocking pool; a small artifact costs that one
//! visit. Longer bodies read one piece ahead. Dropping a body lets at most one running read end by itself.
//!
//! What this cannot see: writes through a shared memory map, which change the time only now and then.

use std::fmt;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    Attributes, Error, GetOptions, GetResult, GetResultPayload, ObjectMeta, Result,
};
use rustix::buffer::spare_capacity;
use rustix::fs::{FileType, OFlags};
use rustix::io::{Errno, pread};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;
use vdt_rope::requested_range;

use super::beneath::{OpenError, Root};
use super::facts::{Facts, Seen};
use crate::source::read_only::{Read, quoted};

/// Bytes read at once: large enough that the visit to the pool does not show, small enough for hundreds of bodies.
const PIECE_BYTES: u64 = 256 * 1024;

/// Reads of a folder at the same time.
const READS_MAX: usize = 64;

/// Those of all folders. The pool has 512 threads, which other work needs: on a file system that hangs each read keeps its own.
static ALL_READS: Semaphore = Semaphore::const_new(384);

const STORE: &str = "folder";

/// Reads the files below a root.
#[derive(Debug)]
pub(super) struct FileReader {
    root: Arc<Root>,
    reads: Arc<Semaphore>,
}

impl FileReader {
    pub(super) fn new(root: Arc<Root>) -> Self {
        Self {
            root,
            reads: Arc::new(Semaphore::new(READS_MAX)),
        }
    }
}

impl fmt::Display for FileReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "folder {}", self.root.path().display())
    }
}

#[async_trait]
impl Read for FileReader {
    async fn read(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let permit = acquire(&self.reads).await?;
        let (root, location) = (Arc::clone(&self.root), location.clone());
        let started = blocking(permit, move || start(&root, location, options)).await?;
        let Started {
            meta,
            range,
            first,
            rest,
        } = started;
        let payload = match rest {
            None => stream::iter(first.map(Ok)).boxed(),
            Some(file) => body(first, file, Arc::clone(&self.reads)),
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(payload),
            meta,
            range,
            attributes: Attributes::default(),
        })
    }
}

/// An open file whose content must stay what it was.
#[derive(Debug)]
struct Watched {
    fd: OwnedFd,
    facts: Facts,
    etag: String,
    location: Path,
}

/// What is left of a body.
#[derive(Debug)]
struct Rest {
    file: Arc<Watched>,
    range: Range<u64>,
}

struct Started {
    meta: ObjectMeta,
    range: Range<u64>,
    first: Option<Bytes>,
    rest: Option<Rest>,
}

/// Opens, checks the conditions, and reads the first piece.
fn start(root: &Root, location: Path, mut options: GetOptions) -> Result<Started> {
    let file = Watched::open(root, location)?;
    let meta = file.meta();
    options.if_match = options.if_match.as_deref().map(quoted);
    options.if_none_match = options.if_none_match.as_deref().map(quoted);
    options.check_preconditions(&meta)?;
    let range = requested_range(&options, meta.size, STORE)?;
    if options.head || range.is_empty() {
        return Ok(Started {
            meta,
            range,
            first: None,
            rest: None,
        });
    }
    let end = piece_end(&range);
    let first = Some(file.piece(range.start..end, Vec::new())?);
    let rest = (end < range.end).then(|| Rest {
        file: Arc::new(file),
        range: end..range.end,
    });
    Ok(Started {
        meta,
        range,
        first,
        rest,
    })
}

fn piece_end(range: &Range<u64>) -> u64 {
    range.end.min(range.start.saturating_add(PIECE_BYTES))
}

impl Watched {
    fn open(root: &Root, location: Path) -> Result<Self> {
        let open_error = |error| open_error(root, &location, error);
        let folder = root.open().map_err(open_error)?;
        let fd = folder
            .open(location.as_ref().as_bytes(), OFlags::RDONLY)
            .map_err(open_error)?;
        let seen = Seen::now(&fd).map_err(|error| failed(error.into()))?;
        if seen.kind != FileType::RegularFile {
            return Err(not_found(root, &location, "it is not a file"));
        }
        Ok(Self {
            fd,
            etag: folder.etag(&seen.facts),
            facts: seen.facts,
            location,
        })
    }

    fn meta(&self) -> ObjectMeta {
        ObjectMeta {
            location: self.location.clone(),
            last_modified: self.facts.last_modified(),
            size: self.facts.size,
            e_tag: Some(format!("\"{}\"", self.etag)),
            version: None,
        }
    }

    /// Reads a range whole into `bytes`, which is empty, and makes sure that the file is still what it was when it was opened.
    fn piece(&self, range: Range<u64>, mut bytes: Vec<u8>) -> Result<Bytes> {
        let length = usize::try_from(range.end - range.start)
            .map_err(|error| failed(std::io::Error::other(error)))?;
        bytes.reserve_exact(length);
        while bytes.len() < length {
            let offset = range.start + bytes.len() as u64;
            match pread(&self.fd, spare_capacity(&mut bytes), offset) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(failed(error.into())),
            }
        }
        // The allocator may give more room than asked for.
        bytes.truncate(length);
        let seen = Seen::now(&self.fd).map_err(|error| failed(error.into()))?;
        if !seen.is_still(&self.facts) || bytes.len() < length {
            let now = seen.facts.etag();
            let source = format!(
                "the file changed while it was read: {} became {now}",
                self.facts.etag()
            )
            .into();
            return Err(Error::Precondition {
                path: self.location.to_string(),
                source,
            });
        }
        Ok(Bytes::from(bytes))
    }
}

/// A body that is being read: the piece under way, and what follows it.
struct Body {
    under_way: Option<JoinHandle<Result<Bytes>>>,
    rest: Rest,
    reads: Arc<Semaphore>,
}

impl Body {
    /// Starts to read the next piece.
    fn advance(&mut self, permit: Permit) {
        let end = piece_end(&self.rest.range);
        let (file, range) = (Arc::clone(&self.rest.file), self.rest.range.start..end);
        self.rest.range.start = end;
        // By the thread that passes the bytes on and frees them: each of the pool's threads would keep memory of its own.
        let room = Vec::with_capacity(usize::try_from(end - range.start).unwrap_or(0));
        self.under_way = Some(tokio::task::spawn_blocking(move || {
            let piece = file.piece(range, room);
            drop(permit);
            piece
        }));
    }

    /// Starts to read the next piece if there is one and the pool has room.
    fn read_ahead(&mut self) {
        if !self.rest.range.is_empty()
            && let Some(permit) = try_acquire(&self.reads)
        {
            self.advance(permit);
        }
    }

    async fn next(&mut self) -> Option<Result<Bytes>> {
        if self.under_way.is_none() {
            if self.rest.range.is_empty() {
                return None;
            }
            match acquire(&self.reads).await {
                Ok(permit) => self.advance(permit),
                Err(error) => return Some(Err(error)),
            }
        }
        let piece = join(self.under_way.as_mut()?.await);
        self.under_way = None;
        if piece.is_ok() {
            self.read_ahead();
        } else {
            self.rest.range.start = self.rest.range.end;
        }
        Some(piece)
    }
}

fn body(
    first: Option<Bytes>,
    rest: Rest,
    reads: Arc<Semaphore>,
) -> BoxStream<'static, Result<Bytes>> {
    let mut body = Body {
        under_way: None,
        rest,
        reads,
    };
    body.read_ahead();
    let later = stream::unfold(body, |mut body| async move {
        body.next().await.map(|piece| (piece, body))
    });
    stream::iter(first.map(Ok)).chain(later).fuse().boxed()
}

/// A read of one folder, and one of all.
struct Permit {
    _of_folder: OwnedSemaphorePermit,
    _of_all: SemaphorePermit<'static>,
}

async fn acquire(reads: &Arc<Semaphore>) -> Result<Permit> {
    let closed = |error| failed(std::io::Error::other(error));
    Ok(Permit {
        _of_folder: Arc::clone(reads).acquire_owned().await.map_err(closed)?,
        _of_all: ALL_READS.acquire().await.map_err(closed)?,
    })
}

fn try_acquire(reads: &Arc<Semaphore>) -> Option<Permit> {
    Some(Permit {
        _of_folder: Arc::clone(reads).try_acquire_owned().ok()?,
        _of_all: ALL_READS.try_acquire().ok()?,
    })
}

async fn blocking<T: Send + 'static>(
    permit: Permit,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    join(
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        })
        .await,
    )
}

fn join<T>(joined: Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    joined.unwrap_or_else(|error| Err(failed(std::io::Error::other(error))))
}

fn failed(error: std::io::Error) -> Error {
    Error::Generic {
        store: STORE,
        source: Box::new(error),
    }
}

fn not_found(root: &Root, location: &Path, why: &str) -> Error {
    let source = format!(
        "no artifact {location} in folder {}: {why}",
        root.path().display()
    )
    .into();
    Error::NotFound {
        path: location.to_string(),
        source,
    }
}

fn open_error(root: &Root, location: &Path, error: OpenError) -> Error {
    match error {
        OpenError::Missing => not_found(root, location, "it does not exist"),
        OpenError::Outside => not_found(root, location, "it is a link out of the folder"),
        OpenError::Loop => not_found(root, location, "it is a link in a circle"),
        OpenError::TooLong => not_found(root, location, "its path is too long"),
        OpenError::Io(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Error::PermissionDenied {
                path: location.to_string(),
                source: Box::new(error),
            }
        }
        OpenError::Io(error) => failed(error),
    }
}
