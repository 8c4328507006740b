//! Secrets and ConfigMaps as files.
//!
//! ```text
//!   <secrets-dir>/<secret name>/<key>                  a Secret
//!   <secrets-dir>/configmap-<name>/<key>               a ConfigMap
//! ```
//!
//! In a cluster the operator mounts them there, on a laptop `--secrets-dir` names the folder. Values are read when they are
//! needed and kept nowhere longer than [`credentials`] says.

mod credentials;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

pub(crate) use self::credentials::SecretCredentials;

/// Bytes of one file: as many as a Secret or a ConfigMap can have. Bundles of authorities have hundreds of kB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One Secret or ConfigMap.
#[derive(Clone, Debug)]
pub(crate) struct SecretFiles {
    /// As people call it: `Secret corp-ro`.
    object: String,
    folder: Option<PathBuf>,
}

/// A key of a Secret or ConfigMap that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{object} has no usable key {key}: {problem}")]
pub struct SecretError {
    /// `Secret corp-ro` or `ConfigMap roots`.
    object: String,
    key: String,
    /// What is wrong and what to do.
    problem: String,
}

impl SecretFiles {
    /// The Secret `name`, one word: see [`is_plain`].
    pub(crate) fn secret(secrets_dir: Option<&Path>, name: &str) -> Self {
        Self {
            object: format!("Secret {name}"),
            folder: secrets_dir.map(|folder| folder.join(name)),
        }
    }

    /// The ConfigMap `name`, one word: see [`is_plain`].
    pub(crate) fn config_map(secrets_dir: Option<&Path>, name: &str) -> Self {
        Self {
            object: format!("ConfigMap {name}"),
            folder: secrets_dir.map(|folder| folder.join(format!("configmap-{name}"))),
        }
    }

    /// The Secret whose files lie in `folder`, which has its name.
    pub(crate) fn secret_in(folder: PathBuf) -> Self {
        let name = folder.file_name().unwrap_or(folder.as_os_str());
        Self {
            object: format!("Secret {}", name.display()),
            folder: Some(folder),
        }
    }

    /// Where a key is read from.
    pub(crate) fn file(&self, key: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(key))
    }

    /// Reads a key. Blocks for one small file.
    pub(crate) fn bytes(&self, key: &str) -> Result<Vec<u8>, SecretError> {
        if !is_plain(key) {
            let problem = "a key is one word without slashes";
            return Err(self.unusable(key, problem.to_owned()));
        }
        let Some(file) = self.file(key) else {
            let problem = "no folder of secrets is given; name one with --secrets-dir";
            return Err(self.unusable(key, problem.to_owned()));
        };
        let problem = match read(&file) {
            Ok(value) if value.len() as u64 > FILE_BYTES_MAX => {
                format!("has more than {FILE_BYTES_MAX} bytes; write the value alone into it")
            }
            Ok(value) if !value.trim_ascii().is_empty() => return Ok(value),
            Ok(_) => "is empty; write the value into it".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                "does not exist; create it".to_owned()
            }
            Err(error) => format!("cannot be read: {error}; let this process read it"),
        };
        Err(self.unusable(key, format!("the file {} {problem}", file.display())))
    }

    /// Reads a key that is one line of ASCII, as a header can hold it, without the line end that editors add.
    pub(crate) fn line(&self, key: &str) -> Result<String, SecretError> {
        let bytes = self.bytes(key)?;
        match str::from_utf8(bytes.trim_ascii()) {
            Ok(text) if text.is_ascii() && !text.chars().any(char::is_control) => {
                Ok(text.to_owned())
            }
            _ => {
                let file = self.file(key).unwrap_or_default();
                let problem = format!(
                    "the file {} is not one line of ASCII; write the value alone into it",
                    file.display()
                );
                Err(self.unusable(key, problem))
            }
        }
    }

    fn unusable(&self, key: &str, problem: String) -> SecretError {
        SecretError {
            object: self.object.clone(),
            key: key.to_owned(),
            problem,
        }
    }
}

/// Reads a file as far as its first byte too many.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut value = Vec::new();
    let file = File::open(file)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut value)?;
    Ok(value)
}

/// Whether a name is one word, which does not lead out of the folder of secrets, or of claims.
pub(crate) fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(only)), None) if only == name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_missing_key_names_the_file_expected() {
        let secret = SecretFiles::secret(Some(Path::new("/s")), "corp-ro");
        let error = secret.line("accessKeyId").unwrap_err();
        assert_eq!(
            error.to_string(),
            "Secret corp-ro has no usable key accessKeyId: the file /s/corp-ro/accessKeyId does not exist; create it"
        );
        let nowhere = SecretFiles::secret(None, "corp-ro");
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
            assert!(!is_plain(name), "{name:?}");
        }
        assert!(is_plain("corp-ro"));
    }

    #[test]
    fn line_ends_are_not_part_of_a_value() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("s")).unwrap();
        std::fs::write(folder.path().join("s/k"), "value\n").unwrap();
        std::fs::write(folder.path().join("s/two"), "a\nb\n").unwrap();
        let secret = SecretFiles::secret(Some(folder.path()), "s");
        assert_eq!(secret.line("k").unwrap(), "value");
        let told = secret.line("two").unwrap_err().to_string();
        assert!(told.contains("not one line of ASCII"), "{told}");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        std::fs::write(folder.path().join("long"), vec![b'x'; (1 << 20) + 1]).unwrap();
        std::fs::write(folder.path().join("longest"), vec![b'x'; 1 << 20]).unwrap();
        let secret = SecretFiles::secret_in(folder.path().to_owned());
        for (key, expected) in [
            ("empty", "is empty; write the value into it"),
            ("folder", "cannot be read: Is a directory"),
            ("../up", "a key is one word"),
            ("long", "has more than 1048576 bytes"),
        ] {
            let told = secret.bytes(key).unwrap_err().to_string();
            assert!(told.contains(expected), "{told}");
        }
        assert_eq!(secret.bytes("longest").unwrap().len(), 1 << 20);
    }
}
