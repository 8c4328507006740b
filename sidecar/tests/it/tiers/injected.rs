//! Reads and writes of the disk tier that fail, tear and lie.

use std::{path::Path, time::Duration};

use fuser::Errno;
use vdt_sidecar::tiers::{Class, DiskState, Tiers, TiersError, reason};

use super::{
    MIB,
    faulty::{Fault, Faulty, Io},
    fill, found, key, open, options,
};

const LENGTH: usize = 200_000;

/// Tiers with `count` entries on the disk. With one MiB of memory most of them are there alone.
async fn filled(faulty: &Faulty, memory_bytes: u64, count: u64) -> Tiers {
    let tiers = open(&faulty.path().join("cache"), memory_bytes, 128 * MIB).await;
    assert_eq!(tiers.stats().disk.state, DiskState::Ok);
    fill(&tiers, 0..count, LENGTH).await;
    tiers
}

fn why(tiers: &Tiers) -> &'static str {
    match tiers.stats().disk.state {
        DiskState::Degraded { reason, .. } => reason,
        state => panic!("{state:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_fail_or_lie_are_misses() {
    let Some(faulty) = Faulty::mount() else {
        return;
    };
    let tiers = filled(&faulty, MIB, 60).await;
    assert_eq!(found(&tiers, 0..60, LENGTH).await.len(), 60);
    for fault in [
        Fault::Fail(Errno::EIO),
        Fault::Flip,
        Fault::Lost,
        Fault::Torn,
    ] {
        // `found` asserts that no entry is wrong.
        let mut reads = 0;
        faulty.plan(move |io| {
            reads += u32::from(io == Io::Read);
            match io {
                Io::Read if reads % 3 == 0 => fault,
                _ => Fault::None,
            }
        });
        let left = found(&tiers, 0..60, LENGTH).await;
        assert!(left.len() < 60, "{fault:?}");
        faulty.plan(|_| Fault::None);
        tiers.check_disk().await;
        assert_eq!(tiers.stats().disk.state, DiskState::Ok, "{fault:?}");
        fill(&tiers, 0..60, LENGTH).await;
        assert_eq!(found(&tiers, 0..60, LENGTH).await.len(), 60, "{fault:?}");
    }
    tiers.close().await;
}

#[tokio::test]
async fn reads_that_hang_are_misses_and_the_disk_is_left_until_they_end() {
    let Some(faulty) = Faulty::mount() else {
        return;
    };
    let tiers = filled(&faulty, MIB, 60).await;
    assert!(found(&tiers, 0..60, LENGTH).await.len() > 50);
    faulty.plan(|io| match io {
        Io::Read => Fault::Hang,
        _ => Fault::None,
    });
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let mut reads = std::pin::pin!(found(&tiers, 0..60, LENGTH));
    let left = loop {
        tokio::select! {
            biased;
            left = &mut reads => break left,
            () = tokio::time::advance(Duration::from_millis(500)) => {}
        }
    };
    assert!(left.len() < 10, "memory holds few: {left:?}");
    // No more than are read at once are waited for, one by one.
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(why(&tiers), reason::DISK_FAILED);
    faulty.plan(|_| Fault::None);
    tokio::time::resume();
    let back = async {
        while tiers.stats().disk.state != DiskState::Ok {
            tiers.check_disk().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), back).await;
    assert!(in_time.is_ok(), "{:?}", tiers.stats().disk);
    assert!(found(&tiers, 0..60, LENGTH).await.len() > 50);
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_fail_leave_the_disk_and_it_comes_back() {
    let Some(faulty) = Faulty::mount() else {
        return;
    };
    for (errno, expected) in [
        (Errno::EIO, reason::DISK_FAILED),
        (Errno::ENOSPC, reason::DISK_FULL),
        (Errno::EROFS, reason::DISK_READ_ONLY),
    ] {
        let _ = std::fs::remove_dir_all(faulty.path().join("cache"));
        let tiers = filled(&faulty, 32 * MIB, 20).await;
        faulty.plan(move |io| match io {
            Io::Write => Fault::Fail(errno),
            _ => Fault::None,
        });
        fill(&tiers, 100..120, LENGTH).await;
        assert_eq!(why(&tiers), expected, "{:?}", tiers.stats().disk);
        assert!(tiers.stats().disk.failed_writes > 0);
        assert!(
            tiers.get_memory(Class::Block, key(119)).is_some(),
            "memory goes on"
        );
        tiers.check_disk().await;
        // A full volume is tried again: regions that are there may be written over.
        if expected != reason::DISK_FULL {
            assert_eq!(why(&tiers), expected, "it is not there yet");
        }
        faulty.plan(|_| Fault::None);
        tiers.check_disk().await;
        assert_eq!(tiers.stats().disk.state, DiskState::Ok);
        fill(&tiers, 200..220, LENGTH).await;
        assert_eq!(found(&tiers, 200..220, LENGTH).await.len(), 20);
        tiers.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_lie_are_noticed_when_they_are_read_also_after_a_restart() {
    let Some(faulty) = Faulty::mount() else {
        return;
    };
    for (at, fault) in [Fault::Flip, Fault::Lost, Fault::Torn]
        .into_iter()
        .enumerate()
    {
        let tiers = filled(&faulty, MIB, 10).await;
        let mut writes = 0;
        faulty.plan(move |io| {
            writes += u32::from(io == Io::Write);
            match io {
                Io::Write if writes % 2 == 0 => fault,
                _ => Fault::None,
            }
        });
        let numbers = 1000 * (at as u64 + 1)..1000 * (at as u64 + 1) + 60;
        fill(&tiers, numbers.clone(), LENGTH).await;
        faulty.plan(|_| Fault::None);
        let before = found(&tiers, numbers.clone(), LENGTH).await;
        tiers.close().await;
        let tiers = open(&faulty.path().join("cache"), MIB, 128 * MIB).await;
        let after = found(&tiers, numbers.clone(), LENGTH).await;
        assert!(
            after.len() < 60,
            "{fault:?}: {} and {}",
            before.len(),
            after.len()
        );
        tiers.close().await;
    }
}

/// Opens a folder that is in use for a moment: a tier that was left because of its disk goes on closing.
async fn open_when_free(dir: &Path) -> Tiers {
    let mut tries_left = 100;
    loop {
        tries_left -= 1;
        match Tiers::open(options(dir, MIB, 128 * MIB)).await {
            Err(TiersError::Locked { .. }) if tries_left > 0 => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            opened => return opened.expect("the tiers open"),
        }
    }
}

/// Faults at random, for every seed the same: no entry is ever wrong, and the tiers go on.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_disk_does_no_entry_is_wrong() {
    let Some(faulty) = Faulty::mount() else {
        return;
    };
    for seed in 1..=12_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let rate = 2 + next() % 20;
        faulty.plan(move |io| match (io, next() % rate) {
            (_, 1..) => Fault::None,
            (Io::Sync, _) => Fault::Fail(Errno::EIO),
            (_, 0) => match next() % 5 {
                0 => Fault::Fail(Errno::EIO),
                1 => Fault::Fail(Errno::ENOSPC),
                2 => Fault::Flip,
                3 => Fault::Lost,
                _ => Fault::Torn,
            },
        });
        let tiers = open_when_free(&faulty.path().join("cache")).await;
        fill(&tiers, seed * 7..seed * 7 + 80, LENGTH).await;
        found(&tiers, 0..200, LENGTH).await;
        tiers.check_disk().await;
        fill(&tiers, 10_000..10_030, 5_000).await;
        found(&tiers, 10_000..10_030, 5_000).await;
        tiers.close().await;
    }
    faulty.plan(|_| Fault::None);
    let tiers = open_when_free(&faulty.path().join("cache")).await;
    assert_eq!(tiers.stats().disk.state, DiskState::Ok);
    tiers.close().await;
}
