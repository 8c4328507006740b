//! Encoding, decoding and slicing of a rope like the one of a real table, the bytes it takes, and what composing costs
//! an artifact when its source answers at once.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use vdt_rope::testing::Generated;
use vdt_rope::{Reference, RopeBuilder, RopeStore, RopeStoreOptions, SourceObject, decode, encode};

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

/// Streams a whole file of small artifacts through a `RopeStore`.
fn compose(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let size = 1_000;
    let origin = Arc::new(Generated::new(
        Arc::new(InMemory::new()),
        "sources",
        size,
        64 * 1024,
    ));
    let mut rope = RopeBuilder::new();
    for number in 0..ARTIFACTS {
        let object = SourceObject {
            source: "0123456789abcdef".into(),
            key: format!("artifacts/{number:08}").into(),
            size,
            etag: Some(Generated::ETAG.into()),
            last_modified_ms: 0,
            version: None,
        };
        rope.push_literal(b"header");
        rope.push_reference(Reference::whole(Arc::new(object)));
    }
    let stored = encode(&rope.finish(), b"");
    let path = Path::from(format!("c/s/t/{}", stored.name.parquet_file()));
    let rope_path = Path::from(format!("log/c/s/t/{}", stored.name.rope_file()));
    runtime
        .block_on(origin.put(&rope_path, stored.bytes.into()))
        .expect("a put in memory");
    let store = RopeStore::new(origin, RopeStoreOptions::default());
    let mut group = criterion.benchmark_group("store");
    group
        .throughput(Throughput::Elements(ARTIFACTS))
        .sample_size(10);
    group.bench_function("stream artifacts of 1 kB", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let body = store.get(&path).await.expect("a file").into_stream();
                body.try_fold(0, |sum, chunk| std::future::ready(Ok(sum + chunk.len())))
                    .await
                    .expect("a body")
            })
        })
    });
    group.finish();
}

criterion_group!(rope, benches, compose);
criterion_main!(rope);
