//! The rows of a version, read back from its ropes.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use vdt_rope::stored;
use vdt_table::read_rows;

use crate::{
    error::StoreError,
    log::{APP_ID, AddedFile, Snapshot, TableLog},
    plan::{CommittedFile, Current},
    state::StateStore,
};

/// Ropes read at once. Each is a megabyte or two, decoded on a blocking thread.
const CONCURRENT_ROPES: usize = 8;

/// Reads every rope of `snapshot`.
///
/// # Errors
/// [`StoreError::Rope`] names a rope that is missing, truncated or corrupt.
pub(crate) async fn read_current(
    state: &StateStore,
    log: &TableLog,
    snapshot: &Snapshot,
) -> Result<Current, StoreError> {
    let files = stream::iter(snapshot.files.iter().cloned())
        .map(|file| read_file(state, log, file))
        .buffered(CONCURRENT_ROPES)
        .try_collect()
        .await?;
    Ok(Current {
        files,
        next_id: snapshot.transactions.get(APP_ID).copied().unwrap_or(0),
    })
}

async fn read_file(
    state: &StateStore,
    log: &TableLog,
    file: AddedFile,
) -> Result<CommittedFile, StoreError> {
    let stem = file.path.strip_suffix(".parquet").unwrap_or(&file.path);
    let path = log.table().clone().join(format!("{stem}.rope"));
    let stored = state
        .objects()
        .get(&path)
        .await
        .map_err(|source| StoreError::object(&path, source))?
        .bytes()
        .await
        .map_err(|source| StoreError::object(&path, source))?;
    let decoded = tokio::task::spawn_blocking(move || {
        let (rope, annotation) = stored::decode(&stored).map_err(boxed)?;
        read_rows(&rope, &annotation).map_err(boxed)
    })
    .await
    .map_err(|source| StoreError::task("reading of a rope", source))?;
    let rows = decoded.map_err(|source| StoreError::Rope {
        path: path.to_string(),
        source,
    })?;
    Ok(CommittedFile {
        path: file.path,
        size: file.size,
        source: rows.source_name,
        artifacts: rows.artifacts,
    })
}

fn boxed<E: std::error::Error + Send + Sync + 'static>(
    error: E,
) -> Box<dyn std::error::Error + Send + Sync> {
    Box::new(error)
}

/// Rows of a whole table in the order of `t_meta`: source name, then key bytes.
pub(crate) fn sort_rows(rows: &mut [(Arc<vdt_table::SourceContext>, vdt_table::Artifact)]) {
    // Stable: rows come in runs that are sorted already, one for each file, and a stable sort merges runs.
    rows.sort_by(|a, b| (&a.0.name, &a.1.object.key).cmp(&(&b.0.name, &b.1.object.key)));
}
