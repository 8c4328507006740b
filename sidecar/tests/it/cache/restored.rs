//! A state that is restored from a backup: other commits and checkpoints under the same names.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use object_store::{
    Error, GetOptions, ObjectStore, ObjectStoreExt, Result, memory::InMemory, path::Path,
};
use vdt_rope::testing::Altered;
use vdt_sidecar::{
    cache::CacheOptions,
    log::{LogMetrics, LogOptions, LogStore, Notices},
    tiers::{DiskOptions, Tiers, TiersOptions},
};

use super::fixture::{Stack, TABLE, generic, log_path, memory, read};

fn files() -> [Path; 2] {
    [
        log_path("00000000000000000003.json"),
        log_path("00000000000000000003.checkpoint.parquet"),
    ]
}

/// A pod: a cache over a log that is trusted until a notice.
struct Pod {
    stack: Stack,
    tiers: Arc<Tiers>,
    notices: Notices,
}

impl Pod {
    async fn open(origin: Arc<dyn ObjectStore>, tiers: TiersOptions) -> Self {
        let notices = Notices::new();
        let options = LogOptions {
            staleness: Duration::from_secs(3600),
            ..LogOptions::default()
        };
        let log = LogStore::new(origin, options, notices.clone(), LogMetrics::default());
        let tiers = Arc::new(Tiers::open(tiers).await.unwrap());
        let options = CacheOptions::default();
        Self {
            stack: Stack::over(Arc::new(log), Arc::clone(&tiers), false, options),
            tiers,
            notices,
        }
    }

    async fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let got = read(&self.stack.cache, path, GetOptions::default()).await;
        self.stack.settle().await;
        got
    }

    async fn close(self) {
        self.stack.cache.close().await;
        self.tiers.flush().await;
        self.tiers.close().await;
    }
}

async fn put(origin: &InMemory, bytes: &'static str) {
    for path in files() {
        origin.put(&path, bytes.into()).await.unwrap();
    }
}

#[tokio::test]
async fn commits_and_checkpoints_of_a_restored_state_are_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let tiers = || TiersOptions {
        memory_bytes: 64 << 20,
        disk: Some(DiskOptions::new(folder.path(), 256 << 20)),
    };
    let origin = memory();
    put(&origin, "before").await;
    let pod = Pod::open(Arc::clone(&origin) as _, tiers()).await;
    for path in files() {
        assert_eq!(pod.read(&path).await.unwrap(), b"before");
    }
    // An entry that is being written when it is let go may come back.
    pod.tiers.flush().await;
    // As many bytes, so that only the ETag tells.
    put(&origin, "second").await;
    for path in files() {
        // Nobody has told yet.
        assert_eq!(pod.read(&path).await.unwrap(), b"before");
    }
    pod.notices.committed(TABLE, 3);
    for path in files().iter().chain(&files()) {
        assert_eq!(pod.read(path).await.unwrap(), b"second");
    }
    assert_eq!(pod.stack.origin.bytes(), 4 * 6, "each was read once");
    pod.close().await;
    let pod = Pod::open(Arc::clone(&origin) as _, tiers()).await;
    for path in files() {
        assert_eq!(pod.read(&path).await.unwrap(), b"second");
    }
    assert_eq!(pod.stack.origin.bytes(), 0, "held on the disk");
    pod.close().await;

    // Restored while the pod is away.
    put(&origin, "third.").await;
    let pod = Pod::open(Arc::clone(&origin) as _, tiers()).await;
    for path in files() {
        assert_eq!(pod.read(&path).await.unwrap(), b"third.");
    }
    pod.close().await;
}

#[tokio::test]
async fn a_commit_that_a_restored_state_does_not_have_is_not_found() {
    let origin = memory();
    put(&origin, "before").await;
    let pod = Pod::open(Arc::clone(&origin) as _, TiersOptions::default()).await;
    for path in files() {
        assert_eq!(pod.read(&path).await.unwrap(), b"before");
        origin.delete(&path).await.unwrap();
    }
    pod.notices.committed(TABLE, 2);
    for path in files() {
        let gone = pod.read(&path).await;
        assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
    }
}

#[tokio::test]
async fn with_the_origin_away_what_is_held_is_served_to_readers_of_its_owner_and_to_no_others() {
    let origin = memory();
    put(&origin, "before").await;
    let is_away = Arc::new(AtomicBool::new(false));
    let away = Arc::clone(&is_away);
    let failing =
        Altered::new(origin, "").failing(move |_, _| away.load(Relaxed).then(|| generic("away")));
    let pod = Pod::open(Arc::new(failing), TiersOptions::default()).await;
    for away in [false, true] {
        is_away.store(away, Relaxed);
        pod.notices.invalidate_all();
        for path in files() {
            assert_eq!(pod.read(&path).await.unwrap(), b"before");
        }
    }
    // The server said that the table is another resource's, and was away before anything was read of that one's.
    pod.notices.changed_hands(TABLE);
    for path in files() {
        let refused = pod.read(&path).await;
        assert!(matches!(refused, Err(Error::Generic { .. })), "{refused:?}");
    }
    is_away.store(false, Relaxed);
    for path in files() {
        assert_eq!(pod.read(&path).await.unwrap(), b"before");
    }
}
