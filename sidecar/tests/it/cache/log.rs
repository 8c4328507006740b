//! Ropes and log files: known by name.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use futures::{StreamExt, TryStreamExt};
use object_store::{GetOptions, GetRange, GetResult, GetResultPayload, ObjectStoreExt, path::Path};
use vdt_rope::{
    RopeStore, RopeStoreOptions,
    testing::{Altered, Recording, Request},
};
use vdt_sidecar::{
    cache::CacheOptions,
    tiers::{DiskOptions, Tiers, TiersOptions},
};

use super::fixture::{
    Stack, TABLE, content, generic, log_path as log, memory, put_artifacts, ranged, read,
};

fn suffix(bytes: u64) -> GetOptions {
    GetOptions {
        range: Some(GetRange::Suffix(bytes)),
        ..GetOptions::default()
    }
}

fn rope() -> Path {
    Path::parse(format!("log/{TABLE}/{}-7.rope", "ab".repeat(16))).unwrap()
}

#[tokio::test]
async fn an_object_is_asked_for_once_whatever_is_wanted_of_it_first() {
    let first = [
        GetOptions::default(),
        suffix(8),
        ranged(3..20, None),
        ranged(99_000..99_001, None),
    ];
    let commit = || log("00000000000000000003.json");
    let both = first
        .into_iter()
        .flat_map(|options| [(commit(), options.clone()), (rope(), options)]);
    for (number, (path, options)) in both.enumerate() {
        let origin = memory();
        let bytes = content(1, 100_000);
        origin.put(&path, bytes.clone().into()).await.unwrap();
        let meta = origin.head(&path).await.unwrap();
        let stack = Stack::new(origin, false, CacheOptions::default()).await;
        let got = read(&stack.cache, &path, options).await.unwrap();
        assert!(!got.is_empty());
        stack.settle().await;
        assert_eq!(stack.origin.take().len(), 1, "{number}");
        assert_eq!(
            read(&stack.cache, &path, GetOptions::default())
                .await
                .unwrap(),
            bytes
        );
        assert_eq!(
            read(&stack.cache, &path, suffix(8)).await.unwrap(),
            &bytes[99_992..]
        );
        assert_eq!(
            read(&stack.cache, &path, suffix(1 << 40)).await.unwrap(),
            bytes
        );
        let head = stack.cache.head(&path).await.unwrap();
        assert_eq!((head.size, &head.e_tag), (meta.size, &meta.e_tag));
        assert_eq!(
            head.last_modified.timestamp_millis(),
            meta.last_modified.timestamp_millis()
        );
        assert!(
            stack
                .cache
                .get_range(&path, 100_000..100_001)
                .await
                .is_err()
        );
        // Whether a commit is still the same one is the listing's to tell.
        let asked = stack.origin.take();
        let is_head = |request: &Request| matches!(request, Request::Head { .. });
        assert!(asked.iter().all(is_head), "{asked:?}");
        assert_eq!(asked.is_empty(), path == rope());
    }
}

#[tokio::test]
async fn large_and_empty_objects_are_whole_too() {
    for bytes in [0, 1, 4095, 4096, 4097, 100_000] {
        for number in 0..4 {
            let origin = memory();
            let (path, bytes) = (
                log("00000000000000000003.checkpoint.parquet"),
                content(1, bytes),
            );
            origin.put(&path, bytes.clone().into()).await.unwrap();
            let options = CacheOptions {
                block_bytes: 4096,
                whole_bytes: 4096,
                segment_blocks: 3,
                ..CacheOptions::default()
            };
            let stack = Stack::new(origin, false, options).await;
            let first = match number {
                0 => GetOptions::default(),
                1 => suffix(100),
                2 => suffix(10_000),
                _ => ranged(0..1, None),
            };
            if !bytes.is_empty() {
                read(&stack.cache, &path, first).await.unwrap();
            }
            for _ in 0..2 {
                let got = read(&stack.cache, &path, GetOptions::default())
                    .await
                    .unwrap();
                assert!(got == bytes, "{} {number}", bytes.len());
            }
            let got = stack.cache.get(&path).await.unwrap();
            assert_eq!(
                (got.range, got.meta.size),
                (0..bytes.len() as u64, bytes.len() as u64)
            );
        }
    }
}

#[tokio::test]
async fn what_may_change_is_the_origins_to_answer() {
    let origin = memory();
    let stack = Stack::new(Arc::clone(&origin) as _, false, CacheOptions::default()).await;
    for file in ["_last_checkpoint", "00000000000000000003.crc"] {
        for text in ["one", "two"] {
            origin.put(&log(file), text.into()).await.unwrap();
            let got = read(&stack.cache, &log(file), GetOptions::default())
                .await
                .unwrap();
            assert_eq!(got, text.as_bytes());
        }
    }
    let missing = log("00000000000000000009.json");
    for _ in 0..2 {
        let error = stack.cache.get(&missing).await.unwrap_err();
        assert!(
            matches!(error, object_store::Error::NotFound { .. }),
            "{error}"
        );
        assert!(stack.cache.head(&missing).await.is_err());
    }
    origin.put(&missing, "now".into()).await.unwrap();
    assert_eq!(stack.cache.head(&missing).await.unwrap().size, 3);
    origin.put(&rope(), "now".into()).await.unwrap();
    assert_eq!(stack.cache.head(&rope()).await.unwrap().size, 3);
    stack.origin.take();
    assert_eq!(stack.cache.head(&rope()).await.unwrap().size, 3);
    assert!(stack.origin.take().is_empty(), "known since the first HEAD");
}

#[tokio::test]
async fn the_end_of_a_rope_brings_what_is_kept_of_it() {
    const MIB: u64 = 1 << 20;
    for (bytes, first, all) in [
        (1_000_000, 1_000_000, 1_000_000),
        (1_300_000, 1_300_000, 1_300_000),
        (4 * MIB, 2 * MIB, 4 * MIB),
        // What comes of a block in the middle is not kept.
        (4 * MIB + 5, 2 * MIB, 9 * MIB / 2),
    ] {
        let origin = memory();
        origin
            .put(&rope(), content(1, bytes as usize).into())
            .await
            .unwrap();
        let stack = Stack::new(origin, false, CacheOptions::default()).await;
        read(&stack.cache, &rope(), suffix(8_192)).await.unwrap();
        stack.settle().await;
        assert_eq!(stack.origin.bytes(), first);
        let whole = read(&stack.cache, &rope(), GetOptions::default()).await;
        assert!(whole.unwrap() == content(1, bytes as usize));
        assert_eq!(stack.origin.bytes(), all);
    }
}

#[tokio::test]
async fn a_warm_up_loads_the_newest_ropes_that_memory_holds() {
    let origin = memory();
    let rope = |number: usize| Path::parse(format!("log/{TABLE}/{number:032x}-7.rope")).unwrap();
    for number in 0..40 {
        let bytes = content(number, 200_000);
        origin.put(&rope(number), bytes.into()).await.unwrap();
    }
    let options = TiersOptions {
        memory_bytes: 16 << 20,
        ..TiersOptions::default()
    };
    let tiers = Arc::new(Tiers::open(options).await.unwrap());
    let stack = Stack::over(origin, tiers, false, CacheOptions::default());
    let report = stack.cache.warm(&[Path::from(TABLE)]).await;
    assert_eq!((report.ropes, report.failed), (40, 0));
    // Three quarters of 4 MiB.
    assert_eq!((report.loaded, report.bytes), (15, 15 * 200_000));
    stack.settle().await;
    stack.origin.take();
    for number in 25..40 {
        let got = read(&stack.cache, &rope(number), GetOptions::default()).await;
        assert!(got.unwrap() == content(number, 200_000));
    }
    assert!(stack.origin.take().is_empty());
}

#[tokio::test]
async fn a_warm_table_is_read_while_the_origin_is_away_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let options = || TiersOptions {
        memory_bytes: 64 << 20,
        disk: Some(DiskOptions::new(folder.path(), 256 << 20)),
    };
    let origin = memory();
    let (path, file) = put_artifacts(&*origin, &[5_000; 100]).await;
    let tiers = Arc::new(Tiers::open(options()).await.unwrap());
    let stack = Stack::over(origin, Arc::clone(&tiers), false, CacheOptions::default());
    let report = stack.cache.warm(&[Path::from(TABLE)]).await;
    assert_eq!((report.ropes, report.loaded, report.failed), (1, 1, 0));
    assert!(stack.asked().is_empty(), "no artifact is read");
    let whole = || ranged(0..file.len() as u64, None);
    assert!(read(&stack.ropes, &path, whole()).await.unwrap() == file);
    stack.settle().await;
    stack.cache.close().await;
    drop(stack);
    tiers.close().await;
    drop(tiers);

    let away = Altered::new(memory(), "").failing(|_, _| Some(generic("away")));
    let away = Arc::new(Recording::new(Arc::new(away)));
    let tiers = Arc::new(Tiers::open(options()).await.unwrap());
    let stack = Stack::over(
        Arc::clone(&away) as _,
        Arc::clone(&tiers),
        false,
        CacheOptions::default(),
    );
    assert!(read(&stack.ropes, &path, whole()).await.unwrap() == file);
    let asked = away.take();
    assert!(
        !asked
            .iter()
            .any(|request| matches!(request, Request::Get { .. })),
        "{asked:?}"
    );
    assert!(stack.cache.report().hits.disk > 0);
    let missing = log("00000000000000000009.json");
    let error = stack.cache.get(&missing).await.unwrap_err();
    assert!(error.to_string().contains("away"), "{error}");
    tiers.close().await;
}

#[tokio::test]
async fn a_damaged_rope_is_read_again_and_its_entry_let_go() {
    let origin = memory();
    let (path, file) = put_artifacts(&*origin, &[5_000; 20]).await;
    let is_damaged = Arc::new(AtomicBool::new(true));
    let once = Arc::clone(&is_damaged);
    let damaged = Altered::new(origin, "log").altering(move |result| {
        if !once.swap(false, SeqCst) {
            return result;
        }
        let (meta, range, attributes) = (
            result.meta.clone(),
            result.range.clone(),
            result.attributes.clone(),
        );
        let body = result.into_stream().map_ok(|chunk| {
            let mut chunk = chunk.to_vec();
            for byte in chunk.iter_mut().rev().take(200) {
                *byte ^= 1;
            }
            chunk.into()
        });
        GetResult {
            payload: GetResultPayload::Stream(body.boxed()),
            meta,
            range,
            attributes,
        }
    });
    let stack = Stack::new(Arc::new(damaged), false, CacheOptions::default()).await;
    // Each reader begins without an index of its own.
    let asked = async || {
        let ropes = RopeStore::new(Arc::new(stack.cache.clone()), RopeStoreOptions::default());
        let got = read(&ropes, &path, ranged(0..100, None)).await.unwrap();
        assert_eq!(got, &file[..100]);
        stack.settle().await;
        let requests = stack.origin.take().into_iter();
        requests
            .filter(|request| request.is_read_below("log/"))
            .count()
    };
    assert_eq!(asked().await, 2, "once into the cache, once past it");
    assert_eq!(asked().await, 1, "into the cache");
    assert_eq!(asked().await, 0);
    assert!(!is_damaged.load(SeqCst));
}
