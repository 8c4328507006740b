//! Artifacts a second from a listing in memory to named, encoded ropes, and the state they cost.
//!
//! Keys of 60 characters with 16 random hex digits, a random 128-bit ETag, sizes log-normal around a median.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vdt_rope::SourceObject;
use vdt_table::{Artifact, FileGroup, Layout, SourceContext, TableSchema, groups, lay_out};

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

fn bench(c: &mut Criterion) {
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

criterion_group!(benches, bench);
criterion_main!(benches);
