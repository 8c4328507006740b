//! Encoding, decoding and slicing of a rope like the one of a real table, and the bytes it takes.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use vdt_rope::{decode, encode};

#[path = "../tests/it/generate.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod generate;

const ARTIFACTS: u64 = 16_000;

fn benches(criterion: &mut Criterion) {
    let rope = generate::parquet_like(ARTIFACTS as usize);
    let stored = encode(&rope, b"");
    let literals: u64 = rope
        .segments()
        .iter()
        .filter(|segment| matches!(segment, vdt_rope::Segment::Literal(_)))
        .map(vdt_rope::Segment::len)
        .sum();
    println!(
        "{:.1} bytes stored an artifact ({:.1} of literals in the file)",
        stored.bytes.len() as f64 / ARTIFACTS as f64,
        literals as f64 / ARTIFACTS as f64,
    );
    let mut group = criterion.benchmark_group("rope");
    group
        .throughput(Throughput::Elements(ARTIFACTS))
        .sample_size(20);
    group.bench_function("fingerprint", |bencher| {
        bencher.iter(|| black_box(&rope).file_name(b""))
    });
    group.bench_function("encode", |bencher| {
        bencher.iter(|| encode(black_box(&rope), b""))
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| decode(black_box(&stored.bytes)))
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("slice a row group", |bencher| {
        let middle = rope.len() / 2;
        bencher.iter_batched(
            || middle..middle + 2_000_000,
            |range| rope.slice(range),
            BatchSize::SmallInput,
        )
    });
    group.finish();
}

criterion_group!(rope, benches);
criterion_main!(rope);
