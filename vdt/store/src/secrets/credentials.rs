//! Credentials from a mounted Secret, followed when it is rotated.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use object_store::aws::AwsCredential;
use object_store::{CredentialProvider, Error, Result};
use parking_lot::Mutex;

use super::{SecretError, SecretFiles};

/// How long a value read is used: a rotated Secret is followed within this time, and a scan does not read it per artifact.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// Reads `accessKeyId`, `secretAccessKey` and, if present, `sessionToken` of a Secret.
#[derive(Debug)]
pub(crate) struct SecretCredentials {
    files: SecretFiles,
    last: Mutex<(Instant, Arc<AwsCredential>)>,
}

impl SecretCredentials {
    /// Reads the Secret once, so that a missing one is told at the start.
    pub(crate) fn new(files: SecretFiles) -> Result<Self, SecretError> {
        let first = read(&files)?;
        Ok(Self {
            files,
            last: Mutex::new((Instant::now(), first)),
        })
    }
}

#[async_trait]
impl CredentialProvider for SecretCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> Result<Arc<AwsCredential>> {
        {
            let last = self.last.lock();
            if last.0.elapsed() < FRESH_FOR {
                return Ok(Arc::clone(&last.1));
            }
        }
        let files = self.files.clone();
        let fresh = tokio::task::spawn_blocking(move || read(&files))
            .await
            .map_err(|error| Error::Generic {
                store: "Secret",
                source: Box::new(error),
            })?
            .map_err(|error| Error::Generic {
                store: "Secret",
                source: Box::new(error),
            })?;
        *self.last.lock() = (Instant::now(), Arc::clone(&fresh));
        Ok(fresh)
    }
}

/// Key of the Secret that need not be there.
const SESSION_TOKEN: &str = "sessionToken";

fn read(files: &SecretFiles) -> Result<Arc<AwsCredential>, SecretError> {
    let token = match files.file(SESSION_TOKEN) {
        Some(file) if file.exists() => Some(files.line(SESSION_TOKEN)?),
        Some(_) | None => None,
    };
    Ok(Arc::new(AwsCredential {
        key_id: files.line("accessKeyId")?,
        secret_key: files.line("secretAccessKey")?,
        token,
    }))
}
