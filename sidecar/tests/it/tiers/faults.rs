//! Files that change under the tiers.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use vdt_sidecar::tiers::{Class, DiskState, Tiers, TiersOptions, reason};

use super::{MIB, entry, fill, found, key, open};

const LENGTH: usize = 200_000;

fn regions(dir: &Path) -> Vec<PathBuf> {
    let mut regions: Vec<_> = fs::read_dir(dir.join("v1"))
        .expect("it is there")
        .map(|entry| entry.expect("it reads").path())
        .filter(|path| path.to_string_lossy().contains("foyer-"))
        .collect();
    regions.sort();
    regions
}

/// Turns a bit over in every 100,000 bytes of every region, `offset` bytes in.
fn rot(dir: &Path, offset: u64) {
    for path in regions(dir) {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .expect("it opens");
        let length = file.metadata().expect("it is there").len();
        for at in (offset..length).step_by(100_000) {
            let mut byte = [0u8];
            file.read_exact_at(&mut byte, at).expect("it is within");
            file.write_all_at(&[byte[0] ^ 0x10], at)
                .expect("it is within");
        }
    }
}

fn why(tiers: &Tiers) -> &'static str {
    match tiers.stats().disk.state {
        DiskState::Degraded { reason, message } => {
            assert!(
                message.ends_with('.') || reason == reason::CACHE_SMALLER,
                "{message}"
            );
            reason
        }
        state => panic!("{state:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_a_miss_while_the_tiers_are_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let tiers = open(dir.path(), MIB, 128 * MIB).await;
    fill(&tiers, 0..20, LENGTH).await;
    rot(dir.path(), 50_000);
    assert_eq!(found(&tiers, 0..20, LENGTH).await, Vec::<u64>::new());
    let stats = tiers.stats().disk;
    assert_eq!(
        (stats.bad_entries, stats.entries, &stats.state),
        (20, 0, &DiskState::Ok)
    );
    // They can be inserted again.
    fill(&tiers, 0..20, LENGTH).await;
    assert_eq!(found(&tiers, 0..20, LENGTH).await.len(), 20);
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_a_miss_after_a_restart() {
    for offset in [50_000, 10, 4096 + 2, 4096 + 30, 4096 + 60, 4096 + 90] {
        let dir = tempfile::tempdir().expect("a directory");
        let tiers = open(dir.path(), 8 * MIB, 128 * MIB).await;
        fill(&tiers, 0..20, LENGTH).await;
        tiers.close().await;
        rot(dir.path(), offset);
        let tiers = open(dir.path(), 8 * MIB, 128 * MIB).await;
        // `found` asserts that none is wrong; bits between entries hurt none.
        let found = found(&tiers, 0..20, LENGTH).await;
        assert!(found.len() < 20, "offset {offset}: {found:?}");
        tiers.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_cut_short_loses_its_entries_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let tiers = open(dir.path(), MIB, 128 * MIB).await;
    fill(&tiers, 0..100, LENGTH).await;
    let cut = &regions(dir.path())[0];
    fs::OpenOptions::new()
        .write(true)
        .open(cut)
        .expect("it opens")
        .set_len(1 << 20)
        .expect("it is cut");
    let found = found(&tiers, 0..100, LENGTH).await;
    assert!(found.len() > 50 && found.len() < 100, "{found:?}");
    let stats = tiers.stats().disk;
    assert_eq!(stats.bad_entries, 100 - found.len() as u64, "{stats:?}");
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_cut_short_is_no_fault_of_the_disk_however_many_entries_it_had() {
    let dir = tempfile::tempdir().expect("a directory");
    let tiers = open(dir.path(), MIB, 128 * MIB).await;
    let length = 20_000;
    fill(&tiers, 0..400, length).await;
    let cut = &regions(dir.path())[0];
    let file = fs::OpenOptions::new().write(true).open(cut);
    file.and_then(|file| file.set_len(0)).expect("it is cut");
    let found = found(&tiers, 0..400, length).await;
    assert!(!found.is_empty() && found.len() < 350, "{found:?}");
    assert_eq!(tiers.stats().disk.state, DiskState::Ok);
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_directory_is_left_and_memory_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = dir.path().join("cache");
    let tiers = open(&cache, 32 * MIB, 128 * MIB).await;
    fill(&tiers, 0..20, LENGTH).await;
    fs::remove_dir_all(&cache).expect("it is removed");
    fill(&tiers, 20..40, LENGTH).await;
    assert_eq!(why(&tiers), reason::DISK_GONE);
    let (name, message) = (reason::DISK_GONE, tiers.stats().disk.state);
    assert!(
        (message.degraded()).is_some_and(|it| it.0 == name && it.1.contains("cache")),
        "{message:?}"
    );
    assert!(tiers.get_memory(Class::Block, key(39)).is_some());
    assert!(tiers.stats().disk.failed_writes > 0);

    // It is not made again behind the back of whoever removed it: the volume may have been unmounted.
    tiers.check_disk().await;
    assert_eq!(why(&tiers), reason::DISK_GONE);
    assert!(!cache.exists());
    // Once it is there again, the tier comes back.
    fs::create_dir(&cache).expect("it is made");
    tiers.check_disk().await;
    assert_eq!(tiers.stats().disk.state, DiskState::Ok);
    fill(&tiers, 40..60, LENGTH).await;
    assert_eq!(tiers.stats().disk.entries, 20);
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_directory_is_noticed_without_a_write() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = dir.path().join("cache");
    let tiers = open(&cache, 32 * MIB, 128 * MIB).await;
    fs::remove_dir_all(&cache).expect("it is removed");
    tiers.check_disk().await;
    assert_eq!(why(&tiers), reason::DISK_GONE);
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_made_is_reported_or_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("file"), "").expect("it is written");
    let mut options = super::options(&dir.path().join("file/cache"), 32 * MIB, 128 * MIB);
    let tiers = Tiers::open(options.clone()).await.expect("memory opens");
    assert_eq!(why(&tiers), reason::DISK_FAILED);
    tiers.insert(
        Class::Block,
        key(1),
        entry(1, 10),
        vdt_sidecar::tiers::Insert::Resident,
    );
    assert!(tiers.get(Class::Block, key(1)).await.is_some());
    tiers.close().await;

    options.disk.as_mut().expect("it is set").strict = true;
    assert!(Tiers::open(options).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_files_are_left_alone_and_other_versions_of_ours_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    for folder in ["v0", "v2", "v3", "photos"] {
        fs::create_dir(path(folder)).expect("it is made");
    }
    fs::write(path("v0/layout.json"), r#"{"cache":"vdt","regionBytes":1}"#).expect("it is written");
    fs::write(path("v0/foyer-storage-direct-fs-00000000"), "x").expect("it is written");
    fs::write(path("v2/thesis.tex"), "x").expect("it is written");
    fs::write(path("v3/layout.json"), r#"{"cache":"another"}"#).expect("it is written");
    fs::write(path("photos/cat.jpg"), "x").expect("it is written");
    fs::create_dir(path("v1")).expect("it is made");
    fs::write(
        path("v1/foyer-storage-direct-fs-00000000"),
        "from another program",
    )
    .expect("it is written");
    fs::write(path("v1/notes"), "x").expect("it is written");

    let tiers = open(dir.path(), 32 * MIB, 128 * MIB).await;
    assert_eq!(tiers.stats().disk.entries, 0);
    fill(&tiers, 0..10, LENGTH).await;
    tiers.close().await;
    assert!(!path("v0").exists());
    for name in [
        "v2/thesis.tex",
        "v3/layout.json",
        "photos/cat.jpg",
        "v1/notes",
    ] {
        assert!(path(name).exists(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_capacity_keeps_what_still_fits() {
    let dir = tempfile::tempdir().expect("a directory");
    let tiers = open(dir.path(), 8 * MIB, 256 * MIB).await;
    fill(&tiers, 0..100, LENGTH).await;
    tiers.close().await;
    for capacity in [512, 256, 300] {
        let tiers = open(dir.path(), 8 * MIB, capacity * MIB).await;
        assert_eq!(
            found(&tiers, 0..100, LENGTH).await.len(),
            100,
            "{capacity} MiB"
        );
        tiers.close().await;
    }
}

#[tokio::test]
async fn options_without_a_disk_need_no_directory() {
    let tiers = Tiers::open(TiersOptions::default())
        .await
        .expect("it opens");
    tiers.check_disk().await;
    tiers.flush().await;
    tiers.close().await;
}
