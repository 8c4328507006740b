//! The rows of a version, as its ropes tell them.

mod known;

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use vdt_rope::{FileName, Rope, stored};
use vdt_table::{Artifact, FileGroup, SourceContext, read_rows};

pub(crate) use self::known::{KnownRows, Listed};

use self::known::Told;
use crate::{
    error::{StoreError, is_newer},
    log::{APP_ID, AddedFile, Snapshot, TableLog},
    plan::{CommittedFile, Current, UnreadFile},
    state::StateStore,
};

/// Ropes read at once. Each is a megabyte or two, decoded on a blocking thread.
const CONCURRENT_ROPES: usize = 8;
/// Ropes checked at once. Those of `t_meta` have 65,536 rows each, and all rows are in memory meanwhile.
const CONCURRENT_CHECKS: usize = 2;

/// The rows of `snapshot`. Ropes are read of files that are not `known`, or that a listing does not show as they are. Files of sources without a listing
/// stay unread where they `may_wait`. Gives the listings back.
///
/// # Errors
/// [`StoreError::Rope`] names a rope that is missing, truncated, corrupt or another one.
pub(crate) async fn read_current(
    state: &StateStore,
    log: &TableLog,
    known: &KnownRows,
    snapshot: &Snapshot,
    listed: Vec<Listed>,
    may_wait: bool,
) -> Result<(Current, Vec<Listed>), StoreError> {
    let (telling, files) = (known.clone(), snapshot.files.clone());
    let telling = tokio::task::spawn_blocking(move || {
        let told = telling.tell(&files, &listed, may_wait);
        (files.into_iter().zip(told), listed)
    });
    let (told, listed) = telling
        .await
        .map_err(|source| StoreError::task("looking up of known rows", source))?;
    let mut current = Current {
        next_id: snapshot.transactions.get(APP_ID).copied().unwrap_or(0),
        ..Current::default()
    };
    let mut read = stream::iter(told)
        .map(|(file, told)| rows_of(state, log, known, file, told))
        .buffered(CONCURRENT_ROPES);
    while let Some(told) = read.try_next().await? {
        match told {
            Told::Rows(file) => current.files.push(file),
            Told::Count(file) => current.unread.push(file),
        }
    }
    drop(read);
    Ok((current, listed))
}

/// What is `told` of a file, its rows where nothing is.
async fn rows_of(
    state: &StateStore,
    log: &TableLog,
    known: &KnownRows,
    file: AddedFile,
    told: Option<Told>,
) -> Result<Told, StoreError> {
    match told {
        Some(told) => Ok(told),
        None => {
            let read = read_file(state, log, known, file.path, file.size);
            read.await.map(Told::Rows)
        }
    }
}

/// Reads the ropes of `files`.
///
/// # Errors
/// As [`read_current`].
pub(crate) async fn read_unread(
    state: &StateStore,
    log: &TableLog,
    known: &KnownRows,
    files: Vec<UnreadFile>,
) -> Result<Vec<CommittedFile>, StoreError> {
    stream::iter(files)
        .map(|file| read_file(state, log, known, file.path, file.size))
        .buffered(CONCURRENT_ROPES)
        .try_collect()
        .await
}

async fn read_file(
    state: &StateStore,
    log: &TableLog,
    known: &KnownRows,
    path: String,
    size: u64,
) -> Result<CommittedFile, StoreError> {
    let Some(name) = FileName::parse_parquet_file(&path) else {
        return Err(StoreError::Rope {
            path: log.table().clone().join(path).to_string(),
            source: "the log names a file that is none of vdt's".into(),
        });
    };
    let known = known.clone();
    let rows = read_rope(state, log, name, move |rope, annotation| {
        let rows = read_rows(&rope, &annotation).map_err(boxed)?;
        known.keep(name, &rows.source_name, &rows.artifacts);
        Ok(rows)
    })
    .await?;
    Ok(CommittedFile {
        path,
        size,
        source: rows.source_name,
        artifacts: rows.artifacts,
    })
}

/// How many ropes of `snapshot` are missing, or are not what they are called.
///
/// # Errors
/// Those of the state store, and of a rope that a newer version wrote.
pub(crate) async fn count_lost(
    state: &StateStore,
    log: &TableLog,
    snapshot: &Snapshot,
) -> Result<usize, StoreError> {
    let checks = stream::iter(snapshot.files.iter().cloned()).map(|file| is_lost(state, log, file));
    let mut checks = checks.buffer_unordered(CONCURRENT_CHECKS);
    let mut lost = 0;
    while let Some(is_lost) = checks.try_next().await? {
        lost += usize::from(is_lost);
    }
    Ok(lost)
}

async fn is_lost(state: &StateStore, log: &TableLog, file: AddedFile) -> Result<bool, StoreError> {
    let Some(name) = FileName::parse_parquet_file(&file.path) else {
        return Ok(true);
    };
    match read_rope(state, log, name, |_, _| Ok(())).await {
        Ok(()) => Ok(false),
        Err(StoreError::Rope { source, .. }) if !is_newer(source.as_ref()) => Ok(true),
        Err(error) => Err(error),
    }
}

type Boxed = Box<dyn std::error::Error + Send + Sync>;

/// Reads the rope of the file `name`, makes sure that it is the one that is called so, and has `decode` take it on a blocking thread.
async fn read_rope<T: Send + 'static>(
    state: &StateStore,
    log: &TableLog,
    name: FileName,
    decode: impl FnOnce(Rope, Bytes) -> Result<T, Boxed> + Send + 'static,
) -> Result<T, StoreError> {
    let path = log.table().clone().join(name.rope_file());
    // A commit names it, and comes after it: what is not there is lost.
    let failed = |error| match error {
        object_store::Error::NotFound { .. } => StoreError::Rope {
            path: path.to_string(),
            source: "it is missing".into(),
        },
        error => StoreError::object(&path, error),
    };
    let stored = state.objects().get(&path).await.map_err(failed)?;
    let stored = stored.bytes().await.map_err(failed)?;
    let decoded = tokio::task::spawn_blocking(move || {
        let found = name_of(&stored)?;
        if found != name {
            return Err(format!("it is the rope of {found}, and not of {name}").into());
        }
        let (rope, annotation) = stored::decode(&stored).map_err(boxed)?;
        decode(rope, annotation)
    })
    .await
    .map_err(|source| StoreError::task("reading of a rope", source))?;
    decoded.map_err(|source| StoreError::Rope {
        path: path.to_string(),
        source,
    })
}

/// The name that a stored rope, given whole, has by itself.
fn name_of(stored: &[u8]) -> Result<FileName, Boxed> {
    match stored::Index::parse(stored, stored.len() as u64).map_err(boxed)? {
        stored::Tail::Index(index) => Ok(index.name()),
        stored::Tail::NeedMore { bytes } => {
            Err(format!("its index has {bytes} bytes and the file fewer").into())
        }
    }
}

fn boxed<E: std::error::Error + Send + Sync + 'static>(error: E) -> Boxed {
    Box::new(error)
}

/// Rows of a whole version in the order of `t_meta`: source name, then key bytes. They are shared with the layout of `t`.
#[derive(Debug)]
pub(crate) struct Rows {
    groups: Vec<Arc<FileGroup>>,
    /// Group and row of each row where groups overlap; none where they follow one another.
    order: Option<Vec<(u32, u32)>>,
}

impl Rows {
    /// The rows of groups that are sorted each.
    pub(crate) fn new(mut groups: Vec<Arc<FileGroup>>) -> Self {
        groups.retain(|group| !group.artifacts.is_empty());
        groups.sort_by(|a, b| place(a, 0).cmp(&place(b, 0)));
        let follow = |pair: &[Arc<FileGroup>]| {
            place(&pair[0], pair[0].artifacts.len() - 1) < place(&pair[1], 0)
        };
        let order = (!groups.windows(2).all(follow)).then(|| {
            let mut order: Vec<(u32, u32)> = (0..)
                .zip(&groups)
                .flat_map(|(group, rows)| {
                    (0..).zip(&rows.artifacts).map(move |(row, _)| (group, row))
                })
                .collect();
            let of = |(group, row): (u32, u32)| place(&groups[group as usize], row as usize);
            // Stable: rows come in runs that are sorted already, and a stable sort merges runs.
            order.sort_by(|a, b| of(*a).cmp(&of(*b)));
            order
        });
        Self { groups, order }
    }

    /// Bytes of all artifacts.
    pub(crate) fn artifact_bytes(&self) -> u64 {
        let artifacts = self.groups.iter().flat_map(|group| &group.artifacts);
        let sizes = artifacts.map(|artifact| artifact.object.size);
        sizes.fold(0, u64::saturating_add)
    }
}

/// What rows are ordered by.
fn place(group: &FileGroup, row: usize) -> (&str, &str) {
    (&group.source.name, &group.artifacts[row].object.key)
}

impl IntoIterator for Rows {
    type Item = (Arc<SourceContext>, Artifact);
    type IntoIter = Box<dyn Iterator<Item = Self::Item> + Send>;

    fn into_iter(self) -> Self::IntoIter {
        let row =
            |group: &FileGroup, row: usize| (group.source.clone(), group.artifacts[row].clone());
        let Self { groups, order } = self;
        match order {
            None => Box::new(groups.into_iter().flat_map(move |group| {
                (0..group.artifacts.len()).map(move |number| row(&group, number))
            })),
            Some(order) => Box::new(
                order
                    .into_iter()
                    .map(move |(group, number)| row(&groups[group as usize], number as usize)),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vdt_rope::SourceObject;

    fn group(source: &str, keys: &[&str]) -> Arc<FileGroup> {
        let source = Arc::new(SourceContext {
            name: source.into(),
            id: "00112233aabbccdd".into(),
            prefix: String::new(),
            url_prefix: "file:///".to_owned(),
            etag_is_checksum: false,
        });
        let artifacts = keys.iter().map(|key| Artifact {
            id: 0,
            object: Arc::new(SourceObject {
                source: source.id.clone(),
                key: (*key).into(),
                size: 1,
                etag: None,
                last_modified_ms: 0,
                version: None,
            }),
            storage_class: None,
            archived: false,
        });
        Arc::new(FileGroup {
            artifacts: artifacts.collect(),
            source,
        })
    }

    #[test]
    fn rows_are_in_the_order_of_sources_and_keys_however_files_hold_them() {
        let apart = [
            group("b", &["a"]),
            group("a", &["c", "d"]),
            group("a", &["a", "b"]),
        ];
        let mixed = [
            group("a", &["a", "d"]),
            group("b", &["a"]),
            group("a", &["b", "c"]),
        ];
        for (groups, are_mixed) in [(apart, false), (mixed, true)] {
            let rows = Rows::new(groups.to_vec());
            assert_eq!(
                (rows.order.is_some(), rows.artifact_bytes()),
                (are_mixed, 5)
            );
            let found: Vec<String> = rows
                .into_iter()
                .map(|(source, row)| format!("{}/{}", source.name, row.object.key))
                .collect();
            assert_eq!(found, ["a/a", "a/b", "a/c", "a/d", "b/a"]);
        }
    }
}
