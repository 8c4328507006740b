//! The files of the version that is served, and one of them drawn.
//!
//! The files of one version of one table are kept, those that were asked for last, so that pages of an answer and a page that asks again cost nothing.
//! One log is read at a time, and two ropes are drawn at a time; more wait. Dropping a request drops its reads.

use std::sync::Arc;

use object_store::{GetOptions, GetRange, ObjectStoreExt, path::Path};
use tokio::sync::{Mutex, Semaphore};
use vdt_crds::{
    api::{FILES_MAX, FileReport, FilesReport, RopeReport},
    chain,
};
use vdt_dialect::AdminError;
use vdt_rope::{FileName, Index, Tail};
use vdt_store::{StateStore, log::TableLog};

use super::rope::Drawing;

/// Files in an answer where nobody says how many.
const FILES_DEFAULT: usize = 100;
/// Ropes drawn at a time: each holds some frames of 64 KiB.
const DRAWINGS: usize = 2;
/// Stored bytes of a rope that are read at once.
const BATCH_BYTES: u64 = 1024 * 1024;

/// Answers about files.
pub(super) struct Files {
    /// Held while a log is read, so that who asks for the same waits for the same.
    kept: Mutex<Option<Arc<Kept>>>,
    drawings: Semaphore,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            drawings: Semaphore::new(DRAWINGS),
        }
    }
}

/// The files of one version, by name.
struct Kept {
    table: Path,
    version: u64,
    files: Vec<FileReport>,
}

impl Files {
    /// One page of the files of `table`. `shown` is the version that its refreshes know, which saves reading the log again.
    pub(super) async fn page(
        &self,
        state: &StateStore,
        table: Path,
        shown: Option<u64>,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<FilesReport, AdminError> {
        let kept = self.kept(state, table, shown).await?;
        let limit = limit.unwrap_or(FILES_DEFAULT).clamp(1, FILES_MAX);
        let start = after.map_or(0, |after| {
            kept.files
                .partition_point(|file| file.name.as_str() <= after)
        });
        let rest = &kept.files[start..];
        let files = rest[..limit.min(rest.len())].to_vec();
        Ok(FilesReport {
            table: kept.table.to_string(),
            version: kept.version,
            count: kept.files.len() as u64,
            bytes: kept.files.iter().map(|file| file.bytes).sum(),
            next: (rest.len() > limit)
                .then(|| files.last().map(|file| file.name.clone()))
                .flatten(),
            files,
        })
    }

    async fn kept(
        &self,
        state: &StateStore,
        table: Path,
        shown: Option<u64>,
    ) -> Result<Arc<Kept>, AdminError> {
        let mut slot = self.kept.lock().await;
        if let Some(kept) = slot.as_ref()
            && kept.table == table
            && shown.is_some_and(|shown| kept.version >= shown)
        {
            return Ok(kept.clone());
        }
        let read = TableLog::new(state.clone(), table.clone()).snapshot().await;
        let snapshot =
            read.map_err(|error| unavailable(&error))?
                .ok_or_else(|| AdminError::NotFound {
                    table: table.to_string(),
                })?;
        let mut files: Vec<FileReport> = snapshot
            .files
            .into_iter()
            .map(|file| FileReport {
                name: file.path,
                bytes: file.size,
                rows: file.rows,
                row_groups: None,
            })
            .collect();
        files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let kept = Arc::new(Kept {
            table,
            version: snapshot.version,
            files,
        });
        *slot = Some(kept.clone());
        Ok(kept)
    }

    /// What `file` is made of. Reads its rope frame by frame, and no artifact.
    pub(super) async fn draw(
        &self,
        state: &StateStore,
        table: Path,
        file: &str,
    ) -> Result<RopeReport, AdminError> {
        let missing = || AdminError::NoFile {
            table: table.to_string(),
            file: file.to_owned(),
        };
        let name = FileName::parse_parquet_file(file).ok_or_else(missing)?;
        // Never closed.
        let _permit = self.drawings.acquire().await.ok();
        let path = table.clone().join(name.rope_file());
        let index = index(state, &path).await?.ok_or_else(missing)?;
        let mut drawing = Drawing::new(name.size);
        let mut next = index.segment_frames();
        while let Some(first) = next.next() {
            let mut last = first;
            let size = |last: usize| {
                let range = index.file_range(first..last + 1);
                range.end - range.start
            };
            while next.start < next.end && size(next.start) <= BATCH_BYTES {
                last = next.start;
                next.start += 1;
            }
            let batch = index.file_range(first..last + 1);
            let start = batch.start;
            let stored = state.objects().get_range(&path, batch).await;
            let stored = stored.map_err(|error| unavailable(&error))?;
            for frame in first..=last {
                let range = index.file_range(frame..frame + 1);
                let stored = usize::try_from(range.start - start)
                    .ok()
                    .zip(usize::try_from(range.end - start).ok())
                    .and_then(|(from, to)| stored.get(from..to))
                    .unwrap_or_default();
                let segments = index
                    .decode_frame(frame, stored)
                    .map_err(|error| unavailable(&error))?;
                drawing.extend(&segments);
                // A frame takes some 100 us to decode.
                tokio::task::yield_now().await;
            }
        }
        Ok(drawing.finish(file))
    }
}

/// The index of the rope at `path`; `None` where there is no rope.
async fn index(state: &StateStore, path: &Path) -> Result<Option<Index>, AdminError> {
    let mut bytes = Index::TAIL_BYTES_HINT;
    loop {
        let options = GetOptions {
            range: Some(GetRange::Suffix(bytes)),
            ..GetOptions::default()
        };
        let found = match state.objects().get_opts(path, options).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(|error| unavailable(&error))?,
        };
        let size = found.meta.size;
        let tail = found.bytes().await.map_err(|error| unavailable(&error))?;
        match Index::parse(&tail, size).map_err(|error| unavailable(&error))? {
            Tail::Index(index) => return Ok(Some(index)),
            // The first tail says how long the one with the index is.
            Tail::NeedMore { bytes: more } if more > bytes => bytes = more,
            Tail::NeedMore { .. } => {
                let message = format!("the index of {path} does not end");
                return Err(AdminError::unavailable(message));
            }
        }
    }
}

fn unavailable(error: &(dyn std::error::Error + 'static)) -> AdminError {
    AdminError::unavailable(chain(error))
}
