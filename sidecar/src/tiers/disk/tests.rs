//! What only the inside of the tier shows.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt;

use super::{
    Budget, Inner,
    fault::{Growth, Place},
    layout::{Geometry, region_files},
    load::{in_turn, load},
    volume::Volume,
    writer::{WrittenNow, judge},
};
use crate::tiers::{
    Class, DiskOptions, DiskState, Entry, EntryMeta, Insert, Key, Tier, Tiers, TiersOptions, reason,
};

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

fn inside(tiers: &Tiers) -> Arc<Inner> {
    let disk = tiers.disk.as_ref().expect("there is a disk tier");
    disk.inner.clone()
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

#[test]
fn what_lies_between_the_watermarks_is_kept_free_within_what_foyer_takes() {
    const GIB: u64 = 1 << 30;
    let spare = |bytes: u64, (high, low): (u8, u8)| {
        let mut options = DiskOptions::new("unused", bytes);
        (
            options.high_watermark_percent,
            options.low_watermark_percent,
        ) = (high, low);
        let geometry = Geometry::of(bytes / 100 * u64::from(high)).expect("it is large enough");
        (geometry.regions, geometry.spare(&options))
    };
    for (bytes, percent, expected) in [
        // The resource's default, of small and large volumes.
        (64 << 20, (90, 80), (28, 3)),
        (GIB, (90, 80), (57, 6)),
        (20 * GIB, (90, 80), (286, 31)),
        (100 * GIB, (90, 80), (358, 39)),
        (1000 * GIB, (90, 80), (448, 49)),
        // Far apart: no more than foyer is content with.
        (20 * GIB, (95, 5), (302, 150)),
        (20 * GIB, (95, 50), (302, 143)),
        // Close: no fewer than writing needs. Low that is not below high is as close as can be.
        (20 * GIB, (90, 89), (286, 3)),
        (64 << 20, (90, 89), (28, 2)),
        (64 << 20, (80, 90), (25, 2)),
        // The smallest there are.
        (10 << 20, (95, 5), (4, 1)),
        (10 << 20, (95, 94), (4, 1)),
    ] {
        assert_eq!(
            spare(bytes, percent),
            expected,
            "{bytes} bytes at {percent:?}"
        );
    }
    for megabytes in 10..4000 {
        for high in [10, 50, 90, 95] {
            for low in (5..high).step_by(7) {
                let bytes = (megabytes << 20) * 100 / u64::from(high);
                let (regions, spare) = spare(bytes, (high, low));
                assert!(
                    spare >= 1 && spare < regions / 2,
                    "{megabytes} MiB: {spare} of {regions}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_freed_down_to_the_low_watermark() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut disk = DiskOptions::new(dir.path(), 64 << 20);
    disk.low_watermark_percent = 50;
    let options = TiersOptions {
        memory_bytes: 64 << 20,
        disk: Some(disk),
    };
    let tiers = Tiers::open(options).await.expect("the tiers open");
    let low = (64 << 20) / 2;
    // Twice the volume goes by.
    for number in 0..2000u32 {
        tiers.insert(Class::Block, Key(number.into()), entry(), Insert::Resident);
        if number % 32 == 31 {
            tiers.flush().await;
        }
    }
    tiers.flush().await;
    let opened = inside(&tiers).opened.load_full().expect("it is open");
    let (regions, region_bytes) = (opened.geometry.regions, opened.geometry.region_bytes);
    assert_eq!((regions, opened.spare), (28, 12));
    // One region is being written, and foyer does not tell when the last one was freed.
    until(|| opened.census.clean() + 1 >= opened.spare).await;
    let stats = tiers.stats().disk;
    assert!(stats.bytes <= low + 2 * region_bytes, "{stats:?}");
    assert!(stats.bytes + 2 * region_bytes > low, "{stats:?}");
    assert!(stats.entries * ENTRY_BYTES as u64 <= low, "{stats:?}");
    assert_eq!(opened.census.unwritten(), 0, "all files have their space");
    tiers.close().await;
}

#[test]
fn reads_at_once_follow_from_the_memory() {
    let reads = |mib: u64| Budget::of(mib << 20, &DiskOptions::new("unused", 1 << 40)).reads;
    assert_eq!([1, 256, 1024, 64 << 10].map(reads), [4, 7, 30, 64]);
}

/// Tiers over a folder whose entries are on the disk alone.
async fn filled(dir: &tempfile::TempDir) -> Tiers {
    let tiers = opened_at(dir).await;
    for number in 0..ENTRIES {
        tiers.insert(Class::Block, Key(number.into()), entry(), Insert::Resident);
    }
    until(|| tiers.stats().disk.writes == ENTRIES).await;
    tiers.close().await;
    opened_at(dir).await
}

async fn opened_at(dir: &tempfile::TempDir) -> Tiers {
    let options = TiersOptions {
        memory_bytes: 64 << 20,
        disk: Some(DiskOptions::new(dir.path(), 64 << 20)),
    };
    Tiers::open(options).await.expect("the tiers open")
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_who_leave_leave_nothing_behind() {
    let dir = tempfile::tempdir().expect("a folder");
    let tiers = filled(&dir).await;
    let disk = tiers.disk.as_ref().expect("there is a disk tier");
    for number in 0..ENTRIES {
        let key = Key(number.into());
        // A read of a file is rarely over at once.
        let _ = disk.get(key, Insert::Resident).now_or_never();
    }
    until(|| disk.inner.loading.lock().is_empty()).await;
    let found = tiers.get(Class::Block, Key(0)).await;
    assert!(matches!(found, Some((_, Tier::Disk))));
    assert!(disk.inner.loading.lock().is_empty());
    tiers.close().await;
}

#[tokio::test]
async fn a_folder_is_free_when_its_tiers_are_closed_though_a_reader_left() {
    let dir = tempfile::tempdir().expect("a folder");
    let tiers = filled(&dir).await;
    let inner = inside(&tiers);
    let (ends, ended) = tokio::sync::oneshot::channel::<()>();
    let opened = inner.opened.load_full().expect("it is open");
    let slow = in_turn(&inner, &opened.clone(), Key(7), async move {
        let _opened = opened;
        let _ = ended.await;
        None
    });
    inner.loading.lock().insert(Key(7), slow.clone());
    let begun = || inner.reads.available_permits() as u64 + 1 == inner.budget.reads;
    until(begun).await;
    drop(slow);
    let mut closing = std::pin::pin!(tiers.close());
    let early = tokio::time::timeout(Duration::from_millis(200), closing.as_mut()).await;
    assert!(early.is_err(), "it is read still");
    ends.send(()).expect("it is read still");
    closing.await;
    assert_eq!(opened_at(&dir).await.stats().disk.state, DiskState::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_nobody_waits_for_when_their_turn_comes_are_not_done() {
    let dir = tempfile::tempdir().expect("a folder");
    let tiers = filled(&dir).await;
    let inner = inside(&tiers);
    let before = tiers.stats().disk.read_bytes;
    // A slow disk: all that may read at once do.
    let slow = inner.reads.acquire_many(inner.budget.reads as u32).await;
    for number in 0..ENTRIES {
        let left_early = tiers.get(Class::Block, Key(number.into())).now_or_never();
        assert!(left_early.is_none(), "it has to wait for its turn");
    }
    let mut stays = std::pin::pin!(tiers.get(Class::Block, Key(7)));
    assert!(stays.as_mut().now_or_never().is_none());
    drop(slow);
    let found = stays.await;
    assert!(matches!(found, Some((_, Tier::Disk))), "it joins its read");
    until(|| inner.loading.lock().is_empty()).await;
    let read = tiers.stats().disk.read_bytes - before;
    assert!(read < 2 * ENTRY_BYTES as u64, "{read} bytes");
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_panics_is_a_miss_and_the_next_one_is_another() {
    let dir = tempfile::tempdir().expect("a folder");
    let tiers = filled(&dir).await;
    let inner = inside(&tiers);
    let opened = inner.opened.load_full().expect("it is open");
    let panicking = || {
        in_turn(&inner, &opened, Key(7), async {
            panic!("as a bug of foyer would")
        })
    };
    let loading = inner
        .loading
        .lock()
        .entry(Key(7))
        .or_insert_with(panicking)
        .clone();
    assert!(loading.await.is_none());
    let found = tiers.get(Class::Block, Key(7)).await;
    assert!(matches!(found, Some((_, Tier::Disk))));
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_a_read_drops_is_not_taken_for_one_that_was_not_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let tiers = filled(&dir).await;
    let inner = inside(&tiers);
    let opened = inner.opened.load_full().expect("it is open");
    let removals = inner.removals.load(SeqCst);
    for (_, path) in region_files(&dir.path().join("v1")).expect("they are there") {
        let length = std::fs::metadata(&path).expect("it is there").len();
        let zeros = vec![0; length as usize];
        std::fs::write(path, zeros).expect("it is written");
    }
    assert_eq!(tiers.get(Class::Block, Key(7)).await, None);
    judge(&inner, &opened, 1, removals).await;
    assert_eq!(tiers.stats().disk.state, DiskState::Ok);
    // No read has dropped the other one.
    judge(&inner, &opened, 2, removals).await;
    let state = tiers.stats().disk.state;
    assert_eq!(state.degraded().expect("it is left").0, reason::DISK_FAILED);
    tiers.close().await;
}

#[test]
fn a_file_system_is_full_for_who_grows_when_others_have_taken_what_was_left() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = Place::of(dir.path().to_owned(), false).expect("it is there");
    let growth = |taken| Growth {
        bytes: 0,
        taken,
        left_percent: 10,
    };
    assert_eq!(place.inspect(Some(growth(0))), Ok(()));
    let full = place.inspect(Some(growth(u64::MAX)));
    assert_eq!(full.map_err(|fault| fault.reason), Err(reason::DISK_FULL));
    assert_eq!(place.inspect(None), Ok(()), "it does not grow");
}

#[test]
fn a_volume_that_others_have_too_is_full_before_its_node_runs_out_of_disk() {
    let dir = tempfile::tempdir().expect("a folder");
    let needs = |shared, growth| {
        let place = Place::of(dir.path().to_owned(), shared).expect("it is there");
        let volume = Volume {
            bytes: 1_000,
            free: 200,
            is_read_only: false,
        };
        place.needs_bytes(volume, growth)
    };
    let growth = Growth {
        bytes: 50,
        taken: 200,
        left_percent: 10,
    };
    assert_eq!((needs(false, None), needs(false, Some(growth))), (0, 70));
    assert_eq!((needs(true, None), needs(true, Some(growth))), (150, 200));
}

#[test]
fn files_grow_by_no_more_than_their_regions_that_were_never_written() {
    let geometry = Geometry::of(64 << 20).expect("it is large enough");
    let grown = |bytes, unwritten| {
        let growth = Growth::of(bytes, unwritten, geometry, 10);
        growth.map(|growth| (growth.bytes, growth.taken))
    };
    let region = geometry.region_bytes;
    let taken = (geometry.regions - 2) * region;
    assert_eq!(grown(region, 2), Some((region, taken)));
    assert_eq!(grown(5 * region, 2), Some((2 * region, taken)));
    assert_eq!(grown(5 * region, 0), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_comes_too_late_for_an_entry_has_not_dropped_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let tiers = filled(&dir).await;
    let inner = inside(&tiers);
    let opened = inner.opened.load_full().expect("it is open");
    let removals = inner.removals.load(SeqCst);
    // It has left, and is no longer counted.
    let key = Key(7);
    opened.store.storage().delete(&key);
    assert!(opened.census.gone(key.hash64()));
    let reads = || load(&inner, opened.clone(), key);
    let loading = inner
        .loading
        .lock()
        .entry(key)
        .or_insert_with(reads)
        .clone();
    assert!(loading.await.is_none());
    assert_eq!(inner.removals.load(SeqCst), removals);
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_a_read_drops_while_it_is_written_again_is_one_that_was_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let tiers = filled(&dir).await;
    let inner = inside(&tiers);
    let opened = inner.opened.load_full().expect("it is open");
    let removals = inner.removals.load(SeqCst);
    // It has left, and what is written in its place is not counted yet; the read of the old one ends only now.
    let key = Key(7);
    opened.store.storage().delete(&key);
    assert!(opened.census.gone(key.hash64()));
    let written_now = WrittenNow::begin(&inner, [key.hash64()].into_iter());
    let loading = load(&inner, opened.clone(), key);
    inner.loading.lock().insert(key, loading.clone());
    assert!(loading.await.is_none());
    judge(&inner, &opened, 1, removals).await;
    assert_eq!(tiers.stats().disk.state, DiskState::Ok);
    drop(written_now);
    assert!(!inner.is_written_now(key.hash64()));
    tiers.close().await;
}

#[tokio::test]
async fn a_disk_that_hangs_is_a_miss_in_seconds_and_left_while_no_turn_is_free() {
    let dir = tempfile::tempdir().expect("a folder");
    let tiers = filled(&dir).await;
    let inner = inside(&tiers);
    let opened = inner.opened.load_full().expect("it is open");
    let (back, gone) = tokio::sync::watch::channel(false);
    let hang = |number: u64| {
        let (key, mut gone) = (Key(number.into()), gone.clone());
        let loading = in_turn(&inner, &opened, key, async move {
            let _ = gone.wait_for(|is_back| *is_back).await;
            None
        });
        inner.loading.lock().insert(key, loading.clone());
        loading
    };
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let turns = inner.budget.reads;
    let all_but_one = (1..turns).map(hang);
    let missed = futures::future::join_all(all_but_one).await;
    assert!(missed.iter().all(Option::is_none));
    assert_eq!(began.elapsed().as_secs(), 5);
    assert_eq!(inner.reads.available_permits(), 1, "they are read still");
    // They are late, not failed: the tier serves what it can.
    assert_eq!(tiers.stats().disk.state, DiskState::Ok);
    let found = tiers.get(Class::Block, Key(0)).await;
    assert!(matches!(found, Some((_, Tier::Disk))));
    // Nobody waits for the same one again.
    let missed = tiers.get(Class::Block, Key(1)).now_or_never();
    assert!(matches!(missed, Some(None)));

    let began = tokio::time::Instant::now();
    let (last, waits) = tokio::join!(hang(turns), hang(turns + 1));
    assert!(last.is_none() && waits.is_none());
    assert_eq!(began.elapsed().as_secs(), 5);
    until(|| tiers.stats().disk.state != DiskState::Ok).await;
    let state = tiers.stats().disk.state;
    assert_eq!(state.degraded().expect("it is left").0, reason::DISK_FAILED);
    tiers.check_disk().await;
    assert_ne!(tiers.stats().disk.state, DiskState::Ok, "all hang still");
    back.send_replace(true);
    tokio::time::resume();
    until(|| inner.reads.available_permits() as u64 == turns).await;
    tiers.check_disk().await;
    assert_eq!(tiers.stats().disk.state, DiskState::Ok);
    let found = tiers.get(Class::Block, Key(1)).await;
    assert!(matches!(found, Some((_, Tier::Disk))));
    tiers.close().await;
}
