//! A table's log at one moment: listing and hint.
//!
//! Where a hint has to be of some age, and checkpoints come more often than that, an older one is named: two that were known before are kept.

use std::{sync::Arc, time::Duration};

use chrono::Utc;
use futures::{TryStreamExt, stream::BoxStream};
use object_store::{Error, ListResult, ObjectMeta, ObjectStore, Result, path::Path};
use serde::Deserialize;
use tokio::time::Instant;

use super::{
    attempt::{Begin, Heard},
    object::{Object, meta_bytes},
};

const HINT: &str = "_last_checkpoint";
/// Snapshots tried when the hint names what the listing lacks: a checkpoint was written in between.
const TRIES: usize = 2;
/// How long a listing is only added to. What is changed behind the newest checkpoint, which a log's writers never do, is seen after this.
const ADDED_TO_MAX: Duration = Duration::from_secs(300);

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
    hint: Option<Arc<Object>>,
    /// Hints of checkpoints before that one, newest first.
    older: Vec<Arc<Object>>,
    bytes: u64,
}

/// The part of a hint that matters here (Delta PROTOCOL, "Last Checkpoint File").
#[derive(Deserialize)]
struct Hint {
    version: u64,
}

impl Snapshot {
    /// Takes a snapshot: the listing, then the hint, which is left out where it goes on to name what the listing lacks. Hints are to be of some age.
    pub(super) async fn take(
        origin: Arc<dyn ObjectStore>,
        folder: Path,
        begin: Begin<Self>,
        hint_age: Duration,
    ) -> Result<Self> {
        let Begin { before, heard } = begin;
        let mut snapshot = Self::take_once(&origin, &folder, before.as_deref(), &heard).await?;
        for _ in 1..TRIES {
            if snapshot.hint_is_listed(&folder) {
                break;
            }
            snapshot = Self::take_once(&origin, &folder, Some(&snapshot), &heard).await?;
        }
        if !snapshot.hint_is_listed(&folder) {
            // Always right: clients read the listing instead.
            snapshot.hint = None;
        }
        if let Some(before) = &before {
            snapshot.older = snapshot.older_hints(before, &folder, hint_age);
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
                Ok(hint) => Some(Arc::new(hint)),
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
            older: Vec::new(),
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
        hint_version(hint).is_some_and(|version| !self.checkpoint(folder, version).is_empty())
    }

    /// The files of the checkpoint of a version.
    fn checkpoint(&self, folder: &Path, version: u64) -> &[ObjectMeta] {
        let prefix = format!("{folder}/{version:020}.checkpoint.");
        let begin = self
            .listing
            .partition_point(|meta| meta.location.as_ref() < prefix.as_str());
        let behind = self.listing.get(begin..).unwrap_or_default();
        let is_of_it = |meta: &ObjectMeta| meta.location.as_ref().starts_with(&prefix);
        let count = behind.iter().take_while(|meta| is_of_it(meta)).count();
        behind.get(..count).unwrap_or_default()
    }

    /// Of the hints that were known before, those to be named while the newest one is too young. Their checkpoints are listed as they were.
    fn older_hints(&self, before: &Self, folder: &Path, age: Duration) -> Vec<Arc<Object>> {
        let newest = self.hint.as_deref().and_then(hint_version);
        let is_good = |version: u64| {
            let files = self.checkpoint(folder, version);
            newest.is_none_or(|newest| version < newest)
                && !files.is_empty()
                && files == before.checkpoint(folder, version)
        };
        let known = before.hint.iter().chain(&before.older);
        let known = known.filter(|hint| hint_version(hint).is_some_and(is_good));
        thinned(known.cloned().collect(), |hint| is_of_age(hint, age))
    }

    /// The bytes of memory that it takes.
    pub(super) fn bytes(&self) -> u64 {
        let hints = self.hint.iter().chain(&self.older);
        self.bytes + hints.map(|hint| hint.bytes()).sum::<u64>()
    }

    /// The newest hint whose checkpoint is old enough.
    pub(super) fn hint(&self, age: Duration) -> Option<&Object> {
        let mut hints = self.hint.iter().chain(&self.older);
        hints.find(|hint| is_of_age(hint, age)).map(Arc::as_ref)
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

/// The version of the checkpoint that a hint names.
fn hint_version(hint: &Object) -> Option<u64> {
    let hint = serde_json::from_slice::<Hint>(&hint.body).ok()?;
    Some(hint.version)
}

/// Whether the checkpoint that a hint names is so old.
fn is_of_age(hint: &Object, age: Duration) -> bool {
    let since = Utc::now().signed_duration_since(hint.meta.last_modified);
    age.is_zero() || since.to_std().is_ok_and(|since| since >= age)
}

/// Of what is known, newest first, the two that are kept: one that is of age as soon as any has been, and the next one to become so. Others that come
/// before that does not take its place, however often they come.
fn thinned<T>(mut known: Vec<T>, is_of_age: impl FnOnce(&T) -> bool) -> Vec<T> {
    if known.len() > 2 && !known.get(1).is_some_and(is_of_age) {
        known.remove(0);
    }
    known.truncate(2);
    known
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

    #[test]
    fn however_often_checkpoints_come_one_is_of_age() {
        const AGE: u64 = 60;
        for every in 1..100 {
            // The times of the newest one, and of those before it.
            let (mut newest, mut older) = (0, Vec::new());
            for now in 0..1000 {
                if now % every == 0 {
                    let known = [newest].into_iter().chain(older).filter(|time| *time < now);
                    older = thinned(known.collect(), |time| now - time >= AGE);
                    newest = now;
                }
                let hints = [newest].into_iter().chain(older.iter().copied());
                let named = hints.map(|time| now - time).find(|age| *age >= AGE);
                if now >= AGE {
                    let age = named.expect("one is of age");
                    assert!(age <= 2 * AGE + every, "{age} s, with one each {every} s");
                }
            }
        }
    }
}
