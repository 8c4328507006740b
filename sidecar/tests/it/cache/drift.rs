//! Objects that are overwritten while they are cached.

use std::{ops::Range, sync::Arc, time::Duration};

use object_store::{Error, ObjectStore, ObjectStoreExt, path::Path};
use vdt_rope::testing::Altered;
use vdt_sidecar::cache::CacheOptions;

use super::fixture::{
    Stack, TABLE, content, listed, memory, put_artifacts, put_rope, put_source, ranged, read,
    source_path,
};

#[tokio::test]
async fn old_blocks_stay_right_for_the_old_etag_and_never_meet_new_ones() {
    let origin = memory();
    let (old, new) = (content(1, 100_000), content(2, 100_000));
    let before = put_source(&*origin, "a", old.clone()).await;
    let options = CacheOptions {
        block_bytes: 16_384,
        whole_bytes: 16_384,
        segment_blocks: 1,
        ..CacheOptions::default()
    };
    let stack = Stack::new(Arc::clone(&origin) as _, false, options).await;
    let (path, tag) = (source_path("a"), before.etag.as_deref());
    read(&stack.cache, &path, ranged(0..20_000, tag))
        .await
        .unwrap();
    let after = put_source(&*origin, "a", new.clone()).await;

    assert_eq!(
        read(&stack.cache, &path, ranged(0..20_000, tag))
            .await
            .unwrap(),
        &old[..20_000]
    );
    let mixed = read(&stack.cache, &path, ranged(0..100_000, tag)).await;
    assert!(
        matches!(mixed, Err(Error::Precondition { .. })),
        "{mixed:?}"
    );
    let tag = after.etag.as_deref();
    assert_eq!(
        read(&stack.cache, &path, ranged(0..100_000, tag))
            .await
            .unwrap(),
        new
    );
    let tag = before.etag.as_deref();
    assert_eq!(
        read(&stack.cache, &path, ranged(0..20_000, tag))
            .await
            .unwrap(),
        &old[..20_000]
    );
}

#[tokio::test]
async fn a_source_without_an_etag_is_known_by_size_and_time() {
    let inner = memory();
    let untagged = Altered::new(Arc::clone(&inner) as _, "sources").altering(|mut result| {
        result.meta.e_tag = None;
        result
    });
    let origin: Arc<dyn ObjectStore> = Arc::new(untagged);
    let (path, file) = put_artifacts(&*origin, &[5_000; 3]).await;
    let stack = Stack::new(Arc::clone(&origin), false, CacheOptions::default()).await;
    let whole = || ranged(0..file.len() as u64, None);
    for _ in 0..2 {
        assert!(read(&stack.ropes, &path, whole()).await.unwrap() == file);
    }
    stack.settle().await;
    assert!(stack.asked().len() <= 3);
    // Another time is another object.
    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    let (again, changed) = put_artifacts(&*origin, &[5_001; 3]).await;
    assert!(
        read(&stack.ropes, &again, ranged(0..changed.len() as u64, None))
            .await
            .unwrap()
            == changed
    );
}

#[tokio::test]
async fn a_log_object_that_was_written_again_is_noticed_and_then_read_anew() {
    let origin = memory();
    let path = Path::parse(format!("log/{TABLE}/{}-7.rope", "ab".repeat(16))).unwrap();
    let (old, new) = (content(1, 100_000), content(2, 100_000));
    origin.put(&path, old.clone().into()).await.unwrap();
    let options = CacheOptions {
        block_bytes: 16_384,
        whole_bytes: 16_384,
        segment_blocks: 1,
        ..CacheOptions::default()
    };
    let stack = Stack::new(Arc::clone(&origin) as _, false, options).await;
    assert_eq!(
        read(&stack.cache, &path, ranged(0..10, None))
            .await
            .unwrap(),
        &old[..10]
    );
    // Where the read begins with what is not held, it is of the new one from the start.
    let newest = content(3, 90_000);
    origin.put(&path, newest.clone().into()).await.unwrap();
    let got = read(&stack.cache, &path, ranged(50_000..60_000, None)).await;
    assert!(got.unwrap() == newest[50_000..60_000]);
    origin.put(&path, old.clone().into()).await.unwrap();
    let got = read(&stack.cache, &path, ranged(0..10, None)).await;
    assert!(got.unwrap() == old[..10]);

    origin.put(&path, new.clone().into()).await.unwrap();
    let mixed = read(&stack.cache, &path, ranged(0..100_000, None)).await;
    assert!(
        matches!(mixed, Err(Error::Precondition { .. })),
        "{mixed:?}"
    );
    assert_eq!(
        read(&stack.cache, &path, ranged(0..100_000, None))
            .await
            .unwrap(),
        new
    );
}

#[tokio::test]
async fn an_entry_of_another_length_is_not_used() {
    let origin = memory();
    let (path, file) = put_artifacts(&*origin, &[5_000, 100_000, 3_000]).await;
    let mut segments = Vec::new();
    for (number, bytes) in [(0, 4_000), (1, 90_000), (2, 2_000)] {
        let object = vdt_rope::SourceObject {
            size: bytes,
            ..listed(&*origin, &source_path(&format!("a/{number}"))).await
        };
        let reference = vdt_rope::Reference::whole(object.into());
        segments.push(vdt_rope::Segment::Reference(reference));
    }
    let shorter = put_rope(&*origin, segments).await;
    let stack = Stack::new(origin, false, CacheOptions::default()).await;
    let whole = read(&stack.ropes, &path, ranged(0..file.len() as u64, None)).await;
    assert!(whole.unwrap() == file);
    // The same ETags with other sizes: a source that lied once.
    for range in [0..4_000, 4_000..94_000, 94_000..96_000] {
        let got = read(&stack.ropes, &shorter, ranged(range.clone(), None)).await;
        assert!(
            matches!(got, Err(Error::Precondition { .. })),
            "{range:?}: {got:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_of_an_object_of_another_size_is_not_joined() {
    // In one block, and in two of which the first is as long in both.
    for bytes in [5_000, 100_000, 1_500_000] {
        for is_listed_wrongly_first in [false, true] {
            let origin = memory();
            let (path, file) = put_artifacts(&*origin, &[bytes]).await;
            let found = listed(&*origin, &source_path("a/0")).await;
            // The same ETag with another size.
            let object = vdt_rope::SourceObject {
                size: found.size - 100,
                ..found
            };
            let reference = vdt_rope::Reference::whole(object.into());
            let shorter = put_rope(&*origin, [vdt_rope::Segment::Reference(reference)]).await;
            let slow = Altered::new(origin, "sources").delaying(Duration::from_secs(1));
            let stack = Stack::new(Arc::new(slow), false, CacheOptions::default()).await;
            let whole = 4..bytes as u64 + 4;
            let read = async |path: &Path, range: Range<u64>, is_first: bool| {
                // The other one's fetch is under way then.
                tokio::time::sleep(Duration::from_millis(if is_first { 0 } else { 500 })).await;
                read(&stack.ropes, path, ranged(range, None)).await
            };
            let (right, wrong) = tokio::join!(
                read(&path, whole, !is_listed_wrongly_first),
                read(&shorter, 0..bytes as u64 - 100, is_listed_wrongly_first),
            );
            let case = (bytes, is_listed_wrongly_first);
            assert!(right.unwrap() == file[4..], "{case:?}");
            assert!(
                matches!(wrong, Err(Error::Precondition { .. })),
                "{case:?}: {wrong:?}"
            );
        }
    }
}
