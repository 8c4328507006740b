//! Measures the tiers and prints numbers; see `docs/benchmarks.md` for what they mean.
//!
//! ```text
//! vdt-tiers <dir> <memory MiB> <disk MiB> <step>...
//!   fill:<entries>:<bytes>    inserts as lookups do, as fast as the disk takes it
//!   scan:<entries>:<bytes>    inserts as a scan does, without waiting, at most 1 GB/s
//!   rush:<entries>:<bytes>    the same as fast as a core makes them
//!   read:<entries>:<bytes>    looks random ones up
//!   idle                      CPU time of three seconds without work
//!   abort                     ends as kill -9 does
//! With IO_URING set, files are read and written through io_uring; with DIRECT set, past the page cache.
//! ```

use std::time::{Duration, Instant};

use bytes::Bytes;
use vdt_sidecar::tiers::{
    Class, DiskOptions, Entry, EntryMeta, Insert, Key, Tier, Tiers, TiersOptions,
};

const MIB: u64 = 1 << 20;

fn entry(number: u64, length: usize) -> Entry {
    let meta = EntryMeta {
        size: length as u64,
        last_modified_ms: 0,
        etag: Some("\"d41d8cd98f00b204e9800998ecf8427e\"".into()),
        version: None,
    };
    Entry {
        meta,
        bytes: Bytes::from(vec![number as u8; length]),
    }
}

fn key(number: u64) -> Key {
    Key(u128::from(number) << 64 | u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with(field))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .unwrap_or(0)
        / 1024
}

/// User and system time of this process so far, in ticks of 10 ms.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    stat.rsplit(") ").next().map_or(0, |rest| {
        rest.split(' ')
            .skip(11)
            .take(2)
            .filter_map(|n| n.parse::<u64>().ok())
            .sum()
    })
}

/// As in the binaries.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, memory, disk, steps @ ..] = arguments.as_slice() else {
        anyhow::bail!("see the head of this file");
    };
    let mut disk = DiskOptions::new(dir, disk.parse::<u64>()? * MIB);
    disk.direct = std::env::var_os("DIRECT").is_some();
    disk.io_uring = std::env::var_os("IO_URING").is_some();
    let start = Instant::now();
    let tiers = Tiers::open(TiersOptions {
        memory_bytes: memory.parse::<u64>()? * MIB,
        disk: Some(disk),
    })
    .await?;
    let stats = tiers.stats().disk;
    println!(
        "open: {:?}, {} entries, engine {}, {:?}",
        start.elapsed(),
        stats.entries,
        stats.engine,
        stats.state
    );
    for name in steps {
        measure(&tiers, name).await?;
    }
    let start = Instant::now();
    tiers.close().await;
    println!("close: {:?}", start.elapsed());
    Ok(())
}

/// Does a step, waits until all is written, and prints what that took.
async fn measure(tiers: &Tiers, name: &str) -> anyhow::Result<()> {
    let parts: Vec<&str> = name.split(':').collect();
    let number = |at: usize| parts.get(at).map_or(Ok(0), |part| part.parse::<u64>());
    let (count, length) = (number(1)?, number(2)?);
    let before = tiers.stats().disk;
    let (start, ticks) = (Instant::now(), cpu_ticks());
    step(tiers, parts[0], count, length).await?;
    let inserted = start.elapsed();
    tiers.flush().await;
    let after = tiers.stats().disk;
    println!(
        "{name}: {inserted:?}, with flush {:?}, {:.0} MB/s, cpu {} ms; written {}, dropped {}, rejected {}; {} entries, RSS {} MiB (peak {})",
        start.elapsed(),
        count as f64 * length as f64 / 1e6 / start.elapsed().as_secs_f64(),
        (cpu_ticks() - ticks) * 10,
        after.writes - before.writes,
        after.dropped_writes - before.dropped_writes,
        after.rejected_writes - before.rejected_writes,
        after.entries,
        status("VmRSS"),
        status("VmHWM"),
    );
    Ok(())
}

async fn step(tiers: &Tiers, kind: &str, count: u64, length: u64) -> anyhow::Result<()> {
    let start = Instant::now();
    let insert = |key, number, how| {
        let entry = entry(number, length as usize);
        tiers.insert(Class::Block, key, entry, how);
    };
    match kind {
        "fill" => {
            for at in 0..count {
                insert(key(at), at, Insert::Resident);
                if at * length % (8 * MIB) < length {
                    tiers.flush().await;
                }
            }
        }
        "scan" | "rush" => {
            for at in 0..count {
                insert(key(1 << 40 | at), at, Insert::Candidate);
                let due = Duration::from_nanos(at * length);
                if kind == "scan" {
                    tokio::time::sleep(due.saturating_sub(start.elapsed())).await;
                }
            }
        }
        "read" => {
            let mut hits = 0;
            for at in 0..count {
                let random = at.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11;
                let found = tiers.get(Class::Block, key(random % count)).await;
                hits += u64::from(found.is_some_and(|(entry, tier)| {
                    tier == Tier::Disk && entry.bytes.len() as u64 == length
                }));
            }
            println!("read: {hits} from the disk");
        }
        "idle" => tokio::time::sleep(Duration::from_secs(3)).await,
        "abort" => std::process::abort(),
        other => anyhow::bail!("no step {other}"),
    }
    Ok(())
}
