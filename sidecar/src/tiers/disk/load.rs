//! Reading an entry of the disk: once for everybody who asks meanwhile.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use foyer::{Age, Load};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tracing::warn;

use super::{Inner, store::Opened};
use crate::tiers::{Key, entry::Held, key::ByHash};

pub(super) type Loading = Shared<BoxFuture<'static, Option<Loaded>>>;

#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) held: Held,
    /// It lies in the older half of the regions.
    pub(super) is_old: bool,
}

/// Loads on a task of its own: it ends whoever leaves, for what is read into must outlive the read. Until then others join it.
pub(super) fn load(inner: &Arc<Inner>, opened: Arc<Opened>, key: Key) -> Loading {
    let inner = inner.clone();
    let runtime = inner.runtime.clone();
    let task = runtime.spawn(async move {
        let loaded = read(&inner, &opened, key).await;
        inner.loading().remove(&key);
        loaded
    });
    async move { task.await.ok().flatten() }.boxed().shared()
}

async fn read(inner: &Inner, opened: &Arc<Opened>, key: Key) -> Option<Loaded> {
    let _permit = inner.reads.acquire().await.ok()?;
    let found = opened.store.storage().load(&key).await;
    if found.is_ok() {
        opened.read_errors.store(0, Relaxed);
    }
    match found {
        Ok(Load::Entry {
            value, populated, ..
        }) => Some(Loaded {
            held: value,
            is_old: populated.age == Age::Old,
        }),
        Ok(Load::Piece { piece, .. }) => Some(Loaded {
            held: piece.value().clone(),
            is_old: false,
        }),
        Ok(Load::Miss | Load::Throttled) => {
            let hash = key.hash64();
            // foyer has removed what does not verify. What was freed in between is no fault.
            if !opened.holds(hash) && !opened.census.is_leaving(hash) && opened.census.gone(hash) {
                inner.counters.bad_entries.fetch_add(1, Relaxed);
                warn!("an entry of the disk cache was not what had been written and is dropped");
            }
            None
        }
        Err(error) => {
            inner.counters.bad_entries.fetch_add(1, Relaxed);
            warn!(%error, "an entry of the disk cache cannot be read and is dropped");
            opened.store.storage().delete(&ByHash(key.hash64()));
            opened.census.gone(key.hash64());
            inner.read_failed(opened, &error).await;
            None
        }
    }
}
