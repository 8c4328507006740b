//! What becomes of a source's answer on its way to the front door, and what is logged of it.

use std::{
    convert::Infallible,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use object_store::{Attributes, GetResultPayload, ObjectMeta, ObjectStore, memory::InMemory};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tower::{ServiceExt, service_fn};
use tracing::Instrument;
use vdt_dialect::{DataSurface, Edge, HttpMetrics, ServeOptions};
use vdt_rope::RopeStoreOptions;
use vdt_sidecar::link::{OriginClient, Socket};
use vdt_store::{OpenMode, Origin, StateStore};

use super::*;
use crate::{
    late_origin::LateOrigin,
    socket::{SocketService, bind},
    tables::Tables,
};

/// Keeps what is logged at WARN.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Kept {
    fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let kept = Self::default();
        let writer = kept.clone();
        let logged = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (kept, tracing::subscriber::set_default(logged))
    }

    /// Lines since the last question.
    fn lines(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock());
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

fn denied(path: &str) -> Error {
    Error::PermissionDenied {
        path: path.to_owned(),
        source: "403 Forbidden: AccessDenied of kms:Decrypt".into(),
    }
}

#[tokio::test(start_paused = true)]
async fn why_a_source_fails_is_told_once_in_a_while() {
    let (kept, _logged) = Kept::start();
    let path = "sources/00aa/folder/a.pdf";
    for _ in 0..3 {
        refused(path, &denied(path));
    }
    let lines = kept.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["00aa", "folder/a.pdf", "kms:Decrypt", "PermissionDenied"] {
        assert!(lines[0].contains(part), "{part}: {lines:?}");
    }
    // Another kind of failure, and one of another source.
    let failed = Error::Generic {
        store: "S3",
        source: "no answer in 60 s".into(),
    };
    refused(path, &failed);
    refused("sources/00bb/a.pdf", &denied(path));
    assert_eq!(kept.lines().len(), 2);
    // What has changed is told by who composes of it.
    let changed = Error::Precondition {
        path: path.to_owned(),
        source: "another".into(),
    };
    refused(path, &changed);
    assert_eq!(kept.lines().len(), 0);
    tokio::time::advance(Duration::from_secs(10)).await;
    refused(path, &denied(path));
    let lines = kept.lines();
    assert!(lines[0].contains("left_out=2"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_tried_once_more() {
    let asked = AtomicUsize::new(0);
    let refuses = |times: usize| {
        asked.store(0, Ordering::SeqCst);
        let asked = &asked;
        move || {
            let is_refused = asked.fetch_add(1, Ordering::SeqCst) < times;
            std::future::ready(if is_refused { Err(denied("p")) } else { Ok(()) })
        }
    };
    let began = tokio::time::Instant::now();
    twice(refuses(0)).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    twice(refuses(1)).await.unwrap();
    assert_eq!(began.elapsed(), AGAIN_AFTER);
    twice(refuses(5)).await.unwrap_err();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_body_that_a_source_breaks_is_told() {
    let (kept, _logged) = Kept::start();
    let broken = Error::Generic {
        store: "S3",
        source: "the connection was reset".into(),
    };
    let chunks = stream::iter([Ok(bytes::Bytes::from_static(b"x")), Err(broken)]);
    let answer = answer(of_three_bytes(chunks.boxed()), false, false).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.into_body().collect().await.is_err());
    let lines = kept.lines();
    assert!(lines[0].contains("the connection was reset"), "{lines:?}");
}

#[tokio::test]
async fn what_a_source_refuses_the_front_door_does_not_ask_for_again() {
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("origin.sock");
    let listener = bind(&path).await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        count.fetch_add(1, Ordering::SeqCst);
        let path = request.uri().path().to_owned();
        async move { Ok::<_, Infallible>(refused(&path[1..], &denied(&path))) }
    });
    let stop = CancellationToken::new();
    let serving = tokio::spawn(vdt_dialect::serve(
        listener,
        service,
        ServeOptions::default(),
        stop.clone().cancelled_owned(),
        Duration::ZERO,
    ));
    let client = OriginClient::new(Socket::new(&path)).unwrap();
    let options = GetOptions {
        if_match: Some("\"a\"".to_owned()),
        ..GetOptions::default()
    };
    let location = Path::from("sources/00cc/a.pdf");
    let read = client.get_opts(&location, options);
    let error = read.await.unwrap_err();
    // As what it is: it does not count against the source as what does not answer.
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");
    assert!(
        error.to_string().contains("the source refuses the read"),
        "{error}"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_declared_no_longer_is_no_complaint() {
    let (kept, _logged) = Kept::start();
    let tables = Arc::new(Tables::new(Vec::new(), Vec::new()));
    let late = LateOrigin::new(tables.clone());
    let memory = Arc::new(InMemory::new());
    let state = StateStore::from_store(memory, "memory", OpenMode::ReadWrite).await;
    late.set(Arc::new(Origin::new(state.unwrap())));
    let store = SocketStore::new(late, RopeStoreOptions::default());
    let service = SocketService::new(
        store.clone(),
        DataSurface::new(Arc::new(store), HttpMetrics::default(), Edge::default()),
        axum::Router::new(),
        tables,
        CancellationToken::new(),
    );
    let ask = async |if_match: &str| {
        let request = http::Request::get("/sources/00dd/a.pdf").header(IF_MATCH, if_match);
        let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
        service.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!(ask("\"a\"").await, StatusCode::FORBIDDEN);
    assert_eq!(kept.lines().len(), 0);
    // Nothing of ours asks so.
    assert_eq!(ask("*").await, StatusCode::FORBIDDEN);
    assert_eq!(kept.lines().len(), 1);
}

fn of_three_bytes(
    chunks: futures::stream::BoxStream<'static, object_store::Result<bytes::Bytes>>,
) -> GetResult {
    let meta = ObjectMeta {
        location: Path::from("sources/a/b"),
        last_modified: chrono::DateTime::UNIX_EPOCH,
        size: 3,
        e_tag: None,
        version: None,
    };
    GetResult {
        payload: GetResultPayload::Stream(chunks),
        range: 0..meta.size,
        meta,
        attributes: Attributes::default(),
    }
}

#[tokio::test]
async fn all_of_a_body_is_read_in_the_span_of_its_request() {
    let _logged = tracing::subscriber::set_default(tracing_subscriber::registry());
    let chunks = stream::iter(0..3).map(|_| {
        assert!(!Span::current().is_none(), "read outside of the span");
        Ok(bytes::Bytes::from_static(b"x"))
    });
    let answer = answer(of_three_bytes(chunks.boxed()), false, false);
    let answer = answer.instrument(tracing::info_span!("request")).await;
    assert!(Span::current().is_none());
    let body = answer.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "xxx");
}

#[test]
fn a_version_is_taken_as_written() {
    let uri: Uri = "/sources/a/b?x-id=GetObject&versionId=a%2Bb"
        .parse()
        .unwrap();
    assert_eq!(version(&uri).as_deref(), Some("a+b"));
    assert_eq!(version(&"/sources/a/b".parse().unwrap()), None);
}
