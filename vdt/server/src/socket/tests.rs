//! The socket as the front door reads it: what is shown of a state, and what a look at a long log costs it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use http_body_util::{BodyExt, Empty};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    memory::InMemory, path::Path,
};
use parquet::{
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
};
use vdt_dialect::{DataSurface, Edge, HttpMetrics, ServeOptions};
use vdt_rope::RopeStoreOptions;
use vdt_sidecar::{
    link::{OriginClient, Socket, wire::OWNERS_PATH},
    log::{LogMetrics, LogOptions, LogStore, Notices},
};
use vdt_store::{OpenMode, Origin, StateStore};

use super::*;
use crate::{
    late_origin::LateOrigin,
    tables::{Served, Tables},
};

/// Keys of a page of S3.
const PAGE_KEYS: usize = 1000;

/// A state in memory that counts its LISTs as S3 would: one a page.
#[derive(Debug, Default)]
struct Paged {
    inner: InMemory,
    lists: Arc<AtomicUsize>,
}

impl Paged {
    /// LISTs since the last question.
    fn lists(&self) -> usize {
        self.lists.swap(0, Ordering::SeqCst)
    }

    fn counted(
        &self,
        listed: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let lists = Arc::clone(&self.lists);
        lists.fetch_add(1, Ordering::SeqCst);
        let count = move |at| {
            if at > 0 && at % PAGE_KEYS == 0 {
                lists.fetch_add(1, Ordering::SeqCst);
            }
        };
        let numbered = listed.enumerate().inspect(move |(at, _)| count(*at));
        numbered.map(|(_, one)| one).boxed()
    }
}

impl fmt::Display for Paged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Paged")
    }
}

#[async_trait]
impl ObjectStore for Paged {
    async fn put_opts(
        &self,
        at: &Path,
        body: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(at, body, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        at: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(at)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counted(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counted(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let listed = self.inner.list_with_delimiter(prefix).await?;
        let pages = listed.objects.len().div_ceil(PAGE_KEYS).max(1);
        self.lists.fetch_add(pages, Ordering::SeqCst);
        Ok(listed)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// What a socket serves, without it.
struct Bed {
    paged: Arc<Paged>,
    state: StateStore,
    served: Vec<Arc<Served>>,
    tables: Arc<Tables>,
    store: SocketStore,
}

impl Bed {
    /// Tables of `c/s`, which nobody has claimed.
    async fn new(names: &[&str]) -> Self {
        let paged = Arc::new(Paged::default());
        let state = StateStore::from_store(paged.clone(), "memory", OpenMode::ReadWrite);
        let state = state.await.unwrap();
        let pending = |name: &&str| {
            let path = format!("c/s/{name}");
            Arc::new(Served::pending(path, (*name).to_owned(), None))
        };
        let served: Vec<_> = names.iter().map(pending).collect();
        let tables = Arc::new(Tables::new(served.clone(), Vec::new()));
        let late = LateOrigin::new(tables.clone());
        late.set(Arc::new(Origin::new(state.clone())));
        tables.opened(state.clone());
        let store = SocketStore::new(late, RopeStoreOptions::default());
        Self {
            paged,
            state,
            served,
            tables,
            store,
        }
    }

    async fn put(&self, path: &str, body: impl Into<PutPayload>) {
        let path = Path::from(path);
        self.paged.put(&path, body.into()).await.unwrap();
    }

    async fn error(&self, path: &str) -> Error {
        let read = self.store.get(&Path::from(path)).await;
        read.map(|read| read.meta).unwrap_err()
    }
}

#[tokio::test]
async fn only_what_is_claimed_is_shown_and_what_may_be_is_not_said_to_be_missing() {
    let bed = Bed::new(&["ours", "unclaimed", "others"]).await;
    let file = |table: &str| format!("c/s/{table}/_delta_log/{:020}.json", 0);
    for table in ["ours", "unclaimed", "others"] {
        bed.put(&file(table), "{}").await;
    }
    let others = Path::from("c/s/others");
    bed.state.claim(&others, "docs/others").await.unwrap();
    bed.served[0].claim(&bed.state, "docs/ours").await.unwrap();
    bed.served[2]
        .claim(&bed.state, "docs/copy")
        .await
        .unwrap_err();
    let listed = async |folder: &str| {
        let folder = Path::from(folder);
        let listed: Result<Vec<_>> = bed.store.list(Some(&folder)).try_collect().await;
        let listed = listed?.into_iter().map(|meta| meta.location.to_string());
        Ok::<_, Error>(listed.collect::<Vec<_>>())
    };
    let is_later = |error: &Error| matches!(error, Error::Generic { .. });
    let is_absent = |error: &Error| matches!(error, Error::NotFound { .. });

    let ours = format!("log/{}", file("ours"));
    bed.store.get(&Path::from(ours.as_str())).await.unwrap();
    for path in [
        format!("log/{}", file("unclaimed")),
        "files/c/s/unclaimed/x.parquet".to_owned(),
        "log/c/s/unclaimed_meta/x".to_owned(),
    ] {
        let error = bed.error(&path).await;
        assert!(is_later(&error), "{path}: {error}");
    }
    for path in [
        format!("log/{}", file("others")),
        "files/c/s/others/x.parquet".to_owned(),
        format!("log/{}", file("undeclared")),
        "sources/00112233/x".to_owned(),
    ] {
        let error = bed.error(&path).await;
        assert!(is_absent(&error), "{path}: {error}");
    }
    // A folder of one of which it is not known yet is not listed without it.
    let level = async || {
        let folder = Path::from("log/c/s");
        bed.store.list_with_delimiter(Some(&folder)).await
    };
    for folder in ["log", "log/c", "log/c/s"] {
        let error = listed(folder).await.unwrap_err();
        assert!(is_later(&error), "{folder}: {error}");
    }
    assert!(is_later(&level().await.unwrap_err()));
    assert_eq!(
        listed("log/c/s/ours").await.unwrap(),
        std::slice::from_ref(&ours)
    );
    assert!(listed("log/c/s/others").await.unwrap().is_empty());
    assert!(is_later(&listed("log/c/s/unclaimed").await.unwrap_err()));

    bed.served[1]
        .claim(&bed.state, "docs/unclaimed")
        .await
        .unwrap();
    // Others' are left out.
    for folder in ["log", "log/c", "log/c/s"] {
        assert_eq!(listed(folder).await.unwrap().len(), 2, "{folder}");
    }
    let shown = ["log/c/s/ours", "log/c/s/unclaimed"].map(Path::from);
    assert_eq!(level().await.unwrap().common_prefixes, shown);
}

#[tokio::test]
async fn a_look_at_a_long_log_lists_the_state_once() {
    const COMMITS: usize = 5000;
    let bed = Bed::new(&["t"]).await;
    bed.served[0].claim(&bed.state, "docs/t").await.unwrap();
    let folder = "c/s/t/_delta_log";
    for version in 0..COMMITS {
        bed.put(&format!("{folder}/{version:020}.json"), "{}").await;
    }
    let newest = COMMITS - 10;
    let checkpoint = format!("{folder}/{newest:020}.checkpoint.parquet");
    bed.put(&checkpoint, empty_parquet()).await;

    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("origin.sock");
    let listener = bind(&path).await.unwrap();
    let surface = DataSurface::new(
        Arc::new(bed.store.clone()),
        HttpMetrics::default(),
        Edge::default(),
    );
    let stop = CancellationToken::new();
    let service = SocketService::new(
        bed.store.clone(),
        surface,
        axum::Router::new(),
        bed.tables.clone(),
        stop.clone(),
    );
    let serving = tokio::spawn(vdt_dialect::serve(
        listener,
        service,
        ServeOptions::default(),
        stop.clone().cancelled_owned(),
        Duration::ZERO,
    ));
    let notices = Notices::new();
    let log = LogStore::new(
        Arc::new(OriginClient::new(Socket::new(&path)).unwrap()),
        LogOptions::default(),
        notices.clone(),
        LogMetrics::default(),
    );
    let folder = Path::from(format!("log/{folder}"));
    bed.paged.lists();
    for look in 0..2 {
        let listed: Vec<_> = log.list(Some(&folder)).try_collect().await.unwrap();
        assert_eq!(listed.len(), COMMITS + 1);
        let hint = log.get(&folder.clone().join("_last_checkpoint")).await;
        let hint = hint.unwrap().bytes().await.unwrap();
        let hint: serde_json::Value = serde_json::from_slice(&hint).unwrap();
        assert_eq!(hint["version"], newest);
        let lists = bed.paged.lists();
        assert!(
            lists <= COMMITS / PAGE_KEYS + 2,
            "{lists} LISTs, look {look}"
        );
        notices.invalidate_all();
    }
    stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn whose_the_tables_are_is_told_as_soon_as_it_is_asked_of_the_state() {
    let bed = Bed::new(&["ours", "unclaimed", "others"]).await;
    let others = Path::from("c/s/others");
    bed.state.claim(&others, "docs/others").await.unwrap();
    bed.served[0].claim(&bed.state, "docs/ours").await.unwrap();
    let refused = bed.served[2].claim(&bed.state, "docs/copy").await;
    refused.unwrap_err();
    let ask = |tables: &Arc<Tables>| {
        let service = SocketService::new(
            bed.store.clone(),
            DataSurface::new(
                Arc::new(bed.store.clone()),
                HttpMetrics::default(),
                Edge::default(),
            ),
            axum::Router::new(),
            tables.clone(),
            CancellationToken::new(),
        );
        let request = http::Request::get(OWNERS_PATH);
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        service.oneshot(request)
    };
    let without_state = Arc::new(Tables::new(bed.served.clone(), Vec::new()));
    let answer = ask(&without_state).await.unwrap();
    assert_eq!(answer.status(), http::StatusCode::SERVICE_UNAVAILABLE);
    let answer = ask(&bed.tables).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let expected = serde_json::json!({
        "c/s/ours": "docs/ours",
        "c/s/unclaimed": "",
        // Nothing of it is shown: who may read what the one declares may not read what is cached of the other's.
        "c/s/others": "",
    });
    assert_eq!(told, expected);
}

/// How often something was logged that somebody is to look at.
#[derive(Clone, Default)]
struct Complaints(Arc<AtomicUsize>);

impl<S: Subscriber> Layer<S> for Complaints {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() <= Level::WARN {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[tokio::test]
async fn what_is_asked_for_before_the_state_is_open_is_answered_without_a_complaint() {
    let complaints = Complaints::default();
    let logged = tracing_subscriber::registry().with(complaints.clone());
    let _logged = tracing::subscriber::set_default(logged);
    let bed = Bed::new(&["t"]).await;
    let late = LateOrigin::new(bed.tables.clone());
    let store = SocketStore::new(late.clone(), RopeStoreOptions::default());
    let service = SocketService::new(
        store.clone(),
        DataSurface::new(Arc::new(store), HttpMetrics::default(), Edge::default()),
        axum::Router::new(),
        bed.tables.clone(),
        CancellationToken::new(),
    );
    let ask = async |path: &str| {
        let request = http::Request::get(path).header("if-match", "\"a\"");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        service.clone().oneshot(request).await.unwrap().status()
    };
    for path in [
        "/log/c/s/t/_delta_log/0.json",
        "/log?list-type=2&prefix=c/s/t/",
        "/files/c/s/t/x.parquet",
        "/sources/00112233/a.pdf",
    ] {
        assert_eq!(ask(path).await, 500, "{path}");
    }
    assert_eq!(complaints.0.load(Ordering::SeqCst), 0);
    // What fails once it is open is told.
    late.set(Arc::new(Origin::new(bed.state.clone())));
    assert_eq!(ask("/log/c/s/t/_delta_log/0.json").await, 500);
    assert_ne!(complaints.0.load(Ordering::SeqCst), 0);
}

/// A Parquet file without rows.
fn empty_parquet() -> Vec<u8> {
    let schema = parse_message_type("message action { optional binary json; }").unwrap();
    let properties = Arc::new(WriterProperties::new());
    let mut file = Vec::new();
    let writer = SerializedFileWriter::new(&mut file, Arc::new(schema), properties);
    writer.unwrap().close().unwrap();
    file
}
