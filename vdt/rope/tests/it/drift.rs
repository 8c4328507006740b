//! Sources that change, lie or break: a clean error, never a wrong byte.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt};
use vdt_rope::testing::{Altered, with_body};
use vdt_rope::{DriftReason, SourceObject};

use crate::origin::*;

/// A file `head`, the object, `tail`, where the object is as `change` lists it.
async fn file_of(
    store: &dyn ObjectStore,
    content: &[u8],
    change: impl FnOnce(&mut SourceObject),
) -> (Path, Vec<u8>) {
    let mut object = (*put_source(store, "k", content.to_vec()).await).clone();
    change(&mut object);
    let path = put_rope(
        store,
        &rope([literal("head"), whole(&Arc::new(object)), literal("tail")]),
    )
    .await;
    (path, [b"head", content, b"tail"].concat())
}

fn all(file: &[u8]) -> std::ops::Range<u64> {
    0..file.len() as u64
}

#[tokio::test]
async fn a_changed_source_fails_before_the_first_byte_and_is_told() {
    let origin = memory();
    let (path, file) = file_of(&*origin, b"content", |_| {}).await;
    let (store, drifts) = watched(origin.clone());
    assert_eq!(read(&store, &path, all(&file)).await.unwrap(), file);
    assert_eq!(drifts.lock().unwrap().len(), 0);

    origin
        .put(&source_path("k"), "CONTENT".into())
        .await
        .unwrap();
    let error = store.get(&path).await.unwrap_err();
    assert!(matches!(error, Error::Precondition { .. }), "{error}");
    assert!(
        chain(&error).contains("source object k of source"),
        "{error}"
    );
    let drift = drifts.lock().unwrap().pop().unwrap();
    assert_eq!(
        (drift.location, &*drift.source, &*drift.key),
        (path.clone(), SOURCE, "k")
    );
    assert_eq!(drift.reason, DriftReason::Refused);
    // What does not need the source is still served.
    assert_eq!(read(&store, &path, 0..4).await.unwrap(), b"head");
    assert_eq!(drifts.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_deleted_source_is_a_changed_one() {
    let origin = memory();
    let (path, _) = file_of(&*origin, b"content", |_| {}).await;
    origin.delete(&source_path("k")).await.unwrap();
    let (store, drifts) = watched(origin);
    assert!(matches!(
        store.get(&path).await,
        Err(Error::Precondition { .. })
    ));
    assert_eq!(drifts.lock().unwrap()[0].reason, DriftReason::Gone);
}

#[tokio::test]
async fn a_source_that_ignores_if_match_is_compared_all_the_same() {
    let origin = memory();
    let (path, _) = file_of(&*origin, b"content", |_| {}).await;
    type Alteration = fn(&mut object_store::GetResult);
    let cases: [(Alteration, DriftReason); 3] = [
        (
            |result| result.meta.e_tag = Some("\"other\"".into()),
            DriftReason::Etag {
                listed: "0".into(),
                found: Some("other".into()),
            },
        ),
        (
            |result| result.meta.e_tag = None,
            DriftReason::Etag {
                listed: "0".into(),
                found: None,
            },
        ),
        (
            |result| result.meta.size += 1,
            DriftReason::Size {
                listed: 7,
                found: 8,
            },
        ),
    ];
    for (lie, reason) in cases {
        let lying = Altered::new(origin.clone(), "sources").altering(move |mut result| {
            lie(&mut result);
            result
        });
        let (store, drifts) = watched(Arc::new(lying));
        assert!(matches!(
            store.get(&path).await,
            Err(Error::Precondition { .. })
        ));
        assert_eq!(drifts.lock().unwrap()[0].reason, reason);
    }
    // Quotes are no part of a tag.
    let quoting = Altered::new(origin, "sources").altering(|mut result| {
        result.meta.e_tag = result.meta.e_tag.map(|tag| format!("\"{tag}\""));
        result
    });
    assert!(over(Arc::new(quoting)).get(&path).await.is_ok());
}

#[tokio::test]
async fn without_an_etag_size_and_time_are_compared() {
    let origin = memory();
    let (path, file) = file_of(&*origin, b"content", |object| object.etag = None).await;
    let (store, _) = watched(origin.clone());
    assert_eq!(read(&store, &path, all(&file)).await.unwrap(), file);

    let (other_time, _) = file_of(&*origin, b"content", |object| {
        object.etag = None;
        object.last_modified_ms -= 1;
    })
    .await;
    let (store, drifts) = watched(origin.clone());
    assert!(matches!(
        store.get(&other_time).await,
        Err(Error::Precondition { .. })
    ));
    assert!(matches!(
        drifts.lock().unwrap()[0].reason,
        DriftReason::LastModified { .. }
    ));

    // Shrunk so far that the range lies past its end: the source can only say that the range is wrong.
    let object = Arc::new(SourceObject {
        etag: None,
        ..(*put_source(&*origin, "s", vec![1u8; 100]).await).clone()
    });
    let path = put_rope(&*origin, &rope([part(&object, 50..100)])).await;
    origin.put(&source_path("s"), "short".into()).await.unwrap();
    let (store, drifts) = watched(origin.clone());
    assert!(matches!(
        store.get(&path).await,
        Err(Error::Precondition { .. })
    ));
    assert_eq!(drifts.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_source_overwritten_while_it_streams_is_never_mixed() {
    let origin = memory();
    let (path, file) = file_of(&*origin, &[1; 10_000], |_| {}).await;
    let overwritten = || Error::Precondition {
        path: "k".into(),
        source: "changed under the reader".into(),
    };
    let breaking = Altered::new(origin, "sources").breaking(6_000, overwritten);
    let (store, drifts) = watched(Arc::new(breaking));
    let mut body = store.get(&path).await.unwrap().into_stream();
    let mut got = Vec::new();
    let error = loop {
        match body.next().await.unwrap() {
            Ok(chunk) => got.extend_from_slice(&chunk),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Precondition { .. }));
    assert_eq!(got, &file[..got.len()]);
    assert!(got.len() <= 6_004);
    assert!(
        body.next().await.is_none() && body.next().await.is_none(),
        "fused after an error"
    );
    assert_eq!(drifts.lock().unwrap()[0].reason, DriftReason::Refused);
}

#[tokio::test]
async fn fewer_bytes_than_promised_are_an_error() {
    let origin = memory();
    let (path, file) = file_of(&*origin, &[1; 100], |_| {}).await;
    for bytes in [0, 1, 99] {
        let (store, drifts) = watched(Arc::new(
            Altered::new(origin.clone(), "sources").cutting(bytes),
        ));
        let error = read(&store, &path, all(&file)).await.unwrap_err();
        assert!(
            chain(&error).contains(&format!("sent {bytes} bytes where it promised 100")),
            "{}",
            chain(&error)
        );
        assert_eq!(drifts.lock().unwrap().len(), 0);
    }
}

#[tokio::test]
async fn more_bytes_than_promised_are_an_error_before_the_end_is_passed_on() {
    let origin = memory();
    let object = put_source(&*origin, "k", vec![1u8; 100]).await;
    // The reference is the last segment: a client that counts would never look past it.
    let path = put_rope(&*origin, &rope([literal("head"), whole(&object)])).await;
    let store = over(Arc::new(Altered::new(origin, "sources").appending(b"x")));
    let mut passed = 0;
    let mut body = store.get(&path).await.unwrap().into_stream();
    let error = loop {
        match body.next().await.unwrap() {
            Ok(chunk) => passed += chunk.len(),
            Err(error) => break error,
        }
    };
    assert!(passed < 104, "{passed}");
    assert!(
        chain(&error).contains("sent 101 bytes or more"),
        "{}",
        chain(&error)
    );
}

#[tokio::test]
async fn a_source_that_ignores_the_range_is_refused() {
    let origin = memory();
    let object = put_source(&*origin, "k", vec![1u8; 100]).await;
    let path = put_rope(&*origin, &rope([part(&object, 10..20)])).await;
    let deaf = Altered::new(origin, "sources").altering(|mut result| {
        result.range = 0..100;
        with_body(result, |_| {
            futures::stream::iter([Ok(Bytes::from(vec![1; 100]))]).boxed()
        })
    });
    let error = over(Arc::new(deaf)).get(&path).await.unwrap_err();
    assert!(
        chain(&error).contains("read at 0..100 where 10..20"),
        "{}",
        chain(&error)
    );
}

#[tokio::test]
async fn a_failing_source_is_named_and_no_drift() {
    let origin = memory();
    let (path, file) = file_of(&*origin, &[1; 100], |_| {}).await;
    let down = || Error::Generic {
        store: "S3",
        source: "connection refused".into(),
    };
    let failing = Altered::new(origin.clone(), "sources").failing(move |_, _| Some(down()));
    let (store, drifts) = watched(Arc::new(failing));
    let error = store.get(&path).await.unwrap_err();
    assert!(matches!(error, Error::Generic { .. }));
    assert!(
        chain(&error).contains("source object k of source")
            && chain(&error).contains("connection refused")
    );
    assert_eq!(drifts.lock().unwrap().len(), 0);

    let breaking = Altered::new(origin, "sources").breaking(50, down);
    let (store, drifts) = watched(Arc::new(breaking));
    assert!(matches!(
        read(&store, &path, all(&file)).await,
        Err(Error::Generic { .. })
    ));
    assert_eq!(drifts.lock().unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_changed_source_among_many_never_gives_a_wrong_byte() {
    let origin = memory();
    let (path, file) = put_artifacts(&*origin, 100, 50).await;
    origin
        .put(&source_path("a/60"), vec![9u8; 50].into())
        .await
        .unwrap();
    // A source that answers at once is read ahead so far that the GET itself fails.
    let (store, drifts) = watched(origin.clone());
    assert!(matches!(
        store.get(&path).await,
        Err(Error::Precondition { .. })
    ));
    assert_eq!(drifts.lock().unwrap().len(), 1);

    let slow = Altered::new(origin, "sources").delaying(Duration::from_millis(1));
    let (store, drifts) = watched(Arc::new(slow));
    let mut body = store.get(&path).await.unwrap().into_stream();
    let mut got = Vec::new();
    let error = loop {
        match body.next().await.unwrap() {
            Ok(chunk) => got.extend_from_slice(&chunk),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Precondition { .. }));
    assert_eq!(
        got,
        &file[..60 * 54 + 4],
        "all that comes before it, nothing of it"
    );
    assert_eq!(drifts.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_that_no_path_holds_is_an_error() {
    let origin = memory();
    let mut object = (*put_source(&*origin, "k", "x").await).clone();
    object.key = "a//b".into();
    let path = put_rope(&*origin, &rope([whole(&Arc::new(object))])).await;
    let error = over(origin).get(&path).await.unwrap_err();
    assert!(chain(&error).contains("\"a//b\""), "{}", chain(&error));
}
