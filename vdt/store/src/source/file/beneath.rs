//! Opening a path below a folder without ever leaving it.
//!
//! A symbolic link is followed only if what it leads to lies inside the folder. The kernel decides (`openat2` with
//! `RESOLVE_BENEATH`), so a path that is swapped for a link at the wrong moment does not get out. The kernel also refuses
//! absolute links that lead back inside, and old or sandboxed kernels have no `openat2`: there the path is opened without
//! access (`O_PATH`), the kernel is asked where it ended up (`/proc/self/fd`), and that place is opened if it lies inside.
//!
//! The folder itself may be reached through a link, which may be switched to another folder at any time: a release is put in
//! place of another that way. So its path is followed anew each time it is opened. Where it leads is a part of the entity tag of
//! every file ([`OpenRoot::etag`]): a file of one folder is never taken for one of another.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    Access, AtFlags, CWD, Mode, OFlags, ResolveFlags, accessat, fstatfs, openat, openat2,
};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::facts::Facts;

/// A folder by path.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    /// Canonical path of a folder that it must not lead out of.
    within: Option<PathBuf>,
}

/// A folder that is open; paths are opened below it.
#[derive(Debug)]
pub(super) struct OpenRoot<'a> {
    fd: OwnedFd,
    /// Canonical path of the folder.
    place: Cow<'a, Path>,
    /// Tells folders apart that the root's path has led to. Empty where it leads through no link; the same on all machines
    /// that mount the same claim.
    etag_suffix: String,
    /// Whether a file keeps its inode while nobody writes it.
    keeps_inodes: bool,
}

/// Why a path below a root cannot be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// It is a link, or goes through a link, out of the root.
    Outside,
    /// It is a link in a circle, or goes through one.
    Loop,
    /// It does not exist, or no longer.
    Missing,
    /// It is longer than the system can open.
    TooLong,
    /// Anything else, a missing permission for example.
    Io(io::Error),
}

impl From<Errno> for OpenError {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NOENT | Errno::NOTDIR | Errno::NXIO => Self::Missing,
            Errno::LOOP => Self::Loop,
            Errno::NAMETOOLONG => Self::TooLong,
            Errno::XDEV => Self::Outside,
            other => Self::Io(other.into()),
        }
    }
}

/// The kernel gives up with EAGAIN when a rename races with the resolution. This often in a row is hostile, or bad luck, and says
/// nothing about the path: it is an error.
const RESOLVE_ATTEMPTS: usize = 16;

/// Repeats what a race or a signal has ended.
fn resolved<T>(mut open: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    let mut opened = open();
    for _ in 1..RESOLVE_ATTEMPTS {
        match opened {
            Err(Errno::AGAIN | Errno::INTR) => opened = open(),
            _ => break,
        }
    }
    opened
}

/// Never blocks on a pipe, never becomes a controlling terminal, never leaks into a child.
const ALWAYS: OFlags = OFlags::CLOEXEC
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

impl Root {
    /// Takes an absolute path, which may lead through links, and the canonical path of a folder that it must not lead out of.
    pub(super) fn new(path: PathBuf, within: Option<PathBuf>) -> Self {
        Self { path, within }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A path as it is named: below the folder that the root must not lead out of, or absolute where there is none.
    fn relative<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        match &self.within {
            Some(within) => path.strip_prefix(within).ok(),
            None => Some(path),
        }
    }

    /// The root's path, as it is named.
    pub(super) fn relative_path(&self) -> &Path {
        self.relative(&self.path).unwrap_or(&self.path)
    }

    /// Opens the folder that the path leads to now.
    pub(super) fn open(&self) -> Result<OpenRoot<'_>, OpenError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let no_links = ResolveFlags::NO_SYMLINKS;
        let (fd, place) = match openat2(CWD, &self.path, flags, Mode::empty(), no_links) {
            Ok(fd) => (fd, Cow::Borrowed(self.path())),
            Err(_) => {
                let fd = openat(CWD, &self.path, flags, Mode::empty())?;
                let place = place_of(&fd)?;
                (fd, Cow::Owned(place))
            }
        };
        let (Some(named), Some(found)) = (self.relative(&self.path), self.relative(&place)) else {
            return Err(OpenError::Outside);
        };
        let etag_suffix = match named == found {
            true => String::new(),
            false => {
                let digest = Sha256::digest(found.as_os_str().as_bytes());
                format!("-{}", hex::encode(&digest[..8]))
            }
        };
        // Where the system does not say what it is, it is like most.
        let number = fstatfs(&fd).map_or(0, |found| u64::try_from(found.f_type).unwrap_or(0));
        Ok(OpenRoot {
            fd,
            place,
            etag_suffix,
            keeps_inodes: !INVENTS_INODES.contains(&number),
        })
    }
}

/// File systems that may give a file another inode each time it is met, by their number (statfs(2)): FUSE, as which buckets are mounted, 9p, CIFS and
/// SMB2.
const INVENTS_INODES: [u64; 4] = [0x6573_5546, 0x0102_1997, 0xff53_4d42, 0xfe53_4d42];

/// Canonical path of what is open.
fn place_of(fd: &OwnedFd) -> Result<PathBuf, OpenError> {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    std::fs::read_link(link).map_err(OpenError::Io)
}

impl OpenRoot<'_> {
    /// Canonical path of the folder.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// Entity tag of a file below the folder: what tells its content, and where a root that is reached through a link leads.
    pub(super) fn etag(&self, facts: &Facts) -> String {
        let facts = match self.keeps_inodes {
            true => *facts,
            false => facts.without_inode(),
        };
        facts.etag() + &self.etag_suffix
    }

    /// Opens a file or folder by its path below the root; the root itself when `path` is empty.
    pub(super) fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, OpenError> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let flags = if flags.contains(OFlags::PATH) {
            flags | OFlags::CLOEXEC
        } else {
            flags | ALWAYS
        };
        match resolved(|| openat2(&self.fd, path, flags, Mode::empty(), resolve)) {
            Err(Errno::XDEV | Errno::NOSYS) => self.open_where_it_leads(path, flags),
            opened => Ok(opened?),
        }
    }

    /// Whether this user is refused the content of a file, as far as can be told without opening it. For advice only: the path is not held
    /// below the root.
    pub(super) fn is_refused(&self, path: &[u8]) -> bool {
        accessat(&self.fd, path, Access::READ_OK, AtFlags::EACCESS) == Err(Errno::ACCESS)
    }

    fn open_where_it_leads(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, OpenError> {
        let seen = openat(
            &self.fd,
            path,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let place = self.place_inside(&seen)?;
        if flags.contains(OFlags::PATH) {
            return Ok(seen);
        }
        let opened = openat(
            &self.fd,
            place.as_os_str().as_bytes(),
            flags | OFlags::NOFOLLOW,
            Mode::empty(),
        )?;
        // A folder on the way may have become a link since.
        if self.place_inside(&opened)? == place {
            Ok(opened)
        } else {
            Err(OpenError::Outside)
        }
    }

    /// Path below the root of what is open.
    fn place_inside(&self, fd: &OwnedFd) -> Result<PathBuf, OpenError> {
        match place_of(fd)?.strip_prefix(&self.place) {
            Ok(inside) if inside.as_os_str().is_empty() => Ok(PathBuf::from(OsStr::new("."))),
            Ok(inside) => Ok(inside.to_path_buf()),
            Err(_) => Err(OpenError::Outside),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_inode_counts_where_a_file_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path().canonicalize().unwrap(), None);
        let etags = |keeps_inodes| {
            let open = OpenRoot {
                keeps_inodes,
                ..root.open().unwrap()
            };
            [1, 2].map(|inode| open.etag(&Facts::of_inode(inode)))
        };
        let [one, two] = etags(true);
        assert_ne!(one, two);
        let [one, two] = etags(false);
        assert_eq!(one, two);
    }

    #[test]
    fn a_race_that_does_not_end_is_an_error_and_no_loop() {
        let mut calls = 0;
        let never = resolved(|| {
            calls += 1;
            Err::<(), _>(Errno::AGAIN)
        });
        assert_eq!((calls, never), (RESOLVE_ATTEMPTS, Err(Errno::AGAIN)));
        let told = OpenError::from(Errno::AGAIN);
        assert!(
            matches!(&told, OpenError::Io(error) if error.kind() == io::ErrorKind::WouldBlock),
            "{told:?}"
        );
    }

    #[test]
    fn a_race_that_ends_is_forgotten() {
        let mut left = [Err(Errno::AGAIN), Err(Errno::INTR), Ok(7)].into_iter();
        assert_eq!(resolved(|| left.next().unwrap_or(Ok(0))), Ok(7));
        assert_eq!(resolved(|| Err::<(), _>(Errno::LOOP)), Err(Errno::LOOP));
    }
}
