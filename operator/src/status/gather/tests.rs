//! Against pods that answer, hang and say too much.

use std::convert::Infallible;

use futures::FutureExt;
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use vdt_crds::api::{HOTTEST_MAX, HOUR_MINUTES, HotArtifact, MinuteSample, TierState};

use super::*;

/// A pod that answers with these tables and this cache.
async fn answering(tables: Value, cache: Value) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = vec![0; 4096];
            let read = stream.read(&mut asked).await.unwrap();
            let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
            let body = match asked.starts_with("GET /api/v1/tables ") {
                true => tables.to_string(),
                false => cache.to_string(),
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            // Who asked may have heard enough.
            let _ = stream.write_all((head + &body).as_bytes()).await;
        }
    });
    port
}

async fn ask(tables: Value, cache: Value) -> PodReport {
    let seen = json!({
        "metadata": {"name": "t-0", "uid": "u"},
        "status": {"phase": "Running", "podIP": "127.0.0.1"},
    });
    let pods = vec![PodView::of("t", &seen).unwrap()];
    let asker = Pods::new(Some(answering(tables, cache).await));
    let path = "main/docs/t".to_owned();
    asker.ask(String::new(), path, pods).await.reports.remove(0)
}

#[tokio::test]
async fn what_a_pod_says_of_other_tables_is_dropped() {
    let tables =
        json!([{"table": "main/docs/x", "version": 1}, {"table": "main/docs/t", "version": 3}]);
    let report = ask(tables, json!({})).await;
    let [table] = &report.tables.as_ref().unwrap()[..] else {
        panic!("{report:?}")
    };
    assert_eq!(
        (table.table.as_str(), table.version),
        ("main/docs/t", Some(3))
    );
    assert!(report.cache.is_some());
}

#[tokio::test]
async fn a_pod_that_says_too_much_said_nothing() {
    let name = |length: usize| json!([{"table": "x".repeat(length)}]);
    let report = ask(name(TABLES_BYTES_MAX - 100), json!({})).await;
    assert_eq!(report.tables, Some(Vec::new()));
    let padded = json!({"padding": "x".repeat(CACHE_BYTES_MAX)});
    let report = ask(name(TABLES_BYTES_MAX), padded).await;
    assert_eq!(
        report,
        PodReport::of(
            &PodView::of("t", &json!({"metadata": {"name": "t-0", "uid": "u"}})).unwrap()
        )
    );
}

#[tokio::test]
async fn a_cache_of_artifacts_with_long_keys_is_heard() {
    let minute = MinuteSample {
        minute: 29_000_000,
        served_bytes: u64::MAX,
        origin_bytes: u64::MAX,
        ..MinuteSample::default()
    };
    let artifact = HotArtifact {
        key: "k".repeat(1024),
        ..HotArtifact::default()
    };
    let cache = CacheReport {
        hour: vec![minute; HOUR_MINUTES],
        hottest: vec![artifact; HOTTEST_MAX],
        ..CacheReport::default()
    };
    assert!(ask(json!([]), json!(cache)).await.cache.is_some());
}

#[tokio::test]
async fn what_is_kept_of_an_answer_is_what_a_status_may_say() {
    let long = "x".repeat(3000);
    let source = |name: String| json!({"name": name, "status": "True", "reason": long, "message": long, "skipped": {"a": 1}});
    let names = ["x".repeat(64), "s0".to_owned()].into_iter();
    let names = names.chain((0..40).map(|number| format!("s{number}")));
    let condition = json!({"type": "Ready", "status": "True", "reason": long, "message": long, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let table = json!({"table": "main/docs/t", "sources": names.map(source).collect::<Vec<_>>(), "conditions": vec![condition; 20]});
    let cache = json!({"tiers": {"disk": {"state": "Degraded", "reason": long, "message": long}}, "hour": [{"minute": 1}]});
    let report = ask(json!([table]), cache).await;
    let [table] = &report.tables.as_ref().unwrap()[..] else {
        panic!("{report:?}")
    };
    let sources = table.sources.iter().map(|source| &source.status);
    let names: Vec<&str> = sources.clone().map(|source| source.name.as_str()).collect();
    assert_eq!((names.len(), &names[..2]), (SOURCES, &["s0", "s1"][..]));
    assert_eq!(table.conditions.len(), 1);
    let messages = sources.clone().filter_map(|source| source.message.as_ref());
    assert!(
        messages.clone().count() >= 15
            && messages.map(String::len).sum::<usize>() <= SOURCE_MESSAGES_BYTES
    );
    let texts = sources.flat_map(|source| source.message.iter().chain(&source.reason));
    let conditions = table.conditions.iter();
    let mut texts = texts.chain(conditions.flat_map(|one| [&one.message, &one.reason]));
    assert!(texts.all(|text| text.len() < 1100));
    assert!(table.sources.iter().all(|source| source.skipped.is_empty()));
    let cache = report.cache.as_ref().unwrap();
    let disk = &cache.tiers.disk;
    assert!(cache.hour.is_empty() && disk.state == TierState::Degraded);
    assert!(
        disk.reason
            .iter()
            .chain(&disk.message)
            .all(|text| text.len() < 1100)
    );
}

#[test]
fn who_says_much_waits_for_a_place_and_who_says_little_does_not() {
    let large = Semaphore::new(0);
    let said = |frames: usize| {
        let frame = |_| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'x'; SMALL_BYTES])));
        let frames = (0..frames).map(frame);
        let body = StreamBody::new(stream::iter(frames));
        read(body, TABLES_BYTES_MAX, &large).now_or_never()
    };
    let (bytes, place) = said(1).unwrap().unwrap();
    assert_eq!((bytes.len(), place.is_none()), (SMALL_BYTES, true));
    assert!(said(2).is_none());
    large.add_permits(1);
    let (bytes, place) = said(2).unwrap().unwrap();
    assert_eq!((bytes.len(), place.is_some()), (2 * SMALL_BYTES, true));
    assert!(said(2).is_none());
    drop(place);
    assert!(said(1 + TABLES_BYTES_MAX / SMALL_BYTES).unwrap().is_none());
    assert_eq!(large.available_permits(), 1);
}

#[tokio::test]
async fn many_pods_that_hang_are_given_up_together() {
    // Takes connections and never answers.
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let pods: Vec<PodView> = (0..200)
        .map(|ordinal| {
            let seen = json!({
                "metadata": {"name": format!("t-{ordinal}"), "uid": "u"},
                "status": {"phase": "Running", "podIP": "127.0.0.1"},
            });
            PodView::of("t", &seen).unwrap()
        })
        .collect();
    let asker = Pods::new(Some(listener.local_addr().unwrap().port()));
    tokio::time::pause();
    let Answer { reports, took } = asker.ask(String::new(), String::new(), pods.clone()).await;
    assert!(took <= ALL + Duration::from_millis(1));
    assert_eq!(reports.len(), 200);
    assert!(
        reports
            .iter()
            .zip(&pods)
            .all(|(report, pod)| report.pod == pod.name && report.tables.is_none())
    );
}
