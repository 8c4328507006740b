//! The stack of both binaries: files over a cache over a log over an origin.

use std::{path::PathBuf, sync::Arc};

use clap::{Args, ValueHint, builder::FalseyValueParser};
use object_store::{ObjectStore, path::Path};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use vdt_crds::{
    Cache, Quantity, VirtualTable, VolumeType, WarmupMode,
    api::{CacheReport, OriginReport},
};
use vdt_rope::{Drift, RopeStore, RopeStoreOptions};

use crate::{
    cache::{CacheMetrics, CacheOptions, CacheStore, WarmOptions},
    config::servers,
    log::{LogMetrics, LogOptions, LogStore, Notices},
    machine,
    tiers::{DiskOptions, Tiers, TiersError, TiersOptions},
};

/// The cache. Defaults come from `spec.server.cache` of the manifests.
#[derive(Debug, Clone, Args)]
pub struct CacheArgs {
    /// Folder of the cache's disk tier. `vdt serve` has it in its state directory by default
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

/// Sizes where neither the command line nor a manifest gives any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheDefaults {
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of disk.
    pub disk_bytes: u64,
}

impl CacheDefaults {
    /// Of a machine that does other things as well.
    pub const LAPTOP: Self = Self {
        memory_bytes: 256 << 20,
        disk_bytes: 10 << 30,
    };
    /// Of a pod, as in the resource.
    pub const POD: Self = Self {
        memory_bytes: 1 << 30,
        disk_bytes: 20 << 30,
    };
}

impl CacheArgs {
    /// The tiers asked for; `None` for no cache. `dir` is where the disk tier lies unless `--cache-dir` says otherwise; without either there is none.
    #[must_use]
    pub fn resolve<'a>(
        &self,
        tables: impl IntoIterator<Item = &'a VirtualTable>,
        defaults: CacheDefaults,
        dir: Option<PathBuf>,
    ) -> Option<TiersOptions> {
        if self.no_cache {
            return None;
        }
        let declared = declared_cache(tables);
        let declared = Some(&declared).filter(|cache| **cache != Cache::default());
        let bytes = |given: &Option<Quantity>| given.as_ref().map(Quantity::bytes);
        let memory_bytes = bytes(&self.cache_memory)
            .or(declared.map(|cache| cache.memory.capacity.bytes()))
            .unwrap_or(defaults.memory_bytes);
        let capacity = bytes(&self.cache_disk)
            .or(declared.map(|cache| match cache.disk.volume.kind {
                VolumeType::None => 0,
                VolumeType::EmptyDir
                | VolumeType::EphemeralVolume
                | VolumeType::PersistentVolumeClaim => cache.disk.capacity.bytes(),
            }))
            .unwrap_or(defaults.disk_bytes);
        let disk = self
            .cache_dir
            .clone()
            .or(dir)
            .filter(|_| capacity > 0)
            .map(|dir| {
                let mut disk = DiskOptions::new(dir, capacity);
                disk.strict = self.cache_strict;
                // What the page cache held would be taken from the memory that the container may use.
                disk.direct = machine::is_memory_limited();
                if let Some(cache) = declared {
                    disk.high_watermark_percent =
                        u8::try_from(cache.disk.high_watermark_percent).unwrap_or(90);
                    disk.low_watermark_percent =
                        u8::try_from(cache.disk.low_watermark_percent).unwrap_or(80);
                }
                disk
            });
        Some(TiersOptions {
            memory_bytes,
            disk,
            ..TiersOptions::default()
        })
    }
}

/// What the manifests say of the cache, which the tables of one process share. They agree: [`Front`](crate::front::Front) takes no others.
pub fn declared_cache<'a>(tables: impl IntoIterator<Item = &'a VirtualTable>) -> Cache {
    let first = servers(tables).next();
    first
        .map(|(_, server)| server.cache.clone())
        .unwrap_or_default()
}

/// What is loaded before traffic is taken, by the manifests, and for how long it may hold traffic up.
pub fn warmup<'a>(
    tables: impl IntoIterator<Item = &'a VirtualTable>,
) -> (WarmupMode, std::time::Duration) {
    let warmup = declared_cache(tables).warmup;
    let timeout = std::time::Duration::from_secs(warmup.timeout_seconds.into());
    (warmup.mode, timeout)
}

/// What a stack is made with.
#[derive(Debug)]
pub struct StackOptions {
    /// How logs are trusted.
    pub log: LogOptions,
    /// Told of new versions.
    pub notices: Notices,
    /// The tiers of the cache; `None` for no cache.
    pub tiers: Option<TiersOptions>,
    /// Id of the state store, part of cache keys.
    pub store_id: String,
    /// Files that the origin composes, if it does.
    pub files: Option<Arc<dyn ObjectStore>>,
    /// How files are composed here.
    pub ropes: RopeStoreOptions,
}

/// The stack. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stack {
    files: RopeStore,
    log: LogMetrics,
    tiers: Option<Arc<Tiers>>,
    cache: Option<CacheStore>,
    notices: Notices,
}

impl Stack {
    /// Builds the stack over `origin` and registers its metrics.
    ///
    /// # Errors
    /// Those of opening the tiers.
    pub async fn open(
        origin: Arc<dyn ObjectStore>,
        options: StackOptions,
        registry: &mut Registry,
    ) -> Result<Self, TiersError> {
        let StackOptions {
            log,
            notices,
            tiers,
            store_id,
            files,
            ropes,
        } = options;
        let metrics = LogMetrics::register(registry);
        let up = notices.clone();
        let log: Arc<dyn ObjectStore> =
            Arc::new(LogStore::new(origin, log, notices, metrics.clone()));
        let tiers = match tiers {
            Some(options) => Some(Arc::new(Tiers::open(options).await?)),
            None => None,
        };
        let cache = tiers.as_ref().map(|tiers| {
            let options = CacheOptions {
                store_id,
                files,
                ..CacheOptions::default()
            };
            let cache = CacheStore::new(Arc::clone(&log), Arc::clone(tiers), options);
            tiers.register(registry);
            CacheMetrics::register(registry, &cache);
            cache
        });
        let below = match &cache {
            Some(cache) => Arc::new(cache.clone()) as Arc<dyn ObjectStore>,
            None => log,
        };
        Ok(Self {
            files: RopeStore::new(below, counted(ropes, registry)),
            log: metrics,
            tiers,
            cache,
            notices: up,
        })
    }

    /// Loads what a new process should have before it takes traffic, of `tables` (`<catalog>/<schema>/<table>`).
    pub async fn warm(&self, mode: WarmupMode, tables: &[String]) {
        match mode {
            WarmupMode::None => {}
            WarmupMode::Metadata => {
                let Some(cache) = &self.cache else { return };
                let paths: Vec<Path> = tables
                    .iter()
                    .map(|table| Path::from(table.as_str()))
                    .collect();
                let report = cache.warm(&paths, WarmOptions::default()).await;
                tracing::info!(
                    ropes = report.ropes,
                    loaded = report.loaded,
                    bytes = report.bytes,
                    failed = report.failed,
                    "warmed up"
                );
            }
        }
    }

    /// The tables' files, as dialects serve them.
    #[must_use]
    pub fn files(&self) -> Arc<dyn ObjectStore> {
        Arc::new(self.files.clone())
    }

    /// Metrics of the log.
    #[must_use]
    pub fn log(&self) -> &LogMetrics {
        &self.log
    }

    /// Reasons of a condition that says how the cache is, when it is not as asked.
    #[must_use]
    pub fn degraded(&self) -> Option<(String, String)> {
        use crate::tiers::reason::CACHE_READY;
        let stats = self.tiers.as_ref()?.stats();
        let (reason, message) = stats.disk.state.condition();
        (reason != CACHE_READY).then(|| (reason.to_owned(), message.to_owned()))
    }

    /// The body of `GET /api/v1/cache`; `None` without a cache.
    #[must_use]
    pub fn report(&self) -> Option<CacheReport> {
        let mut report = self.cache.as_ref()?.stats();
        report.origin = OriginReport {
            requests: report.origin.requests,
            bytes: report.origin.bytes,
            stale_answers: self.log.stale_answers(),
            ..self.notices.origin()
        };
        Some(report)
    }

    /// Flushes the cache, within a deadline.
    pub async fn close(&self) {
        if let Some(cache) = &self.cache {
            cache.close().await;
        }
        if let Some(tiers) = &self.tiers {
            tiers.close().await;
        }
    }
}

/// Has reads counted that meet a changed source, by whoever composes what a client reads: others are told of them, and may be away.
fn counted(mut ropes: RopeStoreOptions, registry: &mut Registry) -> RopeStoreOptions {
    let met = Counter::<u64>::default();
    registry.register(
        "vdt_source_drift",
        "Reads that met a source object that had changed",
        met.clone(),
    );
    let told = ropes.on_drift.take();
    ropes.on_drift = Some(Arc::new(move |drift: Drift| {
        met.inc();
        if let Some(told) = &told {
            told(drift);
        }
    }));
    ropes
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use prometheus_client::encoding::text::encode;
    use vdt_rope::DriftReason;

    use super::*;

    #[test]
    fn a_read_that_meets_a_changed_source_is_counted_once_and_told() {
        let mut registry = Registry::default();
        let told = Arc::new(AtomicU64::new(0));
        let tell = Arc::clone(&told);
        let ropes = RopeStoreOptions {
            on_drift: Some(Arc::new(move |_| {
                tell.fetch_add(1, Ordering::Relaxed);
            })),
            ..RopeStoreOptions::default()
        };
        let ropes = counted(ropes, &mut registry);
        let met = ropes.on_drift.expect("it is told");
        met(Drift {
            location: Path::from("c/s/t/a.parquet"),
            source: "0011223344556677".into(),
            key: "a.pdf".to_owned(),
            reason: DriftReason::Gone,
        });
        let mut text = String::new();
        encode(&mut text, &registry).expect("a String takes everything");
        assert!(text.contains("\nvdt_source_drift_total 1\n"), "{text}");
        assert_eq!(told.load(Ordering::Relaxed), 1);
    }
}
