//! The ready file of both binaries: addresses and tables as JSON, for scripts. Written whole or not at all, removed at the end.

use std::{fs, io, net::SocketAddr, path::Path};

use serde::Serialize;
use vdt_crds::VirtualTable;

/// What `--ready-file` holds.
#[derive(Debug, Serialize)]
pub struct Ready {
    /// Address of the data listener, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Address of the admin listener, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<SocketAddr>,
    /// The origin's socket, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<std::path::PathBuf>,
    /// Tables served.
    pub tables: Vec<ReadyTable>,
}

/// A table in the ready file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadyTable {
    /// First part of its name.
    pub catalog: String,
    /// Second part.
    pub schema: String,
    /// Third part.
    pub name: String,
    /// URL of the S3 dialect.
    pub s3: String,
    /// URL of the HTTP dialect.
    pub http: String,
    /// Newest version.
    pub version: u64,
    /// Artifacts in it.
    pub artifacts: u64,
}

impl ReadyTable {
    /// A table of which no version is known yet, as it is found by way of the data listener on `listen`.
    #[must_use]
    pub fn of(table: &VirtualTable, listen: Option<SocketAddr>, is_tls: bool) -> Self {
        let path = table.table_path();
        let scheme = if is_tls { "https" } else { "http" };
        Self {
            catalog: table.catalog().to_owned(),
            schema: table.schema_name().to_owned(),
            name: table.table_name().to_owned(),
            s3: format!("s3://{path}"),
            http: listen.map_or_else(String::new, |listen| {
                format!("{scheme}://{listen}/v1/{path}")
            }),
            version: 0,
            artifacts: 0,
        }
    }
}

impl Ready {
    /// Writes the file by renaming a finished one, so that a script that waits for it never reads half of it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut staged = path.as_os_str().to_owned();
        staged.push(".new");
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        fs::write(&staged, text)?;
        fs::rename(&staged, path)
    }
}
