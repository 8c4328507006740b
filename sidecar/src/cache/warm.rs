//! Warm-up: what a table is found by is loaded before anybody asks.
//!
//! For each table the end of every rope is read, which holds its index and the frames of the footer; a rope of at most one block comes
//! whole. No source object is read. What fails is counted and left: whoever asks for it gets the error.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use futures::{StreamExt, TryStreamExt, stream};
use object_store::{GetOptions, GetRange, ObjectStore, path::Path};
use vdt_rope::{FileName, Index};

use super::CacheStore;

/// Bounds of a warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WarmOptions {
    /// Reads at once, default 8.
    pub concurrent_reads: usize,
    /// No more is begun when so many bytes of ropes have been loaded; default 1 GiB.
    pub bytes_max: u64,
    /// Ropes of all tables at most, default 100,000; the newest first.
    pub ropes_max: usize,
}

impl Default for WarmOptions {
    fn default() -> Self {
        Self {
            concurrent_reads: 8,
            bytes_max: 1 << 30,
            ropes_max: 100_000,
        }
    }
}

/// How far a warm-up came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WarmReport {
    /// Ropes that there are, at most as many as the options allow.
    pub ropes: u64,
    /// Ropes that were loaded.
    pub loaded: u64,
    /// Bytes of ropes that were loaded, at most.
    pub bytes: u64,
    /// Tables and ropes that could not be read.
    pub failed: u64,
}

impl CacheStore {
    /// Loads the ends of the ropes of `tables` (`<catalog>/<schema>/<table>`).
    ///
    /// Never fails. Dropping the future ends it.
    pub async fn warm(&self, tables: &[Path], options: WarmOptions) -> WarmReport {
        let mut report = WarmReport::default();
        let mut ropes = Vec::new();
        for table in tables {
            let folder: Path = [Path::from("log"), table.clone()]
                .iter()
                .flat_map(Path::parts)
                .collect();
            // One level: the log's own folder is left out, and nothing else is there.
            match self.list_with_delimiter(Some(&folder)).await {
                Ok(found) => ropes.extend(found.objects.into_iter().filter(|meta| {
                    let file = meta.location.filename().unwrap_or_default();
                    FileName::parse_rope_file(file).is_some()
                })),
                Err(error) => {
                    tracing::warn!(%table, %error, "warm-up cannot list the table");
                    report.failed += 1;
                }
            }
        }
        ropes.sort_by_key(|meta| std::cmp::Reverse(meta.last_modified));
        ropes.truncate(options.ropes_max);
        report.ropes = ropes.len() as u64;
        let bytes = AtomicU64::new(0);
        let block_bytes = self.shared.options.block_bytes;
        let reads: Vec<_> = ropes
            .into_iter()
            .map(|meta| self.warm_rope(meta.location, meta.size.min(block_bytes), &bytes, options))
            .collect();
        let mut reads = stream::iter(reads).buffer_unordered(options.concurrent_reads.max(1));
        while let Some(outcome) = reads.next().await {
            match outcome {
                Some(true) => report.loaded += 1,
                Some(false) => report.failed += 1,
                None => {}
            }
        }
        report.bytes = bytes.load(Relaxed);
        report
    }

    /// Whether the rope could be loaded; `None` where the bytes are used up.
    async fn warm_rope(
        &self,
        rope: Path,
        size: u64,
        bytes: &AtomicU64,
        options: WarmOptions,
    ) -> Option<bool> {
        if bytes.fetch_add(size, Relaxed).saturating_add(size) > options.bytes_max {
            bytes.fetch_sub(size, Relaxed);
            return None;
        }
        let request = GetOptions {
            range: Some(GetRange::Suffix(Index::TAIL_BYTES_HINT)),
            ..GetOptions::default()
        };
        let read = async {
            let body = self.get_opts(&rope, request).await?.into_stream();
            body.try_for_each(|_| std::future::ready(Ok(()))).await
        };
        match read.await {
            Ok(()) => Some(true),
            Err(error) => {
                tracing::debug!(%rope, %error, "warm-up cannot read a rope");
                Some(false)
            }
        }
    }
}
