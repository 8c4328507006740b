//! What tells one content of a file from another, and how the system is asked for it.
//!
//! A write changes the modification time, which anybody may set back; that changes the change time, which nobody can set. So
//! does much that is no write: another owner or mode, a hard link more or less, another name.

use std::os::fd::AsFd;

use chrono::{DateTime, Utc};
use rustix::fs::{AtFlags, FileType, Stat, Statx, StatxFlags, fstat, statx};
use rustix::io::Errno;

/// What tells one content of a file from another.
///
/// ```text
///   etag = <mtime, ns, hex>-<size, hex>-<inode, hex>-<ctime, ns, hex>      181d2a4f9c3b7e00-1f400-2a0f31-181d2a4f9c3b7e00
/// ```
///
/// A folder that is reached through a link adds where that leads; on a file system that invents inodes 0 stands for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) size: u64,
    mtime_ns: i128,
    inode: u64,
    ctime_ns: i128,
}

const NANOS_PER_MILLI: i128 = 1_000_000;
const NANOS_PER_SECOND: i128 = 1_000_000_000;

impl Facts {
    /// Of a file that was met by name, as the system has it at hand.
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: nanos(stat.st_mtime, stat.st_mtime_nsec),
            inode: stat.st_ino,
            ctime_ns: nanos(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// For file systems that invent inodes: 0 stands for it.
    pub(super) fn without_inode(self) -> Self {
        Self { inode: 0, ..self }
    }

    pub(super) fn etag(&self) -> String {
        let (mtime, ctime) = (self.mtime_ns, self.ctime_ns);
        format!("{mtime:x}-{:x}-{:x}-{ctime:x}", self.size, self.inode)
    }

    /// Unix milliseconds, rounded down.
    pub(super) fn last_modified_ms(&self) -> i64 {
        i64::try_from(self.mtime_ns.div_euclid(NANOS_PER_MILLI)).unwrap_or(0)
    }

    pub(super) fn last_modified(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.last_modified_ms()).unwrap_or_default()
    }
}

/// The change time that an entity tag tells, in nanoseconds.
pub(super) fn changed_ns(etag: &str) -> Option<i128> {
    i128::from_str_radix(etag.split('-').nth(3)?, 16).ok()
}

fn nanos(seconds: impl Into<i128>, nanos: impl Into<i128>) -> i128 {
    seconds.into() * NANOS_PER_SECOND + nanos.into()
}

/// An open file as it is now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) facts: Facts,
    pub(super) kind: FileType,
    /// Some name leads to it.
    is_linked: bool,
}

impl Seen {
    /// Asks about an open file; the server of a network mount, and not what the machine remembers of its answers. A system
    /// that knows no `statx` is asked as it can be.
    pub(super) fn now(fd: impl AsFd) -> Result<Self, Errno> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
        match statx(&fd, c"", flags, StatxFlags::BASIC_STATS) {
            Ok(found) => Ok(Self::of(&found)),
            Err(Errno::NOSYS) => fstat(&fd).map(|found| Self::of_stat(&found)),
            Err(error) => Err(error),
        }
    }

    fn of(found: &Statx) -> Self {
        Self {
            facts: Facts {
                size: found.stx_size,
                mtime_ns: nanos(found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec),
                inode: found.stx_ino,
                ctime_ns: nanos(found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec),
            },
            kind: FileType::from_raw_mode(found.stx_mode.into()),
            is_linked: found.stx_nlink > 0,
        }
    }

    fn of_stat(found: &Stat) -> Self {
        Self {
            facts: Facts::of(found),
            kind: FileType::from_raw_mode(found.st_mode),
            is_linked: found.st_nlink > 0,
        }
    }

    /// Whether the content is still that of `before`. A file that lost its last name, as one that is replaced by a rename,
    /// changed its change time by that. Nobody can open it any more; who has it open and writes changes the other time.
    pub(super) fn is_still(&self, before: &Facts) -> bool {
        let facts = match self.is_linked {
            true => self.facts,
            false => Facts {
                ctime_ns: before.ctime_ns,
                ..self.facts
            },
        };
        facts == *before
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::File;

    use super::*;

    impl Facts {
        pub(in super::super) fn of_inode(inode: u64) -> Self {
            Self { inode, ..FACTS }
        }
    }

    const FACTS: Facts = Facts {
        size: 0x1f400,
        mtime_ns: 1_700_000_000_123_456_789,
        inode: 42,
        ctime_ns: 1_700_000_000_123_456_790,
    };

    #[test]
    fn facts_tell_time_in_milliseconds_and_all_of_it_in_the_etag() {
        assert_eq!(FACTS.last_modified_ms(), 1_700_000_000_123);
        assert_eq!(FACTS.etag(), "17979cfe3d85cd15-1f400-2a-17979cfe3d85cd16");
        assert_eq!(changed_ns(&FACTS.etag()), Some(FACTS.ctime_ns));
        assert_eq!(changed_ns(&(FACTS.etag() + "-00")), Some(FACTS.ctime_ns));
        assert_eq!(changed_ns("other"), None);
        let before = Facts {
            mtime_ns: -1,
            ..FACTS
        };
        assert_eq!(before.last_modified_ms(), -1);
    }

    #[test]
    fn both_ways_to_ask_tell_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "some").unwrap();
        let file = File::open(&path).unwrap();
        let (asked, stat) = (Seen::now(&file).unwrap(), fstat(&file).unwrap());
        assert_eq!(asked.facts, Facts::of(&stat));
        assert_eq!(asked.kind, Seen::of_stat(&stat).kind);
        assert!(asked.is_linked && Seen::of_stat(&stat).is_linked);
        std::fs::remove_file(&path).unwrap();
        assert!(!Seen::now(&file).unwrap().is_linked);
    }

    #[test]
    fn the_change_time_counts_while_a_file_has_a_name() {
        let changed = Facts {
            ctime_ns: FACTS.ctime_ns + 1,
            ..FACTS
        };
        let seen = |facts, is_linked| Seen {
            facts,
            kind: FileType::RegularFile,
            is_linked,
        };
        assert!(seen(FACTS, true).is_still(&FACTS));
        assert!(!seen(changed, true).is_still(&FACTS));
        assert!(seen(changed, false).is_still(&FACTS));
        let written = Facts {
            mtime_ns: 0,
            ..changed
        };
        assert!(!seen(written, false).is_still(&FACTS));
    }
}
