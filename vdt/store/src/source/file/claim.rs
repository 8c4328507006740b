//! The folder of a claim, as the operator mounts it: `<claims dir>/<claim>/<file.path>`.
//!
//! The folder lies inside its claim, also where `file.path` is a symbolic link. Whoever fills the claim therefore shows nothing of the pod.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
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
        let invalid = |field, value: &str, problem: String| SourceError::Invalid {
            name: Arc::clone(name),
            field,
            value: value.to_owned(),
            problem,
        };
        let Some(claims) = &env.claims_dir else {
            let problem = format!(
                "a claim, which pods have and this machine does not; leave claimName out and give a path relative to the manifest, or give --claims-dir DIR with the claim's files in DIR/{claim}"
            );
            return Err(invalid(FIELD, claim, problem));
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
        let found = Self::open(name, &mount.join(path))?;
        if !found.path().starts_with(&mount) {
            let problem = "a link that leads out of the claim; name a folder inside it".to_owned();
            return Err(invalid("file.path", path, problem));
        }
        Ok(Self {
            mount: Some(mount.into()),
            ..found
        })
    }

    /// Path of the folder below its claim, empty for the claim itself and for a folder of the machine.
    pub(in crate::source) fn path_in_claim(&self) -> &[u8] {
        let below = self
            .mount
            .as_deref()
            .and_then(|mount: &Path| self.path().strip_prefix(mount).ok());
        below.map_or(b"", |below| below.as_os_str().as_bytes())
    }
}
