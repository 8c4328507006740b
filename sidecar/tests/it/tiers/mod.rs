//! The tiers over real directories.

mod admission;
mod basics;
mod faults;
mod faulty;
mod injected;
mod recovery;
mod volumes;

use std::path::Path;

use bytes::Bytes;
use vdt_sidecar::tiers::{Class, DiskOptions, Entry, EntryMeta, Insert, Key, Tiers, TiersOptions};

const MIB: u64 = 1 << 20;

/// Says that a test is left out, which none may be in CI as root, where the kernel has the device that it needs.
fn skip(why: &str, device: &str) {
    let is_ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
    let is_possible = rustix::process::geteuid().is_root() && Path::new(device).exists();
    assert!(!(is_ci && is_possible), "{why}, as it must in CI");
    eprintln!("skipped: {why}");
}

/// An entry whose bytes follow from its number, and differ from those of other numbers.
fn entry(number: u64, length: usize) -> Entry {
    let mut bytes = Vec::with_capacity(length + 8);
    let mut word = number;
    while bytes.len() < length {
        word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) ^ number;
        bytes.extend(word.to_le_bytes());
    }
    bytes.truncate(length);
    let meta = EntryMeta {
        size: length as u64 * 3,
        last_modified_ms: number as i64,
        etag: Some(format!("\"{number}\"").into()),
        version: None,
    };
    Entry {
        meta,
        bytes: Bytes::from(bytes),
    }
}

fn key(number: u64) -> Key {
    Key(u128::from(number))
}

fn options(dir: &Path, memory_bytes: u64, disk_bytes: u64) -> TiersOptions {
    // As in a container; the tests of the cache go through the page cache.
    let disk = DiskOptions {
        direct: true,
        ..DiskOptions::new(dir, disk_bytes)
    };
    TiersOptions {
        memory_bytes,
        disk: Some(disk),
    }
}

async fn open(dir: &Path, memory_bytes: u64, disk_bytes: u64) -> Tiers {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
    Tiers::open(options(dir, memory_bytes, disk_bytes))
        .await
        .expect("the tiers open")
}

/// Inserts a block.
fn insert(tiers: &Tiers, number: u64, length: usize, how: Insert) {
    tiers.insert(Class::Block, key(number), entry(number, length), how);
}

/// Inserts entries of one length and waits until they are on the disk.
async fn fill(tiers: &Tiers, numbers: std::ops::Range<u64>, length: usize) {
    for number in numbers {
        insert(tiers, number, length, Insert::Resident);
        // The queue holds 16 MiB.
        if number % 8 == 7 {
            tiers.flush().await;
        }
    }
    tiers.flush().await;
}

/// Looks numbers up; returns those found, and asserts that they are what was inserted.
async fn found(tiers: &Tiers, numbers: std::ops::Range<u64>, length: usize) -> Vec<u64> {
    let mut found = Vec::new();
    for number in numbers {
        if let Some((got, _)) = tiers
            .get_for(Class::Block, key(number), Insert::Candidate)
            .await
        {
            assert!(
                got == entry(number, length),
                "entry {number} is not what was inserted"
            );
            found.push(number);
        }
    }
    found
}
