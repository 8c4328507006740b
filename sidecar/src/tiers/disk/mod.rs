//! The disk tier: foyer's block engine over a directory that this process has to itself.

mod layout;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use foyer::{
    BlockEngineConfig, DeviceBuilder, FifoPicker, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy, Load, PsyncIoEngineConfig, RecoverMode, Spawner,
};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tracing::warn;

use self::layout::{BLOB_INDEX_BYTES, Geometry, Layout};
use super::{
    DiskOptions, DiskState, Key, TiersError,
    entry::{Held, KeyHash},
    reason,
    stats::{Counters, DiskStats},
};

type Store = HybridCache<Key, Held, KeyHash>;
type Loading = Shared<BoxFuture<'static, Option<Held>>>;

const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// The disk tier.
#[derive(Debug)]
pub(super) struct Disk {
    options: DiskOptions,
    state: DiskState,
    store: Option<Store>,
    capacity_bytes: u64,
    loading: Mutex<HashMap<Key, Loading>>,
    _layout: Option<Layout>,
}

impl Disk {
    /// Opens the disk tier. A broken one is reported in its state, unless the options are strict; a locked one is an error always.
    pub(super) async fn open(options: &DiskOptions) -> Result<Self, TiersError> {
        let mut disk = Self {
            options: options.clone(),
            state: DiskState::Ok,
            store: None,
            capacity_bytes: 0,
            loading: Mutex::default(),
            _layout: None,
        };
        match disk.try_open().await {
            Ok(()) => {}
            Err(error @ TiersError::Locked { .. }) => return Err(error),
            Err(error) if options.strict => return Err(error),
            Err(error) => {
                warn!(dir = %options.dir.display(), %error, "disk cache is off");
                let reason = match error {
                    TiersError::TooSmall { .. } => reason::DISK_TOO_SMALL,
                    _ => reason::DISK_FAILED,
                };
                disk.state = DiskState::Degraded {
                    reason,
                    message: error.to_string(),
                };
            }
        }
        Ok(disk)
    }

    async fn try_open(&mut self) -> Result<(), TiersError> {
        let dir = &self.options.dir;
        let layout = Layout::lock(dir)?;
        let failed = |source| TiersError::Directory {
            dir: dir.clone(),
            source,
        };
        let room = layout.usable_bytes(&self.options).map_err(failed)?;
        if room.usable < room.wanted {
            let error = TiersError::Smaller {
                dir: dir.clone(),
                wanted_bytes: room.wanted,
                usable_bytes: room.usable,
            };
            if self.options.strict {
                return Err(error);
            }
            warn!(dir = %dir.display(), %error, "disk cache is smaller than asked");
            self.state = DiskState::Degraded {
                reason: reason::CACHE_SMALLER,
                message: error.to_string(),
            };
        }
        let geometry = Geometry::of(room.usable).map_err(|needed_bytes| TiersError::TooSmall {
            dir: dir.clone(),
            usable_bytes: room.usable,
            needed_bytes,
        })?;
        layout.prepare(geometry).map_err(failed)?;
        let store = open_store(&layout, geometry)
            .await
            .map_err(|source| TiersError::Store {
                dir: dir.clone(),
                source,
            })?;
        self.store = Some(store);
        self.capacity_bytes = geometry.bytes();
        self._layout = Some(layout);
        Ok(())
    }

    /// Returns what is held under a key. Errors are misses.
    pub(super) async fn get(&self, key: Key, counters: &Counters) -> Option<Held> {
        let store = self.store.as_ref()?;
        if !store.storage().may_contains(&key) {
            return None;
        }
        let loading = self
            .loading
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(key)
            .or_insert_with(|| load(store.clone(), key))
            .clone();
        let found = loading.await;
        self.loading
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&key);
        if found.is_none() {
            counters.bad_entries.fetch_add(1, Relaxed);
        }
        found
    }

    /// Hands an entry to the disk.
    pub(super) fn insert(&self, key: Key, held: Held, counters: &Counters) {
        let Some(store) = &self.store else { return };
        if held.is_storable() && !store.storage().may_contains(&key) {
            counters.writes.fetch_add(1, Relaxed);
            store.storage_writer(key).force().insert(held);
        }
    }

    pub(super) fn stats(&self, counters: &Counters) -> DiskStats {
        let device = self.store.as_ref().map(|store| store.statistics());
        DiskStats {
            state: self.state.clone(),
            engine: "psync",
            wanted_bytes: self.options.capacity,
            capacity_bytes: self.capacity_bytes,
            writes: counters.writes.load(Relaxed),
            write_bytes: device.map_or(0, |device| device.disk_write_bytes() as u64),
            read_bytes: device.map_or(0, |device| device.disk_read_bytes() as u64),
            dropped_writes: counters.dropped_writes.load(Relaxed),
            rejected_writes: counters.rejected_writes.load(Relaxed),
            rescued_writes: counters.rescued_writes.load(Relaxed),
            evictions: counters.disk_evictions.load(Relaxed),
            bad_entries: counters.bad_entries.load(Relaxed),
            failed_writes: counters.failed_writes.load(Relaxed),
            ..DiskStats::off()
        }
    }

    pub(super) async fn close(&self) {
        if let Some(store) = &self.store {
            match tokio::time::timeout(CLOSE_DEADLINE, store.close()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!(%error, "disk cache did not close cleanly"),
                Err(_) => warn!("disk cache did not close in time"),
            }
        }
    }
}

/// Loads on a task of its own: one that ends whoever leaves, for what it reads into must outlive the read.
fn load(store: Store, key: Key) -> Loading {
    let task = tokio::spawn(async move {
        match store.storage().load(&key).await {
            Ok(Load::Entry { value, .. }) => Some(value),
            Ok(Load::Piece { piece, .. }) => Some(piece.value().clone()),
            Ok(Load::Miss | Load::Throttled) => None,
            Err(error) => {
                warn!(%error, "disk cache: an entry cannot be read");
                store.storage().delete(&key);
                None
            }
        }
    });
    async move { task.await.ok().flatten() }.boxed().shared()
}

async fn open_store(layout: &Layout, geometry: Geometry) -> foyer::Result<Store> {
    let device = FsDeviceBuilder::new(layout.regions_dir())
        .with_capacity(usize::try_from(geometry.bytes()).unwrap_or(usize::MAX))
        .build()?;
    let engine = BlockEngineConfig::new(device)
        .with_block_size(geometry.region_bytes as usize)
        .with_blob_index_size(BLOB_INDEX_BYTES as usize)
        .with_eviction_pickers(vec![Box::new(FifoPicker::new(0.5))]);
    HybridCacheBuilder::new()
        .with_name("vdt")
        .with_policy(HybridCachePolicy::WriteOnInsertion)
        .with_flush_on_close(false)
        .memory(1)
        .with_shards(1)
        .with_hash_builder(KeyHash::default())
        .storage()
        .with_io_engine_config(PsyncIoEngineConfig::new())
        .with_engine_config(engine)
        .with_recover_mode(RecoverMode::Quiet)
        .with_spawner(Spawner::current())
        .build()
        .await
}
