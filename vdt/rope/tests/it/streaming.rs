//! Bodies: order, bounds, cancellation.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};
use vdt_rope::testing::{Altered, Generated, Recording};
use vdt_rope::{RopeStore, RopeStoreOptions, SourceObject};

use crate::origin::*;

const GIB: u64 = 1 << 30;

fn generated(key: &str, size: u64) -> Arc<SourceObject> {
    Arc::new(SourceObject {
        source: SOURCE.into(),
        key: key.into(),
        size,
        etag: Some(Generated::ETAG.into()),
        last_modified_ms: 0,
        version: None,
    })
}

#[tokio::test]
async fn a_gigabyte_streams_through_a_bounded_buffer() {
    let chunk = 256 * 1024;
    let origin = Arc::new(Generated::new(memory(), "sources", GIB, chunk));
    let produced = origin.produced();
    let objects = ["a", "b", "c"].map(|key| whole(&generated(key, GIB)));
    let path = put_rope(&*origin, &rope(objects)).await;
    let options = RopeStoreOptions::default();
    let bound = options.read_ahead_bytes + chunk * options.concurrent_reads as u64;
    let store = RopeStore::new(origin, options);

    // From the middle of the first object over the border into the second.
    let range = GIB - 64 * 1024 * 1024..GIB + 64 * 1024 * 1024 + 5;
    let options = GetOptions {
        range: Some(range.clone().into()),
        ..GetOptions::default()
    };
    let mut body = store.get_opts(&path, options).await.unwrap().into_stream();
    let mut at = range.start;
    let mut most = 0;
    while let Some(piece) = body.next().await {
        let piece = piece.unwrap();
        assert!(piece.len() as u64 <= chunk);
        assert_eq!(piece[0], Generated::byte_at(at % GIB));
        assert_eq!(
            piece[piece.len() - 1],
            Generated::byte_at((at + piece.len() as u64 - 1) % GIB)
        );
        at += piece.len() as u64;
        most = most.max(produced.load(Ordering::SeqCst) - (at - range.start));
    }
    assert_eq!(at, range.end);
    assert!(
        most <= bound,
        "{most} bytes were made and not passed on; the bound is {bound}"
    );
}

#[tokio::test]
async fn many_large_sources_are_read_ahead_within_the_bound() {
    let (size, chunk) = (1_000_000, 16 * 1024);
    let origin = Arc::new(Generated::new(memory(), "sources", size, chunk));
    let produced = origin.produced();
    let path = put_rope(
        &*origin,
        &rope((0..50).map(|number| whole(&generated(&number.to_string(), size)))),
    )
    .await;
    let options = RopeStoreOptions {
        read_ahead_bytes: 2_000_000,
        ..RopeStoreOptions::default()
    };
    let store = RopeStore::new(origin, options);
    let mut body = store.get(&path).await.unwrap().into_stream();
    let (mut at, mut most) = (0, 0);
    while let Some(piece) = body.next().await {
        let piece = piece.unwrap();
        assert_eq!(piece[0], Generated::byte_at(at % size));
        at += piece.len() as u64;
        most = most.max(produced.load(Ordering::SeqCst) - at);
    }
    assert_eq!(at, 50 * size);
    assert!(most > 1_000_000, "it reads ahead: {most}");
    assert!(most <= 2_000_000 + 8 * chunk, "{most}");
}

#[tokio::test(start_paused = true)]
async fn order_is_kept_and_concurrency_is_bounded() {
    let memory = memory();
    let (path, file) = put_artifacts(&*memory, 64, 100).await;
    // Later artifacts answer sooner.
    let mut origin: Arc<dyn ObjectStore> = memory;
    for number in 0..8 {
        let prefix = format!("sources/{SOURCE}/a/{number}");
        origin = Arc::new(
            Altered::new(origin, &prefix).delaying(Duration::from_millis(100 - 10 * number)),
        );
    }
    let origin = Arc::new(Altered::new(origin, "sources").delaying(Duration::from_millis(10)));
    let recording = Arc::new(Recording::new(origin));
    let store = over(Arc::clone(&recording) as _);
    let started = tokio::time::Instant::now();
    let got = read(&store, &path, 0..file.len() as u64).await.unwrap();
    assert_eq!(got, file);
    assert_eq!(recording.open(), 0);
    assert_eq!(
        recording.open_max(),
        RopeStoreOptions::default().concurrent_reads
    );
    assert!(
        started.elapsed() < Duration::from_millis(64 * 10),
        "reads overlap: {:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn one_read_at_a_time_is_possible() {
    let memory = memory();
    let (path, file) = put_artifacts(&*memory, 10, 100).await;
    let recording = Arc::new(Recording::new(memory));
    let options = RopeStoreOptions {
        concurrent_reads: 1,
        read_ahead_bytes: 1,
        ..RopeStoreOptions::default()
    };
    let store = RopeStore::new(Arc::clone(&recording) as _, options);
    assert_eq!(
        read(&store, &path, 0..file.len() as u64).await.unwrap(),
        file
    );
    assert_eq!(recording.open_max(), 1);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_body_cancels_its_reads() {
    let memory = memory();
    let (path, _) = put_artifacts(&*memory, 100, 1_000).await;
    let hour = Duration::from_secs(3_600);
    let slow = Altered::new(memory, &format!("sources/{SOURCE}/a/50")).delaying(hour);
    let recording = Arc::new(Recording::new(Arc::new(slow)));
    let options = RopeStoreOptions {
        read_ahead_bytes: 10_000,
        ..RopeStoreOptions::default()
    };
    let store = RopeStore::new(Arc::clone(&recording) as _, options);
    let mut body = store.get(&path).await.unwrap().into_stream();
    let mut got = 0;
    while got < 45_000 {
        got += body.next().await.unwrap().unwrap().len();
    }
    assert!(recording.open() > 0, "the slow one is under way");
    drop(body);
    assert_eq!(recording.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_request_cancels_its_reads() {
    let memory = memory();
    let (path, _) = put_artifacts(&*memory, 20, 100).await;
    let slow = Altered::new(memory, "sources").delaying(Duration::from_secs(3_600));
    let recording = Arc::new(Recording::new(Arc::new(slow)));
    let store = over(Arc::clone(&recording) as _);
    let timed = tokio::time::timeout(Duration::from_secs(1), store.get(&path)).await;
    assert!(timed.is_err());
    assert_eq!(recording.open(), 0);
    assert_eq!(
        recording.open_max(),
        RopeStoreOptions::default().concurrent_reads
    );
}

#[tokio::test]
async fn literals_of_many_frames_stream() {
    let origin = Arc::new(Recording::new(memory()));
    let mut random = crate::generate::Random(3);
    let file: Vec<u8> = (0..600_000)
        .flat_map(|_| random.next().to_le_bytes())
        .collect();
    let path = put_rope(&*origin, &rope([literal(Bytes::from(file.clone()))])).await;
    let store = over(Arc::clone(&origin) as _);
    origin.take();
    let mut body = store.get(&path).await.unwrap().into_stream();
    let mut got = Vec::new();
    while let Some(chunk) = body.next().await {
        got.extend_from_slice(&chunk.unwrap());
    }
    assert_eq!(got, file);
    let requests = origin.take().len();
    assert!(
        (4..=10).contains(&requests),
        "frames are read in batches: {requests} requests"
    );
    assert_eq!(origin.open_max(), 1);
}

#[tokio::test]
async fn a_million_zeros_cost_nothing() {
    let origin = Arc::new(Recording::new(memory()));
    let path = put_rope(
        &*origin,
        &rope([vdt_rope::Segment::Zeros(10_000_000), literal("x")]),
    )
    .await;
    let store = over(Arc::clone(&origin) as _);
    let before = origin.bytes();
    let got = read(&store, &path, 0..10_000_001).await.unwrap();
    assert!(
        got.len() == 10_000_001
            && got[..10_000_000].iter().all(|&byte| byte == 0)
            && got[10_000_000] == b'x'
    );
    assert!(origin.bytes() - before < 200);
}
