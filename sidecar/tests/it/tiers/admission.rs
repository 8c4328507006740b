//! What a scan does to the hot set: traces of Zipf lookups, with and without a scan in between.

use vdt_sidecar::tiers::{Class, Insert, Tiers, TiersOptions};

use super::{MIB, fill, found, insert, key, open};

/// Lookups whose popularity follows Zipf's law with exponent 0.99, the same in every run.
struct Zipf {
    sums: Vec<f64>,
    state: u64,
}

impl Zipf {
    fn new(keys: u64) -> Self {
        let mut sum = 0.0;
        let weigh = |rank: u64| {
            sum += 1.0 / (rank as f64).powf(0.99);
            sum
        };
        Self {
            sums: (1..=keys).map(weigh).collect(),
            state: 1,
        }
    }

    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn next(&mut self) -> u64 {
        let at =
            (self.random() >> 11) as f64 / (1u64 << 53) as f64 * self.sums[self.sums.len() - 1];
        self.sums.partition_point(|sum| *sum < at) as u64
    }
}

/// A load of lookups, and what is scanned meanwhile.
struct Trace {
    keys: u64,
    length: usize,
    lookups: u64,
    /// Blocks scanned for each lookup, and scanned in all before the scan starts again.
    scanned: u64,
    scan_blocks: u64,
}

/// Runs a trace; returns the hit ratio of the second half of the lookups.
async fn hit_ratio(tiers: &Tiers, trace: &Trace) -> f64 {
    let mut zipf = Zipf::new(trace.keys);
    let (mut hits, mut cursor) = (0, 0u64);
    for lookup in 0..trace.lookups {
        let number = zipf.next();
        match tiers.get(Class::Block, key(number)).await {
            Some(_) if lookup >= trace.lookups / 2 => hits += 1,
            Some(_) => {}
            None => insert(tiers, number, trace.length, Insert::Resident),
        }
        for _ in 0..trace.scanned {
            // A scan is recognised after its first blocks.
            let how = if cursor % trace.scan_blocks < 8 {
                Insert::Resident
            } else {
                Insert::Candidate
            };
            let number = (1 << 32) + cursor % trace.scan_blocks;
            // The reader takes each block in four ranges.
            for range in 0..4 {
                if tiers
                    .get_for(Class::Block, key(number), how)
                    .await
                    .is_none()
                    && range == 0
                {
                    insert(tiers, number, trace.length, how);
                }
            }
            cursor += 1;
        }
        if lookup % 16 == 0 {
            tiers.flush().await;
        }
    }
    f64::from(hits) / (trace.lookups / 2) as f64
}

#[tokio::test]
async fn a_scan_leaves_nine_tenths_of_the_hits_in_memory() {
    let open = || {
        Tiers::open(TiersOptions {
            memory_bytes: 8 * MIB,
            ..TiersOptions::default()
        })
    };
    let quiet = Trace {
        keys: 8000,
        length: 4096,
        lookups: 20_000,
        scanned: 0,
        scan_blocks: 10_000,
    };
    let without = hit_ratio(&open().await.expect("it opens"), &quiet).await;
    for scanned in [1, 4] {
        let with = hit_ratio(
            &open().await.expect("it opens"),
            &Trace { scanned, ..quiet },
        )
        .await;
        println!("memory, {scanned} blocks scanned a lookup: {with:.3} of {without:.3}");
        assert!(with >= 0.9 * without, "{with} of {without}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_leaves_nine_tenths_of_the_hits_on_the_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let quiet = Trace {
        keys: 3000,
        length: 60_000,
        lookups: 6000,
        scanned: 0,
        scan_blocks: 4000,
    };
    let mut ratios = Vec::new();
    for scanned in [0, 2] {
        let tiers = open(&dir.path().join(scanned.to_string()), 8 * MIB, 64 * MIB).await;
        ratios.push(hit_ratio(&tiers, &Trace { scanned, ..quiet }).await);
        let stats = tiers.stats().disk;
        println!(
            "disk, {scanned} blocks scanned a lookup: {:.3}; {stats:?}",
            ratios[ratios.len() - 1]
        );
        assert_eq!(stats.dropped_writes, 0);
        tiers.close().await;
    }
    assert!(ratios[1] >= 0.9 * ratios[0], "{ratios:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hot_entries_outlive_their_region() {
    let dir = tempfile::tempdir().expect("a directory");
    let length = 100_000;
    let tiers = open(dir.path(), 8 * MIB, 64 * MIB).await;
    let hot = 0..40;
    for number in hot.clone() {
        insert(&tiers, number, length, Insert::Resident);
        tiers.flush().await;
    }
    // Four times the disk goes by, while the hot set is asked for now and then: less often than memory keeps it.
    for number in 1000..3400 {
        insert(&tiers, number, length, Insert::Resident);
        if number % 100 == 0 {
            for number in hot.clone() {
                tiers.get(Class::Block, key(number)).await;
            }
        }
        tiers.flush().await;
    }
    tiers.close().await;
    let tiers = open(dir.path(), 8 * MIB, 64 * MIB).await;
    let kept = found(&tiers, hot, length).await.len();
    assert!(kept >= 36, "{kept} of 40; {:?}", tiers.stats().disk);
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_scans_read_leaves_with_its_region() {
    let dir = tempfile::tempdir().expect("a directory");
    let length = 100_000;
    let tiers = open(dir.path(), 64 * MIB, 64 * MIB).await;
    fill(&tiers, 0..700, length).await;
    tiers.close().await;
    // Nothing of it is in memory now.
    let tiers = open(dir.path(), 64 * MIB, 64 * MIB).await;
    let is_held = |number: &u64| tiers.may_hold(Class::Block, key(*number));
    let oldest = (0..700).find(is_held).expect("there are some");
    let scanned = oldest..oldest + 40;
    assert_eq!(found(&tiers, scanned.clone(), length).await.len(), 40);
    fill(&tiers, 1000..1100, length).await;
    let stats = tiers.stats().disk;
    assert!(stats.evictions >= 40, "{stats:?}");
    assert_eq!(stats.rescued_writes, 0, "{stats:?}");
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_fill_a_disk_with_room_and_wait_for_a_second_sight_when_it_is_full() {
    let dir = tempfile::tempdir().expect("a directory");
    let length = 500_000;
    let tiers = open(dir.path(), 8 * MIB, 64 * MIB).await;
    let insert = async |number| {
        insert(&tiers, number, length, Insert::Candidate);
        tiers.flush().await;
    };
    for number in 0..50 {
        insert(number).await;
    }
    let stats = tiers.stats().disk;
    assert_eq!(
        (stats.entries, stats.rejected_writes),
        (50, 0),
        "there is room"
    );
    for number in 100..200 {
        insert(number).await;
    }
    let stats = tiers.stats().disk;
    assert_eq!(stats.evictions, 0, "nothing had to go: {stats:?}");
    assert_eq!(stats.entries + stats.rejected_writes, 150, "{stats:?}");
    insert(199).await;
    assert_eq!(
        tiers.stats().disk.rejected_writes,
        stats.rejected_writes,
        "it was seen before"
    );
    tiers.close().await;
}

#[tokio::test]
async fn what_a_scan_passes_by_is_written_later_and_all_of_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let length = 500_000;
    let tiers = open(dir.path(), 64 * MIB, 128 * MIB).await;
    // It is never quiet.
    tokio::time::pause();
    for number in 0..20 {
        for _ in 0..2 {
            insert(&tiers, number, length, Insert::Candidate);
        }
        // The writer has its turn.
        tokio::task::yield_now().await;
    }
    let stats = tiers.stats().disk;
    assert_eq!((stats.entries, stats.writes), (0, 0), "{stats:?}");
    tokio::time::resume();
    tiers.close().await;
    let tiers = open(dir.path(), 64 * MIB, 128 * MIB).await;
    assert_eq!(tiers.stats().disk.entries, 20);
    assert_eq!(found(&tiers, 0..20, length).await.len(), 20);
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_candidates_than_memory_trusts_itself_to_keep_are_written_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let length = 500_000;
    let tiers = open(dir.path(), 64 * MIB, 256 * MIB).await;
    for number in 0..200 {
        insert(&tiers, number, length, Insert::Candidate);
        // A scan is no faster than its source; the disk is given its time here.
        tiers.flush().await;
    }
    let stats = tiers.stats().disk;
    assert_eq!((stats.entries, stats.dropped_writes), (200, 0), "{stats:?}");
    tiers.close().await;
}

#[tokio::test]
async fn what_comes_faster_than_the_disk_takes_it_is_written_later() {
    let dir = tempfile::tempdir().expect("a directory");
    let length = 400_000;
    let tiers = open(dir.path(), 64 * MIB, 256 * MIB).await;
    // More than waits for the disk at once, and less than memory holds. On its one thread the writer has no turn meanwhile.
    for number in 0..60 {
        insert(&tiers, number, length, Insert::Resident);
    }
    tiers.flush().await;
    let stats = tiers.stats().disk;
    assert_eq!((stats.entries, stats.dropped_writes), (60, 0), "{stats:?}");
    tiers.close().await;
}

#[tokio::test]
async fn candidates_use_memory_that_is_free_and_give_it_back() {
    let tiers = Tiers::open(TiersOptions {
        memory_bytes: 64 * MIB,
        ..TiersOptions::default()
    });
    let tiers = tiers.await.expect("it opens");
    let length = 100_000;
    let insert = |numbers: std::ops::Range<u64>, how| {
        for number in numbers {
            insert(&tiers, number, length, how);
            let memory = tiers.stats().memory;
            assert!(memory.bytes <= memory.capacity_bytes, "{memory:?}");
        }
    };
    insert(0..300, Insert::Candidate);
    assert_eq!(found(&tiers, 0..300, length).await.len(), 300);
    insert(1000..1400, Insert::Resident);
    assert_eq!(
        found(&tiers, 1000..1400, length).await.len(),
        400,
        "lookups have the room they had"
    );
    assert!(found(&tiers, 0..300, length).await.len() < 200);
    insert(2000..9000, Insert::Candidate);
    assert_eq!(found(&tiers, 1000..1400, length).await.len(), 400);
}
