//! The stack of both binaries: files over a cache over a log over an origin.

mod asked;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use object_store::{ObjectStore, path::Path};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::time::timeout;
use tracing::{info, warn};
use vdt_crds::{
    VirtualTable, WarmupMode,
    api::{CacheReport, OriginReport, TierState},
};
use vdt_rope::{Drift, RopeStore, RopeStoreOptions};

use self::asked::warmup;
pub use self::asked::{AskedCache, CacheArgs, CacheDefaults, StalenessArgs, declared_cache};
use crate::{
    cache::{CacheMetrics, CacheOptions, CacheStore},
    log::{LogMetrics, LogOptions, LogStore, Notices},
    tiers::{Tiers, TiersError},
};

/// Reason of the condition `CacheReady` where manifests ask for a disk tier that has no folder. Others are those of [`crate::tiers::reason`].
const NO_CACHE_DIR: &str = "NoCacheDir";

/// What a stack is made with.
#[derive(Debug)]
pub struct StackOptions {
    /// How logs are trusted.
    pub log: LogOptions,
    /// Told of new versions.
    pub notices: Notices,
    /// The cache; `None` for none.
    pub cache: Option<AskedCache>,
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
    /// Why there is no disk tier, where one is asked for that has no folder.
    without_folder: Option<Arc<str>>,
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
            cache: asked,
            store_id,
            files,
            ropes,
        } = options;
        let metrics = LogMetrics::register(registry);
        notices.register(registry);
        let up = notices.clone();
        let log: Arc<dyn ObjectStore> =
            Arc::new(LogStore::new(origin, log, notices, metrics.clone()));
        let (tiers, without_folder) = match asked {
            Some(asked) => {
                let why = asked.without_folder.map(|size| -> Arc<str> {
                    format!(
                        "the manifests ask for {size} of disk, and no folder is given for it: the cache is in memory alone; give a folder by --cache-dir, \
                         or ask for no disk by --cache-disk 0"
                    )
                    .into()
                });
                if let Some(why) = &why {
                    warn!(reason = NO_CACHE_DIR, "{why}");
                }
                (Some(Arc::new(Tiers::open(asked.tiers).await?)), why)
            }
            None => (None, None),
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
            without_folder,
            notices: up,
        })
    }

    /// Loads what the manifests of `tables` say that a new process should have, for as long as they give it. What is left then is loaded when it is asked
    /// for. Dropping the future ends it.
    pub async fn warm(&self, tables: &[VirtualTable]) {
        let (mode, time) = warmup(tables);
        let loading = async {
            match mode {
                WarmupMode::None => {}
                WarmupMode::Metadata => self.load_metadata(tables).await,
            }
        };
        if timeout(time, loading).await.is_err() {
            warn!(
                seconds = time.as_secs(),
                "the warm-up is not finished; what is left is loaded when it is asked for"
            );
        }
    }

    async fn load_metadata(&self, tables: &[VirtualTable]) {
        let Some(cache) = &self.cache else { return };
        let paths = tables.iter().map(VirtualTable::table_path);
        let paths: Vec<Path> = paths.map(Path::from).collect();
        let report = cache.warm(&paths).await;
        info!(
            ropes = report.ropes,
            loaded = report.loaded,
            bytes = report.bytes,
            failed = report.failed,
            "warmed up"
        );
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
        if let Some(why) = &self.without_folder {
            return Some((NO_CACHE_DIR.to_owned(), why.to_string()));
        }
        let stats = self.tiers.as_ref()?.stats();
        let (reason, message) = stats.disk.state.degraded()?;
        Some((reason.to_owned(), message.to_owned()))
    }

    /// The body of `GET /api/v1/cache`; `None` without a cache.
    #[must_use]
    pub fn report(&self) -> Option<CacheReport> {
        let mut report = self.cache.as_ref()?.report();
        report.origin = OriginReport {
            requests: report.origin.requests,
            bytes: report.origin.bytes,
            stale_answers: self.log.stale_answers(),
            ..self.notices.origin()
        };
        if let Some(why) = &self.without_folder {
            let since = report.tiers.memory.since.clone();
            let disk = &mut report.tiers.disk;
            (disk.state, disk.since) = (TierState::Degraded, since);
            (disk.reason, disk.message) = (Some(NO_CACHE_DIR.to_owned()), Some(why.to_string()));
        }
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
