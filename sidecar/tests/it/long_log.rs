//! Logs that are long: what is asked for anew, how long that may take, and what is noticed all the same.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, TryStreamExt};
use object_store::{
    ObjectMeta, ObjectStore, ObjectStoreExt,
    memory::InMemory,
    path::Path,
    throttle::{ThrottleConfig, ThrottledStore},
};
use tokio::time::{Instant, advance, sleep};
use vdt_rope::testing::{Recording, Request};
use vdt_sidecar::log::{LogMetrics, LogOptions, LogStore, Notices};

const LOG: &str = "log/main/docs/t/_delta_log";
/// Commits, and the checkpoint among them.
const COMMITS: u64 = 40;
const CHECKPOINT: u64 = 30;

fn file(version: u64, kind: &str) -> Path {
    Path::parse(format!("{LOG}/{version:020}.{kind}")).unwrap()
}

/// A long log.
struct Bed {
    origin: Arc<InMemory>,
    slow: Arc<ThrottledStore<Arc<InMemory>>>,
    recording: Arc<Recording>,
    notices: Notices,
    metrics: LogMetrics,
    store: LogStore,
}

impl Bed {
    /// Whose listing takes so long an entry.
    async fn new(an_entry: Duration) -> Self {
        let origin = Arc::new(InMemory::new());
        for version in 0..COMMITS {
            put(&origin, version, "json", "{}").await;
        }
        put(&origin, CHECKPOINT, "checkpoint.parquet", "rows").await;
        let slow = ThrottledStore::new(Arc::clone(&origin), ThrottleConfig::default());
        let slow = Arc::new(slow);
        let recording = Arc::new(Recording::new(Arc::clone(&slow) as _));
        let (notices, metrics) = (Notices::new(), LogMetrics::default());
        let options = LogOptions::default();
        let store = LogStore::new(recording.clone(), options, notices.clone(), metrics.clone());
        let bed = Self {
            origin,
            slow,
            recording,
            notices,
            metrics,
            store,
        };
        bed.takes(an_entry);
        bed
    }

    /// A listing takes so long an entry from now on.
    fn takes(&self, an_entry: Duration) {
        self.slow
            .config_mut(|config| config.wait_list_per_entry = an_entry);
    }

    async fn listed(&self) -> Vec<ObjectMeta> {
        let folder = Path::from(LOG);
        self.store.list(Some(&folder)).try_collect().await.unwrap()
    }

    /// What the origin has.
    async fn there(&self) -> Vec<ObjectMeta> {
        let folder = Path::from(LOG);
        let listed = self.origin.list(Some(&folder)).try_collect();
        listed.await.unwrap()
    }

    /// What listings began behind since the last call.
    fn offsets(&self) -> Vec<Option<String>> {
        let requests = self.recording.take().into_iter();
        let of_lists = requests.filter_map(|request| match request {
            Request::List { offset, .. } => Some(offset),
            _ => None,
        });
        of_lists
            .map(|offset| Some(offset?.filename()?.to_owned()))
            .collect()
    }
}

async fn put(origin: &InMemory, version: u64, kind: &str, body: &'static str) {
    origin.put(&file(version, kind), body.into()).await.unwrap();
}

fn behind(version: u64) -> Option<String> {
    Some(format!("{version:020}"))
}

#[tokio::test(start_paused = true)]
async fn what_was_listed_is_asked_for_no_more_behind_the_newest_checkpoint() {
    let bed = Bed::new(Duration::ZERO).await;
    assert_eq!(bed.listed().await, bed.there().await);
    assert_eq!(bed.offsets(), [None]);
    // Nothing new, a commit and its checksum, a checkpoint of a version that is not the newest, and a commit on that.
    let steps: [&[(u64, &str)]; 4] = [
        &[],
        &[(COMMITS, "json"), (COMMITS, "crc")],
        &[(COMMITS - 1, "checkpoint.parquet"), (COMMITS - 1, "crc")],
        &[(COMMITS + 1, "json")],
    ];
    let begun = [CHECKPOINT, CHECKPOINT, CHECKPOINT, COMMITS - 1];
    for (files, begun) in steps.into_iter().zip(begun) {
        for &(version, kind) in files {
            put(&bed.origin, version, kind, "new").await;
        }
        advance(Duration::from_secs(1)).await;
        assert_eq!(bed.listed().await, bed.there().await);
        assert_eq!(bed.offsets(), [behind(begun)]);
    }
    // Whatever may have happened while the origin was away.
    bed.notices.invalidate_all();
    assert_eq!(bed.listed().await, bed.there().await);
    assert_eq!(bed.offsets(), [None]);
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_restored_is_listed_wholly() {
    // One that lost commits, the newest checkpoint, or both; and one that has gone on since.
    let lost: [&[(u64, &str)]; 3] = [
        &[(COMMITS - 1, "json")],
        &[(CHECKPOINT, "checkpoint.parquet")],
        &[(COMMITS - 1, "json"), (CHECKPOINT, "checkpoint.parquet")],
    ];
    for files in lost {
        for is_written_again in [false, true] {
            let bed = Bed::new(Duration::ZERO).await;
            bed.listed().await;
            for &(version, kind) in files {
                bed.origin.delete(&file(version, kind)).await.unwrap();
                if is_written_again {
                    put(&bed.origin, version, kind, "{}").await;
                }
            }
            // Of the old part too there is another one.
            put(&bed.origin, 3, "json", "{}").await;
            advance(Duration::from_secs(1)).await;
            assert_eq!(bed.listed().await, bed.there().await);
            assert_eq!(bed.offsets(), [None, behind(CHECKPOINT), None]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_changes_behind_the_newest_checkpoint_is_noticed_within_minutes() {
    let bed = Bed::new(Duration::ZERO).await;
    bed.listed().await;
    put(&bed.origin, 3, "json", "{}").await;
    advance(Duration::from_secs(300)).await;
    assert_eq!(bed.listed().await, bed.there().await);
    assert_eq!(bed.offsets(), [None, None]);
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_takes_long_and_goes_on_is_waited_for() {
    let bed = Bed::new(Duration::from_millis(400)).await;
    bed.listed().await;
    put(&bed.origin, COMMITS, "json", "{}").await;
    bed.notices.invalidate_all();
    let began = Instant::now();
    assert_eq!(bed.listed().await, bed.there().await);
    assert!(began.elapsed() > Duration::from_secs(15));
    assert_eq!(bed.metrics.stale_answers(), 0);
}

#[tokio::test(start_paused = true)]
async fn of_an_origin_that_is_silent_what_is_kept_is_served_and_what_it_says_is_kept() {
    let bed = Bed::new(Duration::ZERO).await;
    let before = bed.listed().await;
    bed.takes(Duration::from_secs(20));
    put(&bed.origin, COMMITS, "json", "{}").await;
    bed.notices.committed("main/docs/t", COMMITS);
    let began = Instant::now();
    assert_eq!(bed.listed().await, before);
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    // Nobody waits twice.
    assert_eq!(bed.listed().await, before);
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    assert_eq!(bed.offsets(), [None, behind(CHECKPOINT)]);
    sleep(Duration::from_secs(20) * 13).await;
    // The attempt has ended and what it took is older than a second, so another one is under way.
    assert_eq!(bed.listed().await, bed.there().await);
    assert_eq!(bed.offsets(), [behind(CHECKPOINT)]);
}

#[tokio::test(start_paused = true)]
async fn a_listing_goes_on_when_the_reader_that_began_it_leaves() {
    let bed = Bed::new(Duration::from_millis(100)).await;
    let began = Instant::now();
    let mut leaves = Box::pin(bed.listed());
    assert!((&mut leaves).now_or_never().is_none());
    sleep(Duration::from_millis(900)).await;
    drop(leaves);
    let (one, other) = tokio::join!(bed.listed(), bed.listed());
    assert_eq!((one.len(), other.len()), (41, 41));
    assert_eq!(bed.offsets(), [None], "one listing is for all of them");
    assert!(began.elapsed() < Duration::from_secs(5));
    // As bounded: with nobody who has the log, nothing goes on.
    bed.notices.invalidate_all();
    assert!(bed.listed().now_or_never().is_none());
    let recording = Arc::clone(&bed.recording);
    drop(bed);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(Arc::strong_count(&recording), 1);
}
