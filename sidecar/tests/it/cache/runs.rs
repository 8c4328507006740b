//! Neighbours in a file: runs, packs, read-ahead.

use std::{ops::Range, sync::Arc, time::Duration};

use futures::{TryStreamExt, future::join_all};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tokio::time::timeout;
use vdt_rope::testing::{Altered, Request};
use vdt_sidecar::cache::CacheOptions;

use super::fixture::{
    Stack, content, generic, listed, memory, put_artifacts, ranged, read, source_path,
};

/// Where an artifact of a file of equal ones lies.
fn place(number: u64, bytes: u64) -> Range<u64> {
    let start = number * (bytes + 4) + 4;
    start..start + bytes
}

async fn check(stack: &Stack, path: &Path, file: &[u8], range: Range<u64>) {
    let got = read(&stack.ropes, path, ranged(range.clone(), None))
        .await
        .unwrap();
    assert!(
        got == file[range.start as usize..range.end as usize],
        "{range:?}"
    );
}

#[tokio::test]
async fn a_lookup_costs_its_artifact_once() {
    for (bytes, composed) in [
        (5_000, false),
        (5_000, true),
        (100_000, false),
        (100_000, true),
    ] {
        let origin = memory();
        let (path, file) = put_artifacts(&*origin, &[bytes; 60]).await;
        let stack = Stack::new(origin, composed, CacheOptions::default()).await;
        for repeat in 0..3 {
            let before = stack.origin.bytes();
            check(&stack, &path, &file, place(7, bytes as u64)).await;
            stack.settle().await;
            let asked = stack.asked();
            assert_eq!(asked.len(), usize::from(repeat == 0), "{asked:?}");
            assert!(stack.files.take().is_empty());
            // The link to an origin wants to know what a read is for.
            let told = stack.origin.take_contexts();
            assert_eq!(told.len(), asked.len());
            assert!(told.iter().all(|context| &*context.object.key == "a/7"));
            if repeat == 0 {
                assert!(stack.origin.bytes() - before < bytes as u64 + 20_000);
            }
        }
        let stats = stack.cache.report();
        assert_eq!(stats.hottest[0].key, "a/7");
        assert_eq!((stats.hottest[0].reads, stats.hottest.len()), (3, 1));
    }
}

#[tokio::test]
async fn a_run_of_misses_is_one_request_of_the_file() {
    for bytes in [5_000, 60_000, 100_000] {
        let origin = memory();
        let (path, file) = put_artifacts(&*origin, &[bytes; 60]).await;
        let options = CacheOptions {
            read_ahead_bytes: 0,
            ..CacheOptions::default()
        };
        let stack = Stack::new(origin, true, options).await;
        let body = place(20, bytes as u64).start..place(39, bytes as u64).end;
        check(&stack, &path, &file, body.clone()).await;
        stack.settle().await;
        assert!(stack.asked().is_empty());
        let asked = stack.files.take();
        assert_eq!(
            asked,
            [Request::get(path.as_ref(), body.clone(), None)],
            "{bytes}"
        );

        // Each of them is there: in a run, alone, in part.
        check(&stack, &path, &file, body).await;
        for number in 20..40 {
            check(&stack, &path, &file, place(number, bytes as u64)).await;
        }
        check(
            &stack,
            &path,
            &file,
            place(25, bytes as u64).start + 100..place(30, bytes as u64).start + 7,
        )
        .await;
        assert!(stack.asked().is_empty() && stack.files.take().is_empty());
        // Fewer than eight misses are read one by one.
        check(
            &stack,
            &path,
            &file,
            place(37, bytes as u64).start..place(43, bytes as u64).end,
        )
        .await;
        stack.settle().await;
        assert_eq!(stack.asked().len(), 4);
        assert!(stack.files.take().is_empty());
    }
}

#[tokio::test]
async fn tiny_artifacts_share_packs_and_a_file_laid_out_again_has_the_same_ones() {
    for composed in [false, true] {
        let origin = memory();
        // More than one frame of references.
        let count = 4000;
        let sizes = vec![2_000; count];
        let (path, file) = put_artifacts(&*origin, &sizes).await;
        let stack = Stack::new(Arc::clone(&origin) as _, composed, CacheOptions::default()).await;
        check(&stack, &path, &file, 0..file.len() as u64).await;
        stack.settle().await;
        stack.asked();
        stack.files.take();
        let entries: u64 = stack
            .cache
            .report()
            .classes
            .iter()
            .map(|class| class.memory_entries)
            .sum();
        assert!(entries < 400, "{entries} entries for {count} artifacts");

        // Laid out again without the first two artifacts.
        let (again, file) = {
            let mut segments = Vec::new();
            let mut bytes = Vec::new();
            for number in 2..count as u32 {
                // Where there is an ETag the time is no part of what names a pack.
                let object = vdt_rope::SourceObject {
                    last_modified_ms: 0,
                    ..listed(&*origin, &source_path(&format!("a/{number}"))).await
                };
                segments.push(vdt_rope::Segment::Literal(
                    number.to_be_bytes().to_vec().into(),
                ));
                segments.push(vdt_rope::Segment::Reference(vdt_rope::Reference::whole(
                    Arc::new(object),
                )));
                bytes.extend_from_slice(&number.to_be_bytes());
                bytes.extend_from_slice(&content(number as usize, 2_000));
            }
            (super::fixture::put_rope(&*origin, segments).await, bytes)
        };
        let before = (stack.origin.bytes(), stack.files.bytes());
        check(&stack, &again, &file, 0..file.len() as u64).await;
        stack.settle().await;
        let again = stack.origin.bytes() - before.0 + stack.files.bytes() - before.1;
        assert!(
            again <= (1 << 20) + 200_000,
            "{again} bytes fetched again: more than one pack and the rope"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_nobody_wants_any_longer_ends_and_one_that_somebody_wants_does_not() {
    let origin = memory();
    let (path, file) = put_artifacts(&*origin, &[50_000; 40]).await;
    let stack = Stack::new(Arc::clone(&origin) as _, true, CacheOptions::default()).await;
    let slow = Altered::new(Arc::clone(&stack.files) as _, "main").delaying(Duration::from_secs(9));
    let options = CacheOptions {
        read_ahead_bytes: 0,
        ..CacheOptions::default()
    };
    let (cache, ropes) = stack.with_files(slow, options).await;
    let whole = || read(&ropes, &path, ranged(0..1_500_000, None));
    let (gone, got) = tokio::join!(timeout(Duration::from_secs(1), whole()), whole());
    assert!(gone.is_err());
    assert!(got.unwrap() == file[..1_500_000]);
    assert_eq!(stack.files.take().len(), 1);

    let rest = read(&ropes, &path, ranged(1_600_000..2_000_000, None));
    assert!(timeout(Duration::from_secs(1), rest).await.is_err());
    assert!(cache.in_flight() > 0, "others may be about to ask");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(cache.in_flight(), 0);
    assert!(stack.files.take().is_empty(), "it was not asked for yet");
}

#[tokio::test(start_paused = true)]
async fn packs_that_nobody_came_to_want_end_with_the_read_that_began_them() {
    let origin = memory();
    let (path, file) = put_artifacts(&*origin, &[20_000; 100]).await;
    let slow = Altered::new(origin, "sources").delaying(Duration::from_secs(3600));
    let stack = Stack::new(Arc::new(slow), false, CacheOptions::default()).await;
    let whole = read(&stack.ropes, &path, ranged(0..file.len() as u64, None));
    let (gone, flights) = tokio::join!(timeout(Duration::from_secs(2), whole), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stack.cache.in_flight()
    });
    assert!(gone.is_err());
    // Sixteen artifacts are read at once.
    assert!(flights > 2, "{flights}: they go on while the read does");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stack.cache.in_flight(), 0);
}

#[tokio::test]
async fn a_run_is_of_one_source() {
    let origin = memory();
    let mut segments = Vec::new();
    for number in 0..40 {
        let bytes = content(number, 10_000);
        let source = if number < 20 { "00aa" } else { "00bb" };
        let location = Path::from(format!("sources/{source}/{number}"));
        origin.put(&location, bytes.into()).await.unwrap();
        let object = listed(&*origin, &location).await;
        let reference = vdt_rope::Reference::whole(Arc::new(object));
        segments.push(vdt_rope::Segment::Reference(reference));
    }
    let path = super::fixture::put_rope(&*origin, segments).await;
    let stack = Stack::new(origin, true, CacheOptions::default()).await;
    let whole = read(&stack.ropes, &path, ranged(0..400_000, None)).await;
    assert_eq!(whole.unwrap().len(), 400_000);
    let asked = [0..200_000, 200_000..400_000];
    assert_eq!(
        stack.files.take(),
        asked.map(|range| Request::get(path.as_ref(), range, None))
    );
}

#[tokio::test]
async fn what_comes_with_its_neighbours_or_ahead_of_them_is_missed_by_who_asks_for_it_first() {
    for (bytes, count) in [(5_000, 1500), (100_000, 60)] {
        for (composed, is_ahead) in [(false, false), (false, true), (true, false), (true, true)] {
            let origin = memory();
            let (path, file) = put_artifacts(&*origin, &vec![bytes; count]).await;
            let options = CacheOptions {
                read_ahead_bytes: if is_ahead { 8 << 20 } else { 0 },
                ..CacheOptions::default()
            };
            let stack = Stack::new(origin, composed, options).await;
            let mut told = Vec::new();
            for _ in 0..2 {
                check(&stack, &path, &file, 0..file.len() as u64).await;
                stack.settle().await;
                let stats = stack.cache.report();
                assert_eq!(stats.read_ahead_bytes > 0, is_ahead);
                let of_artifacts = stats.classes.iter().filter(|it| it.class != "metadata");
                told.push(of_artifacts.fold((0, 0), |(hits, misses), it| {
                    (hits + it.hits.memory, misses + it.misses)
                }));
            }
            let count = count as u64;
            let case = (bytes, composed, is_ahead);
            assert_eq!(told, [(0, count), (count, count)], "{case:?}");
        }
    }
}

#[tokio::test]
async fn a_changed_neighbour_does_not_spoil_a_run() {
    let origin = memory();
    let (path, file) = put_artifacts(&*origin, &[50_000; 40]).await;
    origin
        .put(&source_path("a/13"), content(99, 50_000).into())
        .await
        .unwrap();
    let stack = Stack::new(origin, true, CacheOptions::default()).await;
    let whole = read(&stack.ropes, &path, ranged(0..file.len() as u64, None)).await;
    assert!(
        matches!(whole, Err(object_store::Error::Precondition { .. })),
        "{whole:?}"
    );
    stack.settle().await;
    for number in (0..40).filter(|number| *number != 13) {
        check(&stack, &path, &file, place(number, 50_000)).await;
    }
}

#[tokio::test]
async fn a_neighbour_that_may_not_be_read_does_not_spoil_a_run() {
    let origin = memory();
    let (path, file) = put_artifacts(&*origin, &[50_000; 40]).await;
    let refused = source_path("a/13");
    let guarded = Altered::new(origin, "sources").failing(move |location, _| {
        (*location == refused).then(|| object_store::Error::PermissionDenied {
            path: location.to_string(),
            source: "a policy".into(),
        })
    });
    let stack = Stack::new(Arc::new(guarded), true, CacheOptions::default()).await;
    let before = place(0, 50_000).start..place(12, 50_000).end;
    check(&stack, &path, &file, before).await;
    let whole = read(&stack.ropes, &path, ranged(0..file.len() as u64, None)).await;
    let error = format!("{:?}", whole.unwrap_err());
    assert!(
        error.contains("a/13") && error.contains("a policy"),
        "{error}"
    );
    for number in (0..40).filter(|number| *number != 13) {
        check(&stack, &path, &file, place(number, 50_000)).await;
    }
}

#[tokio::test]
async fn a_cut_run_leaves_nothing_incomplete() {
    let origin = memory();
    let (path, file) = put_artifacts(&*origin, &[50_000; 40]).await;
    let stack = Stack::new(Arc::clone(&origin) as _, true, CacheOptions::default()).await;
    let files = Altered::new(Arc::clone(&stack.files) as _, "main").cutting(333_333);
    let (_, ropes) = stack.with_files(files, CacheOptions::default()).await;
    for _ in 0..2 {
        let got = read(&ropes, &path, ranged(0..file.len() as u64, None))
            .await
            .unwrap();
        assert!(got == file);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_whose_run_failed_is_not_spoilt_by_the_run_of_another() {
    let origin = memory();
    let (path, file) = put_artifacts(&*origin, &[100_000; 16]).await;
    let stack = Stack::new(Arc::clone(&origin) as _, true, CacheOptions::default()).await;
    // Every run is answered after a second, and breaks in its second artifact.
    let second = Duration::from_secs(1);
    let broken = Altered::new(Arc::clone(&stack.files) as _, "main")
        .delaying(second)
        .breaking(150_000, || generic("the connection broke"));
    let options = CacheOptions {
        read_ahead_bytes: 0,
        ..CacheOptions::default()
    };
    let (_, ropes) = stack.with_files(broken, options).await;
    let whole = || ropes.get_opts(&path, ranged(0..file.len() as u64, None));
    let one = whole().await.unwrap();
    tokio::time::sleep(second / 2).await;
    let one = async {
        // The run of the other is under way when this one notices that its own has failed.
        tokio::time::sleep(second / 2).await;
        assert!(one.bytes().await.unwrap() == file);
    };
    let other = async { assert!(whole().await.unwrap().bytes().await.unwrap() == file) };
    tokio::join!(other, one);
    assert_eq!(stack.files.take().len(), 2, "each began a run");
}

#[tokio::test]
async fn a_scan_is_read_ahead_and_a_lookup_is_not() {
    for composed in [false, true] {
        let origin = memory();
        let (path, file) = put_artifacts(&*origin, &[100_000; 200]).await;
        let stack = Stack::new(origin, composed, CacheOptions::default()).await;
        let group = |n: u64| place(n * 10, 100_000).start..place(n * 10 + 9, 100_000).end;
        for n in 0..2 {
            check(&stack, &path, &file, group(n)).await;
        }
        stack.settle().await;
        assert_eq!(stack.cache.report().read_ahead_bytes, 0);
        check(&stack, &path, &file, group(2)).await;
        // The read-ahead may still have frames to find.
        while stack.cache.report().read_ahead_bytes < 1_800_000 {
            tokio::task::yield_now().await;
        }
        stack.settle().await;
        stack.asked();
        stack.files.take();
        assert!(stack.cache.report().read_ahead_bytes <= (2 << 20) + 200_000);
        check(&stack, &path, &file, group(3)).await;
        check(&stack, &path, &file, group(4)).await;
        stack.settle().await;
        let before = stack.origin.bytes() + stack.files.bytes();
        for n in 5..20 {
            check(&stack, &path, &file, group(n)).await;
        }
        stack.settle().await;
        let bytes = stack.origin.bytes() + stack.files.bytes() - before;
        assert!(bytes <= file.len() as u64, "each byte is fetched once");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_read_ahead_fits_into_the_room_for_it() {
    // Three quarters of the room are for one scan: less than a block, or two artifacts and a half.
    for (room, most) in [(500_000, 0), (1_000_000, 2)] {
        let origin = memory();
        let (path, file) = put_artifacts(&*origin, &[300_000; 20]).await;
        let options = CacheOptions {
            block_bytes: 400_000,
            whole_bytes: 400_000,
            read_ahead_total_bytes: room,
            ..CacheOptions::default()
        };
        let stack = Stack::new(origin, false, options).await;
        for number in 0..3 {
            check(&stack, &path, &file, place(number, 300_000)).await;
        }
        // All is in memory: it has been read.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(stack.cache.report().read_ahead_bytes, most * 300_000);
        assert_eq!(stack.asked().len() as u64, 3 + most);
    }
}

#[tokio::test]
async fn many_readers_of_one_group_ask_once() {
    let origin = memory();
    let (path, file) = put_artifacts(&*origin, &[5_000; 400]).await;
    let stack = Stack::new(origin, true, CacheOptions::default()).await;
    let body = 0..file.len() as u64;
    join_all((0..8).map(|_| check(&stack, &path, &file, body.clone()))).await;
    stack.settle().await;
    assert!(stack.asked().is_empty());
    let asked = stack.files.take().len();
    assert!(asked <= 2, "{asked} requests for 2 MB");
    let _: &dyn ObjectStore = &stack.cache;
}

#[tokio::test]
async fn a_scan_that_waits_for_its_reader_keeps_no_packs_by_small_parts_of_them() {
    let origin = memory();
    let (path, file) = put_artifacts(&*origin, &[10_000; 1000]).await;
    let stack = Stack::new(origin, false, CacheOptions::default()).await;
    let whole = || async {
        let options = ranged(0..file.len() as u64, None);
        let body = stack.ropes.get_opts(&path, options).await.unwrap();
        let chunks: Vec<bytes::Bytes> = body.into_stream().try_collect().await.unwrap();
        stack.settle().await;
        chunks
    };
    whole().await;
    let (one, other) = (whole().await, whole().await);
    assert!(one.concat() == file && other.concat() == file);
    let places = |chunks: &[bytes::Bytes]| -> std::collections::HashSet<_> {
        let artifacts = chunks.iter().filter(|chunk| chunk.len() == 10_000);
        artifacts.map(|chunk| chunk.as_ptr()).collect()
    };
    let (one, other) = (places(&one), places(&other));
    // Members of packs that hold not much else are no small parts.
    let kept = one.intersection(&other).count();
    assert!(one.len() > 900 && kept < 100, "{kept} of {}", one.len());
}
