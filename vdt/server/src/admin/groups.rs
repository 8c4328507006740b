//! How many row groups files have, from their footers: literals of their ropes, so no artifact is read.
//!
//! Names are hashes of contents, so what was counted once holds. Footers are read a few at a time; a large one is not read at all.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, stream};
use object_store::{GetOptions, GetRange, ObjectStore, path::Path};
use parking_lot::Mutex;
use parquet::file::metadata::ParquetMetaDataReader;
use vdt_crds::api::FileReport;
use vdt_rope::{RopeStore, RopeStoreOptions};

use crate::late_origin::LateOrigin;

/// Footers read at a time.
const AT_ONCE: usize = 8;
/// Largest footer that is read: some thousand row groups.
const FOOTER_BYTES_MAX: u64 = 1 << 20;
/// Files whose counts are kept.
const KEPT_MAX: usize = 10_000;
/// Length of the footer and magic, at the end of every Parquet file.
const TRAILER_BYTES: u64 = 8;

/// Counts row groups.
pub(super) struct Groups {
    files: RopeStore,
    /// By path; `None` where the footer is too large or of no use.
    kept: Mutex<HashMap<String, Option<u64>>>,
}

impl Groups {
    /// Counts in the files of `origin`.
    pub(super) fn new(origin: LateOrigin) -> Self {
        Self {
            files: RopeStore::new(Arc::new(origin), RopeStoreOptions::default()),
            kept: Mutex::default(),
        }
    }

    /// Fills in the counts of files of `table`. One that cannot be counted stays as it is.
    pub(super) async fn count(&self, table: &Path, files: &mut [FileReport]) {
        stream::iter(files)
            .for_each_concurrent(AT_ONCE, async |file| {
                file.row_groups = self.count_one(table.clone().join(file.name.as_str())).await;
            })
            .await;
    }

    async fn count_one(&self, path: Path) -> Option<u64> {
        if let Some(known) = self.kept.lock().get(path.as_ref()) {
            return *known;
        }
        let trailer = self.tail(&path, TRAILER_BYTES).await?;
        let footer_bytes = u64::from(u32::from_le_bytes(trailer.get(..4)?.try_into().ok()?));
        let counted = match footer_bytes {
            1..=FOOTER_BYTES_MAX => {
                let tail = self.tail(&path, footer_bytes + TRAILER_BYTES).await?;
                let footer = tail.get(..usize::try_from(footer_bytes).ok()?)?;
                let metadata = ParquetMetaDataReader::decode_metadata(footer).ok();
                metadata.map(|metadata| metadata.num_row_groups() as u64)
            }
            _ => None,
        };
        let mut kept = self.kept.lock();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(path.to_string(), counted);
        counted
    }

    async fn tail(&self, path: &Path, bytes: u64) -> Option<Bytes> {
        let options = GetOptions {
            range: Some(GetRange::Suffix(bytes)),
            ..GetOptions::default()
        };
        let read = self.files.get_opts(path, options).await.ok()?;
        read.bytes().await.ok()
    }
}
