//! What is asked of a stack: by the command line, else by `spec.server.cache` of the manifests, else by what fits the machine.
//!
//! A disk tier needs a folder. Where there is none, flags that ask for the tier are refused: whoever wrote them is there to mend them. A manifest
//! may be another process's too, so what it asks for is cached in memory alone, which is told ([`AskedCache::without_folder`]).

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueHint, builder::FalseyValueParser, value_parser};
use vdt_crds::{Cache, Quantity, VirtualTable, VolumeType, WarmupMode};

use crate::{
    config::servers,
    exit::BadInput,
    log::LogOptions,
    machine,
    tiers::{DiskOptions, TiersOptions},
};

/// The cache. Defaults come from `spec.server.cache` of the manifests.
#[derive(Debug, Clone, Args)]
pub struct CacheArgs {
    /// Folder of the cache's disk tier; without one there is none. `vdt serve` has one of its own in a state that is a directory
    #[arg(long, env = "VDT_CACHE_DIR", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub cache_dir: Option<PathBuf>,
    /// Memory of the cache, such as 512Mi. Without a manifest that says otherwise, `vdt serve` takes 256Mi and a pod 1Gi
    #[arg(long, env = "VDT_CACHE_MEMORY", value_name = "SIZE")]
    pub cache_memory: Option<Quantity>,
    /// Size of the cache's disk tier, such as 100Gi; 0 for none. Limited to what the file system has; without a manifest that says otherwise 10Gi in `vdt
    /// serve` and 20Gi in a pod
    #[arg(long, env = "VDT_CACHE_DISK", value_name = "SIZE")]
    pub cache_disk: Option<Quantity>,
    /// Refuse to start if the disk tier cannot be as large as requested, instead of serving with less
    #[arg(long, env = "VDT_CACHE_STRICT", value_parser = FalseyValueParser::new())]
    pub cache_strict: bool,
    /// Cache nothing
    #[arg(long, env = "VDT_NO_CACHE", value_parser = FalseyValueParser::new(), conflicts_with_all = ["cache_dir", "cache_memory", "cache_disk", "cache_strict"])]
    pub no_cache: bool,
}

/// The cache where neither the command line nor a manifest says anything of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheDefaults {
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of disk.
    pub disk_bytes: u64,
    /// Whether it is the disk of a node, as [`DiskOptions::shared`].
    pub is_disk_shared: bool,
}

impl CacheDefaults {
    /// Of a machine that does other things as well.
    pub const LAPTOP: Self = Self {
        memory_bytes: 256 << 20,
        disk_bytes: 10 << 30,
        is_disk_shared: false,
    };
    /// Of a pod, as in the resource.
    pub const POD: Self = Self {
        memory_bytes: 1 << 30,
        disk_bytes: 20 << 30,
        is_disk_shared: true,
    };
}

/// The cache that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct AskedCache {
    /// Its tiers.
    pub tiers: TiersOptions,
    /// The size of a disk tier that manifests ask for and that has no folder.
    pub without_folder: Option<Quantity>,
}

/// Least memory of a cache, bytes: as of `spec.server.cache.memory.capacity`. With less, nothing is left beside the buffers of a disk tier.
const MEMORY_MIN: u64 = 16 << 20;

impl CacheArgs {
    /// The cache that is asked for; `None` for no cache. `dir` is where the disk tier lies unless `--cache-dir` says otherwise; without either there is
    /// none.
    ///
    /// # Errors
    /// When flags ask for a disk tier, or that it be as large as it should be, and it has no folder; and for too little memory.
    pub fn resolve<'a>(
        &self,
        tables: impl IntoIterator<Item = &'a VirtualTable>,
        defaults: CacheDefaults,
        dir: Option<PathBuf>,
    ) -> Result<Option<AskedCache>, BadInput> {
        if self.no_cache {
            return Ok(None);
        }
        if let Some(given) = self.cache_memory.as_ref()
            && given.bytes() < MEMORY_MIN
        {
            return Err(BadInput::new(format!(
                "--cache-memory {given} is too little: give 16Mi or more, or cache nothing by --no-cache"
            )));
        }
        let declared = declared_cache(tables);
        let declared = Some(&declared).filter(|cache| **cache != Cache::default());
        let memory_bytes = self
            .cache_memory
            .as_ref()
            .or(declared.map(|cache| &cache.memory.capacity))
            .map_or(defaults.memory_bytes, Quantity::bytes);
        let declared_disk = declared.map(|cache| match cache.disk.volume.kind {
            VolumeType::None => None,
            VolumeType::EmptyDir
            | VolumeType::EphemeralVolume
            | VolumeType::PersistentVolumeClaim => Some(&cache.disk.capacity),
        });
        let capacity = match (&self.cache_disk, declared_disk) {
            (Some(given), _) => given.bytes(),
            (None, Some(declared)) => declared.map_or(0, Quantity::bytes),
            (None, None) => defaults.disk_bytes,
        };
        let mut asked = AskedCache {
            tiers: TiersOptions {
                memory_bytes,
                ..TiersOptions::default()
            },
            without_folder: None,
        };
        match self.cache_dir.clone().or(dir) {
            _ if capacity == 0 => {}
            Some(dir) => {
                let mut disk = DiskOptions::new(dir, capacity);
                disk.strict = self.cache_strict;
                // What the page cache held would be taken from the memory that the container may use.
                disk.direct = machine::is_memory_limited();
                disk.shared = defaults.is_disk_shared;
                if let Some(cache) = declared {
                    as_declared(&mut disk, cache);
                }
                asked.tiers.disk = Some(disk);
            }
            None => {
                self.refuse_without_folder()?;
                asked.without_folder = declared_disk.flatten().cloned();
            }
        }
        Ok(Some(asked))
    }

    /// Refuses flags that ask for a disk tier, which has no folder.
    fn refuse_without_folder(&self) -> Result<(), BadInput> {
        let size = self.cache_disk.as_ref();
        let size = size.map(|size| ("--cache-disk", format!("--cache-disk {size}")));
        let strict = ("--cache-strict", "--cache-strict".to_owned());
        let flags = size.into_iter().chain(self.cache_strict.then_some(strict));
        let (names, given): (Vec<_>, Vec<_>) = flags.unzip();
        if names.is_empty() {
            return Ok(());
        }
        Err(BadInput::new(format!(
            "the cache's disk tier is asked for by {}, and has no folder: give one by --cache-dir (vdt serve has one of its own in a state that is a \
             directory), or cache in memory alone without {}",
            given.join(" and "),
            names.join(" and "),
        )))
    }
}

fn as_declared(disk: &mut DiskOptions, cache: &Cache) {
    // The others are volumes of their own.
    disk.shared &= cache.disk.volume.kind == VolumeType::EmptyDir;
    disk.high_watermark_percent = u8::try_from(cache.disk.high_watermark_percent).unwrap_or(90);
    disk.low_watermark_percent = u8::try_from(cache.disk.low_watermark_percent).unwrap_or(80);
}

/// How long the log of a table is trusted.
#[derive(Debug, Clone, Copy, Args)]
pub struct StalenessArgs {
    /// Seconds for which the log of a table is answered as it was listed last, unless a new version is announced, as those of this process are: how late
    /// versions show that other replicas commit
    #[arg(long, env = "VDT_STALENESS_SECONDS", default_value_t = 1, value_name = "N", value_parser = value_parser!(u64).range(1..=30))]
    pub staleness_seconds: u64,
}

impl StalenessArgs {
    /// How logs are trusted.
    #[must_use]
    pub fn log(self) -> LogOptions {
        LogOptions {
            staleness: Duration::from_secs(self.staleness_seconds),
            ..LogOptions::default()
        }
    }
}

/// What the manifests say of the cache, which the tables of one process share. They agree: [`Front`](crate::front::Front) takes no others.
pub fn declared_cache<'a>(tables: impl IntoIterator<Item = &'a VirtualTable>) -> Cache {
    let first = servers(tables).next();
    first
        .map(|(_, server)| server.cache.clone())
        .unwrap_or_default()
}

/// What is loaded by itself, by the manifests, and for how long.
pub(super) fn warmup<'a>(
    tables: impl IntoIterator<Item = &'a VirtualTable>,
) -> (WarmupMode, Duration) {
    let warmup = declared_cache(tables).warmup;
    let timeout = Duration::from_secs(warmup.timeout_seconds.into());
    (warmup.mode, timeout)
}
