//! Whether a log is damaged that could not be read, or the state does not let it be read.
//!
//! deltalake says which only in words, so the state is asked again, file by file: as many as are read of a log, where one has failed.

use futures::TryStreamExt;
use object_store::{Error, ObjectStoreExt};

use super::TableLog;
use crate::error::StoreError;

impl TableLog {
    /// Why the log could not be read: what the state answers for the first file that it does not give, else `error`.
    pub(super) async fn unreadable(&self, error: StoreError) -> StoreError {
        self.ask_for_files().await.err().unwrap_or(error)
    }

    async fn ask_for_files(&self) -> Result<(), StoreError> {
        let mut listed = self.list();
        while let Some(meta) = listed.try_next().await? {
            match self.objects().get(&meta.location).await {
                // One that is gone is damage.
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(refused) => return Err(StoreError::object(&meta.location, refused)),
            }
        }
        Ok(())
    }
}
