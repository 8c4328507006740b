//! Artifacts a second from a listing in memory to named, encoded ropes, and the state they cost.
//!
//! Keys of 60 characters with 16 random hex digits, a random 128-bit ETag, sizes log-normal around a median.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vdt_rope::SourceObject;
use vdt_table::{
    Artifact, FileGroup, Layout, SourceContext, TableSchema, groups, lay_out, meta_files,
};

/// A small generator, so that the input is the same on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Log-normal with this median and sigma 1.
    fn size(&mut self, median: f64) -> u64 {
        let normal = (-2.0 * (1.0 - self.uniform()).ln()).sqrt()
            * (std::f64::consts::TAU * self.uniform()).cos();
        (median * normal.exp()).max(1.0) as u64
    }
}

fn source() -> Arc<SourceContext> {
    Arc::new(SourceContext {
        name: "bucket".into(),
        id: "0123456789abcdef".into(),
        prefix: "manuals/".into(),
        url_prefix: "s3://corp/".into(),
        etag_is_checksum: true,
    })
}

fn artifacts(count: usize, median: f64) -> Vec<Artifact> {
    let mut random = Random(1);
    let source = source();
    (0..count)
        .map(|i| {
            let tail = random.next();
            let key = format!(
                "manuals/customer-{:05}/2024/invoice-{:06}-{tail:016x}.pdf",
                i / 100,
                i
            );
            let object = SourceObject {
                source: source.id.clone(),
                key: key.into(),
                size: random.size(median),
                etag: Some(format!("{:016x}{:016x}", random.next(), random.next()).into()),
                last_modified_ms: 1_700_000_000_000 + (random.next() % 40_000_000_000) as i64,
                version: None,
            };
            Artifact {
                id: i as i64,
                object: Arc::new(object),
                storage_class: None,
                archived: false,
            }
        })
        .collect()
}

fn cut(artifacts: &[Artifact], layout: &Layout) -> Vec<FileGroup> {
    groups(source(), artifacts.iter().cloned(), layout).collect()
}

/// Prints what a target costs: what a lookup reads, how many requests a scan of a small column makes, and state.
fn targets() {
    let schema = TableSchema::artifacts();
    println!(
        "median  row group  file | rows a group  lookup kB  scan requests a 1,000 rows  tail kB a file  state B a row"
    );
    for (name, median) in [
        ("10 kB", 10e3),
        ("100 kB", 100e3),
        ("500 kB", 500e3),
        ("1 MB", 1e6),
    ] {
        let artifacts = artifacts(20_000, median);
        for (row_group_mib, file_mib) in [
            (0.5, 1024),
            (1.0, 1024),
            (2.0, 256),
            (2.0, 1024),
            (2.0, 4096),
            (4.0, 1024),
            (8.0, 1024),
        ] {
            let layout = Layout {
                row_group_target_bytes: (row_group_mib * 1048576.0) as u64,
                file_target_bytes: file_mib << 20,
                ..Layout::default()
            };
            let (mut groups, mut read, mut tail, mut state) = (0, 0.0, 0, 0);
            let files = cut(&artifacts, &layout);
            for file in &files {
                let laid = lay_out(&schema, &layout, file).unwrap();
                groups += laid.row_groups;
                tail += laid
                    .rope()
                    .segments()
                    .last()
                    .map_or(0, vdt_rope::Segment::len);
                state += laid.stored.len();
                // Every artifact asked for once: a group is read whole as often as it has rows.
                let (mut bytes, mut rows) = (0, 0);
                for size in file.artifacts.iter().map(|a| a.object.size) {
                    if rows > 0 && bytes + size > layout.row_group_target_bytes {
                        read += bytes as f64 * f64::from(rows);
                        (bytes, rows) = (0, 0);
                    }
                    (bytes, rows) = (bytes + size, rows + 1);
                }
                read += bytes as f64 * f64::from(rows);
            }
            let rows = artifacts.len() as f64;
            println!(
                "{name:>6} {row_group_mib:>6} MiB {file_mib:>4} MiB | {:>6.1} {:>14.0} {:>14.0} {:>22.0} {:>14.1}",
                rows / groups as f64,
                read / rows / 1e3,
                1e3 * groups as f64 / rows,
                tail as f64 / files.len() as f64 / 1e3,
                state as f64 / rows,
            );
        }
    }
}

fn bench(c: &mut Criterion) {
    targets();
    let schema = TableSchema::artifacts();
    let layout = Layout::default();
    for (name, median) in [
        ("10kB", 10e3),
        ("100kB", 100e3),
        ("500kB", 500e3),
        ("1MB", 1e6),
    ] {
        let artifacts = artifacts(20_000, median);
        let files = cut(&artifacts, &layout);
        let laid: Vec<_> = files
            .iter()
            .map(|g| lay_out(&schema, &layout, g).unwrap())
            .collect();
        let sum =
            |of: &dyn Fn(&vdt_table::VirtualFile) -> u64| laid.iter().map(of).sum::<u64>() as f64;
        let rows = artifacts.len() as f64;
        println!(
            "{name}: {} files, {:.1} rows a row group, a file: {:.0} kB of literals; an artifact: {:.1} B of literals, {:.1} B of state ({:.4} % of its bytes), {:.1} B of annotation",
            laid.len(),
            rows / sum(&|f| f.row_groups as u64),
            sum(&|f| f.literal_bytes) / laid.len() as f64 / 1e3,
            sum(&|f| f.literal_bytes) / rows,
            sum(&|f| f.stored.len() as u64) / rows,
            100.0 * sum(&|f| f.stored.len() as u64) / sum(&|f| f.artifact_bytes),
            sum(&|f| f.annotation.len() as u64) / rows,
        );
        let mut group = c.benchmark_group("lay_out");
        group
            .sample_size(10)
            .throughput(Throughput::Elements(artifacts.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                for file in &files {
                    black_box(lay_out(&schema, &layout, file).unwrap());
                }
            });
        });
        group.finish();
    }
}

fn bench_meta(c: &mut Criterion) {
    let (schema, layout, source) = (TableSchema::artifacts(), Layout::default(), source());
    let artifacts = artifacts(100_000, 500e3);
    let rows = || artifacts.iter().map(|a| (source.clone(), a.clone()));
    let files = || meta_files(&schema, &layout, rows()).map(Result::unwrap);
    let state: usize = files().map(|f| f.stored.len()).sum();
    println!(
        "meta: {:.1} B of state an artifact",
        state as f64 / artifacts.len() as f64
    );
    let mut group = c.benchmark_group("meta_files");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(artifacts.len() as u64));
    group.bench_function("500kB", |b| {
        b.iter(|| files().for_each(|f| drop(black_box(f))))
    });
    group.finish();
}

criterion_group!(benches, bench, bench_meta);
criterion_main!(benches);
