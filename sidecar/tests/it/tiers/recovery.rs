//! What is found again after a stop, clean or not.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use vdt_sidecar::tiers::{DiskState, Tier};

use std::sync::Arc;

use super::*;

const LENGTH: usize = 60_000;
/// Of those that are written while the process is killed: many rounds.
const KILLED_LENGTH: usize = 6_000;
const DIR: &str = "VDT_TIERS_CHILD_DIR";
const FIRST: &str = "VDT_TIERS_CHILD_FIRST";

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_found_after_a_clean_close() {
    let dir = tempfile::tempdir().expect("a directory");
    let tiers = open(dir.path(), 32 * MIB, 128 * MIB).await;
    fill(&tiers, 0..300, LENGTH).await;
    // What still waits is written by closing.
    for number in 300..400 {
        insert(&tiers, number, LENGTH, Insert::Resident);
    }
    tiers.close().await;

    let tiers = open(dir.path(), 32 * MIB, 128 * MIB).await;
    assert_eq!(tiers.stats().disk.state, DiskState::Ok);
    assert_eq!(tiers.stats().disk.entries, 400);
    let tier_of = |found: Option<(_, Tier)>| found.map(|(_, tier)| tier);
    assert_eq!(
        tier_of(tiers.get(Class::Block, key(0)).await),
        Some(Tier::Disk)
    );
    assert_eq!(
        tier_of(tiers.get(Class::Block, key(0)).await),
        Some(Tier::Memory)
    );
    assert_eq!(found(&tiers, 0..400, LENGTH).await.len(), 400);
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_written_by_many_tasks_at_once_are_all_found_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let tiers = Arc::new(open(dir.path(), 64 * MIB, 128 * MIB).await);
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let tiers = tiers.clone();
            tokio::spawn(async move { fill(&tiers, task * 100..task * 100 + 100, 20_000).await })
        })
        .collect();
    for task in tasks {
        task.await.expect("it ends");
    }
    tiers.close().await;
    let tiers = open(dir.path(), 64 * MIB, 128 * MIB).await;
    assert_eq!(found(&tiers, 0..800, 20_000).await.len(), 800);
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_leave_first_after_a_restart_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let length = 500_000;
    for round in 0..6 {
        let tiers = open(dir.path(), 8 * MIB, 64 * MIB).await;
        fill(&tiers, round * 20..round * 20 + 20, length).await;
        tiers.close().await;
    }
    let tiers = open(dir.path(), 8 * MIB, 64 * MIB).await;
    let found = found(&tiers, 0..120, length).await;
    assert!(found.len() > 60, "{found:?}");
    // Regions are freed whole; memory may have kept a few entries of those.
    let oldest = found[found.len() / 10];
    let newer = found.iter().filter(|number| **number >= oldest).count() as u64;
    assert_eq!(newer, 120 - oldest, "{found:?}");
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_found_again_than_there_is_memory_for_an_index_of() {
    let dir = tempfile::tempdir().expect("a directory");
    let tiers = open(dir.path(), 64 * MIB, 256 * MIB).await;
    fill(&tiers, 0..10_000, 100).await;
    assert_eq!(tiers.stats().disk.entries, 10_000);
    tiers.close().await;

    let tiers = open(dir.path(), 8 * MIB, 256 * MIB).await;
    let stats = tiers.stats().disk;
    let (entries, max) = (stats.entries, stats.entries_max);
    assert!(max < 7000, "{stats:?}");
    // Less than a run of entries with an index of its own is given up beyond what has to be.
    assert!(entries <= max && entries + 170 > max, "{stats:?}");
    // `found` asserts that none is wrong.
    let again = found(&tiers, 0..10_000, 100).await;
    assert_eq!(again.len() as u64, entries);
    assert!(again.ends_with(&(5000..10_000).collect::<Vec<_>>()));
    // The next ones push out as many, not all that are too many.
    fill(&tiers, 10_000..10_200, 100).await;
    let stats = tiers.stats().disk;
    assert!(stats.entries <= max && stats.evictions <= 200, "{stats:?}");
    tiers.close().await;

    // With more memory again nothing more comes back than stayed, and the newest are among it.
    let tiers = open(dir.path(), 64 * MIB, 256 * MIB).await;
    let again = found(&tiers, 0..10_200, 100).await;
    assert_eq!(tiers.stats().disk.entries, again.len() as u64);
    assert!(again.len() as u64 <= entries + 200, "{}", again.len());
    assert!(again.ends_with(&(5000..10_200).collect::<Vec<_>>()));
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_found_after_kill_9() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut first = 0;
    for round in 0..50 {
        let mut child = spawn_child(dir.path(), first);
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut flushed = first;
        // The child goes on writing while it is killed; some rounds let it come further.
        for _ in 0..=round % 4 {
            flushed = loop {
                let line = lines
                    .next()
                    .expect("the child writes on")
                    .expect("it reads");
                if let Some(number) = line.strip_prefix("flushed ") {
                    break number.parse().expect("a number");
                }
            };
        }
        child.kill().expect("it runs");
        child.wait().expect("it ends");

        let tiers = open(dir.path(), 32 * MIB, 256 * MIB).await;
        // All of it now and then and at the end, what the last rounds wrote each time.
        let from = match round % 10 {
            9 => 0,
            _ => flushed.saturating_sub(1000),
        };
        let again = found(&tiers, from..flushed + 1000, KILLED_LENGTH).await;
        let missing: Vec<u64> = (from..flushed)
            .filter(|number| again.binary_search(number).is_err())
            .collect();
        assert!(
            missing.is_empty(),
            "round {round}: {missing:?} of {flushed}"
        );
        assert_eq!(tiers.stats().disk.bad_entries, 0, "round {round}");
        tiers.close().await;
        first = flushed;
    }
}

fn spawn_child(dir: &Path, first: u64) -> Child {
    Command::new(std::env::current_exe().expect("this binary"))
        .args([
            "--exact",
            "tiers::recovery::child",
            "--ignored",
            "--nocapture",
        ])
        .env(DIR, dir)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this binary runs again")
}

/// Inserts without end and says how far it is on the disk.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other half of what_was_written_is_found_after_kill_9"]
async fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let first: u64 = std::env::var(FIRST)
        .expect("it is set")
        .parse()
        .expect("a number");
    let tiers = open(Path::new(&dir), 32 * MIB, 256 * MIB).await;
    for number in first.. {
        insert(&tiers, number, KILLED_LENGTH, Insert::Resident);
        if number % 100 == 99 {
            tiers.flush().await;
            assert_eq!(tiers.stats().disk.dropped_writes, 0);
            println!("flushed {}", number + 1);
            std::io::stdout().flush().expect("the parent reads");
        }
    }
}
