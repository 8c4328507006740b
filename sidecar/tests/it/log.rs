//! Logs: how many requests an answer costs, what makes it stale, and what is served when the origin is away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use chrono::Utc;
use futures::{FutureExt, TryStreamExt};
use object_store::{
    Error, GetOptions, ObjectStore, ObjectStoreExt, PutPayload,
    memory::InMemory,
    path::Path,
    throttle::{ThrottleConfig, ThrottledStore},
};
use parking_lot::Mutex;
use prometheus_client::{encoding::text::encode, registry::Registry};
use vdt_rope::testing::{Altered, Recording, Request};
use vdt_sidecar::log::{LogMetrics, LogOptions, LogStore, Notices};

const LOG: &str = "log/main/docs/t/_delta_log";

struct Bed {
    origin: Arc<InMemory>,
    recording: Arc<Recording>,
    notices: Notices,
    metrics: LogMetrics,
    store: LogStore,
}

fn path(name: &str) -> Path {
    Path::parse(format!("{LOG}/{name}")).unwrap()
}

fn commit(version: u64) -> Path {
    path(&format!("{version:020}.json"))
}

impl Bed {
    async fn new(options: LogOptions) -> Self {
        let origin = Arc::new(InMemory::new());
        let recording = Arc::new(Recording::new(origin.clone()));
        let (notices, metrics) = (Notices::new(), LogMetrics::default());
        let store = LogStore::new(recording.clone(), options, notices.clone(), metrics.clone());
        let bed = Self {
            origin,
            recording,
            notices,
            metrics,
            store,
        };
        bed.put(&commit(0), "{}").await;
        bed.put(&path(&format!("{:020}.crc", 0)), "crc").await;
        bed
    }

    async fn put(&self, path: &Path, body: &'static str) {
        self.origin
            .put(path, PutPayload::from_static(body.as_bytes()))
            .await
            .unwrap();
    }

    async fn listed(&self) -> Vec<String> {
        let folder = Path::from(LOG);
        let listed: Vec<_> = self.store.list(Some(&folder)).try_collect().await.unwrap();
        listed
            .iter()
            .map(|meta| meta.location.filename().unwrap().to_owned())
            .collect()
    }

    fn lists(&self) -> usize {
        let is_list = |request: &&Request| matches!(request, Request::List { .. });
        self.recording.take().iter().filter(is_list).count()
    }
}

fn long() -> LogOptions {
    LogOptions {
        staleness: Duration::from_secs(3600),
        ..LogOptions::default()
    }
}

#[tokio::test]
async fn one_snapshot_answers_everything_that_changes() {
    let bed = Bed::new(long()).await;
    assert_eq!(bed.listed().await.len(), 2);
    let folder = Path::from(LOG);
    let level = bed.store.list_with_delimiter(Some(&folder)).await.unwrap();
    assert_eq!(level.objects.len(), 2);
    let after: Vec<_> = bed
        .store
        .list_with_offset(Some(&folder), &path(&format!("{:020}.crc", 0)))
        .try_collect()
        .await
        .unwrap();
    assert_eq!(after.len(), 1);
    // The next version does not exist, there is no hint, in the log or elsewhere, and version 0 does exist.
    let table = Path::from("log/main/docs/t");
    let elsewhere = [
        table.clone().join("_last_checkpoint"),
        path("x/_last_checkpoint"),
    ];
    for absent in [commit(1), path("_last_checkpoint"), folder.clone(), table]
        .into_iter()
        .chain(elsewhere)
    {
        let error = bed.store.get(&absent).await.unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
    }
    assert_eq!(bed.store.head(&commit(0)).await.unwrap().size, 2);
    let requests = bed.recording.take();
    assert_eq!(
        requests,
        [
            // A log without a checkpoint has no hint to be asked for.
            Request::List {
                prefix: Some(folder),
                is_one_level: false,
                offset: None
            },
        ]
    );
}

#[tokio::test]
async fn what_is_below_a_table_is_listed_by_what_is_kept() {
    let bed = Bed::new(long()).await;
    let table = Path::from("log/main/docs/t");
    for file in ["0a.rope", "fa.rope", "_vdt/owner.json"] {
        bed.put(&Path::parse(format!("{table}/{file}")).unwrap(), "{}")
            .await;
    }
    let there: Vec<_> = bed.origin.list(Some(&table)).try_collect().await.unwrap();
    for _ in 0..3 {
        let listed: Vec<_> = bed.store.list(Some(&table)).try_collect().await.unwrap();
        assert_eq!(listed, there, "in the same order");
    }
    // The level, the log, and each time what is neither.
    assert_eq!(bed.lists(), 2 + 3);
    bed.notices.set_origin_up(false);
    let first = bed.store.list(Some(&table)).try_next().await.unwrap();
    assert_eq!(first.as_ref(), there.first());
    assert_eq!(bed.lists(), 0);
}

/// `vdt_log_kept_bytes`.
fn kept_bytes(registry: &Registry) -> u64 {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    let mut lines = text.lines();
    let bytes = lines.find_map(|line| line.strip_prefix("vdt_log_kept_bytes "));
    bytes.unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_is_kept_is_counted() {
    let mut registry = Registry::default();
    let metrics = LogMetrics::register(&mut registry);
    let origin = Arc::new(InMemory::new());
    let store = LogStore::new(origin.clone(), long(), Notices::new(), metrics);
    let kept = || kept_bytes(&registry);
    for version in 0..50 {
        origin.put(&commit(version), "{}".into()).await.unwrap();
    }
    let crc = path(&format!("{:020}.crc", 0));
    origin.put(&crc, "crc".into()).await.unwrap();
    assert_eq!(kept(), 0);
    let table = Path::from("log/main/docs/t");
    // The table's folder, its log, and a checksum.
    store.list_with_delimiter(Some(&table)).await.unwrap();
    let of_level = kept();
    assert!(of_level > 0);
    let of_log = async || {
        let folder = Path::from(LOG);
        let listed: Vec<_> = store.list(Some(&folder)).try_collect().await.unwrap();
        assert_eq!(listed.len(), 51);
        kept() - of_level
    };
    let bytes = of_log().await;
    assert!((51 * 100..51 * 400).contains(&bytes), "{bytes}");
    assert_eq!(of_log().await, bytes);
    store.get(&crc).await.unwrap();
    assert!(kept() > of_level + bytes);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_for_a_reader_that_has_left_is_counted() {
    let mut registry = Registry::default();
    let metrics = LogMetrics::register(&mut registry);
    let origin = Arc::new(InMemory::new());
    for version in 0..50 {
        origin.put(&commit(version), "{}".into()).await.unwrap();
    }
    let config = ThrottleConfig {
        wait_list_per_entry: Duration::from_millis(10),
        ..ThrottleConfig::default()
    };
    let slow = Arc::new(ThrottledStore::new(origin, config));
    let store = LogStore::new(slow, long(), Notices::new(), metrics);
    let folder = Path::from(LOG);
    let mut leaves = Box::pin(store.list(Some(&folder)).try_collect::<Vec<_>>());
    assert!((&mut leaves).now_or_never().is_none());
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(leaves);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(kept_bytes(&registry) > 50 * 100);
}

#[tokio::test]
async fn checksums_are_read_once() {
    let bed = Bed::new(long()).await;
    let crc = path(&format!("{:020}.crc", 0));
    for _ in 0..3 {
        let body = bed.store.get(&crc).await.unwrap().bytes().await.unwrap();
        assert_eq!(body.as_ref(), b"crc");
    }
    let reads = bed.recording.take();
    let of_it =
        |request: &&Request| matches!(request, Request::Get { location, .. } if *location == crc);
    assert_eq!(reads.iter().filter(of_it).count(), 1);
}

#[tokio::test]
async fn a_checksum_of_a_restored_state_is_read_anew() {
    let bed = Bed::new(long()).await;
    let crc = path(&format!("{:020}.crc", 0));
    let read = async || bed.store.get(&crc).await.unwrap().bytes().await.unwrap();
    assert_eq!(read().await.as_ref(), b"crc");
    // As many bytes: only the listed ETag tells.
    bed.put(&crc, "CRC").await;
    assert_eq!(read().await.as_ref(), b"crc");
    bed.notices.committed("main/docs/t", 0);
    for _ in 0..2 {
        assert_eq!(read().await.as_ref(), b"CRC");
    }
    let reads = bed.recording.take();
    let of_it =
        |request: &&Request| matches!(request, Request::Get { location, .. } if *location == crc);
    assert_eq!(reads.iter().filter(of_it).count(), 2);
}

#[tokio::test]
async fn head_of_what_is_listed_asks_nobody() {
    let bed = Bed::new(long()).await;
    let checkpoint = path(&format!("{:020}.checkpoint.parquet", 0));
    bed.put(&checkpoint, "rows").await;
    bed.listed().await;
    bed.recording.take();
    assert_eq!(bed.store.head(&checkpoint).await.unwrap().size, 4);
    assert_eq!(bed.store.head(&commit(0)).await.unwrap().size, 2);
    assert!(bed.recording.take().is_empty());
    let missing = path(&format!("{:020}.checkpoint.parquet", 1));
    let error = bed.store.head(&missing).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn a_notice_for_the_table_and_only_that_takes_a_new_snapshot() {
    let bed = Bed::new(long()).await;
    bed.listed().await;
    bed.put(&commit(1), "{}").await;
    bed.notices.committed("main/docs/other", 9);
    assert_eq!(bed.listed().await.len(), 2);
    assert_eq!(bed.lists(), 1);
    bed.notices.committed("main/docs/t", 1);
    assert_eq!(bed.listed().await.len(), 3);
    assert_eq!(bed.lists(), 1);
    bed.put(&commit(2), "{}").await;
    bed.notices.invalidate_all();
    assert_eq!(bed.listed().await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn without_a_notice_a_snapshot_is_trusted_for_a_second() {
    let bed = Bed::new(LogOptions::default()).await;
    bed.listed().await;
    bed.put(&commit(1), "{}").await;
    tokio::time::advance(Duration::from_millis(999)).await;
    assert_eq!(bed.listed().await.len(), 2);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(bed.listed().await.len(), 3);
}

#[tokio::test]
async fn with_the_origin_away_the_last_snapshot_is_served_and_counted() {
    let bed = Bed::new(LogOptions::default()).await;
    bed.listed().await;
    bed.notices.set_origin_up(false);
    bed.notices.invalidate_all();
    assert_eq!(bed.listed().await.len(), 2);
    assert_eq!(bed.metrics.stale_answers(), 1);
    // Nobody asks an origin that is known to be away.
    assert_eq!(bed.lists(), 1);
    bed.put(&commit(1), "{}").await;
    bed.notices.set_origin_up(true);
    assert_eq!(bed.listed().await.len(), 3);
    assert_eq!(bed.metrics.stale_answers(), 1);
}

/// A store whose GETs below the log take 4 s and then fail while `is_down`.
fn failing_slowly(inner: Arc<InMemory>, is_down: &Arc<AtomicBool>) -> Arc<Recording> {
    let is_down = Arc::clone(is_down);
    let slow = Altered::new(inner, LOG)
        .delaying(Duration::from_secs(4))
        .failing(move |_, _| {
            is_down.load(Relaxed).then(|| Error::Generic {
                store: "test",
                source: "503".into(),
            })
        });
    Arc::new(Recording::new(Arc::new(slow)))
}

#[tokio::test(start_paused = true)]
async fn readers_of_a_log_that_cannot_be_read_wait_for_one_attempt() {
    let origin = Arc::new(InMemory::new());
    let is_down = Arc::new(AtomicBool::new(true));
    let recording = failing_slowly(origin.clone(), &is_down);
    let store = LogStore::new(
        recording.clone(),
        LogOptions::default(),
        Notices::new(),
        LogMetrics::default(),
    );
    // A checkpoint, so that there is a hint to be read.
    let checkpoint = path(&format!("{:020}.checkpoint.parquet", 0));
    origin.put(&checkpoint, "rows".into()).await.unwrap();
    let read_all = async || {
        let began = tokio::time::Instant::now();
        let folder = Path::from(LOG);
        let reads = (0..50).map(|_| store.list(Some(&folder)).try_collect::<Vec<_>>());
        let answers = futures::future::join_all(reads).await;
        (answers, began.elapsed().as_secs(), recording.take().len())
    };
    // Nothing to serve: all of them learn it from one listing and one read.
    let (answers, seconds, requests) = read_all().await;
    assert!(answers.iter().all(Result::is_err));
    assert_eq!((seconds, requests), (4, 2));
    // With a snapshot all of them are served from it, after one attempt, and soon after it without one.
    is_down.store(false, Relaxed);
    assert!(read_all().await.0.iter().all(Result::is_ok));
    tokio::time::advance(Duration::from_secs(10)).await;
    is_down.store(true, Relaxed);
    for expected in [(4, 2), (0, 0)] {
        let (answers, seconds, requests) = read_all().await;
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!((seconds, requests), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_twice_for_a_log_that_cannot_be_read() {
    let origin = Arc::new(InMemory::new());
    let is_down = Arc::new(AtomicBool::new(false));
    let recording = failing_slowly(origin.clone(), &is_down);
    let (notices, metrics) = (Notices::new(), LogMetrics::default());
    let options = LogOptions::default();
    let store = LogStore::new(recording.clone(), options, notices.clone(), metrics.clone());
    let checkpoint = path(&format!("{:020}.checkpoint.parquet", 0));
    origin.put(&checkpoint, "rows".into()).await.unwrap();
    // One object listed, and how long it took, in ms.
    let list = async || {
        let began = tokio::time::Instant::now();
        let folder = Path::from(LOG);
        let listed: Vec<_> = store.list(Some(&folder)).try_collect().await.unwrap();
        (listed.len(), began.elapsed().as_millis())
    };
    let second = Duration::from_secs(1);
    list().await;
    is_down.store(true, Relaxed);
    tokio::time::sleep(second).await;
    recording.take();
    assert_eq!(list().await, (1, 4000));
    for _ in 0..20 {
        tokio::time::sleep(second).await;
        let (listed, took) = list().await;
        assert!(listed == 1 && took < 50, "{took} ms");
    }
    assert_eq!(metrics.stale_answers(), 21);
    // The first reader's attempt, and those after pauses of 1, 2 and 4 s: each a listing and a read that takes 4 s.
    assert_eq!(recording.take().len(), 2 * 4);

    // A notice is worth an attempt; its reader waits.
    notices.committed("main/docs/t", 1);
    assert_eq!(list().await, (1, 4000));
    assert_eq!(list().await, (1, 0));
    // That the origin answers again is noticed without one.
    is_down.store(false, Relaxed);
    origin.put(&commit(1), "{}".into()).await.unwrap();
    tokio::time::sleep(second * 15).await;
    recording.take();
    let (listed, _) = list().await;
    assert_eq!(listed, 2);
    // Then nobody tries any longer.
    tokio::time::sleep(second * 60).await;
    assert_eq!(recording.take().len(), 2, "of the reader's own");
}

#[tokio::test]
async fn a_hint_never_names_what_is_not_listed() {
    let bed = Bed::new(long()).await;
    bed.put(&path("_last_checkpoint"), r#"{"version":7,"size":3}"#)
        .await;
    bed.put(&path(&format!("{:020}.checkpoint.parquet", 3)), "rows")
        .await;
    let error = bed.store.get(&path("_last_checkpoint")).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert_eq!(
        bed.lists(),
        2,
        "it is listed once more, for a checkpoint that came in between"
    );
    bed.put(&path(&format!("{:020}.checkpoint.parquet", 7)), "rows")
        .await;
    bed.notices.committed("main/docs/t", 7);
    let hint = bed.store.get(&path("_last_checkpoint")).await.unwrap();
    assert!(hint.bytes().await.unwrap().starts_with(b"{\"version\":7"));
}

#[tokio::test]
async fn several_pods_do_not_name_a_young_checkpoint() {
    let bed = Bed::new(LogOptions {
        hint_age: Duration::from_secs(3600),
        ..long()
    })
    .await;
    bed.put(&path("_last_checkpoint"), r#"{"version":7,"size":3}"#)
        .await;
    bed.put(&path(&format!("{:020}.checkpoint.parquet", 7)), "rows")
        .await;
    let error = bed.store.get(&path("_last_checkpoint")).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn beside_others_an_older_checkpoint_is_named_while_new_ones_come_often() {
    let origin = Arc::new(InMemory::new());
    let written = Arc::new(Mutex::new(Utc::now()));
    let times = Arc::clone(&written);
    let timed = Altered::new(origin.clone(), LOG).altering(move |mut result| {
        result.meta.last_modified = *times.lock();
        result
    });
    let notices = Notices::new();
    notices.set_peers(true);
    let metrics = LogMetrics::default();
    let store = LogStore::new(Arc::new(timed), long(), notices.clone(), metrics);
    let checkpoint = |version: u64| path(&format!("{version:020}.checkpoint.parquet"));
    let put = async |version: u64, age: Duration| {
        *written.lock() = Utc::now() - age;
        let hint = format!(r#"{{"version":{version},"size":3}}"#);
        let hint_path = path("_last_checkpoint");
        origin.put(&hint_path, hint.into()).await.unwrap();
        origin
            .put(&checkpoint(version), "rows".into())
            .await
            .unwrap();
        notices.committed("main/docs/t", version);
    };
    let named = async || match store.get(&path("_last_checkpoint")).await {
        Ok(hint) => Some(hint.bytes().await.unwrap()),
        Err(Error::NotFound { .. }) => None,
        Err(error) => panic!("{error}"),
    };
    let hint = |version: u64| Some(format!(r#"{{"version":{version},"size":3}}"#).into());
    put(0, Duration::ZERO).await;
    assert_eq!(named().await, None, "there is none that is old enough");
    put(1, Duration::from_secs(100)).await;
    assert_eq!(named().await, hint(1));
    for version in 2..10 {
        put(version, Duration::from_secs(30)).await;
        assert_eq!(named().await, hint(1), "beside {version}");
    }
    // A state that is restored lacks the newest one, or that one too.
    let delete = async |version: u64| origin.delete(&checkpoint(version)).await.unwrap();
    delete(9).await;
    notices.committed("main/docs/t", 8);
    assert_eq!(named().await, hint(1));
    delete(8).await;
    delete(1).await;
    notices.committed("main/docs/t", 7);
    assert_eq!(named().await, None);
}

#[tokio::test]
async fn ropes_and_sources_pass_through() {
    let bed = Bed::new(long()).await;
    for passing in ["log/main/docs/t/a.rope", "sources/00/a b.pdf"] {
        let passing = Path::parse(passing).unwrap();
        bed.put(&passing, "0123456789").await;
        let options = GetOptions {
            range: Some((2..5).into()),
            ..GetOptions::default()
        };
        let read = bed.store.get_opts(&passing, options).await.unwrap();
        assert_eq!(read.bytes().await.unwrap().as_ref(), b"234");
    }
}
