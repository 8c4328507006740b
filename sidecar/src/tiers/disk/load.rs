//! Reading an entry of the disk: once for everybody who asks meanwhile.
//!
//! Nobody waits long for a disk that hangs. A read that is late is a miss for those who wait. It keeps its turn until the kernel gives it back, for a
//! thread and a buffer are in it as long; so there are never more of those than turns, whatever the disk does.

use std::{
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
    time::Duration,
};

use foyer::{Age, Load};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::time::timeout;
use tracing::warn;

use super::{Inner, store::Opened};
use crate::tiers::{Key, entry::Held, key::ByHash};

/// How long a read may take with the wait for its turn, and how long without: the source answers sooner.
const READ_DEADLINE: Duration = Duration::from_secs(5);

pub(super) type Loading = Shared<BoxFuture<'static, Option<Loaded>>>;

#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) held: Held,
    /// It lies in the older half of the regions.
    pub(super) is_old: bool,
}

/// Loads on a task of its own: it ends whoever leaves, for what is read into must outlive the read. Until then others join it. What nobody
/// waits for any longer when its turn has come is not read.
pub(super) fn load(inner: &Arc<Inner>, opened: Arc<Opened>, key: Key) -> Loading {
    let (reader, of) = (inner.clone(), opened.clone());
    in_turn(
        inner,
        &opened,
        key,
        async move { read(&reader, &of, key).await },
    )
}

/// Waits for a turn among the reads, then does one.
pub(super) fn in_turn(
    inner: &Arc<Inner>,
    opened: &Arc<Opened>,
    key: Key,
    reading: impl Future<Output = Option<Loaded>> + Send + 'static,
) -> Loading {
    let (inner, opened) = (inner.clone(), opened.clone());
    let runtime = inner.runtime.clone();
    let task = runtime.spawn(async move {
        let reads = inner.reads.clone();
        // Made here and not before: a task that never runs is dropped by whoever holds the lock.
        let mut listed = Listed {
            inner,
            key,
            is_listed: true,
        };
        let _permit = reads.acquire().await.ok()?;
        // Let go before the turn: who has all turns has the directory.
        let opened = opened;
        if !listed.is_wanted() {
            return None;
        }
        let mut reading = pin!(reading);
        let loaded = match timeout(READ_DEADLINE, &mut reading).await {
            Ok(loaded) => loaded,
            Err(_) => {
                let _hung = Hung::begin(&listed.inner, &opened);
                reading.await
            }
        };
        drop(listed);
        loaded
    });
    async move {
        // One that hangs goes on by itself.
        let ended = timeout(READ_DEADLINE, task).await;
        ended.ok()?.ok().flatten()
    }
    .boxed()
    .shared()
}

/// A read is late, and has its turn still.
struct Hung(Arc<Inner>);

impl Hung {
    fn begin(inner: &Arc<Inner>, opened: &Arc<Opened>) -> Self {
        inner.read_hangs(opened);
        Self(inner.clone())
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        self.0.hung.fetch_sub(1, SeqCst);
    }
}

/// Takes a load off the list of those that can be joined when it ends, however it does.
struct Listed {
    inner: Arc<Inner>,
    key: Key,
    is_listed: bool,
}

impl Listed {
    /// Returns whether anybody waits for the load; one that nobody waits for can no longer be joined.
    fn is_wanted(&mut self) -> bool {
        let mut loading = self.inner.loading.lock();
        let waiting = loading.get(&self.key).and_then(Shared::strong_count);
        // One is the list's own.
        let is_wanted = waiting.is_some_and(|waiting| waiting > 1);
        if !is_wanted {
            loading.remove(&self.key);
            self.is_listed = false;
        }
        is_wanted
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        if self.is_listed {
            self.inner.loading.lock().remove(&self.key);
        }
    }
}

async fn read(inner: &Inner, opened: &Arc<Opened>, key: Key) -> Option<Loaded> {
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
            if opened.holds(hash) {
                return None;
            }
            // foyer has removed what does not verify, and what is written in its place meanwhile. What was freed in between is no fault.
            let is_written_now = inner.is_written_now(hash);
            let is_dropped = !opened.census.is_leaving(hash) && opened.census.gone(hash);
            if is_written_now || is_dropped {
                inner.removals.fetch_add(1, SeqCst);
            }
            if is_dropped {
                inner.counters.bad_entries.fetch_add(1, Relaxed);
                warn!("an entry of the disk cache was not what had been written and is dropped");
            }
            None
        }
        Err(error) => {
            inner.counters.bad_entries.fetch_add(1, Relaxed);
            warn!(%error, "an entry of the disk cache cannot be read and is dropped");
            let hash = key.hash64();
            opened.store.storage().delete(&ByHash(hash));
            let was_counted = opened.census.gone(hash);
            if was_counted || inner.is_written_now(hash) {
                inner.removals.fetch_add(1, SeqCst);
            }
            if !is_cut_off(&error) {
                inner.read_failed(opened, &error).await;
            }
            None
        }
    }
}

/// Whether the entry lies where its file has ended: somebody cut that short, and nothing is wrong with the disk.
fn is_cut_off(error: &foyer::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
}
