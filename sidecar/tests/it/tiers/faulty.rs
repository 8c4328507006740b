//! A file system whose reads and writes fail, tear and lie on request: a folder, shown through FUSE.
//!
//! What the tiers do is system calls of this process, which the kernel sends here; so it is foyer's own I/O that fails.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use parking_lot::Mutex;

use super::skip;

/// A read or a write of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Io {
    Read,
    Write,
    Sync,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    None,
    Fail(Errno),
    /// A bit in its middle turns over.
    Flip,
    /// A write that is said to be done and is not; a read of zeros.
    Lost,
    /// Only the first half is written, and all is said to be.
    Torn,
    /// It does not end before the plan has something else for it.
    Hang,
}

type Plan = Box<dyn FnMut(Io) -> Fault + Send>;

/// The file system, mounted until it is dropped.
pub(super) struct Faulty {
    plan: Arc<Mutex<Plan>>,
    _session: BackgroundSession,
    dir: tempfile::TempDir,
}

impl Faulty {
    /// Mounts it without faults; `None`: see [`skip`].
    pub(super) fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        for folder in ["behind", "shown"] {
            fs::create_dir(dir.path().join(folder)).expect("it is made");
        }
        let plan: Arc<Mutex<Plan>> = Arc::new(Mutex::new(Box::new(|_| Fault::None)));
        let behind = Behind {
            plan: plan.clone(),
            paths: Mutex::new(HashMap::from([(1, dir.path().join("behind"))])),
            files: Mutex::default(),
            next: AtomicU64::new(1),
        };
        match fuser::spawn_mount(behind, dir.path().join("shown"), &Config::default()) {
            Ok(session) => Some(Self {
                plan,
                _session: session,
                dir,
            }),
            Err(error) => {
                let why =
                    format!("this machine does not let the test mount a file system: {error}");
                skip(&why, "/dev/fuse");
                None
            }
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("shown")
    }

    /// What happens from now on.
    pub(super) fn plan(&self, plan: impl FnMut(Io) -> Fault + Send + 'static) {
        *self.plan.lock() = Box::new(plan);
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        // Foyer closes its files when its last task ends: a moment later.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

const TTL: Duration = Duration::ZERO;

/// The folder behind.
struct Behind {
    plan: Arc<Mutex<Plan>>,
    paths: Mutex<HashMap<u64, PathBuf>>,
    files: Mutex<HashMap<u64, Arc<File>>>,
    next: AtomicU64,
}

impl Behind {
    fn fault(&self, io: Io) -> Fault {
        loop {
            let fault = (self.plan.lock())(io);
            if !matches!(fault, Fault::Hang) {
                return fault;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn path(&self, ino: INodeNo) -> io::Result<PathBuf> {
        let found = self.paths.lock().get(&u64::from(ino)).cloned();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> io::Result<PathBuf> {
        Ok(self.path(parent)?.join(name))
    }

    /// The attributes of what is at `path`, whose number is known from now on.
    fn attributes(&self, path: &Path) -> io::Result<FileAttr> {
        let meta = fs::symlink_metadata(path)?;
        let mut paths = self.paths.lock();
        let is_root = paths.get(&1).is_some_and(|root| root == path);
        let ino = if is_root { 1 } else { meta.ino() };
        paths.insert(ino, path.to_owned());
        Ok(attributes(ino, &meta))
    }

    fn keep(&self, file: File) -> FileHandle {
        let handle = self.next.fetch_add(1, Relaxed);
        self.files.lock().insert(handle, Arc::new(file));
        FileHandle(handle)
    }

    fn file(&self, handle: FileHandle) -> io::Result<Arc<File>> {
        let found = self.files.lock().get(&handle.0).cloned();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn read_at(&self, handle: FileHandle, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let fault = self.fault(Io::Read);
        if let Fault::Fail(errno) = fault {
            return Err(errno);
        }
        let file = self.file(handle)?;
        let mut bytes = vec![0; size as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
                0 => break,
                more => filled += more,
            }
        }
        bytes.truncate(filled);
        let middle = filled / 2;
        match fault {
            Fault::Flip if filled > 0 => bytes[middle] ^= 0x10,
            Fault::Lost => bytes.fill(0),
            Fault::Torn => bytes[middle..].fill(0),
            _ => {}
        }
        Ok(bytes)
    }

    fn write_at(&self, handle: FileHandle, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        let fault = self.fault(Io::Write);
        let file = self.file(handle)?;
        let middle = data.len() / 2;
        match fault {
            Fault::None | Fault::Hang => file.write_all_at(data, offset)?,
            Fault::Fail(errno) => return Err(errno),
            Fault::Lost => {}
            Fault::Torn => file.write_all_at(&data[..middle], offset)?,
            Fault::Flip => {
                let mut data = data.to_vec();
                if let Some(byte) = data.get_mut(middle) {
                    *byte ^= 0x10;
                }
                file.write_all_at(&data, offset)?;
            }
        }
        // A request of the kernel has at most some MiB.
        Ok(data.len() as u32)
    }

    fn resize(&self, ino: INodeNo, size: Option<u64>) -> io::Result<FileAttr> {
        let path = self.path(ino)?;
        if let Some(size) = size {
            OpenOptions::new().write(true).open(&path)?.set_len(size)?;
        }
        self.attributes(&path)
    }

    fn make(&self, path: &Path, mode: u32) -> io::Result<(FileAttr, FileHandle)> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(mode).open(path)?;
        Ok((self.attributes(path)?, self.keep(file)))
    }

    fn open_path(&self, ino: INodeNo) -> io::Result<FileHandle> {
        let path = self.path(ino)?;
        let both = OpenOptions::new().read(true).write(true).open(&path);
        Ok(self.keep(both.or_else(|_| File::open(&path))?))
    }

    fn moved(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        for path in self.paths.lock().values_mut() {
            if let Ok(rest) = path.strip_prefix(from) {
                *path = if rest.as_os_str().is_empty() {
                    to.to_owned()
                } else {
                    to.join(rest)
                };
            }
        }
        Ok(())
    }

    fn listed(&self, ino: INodeNo) -> io::Result<Vec<(u64, FileType, std::ffi::OsString)>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.path(ino)?)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            entries.push((meta.ino(), kind(&meta), entry.file_name()));
        }
        entries.sort_by(|a, b| a.2.cmp(&b.2));
        Ok(entries)
    }
}

fn kind(meta: &Metadata) -> FileType {
    if meta.is_dir() {
        FileType::Directory
    } else {
        FileType::RegularFile
    }
}

fn attributes(ino: u64, meta: &Metadata) -> FileAttr {
    let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    FileAttr {
        ino: INodeNo(ino),
        size: meta.size(),
        blocks: meta.blocks(),
        atime: modified,
        mtime: modified,
        ctime: modified,
        crtime: modified,
        kind: kind(meta),
        perm: (meta.mode() & 0o7777) as u16,
        nlink: meta.nlink() as u32,
        uid: meta.uid(),
        gid: meta.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// Answers by `$done` where `$result` is good.
macro_rules! answer {
    ($reply:ident, $result:expr, $value:pat => $done:expr) => {
        match $result {
            Ok($value) => $done,
            Err(error) => $reply.error(error.into()),
        }
    };
}

impl Filesystem for Behind {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self
            .child(parent, name)
            .and_then(|path| self.attributes(&path));
        answer!(reply, found, attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer!(reply, self.resize(ino, None), attr => reply.attr(&TTL, &attr));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        answer!(reply, self.resize(ino, size), attr => reply.attr(&TTL, &attr));
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let made = self.child(parent, name).and_then(|path| {
            fs::DirBuilder::new().mode(mode).create(&path)?;
            self.attributes(&path)
        });
        answer!(reply, made, attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.child(parent, name).and_then(fs::remove_file);
        answer!(reply, removed, () => reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.child(parent, name).and_then(fs::remove_dir);
        answer!(reply, removed, () => reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to_parent: INodeNo,
        to_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let moved = self
            .child(parent, name)
            .and_then(|from| self.moved(&from, &self.child(to_parent, to_name)?));
        answer!(reply, moved, () => reply.ok());
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Past the kernel's cache, so that every read and write comes here.
        answer!(reply, self.open_path(ino), handle => reply.opened(handle, FopenFlags::FOPEN_DIRECT_IO));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let made = self
            .child(parent, name)
            .and_then(|path| self.make(&path, mode));
        answer!(reply, made, (attr, handle) => {
            reply.created(&TTL, &attr, Generation(0), handle, FopenFlags::FOPEN_DIRECT_IO);
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        answer!(reply, self.read_at(handle, offset, size), bytes => reply.data(&bytes));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        answer!(reply, self.write_at(handle, offset, data), bytes => reply.written(bytes));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.fault(Io::Sync) {
            Fault::Fail(errno) => reply.error(errno),
            _ => reply.ok(),
        }
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        _: i32,
        reply: ReplyEmpty,
    ) {
        let grown = self.file(handle).and_then(|file| {
            let end = offset + length;
            if file.metadata()?.len() < end {
                file.set_len(end)?;
            }
            Ok(())
        });
        answer!(reply, grown, () => reply.ok());
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.files.lock().remove(&handle.0);
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let entries = match self.listed(ino) {
            Ok(entries) => entries,
            Err(error) => return reply.error(error.into()),
        };
        for (at, (ino, kind, name)) in entries.into_iter().enumerate().skip(offset as usize) {
            if reply.add(INodeNo(ino), at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        // 16 GiB, all of it free.
        let blocks = 4 << 20;
        reply.statfs(blocks, blocks, blocks, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}
