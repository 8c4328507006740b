//! Listing entries in memory to a committed version of `t` and `t_meta` on a local state store.
//!
//! `cargo run --release --bin vdt-pipeline -- [ARTIFACTS]` prints one line of JSON: artifacts a second, CPU time (user and
//! system) and bytes of state for each artifact, peak memory. Keys have 60 characters, sizes are log-normal around 500 kB,
//! or around `$VDT_BENCH_BYTES`. The state lies in the folder for temporary files (`$TMPDIR`).

use std::{env, fs, path::Path, sync::Arc, time::Instant};

use rustix::time::{ClockId, clock_gettime};
use vdt_rope::SourceObject;
use vdt_store::{
    Clock, Definition, OpenMode, SourceEnv, StateStore, TableRefresh,
    plan::ListedAt,
    source::{Entry, Listing},
};

/// As in the `vdt` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW_MS: i64 = 1_750_000_000_000;

fn main() {
    let artifacts = env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(1_000_000);
    let median_bytes = env::var("VDT_BENCH_BYTES")
        .ok()
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or(500_000.0);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(run(artifacts, median_bytes));
}

async fn run(artifacts: u64, median_bytes: f64) {
    let folder = tempfile::tempdir().expect("a folder");
    let state_folder = tempfile::tempdir().expect("a folder");
    let table = vdt_crds::VirtualTable::for_folder(folder.path());
    let env = SourceEnv {
        base_dir: folder.path().to_owned(),
        ..SourceEnv::default()
    };
    let definition = Arc::new(Definition::open(&table, &env).expect("a folder opens"));
    let state = StateStore::open_directory(state_folder.path(), OpenMode::ReadWrite)
        .await
        .expect("a state");
    let clock: Clock = Arc::new(|| NOW_MS);
    let refresh = TableRefresh::new(definition.clone(), state, clock);
    let listing = listing(definition.sources[0].id(), artifacts, median_bytes);
    let bytes = listing.bytes;
    let before_kib = resident_kib();
    let (started, cpu_before) = (Instant::now(), cpu_seconds());
    let listed_at = ListedAt {
        began_ms: NOW_MS,
        ended_ms: NOW_MS,
    };
    let report = refresh
        .run_listed(None, vec![Ok(listing)], listed_at)
        .await
        .expect("it commits")
        .expect("nobody else commits");
    let seconds = started.elapsed().as_secs_f64();
    let cpu_seconds = cpu_seconds() - cpu_before;
    assert_eq!(report.artifacts, artifacts);
    let state_bytes = folder_bytes(state_folder.path());
    println!(
        "{{\"artifacts\": {artifacts}, \"seconds\": {seconds:.3}, \"artifactsPerSecond\": {:.0}, \"cpuMicrosPerArtifact\": {:.2}, \"listingMiB\": {}, \"peakMiB\": {}, \"stateBytesPerArtifact\": {:.1}, \"stateShare\": {:.6}}}",
        artifacts as f64 / seconds,
        cpu_seconds * 1e6 / artifacts as f64,
        before_kib / 1024,
        peak_kib() / 1024,
        state_bytes as f64 / artifacts as f64,
        state_bytes as f64 / bytes as f64,
    );
}

fn listing(source: &Arc<str>, artifacts: u64, median_bytes: f64) -> Listing {
    let mut random = 0x9e37_79b9_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let mut bytes = 0;
    let entries: Vec<Entry> = (0..artifacts)
        .map(|number| {
            // The sum of twelve uniform numbers is nearly normal.
            let normal: f64 = (0..12)
                .map(|_| (next() >> 11) as f64 / (1_u64 << 53) as f64)
                .sum::<f64>()
                - 6.0;
            let size = (median_bytes * normal.exp()) as u64;
            bytes += size;
            let object = SourceObject {
                source: Arc::clone(source),
                key: format!(
                    "reports/{:04}/{:02}/customer-{:08x}-document-{number:012}.pdf",
                    2000 + number / 100_000,
                    number / 8_000 % 12,
                    next() as u32
                )
                .into(),
                size,
                etag: Some(format!("{:016x}{:016x}", next(), next()).into()),
                last_modified_ms: NOW_MS - 1_000_000 - (next() % 100_000_000_000) as i64,
                version: None,
            };
            Entry {
                object: Arc::new(object),
                storage_class: None,
                archived: false,
            }
        })
        .collect();
    let mut listing = Listing {
        entries,
        bytes,
        ..Listing::default()
    };
    listing
        .entries
        .sort_by(|a, b| a.object.key.cmp(&b.object.key));
    listing
}

fn folder_bytes(folder: &Path) -> u64 {
    fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| {
            let entry = entry.expect("an entry");
            match entry.file_type().expect("a type").is_dir() {
                true => folder_bytes(&entry.path()),
                false => entry.metadata().expect("metadata").len(),
            }
        })
        .sum()
}

/// User and system time of the whole process.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn status_kib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with(field))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .unwrap_or(0)
}

fn resident_kib() -> u64 {
    status_kib("VmRSS:")
}

fn peak_kib() -> u64 {
    status_kib("VmHWM:")
}
