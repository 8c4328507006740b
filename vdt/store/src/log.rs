//! One table's Delta log in the state store.
//!
//! `deltalake` reads it (snapshots) and writes its checkpoints. A commit is a put-if-absent of exactly the version after the
//! snapshot it was planned on: that is the compare-and-swap, whoever loses reads again and plans again. Nothing is
//! retried here and nothing is merged.
//!
//! ```text
//!   snapshot (version n) -> plan -> ropes put -> flush -> put-if-absent n+1.json -> n+1.crc -> sometimes n+1.checkpoint.parquet
//! ```
//!
//! Invariant 5 is kept here: the log is a real Delta log. On a crash between any two steps it ends with a whole commit; a
//! missing `.crc` is written by the next refresh, a missing checkpoint by the next commit.

mod checkpoint;
mod checksum;
mod unreadable;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use deltalake::{DeltaTableBuilder, logstore::LogStoreRef};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{ObjectMeta, ObjectStore, path::Path};
use serde_json::Value;
use tokio::sync::Semaphore;
use url::Url;

use crate::{
    error::StoreError,
    state::{StateStore, put_new},
};

/// Commits after a checkpoint before the next one is due. A JSON commit costs every client one or two requests, a
/// checkpoint six to twelve.
const COMMITS_PER_CHECKPOINT: u64 = 10;
/// Bytes of JSON commits after a checkpoint before the next one is due: clients read each of them twice.
const COMMIT_BYTES_PER_CHECKPOINT: u64 = 4 << 20;

/// Logs that are read by deltalake at once, of all tables of the process. While it reads one it holds a thread for what blocks, and waits there for reads
/// of the state, which in a directory need one too: without a bound, as many tables as there are threads would wait for each other for ever.
static LOADS: Semaphore = Semaphore::const_new(32);

/// What LIST shows of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFiles {
    /// Newest commit.
    pub newest: Option<u64>,
    /// Newest checkpoint.
    pub checkpoint: Option<u64>,
    /// Commits after that checkpoint.
    pub commits_since: u64,
    /// Their bytes.
    pub commit_bytes_since: u64,
    /// Whether the newest commit has its `.crc`.
    pub has_crc: bool,
}

impl LogFiles {
    fn checkpoint_is_due(&self) -> bool {
        self.commits_since > COMMITS_PER_CHECKPOINT
            || self.commit_bytes_since > COMMIT_BYTES_PER_CHECKPOINT
    }
}

/// A data file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedFile {
    /// `add.path`.
    pub path: String,
    /// `add.size`, bytes.
    pub size: u64,
    /// `numRecords` of its statistics.
    pub rows: Option<u64>,
}

/// One version of a table.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Version.
    pub version: u64,
    /// Data files, by path.
    pub files: Vec<AddedFile>,
    /// The `metaData` action.
    pub metadata: Value,
    /// `txn` actions that vdt wrote, by application id.
    pub transactions: BTreeMap<String, i64>,
}

impl Snapshot {
    /// The table's configuration.
    pub fn configuration_entries(&self) -> BTreeMap<String, String> {
        let entries = self.metadata.get("configuration");
        let entries = entries.and_then(Value::as_object).into_iter().flatten();
        entries
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect()
    }

    /// Rows of all files.
    pub fn rows(&self) -> u64 {
        let rows = self.files.iter().filter_map(|file| file.rows);
        rows.fold(0, u64::saturating_add)
    }

    /// Id of the table, and when it was made in Unix time in milliseconds, by default `now_ms`.
    pub(crate) fn identity(&self, now_ms: i64) -> (String, i64) {
        let id = self.metadata.get("id").and_then(Value::as_str);
        let created = self.metadata.get("createdTime").and_then(Value::as_i64);
        (id.unwrap_or_default().to_owned(), created.unwrap_or(now_ms))
    }

    /// A value of the table's configuration.
    pub fn configuration(&self, key: &str) -> Option<&str> {
        self.metadata.get("configuration")?.get(key)?.as_str()
    }
}

/// One table's log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TableLog {
    state: StateStore,
    table: Path,
    /// Newest checkpoint that has been met: what is older tells nothing new, however long the table's history is.
    checkpoint: Arc<AtomicU64>,
}

impl TableLog {
    /// The log of `<catalog>/<schema>/<table>`.
    pub fn new(state: StateStore, table: Path) -> Self {
        Self {
            state,
            table,
            checkpoint: Arc::default(),
        }
    }

    /// `<catalog>/<schema>/<table>`.
    pub fn table(&self) -> &Path {
        &self.table
    }

    fn folder(&self) -> Path {
        self.table.clone().join("_delta_log")
    }

    fn file(&self, name: &str) -> Path {
        self.folder().join(name)
    }

    fn objects(&self) -> &Arc<dyn ObjectStore> {
        self.state.objects()
    }

    fn log_failed(&self, source: deltalake::DeltaTableError) -> StoreError {
        StoreError::Log {
            table: self.table.to_string(),
            source: Box::new(source),
        }
    }

    /// The newest checkpoint that has been met; 0 where none has.
    fn newest_checkpoint(&self) -> u64 {
        self.checkpoint.load(Relaxed)
    }

    /// Its files, from those of `version` on.
    fn list_from(&self, version: u64) -> BoxStream<'static, Result<ObjectMeta, StoreError>> {
        let folder = self.folder();
        // Names of a version's files begin with its number, and come after it.
        let listed = match version {
            0 => self.objects().list(Some(&folder)),
            version => {
                let offset = self.file(&format!("{version:020}"));
                self.objects().list_with_offset(Some(&folder), &offset)
            }
        };
        listed
            .map_err(move |source| StoreError::object(&folder, source))
            .boxed()
    }

    /// Lists the log, from the newest checkpoint that has been met.
    ///
    /// # Errors
    /// Those of the state store.
    pub async fn files(&self) -> Result<LogFiles, StoreError> {
        let from = self.newest_checkpoint();
        let files = self.files_from(from).await?;
        if files.newest.is_some() || from == 0 {
            return Ok(files);
        }
        // The checkpoint is gone: the table was made anew, or restored as it was before.
        self.checkpoint.store(0, Relaxed);
        self.files_from(0).await
    }

    async fn files_from(&self, version: u64) -> Result<LogFiles, StoreError> {
        let listed: Vec<_> = self.list_from(version).try_collect().await?;
        let mut commits = BTreeMap::new();
        let mut checksums = Vec::new();
        let mut files = LogFiles::default();
        for meta in listed {
            let Some((version, kind)) = meta
                .location
                .filename()
                .and_then(|name| name.split_once('.'))
            else {
                continue;
            };
            let Ok(version) = version.parse::<u64>() else {
                continue;
            };
            match kind {
                "json" => drop(commits.insert(version, meta.size)),
                "crc" => checksums.push(version),
                "checkpoint.parquet" => files.checkpoint = files.checkpoint.max(Some(version)),
                _ => {}
            }
        }
        if let Some(checkpoint) = files.checkpoint {
            self.checkpoint.fetch_max(checkpoint, Relaxed);
        }
        files.newest = commits.keys().next_back().copied();
        if let Some(newest) = files.newest {
            // Another process may have committed it.
            self.state.versions().publish(&self.table, newest);
        }
        files.has_crc = files
            .newest
            .is_some_and(|newest| checksums.contains(&newest));
        for (_, bytes) in commits
            .iter()
            .filter(|(version, _)| Some(**version) > files.checkpoint)
        {
            files.commits_since += 1;
            files.commit_bytes_since += bytes;
        }
        Ok(files)
    }

    /// Reads the newest version, or `None` where no version has been committed.
    ///
    /// # Errors
    /// [`StoreError::Log`] when the log is not a Delta log, and those of the state store.
    pub async fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        match self.files().await?.newest {
            None => Ok(None),
            Some(newest) => self.snapshot_at(newest).await.map(Some),
        }
    }

    /// Reads one version. That it is named spares the listing of all before the checkpoint that it stands on.
    ///
    /// # Errors
    /// As [`TableLog::snapshot`], and when there is no such version.
    pub async fn snapshot_at(&self, version: u64) -> Result<Snapshot, StoreError> {
        match self.load(version).await {
            Err(error @ StoreError::Log { .. }) => Err(self.unreadable(version, error).await),
            Err(error) => Err(error),
            Ok(snapshot) => {
                self.check(&snapshot).await?;
                Ok(snapshot)
            }
        }
    }

    async fn load(&self, version: u64) -> Result<Snapshot, StoreError> {
        // It is never closed.
        let _permit = LOADS.acquire().await.ok();
        let table = self
            .builder(self.objects().clone())?
            .with_version(version)
            .load()
            .await
            .map_err(|source| self.log_failed(source))?;
        let log_store: LogStoreRef = table.log_store();
        let state = table.snapshot().map_err(|source| self.log_failed(source))?;
        let mut files: Vec<AddedFile> = state
            .log_data()
            .iter()
            .map(|file| AddedFile {
                path: file.path().into_owned(),
                size: u64::try_from(file.size()).unwrap_or_default(),
                rows: file.num_records().map(|rows| rows as u64),
            })
            .collect();
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let mut transactions = BTreeMap::new();
        for app in [APP_ID, APP_ID_META] {
            let found = state
                .transaction_version(log_store.as_ref(), app)
                .await
                .map_err(|source| self.log_failed(source))?;
            if let Some(found) = found {
                transactions.insert(app.to_owned(), found);
            }
        }
        let metadata = serde_json::to_value(state.metadata())
            .map_err(|source| StoreError::json(&self.folder(), source))?;
        Ok(Snapshot {
            version: state.version(),
            files,
            metadata,
            transactions,
        })
    }

    fn builder(&self, objects: Arc<dyn ObjectStore>) -> Result<DeltaTableBuilder, StoreError> {
        // The scheme only selects deltalake's plain log store; every access goes through `objects`, which lists in key order.
        let url = Url::parse(&format!("memory:///{}/", self.table))
            .map_err(|_| StoreError::Manifest(format!("{:?} is no table path", self.table)))?;
        Ok(DeltaTableBuilder::from_url(url.clone())
            .map_err(|source| self.log_failed(source))?
            .with_storage_backend(objects, url))
    }

    /// Commits `actions` as `version`, the one after a version that was read. Answers `false` when somebody else has committed it: read and plan again.
    ///
    /// # Errors
    /// Those of [`StateStore::check`], and of the state store. After an error the commit may or may not be there; the next snapshot tells.
    pub async fn commit(&self, version: u64, actions: &[Value]) -> Result<bool, StoreError> {
        self.state.check().await?;
        let path = self.file(&format!("{version:020}.json"));
        let mut body = Vec::new();
        for action in actions {
            serde_json::to_writer(&mut body, action)
                .map_err(|source| StoreError::json(&path, source))?;
            body.push(b'\n');
        }
        let committed = put_new(self.objects().as_ref(), &path, body)
            .await
            .map_err(|source| StoreError::object(&path, source))?;
        if committed {
            self.state.versions().publish(&self.table, version);
        }
        Ok(committed)
    }

    /// Writes a checkpoint of the newest version if enough has piled up on the last one.
    ///
    /// # Errors
    /// Those of the state store and of deltalake.
    pub async fn checkpoint_when_due(&self) -> Result<bool, StoreError> {
        let files = self.files().await?;
        match files.newest {
            Some(version) if files.checkpoint_is_due() => {
                self.write_checkpoint(version).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

/// `txn.appId` of table `t`: its version is the next artifact id.
pub const APP_ID: &str = "vdt";
/// `txn.appId` of table `t_meta`: its version is the version of `t` that it mirrors.
pub const APP_ID_META: &str = "vdt-of";
