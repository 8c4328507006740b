//! The tiers over real directories.

use bytes::Bytes;
use vdt_sidecar::tiers::{
    Class, DiskOptions, DiskState, Entry, EntryMeta, Insert, Key, Tier, Tiers, TiersError,
    TiersOptions,
};

/// An entry whose bytes follow from its number.
fn entry(number: u64, length: usize) -> Entry {
    let bytes: Vec<u8> = (0..length)
        .map(|at| (number as usize + at * 7 + at / 251) as u8)
        .collect();
    let meta = EntryMeta {
        size: length as u64,
        last_modified_ms: number as i64,
        etag: Some(format!("\"{number}\"").into()),
        version: None,
    };
    Entry {
        meta,
        bytes: Bytes::from(bytes),
    }
}

fn options(dir: &std::path::Path, memory_bytes: u64, disk_bytes: u64) -> TiersOptions {
    TiersOptions {
        memory_bytes,
        disk: Some(DiskOptions::new(dir, disk_bytes)),
        ..TiersOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_found_in_memory_and_after_a_restart_on_the_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    for round in 0..2 {
        let tiers = Tiers::open(options(dir.path(), 32 << 20, 128 << 20))
            .await
            .expect("it opens");
        assert_eq!(tiers.stats().disk.state, DiskState::Ok);
        for number in 0..20 {
            let key = Key(u128::from(number));
            let expected = entry(number, 100_000);
            if round == 0 {
                assert_eq!(tiers.get(Class::Block, key).await, None);
                tiers.insert(Class::Block, key, expected.clone(), Insert::Resident);
                assert_eq!(
                    tiers.get(Class::Block, key).await,
                    Some((expected, Tier::Memory))
                );
            } else {
                assert_eq!(
                    tiers.get(Class::Block, key).await,
                    Some((expected.clone(), Tier::Disk))
                );
                assert_eq!(tiers.get_memory(Class::Block, key), Some(expected));
            }
        }
        tiers.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_user_of_a_directory_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = Tiers::open(options(dir.path(), 32 << 20, 128 << 20))
        .await
        .expect("it opens");
    let second = Tiers::open(options(dir.path(), 32 << 20, 128 << 20)).await;
    assert!(
        matches!(second, Err(TiersError::Locked { .. })),
        "{second:?}"
    );
    first.close().await;
    drop(first);
}
