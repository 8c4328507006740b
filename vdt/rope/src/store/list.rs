//! Listings of the origin, as they are shown. No rope is read.
//!
//! The order of keys is the origin's. It is the order of the shown names too: `<name>.rope` and `<name>.parquet` sort
//! alike among all names that differ before the suffix.

use std::future::ready;
use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ListResult, ObjectMeta, ObjectStore, Result};

use super::paths;

/// A listing of the origin, as it is shown.
pub(super) fn shown(
    inner: BoxStream<'static, Result<ObjectMeta>>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    inner
        .try_filter_map(|meta| ready(Ok(paths::shown(&meta))))
        .boxed()
}

/// What is shown after `offset`, exclusive.
///
/// The origin is asked for what follows the same offset: the suffix of a rope sorts after that of its shown name, so
/// nothing shown is missed, and what should not be shown is left out here.
pub(super) fn shown_after(
    origin: &Arc<dyn ObjectStore>,
    prefix: Option<&Path>,
    offset: &Path,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let inner = origin.list_with_offset(
        Some(&paths::below_log(prefix)),
        &paths::below_log(Some(offset)),
    );
    let offset = offset.clone();
    shown(inner)
        .try_filter(move |meta| ready(meta.location > offset))
        .boxed()
}

/// One level of the origin's tree, as it is shown, in byte order.
pub(super) fn shown_level(inner: ListResult) -> ListResult {
    let mut common_prefixes: Vec<_> = inner
        .common_prefixes
        .iter()
        .filter_map(paths::shown_path)
        .collect();
    let mut objects: Vec<_> = inner.objects.iter().filter_map(paths::shown).collect();
    common_prefixes.sort();
    objects.sort_by(|a, b| a.location.cmp(&b.location));
    ListResult {
        common_prefixes,
        objects,
    }
}
