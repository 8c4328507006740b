//! Secret files: `<secrets dir>/<secret name>/<key>`, as Kubernetes mounts them and as they lie on a laptop.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

pub(super) use crate::files::{Fingerprint, fingerprint};

/// Bytes of one file. A Secret has at most 1 MiB, a certificate chain a few kB.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// The folder of all secrets, if there is one.
#[derive(Debug, Clone)]
pub(super) struct Secrets {
    dir: Option<PathBuf>,
}

/// Why a file of a secret cannot be read, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) message: String,
    pub(super) remedy: String,
    /// The system's fault and not the content's: the same file may be read a moment later.
    pub(super) may_pass: bool,
}

impl Secrets {
    pub(super) fn new(dir: Option<PathBuf>) -> Self {
        Self { dir }
    }

    /// The folder of one secret.
    ///
    /// # Errors
    /// When there is no folder of secrets, or the name would lead out of it.
    pub(super) fn folder(&self, secret: &str) -> Result<PathBuf, Unreadable> {
        let mut components = Path::new(secret).components();
        let plain = matches!(
            (components.next(), components.next()),
            (Some(Component::Normal(name)), None) if name == secret
        );
        if !plain {
            return Err(Unreadable {
                message: "is not the name of a Secret".to_owned(),
                remedy: "write the name alone, without a path".to_owned(),
                may_pass: false,
            });
        }
        match &self.dir {
            Some(dir) => Ok(dir.join(secret)),
            None => Err(Unreadable {
                message: "names a Secret, and there is no folder of secrets".to_owned(),
                remedy: format!("give --secrets-dir DIR, with the keys as files in DIR/{secret}/"),
                may_pass: false,
            }),
        }
    }
}

/// Reads a file, `None` when it is not there.
///
/// # Errors
/// When it is there and cannot be read, or is too large to be what it should be.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, Unreadable> {
    let failed = |message: String, may_pass| Unreadable {
        message: format!("{} {message}", path.display()),
        remedy: "make it a file that this process may read".to_owned(),
        may_pass,
    };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(format!("cannot be opened: {error}"), true)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(format!("cannot be read: {error}"), true))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(failed(
            format!("has more than {FILE_BYTES_MAX} bytes"),
            false,
        ));
    }
    Ok(Some(bytes))
}

/// Reads a file of one line of printable ASCII without spaces, `None` when it is not there. Line ends after it are not part of it.
///
/// # Errors
/// As [`read`], and when it holds something else.
pub(super) fn read_word(path: &Path) -> Result<Option<String>, Unreadable> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes).unwrap_or_default();
    let word = text.trim_end_matches(['\r', '\n']);
    if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Some(word.to_owned()));
    }
    Err(Unreadable {
        message: format!(
            "{} is empty or holds something that is no printable ASCII",
            path.display()
        ),
        remedy: "write one word without spaces into it".to_owned(),
        may_pass: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_may_pass_and_what_a_file_holds_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        // A folder opens and does not read, whoever asks.
        let refused = read(folder.path()).expect_err("no file");
        assert!(refused.may_pass, "{refused:?}");
        let empty = folder.path().join("token");
        fs::write(&empty, "").expect("a file");
        let refused = read_word(&empty).expect_err("no word");
        assert!(!refused.may_pass, "{refused:?}");
    }
}
