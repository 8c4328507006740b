//! What only the inside of the tier shows.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;

use crate::tiers::{Class, DiskOptions, Entry, EntryMeta, Insert, Key, Tier, Tiers, TiersOptions};

const ENTRIES: u64 = 64;
const ENTRY_BYTES: usize = 64 << 10;

fn entry() -> Entry {
    let meta = EntryMeta {
        size: ENTRY_BYTES as u64,
        last_modified_ms: 0,
        etag: None,
        version: None,
    };
    Entry {
        meta,
        bytes: Bytes::from(vec![7; ENTRY_BYTES]),
    }
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    ended.expect("it comes to that");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_who_leave_leave_nothing_behind() {
    let dir = tempfile::tempdir().expect("a folder");
    let options = || TiersOptions {
        memory_bytes: 64 << 20,
        disk: Some(DiskOptions::new(dir.path(), 64 << 20)),
        ..TiersOptions::default()
    };
    let tiers = Tiers::open(options()).await.expect("the tiers open");
    for number in 0..ENTRIES {
        tiers.insert(Class::Block, Key(number.into()), entry(), Insert::Resident);
    }
    until(|| tiers.stats().disk.writes == ENTRIES).await;
    tiers.close().await;

    // Nothing of it is in memory now.
    let tiers = Tiers::open(options()).await.expect("the tiers open again");
    let disk = tiers.disk.as_ref().expect("there is a disk tier");
    for number in 0..ENTRIES {
        let key = Key(number.into());
        let left_early = disk.get(key, Insert::Resident).now_or_never();
        assert!(left_early.is_none(), "a read of a file is not over at once");
    }
    until(|| disk.inner.loading().is_empty()).await;
    let found = tiers.get(Class::Block, Key(0)).await;
    assert!(matches!(found, Some((_, Tier::Disk))));
    assert!(disk.inner.loading().is_empty());
    tiers.close().await;
}
