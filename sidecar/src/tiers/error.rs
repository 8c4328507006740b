//! Why the tiers do not open.

use std::{io, path::PathBuf};

/// Why the tiers do not open. A disk tier that is merely broken is no error, unless the options are strict.
#[derive(Debug, thiserror::Error)]
pub enum TiersError {
    /// Another process has the directory.
    #[error("cache directory {} is in use by another process; give each process a directory of its own", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory cannot be made, read or written.
    #[error("cannot use cache directory {}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file system has less room than asked for.
    #[error("file system of {} has room for {usable_bytes} bytes of cache, asked for {wanted_bytes}; enlarge the volume or lower the capacity", dir.display())]
    Smaller {
        /// The directory.
        dir: PathBuf,
        /// Bytes asked for.
        wanted_bytes: u64,
        /// Bytes that can be used.
        usable_bytes: u64,
    },
    /// There is too little room for any disk tier.
    #[error("{usable_bytes} bytes are too few for a disk cache in {}; it needs {needed_bytes}", dir.display())]
    TooSmall {
        /// The directory.
        dir: PathBuf,
        /// Bytes that can be used.
        usable_bytes: u64,
        /// Bytes that are needed at least.
        needed_bytes: u64,
    },
    /// foyer does not open the disk tier.
    #[error("cannot open the disk cache in {}", dir.display())]
    Store {
        /// The directory.
        dir: PathBuf,
        /// What foyer says.
        #[source]
        source: foyer::Error,
    },
}
