//! The walk that lists a folder.
//!
//! It promises that a walk which ends well has seen every file that was there all the time under a name that was not given
//! anew (those are for [`lookup`](super::lookup)); one that could not read a folder is an error. Files that come or go
//! meanwhile may be in or out, and a folder that vanishes is taken as empty.
//! Symbolic links are followed inside the folder only, and never into a folder they lie in. Memory is that of the entries
//! and of the paths of the folders still to be read. Everything here blocks.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat, fstat, statat};
use rustix::io::Errno;
use vdt_table::SourceContext;

use super::beneath::{OpenError, OpenRoot, Root};
use super::{Facts, entry, failed, io_failed, is_system_folder};
use crate::source::SourceError;
use crate::source::globs::Globs;
use crate::source::key::unservable;
use crate::source::listing::{Part, SkipReason};

/// Entries after which a folder's part is handed over although the folder has more.
pub(super) const PART_ENTRIES: usize = 1024;

/// Time after which it is handed over, though it may be empty: who waits for it sees that the file system answers.
const PART_TIME: Duration = Duration::from_secs(10);

/// Links to folders followed one inside the other. Links side by side multiply, so this bounds what a few can unfold to.
const LINKS_NESTED_MAX: u8 = 8;

/// Folders of one walk that are reached through links. A few folders that link to each other unfold to millions.
const LINKED_FOLDERS_MAX: u32 = 100_000;

/// Longest path that the system opens, in bytes (PATH_MAX without its NUL).
const PATH_BYTES_MAX: usize = 4095;

/// Bits of a file's mode that let owner, group and others read it.
const READABLE_BY_ALL: u32 = 0o444;

/// A folder still to be read.
struct Pending {
    /// Path below the root, with a trailing slash; empty for the root.
    path: Vec<u8>,
    /// Links to folders that the path goes through.
    links: u8,
    /// The folders it lies in, by which a link into one of them is known.
    inside: Option<Arc<Ancestor>>,
}

struct Ancestor {
    device: u64,
    inode: u64,
    inside: Option<Arc<Ancestor>>,
}

struct Walk<'a, F> {
    context: &'a SourceContext,
    root: &'a Root,
    open: OpenRoot<'a>,
    globs: &'a Globs,
    pending: Vec<Pending>,
    /// Folders reached through links so far.
    linked: u32,
    part: Part,
    /// When a part was handed over last.
    handed_over: Instant,
    deliver: F,
}

/// Walks the folder that is `open` and hands its artifacts to `deliver` in parts, until that returns false.
pub(super) fn walk(
    context: &SourceContext,
    root: &Root,
    open: OpenRoot<'_>,
    globs: &Globs,
    deliver: impl FnMut(Part) -> bool,
) -> Result<(), SourceError> {
    let mut walk = Walk {
        context,
        root,
        open,
        globs,
        pending: Vec::new(),
        linked: 0,
        part: Part::default(),
        handed_over: Instant::now(),
        deliver,
    };
    walk.pending.push(Pending {
        path: Vec::new(),
        links: 0,
        inside: None,
    });
    while let Some(folder) = walk.pending.pop() {
        walk.read_folder(&folder)?;
        if !walk.hand_over() {
            return Ok(());
        }
    }
    Ok(())
}

impl<F: FnMut(Part) -> bool> Walk<'_, F> {
    fn hand_over(&mut self) -> bool {
        self.handed_over = Instant::now();
        (self.deliver)(std::mem::take(&mut self.part))
    }

    fn read_folder(&mut self, folder: &Pending) -> Result<(), SourceError> {
        let name = folder.path.strip_suffix(b"/").unwrap_or(&folder.path);
        let fd = match self.open.open(name, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(fd) => fd,
            Err(error) => return self.unopened(name, error),
        };
        self.part.requests += 1;
        let stat = fstat(&fd).map_err(|error| self.failed(name, error))?;
        let me = Arc::new(Ancestor {
            device: stat.st_dev,
            inode: stat.st_ino,
            inside: folder.inside.clone(),
        });
        let mut entries = Dir::new(fd).map_err(|error| self.failed(name, error))?;
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|error| self.failed(name, error))?;
            let file_name = entry.file_name().to_bytes();
            if file_name == b"." || file_name == b".." {
                continue;
            }
            let path = [&folder.path, file_name].concat();
            if path.len() > PATH_BYTES_MAX {
                self.part.skip(SkipReason::TooLong, &path);
                continue;
            }
            if entry.file_type() == FileType::Directory {
                self.folder(path, folder.links, &me);
                continue;
            }
            let fd = entries.fd().map_err(|error| self.failed(name, error))?;
            match statat(fd.as_fd(), entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => self.entry(path, &stat, folder.links, &me)?,
                Err(Errno::NOENT) => {}
                Err(error) => return Err(self.failed(&path, error)),
            }
            let is_due =
                self.part.entries.len() >= PART_ENTRIES || self.handed_over.elapsed() >= PART_TIME;
            if is_due && !self.hand_over() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        path: Vec<u8>,
        stat: &Stat,
        links: u8,
        me: &Arc<Ancestor>,
    ) -> Result<(), SourceError> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.file(&path, stat),
            FileType::Directory => self.folder(path, links, me),
            FileType::Symlink => return self.link(path, links, me),
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => self.skip(SkipReason::SpecialFile, &path),
        }
        Ok(())
    }

    fn folder(&mut self, mut path: Vec<u8>, links: u8, me: &Arc<Ancestor>) {
        if links > 0 {
            if self.linked == LINKED_FOLDERS_MAX {
                return self.skip(SkipReason::LinkLoop, &path);
            }
            self.linked += 1;
        }
        if !self.globs.closes(&path) {
            path.push(b'/');
            self.pending.push(Pending {
                path,
                links,
                inside: Some(Arc::clone(me)),
            });
        }
    }

    fn link(&mut self, path: Vec<u8>, links: u8, me: &Arc<Ancestor>) -> Result<(), SourceError> {
        let target = match self.open.open(&path, OFlags::PATH) {
            Ok(fd) => fstat(&fd).map_err(|error| self.failed(&path, error))?,
            Err(OpenError::Missing) => {
                self.skip(SkipReason::LinkBroken, &path);
                return Ok(());
            }
            Err(error) => return self.unopened(&path, error),
        };
        if FileType::from_raw_mode(target.st_mode) != FileType::Directory {
            // The link may have become something else since it was read; what is behind it now counts.
            return self.entry(path, &target, links, me);
        }
        let mut ancestor = Some(me);
        while let Some(folder) = ancestor {
            if (folder.device, folder.inode) == (target.st_dev, target.st_ino) {
                self.skip(SkipReason::LinkLoop, &path);
                return Ok(());
            }
            ancestor = folder.inside.as_ref();
        }
        if links == LINKS_NESTED_MAX {
            self.skip(SkipReason::LinkLoop, &path);
        } else {
            self.folder(path, links + 1, me);
        }
        Ok(())
    }

    fn file(&mut self, path: &[u8], stat: &Stat) {
        if !self.globs.pass(path) {
            self.part.excluded += 1;
            return;
        }
        let facts = Facts::of(stat);
        match std::str::from_utf8(path) {
            Err(_) => self.part.skip(SkipReason::NotUtf8, path),
            Ok(key) => match unservable(key, facts.size) {
                Some(reason) => self.part.skip(reason, path),
                None => {
                    // Nearly every file is readable by all, which needs no call.
                    if stat.st_mode & READABLE_BY_ALL != READABLE_BY_ALL
                        && self.open.is_refused(path)
                    {
                        self.part.unreadable.note(path);
                    }
                    let entry = entry(self.context, &self.open, key, &facts);
                    self.part.entries.push(entry);
                }
            },
        }
    }

    /// Counts what is not a file, unless the globs leave it out anyway.
    fn skip(&mut self, reason: SkipReason, path: &[u8]) {
        if self.globs.pass(path) {
            self.part.skip(reason, path);
        } else {
            self.part.excluded += 1;
        }
    }

    fn unopened(&mut self, path: &[u8], error: OpenError) -> Result<(), SourceError> {
        match error {
            // The root itself must be there; anything below may have gone meanwhile.
            OpenError::Missing if !path.is_empty() => {}
            OpenError::Outside => self.skip(SkipReason::LinkOutside, path),
            OpenError::Loop => self.skip(SkipReason::LinkLoop, path),
            OpenError::TooLong => self.part.skip(SkipReason::TooLong, path),
            error if is_system_folder(path, &error) => self.skip(SkipReason::SystemFolder, path),
            error if path.is_empty() => {
                let error = io_error(error);
                return Err(io_failed(&self.context.name, self.root.path(), error));
            }
            error => return Err(self.io(path, io_error(error))),
        }
        Ok(())
    }

    fn failed(&self, path: &[u8], error: Errno) -> SourceError {
        self.io(path, error.into())
    }

    fn io(&self, path: &[u8], error: std::io::Error) -> SourceError {
        failed(self.context, self.root, path, error)
    }
}

pub(super) fn io_error(error: OpenError) -> std::io::Error {
    match error {
        OpenError::Missing => Errno::NOENT.into(),
        OpenError::Outside => Errno::XDEV.into(),
        OpenError::Loop => Errno::LOOP.into(),
        OpenError::TooLong => Errno::NAMETOOLONG.into(),
        OpenError::Io(error) => error,
    }
}
