//! The version checksum (Delta PROTOCOL "Version Checksum File"): what a version holds in sum, beside its commit.
//!
//! It is what tells a log that lost a part from a table that has fewer files: readers take the schema from it, so that an empty commit reads well.

use chrono::{DateTime, Utc};
use deltalake::DeltaTableError;
use object_store::{Error, ObjectMeta, ObjectStoreExt, path::Path};
use serde::Deserialize;
use serde_json::Value;

use super::{Snapshot, TableLog};
use crate::{error::StoreError, state::put_new};

/// Bytes of a checksum that is looked into. Ours hold little beside the schema.
const BYTES_MAX: u64 = 16 << 20;

/// What is compared of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sums {
    num_files: u64,
    table_size_bytes: u64,
}

impl TableLog {
    fn checksum_of(&self, version: u64) -> Path {
        self.file(&format!("{version:020}.crc"))
    }

    /// Writes the version checksum (`.crc`) of `version` unless it is there.
    ///
    /// # Errors
    /// Those of the state store.
    pub async fn write_checksum(&self, version: u64, checksum: &Value) -> Result<(), StoreError> {
        let path = self.checksum_of(version);
        let body =
            serde_json::to_vec(checksum).map_err(|source| StoreError::json(&path, source))?;
        put_new(self.objects().as_ref(), &path, body)
            .await
            .map_err(|source| StoreError::object(&path, source))?;
        Ok(())
    }

    /// Fails where the checksum of its version, if there is one, says that `snapshot` lacks something.
    pub(super) async fn check(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let Some((sums, written)) = self.sums(snapshot.version).await? else {
            return Ok(());
        };
        let bytes = snapshot.files.iter().map(|file| file.size);
        let bytes = bytes.fold(0, u64::saturating_add);
        let files = snapshot.files.len() as u64;
        if (files, bytes) == (sums.num_files, sums.table_size_bytes) {
            return Ok(());
        }
        let commit = self.file(&format!("{:020}.json", snapshot.version));
        let commit = self.objects().head(&commit).await;
        // One that was there before its commit is of another version of that number, which somebody took away.
        let is_others = |commit: ObjectMeta| commit.size > 0 && written < commit.last_modified;
        if commit.is_ok_and(is_others) {
            tracing::warn!(table = %self.table, version = snapshot.version, "a checksum is older than its commit and says otherwise; it is not believed");
            return Ok(());
        }
        Err(self.log_failed(DeltaTableError::Generic(format!(
            "version {} has {files} files of {bytes} bytes, and by its checksum {} of {}",
            snapshot.version, sums.num_files, sums.table_size_bytes
        ))))
    }

    /// What the checksum says, and when it was written. None where there is none, or one that says nothing.
    async fn sums(&self, version: u64) -> Result<Option<(Sums, DateTime<Utc>)>, StoreError> {
        let path = self.checksum_of(version);
        let failed = |source| StoreError::object(&path, source);
        let found = match self.objects().get(&path).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(failed)?,
        };
        if found.meta.size > BYTES_MAX {
            return Ok(None);
        }
        let written = found.meta.last_modified;
        let body = found.bytes().await.map_err(failed)?;
        let sums = serde_json::from_slice(&body).ok();
        Ok(sums.map(|sums| (sums, written)))
    }
}
