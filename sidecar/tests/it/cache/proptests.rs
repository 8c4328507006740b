//! Any interleaving of ranges, evictions, restarts, overwrites and faults gives the origin's bytes or a clean error.

use std::{
    fs, io,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst},
    },
};

use futures::{StreamExt, future::join_all};
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use tempfile::TempDir;
use vdt_rope::testing::{Altered, with_body};
use vdt_sidecar::{
    cache::CacheOptions,
    tiers::{DiskOptions, DiskState, Tiers, TiersOptions},
};

use super::fixture::{Stack, content, generic, memory, put_artifacts, ranged, read, source_path};

/// Few regions.
const DISK_BYTES: u64 = 16 << 20;
/// What the disk takes of it, and room for a few entries: most are read from the disk.
const MEMORY_BYTES: u64 = (8 << 20) + DISK_BYTES / 8192 * 160 + (256 << 10);

#[derive(Debug, Clone)]
enum Step {
    /// Bodies at once; parts of the file in 1/1000.
    Read(Vec<(u16, u16)>),
    /// What the origin does from now on.
    Fault(u8),
    /// A new cache on empty memory, and on the disk as it was closed or, without that, as it lay there.
    Restart { is_clean: bool },
    /// An artifact is overwritten.
    Overwrite(u8),
    /// Readers that leave after one chunk.
    Leave(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let part = (0u16..1000, 0u16..1000);
    prop_oneof![
        6 => prop::collection::vec(part, 1..4).prop_map(Step::Read),
        2 => (0u8..5).prop_map(Step::Fault),
        1 => any::<bool>().prop_map(|is_clean| Step::Restart { is_clean }),
        1 => (0u8..40).prop_map(Step::Overwrite),
        1 => (0u16..1000).prop_map(Step::Leave),
    ]
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![8 => 1usize..600, 3 => 600usize..5_000, 1 => 5_000usize..40_000];
    prop::collection::vec(size, 1..40)
}

/// Refuses, cuts, breaks or lengthens what passes, now and then.
fn faulty(
    inner: Arc<dyn ObjectStore>,
    prefix: &str,
    fault: &Arc<AtomicU8>,
) -> Arc<dyn ObjectStore> {
    let (refuse, alter) = (Arc::clone(fault), Arc::clone(fault));
    let (refused, altered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let broken = || generic("broken");
    let store = Altered::new(inner, prefix)
        .failing(move |_, _| {
            let is_now = refuse.load(SeqCst) == 1 && refused.fetch_add(1, SeqCst) % 2 == 0;
            is_now.then(broken)
        })
        .altering(move |result| {
            let fault = alter.load(SeqCst);
            if fault < 2 || altered.fetch_add(1, SeqCst) % 2 == 0 {
                return result;
            }
            with_body(result, |body| match fault {
                2 => body
                    .map(|chunk| chunk.map(|chunk| chunk.slice(..chunk.len() / 2)))
                    .boxed(),
                3 => body
                    .take(1)
                    .chain(futures::stream::once(async move { Err(broken()) }))
                    .boxed(),
                _ => body
                    .chain(futures::stream::once(async { Ok("more".into()) }))
                    .boxed(),
            })
        });
    Arc::new(store)
}

async fn play(sizes: Vec<usize>, steps: Vec<Step>, composed: bool) {
    let base = memory();
    let (path, file) = put_artifacts(&*base, &sizes).await;
    let fault = Arc::new(AtomicU8::new(0));
    // Sources, ropes, and so the files that are composed of them.
    let origin = faulty(Arc::clone(&base) as _, "", &fault);
    let stack = async |dir: &Path| {
        let tiers = TiersOptions {
            memory_bytes: MEMORY_BYTES,
            disk: Some(DiskOptions::new(dir, DISK_BYTES)),
        };
        let options = CacheOptions {
            block_bytes: 4096,
            whole_bytes: 4096,
            tiny_bytes: 512,
            pack_bytes: 4096,
            run_min: 3,
            run_bytes: 16 << 10,
            segment_blocks: 3,
            read_ahead_bytes: 32 << 10,
            read_ahead_total_bytes: 64 << 10,
            ..CacheOptions::default()
        };
        let tiers = Arc::new(Tiers::open(tiers).await.unwrap());
        assert_eq!(tiers.stats().disk.state, DiskState::Ok);
        let stack = Stack::over(Arc::clone(&origin), Arc::clone(&tiers), composed, options);
        (stack, tiers)
    };
    let mut dir = tempfile::tempdir().unwrap();
    let (mut now, mut tiers) = stack(dir.path()).await;
    let mut is_whole = true;
    let range = |start: u16, length: u16| -> Range<u64> {
        let bytes = file.len() as u64;
        let start = u64::from(start) * bytes / 1000;
        start..(start + 1 + u64::from(length) * bytes / 1000).min(bytes)
    };
    for step in steps {
        match step {
            Step::Read(parts) => {
                let is_clean = fault.load(SeqCst) == 0 && is_whole;
                let reads = parts.into_iter().map(|(start, length)| {
                    let (range, ropes, path) = (range(start, length), &now.ropes, &path);
                    async move { (range.clone(), read(ropes, path, ranged(range, None)).await) }
                });
                for (range, got) in join_all(reads).await {
                    match got {
                        Ok(got) => assert!(
                            got == file[range.start as usize..range.end as usize],
                            "{range:?}"
                        ),
                        Err(error) => assert!(!is_clean, "{range:?}: {error}"),
                    }
                }
            }
            Step::Fault(kind) => {
                now.settle().await;
                fault.store(kind, SeqCst);
            }
            Step::Restart { is_clean } => {
                let copied = (!is_clean).then(|| as_it_lies(dir.path()));
                now.cache.close().await;
                tiers.close().await;
                dir = copied.unwrap_or(dir);
                (now, tiers) = stack(dir.path()).await;
            }
            Step::Overwrite(number) => {
                let number = usize::from(number) % sizes.len();
                let bytes = content(number + 1000, sizes[number]);
                let path = source_path(&format!("a/{number}"));
                base.put(&path, bytes.into()).await.unwrap();
                is_whole = false;
            }
            Step::Leave(start) => {
                let options = ranged(range(start, 300), None);
                if let Ok(result) = now.ropes.get_opts(&path, options).await {
                    let _ = result.into_stream().next().await;
                }
            }
        }
    }
    now.cache.close().await;
    assert_eq!(now.cache.in_flight(), 0);
    tiers.close().await;
}

/// A copy of a folder that is written to meanwhile.
fn as_it_lies(dir: &Path) -> TempDir {
    fn copy(from: &Path, to: &Path) {
        for entry in fs::read_dir(from).unwrap() {
            let (entry, to) = (
                entry.as_ref().unwrap(),
                to.join(entry.as_ref().unwrap().file_name()),
            );
            if entry.file_type().unwrap().is_dir() {
                fs::create_dir(&to).unwrap();
                copy(&entry.path(), &to);
            } else if let Err(error) = fs::copy(entry.path(), &to) {
                // What is looked at may be gone by now.
                assert_eq!(error.kind(), io::ErrorKind::NotFound);
            }
        }
    }
    let copied = tempfile::tempdir().unwrap();
    copy(dir, copied.path());
    copied
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn bytes_are_the_origins_or_an_error(
        sizes in sizes(),
        steps in prop::collection::vec(step(), 1..25),
        composed in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(sizes, steps, composed));
    }
}
