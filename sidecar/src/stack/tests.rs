use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use clap::Parser;
use object_store::{ObjectStoreExt, memory::InMemory};
use prometheus_client::encoding::text::encode;
use tokio::time::Instant;
use vdt_rope::{
    DriftReason,
    testing::{Altered, Recording},
};

use super::*;

const TABLE: &str = "main/default/papers";

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    staleness: StalenessArgs,
}

/// A table whose manifest says this of the cache, as a line of YAML.
fn table(cache: &str) -> VirtualTable {
    let text = format!(
        "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {{name: papers}}\nspec:\n  \
         sources: [{{name: a, type: File, file: {{path: a}}}}]\n  server: {{cache: {cache}}}\n"
    );
    let mut tables = vdt_crds::parse(text.as_bytes()).expect("a manifest");
    tables.pop().expect("a table")
}

/// What flags and a manifest ask for where there is no folder by default; the refusal, if it is one.
fn asked(flags: &[&str], cache: &str) -> Result<Option<AskedCache>, String> {
    let flags = Flags::parse_from(["vdt"].iter().chain(flags)).cache;
    let tables = [table(cache)];
    let asked = flags.resolve(&tables, CacheDefaults::POD, None);
    asked.map_err(|refused| refused.to_string())
}

/// An origin that has a rope of the table.
async fn origin() -> Arc<dyn ObjectStore> {
    let origin = InMemory::new();
    let rope = Path::from(format!("log/{TABLE}/{:032x}-7.rope", 1));
    origin.put(&rope, "a rope".into()).await.expect("it is put");
    Arc::new(origin)
}

async fn stack(origin: Arc<dyn ObjectStore>, cache: Option<AskedCache>) -> Stack {
    let options = StackOptions {
        log: LogOptions::default(),
        notices: Notices::new(),
        cache,
        store_id: "a state".to_owned(),
        files: None,
        ropes: RopeStoreOptions::default(),
    };
    let opened = Stack::open(origin, options, &mut Registry::default()).await;
    opened.expect("it opens")
}

#[test]
fn flags_that_ask_for_a_disk_tier_are_refused_without_a_folder() {
    for (flags, named) in [
        (&["--cache-disk", "5Gi"][..], &["--cache-disk 5Gi"][..]),
        (&["--cache-strict"], &["--cache-strict"]),
        (
            &["--cache-disk", "5Gi", "--cache-strict"],
            &["--cache-disk 5Gi", "--cache-strict"],
        ),
    ] {
        let told = asked(flags, "{}").expect_err("it is refused");
        for part in named.iter().chain(&["--cache-dir"]) {
            assert!(told.contains(part), "{told}");
        }
        let placed = [flags, &["--cache-dir", "/var/cache/vdt"]].concat();
        let placed = asked(&placed, "{}").expect("it is taken").expect("a cache");
        assert!(placed.tiers.disk.is_some());
    }
}

#[test]
fn memory_that_leaves_none_to_entries_is_refused() {
    for (given, is_taken) in [("0", false), ("8Mi", false), ("16Mi", true)] {
        match asked(&["--cache-memory", given], "{}") {
            Ok(_) => assert!(is_taken, "{given}"),
            Err(told) => {
                assert!(!is_taken, "{told}");
                for part in ["--cache-memory", given, "16Mi", "--no-cache"] {
                    assert!(told.contains(part), "{told}");
                }
            }
        }
    }
}

#[test]
fn where_no_disk_tier_is_asked_for_it_needs_no_folder() {
    for (flags, cache) in [
        (&[][..], "{}"),
        (&["--cache-disk", "0", "--cache-strict"], "{}"),
        (
            &["--cache-strict"],
            "{disk: {volume: {type: None}}, memory: {capacity: 2Gi}}",
        ),
        (&["--cache-disk", "0"], "{disk: {capacity: 100Gi}}"),
    ] {
        let asked = asked(flags, cache).expect("it is taken").expect("a cache");
        assert_eq!((asked.tiers.disk, asked.without_folder), (None, None));
    }
    assert_eq!(asked(&["--no-cache"], "{disk: {capacity: 1Gi}}"), Ok(None));
}

#[test]
fn a_volume_is_shared_with_others_where_it_is_a_nodes_disk() {
    for (cache, defaults, expected) in [
        ("{}", CacheDefaults::POD, true),
        ("{}", CacheDefaults::LAPTOP, false),
        ("{disk: {capacity: 1Gi}}", CacheDefaults::POD, true),
        ("{memory: {capacity: 2Gi}}", CacheDefaults::LAPTOP, false),
        (
            "{disk: {volume: {type: EphemeralVolume}}}",
            CacheDefaults::POD,
            false,
        ),
    ] {
        let flags = Flags::parse_from(["vdt", "--cache-dir", "/var/cache/vdt"]).cache;
        let asked = flags.resolve(&[table(cache)], defaults, None);
        let asked = asked.expect("it is taken").expect("a cache");
        let disk = asked.tiers.disk.expect("a disk tier");
        assert_eq!(disk.shared, expected, "{cache}");
    }
}

#[tokio::test]
async fn a_disk_tier_that_a_manifest_asks_for_without_a_folder_is_told() {
    const DISK: &str = "{disk: {capacity: 100Gi}}";
    let refused = asked(&["--cache-strict"], DISK).expect_err("it is refused");
    assert!(refused.contains("--cache-strict"), "{refused}");

    let asked = asked(&[], DISK).expect("it is taken");
    let stack = stack(origin().await, asked).await;
    let (reason, message) = stack.degraded().expect("it is told");
    assert_eq!(reason, "NoCacheDir");
    for part in ["100Gi", "--cache-dir", "--cache-disk 0"] {
        assert!(message.contains(part), "{message}");
    }
    let condition = stack.report().expect("a cache").condition(0);
    let told = (condition.status, condition.reason, condition.message);
    assert_eq!(told, ("False".to_owned(), reason, message));
}

#[tokio::test]
async fn a_cache_in_memory_alone_is_told_only_where_more_was_asked_for() {
    let asked = asked(&[], "{}").expect("it is taken");
    let stack = stack(origin().await, asked).await;
    assert_eq!(stack.degraded(), None);
    assert_eq!(stack.report().expect("a cache").condition(0).status, "True");
}

#[test]
fn logs_are_trusted_for_a_second_or_as_long_as_asked_within_half_a_minute() {
    let staleness = |flags: &[&str]| {
        let flags = Flags::try_parse_from(["vdt"].iter().chain(flags));
        flags.map(|flags| flags.staleness.log().staleness.as_secs())
    };
    assert_eq!(staleness(&[]).ok(), Some(1));
    assert_eq!(staleness(&["--staleness-seconds", "30"]).ok(), Some(30));
    for refused in ["0", "31"] {
        let refused = staleness(&["--staleness-seconds", refused]);
        assert!(refused.is_err(), "{refused:?}");
    }
}

#[tokio::test]
async fn a_warm_up_loads_ropes_where_manifests_do_not_say_otherwise() {
    for (cache, is_asked) in [
        ("{}", true),
        ("{warmup: {mode: Metadata}}", true),
        ("{warmup: {mode: None}}", false),
    ] {
        let origin = Arc::new(Recording::new(origin().await));
        let asked = asked(&[], cache).expect("it is taken");
        let stack = stack(Arc::clone(&origin) as _, asked).await;
        stack.warm(&[table(cache)]).await;
        let requests = origin.take();
        let is_read = requests.iter().any(|it| it.is_read_below("log/"));
        assert_eq!((is_read, requests.is_empty()), (is_asked, !is_asked));
    }
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_takes_no_longer_than_manifests_give_it() {
    const WARMUP: &str = "{warmup: {timeoutSeconds: 7}}";
    let slow = Altered::new(origin().await, "").delaying(Duration::from_secs(3600));
    let asked = asked(&[], WARMUP).expect("it is taken");
    let stack = stack(Arc::new(slow), asked).await;
    let began = Instant::now();
    stack.warm(&[table(WARMUP)]).await;
    assert_eq!(began.elapsed(), Duration::from_secs(7));
}

#[test]
fn a_read_that_meets_a_changed_source_is_counted_once_and_told() {
    let mut registry = Registry::default();
    let told = Arc::new(AtomicU64::new(0));
    let tell = Arc::clone(&told);
    let ropes = RopeStoreOptions {
        on_drift: Some(Arc::new(move |_| {
            tell.fetch_add(1, Ordering::Relaxed);
        })),
        ..RopeStoreOptions::default()
    };
    let ropes = counted(ropes, &mut registry);
    let met = ropes.on_drift.expect("it is told");
    met(Drift {
        location: Path::from("c/s/t/a.parquet"),
        source: "0011223344556677".into(),
        key: "a.pdf".to_owned(),
        reason: DriftReason::Gone,
    });
    let mut text = String::new();
    encode(&mut text, &registry).expect("a String takes everything");
    assert!(text.contains("\nvdt_source_drift_total 1\n"), "{text}");
    assert_eq!(told.load(Ordering::Relaxed), 1);
}
