//! Opens foyer's store over a directory.

use std::{
    collections::HashSet,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32},
    },
    thread,
};

use foyer::{
    BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy, IoEngineConfig, PsyncIoEngineConfig, RecoverMode, Spawner, StorageFilter,
    UringIoEngineConfig,
};
use tokio::runtime::{Builder, Runtime};
use tracing::info;

use super::{
    Budget,
    census::{Census, Leaving, OldestFirst},
    fault::Place,
    layout::{BLOB_INDEX_BYTES, Geometry, Layout, written_regions},
    scan::{Recovered, recover},
    volume::Usable,
};
use crate::tiers::{
    DiskOptions, Key, TiersError,
    entry::Held,
    key::{ByHash, KeyHash},
};

/// foyer's hybrid cache, of which only the disk is used: the memory tier is ours, for it has three parts and outlives a broken disk.
pub(super) type Store = HybridCache<Key, Held, KeyHash>;

/// Shards of foyer's index.
const INDEX_SHARDS: usize = 64;
/// Regions that foyer recovers at once.
const RECOVER_CONCURRENCY: usize = 8;

/// A disk tier that works.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) store: Store,
    /// Ends with the store, and not before.
    _tasks: Tasks,
    pub(super) census: Arc<Census>,
    pub(super) geometry: Geometry,
    /// Regions that are kept without entries.
    pub(super) spare: u64,
    pub(super) room: Usable,
    pub(super) place: Place,
    /// How files are read and written.
    pub(super) engine: &'static str,
    /// Reads that failed since one succeeded.
    pub(super) read_errors: AtomicU32,
    /// Set when it is left, so that its faults are reported once.
    pub(super) is_left: AtomicBool,
    /// The directory is held as long as anything may be written to it.
    pub(super) layout: Arc<Layout>,
}

impl Opened {
    /// Returns whether an entry can be found by the hash of its key.
    pub(super) fn holds(&self, hash: u64) -> bool {
        self.store.storage().may_contains(&ByHash(hash))
    }

    /// Returns whether entries can be written without others having to go.
    pub(super) fn has_room(&self) -> bool {
        self.census.clean() > self.spare
    }
}

/// The runtime of foyer's tasks. The one that writes never ends by itself, for it holds its own queue by way of the regions that are freed for it;
/// with it would stay both buffers, the index, and all files, which take their space as long as somebody has them open.
#[derive(Debug)]
struct Tasks(Option<Runtime>);

impl Tasks {
    /// Threads to recover regions on, of which one encodes and writes later, and threads for reads of files.
    fn new(reads: u64) -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let runtime = Builder::new_multi_thread()
            .worker_threads(cores.min(RECOVER_CONCURRENCY))
            .max_blocking_threads(size(reads) + RECOVER_CONCURRENCY)
            .thread_name("vdt-disk")
            .enable_time()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    fn spawner(&self) -> Spawner {
        let handle = self.0.as_ref().map(|runtime| runtime.handle().clone());
        handle.map_or_else(Spawner::current, Spawner::from)
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// What is found out about a directory before foyer opens it. Blocks.
#[derive(Debug)]
pub(super) struct Prepared {
    layout: Arc<Layout>,
    geometry: Geometry,
    room: Usable,
    place: Place,
    /// Whether files are read and written past the page cache.
    direct: bool,
    recovered: Recovered,
    /// Regions whose files take space already.
    written: HashSet<u32>,
}

impl Prepared {
    /// Takes the directory, or keeps `layout` if that still holds it, and reads what it has, of which no more stays than the memory for its
    /// index allows. With `create`, the first time, makes it; a smaller one is refused then, if at all: what others take later is no reason to go without.
    pub(super) fn new(
        options: &DiskOptions,
        budget: Budget,
        layout: Option<Arc<Layout>>,
        create: bool,
    ) -> Result<Self, TiersError> {
        let dir = || options.dir.clone();
        let failed = |source: io::Error| TiersError::Directory { dir: dir(), source };
        let layout = match layout.filter(|layout| layout.is_current()) {
            Some(layout) => layout,
            None => Arc::new(Layout::lock(&options.dir, create)?),
        };
        let room = layout.usable_bytes(options).map_err(failed)?;
        if options.strict && create && room.usable < room.wanted {
            return Err(TiersError::Smaller {
                dir: dir(),
                wanted_bytes: room.wanted,
                usable_bytes: room.usable,
            });
        }
        let geometry = match layout.geometry(room.usable) {
            Ok(geometry) => geometry,
            Err(needed_bytes) => {
                // What it had is of no use without the rest, and others may have the space.
                layout.clear().map_err(failed)?;
                return Err(TiersError::TooSmall {
                    dir: dir(),
                    usable_bytes: room.usable,
                    needed_bytes,
                });
            }
        };
        layout.prepare(geometry).map_err(failed)?;
        let place = Place::of(layout.regions_dir(), options.shared).map_err(failed)?;
        let recovered = recover(
            &layout.regions_dir(),
            geometry,
            geometry.spare_min(),
            budget.entries_max(),
        )
        .map_err(failed)?;
        let written = written_regions(&layout.regions_dir()).map_err(failed)?;
        // On a volume that others have filled there is no room for one file more, but regions that are there are written over.
        match place.try_write() {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            written => written.map_err(failed)?,
        }
        let direct = options.direct && place.takes_direct();
        Ok(Self {
            layout,
            geometry,
            room,
            place,
            direct,
            recovered,
            written,
        })
    }

    /// Opens the store and recovers what the regions hold.
    pub(super) async fn open(
        self,
        options: &DiskOptions,
        budget: Budget,
    ) -> Result<Opened, TiersError> {
        let Self {
            layout,
            geometry,
            room,
            place,
            direct,
            recovered,
            written,
        } = self;
        let census = Arc::new(Census::default());
        let spare = geometry.spare(options);
        let failed = |source| TiersError::Store {
            dir: options.dir.clone(),
            source,
        };
        let dir = layout.regions_dir();
        let tasks = Tasks::new(budget.reads).map_err(|source| TiersError::Directory {
            dir: options.dir.clone(),
            source,
        })?;
        let open = |io: Box<dyn IoEngineConfig>| {
            let known = (recovered.regions.clone(), written.clone());
            let picker = OldestFirst::new(census.clone(), known, spare);
            let (regions, io) = ((geometry, spare), (io, tasks.spawner()));
            open_store(&dir, direct, regions, io, budget, &census, picker)
        };
        let uring = match options.io_uring {
            true => open(UringIoEngineConfig::new().boxed())
                .await
                .inspect_err(|error| info!(%error, "io_uring is not to be had, psync is used"))
                .ok(),
            false => None,
        };
        let (store, engine) = match uring {
            Some(store) => (store, "io_uring"),
            None => {
                let psync = open(PsyncIoEngineConfig::new().boxed()).await;
                (psync.map_err(failed)?, "psync")
            }
        };
        let opened = Opened {
            store,
            _tasks: tasks,
            census,
            geometry,
            spare,
            room,
            place,
            engine,
            read_errors: AtomicU32::new(0),
            is_left: AtomicBool::new(false),
            layout,
        };
        let mut hashes = recovered.hashes;
        hashes.retain(|hash| opened.holds(*hash));
        opened.census.start(hashes);
        info!(
            dir = %options.dir.display(),
            engine,
            direct,
            bytes = geometry.bytes(),
            entries = opened.census.entries(),
            "disk cache is open"
        );
        Ok(opened)
    }
}

async fn open_store(
    dir: &Path,
    direct: bool,
    (geometry, spare): (Geometry, u64),
    (io, spawner): (Box<dyn IoEngineConfig>, Spawner),
    budget: Budget,
    census: &Arc<Census>,
    picker: OldestFirst,
) -> foyer::Result<Store> {
    let device = FsDeviceBuilder::new(dir)
        .with_capacity(size(geometry.bytes()))
        .with_direct(direct)
        .build()?;
    // One flusher: recovery takes entries of a region only as long as their sequence numbers ascend.
    let engine = BlockEngineConfig::new(device)
        .with_block_size(size(geometry.region_bytes))
        .with_blob_index_size(size(BLOB_INDEX_BYTES))
        .with_indexer_shards(INDEX_SHARDS)
        .with_recover_concurrency(RECOVER_CONCURRENCY)
        .with_flushers(1)
        .with_reclaimers(1)
        .with_clean_block_threshold(size(spare))
        .with_buffer_pool_size(size(budget.buffer_bytes))
        .with_submit_queue_size_threshold(usize::MAX / 2)
        .with_eviction_pickers(vec![Box::new(picker)])
        .with_reinsertion_filter(StorageFilter::new().with_condition(Leaving(census.clone())));
    HybridCacheBuilder::new()
        .with_name("vdt")
        .with_policy(HybridCachePolicy::WriteOnInsertion)
        .with_flush_on_close(false)
        .memory(1)
        .with_shards(1)
        .with_hash_builder(KeyHash::default())
        .storage()
        .with_io_engine_config(io)
        .with_engine_config(engine)
        .with_recover_mode(RecoverMode::Quiet)
        .with_spawner(spawner)
        .build()
        .await
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
