//! Secrets and ConfigMaps as files.
//!
//! ```text
//!   <secrets-dir>/<secret name>/<key>                  a Secret
//!   <secrets-dir>/configmap-<name>/<key>               a ConfigMap
//! ```
//!
//! In a cluster the operator mounts them there, on a laptop `--secrets-dir` names the folder. Values are read when they are
//! needed and kept nowhere longer than [`s3::credentials`](super::s3) says.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::SourceError;

/// One Secret or ConfigMap.
#[derive(Clone, Debug)]
pub(super) struct SecretFiles {
    source: Arc<str>,
    /// As people call it: `Secret corp-ro`.
    object: String,
    folder: Option<PathBuf>,
}

impl SecretFiles {
    pub(super) fn secret(
        source: &Arc<str>,
        secrets_dir: Option<&Path>,
        name: &str,
    ) -> Result<Self, SourceError> {
        plain(source, "credentials.secretRef.name", name)?;
        Ok(Self {
            source: Arc::clone(source),
            object: format!("Secret {name}"),
            folder: secrets_dir.map(|folder| folder.join(name)),
        })
    }

    pub(super) fn config_map(
        source: &Arc<str>,
        secrets_dir: Option<&Path>,
        name: &str,
    ) -> Result<Self, SourceError> {
        plain(source, "caBundle.name", name)?;
        Ok(Self {
            source: Arc::clone(source),
            object: format!("ConfigMap {name}"),
            folder: secrets_dir.map(|folder| folder.join(format!("configmap-{name}"))),
        })
    }

    /// Where a key is read from, for messages.
    pub(super) fn file(&self, key: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(key))
    }

    /// Reads a key. Blocks for one small file.
    pub(super) fn bytes(&self, key: &str) -> Result<Vec<u8>, SourceError> {
        plain(&self.source, "key", key)?;
        self.file(key)
            .and_then(|file| std::fs::read(file).ok())
            .filter(|value| !value.trim_ascii().is_empty())
            .ok_or_else(|| self.missing(key))
    }

    /// Reads a key that is one line of ASCII, as a header can hold it, without the line end that editors add.
    pub(super) fn line(&self, key: &str) -> Result<String, SourceError> {
        let bytes = self.bytes(key)?;
        let text = str::from_utf8(bytes.trim_ascii()).map_err(|_| self.missing(key))?;
        if !text.is_ascii() || text.chars().any(char::is_control) {
            Err(self.missing(key))
        } else {
            Ok(text.to_owned())
        }
    }

    fn missing(&self, key: &str) -> SourceError {
        SourceError::MissingSecret {
            name: Arc::clone(&self.source),
            object: self.object.clone(),
            key: key.to_owned(),
            file: self.file(key),
        }
    }
}

/// Refuses names that would lead out of the folder of secrets, or of claims.
pub(super) fn plain(source: &Arc<str>, field: &'static str, name: &str) -> Result<(), SourceError> {
    let mut components = Path::new(name).components();
    if matches!((components.next(), components.next()), (Some(Component::Normal(only)), None) if only == name)
    {
        return Ok(());
    }
    Err(SourceError::Invalid {
        name: Arc::clone(source),
        field,
        value: name.to_owned(),
        problem: "not a name; it must be one word without slashes".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_missing_key_names_the_file_expected() {
        let secret =
            SecretFiles::secret(&"bucket".into(), Some(Path::new("/s")), "corp-ro").unwrap();
        let error = secret.line("accessKeyId").unwrap_err();
        assert_eq!(error.reason(), "SecretMissing");
        assert!(
            error.to_string().contains("/s/corp-ro/accessKeyId"),
            "{error}"
        );
        let nowhere = SecretFiles::secret(&"bucket".into(), None, "corp-ro").unwrap();
        assert!(
            nowhere
                .line("accessKeyId")
                .unwrap_err()
                .to_string()
                .contains("--secrets-dir")
        );
    }

    #[test]
    fn names_do_not_lead_out_of_the_folder() {
        for name in ["..", "a/b", "/etc", "", ".", "../x", "a/"] {
            let error =
                SecretFiles::secret(&"bucket".into(), Some(Path::new("/s")), name).unwrap_err();
            assert_eq!(error.reason(), "SourceInvalid", "{name:?}");
        }
    }

    #[test]
    fn line_ends_are_not_part_of_a_value() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("s")).unwrap();
        std::fs::write(folder.path().join("s/k"), "value\n").unwrap();
        std::fs::write(folder.path().join("s/two"), "a\nb\n").unwrap();
        let secret = SecretFiles::secret(&"bucket".into(), Some(folder.path()), "s").unwrap();
        assert_eq!(secret.line("k").unwrap(), "value");
        assert!(secret.line("two").is_err());
    }
}
