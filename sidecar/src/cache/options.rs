//! What a cache store may use.

use std::{fmt, sync::Arc};

use object_store::ObjectStore;

/// How a [`CacheStore`](super::CacheStore) is made.
#[derive(Clone)]
pub struct CacheOptions {
    /// Names the state store: part of the keys of ropes and log files. Two caches with one directory must not give one id to two
    /// stores.
    pub store_id: String,
    /// Composed files at the origin, by their shown paths (`<catalog>/<schema>/<table>/<hash>-<bytes>.parquet`): a run of misses is
    /// one request there. `None` where the origin is in process: the sources are asked.
    pub files: Option<Arc<dyn ObjectStore>>,
    /// Bytes of a block of an object that is more than one entry, 4 KiB to 1 MiB, default 512 KiB.
    pub block_bytes: u64,
    /// Objects up to this are one entry of their own length. Bytes, a multiple of a block's, up to 1 MiB, default 1 MiB.
    pub whole_bytes: u64,
    /// Objects below this are tiny: read together, they share a pack. Bytes, default 64 KiB.
    pub tiny_bytes: u64,
    /// Bytes of a pack at most, up to 1 MiB, default 1 MiB.
    pub pack_bytes: u64,
    /// A run has at least so many missed references, default 8.
    pub run_min: usize,
    /// Bytes of one request for a run at most, default 2 MiB.
    pub run_bytes: u64,
    /// Blocks of one request to the origin at most, default 16.
    pub segment_blocks: u64,
    /// Bytes of next blocks that bodies hold while those before them are taken, all together. Default 32 MiB.
    pub overlap_bytes: u64,
    /// Bytes that are read ahead of one scan at most; 0 reads nothing ahead. Default 8 MiB.
    pub read_ahead_bytes: u64,
    /// Bytes that are read ahead at most, all scans together. Default 32 MiB.
    pub read_ahead_total_bytes: u64,
    /// Requests to a source at once for one pack or for read-ahead. Default 32.
    pub concurrent_reads: usize,
    /// Requests to the origin at once, a pack counting as one; more wait their turn. Each fills one entry at a time, of 1 MiB at most. 2 or more,
    /// default 64.
    pub concurrent_fetches: usize,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            store_id: String::new(),
            files: None,
            block_bytes: 512 << 10,
            whole_bytes: 1 << 20,
            tiny_bytes: 64 << 10,
            pack_bytes: 1 << 20,
            run_min: 8,
            run_bytes: 2 << 20,
            segment_blocks: 16,
            overlap_bytes: 32 << 20,
            read_ahead_bytes: 8 << 20,
            read_ahead_total_bytes: 32 << 20,
            concurrent_reads: 32,
            concurrent_fetches: 64,
        }
    }
}

impl CacheOptions {
    /// Brings what would not work into its bounds.
    pub(super) fn bounded(mut self) -> Self {
        self.block_bytes = self.block_bytes.clamp(16, 1 << 20);
        let whole_bytes = self.whole_bytes.clamp(self.block_bytes, 1 << 20);
        self.whole_bytes = whole_bytes - whole_bytes % self.block_bytes;
        self.pack_bytes = self.pack_bytes.min(1 << 20);
        self.tiny_bytes = self.tiny_bytes.min(self.whole_bytes);
        self.segment_blocks = self.segment_blocks.max(1);
        self.concurrent_reads = self.concurrent_reads.max(1);
        self.concurrent_fetches = self.concurrent_fetches.max(2);
        self.run_min = self.run_min.max(2);
        self.run_bytes = self.run_bytes.max(self.whole_bytes);
        self
    }

    /// Bytes of the blocks of an object of so many bytes.
    pub(super) fn block_bytes_of(&self, size: u64) -> u64 {
        if size <= self.whole_bytes {
            self.whole_bytes
        } else {
            self.block_bytes
        }
    }
}

impl fmt::Debug for CacheOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheOptions")
            .field("store_id", &self.store_id)
            .field("files", &self.files.is_some())
            .field("block_bytes", &self.block_bytes)
            .field("concurrent_fetches", &self.concurrent_fetches)
            .finish_non_exhaustive()
    }
}
