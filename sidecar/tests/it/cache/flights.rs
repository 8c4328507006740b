//! Blocks of one object: what the origin is asked, by whom, and when no longer.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, future::join_all};
use object_store::{GetOptions, GetRange, ObjectStore};
use tokio::runtime::Runtime;
use vdt_rope::testing::{Altered, Generated, Request};
use vdt_sidecar::cache::CacheOptions;

use super::fixture::{
    Stack, content, generic, log_path, memory, put_artifacts, put_source, ranged, read, source_path,
};

const KIB: u64 = 1024;

fn options() -> CacheOptions {
    CacheOptions {
        block_bytes: 16 * KIB,
        whole_bytes: 16 * KIB,
        segment_blocks: 8,
        ..CacheOptions::default()
    }
}

fn ranges(requests: &[Request]) -> Vec<std::ops::Range<u64>> {
    let range = |request: &Request| match request {
        Request::Get {
            range: Some(GetRange::Bounded(range)),
            ..
        } => range.clone(),
        other => panic!("{other:?}"),
    };
    requests.iter().map(range).collect()
}

#[tokio::test]
async fn missing_neighbours_are_one_request_and_a_repeat_is_none() {
    let origin = memory();
    let bytes = content(0, 200 * KIB as usize);
    let object = put_source(&*origin, "a", bytes.clone()).await;
    let stack = Stack::new(origin, false, options()).await;
    let (path, tag) = (source_path("a"), object.etag.as_deref());

    // Nothing is known but the ETag: the first answer tells the size. A range that starts in a block brings whole blocks.
    let got = read(&stack.cache, &path, ranged(20 * KIB..50 * KIB, tag))
        .await
        .unwrap();
    assert_eq!(got, &bytes[20 * 1024..50 * 1024]);
    assert_eq!(
        ranges(&stack.asked()),
        std::slice::from_ref(&(16 * KIB..144 * KIB)),
        "a segment of eight blocks"
    );
    stack.settle().await;
    let got = read(&stack.cache, &path, ranged(10 * KIB..200 * KIB, tag))
        .await
        .unwrap();
    assert_eq!(got, &bytes[10 * 1024..]);
    assert_eq!(ranges(&stack.asked()), [0..16 * KIB, 144 * KIB..200 * KIB]);
    stack.settle().await;
    for range in [0..1, 0..200 * KIB, 199 * KIB..200 * KIB, 30 * KIB..90 * KIB] {
        let got = read(&stack.cache, &path, ranged(range.clone(), tag))
            .await
            .unwrap();
        assert_eq!(got, &bytes[range.start as usize..range.end as usize]);
    }
    assert!(stack.asked().is_empty());
    let stats = stack.cache.report();
    assert!(stats.hits.memory > 0 && stats.misses == 3, "{stats:?}");
    assert_eq!(stats.joins, 0, "nobody else had asked");
}

#[tokio::test(start_paused = true)]
async fn readers_of_overlapping_ranges_share_one_fetch() {
    let origin = memory();
    let bytes = content(0, 100 * KIB as usize);
    let object = put_source(&*origin, "a", bytes.clone()).await;
    let slow = Arc::new(Altered::new(origin, "sources").delaying(Duration::from_secs(1)));
    let stack = Stack::new(slow, false, options()).await;
    let (path, tag) = (source_path("a"), object.etag.as_deref());
    let reads = (0..50u64).map(|number| {
        let range = number * KIB..(number + 40) * KIB;
        let (path, cache, bytes) = (path.clone(), &stack.cache, &bytes);
        async move {
            let got = read(cache, &path, ranged(range.clone(), tag))
                .await
                .unwrap();
            assert_eq!(got, &bytes[range.start as usize..range.end as usize]);
        }
    });
    join_all(reads).await;
    assert_eq!(
        ranges(&stack.asked()),
        std::slice::from_ref(&(0..128 * KIB))
    );
    assert!(stack.cache.report().joins >= 49);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_leaves_cancels_nothing_for_others_and_all_when_alone() {
    let origin = memory();
    let generated = Generated::new(origin, "sources", 64 * KIB, KIB);
    let slow =
        Arc::new(Altered::new(Arc::new(generated), "sources").delaying(Duration::from_secs(1)));
    let stack = Stack::new(slow, false, options()).await;
    let path = source_path("a");
    let tag = Some(Generated::ETAG);

    let first = read(&stack.cache, &path, ranged(0..10, tag));
    let second = read(&stack.cache, &path, ranged(0..64 * KIB, tag));
    let (gone, got) = tokio::join!(
        tokio::time::timeout(Duration::from_millis(500), first),
        second
    );
    assert!(gone.is_err());
    assert_eq!(got.unwrap().len() as u64, 64 * KIB);
    assert_eq!(stack.asked().len(), 1);

    let other = source_path("b");
    let alone = read(&stack.cache, &other, ranged(0..10, tag));
    assert!(
        tokio::time::timeout(Duration::from_millis(500), alone)
            .await
            .is_err()
    );
    while stack.origin.open() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(stack.cache.in_flight(), 0);
    assert_eq!(
        read(&stack.cache, &other, ranged(0..10, tag))
            .await
            .unwrap()
            .len(),
        10
    );
}

#[tokio::test]
async fn a_slow_reader_holds_nobody_up_and_bytes_in_flight_are_bounded() {
    let origin = memory();
    let generated = Generated::new(origin, "sources", 10 << 20, 4 * KIB);
    let produced = generated.produced();
    let stack = Stack::new(Arc::new(generated), false, options()).await;
    let path = source_path("a");
    let options = || ranged(0..10 << 20, Some(Generated::ETAG));
    let mut slow = stack
        .cache
        .get_opts(&path, options())
        .await
        .unwrap()
        .into_stream();
    let first = slow.next().await.unwrap().unwrap();
    assert_eq!(first[1], Generated::byte_at(1));
    stack.settle().await;
    let ahead = produced.load(std::sync::atomic::Ordering::SeqCst);
    assert!(
        ahead <= 2 * 8 * 16 * KIB,
        "{ahead} bytes for a reader that took one chunk"
    );

    let got = read(&stack.cache, &path, options()).await.unwrap();
    assert_eq!(got.len(), 10 << 20);
    let mut at = first.len();
    while let Some(chunk) = slow.next().await {
        let chunk = chunk.unwrap();
        assert_eq!(chunk, &got[at..at + chunk.len()]);
        at += chunk.len();
    }
    assert_eq!(at, got.len());
}

#[tokio::test(start_paused = true)]
async fn the_first_byte_does_not_wait_for_the_block() {
    let origin = memory();
    let generated = Generated::new(origin, "sources", 16 * KIB, KIB);
    let produced = generated.produced();
    let stuck = Altered::new(Arc::new(generated), "sources").breaking(4096, || generic("broken"));
    let stack = Stack::new(Arc::new(stuck), false, options()).await;
    let path = source_path("a");
    let range = ranged(1000..16 * KIB, Some(Generated::ETAG));
    let mut body = stack
        .cache
        .get_opts(&path, range)
        .await
        .unwrap()
        .into_stream();
    let first = body.next().await.unwrap().unwrap();
    assert_eq!(first[0], Generated::byte_at(1000));
    assert!(produced.load(std::sync::atomic::Ordering::SeqCst) < 16 * KIB);
    let rest: Vec<_> = body.collect().await;
    assert!(
        rest.last().unwrap().is_err(),
        "and a broken one is never taken for complete"
    );
    assert_eq!(stack.cache.in_flight(), 0);
}

#[tokio::test]
async fn failures_reach_every_waiter_and_the_next_one_tries_again() {
    let origin = memory();
    let object = put_source(&*origin, "a", content(0, 40_000)).await;
    let down = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let failing = Altered::new(origin, "sources").failing(move |_, _| {
        is_down
            .load(std::sync::atomic::Ordering::SeqCst)
            .then(|| generic("the line is cut"))
    });
    let stack = Stack::new(Arc::new(failing), false, options()).await;
    let (path, tag) = (source_path("a"), object.etag.as_deref());
    let reads = (0..5).map(|_| read(&stack.cache, &path, ranged(0..40_000, tag)));
    for got in join_all(reads).await {
        let error = got.unwrap_err();
        assert!(matches!(
            error,
            object_store::Error::Generic { store: "test", .. }
        ));
        assert!(error.to_string().contains("the line is cut"));
    }
    down.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(
        read(&stack.cache, &path, ranged(0..40_000, tag))
            .await
            .unwrap(),
        content(0, 40_000)
    );
    stack.settle().await;
    down.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(
        read(&stack.cache, &path, ranged(0..40_000, tag))
            .await
            .unwrap(),
        content(0, 40_000)
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_an_object_that_cannot_be_opened_is_told_soon() {
    let origin = memory();
    put_source(&*origin, "a", content(0, 40_000)).await;
    let failing = Altered::new(origin, "sources")
        .delaying(Duration::from_secs(1))
        .failing(|_, _| Some(generic("the line is cut")));
    let stack = Stack::new(Arc::new(failing), false, options()).await;
    let path = source_path("a");
    let reads = (0..50).map(|_| read(&stack.cache, &path, ranged(0..10, Some("tag"))));
    assert!(join_all(reads).await.iter().all(Result::is_err));
    assert!(stack.asked().len() <= 3);
}

#[tokio::test]
async fn bodies_of_another_length_are_no_entries() {
    for kind in 0..2 {
        let origin = memory();
        let object = put_source(&*origin, "a", content(0, 40_000)).await;
        let altered = Altered::new(Arc::clone(&origin) as _, "sources");
        let altered = match kind {
            0 => altered.cutting(100),
            _ => altered.appending(b"more"),
        };
        let stack = Stack::new(Arc::new(altered), false, options()).await;
        let (path, tag) = (source_path("a"), object.etag.as_deref());
        for _ in 0..2 {
            assert!(
                read(&stack.cache, &path, ranged(0..40_000, tag))
                    .await
                    .is_err()
            );
        }
        stack.settle().await;
        assert!(!stack.asked().is_empty());
    }
}

#[tokio::test]
async fn closing_ends_what_is_under_way() {
    let generated = Generated::new(memory(), "sources", 1 << 40, KIB);
    let slow = Altered::new(Arc::new(generated), "sources").delaying(Duration::from_secs(3600));
    let stack = Stack::new(Arc::new(slow), false, options()).await;
    let path = source_path("a");
    let reading = read(&stack.cache, &path, ranged(0..10, Some(Generated::ETAG)));
    let (got, ()) = tokio::join!(reading, async {
        tokio::task::yield_now().await;
        stack.cache.close().await;
    });
    assert!(got.unwrap_err().to_string().contains("given up"));
    assert_eq!(stack.cache.in_flight(), 0);
}

#[tokio::test]
async fn a_small_part_of_a_block_does_not_keep_the_block() {
    let origin = memory();
    let bytes = content(0, 64 * KIB as usize);
    let object = put_source(&*origin, "a", bytes.clone()).await;
    let stack = Stack::new(origin, false, options()).await;
    let (path, tag) = (source_path("a"), object.etag.as_deref());
    // Not yet held, then held; within a block, and over the border of two.
    for part in [KIB..2 * KIB, 16 * KIB - 10..17 * KIB, KIB..2 * KIB] {
        let options = ranged(part.clone(), tag);
        let mut body = stack
            .cache
            .get_opts(&path, options)
            .await
            .unwrap()
            .into_stream();
        let mut got = Vec::new();
        while let Some(piece) = body.next().await {
            let piece = piece.unwrap();
            assert!(piece.is_unique(), "{part:?}");
            got.extend_from_slice(&piece);
        }
        assert_eq!(got, &bytes[part.start as usize..part.end as usize]);
        stack.settle().await;
    }
    // A larger part is the block itself: nothing is copied for a scan.
    let options = ranged(4 * KIB..8 * KIB, tag);
    let mut body = stack
        .cache
        .get_opts(&path, options)
        .await
        .unwrap()
        .into_stream();
    assert!(!body.next().await.unwrap().unwrap().is_unique());
}

#[tokio::test]
async fn readers_that_stand_still_hold_next_blocks_of_a_bounded_number_of_bytes() {
    let generated = Generated::new(memory(), "sources", 64 * KIB, 16 * KIB);
    let options = CacheOptions {
        segment_blocks: 1,
        overlap_bytes: 4 * 16 * KIB,
        ..options()
    };
    let stack = Stack::new(Arc::new(generated), false, options).await;
    let whole = || ranged(0..64 * KIB, Some(Generated::ETAG));
    let mut still = Vec::new();
    for number in 0..20 {
        let path = source_path(&number.to_string());
        let read = stack.cache.get_opts(&path, whole()).await.unwrap();
        let mut body = read.into_stream();
        body.next().await.unwrap().unwrap();
        still.push(body);
    }
    stack.settle().await;
    // Each has its first block, and four have their next one.
    assert_eq!(stack.asked().len(), 20 + 4);
    let got = read(&stack.cache, &source_path("other"), whole()).await;
    assert_eq!(got.unwrap().len() as u64, 64 * KIB);
    assert_eq!(stack.asked().len(), 4);
    // Who goes on gets the rest, and leaves the room to others.
    let body = still.swap_remove(0);
    let rest: Vec<_> = body.map(|chunk| chunk.unwrap()).collect().await;
    assert_eq!(rest.concat().len() as u64, 48 * KIB);
    drop(still);
    let path = source_path("another");
    let read = stack.cache.get_opts(&path, whole()).await.unwrap();
    let mut body = read.into_stream();
    body.next().await.unwrap().unwrap();
    stack.settle().await;
    assert_eq!(stack.asked().len(), 2 + 2);
}

#[test]
fn with_its_runtime_gone_a_fetch_is_an_error_and_holds_nobody_up() {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for (bytes, composed) in [(5_000, false), (5_000, true), (100_000, true)] {
            let (ended, other) = (Runtime::new().unwrap(), Runtime::new().unwrap());
            let (stack, path, length) = ended.block_on(async {
                let origin = memory();
                let (path, file) = put_artifacts(&*origin, &vec![bytes; 60]).await;
                let stack = Stack::new(origin, composed, CacheOptions::default()).await;
                // The rope is known from here on.
                read(&stack.ropes, &path, ranged(4..10, None))
                    .await
                    .unwrap();
                (stack, path, file.len() as u64)
            });
            ended.shutdown_timeout(Duration::from_secs(10));
            other.block_on(async {
                let whole = ranged(0..length, None);
                assert!(read(&stack.ropes, &path, whole).await.is_err());
                let commit = log_path("00000000000000000003.json");
                let named = read(&stack.cache, &commit, GetOptions::default()).await;
                assert!(named.is_err());
                assert_eq!(stack.cache.in_flight(), 0);
            });
        }
        tell.send(()).unwrap();
    });
    told.recv_timeout(Duration::from_secs(60)).unwrap();
}
