//! The state store: where the log and the ropes of every table live.
//!
//! ```text
//! <state>/
//!   store.json                              format version and the random store id
//!   lock                                    flock target of a directory state
//!   _probe/<uuid>                           for a moment, while a bucket is opened
//!   <catalog>/<schema>/<table>/
//!     _vdt/owner.json                       who may write here: <namespace>/<metadata.name>
//!     _delta_log/<version, 20 digits>.json  commits, put-if-absent
//!     _delta_log/<version>.crc              written after its commit
//!     _delta_log/<version>.checkpoint.parquet
//!     <hash>-<bytes>.rope                   one virtual file each
//! ```
//!
//! Promise: what [`StateStore::flush`] has returned for is on stable storage, and an object written with
//! [`PutMode::Create`] is written by exactly one of any number of writers; a service that cannot do that is refused. Invariant 5
//! stands on that: two replicas never publish different versions of one number. On a crash the last committed version stands;
//! a rope that no commit names is only wasted space.

mod bucket;
mod dir;
mod probe;

use std::{path::Path as FsPath, sync::Arc};

use object_store::{
    Error as ObjectError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, path::Path,
};
use serde::{Deserialize, Serialize};
use tracing::info;
use uuid::Uuid;

use crate::{error::StoreError, versions::Versions};
use dir::DirStore;

/// The newest format of a state store that this version reads and writes: of its objects, and of what is in them. Raise it with anything that an older
/// version cannot read, a new version of stored ropes for example, and have whoever brings a store to it write `store.json` before the first commit:
/// then nobody who runs an older version commits upon it ([`StateStore::check`]).
pub const FORMAT_VERSION: u32 = 1;
const STORE_FILE: &str = "store.json";

/// `store.json`: what kind of state store this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreInfo {
    /// Layout of the state store; see [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Random, made once; part of the cache keys of whatever the state holds. Those of artifacts name their bytes.
    pub store_id: Uuid,
}

/// What every version of `store.json` says.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Format {
    format_version: u32,
}

#[derive(Serialize, Deserialize)]
struct Owner {
    owner: String,
}

/// Whether a state store is opened by the process that writes it or by one that only looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Takes the lock of a directory, makes sure that a service has conditional puts, and makes what is missing.
    ReadWrite,
    /// Takes no lock, writes nothing; the store must exist.
    ReadOnly,
}

/// From when on puts are meant, as told by how many flushes had failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutsSince(u64);

/// An open state store. Cheap to clone; the lock is held until the last clone is gone.
#[derive(Debug, Clone)]
pub struct StateStore {
    store: Arc<dyn ObjectStore>,
    directory: Option<Arc<DirStore>>,
    info: StoreInfo,
    location: String,
    versions: Versions,
}

impl StateStore {
    /// Opens `location`: a directory, or `s3://bucket/prefix` with credentials, region and endpoint from the environment.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process writes the directory, [`StoreError::NewerState`] when a newer version
    /// wrote it, [`StoreError::Unconditional`] when a bucket's service does not honour conditional puts, and errors of the medium.
    pub async fn open(location: &str, mode: OpenMode) -> Result<Self, StoreError> {
        match location.strip_prefix("s3://") {
            Some(rest) => {
                let store = bucket::open(location, rest)?;
                Self::from_store(store, location, mode).await
            }
            None if location.contains("://") => Err(StoreError::Manifest(format!(
                "the state {location:?} is in no place that this version knows; use s3://bucket/prefix or a directory"
            ))),
            None => Self::open_directory(FsPath::new(location), mode).await,
        }
    }

    /// Opens a directory; see [`StateStore::open`].
    ///
    /// # Errors
    /// As [`StateStore::open`].
    pub async fn open_directory(path: &FsPath, mode: OpenMode) -> Result<Self, StoreError> {
        let directory = Arc::new(DirStore::open(path, mode)?);
        let location = path.display().to_string();
        let info = load_info(directory.as_ref(), &location, mode, Puts::Known).await?;
        Ok(Self {
            store: directory.clone(),
            directory: Some(directory),
            info,
            location,
            versions: Versions::default(),
        })
    }

    /// Opens any object store that honours [`PutMode::Create`], and makes sure that it does before anything is written.
    ///
    /// # Errors
    /// As [`StateStore::open`].
    pub async fn from_store(
        store: Arc<dyn ObjectStore>,
        location: &str,
        mode: OpenMode,
    ) -> Result<Self, StoreError> {
        let info = load_info(store.as_ref(), location, mode, Puts::Unknown).await?;
        Ok(Self {
            store,
            directory: None,
            info,
            location: location.to_owned(),
            versions: Versions::default(),
        })
    }

    /// The objects themselves.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Makes sure that this is still the store that was opened, and of a format that this version writes: whoever goes on after it was emptied, or
    /// replaced, would begin its tables anew.
    ///
    /// A newer version of vdt writes the new format into `store.json` before its first commit in it. So whoever reads a table's newest version, calls this,
    /// and commits exactly the next one, follows no commit of a newer format: had the version that was read been one, this call would meet that format.
    ///
    /// # Errors
    /// [`StoreError::NewerState`], [`StoreError::StateGone`], and those of the store.
    pub async fn check(&self) -> Result<(), StoreError> {
        let path = Path::from(STORE_FILE);
        let found = read_info(self.store.as_ref(), &self.location, &path).await?;
        match found {
            Some(found) if found.store_id == self.info.store_id => Ok(()),
            _ => Err(StoreError::StateGone {
                location: self.location.clone(),
            }),
        }
    }

    /// What `store.json` said when the store was opened.
    pub fn info(&self) -> &StoreInfo {
        &self.info
    }

    /// The newest versions that this process has committed or met.
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// Where the store is, for people.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Canonical path of the directory, where the state is one.
    pub(crate) fn directory(&self) -> Option<&FsPath> {
        self.directory.as_deref().map(DirStore::root)
    }

    /// Marks the puts from now on, for [`StateStore::flush`].
    pub fn puts_from_now(&self) -> PutsSince {
        let directory = self.directory.as_deref();
        directory.map_or(PutsSince(0), DirStore::puts_from_now)
    }

    /// Makes all finished puts since `puts` durable. A no-op for object stores, whose puts are durable when they return.
    ///
    /// # Errors
    /// Those of the file system, also where they were met by another flush since. What was put may be lost then: put it again.
    pub async fn flush(&self, puts: PutsSince) -> Result<(), StoreError> {
        match self.directory.clone() {
            None => Ok(()),
            Some(directory) => directory.flush(puts).await,
        }
    }

    /// Claims `table` for `owner`, once and for all: the next claim by the same owner succeeds, any other is refused.
    ///
    /// # Errors
    /// [`StoreError::OtherOwner`] when somebody else's resource wrote the table.
    pub async fn claim(&self, table: &Path, owner: &str) -> Result<(), StoreError> {
        let path = owner_path(table);
        // Looked at before it is put: a table that is claimed already costs a read, and no write, at each refresh.
        let held = match self.owner(&path).await? {
            Some(held) => Some(held),
            None => {
                let body = serde_json::to_vec(&Owner {
                    owner: owner.to_owned(),
                })
                .map_err(|source| StoreError::json(&path, source))?;
                // What was emptied or replaced is nobody's to claim tables in.
                self.check().await?;
                let put = put_new(self.store.as_ref(), &path, body).await;
                match put.map_err(|source| StoreError::state(&self.location, source))? {
                    true => return Ok(()),
                    // Somebody was first.
                    false => self.owner(&path).await?,
                }
            }
        };
        match held {
            Some(held) if held.owner == owner => Ok(()),
            Some(held) => Err(StoreError::OtherOwner {
                table: table.to_string(),
                owner: owner.to_owned(),
                held_by: held.owner,
            }),
            None => Err(StoreError::Contended {
                table: table.to_string(),
                attempts: 1,
            }),
        }
    }

    /// Who has claimed `table`, if anybody has. Claims nothing.
    ///
    /// # Errors
    /// Those of the store, and a damaged document.
    pub async fn owner_of(&self, table: &Path) -> Result<Option<String>, StoreError> {
        let held = self.owner(&owner_path(table)).await?;
        Ok(held.map(|held| held.owner))
    }

    /// Who has claimed a table; `path` is that of its owner's document.
    async fn owner(&self, path: &Path) -> Result<Option<Owner>, StoreError> {
        let failed = |source| StoreError::state(&self.location, source);
        let held = match self.store.get(path).await {
            Ok(held) => held.bytes().await.map_err(failed)?,
            Err(ObjectError::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(failed(source)),
        };
        let held = serde_json::from_slice(&held);
        held.map(Some)
            .map_err(|source| StoreError::json(path, source))
    }
}

/// The document that says whose `table` is.
fn owner_path(table: &Path) -> Path {
    table.clone().join("_vdt").join("owner.json")
}

/// Puts `body` at `path` unless something is there. Answers whether this call wrote it.
///
/// # Errors
/// Those of the store, other than that the object exists.
pub(crate) async fn put_new(
    store: &dyn ObjectStore,
    path: &Path,
    body: Vec<u8>,
) -> Result<bool, ObjectError> {
    let options = PutOptions::from(PutMode::Create);
    match store.put_opts(path, PutPayload::from(body), options).await {
        Ok(_) => Ok(true),
        Err(ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a store is known to honour [`PutMode::Create`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Puts {
    Known,
    Unknown,
}

async fn load_info(
    store: &dyn ObjectStore,
    location: &str,
    mode: OpenMode,
    puts: Puts,
) -> Result<StoreInfo, StoreError> {
    let path = Path::from(STORE_FILE);
    let mut found = read_info(store, location, &path).await?;
    if mode == OpenMode::ReadWrite && puts == Puts::Unknown {
        probe::probe(store, location).await?;
    }
    if mode == OpenMode::ReadWrite && found.is_none() {
        let fresh = StoreInfo {
            format_version: FORMAT_VERSION,
            store_id: Uuid::new_v4(),
        };
        let body = serde_json::to_vec(&fresh).map_err(|source| StoreError::json(&path, source))?;
        let put = put_new(store, &path, body).await;
        found = match put.map_err(|source| StoreError::state(location, source))? {
            true => {
                info!(location, "there was no state here: tables begin anew");
                Some(fresh)
            }
            false => read_info(store, location, &path).await?,
        };
    }
    found.ok_or_else(|| StoreError::NoState {
        location: location.to_owned(),
    })
}

/// What `store.json` says; `None` where there is none.
async fn read_info(
    store: &dyn ObjectStore,
    location: &str,
    path: &Path,
) -> Result<Option<StoreInfo>, StoreError> {
    let failed = |source| StoreError::state(location, source);
    let body = match store.get(path).await {
        Ok(found) => found.bytes().await.map_err(failed)?,
        Err(ObjectError::NotFound { .. }) => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    // The version alone: what else a newer one holds is not known.
    let Format { format_version } =
        serde_json::from_slice(&body).map_err(|source| StoreError::json(path, source))?;
    if format_version > FORMAT_VERSION {
        return Err(StoreError::NewerState {
            location: location.to_owned(),
            found: format_version,
            known: FORMAT_VERSION,
        });
    }
    let info = serde_json::from_slice(&body);
    info.map(Some)
        .map_err(|source| StoreError::json(path, source))
}

#[cfg(test)]
mod tests {
    use vdt_rope::{Rope, encode};

    use super::FORMAT_VERSION;

    #[test]
    fn a_format_names_the_version_of_its_ropes() {
        let rope = encode(&Rope::default(), b"");
        let version = rope.bytes.last().copied();
        // Another version of ropes is another format of the state: raise it, so that older versions do not commit upon what they cannot read.
        assert_eq!((FORMAT_VERSION, version), (1, Some(3)));
    }
}
