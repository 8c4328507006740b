//! The ready file: addresses and tables as JSON, for scripts. Written whole or not at all, removed at the end.

use std::{fs, io, net::SocketAddr, path::Path};

use serde::Serialize;

/// What `--ready-file` holds.
#[derive(Debug, Serialize)]
pub(crate) struct Ready {
    /// Address of the data listener.
    pub(crate) listen: SocketAddr,
    /// Address of the admin listener.
    pub(crate) admin: SocketAddr,
    /// Tables served.
    pub(crate) tables: Vec<ReadyTable>,
}

/// A table in the ready file.
#[derive(Debug, Serialize)]
pub(crate) struct ReadyTable {
    /// First part of its name.
    pub(crate) catalog: String,
    /// Second part.
    pub(crate) schema: String,
    /// Third part.
    pub(crate) name: String,
    /// URL of the S3 dialect.
    pub s3: String,
    /// URL of the HTTP dialect.
    pub(crate) http: String,
    /// Newest version.
    pub(crate) version: u64,
    /// Artifacts in it.
    pub(crate) artifacts: u64,
}

impl Ready {
    /// Writes the file by renaming a finished one, so that a script that waits for it never reads half of it.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let mut staged = path.as_os_str().to_owned();
        staged.push(".new");
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        fs::write(&staged, text)?;
        fs::rename(&staged, path)
    }
}
