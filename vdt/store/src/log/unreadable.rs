//! Whether a log is damaged that could not be read, or the state does not let it be read.
//!
//! deltalake says which only in words, so the state is asked again for the first byte of each file that a version may be read of, up to a bound.

use std::future;

use futures::{
    TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{Error, GetOptions, GetRange, ObjectMeta, path::Path};

use super::TableLog;
use crate::error::StoreError;

/// Files that are asked for: more than lie between two checkpoints, with what a checkpoint may have in parts.
const FILES_MAX: usize = 64;
/// Asked for at a time.
const FILES_AT_A_TIME: usize = 4;

impl TableLog {
    /// Why `version` could not be read: what the state answers for the first file that it does not give, else `error`.
    pub(super) async fn unreadable(&self, version: u64, error: StoreError) -> StoreError {
        self.ask_for_files(version).await.err().unwrap_or(error)
    }

    async fn ask_for_files(&self, version: u64) -> Result<(), StoreError> {
        // An empty one has no first byte to ask for.
        let is_read =
            |meta: &ObjectMeta| future::ready(meta.size > 0 && is_read(&meta.location, version));
        let listed = self.list_for(version).try_filter(is_read);
        let mut files: Vec<_> = listed.map_ok(|meta| meta.location).try_collect().await?;
        // In the order of their names: what a version stands on comes last.
        let files = files.split_off(files.len().saturating_sub(FILES_MAX));
        stream::iter(files.into_iter().map(Ok))
            .try_for_each_concurrent(FILES_AT_A_TIME, |file| self.ask_for(file))
            .await
    }

    /// Its files; those before the newest checkpoint that has been met are left out where `version` does not need them.
    fn list_for(&self, version: u64) -> BoxStream<'static, Result<ObjectMeta, StoreError>> {
        self.list_from(match self.newest_checkpoint() {
            checkpoint if checkpoint <= version => checkpoint,
            _ => 0,
        })
    }

    async fn ask_for(&self, file: Path) -> Result<(), StoreError> {
        let first = GetOptions {
            range: Some(GetRange::Bounded(0..1)),
            ..GetOptions::default()
        };
        match self.objects().get_opts(&file, first).await {
            // One that is gone is damage.
            Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
            Err(refused) => Err(StoreError::object(&file, refused)),
        }
    }
}

/// Whether a file of the log may be read for `version`: checksums are not, and what is named after a newer version neither.
fn is_read(file: &Path, version: u64) -> bool {
    let name = file.filename().unwrap_or_default();
    let number = name.split('.').next().unwrap_or_default();
    let is_newer = number.parse().is_ok_and(|number: u64| number > version);
    !is_newer && !name.ends_with(".crc")
}
