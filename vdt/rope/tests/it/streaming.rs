//! Bodies: order, bounds, cancellation.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};
use vdt_rope::testing::{Altered, Generated, Recording, with_body};
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

/// Bodies of one file, of each of which one piece is taken.
async fn stalled(store: &RopeStore, path: &Path, count: usize) -> (Vec<Stream>, u64) {
    let (mut bodies, mut taken) = (Vec::new(), 0);
    for _ in 0..count {
        let mut body = store.get(path).await.unwrap().into_stream();
        taken += body.next().await.unwrap().unwrap().len() as u64;
        bodies.push(body);
    }
    (bodies, taken)
}

type Stream = futures::stream::BoxStream<'static, object_store::Result<Bytes>>;

#[tokio::test]
async fn slow_readers_hold_no_more_than_the_total_together_and_come_to_their_end() {
    const SIZE: u64 = 64 * 1024;
    const READERS: usize = 64;
    let total = 8 << 20;
    let origin = Arc::new(Generated::new(memory(), "sources", SIZE, SIZE));
    let produced = origin.produced();
    let objects = (0..100).map(|number| whole(&generated(&number.to_string(), SIZE)));
    let path = put_rope(&*origin, &rope(objects)).await;
    let options = RopeStoreOptions {
        read_ahead_total_bytes: total,
        ..RopeStoreOptions::default()
    };
    let store = RopeStore::new(origin, options);
    let (bodies, taken) = stalled(&store, &path, READERS).await;
    let held = produced.load(Ordering::SeqCst) - taken;
    // The next piece of each is beside the total.
    let bound = total + (READERS as u64 + 1) * SIZE;
    assert!(held > total / 2, "they read ahead: {held}");
    assert!(held <= bound, "{held} bytes are held; the bound is {bound}");

    // Nobody waits for another, whoever is first.
    for body in bodies.into_iter().rev() {
        let rest: Vec<Bytes> = body.map(|piece| piece.unwrap()).collect().await;
        assert_eq!(rest.iter().map(Bytes::len).sum::<usize>() as u64, 99 * SIZE);
    }
    let before = produced.load(Ordering::SeqCst);
    let (_bodies, taken) = stalled(&store, &path, 1).await;
    let ahead = produced.load(Ordering::SeqCst) - before - taken;
    assert!(ahead > total / 8, "all was given back: {ahead}");
}

#[tokio::test]
async fn literals_count_against_the_total_too() {
    const READERS: usize = 32;
    let origin = Arc::new(Recording::new(memory()));
    let mut random = crate::generate::Random(5);
    let file: Vec<u8> = (0..1 << 20)
        .flat_map(|_| random.next().to_le_bytes())
        .collect();
    let path = put_rope(&*origin, &rope([literal(Bytes::from(file.clone()))])).await;
    let total = 4 << 20;
    let options = RopeStoreOptions {
        read_ahead_total_bytes: total,
        frame_cache_bytes: 0,
        ..RopeStoreOptions::default()
    };
    let store = RopeStore::new(Arc::clone(&origin) as _, options);
    let before = origin.bytes();
    let (bodies, taken) = stalled(&store, &path, READERS).await;
    let held = origin.bytes() - before - taken;
    // A batch of frames may be under way when the room ends, and each has a frame of its own.
    let bound = total + (1 << 20) + READERS as u64 * 2 * 64 * 1024;
    assert!(held <= bound, "{held} bytes are held; the bound is {bound}");
    for body in bodies {
        let rest: Vec<Bytes> = body.map(|piece| piece.unwrap()).collect().await;
        assert!(file.ends_with(&rest.concat()));
    }
}

#[tokio::test]
async fn a_body_that_fails_gives_back_what_it_held() {
    let memory = memory();
    let (path, file) = put_artifacts(&*memory, 50, 10_000).await;
    let gone = source_path("a/30");
    memory.delete(&gone).await.unwrap();
    let recording = Arc::new(Recording::new(memory));
    let options = RopeStoreOptions {
        // A fifth of it is ten artifacts.
        read_ahead_total_bytes: 500_000,
        ..RopeStoreOptions::default()
    };
    let store = RopeStore::new(Arc::clone(&recording) as _, options);
    let mut failed = Vec::new();
    for _ in 0..20 {
        let mut body = store.get(&path).await.unwrap().into_stream();
        while let Some(Ok(_)) = body.next().await {}
        // It is kept, as a client that does not leave keeps it.
        failed.push(body);
    }
    recording.take();
    let range = 32 * 10_004..file.len() as u64;
    let options = GetOptions {
        range: Some(range.into()),
        ..GetOptions::default()
    };
    let _body = store.get_opts(&path, options).await.unwrap();
    let read = recording.take().len();
    assert!(read >= 8, "it reads ahead: {read} requests");
}

/// Bytes that say whether anybody has them.
struct Watched(
    Bytes,
    #[expect(dead_code, reason = "it is counted")] Arc<()>,
);

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[tokio::test]
async fn a_body_keeps_nothing_of_what_the_origin_gave_of_the_rope() {
    let origin = memory();
    let object = put_source(&*origin, "a", vec![1; 100]).await;
    let path = put_rope(&*origin, &rope([whole(&object)])).await;
    let kept = Arc::new(());
    let given = Arc::clone(&kept);
    let origin = Altered::new(origin, "log").altering(move |result| {
        let given = Arc::clone(&given);
        with_body(result, move |body| {
            let watched = move |bytes| Bytes::from_owner(Watched(bytes, Arc::clone(&given)));
            body.map_ok(watched).boxed()
        })
    });
    let store = RopeStore::new(Arc::new(origin), RopeStoreOptions::default());
    let before = Arc::strong_count(&kept);
    let body = store.get_opts(&path, GetOptions::default()).await.unwrap();
    assert_eq!(Arc::strong_count(&kept), before);
    assert_eq!(body.bytes().await.unwrap(), vec![1; 100]);
}
