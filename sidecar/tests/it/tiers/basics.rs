//! What is found where, and within which bounds.

use vdt_sidecar::tiers::{
    Class, DiskState, Insert, MAX_ENTRY_BYTES, Tier, Tiers, TiersError, TiersOptions,
};

use super::{MIB, entry, fill, found, insert, key, open, options};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_user_of_a_directory_is_refused_until_the_first_has_closed() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = open(dir.path(), 32 * MIB, 128 * MIB).await;
    let second = Tiers::open(options(dir.path(), 32 * MIB, 128 * MIB)).await;
    let Err(error @ TiersError::Locked { .. }) = second else {
        panic!("it opened")
    };
    assert!(
        error.to_string().contains("in use by another process"),
        "{error}"
    );
    first.close().await;
    open(dir.path(), 32 * MIB, 128 * MIB).await.close().await;
}

#[tokio::test]
async fn memory_alone_works_and_says_so() {
    let tiers = Tiers::open(TiersOptions::default())
        .await
        .expect("it opens");
    assert_eq!(tiers.stats().disk.state, DiskState::Off);
    for class in Class::ALL {
        let number = class as u64;
        assert_eq!(tiers.get(class, key(number)).await, None);
        tiers.insert(class, key(number), entry(number, 100), Insert::Resident);
        assert_eq!(
            tiers.get(class, key(number)).await,
            Some((entry(number, 100), Tier::Memory))
        );
    }
    for class in tiers.stats().classes {
        assert_eq!(
            (class.memory_entries, class.memory_hits, class.memory_misses),
            (1, 1, 1),
            "{class:?}"
        );
    }
    tiers.close().await;
}

#[tokio::test]
async fn a_hit_in_memory_copies_nothing() {
    let tiers = Tiers::open(TiersOptions::default())
        .await
        .expect("it opens");
    let inserted = entry(1, 1000);
    tiers.insert(Class::Block, key(1), inserted.clone(), Insert::Resident);
    let got = tiers.get_memory(Class::Block, key(1)).expect("it is there");
    assert_eq!(got.bytes.as_ptr(), inserted.bytes.as_ptr());
}

#[tokio::test]
async fn a_key_of_another_class_is_not_found() {
    let tiers = Tiers::open(TiersOptions::default())
        .await
        .expect("it opens");
    insert(&tiers, 1, 1000, Insert::Resident);
    assert_eq!(tiers.get(Class::Pack, key(1)).await, None);
    assert_eq!(tiers.get(Class::Metadata, key(1)).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_removed_while_it_is_written_is_no_fault() {
    let dir = tempfile::tempdir().expect("a directory");
    let tiers = open(dir.path(), 32 * MIB, 128 * MIB).await;
    for number in 0..300 {
        insert(&tiers, number, 1000, Insert::Resident);
        if number % 3 == 0 {
            tokio::task::yield_now().await;
        }
        tiers.remove(key(number));
    }
    tiers.flush().await;
    assert_eq!(tiers.stats().disk.state, DiskState::Ok);
    fill(&tiers, 1000..1010, 1000).await;
    tiers.close().await;
}

#[tokio::test]
async fn blocks_do_not_push_metadata_out_of_its_share() {
    let tiers = Tiers::open(TiersOptions {
        memory_bytes: 64 * MIB,
        ..TiersOptions::default()
    })
    .await
    .expect("it opens");
    for number in 0..100 {
        tiers.insert(
            Class::Metadata,
            key(number),
            entry(number, 100_000),
            Insert::Resident,
        );
    }
    for number in 1000..1200 {
        insert(&tiers, number, MIB as usize, Insert::Resident);
    }
    assert!((0..100).all(|number| tiers.get_memory(Class::Metadata, key(number)).is_some()));
    let stats = tiers.stats();
    assert!(stats.memory.bytes <= stats.memory.capacity_bytes);
    assert!(stats.memory.capacity_bytes <= 64 * MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_entry_goes_to_the_disk_and_a_larger_one_does_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let tiers = open(dir.path(), 64 * MIB, 128 * MIB).await;
    tiers.insert(
        Class::Pack,
        key(1),
        entry(1, MAX_ENTRY_BYTES),
        Insert::Resident,
    );
    tiers.insert(
        Class::Pack,
        key(2),
        entry(2, MAX_ENTRY_BYTES + 1),
        Insert::Resident,
    );
    tiers.flush().await;
    assert_eq!(tiers.stats().disk.entries, 1);
    tiers.close().await;
    let tiers = open(dir.path(), 64 * MIB, 128 * MIB).await;
    assert_eq!(
        tiers.get(Class::Pack, key(1)).await,
        Some((entry(1, MAX_ENTRY_BYTES), Tier::Disk))
    );
    assert_eq!(tiers.get(Class::Pack, key(2)).await, None);
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn io_uring_is_used_where_asked_for_and_allowed() {
    let dir = tempfile::tempdir().expect("a directory");
    for (io_uring, allowed) in [(true, &["io_uring", "psync"][..]), (false, &["psync"])] {
        let mut options = options(dir.path(), 32 * MIB, 128 * MIB);
        options.disk.as_mut().expect("it is set").io_uring = io_uring;
        let tiers = Tiers::open(options).await.expect("it opens");
        assert!(
            allowed.contains(&tiers.stats().disk.engine),
            "{:?}",
            tiers.stats().disk
        );
        fill(&tiers, 0..50, 100_000).await;
        assert_eq!(found(&tiers, 0..50, 100_000).await.len(), 50);
        tiers.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_readers_of_an_entry_cause_few_reads() {
    let dir = tempfile::tempdir().expect("a directory");
    let tiers = open(dir.path(), 64 * MIB, 128 * MIB).await;
    fill(&tiers, 0..1, 500_000).await;
    tiers.close().await;
    let tiers = std::sync::Arc::new(open(dir.path(), 64 * MIB, 128 * MIB).await);
    let before = tiers.stats().disk.read_bytes;
    // One that comes after the read has ended, and before a reader has put it into memory, reads again: on a loaded machine some do.
    let together = std::sync::Arc::new(tokio::sync::Barrier::new(32));
    let readers: Vec<_> = (0..32)
        .map(|_| {
            let (tiers, together) = (tiers.clone(), together.clone());
            tokio::spawn(async move {
                together.wait().await;
                tiers.get(Class::Block, key(0)).await
            })
        })
        .collect();
    for reader in readers {
        assert!(
            reader
                .await
                .expect("it ends")
                .is_some_and(|(got, _)| got == entry(0, 500_000))
        );
    }
    assert!(
        tiers.stats().disk.read_bytes - before < 5 * 600_000,
        "{:?}",
        tiers.stats().disk
    );
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_is_bounded_and_the_count_of_entries_is_exact() {
    let dir = tempfile::tempdir().expect("a directory");
    let tiers = open(dir.path(), 32 * MIB, 64 * MIB).await;
    let length = 300_000;
    fill(&tiers, 0..600, length).await;
    let stats = tiers.stats().disk;
    assert!(stats.capacity_bytes <= 64 * MIB * 9 / 10, "{stats:?}");
    assert!(stats.bytes <= stats.capacity_bytes);
    assert_eq!(
        (stats.dropped_writes, stats.failed_writes, stats.bad_entries),
        (0, 0, 0),
        "{stats:?}"
    );
    assert!(stats.evictions > 300, "{stats:?}");
    let used: u64 = walk(dir.path());
    assert!(used <= stats.capacity_bytes + MIB, "{used}");
    tiers.close().await;

    let tiers = open(dir.path(), 32 * MIB, 64 * MIB).await;
    assert_eq!(tiers.stats().disk.entries, stats.entries);
    let found = found(&tiers, 0..600, length).await;
    assert_eq!(found.len() as u64, stats.entries);
    assert_eq!(tiers.stats().disk.bad_entries, 0);
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_capped_by_the_memory_for_their_index() {
    let dir = tempfile::tempdir().expect("a directory");
    let tiers = open(dir.path(), MIB, 256 * MIB).await;
    let max = tiers.stats().disk.entries_max;
    assert!(max < 1000, "{max}");
    fill(&tiers, 0..2000, 100).await;
    let stats = tiers.stats().disk;
    assert_eq!(
        (stats.entries, stats.evictions),
        (max, 2000 - max),
        "{stats:?}"
    );
    // The newest are those that stay.
    assert_eq!(
        found(&tiers, 0..2000, 100).await,
        (2000 - max..2000).collect::<Vec<_>>()
    );
    tiers.close().await;
    // Those that left are in their regions still.
    let tiers = open(dir.path(), MIB, 256 * MIB).await;
    let stats = tiers.stats().disk;
    assert!(stats.entries > 0 && stats.entries <= max, "{stats:?}");
    tiers.close().await;
}

fn walk(dir: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::read_dir(dir)
        .expect("it is a directory")
        .map(|entry| entry.expect("it reads"))
        .map(|entry| {
            let meta = entry.metadata().expect("it is there");
            if meta.is_dir() {
                walk(&entry.path())
            } else {
                meta.blocks() * 512
            }
        })
        .sum()
}
