//! `_last_checkpoint`, made when it is asked for (Delta PROTOCOL, "Last Checkpoint File").
//!
//! ```json
//! {"version":20,"size":612,"sizeInBytes":41230}
//! ```
//!
//! `size` is the number of actions in the checkpoint: the rows of its Parquet footer, read once a checkpoint. The log is listed from the newest
//! checkpoint on that was seen before, so that a long log costs no more than a short one.

use std::collections::HashMap;

use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{
    Attributes, Error as ObjectError, GetOptions, GetResult, GetResultPayload, ObjectMeta,
    ObjectStore, ObjectStoreExt, Result as ObjectResult, path::Path,
};
use parking_lot::Mutex;
use parquet::file::metadata::ParquetMetaDataReader;
use vdt_rope::requested_range;

use super::{STORE, not_found};

/// Enough for the footer of any checkpoint that vdt writes; a longer one is read in a second request.
const FOOTER_BYTES: u64 = 64 << 10;
/// Logs that are remembered; forgotten all at once when there are too many.
const REMEMBERED: usize = 4096;

/// The newest checkpoint that was seen in each log, by its folder.
#[derive(Debug, Default)]
pub(super) struct Hints {
    newest: Mutex<HashMap<Path, Checkpoint>>,
}

/// A checkpoint. It never changes, unless the log is restored as it was before and goes on in another way.
#[derive(Debug, Clone, Copy)]
struct Checkpoint {
    version: u64,
    /// Its bytes and the rows of its footer, once that was read.
    actions: Option<(u64, i64)>,
}

impl Hints {
    /// Remembers a file of the log in `folder`, if it is a newer checkpoint.
    pub(super) fn observe(&self, folder: &Path, file: &Path) {
        let Some(version) = version(file) else { return };
        if self.of(folder).is_none_or(|known| known.version < version) {
            let actions = None;
            self.remember(folder, Checkpoint { version, actions });
        }
    }

    /// Answers a GET of `location` from the newest checkpoint of the log in `folder`; not found without one.
    pub(super) async fn get(
        &self,
        objects: &dyn ObjectStore,
        location: &Path,
        folder: &Path,
        options: GetOptions,
    ) -> ObjectResult<GetResult> {
        let known = self.of(folder);
        let mut found = None;
        if let Some(known) = known {
            // Names of a version's files begin with its number, and come after it.
            let offset = folder.clone().join(format!("{:020}", known.version));
            found = newest(objects.list_with_offset(Some(folder), &offset)).await?;
        }
        if found.is_none() {
            // None was seen, or it went with the table that it was of.
            found = newest(objects.list(Some(folder))).await?;
        }
        let (version, checkpoint) = found.ok_or_else(|| not_found(location))?;
        let known = known.filter(|known| known.version == version);
        let size = match known.and_then(|known| known.actions) {
            Some((bytes, rows)) if bytes == checkpoint.size => rows,
            _ => {
                let rows = actions(objects, &checkpoint).await?;
                let actions = Some((checkpoint.size, rows));
                self.remember(folder, Checkpoint { version, actions });
                rows
            }
        };
        let body = Bytes::from(format!(
            r#"{{"version":{version},"size":{size},"sizeInBytes":{}}}"#,
            checkpoint.size
        ));
        let meta = ObjectMeta {
            location: location.clone(),
            last_modified: checkpoint.last_modified,
            size: body.len() as u64,
            e_tag: Some(format!("\"checkpoint-{version}-{}\"", checkpoint.size)),
            version: None,
        };
        options.check_preconditions(&meta)?;
        let range = requested_range(&options, meta.size, STORE)?;
        // In bounds: the range is cut to the size, which is that of a short body.
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

    fn of(&self, folder: &Path) -> Option<Checkpoint> {
        self.newest.lock().get(folder).copied()
    }

    fn remember(&self, folder: &Path, checkpoint: Checkpoint) {
        let mut newest = self.newest.lock();
        if newest.len() >= REMEMBERED && !newest.contains_key(folder) {
            newest.clear();
        }
        newest.insert(folder.clone(), checkpoint);
    }
}

/// The newest checkpoint of what is listed.
async fn newest(
    listed: BoxStream<'static, ObjectResult<ObjectMeta>>,
) -> ObjectResult<Option<(u64, ObjectMeta)>> {
    listed
        .try_filter_map(async |meta| Ok(version(&meta.location).map(|version| (version, meta))))
        .try_fold(None, async |best, next: (u64, ObjectMeta)| {
            Ok(best.filter(|(version, _)| *version > next.0).or(Some(next)))
        })
        .await
}

/// Rows of a checkpoint, by its footer.
async fn actions(objects: &dyn ObjectStore, checkpoint: &ObjectMeta) -> ObjectResult<i64> {
    let path = &checkpoint.location;
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
    Ok(metadata.file_metadata().num_rows())
}

/// The version that a file of a log is the checkpoint of.
fn version(path: &Path) -> Option<u64> {
    path.filename()?
        .strip_suffix(".checkpoint.parquet")?
        .parse()
        .ok()
}
