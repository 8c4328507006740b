//! A bucket that does not answer: whom it holds up.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{future::join_all, stream::BoxStream};
use object_store::{
    GetOptions, GetResult, ListResult, ObjectMeta, ObjectStore, Result, memory::InMemory,
    path::Path,
};
use tokio::time::{sleep, timeout};
use vdt_rope::testing::Altered;
use vdt_rope::{ReadContext, Reference, RopeStore, RopeStoreOptions, Segment, SourceObject};
use vdt_sidecar::{
    cache::CacheOptions,
    tiers::{Tiers, TiersOptions},
};

use super::fixture::{
    SOURCE, Stack, content, memory, put_artifacts, put_rope, put_source, ranged, read, source_path,
};

/// Id of the source that does not answer.
const HUNG: &str = "00000000000000ff";

/// Bytes of an artifact that a scanned file begins with.
const FIRST_BYTES: u64 = 700_000;

/// An object that a source may have, as it would be listed.
fn object(source: &str, key: String, bytes: u64) -> Arc<SourceObject> {
    Arc::new(SourceObject {
        source: source.into(),
        key: key.into(),
        size: bytes,
        etag: Some("e".into()),
        last_modified_ms: 0,
        version: None,
    })
}

/// Artifacts that the hung source would have, and the bytes of each.
fn hung_segments(count: u64, bytes: u64) -> impl Iterator<Item = Segment> {
    (0..count).map(move |number| {
        Segment::Reference(Reference::whole(object(HUNG, number.to_string(), bytes)))
    })
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_holds_up_no_other_and_no_rope() {
    for composed in [false, true] {
        // Readers of large artifacts, of small ones, and of tiny ones: requests for blocks, for runs and read-ahead, for packs.
        for (count, bytes) in [(8, 16 << 20), (400, 100_000), (2_000, 10_000)] {
            let origin = memory();
            let hung = put_rope(&*origin, hung_segments(count, bytes)).await;
            let (path, file) = put_artifacts(&*origin, &[300_000, 5_000, 5_000]).await;
            let prefix = format!("sources/{HUNG}");
            let origin = Altered::new(origin, &prefix).delaying(Duration::from_secs(3600));
            let stack = Stack::new(Arc::new(origin), composed, CacheOptions::default()).await;
            let part = count * bytes / 8;
            let waiting = join_all((0..8).map(|number| {
                let range = number * part..(number + 1) * part;
                read(&stack.ropes, &hung, ranged(range, None))
            }));
            let other = async {
                sleep(Duration::from_secs(10)).await;
                let whole = read(&stack.ropes, &path, ranged(0..file.len() as u64, None));
                let got = timeout(Duration::from_secs(1), whole).await;
                assert!(got.expect("in time").unwrap() == file);
            };
            tokio::select! {
                _ = waiting => panic!("it hangs"),
                () = other => {}
            }
        }
    }
}

/// Looks an object's file up before it answers for the object, as the link does for sources that are declared no longer.
#[derive(Debug)]
struct ThroughFile(Arc<dyn ObjectStore>);

impl fmt::Display for ThroughFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ThroughFile({})", self.0)
    }
}

fn refused(operation: &str) -> object_store::Error {
    let source = operation.into();
    object_store::Error::NotSupported { source }
}

#[async_trait]
impl ObjectStore for ThroughFile {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if let Some(context) = ReadContext::of(&options) {
            context.map.frame(context.at).await?;
        }
        self.0.get_opts(location, options).await
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    vdt_rope::refuse_writes!(refused);
}

#[tokio::test(start_paused = true)]
async fn a_source_within_whose_turn_a_rope_is_read_waits_for_no_turn_of_its_own() {
    let origin = memory();
    let (path, file) = put_artifacts(&*origin, &[300_000; 8]).await;
    // Nothing is kept, of blocks or of frames: the rope is asked for each time.
    let tiers = TiersOptions {
        memory_bytes: 1024,
        ..TiersOptions::default()
    };
    let options = CacheOptions {
        concurrent_fetches: 2,
        read_ahead_bytes: 0,
        ..CacheOptions::default()
    };
    let tiers = Arc::new(Tiers::open(tiers).await.unwrap());
    let stack = Stack::over(Arc::new(ThroughFile(origin)), tiers, false, options);
    let frames = RopeStoreOptions {
        frame_cache_bytes: 0,
        ..RopeStoreOptions::default()
    };
    let ropes = RopeStore::new(Arc::new(stack.cache.clone()), frames);
    read(&ropes, &path, ranged(0..2, None)).await.unwrap();
    let reads = (0..4).map(|_| read(&ropes, &path, ranged(0..file.len() as u64, None)));
    let got = timeout(Duration::from_secs(60), join_all(reads)).await;
    for got in got.expect("nobody waits for ever") {
        assert!(got.unwrap() == file);
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_answers_is_asked_by_more_requests_and_never_by_all() {
    let origin = memory();
    let (path, file) = put_artifacts(&*origin, &[100_000; 400]).await;
    let slow = Altered::new(origin, "sources").delaying(Duration::from_secs(1));
    let stack = Stack::new(Arc::new(slow), false, CacheOptions::default()).await;
    let part = file.len() as u64 / 8;
    let reads = (0..8).map(|number| {
        let range = number * part..(number + 1) * part;
        read(&stack.ropes, &path, ranged(range, None))
    });
    for got in join_all(reads).await {
        got.unwrap();
    }
    assert_eq!(stack.origin.open_max(), 32);
}

/// Settings with which few requests are enough to be all: a source has 4 at most, and read-ahead one less.
fn few_requests() -> CacheOptions {
    CacheOptions {
        concurrent_fetches: 8,
        run_bytes: 1 << 20,
        ..CacheOptions::default()
    }
}

/// A file of `first` artifacts, and the rest behind them.
async fn put_before(origin: &InMemory, first: u64, rest: Vec<Segment>) -> Path {
    let mut segments = Vec::new();
    for number in 0..first {
        let bytes = content(number as usize, FIRST_BYTES as usize);
        let object = put_source(origin, &format!("first/{number}"), bytes).await;
        segments.push(Segment::Reference(Reference::whole(object)));
    }
    segments.extend(rest);
    put_rope(origin, segments).await
}

/// Walks through the artifacts that a file begins with, which is a scan from the third on.
async fn walk(stack: &Stack, path: &Path, first: u64) {
    for number in 0..first {
        let range = number * FIRST_BYTES..(number + 1) * FIRST_BYTES;
        read(&stack.ropes, path, ranged(range, None)).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_read_ahead_and_hangs_leaves_requests_to_those_who_ask() {
    // By requests for objects, for packs, for runs.
    for (composed, count, bytes) in [
        (false, 200, 100_000),
        (false, 2_000, 10_000),
        (true, 200, 100_000),
    ] {
        let origin = memory();
        let mut slow = Vec::new();
        for number in 0..count {
            let object =
                put_source(&*origin, &format!("slow/{number}"), content(number, bytes)).await;
            slow.push(Segment::Reference(Reference::whole(object)));
        }
        let scanned = put_before(&origin, 8, slow).await;
        let (path, file) = put_artifacts(&*origin, &[300_000]).await;
        let prefix = source_path("slow");
        let origin = Altered::new(origin, prefix.as_ref()).delaying(Duration::from_secs(3600));
        let stack = Stack::new(Arc::new(origin), composed, few_requests()).await;
        walk(&stack, &scanned, 8).await;
        assert!(stack.cache.in_flight() > 3, "read ahead, and hangs");
        let whole = read(&stack.ropes, &path, ranged(0..file.len() as u64, None));
        let got = timeout(Duration::from_secs(1), whole).await;
        assert!(got.expect("in time").unwrap() == file, "{composed} {bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_read_ahead_takes_the_room_of_the_source_that_has_it() {
    // The scanned file goes on in another source, which hangs.
    let origin = memory();
    let scanned = put_before(&origin, 8, hung_segments(400, 100_000).collect()).await;
    let (path, file) = put_artifacts(&*origin, &[100_000; 60]).await;
    let origin =
        Altered::new(origin, &format!("sources/{HUNG}")).delaying(Duration::from_secs(3600));
    let options = CacheOptions {
        read_ahead_total_bytes: 4 << 20,
        ..CacheOptions::default()
    };
    let stack = Stack::new(Arc::new(origin), false, options).await;
    walk(&stack, &scanned, 8).await;
    assert!(stack.cache.in_flight() > 20, "three quarters of the room");
    // A scan of the first source finds what the other leaves: more than a quarter of that.
    let before = stack.cache.report().read_ahead_bytes;
    let range = 0..file.len() as u64;
    let got = read(&stack.ropes, &path, ranged(range, None)).await;
    assert!(got.unwrap() == file);
    assert!(stack.cache.report().read_ahead_bytes > before);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_asked_for_is_not_counted_as_read_ahead() {
    let origin = memory();
    // No path has an empty part.
    let nameless = (0..400).map(|number| {
        Segment::Reference(Reference::whole(object(
            SOURCE,
            format!("a//{number}"),
            100_000,
        )))
    });
    let scanned = put_before(&origin, 3, nameless.collect()).await;
    let stack = Stack::new(origin, false, CacheOptions::default()).await;
    walk(&stack, &scanned, 3).await;
    assert_eq!(stack.cache.report().read_ahead_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_what_waits_to_be_read_ahead_waits_no_longer_with_it() {
    const HANG: u64 = 10;
    let origin = memory();
    let mut behind = Vec::new();
    let names = (0..HANG).map(|number| format!("hung/{number}"));
    for name in names.chain((0..100).map(|number| format!("fine/{number}"))) {
        let object = put_source(&*origin, &name, content(7, 100_000)).await;
        behind.push(Segment::Reference(Reference::whole(object)));
    }
    let scanned = put_before(&origin, 8, behind).await;
    let prefix = source_path("hung");
    let origin = Altered::new(origin, prefix.as_ref()).delaying(Duration::from_secs(3600));
    let stack = Stack::new(Arc::new(origin), false, few_requests()).await;
    walk(&stack, &scanned, 8).await;
    let under_way = stack.cache.in_flight() as u64;
    assert!(
        under_way > HANG + 1,
        "some wait behind what hangs: {under_way}"
    );
    // The first one that does not hang.
    let start = 8 * FIRST_BYTES + HANG * 100_000;
    let lookup = read(&stack.ropes, &scanned, ranged(start..start + 100_000, None));
    let got = timeout(Duration::from_secs(1), lookup).await;
    assert!(got.expect("in time").unwrap() == content(7, 100_000));
}
