//! What is shown, what is hidden, and what each request touches below.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use vdt_rope::stored::{Index, Tail};
use vdt_rope::testing::{Recording, Request};
use vdt_rope::{FileName, ReadContext, RopeStore, RopeStoreOptions, Segment, encode};

use crate::generate::{content, materialise, rope as any_rope};
use crate::origin::*;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

/// Puts every object of a random rope and refers to what was put.
async fn resident(store: &dyn ObjectStore, rope: &vdt_rope::Rope) -> vdt_rope::Rope {
    let mut segments = Vec::new();
    for (number, segment) in rope.segments().iter().enumerate() {
        segments.push(match segment {
            Segment::Reference(reference) => {
                let bytes = content(&reference.object, 0..reference.object.size);
                let mut object = (*put_source(store, &format!("o/{number}"), bytes).await).clone();
                if reference.object.etag.is_none() {
                    object.etag = None;
                }
                part(&Arc::new(object), reference.range())
            }
            other => other.clone(),
        });
    }
    segments.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_range_through_the_store_is_that_slice_of_the_file(
        random in any_rope(),
        ends in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..5),
    ) {
        let expected = materialise(random.segments());
        prop_assume!(!expected.is_empty());
        block_on(async {
            let origin = memory();
            let rope = resident(&*origin, &random).await;
            let path = put_rope(&*origin, &rope).await;
            let store = over(origin);
            let whole = store.get(&path).await.unwrap();
            assert_eq!(whole.meta.size, expected.len() as u64);
            assert_eq!(whole.bytes().await.unwrap(), expected);
            let mut ranges = Vec::new();
            for (a, b) in ends {
                let (a, b) = (a.index(expected.len()), b.index(expected.len()));
                let range = a.min(b) as u64..a.max(b) as u64 + 1;
                let got = read(&store, &path, range.clone()).await.unwrap();
                assert_eq!(got, &expected[range.start as usize..range.end as usize]);
                ranges.push(range);
            }
            let parts = store.get_ranges(&path, &ranges).await.unwrap();
            for (range, part) in ranges.into_iter().zip(parts) {
                assert_eq!(part, &expected[range.start as usize..range.end as usize]);
            }
        });
    }
}

#[tokio::test]
async fn ranges_of_every_form_are_answered() {
    let origin = memory();
    let (path, file) = put_artifacts(&*origin, 3, 1_000).await;
    let store = over(origin);
    let size = file.len() as u64;
    for (range, expected) in [
        (GetRange::Bounded(0..4), 0..4),
        (GetRange::Bounded(1_000..1_010), 1_000..1_010),
        (GetRange::Bounded(10..size + 5), 10..size),
        (GetRange::Offset(size - 1), size - 1..size),
        (GetRange::Suffix(8), size - 8..size),
        (GetRange::Suffix(size + 1), 0..size),
    ] {
        let options = GetOptions {
            range: Some(range),
            ..GetOptions::default()
        };
        let result = store.get_opts(&path, options).await.unwrap();
        assert_eq!(
            (result.range.clone(), result.meta.size),
            (expected.clone(), size)
        );
        assert_eq!(
            result.bytes().await.unwrap(),
            &file[expected.start as usize..expected.end as usize]
        );
    }
    for range in [GetRange::Bounded(size..size + 1), GetRange::Offset(size)] {
        let options = GetOptions {
            range: Some(range),
            ..GetOptions::default()
        };
        assert!(matches!(
            store.get_opts(&path, options).await,
            Err(Error::Generic { .. })
        ));
    }
}

#[tokio::test]
async fn a_row_group_touches_its_artifacts_once_and_its_frames_only() {
    let origin = Arc::new(Recording::new(memory()));
    let (path, file) = put_artifacts(&*origin, 2_000, 100).await;
    let store = over(Arc::clone(&origin) as _);
    origin.take();
    let range = 104 * 1_000..104 * 1_003 - 50;
    let got = read(&store, &path, range.clone()).await.unwrap();
    assert_eq!(got, &file[range.start as usize..range.end as usize]);

    let requests = origin.take();
    let (log, sources): (Vec<_>, Vec<_>) = requests
        .into_iter()
        .partition(|request| request.is_read_below("log/"));
    let wanted = |number: usize, range| {
        let etag = (number).to_string();
        Request::get(&format!("sources/{SOURCE}/a/{number}"), range, Some(&etag))
    };
    // InMemory numbers its writes, and these tags are those of the listing.
    assert_eq!(
        sources,
        [
            wanted(1_000, 0..100),
            wanted(1_001, 0..100),
            wanted(1_002, 0..50)
        ]
    );
    assert_eq!(log.len(), 2, "the tail, and one read of frames: {log:?}");

    for (artifact, expected) in [(1_000, 0), (1_900, 1)] {
        let range = 104 * artifact..104 * (artifact + 1);
        read(&store, &path, range).await.unwrap();
        let requests = origin.take();
        let log = requests
            .iter()
            .filter(|request| request.is_read_below("log/"));
        assert_eq!(
            log.count(),
            expected,
            "the index is known now, and one frame"
        );
    }
}

#[tokio::test]
async fn a_read_tells_where_in_the_file_it_belongs() {
    let origin = Arc::new(Recording::new(memory()));
    let (path, file) = put_artifacts(&*origin, 2_000, 100).await;
    let store = over(Arc::clone(&origin) as _);
    let range = 104 * 1_000 + 50..104 * 1_002;
    read(&store, &path, range.clone()).await.unwrap();

    let contexts = origin.take_contexts();
    let told: Vec<_> = contexts
        .iter()
        .map(|context| (context.at, &*context.object.key, context.body.clone()))
        .collect();
    let expected = [
        (104 * 1_000 + 50, "a/1000", range.clone()),
        (104 * 1_001 + 4, "a/1001", range),
    ];
    assert_eq!(told, expected);

    let ReadContext {
        file: shown,
        at,
        map,
        ..
    } = &contexts[0];
    assert_eq!((&**shown, map.bytes()), (&path, file.len() as u64));
    origin.take();
    let frame = map.frame(*at).await.unwrap().unwrap();
    assert!(origin.take().is_empty(), "the frame was read for the body");
    assert!(frame.covers().contains(at));
    for (at, reference) in frame.references() {
        assert_eq!((at - 4) % 104, 0);
        assert_eq!(*reference.object.key, format!("a/{}", at / 104));
        assert_eq!((reference.offset, reference.length), (0, 100));
    }
    let next = map.frame(frame.covers().end).await.unwrap().unwrap();
    assert_eq!(next.covers().start, frame.covers().end);
    assert!(map.frame(file.len() as u64).await.unwrap().is_none());
}

#[tokio::test]
async fn a_footer_read_touches_no_source_and_one_frame() {
    let origin = Arc::new(Recording::new(memory()));
    let (path, file) = put_artifacts(&*origin, 2_000, 10).await;
    let store = over(Arc::clone(&origin) as _);
    origin.take();
    let before = origin.bytes();
    let size = file.len() as u64;
    assert_eq!(
        read(&store, &path, size - 8..size).await.unwrap(),
        b"\0\0footer"
    );
    let requests = origin.take();
    assert!(
        requests.iter().all(|request| request.is_read_below("log/")),
        "{requests:?}"
    );
    assert_eq!(
        requests.len(),
        1,
        "the frames after the padding lie in the tail: {requests:?}"
    );
    assert!(origin.bytes() - before <= Index::TAIL_BYTES_HINT);
}

#[tokio::test]
async fn adjacent_references_to_one_object_are_one_read() {
    let origin = Arc::new(Recording::new(memory()));
    let object = put_source(&*origin, "big", vec![7u8; 1_000]).await;
    let path = put_rope(
        &*origin,
        &rope([part(&object, 0..300), part(&object, 300..900)]),
    )
    .await;
    let store = over(Arc::clone(&origin) as _);
    origin.take();
    read(&store, &path, 100..800).await.unwrap();
    let requests = origin.take();
    let sources: Vec<_> = requests
        .iter()
        .filter(|request| request.is_read_below("sources/"))
        .collect();
    assert_eq!(
        sources,
        [&Request::get(
            &format!("sources/{SOURCE}/big"),
            100..800,
            object.etag.as_deref()
        )]
    );
}

#[tokio::test]
async fn head_and_list_read_no_rope_byte() {
    let origin = Arc::new(Recording::new(memory()));
    let (path, file) = put_artifacts(&*origin, 3, 10).await;
    let name = FileName::parse_parquet_file(path.filename().unwrap()).unwrap();
    let store = over(Arc::clone(&origin) as _);
    origin.take();
    let before = origin.bytes();

    let head = store.head(&path).await.unwrap();
    assert_eq!(
        (head.size, head.e_tag.clone()),
        (file.len() as u64, Some(name.e_tag()))
    );
    let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&head));
    let level = store
        .list_with_delimiter(Some(&Path::from(TABLE)))
        .await
        .unwrap();
    assert_eq!(level.objects, std::slice::from_ref(&head));
    let after: Vec<_> = store
        .list_with_offset(None, &path)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(after, []);

    assert!(
        origin
            .take()
            .iter()
            .all(|request| !matches!(request, Request::Get { .. }))
    );
    assert_eq!(origin.bytes(), before);
    // And a GET tells the same.
    assert_eq!(store.get(&path).await.unwrap().meta, head);
}

#[tokio::test]
async fn tables_are_shown_and_nothing_else() {
    let origin = memory();
    let (path, _) = put_artifacts(&*origin, 1, 10).await;
    let rope_file = FileName::parse_parquet_file(path.filename().unwrap())
        .unwrap()
        .rope_file();
    for extra in [
        format!("log/{TABLE}/_delta_log/00000000000000000000.json"),
        format!("log/{TABLE}/_delta_log/00000000000000000010.checkpoint.parquet"),
        format!("log/{TABLE}/broken.rope"),
        format!("log/{TABLE}/{}-5.parquet", "0".repeat(32)),
        "log/other/default/t/_delta_log/00000000000000000000.json".into(),
        "store.json".into(),
    ] {
        origin
            .put(&Path::parse(extra).unwrap(), "x".into())
            .await
            .unwrap();
    }
    let store = over(origin);
    let log = format!("{TABLE}/_delta_log");
    let all: Vec<_> = store
        .list(None)
        .map_ok(|meta| meta.location.to_string())
        .try_collect()
        .await
        .unwrap();
    // The names of files hold the time of their sources, so their place among the others varies.
    assert!(all.is_sorted());
    assert_eq!(
        BTreeSet::from_iter(all),
        BTreeSet::from([
            path.to_string(),
            format!("{log}/00000000000000000000.json"),
            format!("{log}/00000000000000000010.checkpoint.parquet"),
            "other/default/t/_delta_log/00000000000000000000.json".into(),
        ])
    );
    let catalogs = store.list_with_delimiter(None).await.unwrap();
    assert_eq!(
        catalogs.common_prefixes,
        [Path::from("main"), Path::from("other")]
    );
    assert_eq!(catalogs.objects, []);

    let commit = Path::parse(format!("{log}/00000000000000000000.json")).unwrap();
    let commit = store.get(&commit).await.unwrap();
    assert_eq!(
        commit.meta.location.as_ref(),
        format!("{log}/00000000000000000000.json")
    );
    assert_eq!(commit.bytes().await.unwrap(), "x");

    for hidden in [
        format!("{TABLE}/{rope_file}"),
        format!("{TABLE}/broken.rope"),
        format!("{TABLE}/{}-5.parquet", "0".repeat(32)),
        format!("sources/{SOURCE}/a/0"),
        format!("../sources/{SOURCE}/a/0"),
        "store.json".into(),
        "nothing".into(),
    ] {
        let hidden = Path::from(hidden);
        assert!(
            matches!(store.get(&hidden).await, Err(Error::NotFound { .. })),
            "{hidden}"
        );
        let Err(Error::NotFound { path, .. }) = store.head(&hidden).await else {
            panic!("{hidden}")
        };
        assert_eq!(path, hidden.as_ref());
    }
}

#[tokio::test]
async fn listings_resume_after_any_offset() {
    let origin = memory();
    for number in 0..20u32 {
        let segment = literal(number.to_be_bytes().to_vec());
        put_rope(&*origin, &rope([segment])).await;
    }
    let store = over(origin);
    let all: Vec<_> = store
        .list(None)
        .map_ok(|meta| meta.location)
        .try_collect()
        .await
        .unwrap();
    assert!(all.is_sorted() && all.len() == 20);
    for (number, offset) in all.iter().enumerate() {
        let after: Vec<_> = store
            .list_with_offset(None, offset)
            .map_ok(|meta| meta.location)
            .try_collect()
            .await
            .unwrap();
        assert_eq!(after, &all[number + 1..]);
        for (suffix, skipped) in [
            (".pa", 0),
            (".parquet0", 1),
            (".q", 1),
            (".s", 1),
            (".a", 0),
        ] {
            let offset = Path::from(offset.as_ref().replace(".parquet", suffix));
            let prefix = Path::from(TABLE);
            let after = store
                .list_with_offset(Some(&prefix), &offset)
                .map_ok(|meta| meta.location);
            assert_eq!(
                after.try_collect::<Vec<_>>().await.unwrap(),
                &all[number + skipped..],
                "{suffix}"
            );
        }
    }
}

#[tokio::test]
async fn writes_are_refused() {
    let origin = memory();
    let (path, _) = put_artifacts(&*origin, 1, 10).await;
    let store = over(origin);
    let is_refused = |error| matches!(error, Error::PermissionDenied { .. });
    let other = Path::from("main/default/papers/new");
    assert!(is_refused(
        store.put(&path, Bytes::new().into()).await.unwrap_err()
    ));
    assert!(is_refused(store.put_multipart(&path).await.unwrap_err()));
    assert!(is_refused(store.delete(&path).await.unwrap_err()));
    assert!(is_refused(store.copy(&path, &other).await.unwrap_err()));
    assert!(is_refused(store.rename(&path, &other).await.unwrap_err()));
    assert!(chain(&store.delete(&path).await.unwrap_err()).contains("read-only"));
    assert!(store.head(&path).await.is_ok());
}

#[tokio::test]
async fn conditions_are_checked_against_the_shown_file() {
    let origin = memory();
    let (path, _) = put_artifacts(&*origin, 1, 10).await;
    let store = over(origin);
    let tag = store.head(&path).await.unwrap().e_tag;
    for head in [false, true] {
        let options = |if_match: Option<&str>, if_none_match: Option<String>| GetOptions {
            if_match: if_match.map(Into::into),
            if_none_match,
            head,
            ..GetOptions::default()
        };
        assert!(
            store
                .get_opts(&path, options(tag.as_deref(), None))
                .await
                .is_ok()
        );
        let refused = store.get_opts(&path, options(Some("other"), None)).await;
        assert!(matches!(refused, Err(Error::Precondition { .. })));
        let same = store.get_opts(&path, options(None, tag.clone())).await;
        assert!(matches!(same, Err(Error::NotModified { .. })));
    }
}

#[tokio::test]
async fn a_damaged_rope_is_refused_and_named() {
    let origin = memory();
    let (path, file) = put_artifacts(&*origin, 500, 10).await;
    let name = FileName::parse_parquet_file(path.filename().unwrap()).unwrap();
    let rope_path = Path::parse(format!("log/{TABLE}/{}", name.rope_file())).unwrap();
    let good = origin.get(&rope_path).await.unwrap().bytes().await.unwrap();
    let Ok(Tail::Index(index)) = Index::parse(&good, good.len() as u64) else {
        panic!("a rope")
    };
    assert!(index.segment_frames().len() > 1);
    let range = 0..file.len() as u64;

    // A flipped bit in the first frame, the index, the trailer; half a file; another rope under this name; no rope.
    let other = encode(&rope([literal("other")]), b"").bytes;
    let cases = [8, good.len() - 60, good.len() - 50].map(|at| {
        let mut bytes = good.to_vec();
        bytes[at] ^= 4;
        bytes
    });
    let cases = cases.into_iter().chain([
        good[..good.len() / 2].to_vec(),
        other,
        Vec::new(),
        vec![0; 100],
    ]);
    for (number, bytes) in cases.enumerate() {
        origin.put(&rope_path, bytes.into()).await.unwrap();
        let error = read(&over(origin.clone()), &path, range.clone())
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::Generic { .. }),
            "case {number}: {error}"
        );
        let text = chain(&error);
        assert!(text.contains(path.as_ref()), "case {number}: {text}");
        assert!(number != 0 || text.contains("frame 0"), "{text}");
    }

    // A store that knew the good index, and has to read frames, recovers when the rope is good again.
    let options = RopeStoreOptions {
        frame_cache_bytes: 0,
        ..RopeStoreOptions::default()
    };
    let store = RopeStore::new(origin.clone(), options);
    origin.put(&rope_path, good.clone().into()).await.unwrap();
    assert_eq!(read(&store, &path, range.clone()).await.unwrap(), file);
    let mut bad = good.to_vec();
    bad[8] ^= 4;
    origin.put(&rope_path, bad.into()).await.unwrap();
    assert!(read(&store, &path, range.clone()).await.is_err());
    origin.put(&rope_path, good.into()).await.unwrap();
    assert_eq!(read(&store, &path, range).await.unwrap(), file);
}

#[tokio::test]
async fn a_folder_is_an_origin_too() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
    let (path, file) = put_artifacts(&*origin, 20, 30_000).await;
    let store = over(origin.clone());
    assert_eq!(
        read(&store, &path, 0..file.len() as u64).await.unwrap(),
        file
    );
    assert_eq!(
        read(&store, &path, 50_000..70_000).await.unwrap(),
        &file[50_000..70_000]
    );
    let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
    assert_eq!(listed, [store.head(&path).await.unwrap()]);

    origin
        .put(&source_path("a/1"), "changed".into())
        .await
        .unwrap();
    assert!(matches!(
        read(&store, &path, 30_004..30_010).await,
        Err(Error::Precondition { .. })
    ));
}
