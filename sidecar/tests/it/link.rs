//! The link over a real socket: a server of the test's own that can be stopped and started, and says what versions there are.

pub(crate) mod server;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::TryStreamExt;
use http_body_util::{BodyExt, Empty};
use object_store::{
    Error, GetOptions, ObjectStore, ObjectStoreExt, PutPayload, memory::InMemory, path::Path,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vdt_dialect::{DataSurface, Edge, HttpMetrics};
use vdt_rope::{RopeStore, RopeStoreOptions};
use vdt_sidecar::{
    cache::{CacheOptions, CacheStore},
    link::{LinkState, OriginClient, Watch},
    log::{LogMetrics, LogOptions, LogStore, Notices},
    tiers::{Tiers, TiersOptions},
};

use server::Server;

const WAIT: Duration = Duration::from_secs(20);

async fn put(store: &InMemory, path: &str, body: &'static str) {
    let path = Path::parse(path).unwrap();
    store
        .put(&path, PutPayload::from_static(body.as_bytes()))
        .await
        .unwrap();
}

async fn until(link: &mut watch::Receiver<LinkState>, what: impl FnMut(&LinkState) -> bool) {
    tokio::time::timeout(WAIT, link.wait_for(what))
        .await
        .expect("in time")
        .expect("the watch is alive");
}

#[tokio::test]
async fn three_buckets_are_one_store() {
    let bed = Server::start().await;
    put(&bed.store, "log/main/docs/t/a.rope", "rope").await;
    put(&bed.store, "log/main/docs/t/_delta_log/0.json", "{}").await;
    put(&bed.store, "files/main/docs/t/a.parquet", "PAR1").await;
    put(&bed.store, "sources/00aa/x y%20z/ü.pdf", "0123456789").await;
    let client = OriginClient::new(bed.socket()).unwrap();

    let rope = Path::from("log/main/docs/t/a.rope");
    let read = client.get(&rope).await.unwrap();
    assert_eq!(read.meta.location, rope);
    assert_eq!(read.bytes().await.unwrap().as_ref(), b"rope");
    let shown = Path::from("main/docs/t/a.parquet");
    let file = client.files().get(&shown).await.unwrap();
    assert_eq!(file.bytes().await.unwrap().as_ref(), b"PAR1");

    let folder = Path::from("log/main/docs/t");
    let listed: Vec<_> = client.list(Some(&folder)).try_collect().await.unwrap();
    let names: Vec<_> = listed.iter().map(|meta| meta.location.as_ref()).collect();
    assert_eq!(
        names,
        [
            "log/main/docs/t/_delta_log/0.json",
            "log/main/docs/t/a.rope"
        ]
    );
    let level = client.list_with_delimiter(Some(&folder)).await.unwrap();
    assert_eq!(level.common_prefixes, [folder.clone().join("_delta_log")]);

    let key = Path::parse("sources/00aa/x y%20z/ü.pdf").unwrap();
    let tag = bed.store.head(&key).await.unwrap().e_tag.unwrap();
    let options = |tag: &str| GetOptions {
        range: Some((3..7).into()),
        if_match: Some(tag.to_owned()),
        ..GetOptions::default()
    };
    let read = client.get_opts(&key, options(&tag)).await.unwrap();
    assert_eq!((read.range.clone(), read.meta.size), (3..7, 10));
    assert_eq!(read.bytes().await.unwrap().as_ref(), b"3456");
    let changed = client.get_opts(&key, options("other")).await.unwrap_err();
    assert!(matches!(changed, Error::Precondition { .. }), "{changed}");
    let gone = Path::from("sources/00aa/gone");
    let gone = client.get_opts(&gone, options("any")).await.unwrap_err();
    assert!(matches!(gone, Error::NotFound { .. }), "{gone}");
    // Never without a condition, and never listed.
    let unconditional = client.get(&key).await.unwrap_err();
    assert!(matches!(unconditional, Error::NotSupported { .. }));
    let sources = Path::from("sources/00aa");
    let listed: Vec<_> = client.list(Some(&sources)).try_collect().await.unwrap();
    assert!(listed.is_empty());
}

#[tokio::test]
async fn connections_are_used_again() {
    let bed = Server::start().await;
    put(&bed.store, "log/main/docs/t/a.rope", "rope").await;
    let client = OriginClient::new(bed.socket()).unwrap();
    for _ in 0..20 {
        let rope = Path::from("log/main/docs/t/a.rope");
        client.get(&rope).await.unwrap().bytes().await.unwrap();
        client.head(&rope).await.unwrap();
    }
    // The client may connect anew while the connection before is just coming back.
    assert!(bed.connections() < 10, "{}", bed.connections());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_outlives_the_runtime_that_asked_for_it() {
    let bed = Server::start().await;
    put(&bed.store, "log/main/docs/t/a.rope", "rope").await;
    let client = OriginClient::new(bed.socket()).unwrap();
    let ask = async |client: OriginClient| {
        let rope = Path::from("log/main/docs/t/a.rope");
        client.get(&rope).await.unwrap().bytes().await.unwrap();
    };
    let other = client.clone();
    let thread = std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(ask(other));
    });
    tokio::task::spawn_blocking(|| thread.join())
        .await
        .unwrap()
        .unwrap();
    // A moment for the connection to come back.
    tokio::time::sleep(Duration::from_millis(50)).await;
    ask(client).await;
    assert_eq!(bed.connections(), 1);
}

#[tokio::test]
async fn what_is_asked_of_the_server_for_a_request_is_asked_in_its_trace() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const CLIENT: &str = "00f067aa0ba902b7";
    let bed = Server::start().await;
    let commit = "main/docs/t/_delta_log/00000000000000000000.json";
    put(&bed.store, &format!("log/{commit}"), "{}").await;
    let notices = Notices::new();
    let log = LogStore::new(
        Arc::new(OriginClient::new(bed.socket()).unwrap()),
        LogOptions::default(),
        notices.clone(),
        LogMetrics::default(),
    );
    let tiers = Tiers::open(TiersOptions::default()).await.unwrap();
    let cache = CacheStore::new(Arc::new(log), Arc::new(tiers), CacheOptions::default());
    let files = RopeStore::new(Arc::new(cache), RopeStoreOptions::default());
    let surface = DataSurface::new(Arc::new(files), HttpMetrics::default(), Edge::default());
    let read = async |trace: Option<String>| {
        let mut request = http::Request::get(format!("/{commit}"));
        if let Some(trace) = trace {
            request = request.header("traceparent", trace);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let answer = surface.handle(request).await;
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.unwrap();
    };
    read(Some(format!("00-{TRACE}-{CLIENT}-01"))).await;
    // A listing of the log and the commit, each by a task of its own.
    let traces = bed.traces();
    let (prefix, own) = (format!("00-{TRACE}-"), traces[0].clone());
    assert!(own.starts_with(&prefix) && !own.contains(CLIENT), "{own}");
    assert_eq!(traces, [own.clone(), own]);
    // Without the client's a trace begins here. What nobody asks for is in none.
    put(&bed.store, &format!("log/{commit}"), "[]").await;
    notices.committed("main/docs/t", 0);
    read(None).await;
    let traces = bed.traces();
    let is_one = |trace: &String| trace.len() == 55 && !trace.contains(TRACE);
    assert!(
        !traces.is_empty() && traces.iter().all(is_one),
        "{traces:?}"
    );
    let client = OriginClient::new(bed.socket()).unwrap();
    client
        .head(&Path::from(format!("log/{commit}")))
        .await
        .unwrap();
    assert_eq!(bed.traces(), [""]);
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_within_seconds_and_a_restart_is_none() {
    let mut bed = Server::start().await;
    put(&bed.store, "log/main/docs/t/a.rope", "rope").await;
    let client = OriginClient::new(bed.socket()).unwrap();
    let rope = Path::from("log/main/docs/t/a.rope");
    client.get(&rope).await.unwrap().bytes().await.unwrap();
    bed.stop().await;
    let failed = tokio::time::timeout(WAIT, client.get(&rope)).await.unwrap();
    assert!(matches!(failed.unwrap_err(), Error::Generic { .. }));
    // A request that is under way when the server returns is answered.
    let (read, ()) = tokio::join!(client.get(&rope), bed.start_again());
    assert_eq!(read.unwrap().bytes().await.unwrap().as_ref(), b"rope");
}

#[tokio::test]
async fn a_version_is_seen_by_its_notice_and_everything_is_forgotten_after_a_restart() {
    let mut bed = Server::start().await;
    let folder = Path::from("log/main/docs/t/_delta_log");
    let commit = |version: u64| format!("{folder}/{version:020}.json");
    put(&bed.store, &commit(0), "{}").await;
    let notices = Notices::new();
    let (watch, mut link) = Watch::new(bed.socket(), notices.clone());
    let stop = CancellationToken::new();
    let watching = tokio::spawn(watch.run(stop.clone()));
    until(&mut link, |link| link.up && link.store_id.is_some()).await;

    let client = OriginClient::new(bed.socket()).unwrap();
    // An hour: what is seen sooner is seen because of a notice.
    let options = LogOptions {
        staleness: Duration::from_secs(3600),
        ..LogOptions::default()
    };
    let metrics = LogMetrics::default();
    let log = LogStore::new(Arc::new(client), options, notices.clone(), metrics.clone());
    let count = async || {
        let listed: Vec<_> = log.list(Some(&folder)).try_collect().await.unwrap();
        listed.len()
    };
    assert_eq!(count().await, 1);
    put(&bed.store, &commit(1), "{}").await;
    assert_eq!(count().await, 1);
    bed.publish("main/docs/t", 1);
    until(&mut link, |link| {
        link.versions.get("main/docs/t") == Some(&1)
    })
    .await;
    assert_eq!(count().await, 2);

    bed.stop().await;
    until(&mut link, |link| !link.up).await;
    let origin = notices.origin();
    let error = origin.last_error.expect("it is told");
    assert!(!origin.up && Some(&error.time) >= origin.since.as_ref());
    assert!(!error.message.contains(".sock"), "{}", error.message);
    put(&bed.store, &commit(2), "{}").await;
    assert_eq!(count().await, 2);
    assert_eq!(metrics.stale_answers(), 1);
    bed.start_again().await;
    until(&mut link, |link| link.up).await;
    assert_eq!(count().await, 3);
    // Numbers of the new run start again, and are followed.
    put(&bed.store, &commit(3), "{}").await;
    bed.publish("main/docs/t", 3);
    until(&mut link, |link| {
        link.versions.get("main/docs/t") == Some(&3)
    })
    .await;
    assert_eq!(count().await, 4);

    assert!(!link.borrow().replaced);
    bed.stop().await;
    bed.store_id = "another".to_owned();
    bed.start_again().await;
    until(&mut link, |link| link.replaced).await;
    stop.cancel();
    watching.await.unwrap();
}
