//! Bearer tokens of the admin surface: JWT, EdDSA (Ed25519), by the keys of files that are read again when they change.
//!
//! ```text
//!   {"alg": "EdDSA"} . {"aud": "<namespace>/<name>", "iat": <Unix s>, "exp": <Unix s, at most 60 later>} . signature
//! ```
//!
//! A token holds if one of the keys signed it, `aud` is one of ours, and it is in force: `iat` and `exp` are there, at most 60 s apart, and now lies
//! between them, with 5 s of leeway for clocks. Tokens live so short that they are not remembered: one can be used again until it ends.
//!
//! A key file holds public keys as PEM, one or several: an old and a new key side by side while keys are changed. It is looked at with each token; a
//! file that cannot be read, or holds no key, leaves the keys as they were and says so in the log, once.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use ::http::HeaderMap;
use ::http::header::AUTHORIZATION;
use arc_swap::ArcSwap;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::io::AsyncReadExt;

use crate::answer::Chain;

/// Longest life of a token, seconds.
const LIFE_SECONDS: u64 = 60;
/// How far clocks may differ, seconds.
const LEEWAY_SECONDS: u64 = 5;
/// Longest token: ours have about 250 bytes.
const TOKEN_BYTES_MAX: usize = 4096;
/// Longest key file: an Ed25519 key has 113 bytes of PEM.
const FILE_BYTES_MAX: u64 = 16 * 1024;
/// Most keys of a file: each costs a check of a signature.
const KEYS_MAX: usize = 8;

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

/// Seconds since the Unix epoch.
pub type Seconds = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Checks bearer tokens.
pub struct Tokens {
    files: Vec<KeyFile>,
    validation: ArcSwap<Validation>,
    now: Seconds,
}

/// One file and the keys that it held when it was read last.
struct KeyFile {
    path: PathBuf,
    held: ArcSwap<Held>,
    /// What the log was told of the file, as long as it is of no use.
    told: Mutex<Option<String>>,
}

#[derive(Default)]
struct Held {
    stamp: Option<Stamp>,
    keys: Vec<DecodingKey>,
}

/// What changes when a file does (decision 16). Kubernetes swaps a symbolic link, so the file is another one; a write in place that resets the time of
/// its modification still moves the change time, which the system alone sets.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    /// Device and number.
    inode: (u64, u64),
    bytes: u64,
    /// Of its content, in seconds and nanoseconds.
    modified: (i64, i64),
    /// Of content or inode.
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self {
            inode: (file.dev(), file.ino()),
            bytes: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

/// Why a key file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("the key file {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It holds no key, too many, or something else.
    #[error("the key file {} is of no use: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what it should hold.
        reason: &'static str,
    },
}

#[derive(Deserialize)]
struct Claims {
    iat: u64,
    exp: u64,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<_> = self.files.iter().map(|file| &file.path).collect();
        f.debug_struct("Tokens")
            .field("files", &files)
            .field("audiences", &self.validation.load().aud)
            .finish_non_exhaustive()
    }
}

impl Tokens {
    /// Reads the keys of `files`, for tokens to any of `audiences`, `<namespace>/<name>` of the resources that this process serves.
    ///
    /// # Errors
    /// A file that cannot be read or holds no key.
    pub async fn open(
        files: &[PathBuf],
        audiences: &[String],
        now: Seconds,
    ) -> Result<Self, KeyFileError> {
        let mut read = Vec::new();
        for path in files {
            let file = KeyFile {
                path: path.clone(),
                held: ArcSwap::default(),
                told: Mutex::default(),
            };
            file.reload().await?;
            read.push(file);
        }
        Ok(Self {
            files: read,
            validation: ArcSwap::from_pointee(validation(audiences)),
            now,
        })
    }

    /// Tokens hold that are to any of `audiences`, from now on.
    pub(super) fn redeclare(&self, audiences: &[String]) {
        self.validation.store(Arc::new(validation(audiences)));
    }

    /// Whether the headers carry one bearer token, and it holds.
    pub(super) async fn admit(&self, headers: &HeaderMap) -> bool {
        let mut sent = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (sent.next(), sent.next()) else {
            return false;
        };
        let Some((scheme, token)) = value.to_str().ok().and_then(|text| text.split_once(' '))
        else {
            return false;
        };
        if !scheme.eq_ignore_ascii_case("bearer") || token.len() > TOKEN_BYTES_MAX {
            return false;
        }
        for file in &self.files {
            let reloaded = file.reload().await;
            file.tell(reloaded.err());
            let held = file.held.load();
            if held.keys.iter().any(|key| self.holds(token.trim(), key)) {
                return true;
            }
        }
        false
    }

    fn holds(&self, token: &str, key: &DecodingKey) -> bool {
        let validation = self.validation.load();
        let Ok(token) = jsonwebtoken::decode::<Claims>(token, key, &validation) else {
            return false;
        };
        let (Claims { iat, exp }, now) = (token.claims, (self.now)());
        iat <= exp
            && exp - iat <= LIFE_SECONDS
            && iat <= now.saturating_add(LEEWAY_SECONDS)
            && now <= exp.saturating_add(LEEWAY_SECONDS)
    }
}

fn validation(audiences: &[String]) -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(audiences);
    validation.set_required_spec_claims(&["aud", "exp"]);
    // Times are checked here, by a clock that is given.
    validation.validate_exp = false;
    validation
}

impl KeyFile {
    /// Reads the file if it is not the one that was read last.
    async fn reload(&self) -> Result<(), KeyFileError> {
        let failed = |source| KeyFileError::Read {
            path: self.path.clone(),
            source,
        };
        let file = tokio::fs::File::open(&self.path).await.map_err(failed)?;
        let stamp = Stamp::of(&file.metadata().await.map_err(failed)?);
        if self.held.load().stamp == Some(stamp) {
            return Ok(());
        }
        let mut text = String::new();
        let read = file
            .take(FILE_BYTES_MAX + 1)
            .read_to_string(&mut text)
            .await
            .map_err(failed)?;
        if read as u64 > FILE_BYTES_MAX {
            return Err(self.wrong("it is larger than 16 KiB"));
        }
        let keys = keys(&text).map_err(|reason| self.wrong(reason))?;
        self.held.store(Arc::new(Held {
            stamp: Some(stamp),
            keys,
        }));
        Ok(())
    }

    /// Logs why the file is of no use when that is news, and when it is of use again.
    fn tell(&self, error: Option<KeyFileError>) {
        let text = error.as_ref().map(ToString::to_string);
        if *self.told.lock() == text {
            return;
        }
        match &error {
            Some(error) => tracing::warn!(
                error = %Chain(error),
                "keys of the admin surface stay as they were"
            ),
            None => tracing::info!(
                path = %self.path.display(),
                "keys of the admin surface can be read again"
            ),
        }
        *self.told.lock() = text;
    }

    fn wrong(&self, reason: &'static str) -> KeyFileError {
        KeyFileError::Content {
            path: self.path.clone(),
            reason,
        }
    }
}

/// The public keys of a file. Text around them is ignored, as PEM has it.
fn keys(text: &str) -> Result<Vec<DecodingKey>, &'static str> {
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find(BEGIN) {
        let end = rest[begin..]
            .find(END)
            .ok_or("a key has no end (-----END PUBLIC KEY-----)")?;
        let end = begin + end + END.len();
        let key = DecodingKey::from_ed_pem(&rest.as_bytes()[begin..end])
            .map_err(|_| "a key is no Ed25519 public key")?;
        keys.push(key);
        if keys.len() > KEYS_MAX {
            return Err("it holds more than 8 keys");
        }
        rest = &rest[end..];
    }
    if keys.is_empty() {
        return Err("it holds no public key (-----BEGIN PUBLIC KEY-----, Ed25519)");
    }
    Ok(keys)
}

/// Seconds since the Unix epoch by the system's clock.
pub fn system_seconds() -> Seconds {
    Arc::new(|| {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    })
}

#[cfg(test)]
mod tests;
