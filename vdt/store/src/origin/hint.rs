//! `_last_checkpoint`, made when it is asked for (Delta PROTOCOL, "Last Checkpoint File").
//!
//! ```json
//! {"version":20,"size":612,"sizeInBytes":41230}
//! ```
//!
//! `size` is the number of actions in the checkpoint: the rows of its Parquet footer, read once a checkpoint.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{
    Attributes, Error as ObjectError, GetOptions, GetResult, GetResultPayload, ObjectMeta,
    ObjectStore, ObjectStoreExt, Result as ObjectResult, path::Path,
};
use parquet::file::metadata::ParquetMetaDataReader;

use super::{STORE, not_found};

/// Enough for the footer of any checkpoint that vdt writes; a longer one is read in a second request.
const FOOTER_BYTES: u64 = 64 << 10;
/// One entry a checkpoint that was asked for; forgotten all at once when there are too many.
const REMEMBERED: usize = 4096;

/// Actions of checkpoints whose footer has been read, by path. Checkpoints never change.
#[derive(Debug, Default)]
pub(super) struct Hints {
    actions: Mutex<HashMap<Path, i64>>,
}

impl Hints {
    /// Answers a GET of `location` (`inside` the state store) from the newest checkpoint beside it; not found without one.
    pub(super) async fn get(
        &self,
        objects: &dyn ObjectStore,
        location: &Path,
        inside: &Path,
        options: GetOptions,
    ) -> ObjectResult<GetResult> {
        let folder: Path = inside.parts().take(inside.parts().count() - 1).collect();
        let checkpoint = objects
            .list(Some(&folder))
            .try_filter_map(async |meta| Ok(version(&meta.location).map(|version| (version, meta))))
            .try_fold(None, async |best, next: (u64, ObjectMeta)| {
                Ok(best.filter(|(version, _)| *version > next.0).or(Some(next)))
            })
            .await?;
        let (version, checkpoint) = checkpoint.ok_or_else(|| not_found(location))?;
        let size = self.actions(objects, &checkpoint).await?;
        let body = Bytes::from(format!(
            r#"{{"version":{version},"size":{size},"sizeInBytes":{}}}"#,
            checkpoint.size
        ));
        let meta = ObjectMeta {
            location: location.clone(),
            last_modified: checkpoint.last_modified,
            size: body.len() as u64,
            e_tag: Some(format!("\"checkpoint-{version}\"")),
            version: None,
        };
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            None => 0..meta.size,
            Some(range) => range
                .as_range(meta.size)
                .map_err(|source| ObjectError::Generic {
                    store: STORE,
                    source: Box::new(source),
                })?,
        };
        // In bounds: `as_range` cuts to the size, which is that of a short body.
        let slice = body.slice(range.start as usize..range.end as usize);
        let payload = match options.head {
            true => stream::empty().boxed(),
            false => stream::iter([Ok(slice)]).boxed(),
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(payload),
            meta,
            range,
            attributes: Attributes::default(),
        })
    }

    async fn actions(
        &self,
        objects: &dyn ObjectStore,
        checkpoint: &ObjectMeta,
    ) -> ObjectResult<i64> {
        let path = &checkpoint.location;
        if let Some(actions) = self.lock().get(path) {
            return Ok(*actions);
        }
        let start = checkpoint.size.saturating_sub(FOOTER_BYTES);
        let mut tail = objects.get_range(path, start..checkpoint.size).await?;
        let mut reader = ParquetMetaDataReader::new();
        if reader.try_parse_sized(&tail, checkpoint.size).is_err() {
            tail = objects.get_range(path, 0..checkpoint.size).await?;
            reader
                .try_parse_sized(&tail, checkpoint.size)
                .map_err(|source| ObjectError::Generic {
                    store: STORE,
                    source: Box::new(source),
                })?;
        }
        let metadata = reader.finish().map_err(|source| ObjectError::Generic {
            store: STORE,
            source: Box::new(source),
        })?;
        let actions = metadata.file_metadata().num_rows();
        let mut known = self.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(path.clone(), actions);
        Ok(actions)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Path, i64>> {
        self.actions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn version(path: &Path) -> Option<u64> {
    path.filename()?
        .strip_suffix(".checkpoint.parquet")?
        .parse()
        .ok()
}
