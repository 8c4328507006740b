#![allow(missing_docs, clippy::unwrap_used, unused)]
// Artifacts a second from a listing in memory to named, encoded ropes, and the state they cost.
//
// Keys of 60 characters with 16 random hex digits, a random 128-bit ETag, sizes log-normal around a median.

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

fn main() {
    if let Ok(what) = std::env::var("ONLY") {
        let schema = TableSchema::artifacts();
        let layout = Layout::default();
        let artifacts = artifacts(20_000, 303e3);
        let files = cut(&artifacts, &layout);
        let s = source();
        for _ in 0..std::env::var("N").map_or(60, |n| n.parse().unwrap()) {
            if what == "meta" {
                black_box(
                    vdt_table::meta_files(
                        &schema,
                        &layout,
                        artifacts.iter().map(|a| (s.clone(), a.clone())),
                    )
                    .map(|f| f.unwrap().stored.len())
                    .sum::<usize>(),
                );
            } else {
                for g in &files {
                    black_box(lay_out(&schema, &layout, g).unwrap());
                }
            }
        }
        return;
    }
    let schema = TableSchema::artifacts();
    let layout = Layout::default();
    for median in [100e3, 303e3, 500e3, 1e6] {
        let artifacts = if std::env::var("CONST").is_ok() {
            artifacts(20_000, median)
                .into_iter()
                .map(|a| {
                    let mut o = (*a.object).clone();
                    o.size = median as u64;
                    Artifact {
                        object: Arc::new(o),
                        ..a
                    }
                })
                .collect()
        } else {
            artifacts(20_000, median)
        };
        let files = cut(&artifacts, &layout);
        let laid: Vec<_> = files
            .iter()
            .map(|g| lay_out(&schema, &layout, g).unwrap())
            .collect();
        let n = artifacts.len() as f64;
        let (mut body, mut tail, mut bodyraw, mut tailraw, mut ann, mut groups) =
            (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
        for (i, f) in laid.iter().enumerate() {
            if let (0, vdt_rope::Segment::Literal(b)) = (i, f.rope.segments().last().unwrap()) {
                std::fs::write(format!("/tmp/tail-{median}.bin"), b).unwrap();
            }
            groups += f.row_groups as f64;
            let segs = f.rope.segments();
            let last = segs.last().unwrap().len();
            let cutat = f.rope.len() - last;
            let b = f.rope.slice(0..cutat).unwrap();
            let t = f.rope.slice(cutat..f.rope.len()).unwrap();
            body += vdt_rope::encode(&b, b"").bytes.len() as f64;
            tail += vdt_rope::encode(&t, b"").bytes.len() as f64;
            ann += f.annotation.len() as f64;
            tailraw += last as f64;
            bodyraw += (f.literal_bytes - last) as f64;
        }
        println!(
            "median {median}: rows/rg {:.2} body {:.1} (raw {:.1}) tail {:.1} (raw {:.1}) ann {:.1}",
            n / groups,
            body / n,
            bodyraw / n,
            tail / n,
            tailraw / n,
            ann / n
        );
    }
    let artifacts = artifacts(20_000, 303e3);
    let files = cut(&artifacts, &layout);
    let cpu = || {
        let s = std::fs::read_to_string("/proc/self/stat").unwrap();
        let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
        (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
    };
    let mut laid = vec![];
    let t0 = cpu();
    for _ in 0..20 {
        laid = files
            .iter()
            .map(|g| lay_out(&schema, &layout, g).unwrap())
            .collect();
    }
    let t1 = cpu();
    for _ in 0..20 {
        for f in &laid {
            black_box(vdt_rope::encode(&f.rope, &f.annotation));
        }
    }
    let t2 = cpu();
    for _ in 0..20 {
        for f in &laid {
            black_box(f.rope.file_name(&f.annotation));
        }
    }
    let t3 = cpu();
    let n = 20.0 * artifacts.len() as f64 / 1e6;
    let t4 = cpu();
    let s = source();
    let mut bytes = 0;
    for _ in 0..20 {
        bytes = vdt_table::meta_files(
            &schema,
            &layout,
            artifacts.iter().map(|a| (s.clone(), a.clone())),
        )
        .map(|f| f.unwrap().stored.len())
        .sum::<usize>();
    }
    println!(
        "meta us {:.2} B {:.1}",
        (cpu() - t4) / n,
        bytes as f64 / artifacts.len() as f64
    );
    println!(
        "CPU us/artifact: all {:.2} encode {:.2} of which name {:.2}",
        (t1 - t0) / n,
        (t2 - t1) / n,
        (t3 - t2) / n
    );
}
