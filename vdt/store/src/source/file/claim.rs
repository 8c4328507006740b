//! The folder of a claim, as the operator mounts it: `<claims dir>/<claim>/<file.path>`.
//!
//! The folder lies inside its claim, also where `file.path` is a symbolic link, wherever that is switched to. Whoever fills the
//! claim therefore shows nothing of the pod.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use super::FileSource;
use crate::source::error::plain;
use crate::source::{SourceEnv, SourceError};

const FIELD: &str = "file.claimName";

impl FileSource {
    /// Finds the folder `path` of `claim`.
    pub(in crate::source) fn of_claim(
        name: &Arc<str>,
        claim: &str,
        path: &str,
        env: &SourceEnv,
    ) -> Result<Self, SourceError> {
        plain(name, FIELD, claim)?;
        let Some(claims) = &env.claims_dir else {
            return Err(SourceError::Invalid {
                name: Arc::clone(name),
                field: FIELD,
                value: claim.to_owned(),
                problem: format!(
                    "a claim, which pods have and this machine does not; leave claimName out and give a path relative to the manifest, or give --claims-dir DIR with the claim's files in DIR/{claim}"
                ),
            });
        };
        let mount = claims.join(claim);
        let mount = std::fs::canonicalize(&mount).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                return SourceError::NotFound {
                    name: Arc::clone(name),
                    what: format!("claim {claim}, at {},", mount.display()),
                    remedy: "mount it there; the operator does so in pods that it makes after the claim was named",
                };
            }
            SourceError::Io {
                name: Arc::clone(name),
                path: mount,
                error,
            }
        })?;
        Self::open(name, &mount.join(path), Some(mount))
    }

    /// Path of the folder below its claim, as it was declared; empty for the claim itself.
    pub(in crate::source) fn path_in_claim(&self) -> &[u8] {
        self.root.relative_path().as_os_str().as_bytes()
    }
}
