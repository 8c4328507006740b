//! Warm-up: what a table is found by is loaded before anybody asks.
//!
//! For each table the end of every rope is read, which holds its index and the frames of the footer; a rope of at most two blocks comes
//! whole. Ropes are read newest first, as many as memory holds: more would push out the newest. No source object is read. What fails is counted and
//! left: whoever asks for it gets the error.

use futures::{StreamExt, TryStreamExt, stream};
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, path::Path};
use vdt_rope::{FileName, Index};

use super::{CacheStore, fetch::TAIL_ENTRIES};

/// What a rope costs in memory beside its bytes, with entries for its properties and for its bytes: one up to 1 MiB, of the few that are larger up to four.
const ROPE_OVERHEAD_BYTES: u64 = 1024;

/// Reads at once.
const CONCURRENT_READS: usize = 8;

/// Bytes of ropes that are loaded at most, and no more than three quarters of what memory has for metadata.
const BYTES_MAX: u64 = 1 << 30;

/// Ropes of all tables at most; the newest first.
const ROPES_MAX: usize = 100_000;

/// How far a warm-up came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WarmReport {
    /// Ropes that there are, at most 100,000.
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
    pub async fn warm(&self, tables: &[Path]) -> WarmReport {
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
        ropes.truncate(ROPES_MAX);
        report.ropes = ropes.len() as u64;
        let newest = self.newest_that_fit(&ropes);
        let reads: Vec<_> = newest.iter().map(|meta| self.warm_rope(meta)).collect();
        let mut reads = stream::iter(reads).buffer_unordered(CONCURRENT_READS);
        while let Some(loaded) = reads.next().await {
            match loaded {
                Some(bytes) => {
                    report.loaded += 1;
                    report.bytes += bytes;
                }
                None => report.failed += 1,
            }
        }
        report
    }

    /// The first of `ropes` that fit into [`BYTES_MAX`] and into memory. A quarter of what that has for metadata is left to what else is found:
    /// commits, checkpoints, ropes that are new.
    fn newest_that_fit<'a>(&self, ropes: &'a [ObjectMeta]) -> &'a [ObjectMeta] {
        let memory = self.shared.tiers.stats().memory.metadata_capacity_bytes;
        let bytes_max = BYTES_MAX.min(memory / 4 * 3);
        let mut bytes = 0u64;
        let fitting = ropes.iter().take_while(|meta| {
            bytes = bytes.saturating_add(self.warm_bytes(meta) + ROPE_OVERHEAD_BYTES);
            bytes <= bytes_max
        });
        &ropes[..fitting.count()]
    }

    /// Bytes of a rope that are loaded, at most.
    fn warm_bytes(&self, rope: &ObjectMeta) -> u64 {
        rope.size
            .min(TAIL_ENTRIES * self.shared.options.whole_bytes)
    }

    /// Loads a rope; its bytes, unless it cannot be read.
    async fn warm_rope(&self, rope: &ObjectMeta) -> Option<u64> {
        let request = GetOptions {
            range: Some(GetRange::Suffix(Index::TAIL_BYTES_HINT)),
            ..GetOptions::default()
        };
        let read = async {
            let body = self.get_opts(&rope.location, request).await?.into_stream();
            body.try_for_each(|_| std::future::ready(Ok(()))).await
        };
        match read.await {
            Ok(()) => Some(self.warm_bytes(rope)),
            Err(error) => {
                tracing::debug!(rope = %rope.location, %error, "warm-up cannot read a rope");
                None
            }
        }
    }
}
