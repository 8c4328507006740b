//! A table's log at one moment: listing and hint.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::Utc;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::{
    Attributes, Error, GetOptions, GetResult, GetResultPayload, ListResult, ObjectMeta,
    ObjectStore, Result, path::Path,
};
use serde::Deserialize;
use tokio::time::Instant;
use vdt_rope::{requested_range, unquoted};

use super::attempt::{Begin, Heard};

const HINT: &str = "_last_checkpoint";
/// Snapshots tried when the hint names what the listing lacks: a checkpoint was written in between.
const TRIES: usize = 2;
/// How long a listing is only added to. What is changed behind the newest checkpoint, which a log's writers never do, is seen after this.
const ADDED_TO_MAX: Duration = Duration::from_secs(300);
/// Most bytes of a hint or a checksum file.
const OBJECT_BYTES_MAX: u64 = 1 << 20;

/// What a file of a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum File {
    /// `_last_checkpoint`.
    Hint,
    /// `<version>.json`.
    Commit,
    /// `<version>.crc`.
    Checksum,
    /// Checkpoints and whatever else there is.
    Other,
}

impl File {
    pub(super) fn of(location: &Path) -> Self {
        let name = location.filename().unwrap_or_default();
        if name == HINT {
            return Self::Hint;
        }
        match version_of(location) {
            Some((_, "json")) => Self::Commit,
            Some((_, "crc")) => Self::Checksum,
            Some(_) | None => Self::Other,
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// In byte order.
    listing: Arc<Vec<ObjectMeta>>,
    /// When all of it was listed.
    listed_at: Instant,
    hint: Option<Object>,
    bytes: u64,
}

/// The part of a hint that matters here (Delta PROTOCOL, "Last Checkpoint File").
#[derive(Deserialize)]
struct Hint {
    version: u64,
}

impl Snapshot {
    /// Takes a snapshot: the listing, then the hint, which is left out where it goes on to name what the listing lacks.
    pub(super) async fn take(
        origin: Arc<dyn ObjectStore>,
        folder: Path,
        begin: Begin<Self>,
    ) -> Result<Self> {
        let Begin { before, heard } = begin;
        let mut snapshot = Self::take_once(&origin, &folder, before.as_deref(), &heard).await?;
        for _ in 1..TRIES {
            if snapshot.hint_is_listed(&folder) {
                return Ok(snapshot);
            }
            snapshot = Self::take_once(&origin, &folder, Some(&snapshot), &heard).await?;
        }
        if !snapshot.hint_is_listed(&folder) {
            // Always right: clients read the listing instead.
            snapshot.hint = None;
        }
        Ok(snapshot)
    }

    async fn take_once(
        origin: &Arc<dyn ObjectStore>,
        folder: &Path,
        before: Option<&Self>,
        heard: &Heard,
    ) -> Result<Self> {
        let added_to = match before {
            Some(before) => before.added_to(origin, folder, heard).await?,
            None => None,
        };
        let (listing, listed_at) = match added_to {
            Some(listed) => listed,
            None => {
                let at = Instant::now();
                (Arc::new(list(origin.list(Some(folder)), heard).await?), at)
            }
        };
        // A log without a checkpoint has no hint.
        let hint = match listing.iter().any(|meta| is_checkpoint(&meta.location)) {
            true => match Object::get(origin.as_ref(), &folder.clone().join(HINT)).await {
                Ok(hint) => Some(hint),
                Err(Error::NotFound { .. }) => None,
                Err(error) => return Err(error),
            },
            false => None,
        };
        let bytes = listing.iter().map(meta_bytes).sum();
        Ok(Self {
            listing,
            listed_at,
            hint,
            bytes,
        })
    }

    /// The listing with what has been added to it, asked for from the newest checkpoint on; `None` if that, or anything behind it, is not what it was.
    ///
    /// Whatever comes late comes behind it: clients and writers begin at a checkpoint, and write none of an older version.
    async fn added_to(
        &self,
        origin: &Arc<dyn ObjectStore>,
        folder: &Path,
        heard: &Heard,
    ) -> Result<Option<(Arc<Vec<ObjectMeta>>, Instant)>> {
        let is_of_log = |meta: &&ObjectMeta| meta.location.parent().as_ref() == Some(folder);
        let mut newest_first = self.listing.iter().rev().filter(is_of_log);
        let newest = newest_first.find_map(|meta| checkpoint_version(&meta.location));
        let Some(newest) = newest.filter(|_| self.listed_at.elapsed() < ADDED_TO_MAX) else {
            return Ok(None);
        };
        // The files of a version have its number and a dot.
        let offset = folder.clone().join(newest);
        let behind = self.listing.partition_point(|meta| meta.location <= offset);
        let (older, held) = self.listing.split_at(behind);
        let found = list(origin.list_with_offset(Some(folder), &offset), heard).await?;
        let is_there = |meta: &ObjectMeta| {
            let at = found.binary_search_by(|other| other.location.cmp(&meta.location));
            at.ok().and_then(|at| found.get(at)) == Some(meta)
        };
        let mut versions = held
            .iter()
            .filter(|meta| version_of(&meta.location).is_some());
        if !versions.all(is_there) {
            return Ok(None);
        }
        let listing = match found == held {
            true => Arc::clone(&self.listing),
            false => Arc::new(older.iter().cloned().chain(found).collect()),
        };
        Ok(Some((listing, self.listed_at)))
    }

    fn hint_is_listed(&self, folder: &Path) -> bool {
        let Some(hint) = &self.hint else { return true };
        let Ok(hint) = serde_json::from_slice::<Hint>(&hint.body) else {
            return false;
        };
        let prefix = format!("{:020}.checkpoint.", hint.version);
        self.listing.iter().any(|meta| {
            meta.location.parent().as_ref() == Some(folder)
                && meta
                    .location
                    .filename()
                    .is_some_and(|name| name.starts_with(&prefix))
        })
    }

    /// The bytes of memory that it takes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes + self.hint.as_ref().map_or(0, Object::bytes)
    }

    /// The hint, if the checkpoint that it names is old enough.
    pub(super) fn hint(&self, age: Duration) -> Option<&Object> {
        self.hint.as_ref().filter(|hint| {
            age.is_zero()
                || Utc::now()
                    .signed_duration_since(hint.meta.last_modified)
                    .to_std()
                    .is_ok_and(|since| since >= age)
        })
    }

    /// What the listing says of `location`.
    pub(super) fn find(&self, location: &Path) -> Option<&ObjectMeta> {
        self.listing
            .binary_search_by(|meta| meta.location.as_ref().cmp(location.as_ref()))
            .ok()
            .and_then(|at| self.listing.get(at))
    }

    /// What is listed after `offset`.
    pub(super) fn after(
        self: Arc<Self>,
        offset: Option<&Path>,
    ) -> impl Iterator<Item = ObjectMeta> + Send + use<> {
        let from = offset.map_or(0, |offset| {
            self.listing
                .partition_point(|meta| meta.location.as_ref() <= offset.as_ref())
        });
        (from..self.listing.len()).map_while(move |at| self.listing.get(at).cloned())
    }

    /// The listing of the folder itself, deeper ones rolled up.
    pub(super) fn level(&self, folder: &Path) -> ListResult {
        let mut level = ListResult {
            common_prefixes: Vec::new(),
            objects: Vec::new(),
        };
        for meta in self.listing.iter() {
            let Some(mut below) = meta.location.prefix_match(folder) else {
                continue;
            };
            match (below.next(), below.next()) {
                (Some(_), None) => level.objects.push(meta.clone()),
                (Some(child), Some(_)) => {
                    let child = folder.clone().join(child);
                    if level.common_prefixes.last() != Some(&child) {
                        level.common_prefixes.push(child);
                    }
                }
                (None, _) => {}
            }
        }
        level
    }
}

/// A small object, whole.
#[derive(Debug)]
pub(super) struct Object {
    meta: ObjectMeta,
    attributes: Attributes,
    body: Bytes,
}

impl Object {
    /// Reads an object.
    pub(super) async fn get(origin: &dyn ObjectStore, location: &Path) -> Result<Self> {
        let found = origin.get_opts(location, GetOptions::default()).await?;
        if found.meta.size > OBJECT_BYTES_MAX {
            return Err(Error::Generic {
                store: "LogStore",
                source: format!(
                    "{location} has {} bytes, which no file of its kind has",
                    found.meta.size
                )
                .into(),
            });
        }
        let (meta, attributes) = (found.meta.clone(), found.attributes.clone());
        Ok(Self {
            body: found.bytes().await?,
            meta,
            attributes,
        })
    }

    /// The bytes of memory that it takes.
    pub(super) fn bytes(&self) -> u64 {
        meta_bytes(&self.meta) + self.body.len() as u64
    }

    /// Whether it is the object that a listing shows.
    pub(super) fn is(&self, listed: &ObjectMeta) -> bool {
        let is_same = match (&self.meta.e_tag, &listed.e_tag) {
            (Some(tag), Some(other)) => unquoted(tag) == unquoted(other),
            // An answer's time has whole seconds (RFC 9110 8.8.2), a listing's may have parts of them.
            _ => self.meta.last_modified.timestamp() == listed.last_modified.timestamp(),
        };
        is_same && self.meta.size == listed.size
    }

    /// Answers a read of it.
    pub(super) fn answer(&self, options: &GetOptions) -> Result<GetResult> {
        options.check_preconditions(&self.meta)?;
        let range = requested_range(options, self.meta.size, "LogStore")?;
        // In bounds: it is cut to the size, which is that of the body.
        let body = self.body.slice(range.start as usize..range.end as usize);
        Ok(GetResult {
            payload: match options.head {
                true => empty(),
                false => GetResultPayload::Stream(stream::iter([Ok(body)]).boxed()),
            },
            meta: self.meta.clone(),
            range,
            attributes: self.attributes.clone(),
        })
    }

    /// Answers a HEAD by what a listing says.
    pub(super) fn head(meta: ObjectMeta, options: &GetOptions) -> Result<GetResult> {
        options.check_preconditions(&meta)?;
        Ok(GetResult {
            payload: empty(),
            range: 0..meta.size,
            meta,
            attributes: Attributes::default(),
        })
    }
}

/// Bytes of memory that a text takes beside itself: the allocator's.
const TEXT_OVERHEAD_BYTES: u64 = 16;

/// Bytes of memory that a path takes.
pub(super) fn path_bytes(path: &Path) -> u64 {
    size_of::<Path>() as u64 + path.as_ref().len() as u64 + TEXT_OVERHEAD_BYTES
}

/// Bytes of memory that an object's properties take.
pub(super) fn meta_bytes(meta: &ObjectMeta) -> u64 {
    let text = |text: &Option<String>| {
        let bytes = text.as_ref().map(|text| text.len() as u64);
        bytes.map_or(0, |bytes| bytes + TEXT_OVERHEAD_BYTES)
    };
    (size_of::<ObjectMeta>() - size_of::<Path>()) as u64
        + path_bytes(&meta.location)
        + text(&meta.e_tag)
        + text(&meta.version)
}

/// Whether `text` is a version as names of a log's files have it.
fn is_version(text: &str) -> bool {
    text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The version that a file of a log is of, as its name has it, and what follows.
fn version_of(location: &Path) -> Option<(&str, &str)> {
    let named = location.filename()?.split_once('.')?;
    is_version(named.0).then_some(named)
}

/// The version of a checkpoint, or of a part of one.
fn checkpoint_version(location: &Path) -> Option<&str> {
    let (version, kind) = version_of(location)?;
    kind.starts_with("checkpoint.").then_some(version)
}

fn is_checkpoint(location: &Path) -> bool {
    checkpoint_version(location).is_some()
}

/// All that is listed, in byte order.
async fn list(
    mut listed: BoxStream<'static, Result<ObjectMeta>>,
    heard: &Heard,
) -> Result<Vec<ObjectMeta>> {
    let mut listing: Vec<ObjectMeta> = Vec::new();
    loop {
        match listed.try_next().await {
            Ok(Some(meta)) => listing.push(meta),
            Ok(None) => break,
            Err(Error::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
        heard.now();
    }
    if !listing.is_sorted_by(|a, b| a.location < b.location) {
        listing.sort_unstable_by(|a, b| a.location.cmp(&b.location));
    }
    listing.shrink_to_fit();
    Ok(listing)
}

fn empty() -> GetResultPayload {
    GetResultPayload::Stream(stream::empty().boxed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_log_are_told_apart() {
        let file = |name: &str| File::of(&Path::from("log/c/s/t/_delta_log").join(name));
        assert_eq!(file("_last_checkpoint"), File::Hint);
        assert_eq!(file("00000000000000000001.json"), File::Commit);
        assert_eq!(file("00000000000000000001.crc"), File::Checksum);
        assert_eq!(file("00000000000000000001.checkpoint.parquet"), File::Other);
        assert_eq!(file("1.json"), File::Other);
    }
}
