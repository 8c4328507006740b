//! When a table is refreshed, by a clock that stands still until everybody waits.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use futures::future::join_all;
use object_store::{Error, memory::InMemory};
use tempfile::TempDir;
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep},
};
use vdt_rope::testing::Altered;
use vdt_store::{
    Clock, Definition, OpenMode, RefreshReport, Refresher, RequestError, SourceEnv, StateStore,
    StoreError, TableRefresh, TableStatus, schedule,
};

/// What the clock shows at first, Unix milliseconds.
const BEGAN_MS: u64 = 1_900_000_000_000;

/// A table of one file whose state can be made to fail.
struct Table {
    folder: TempDir,
    is_failing: Arc<AtomicBool>,
    is_panicking: Arc<AtomicBool>,
    asking: Refresher,
    _stop: oneshot::Sender<()>,
    task: Option<JoinHandle<()>>,
}

impl Table {
    async fn start(interval_seconds: u32, suspend: bool) -> Self {
        Self::with(interval_seconds, 0, suspend, TableStatus::default()).await
    }

    async fn with(
        interval_seconds: u32,
        settle_seconds: u32,
        suspend: bool,
        first: TableStatus,
    ) -> Self {
        let folder = TempDir::new().expect("a folder");
        fs::write(folder.path().join("a"), "a").expect("written");
        let sources = "  - {name: here, type: File, file: {path: .}}\n";
        let refresh = (interval_seconds, settle_seconds);
        Self::of(folder, sources, refresh, suspend, first).await
    }

    async fn of(
        folder: TempDir,
        sources: &str,
        (interval_seconds, settle_seconds): (u32, u32),
        suspend: bool,
        first: TableStatus,
    ) -> Self {
        let manifest = format!(
            "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {{name: one}}\nspec:\n  \
             sources:\n{sources}  \
             refresh: {{intervalSeconds: {interval_seconds}, settleSeconds: {settle_seconds}}}\n"
        );
        let table = vdt_crds::parse(manifest.as_bytes())
            .expect("the manifest parses")
            .remove(0);
        let env = SourceEnv {
            base_dir: folder.path().to_owned(),
            ..SourceEnv::default()
        };
        let definition = Definition {
            suspend,
            ..Definition::open(&table, &env).expect("the manifest is valid")
        };
        let is_failing = Arc::new(AtomicBool::new(false));
        let is_panicking = Arc::new(AtomicBool::new(false));
        let (fails, panics) = (is_failing.clone(), is_panicking.clone());
        let store = Altered::new(Arc::new(InMemory::new()), "main").failing(move |_, _| {
            assert!(!panics.load(SeqCst), "a defect");
            let error = Error::Generic {
                store: "test",
                source: "away".into(),
            };
            fails.load(SeqCst).then_some(error)
        });
        let state = StateStore::from_store(Arc::new(store), "memory", OpenMode::ReadWrite);
        let started = Instant::now();
        let clock: Clock = Arc::new(move || BEGAN_MS as i64 + started.elapsed().as_millis() as i64);
        let state = state.await.expect("a state");
        let refresh = TableRefresh::new(Arc::new(definition), state, clock.clone());
        let (asking, task) = schedule(refresh, first);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(task.run(clock, async move { drop(stopped.await) }));
        Self {
            folder,
            is_failing,
            is_panicking,
            asking,
            _stop: stop,
            task: Some(task),
        }
    }

    /// Writes a second file, so long after the clock began.
    fn write_after(&self, elapsed: Duration) {
        let path = self.folder.path().join("b");
        fs::write(&path, "b").expect("written");
        let file = fs::File::options().write(true).open(path).expect("opened");
        let written = SystemTime::UNIX_EPOCH + Duration::from_millis(BEGAN_MS) + elapsed;
        file.set_modified(written).expect("set");
    }

    /// Refreshes that ended before so many milliseconds from now.
    async fn refreshes_after(&self, milliseconds: u64) -> u64 {
        sleep(Duration::from_millis(milliseconds)).await;
        self.asking.status().refreshes
    }
}

#[tokio::test(start_paused = true)]
async fn changed_sources_ask_for_one_refresh_a_second() {
    let table = Table::start(0, false).await;
    for _ in 0..1000 {
        table.asking.drift();
    }
    assert_eq!(table.refreshes_after(900).await, 0);
    assert_eq!(table.refreshes_after(200).await, 1);
    for _ in 0..8 {
        table.asking.drift();
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(table.refreshes_after(0).await, 1);
    assert_eq!(table.refreshes_after(300).await, 2);
    assert_eq!(table.refreshes_after(10_000).await, 2, "and then no more");
}

#[tokio::test(start_paused = true)]
async fn a_table_tells_its_interval_where_it_has_a_timer() {
    let of = async |seconds, suspend| Table::start(seconds, suspend).await.asking.interval();
    assert_eq!(of(3600, false).await, Some(Duration::from_secs(3600)));
    assert_eq!(of(0, false).await, None, "on request only");
    assert_eq!(of(60, true).await, None, "suspended");
    let slow = RefreshReport {
        listing_seconds: 100.0,
        ..RefreshReport::of_version("main/default/one", 0)
    };
    let slow = TableStatus {
        last: Some(Arc::new(slow)),
        ..TableStatus::default()
    };
    let interval = Table::with(60, 0, false, slow).await.asking.interval();
    assert_eq!(interval, Some(Duration::from_secs(1000)));
}

#[tokio::test(start_paused = true)]
async fn a_timer_waits_longer_after_each_failure_and_begins_anew_after_a_success() {
    let table = Table::start(5, false).await;
    assert_eq!(table.refreshes_after(5_100).await, 1);
    table.is_failing.store(true, SeqCst);
    // Failures 10 s after the start, and 1, 2, 4, 8, 16, 32, 60 and 60 s after the one before.
    let mut expected = 1;
    for seconds in [5, 1, 2, 4, 8, 16, 32, 60, 60] {
        expected += 1;
        assert_eq!(
            table.refreshes_after(seconds * 1_000 - 200).await,
            expected - 1
        );
        assert_eq!(table.refreshes_after(200).await, expected, "{seconds} s");
    }
    let status = table.asking.status();
    assert_eq!((status.failures, status.is_current()), (9, false));
    table.is_failing.store(false, SeqCst);
    assert_eq!(table.refreshes_after(60_000).await, expected + 1);
    assert!(table.asking.status().is_current());
    assert_eq!(table.refreshes_after(5_000).await, expected + 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_timer_what_was_held_back_is_shown_once_it_has_settled() {
    let table = Table::with(0, 60, false, TableStatus::default()).await;
    let first = table.asking.ask_and_wait().await.expect("taken");
    assert_eq!(first.expect("it refreshes").artifacts, 1);
    table.write_after(Duration::ZERO);
    let held = table.asking.ask_and_wait().await.expect("taken");
    assert_eq!(held.expect("it refreshes").unsettled, 1);
    assert_eq!(table.refreshes_after(59_000).await, 2);
    assert_eq!(table.refreshes_after(2_000).await, 3);
    let last = table.asking.status().last.expect("a report");
    assert_eq!((last.artifacts, last.unsettled), (2, 0));
    assert_eq!(table.refreshes_after(600_000).await, 3, "and then no more");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_never_settles_is_listed_in_its_interval() {
    for interval in [0, 3600] {
        let table = Table::with(interval, 60, false, TableStatus::default()).await;
        let first = table.asking.ask_and_wait().await.expect("taken");
        first.expect("it refreshes");
        let began = Instant::now();
        let mut last = None;
        while began.elapsed() < Duration::from_secs(1_800) {
            table.write_after(began.elapsed());
            if last.is_none() {
                let held = table.asking.ask_and_wait().await.expect("taken");
                assert_eq!(held.expect("it refreshes").unsettled, 1);
            }
            last = Some(table.refreshes_after(10_000).await);
        }
        assert_eq!(last, Some(5), "two that were asked for, and three");
    }
}

#[tokio::test(start_paused = true)]
async fn what_settles_beside_a_source_that_fails_is_shown_and_asks_no_more_for_that() {
    let folder = TempDir::new().expect("a folder");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let (there, away) = (folder.path().join("other"), elsewhere.path().join("away"));
    fs::create_dir(&there).expect("made");
    for file in ["a", "other/c"] {
        fs::write(folder.path().join(file), "text").expect("written");
    }
    let sources = "  - {name: here, type: File, file: {path: .}, exclude: ['other/**']}\n  \
                   - {name: other, type: File, file: {path: other}}\n";
    let table = Table::of(folder, sources, (0, 5), false, TableStatus::default()).await;
    let first = table.asking.ask_and_wait().await.expect("taken");
    first.expect("it refreshes");
    fs::rename(&there, &away).expect("moved");
    table.write_after(Duration::ZERO);
    let held = table.asking.ask_and_wait().await.expect("taken");
    assert_eq!(held.expect("it refreshes").unsettled, 1);
    // Retries at 1 and 3 s are no looks at what settles.
    table.refreshes_after(8_000).await;
    let last = table.asking.status().last.expect("a report");
    assert_eq!((last.artifacts, last.unsettled), (3, 0));
    // Written all the time it is looked at as what failed is, which is once a minute, and no more often.
    let began = Instant::now();
    let before = table.asking.status().refreshes;
    while began.elapsed() < Duration::from_secs(3_600) {
        table.write_after(began.elapsed() + Duration::from_secs(8));
        sleep(Duration::from_secs(2)).await;
    }
    let looks = table.asking.status().refreshes - before;
    assert!((55..=70).contains(&looks), "{looks}");
}

#[tokio::test(start_paused = true)]
async fn without_a_timer_what_failed_is_tried_again() {
    let table = Table::start(0, false).await;
    let first = table.asking.ask_and_wait().await.expect("taken");
    first.expect("it refreshes");
    table.is_failing.store(true, SeqCst);
    table.asking.ask().expect("taken");
    assert_eq!(table.refreshes_after(3_500).await, 4, "at 0, 1 and 3 s");
    table.is_failing.store(false, SeqCst);
    assert_eq!(table.refreshes_after(4_000).await, 5);
    assert!(table.asking.status().is_current());
    assert_eq!(table.refreshes_after(600_000).await, 5, "and then no more");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_be_listed_does_not_hold_up_the_timer() {
    let table = Table::start(5, false).await;
    assert_eq!(table.refreshes_after(5_100).await, 1);
    let elsewhere = tempfile::tempdir().expect("a folder");
    let (there, away) = (table.folder.path(), elsewhere.path().join("away"));
    fs::rename(there, &away).expect("moved");
    // Other sources of the table may be well: they are listed in their interval.
    let refreshes = table.refreshes_after(600_000).await;
    assert!(refreshes >= 100, "{refreshes}");
    fs::rename(&away, there).expect("moved");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_be_listed_is_tried_again_as_what_failed() {
    for interval in [0, 3600] {
        let table = Table::start(interval, false).await;
        let first = table.asking.ask_and_wait().await.expect("taken");
        first.expect("it refreshes");
        let listed_ms = table.asking.status().last_success_ms;
        sleep(Duration::from_secs(1)).await;
        let (there, away) = (
            table.folder.path().to_owned(),
            tempfile::tempdir().expect("a folder"),
        );
        let away = away.path().join("away");
        fs::rename(&there, &away).expect("moved");
        let second = table.asking.ask_and_wait().await.expect("taken");
        let report = second.expect("the version stands");
        assert_eq!(report.sources[0].reason, "SourceNotFound");
        let status = table.asking.status();
        assert_eq!((status.failures, status.is_current()), (0, false));
        assert_eq!(status.last_success_ms, listed_ms, "nothing was shown anew");
        assert_eq!(table.refreshes_after(900).await, 2);
        assert_eq!(table.refreshes_after(2_600).await, 4, "after 1 and 3 s");
        fs::rename(&away, &there).expect("moved");
        assert_eq!(table.refreshes_after(4_000).await, 5);
        assert!(table.asking.status().is_current());
        assert!(table.asking.status().last_success_ms > listed_ms);
        assert_eq!(table.refreshes_after(600_000).await, 5, "and then no more");
    }
}

#[tokio::test(start_paused = true)]
async fn what_failed_before_the_task_began_is_tried_again_without_a_timer() {
    let first = TableStatus {
        error: Some(("SourceNotFound", "away".to_owned())),
        ..TableStatus::default()
    };
    let table = Table::with(0, 0, false, first).await;
    assert_eq!(table.refreshes_after(1_100).await, 1);
    assert!(table.asking.status().is_current());
}

#[tokio::test(start_paused = true)]
async fn changed_sources_that_no_refresh_cures_wait_as_the_timer_does() {
    for (interval, seconds) in [(30, 30), (0, 60)] {
        let table = Table::start(interval, false).await;
        let first = table.asking.ask_and_wait().await.expect("taken");
        assert!(first.expect("it refreshes").committed);
        // A reader stays with what was overwritten.
        let mut ended = Vec::new();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(3 * seconds) {
            table.asking.drift();
            let before = table.asking.status().refreshes;
            if table.refreshes_after(500).await > before {
                ended.push(began.elapsed().as_secs());
            }
        }
        assert_eq!(ended, [1, seconds + 1, 2 * seconds + 1], "{interval}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_panics_is_told_and_tried_again() {
    let table = Table::start(0, false).await;
    let first = table.asking.ask_and_wait().await.expect("taken");
    first.expect("it refreshes");
    table.is_panicking.store(true, SeqCst);
    let told = table.asking.ask_and_wait().await.expect("answered");
    let error = told.expect_err("it panicked");
    assert!(
        error.to_string().contains("ended early: a defect"),
        "{error}"
    );
    let status = table.asking.status();
    assert_eq!(status.error.expect("told").0, "Cancelled");
    table.is_panicking.store(false, SeqCst);
    assert_eq!(table.refreshes_after(1_100).await, 3);
    assert!(table.asking.status().is_current());
}

#[tokio::test(start_paused = true)]
async fn who_asks_at_once_shares_a_refresh_and_too_many_are_told() {
    let table = Table::start(0, false).await;
    let outcomes = join_all((0..200).map(|_| table.asking.ask_and_wait())).await;
    for outcome in outcomes {
        assert_eq!(outcome.expect("taken").expect("it refreshes").version, 0);
    }
    assert_eq!(table.asking.status().refreshes, 1);
    // The task has had no time to take any of these.
    let refused = (0..300)
        .filter(|_| table.asking.ask() == Err(RequestError::Busy))
        .count();
    assert_eq!(refused, 44);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_table_is_not_refreshed_whoever_asks() {
    let mut table = Table::start(5, true).await;
    let refusal = table.asking.refusal().expect("it says so before");
    assert!(matches!(refusal, StoreError::Suspended { .. }), "{refusal}");
    assert!(Table::start(5, false).await.asking.refusal().is_none());
    table.asking.drift();
    let refused = table.asking.ask_and_wait().await.expect("it answers");
    let error = refused.expect_err("it does not refresh");
    assert!(
        matches!(&*error, StoreError::Suspended { table } if table == "main/default/one"),
        "{error}"
    );
    assert_eq!(table.refreshes_after(60_000).await, 0);
    let task = table.task.take().expect("a task");
    let asking = table.asking.clone();
    drop(table);
    task.await.expect("it ends");
    assert_eq!(asking.ask(), Err(RequestError::Closed));
}
