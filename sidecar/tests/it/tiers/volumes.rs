//! Small real file systems: full, read-only, smaller than asked.
//!
//! Mounting needs rights that not every machine gives; a test says so and passes without them ([`skip`]).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use vdt_sidecar::tiers::{Class, DiskState, Tiers, TiersError, reason};

use super::{MIB, fill, found, key, open, options, skip};

const LENGTH: usize = 200_000;

/// A mounted file system that is unmounted when dropped.
struct Volume {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Volume {
    fn tmpfs(mib: u64) -> Option<Self> {
        let size = format!("size={mib}m");
        Self::mount(|path| {
            run(Command::new("mount")
                .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
                .arg(path))
        })
    }

    fn ext4(mib: u64) -> Option<Self> {
        Self::mount(|path| {
            let image = path.with_extension("img");
            fs::File::create(&image)
                .and_then(|file| file.set_len(mib * MIB))
                .ok()?;
            run(Command::new("mkfs.ext4")
                .args(["-q", "-m", "0"])
                .arg(&image))?;
            run(Command::new("mount")
                .args(["-o", "loop,errors=remount-ro"])
                .arg(&image)
                .arg(path))
        })
    }

    fn mount(mount: impl FnOnce(&Path) -> Option<()>) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("volume");
        fs::create_dir(&path).expect("it is made");
        if mount(&path).is_none() {
            skip(
                "this machine does not let the test mount a file system",
                "/dev/loop-control",
            );
            return None;
        }
        Some(Self { path, _dir: dir })
    }

    /// Makes ext4 believe that its device failed.
    fn fail(&self) -> Option<()> {
        let mounts = fs::read_to_string("/proc/mounts").ok()?;
        let is_ours = |line: &&str| {
            line.split(' ')
                .nth(1)
                .is_some_and(|path| Path::new(path) == self.path)
        };
        let device = mounts.lines().find(is_ours)?.split(' ').next()?;
        let name = device.strip_prefix("/dev/")?;
        fs::write(format!("/sys/fs/ext4/{name}/trigger_fs_error"), "1").ok()
    }

    /// Bytes that can be had.
    fn free(&self) -> u64 {
        let volume = rustix::fs::statvfs(&self.path).expect("it is there");
        volume.f_bavail * volume.f_frsize
    }

    /// Another program takes all but so many bytes.
    fn take_all_but(&self, bytes: u64) {
        let hog = fs::File::create(self.path.join("hog")).expect("it is made");
        let megabyte = vec![7u8; MIB as usize];
        while self.free() > bytes {
            std::io::Write::write_all(&mut &hog, &megabyte).expect("it fits");
        }
    }

    fn remount(&self, options: &str) -> bool {
        run(Command::new("mount").args(["-o", options]).arg(&self.path)).is_some()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

fn run(command: &mut Command) -> Option<()> {
    let output = command.output().ok()?;
    output.status.success().then_some(())
}

fn why(tiers: &Tiers) -> &'static str {
    match tiers.stats().disk.state {
        DiskState::Degraded { reason, .. } => reason,
        state => panic!("{state:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_smaller_volume_is_used_as_far_as_it_goes() {
    let Some(volume) = Volume::tmpfs(64) else {
        return;
    };
    let mut options = options(&volume.path, 32 * MIB, 1024 * MIB);
    options.disk.as_mut().expect("it is set").strict = true;
    let refused = Tiers::open(options.clone()).await;
    assert!(
        matches!(refused, Err(TiersError::Smaller { .. })),
        "{refused:?}"
    );
    options.disk.as_mut().expect("it is set").strict = false;

    let tiers = Tiers::open(options).await.expect("it opens");
    assert_eq!(why(&tiers), reason::CACHE_SMALLER);
    let capacity = tiers.stats().disk.capacity_bytes;
    assert!(capacity > 48 * MIB && capacity < 60 * MIB, "{capacity}");
    // More than three times round.
    fill(&tiers, 0..1000, LENGTH).await;
    let stats = tiers.stats().disk;
    assert_eq!(
        (stats.failed_writes, stats.dropped_writes),
        (0, 0),
        "{stats:?}"
    );
    assert!(stats.entries > 200, "{stats:?}");
    assert!(found(&tiers, 900..1000, LENGTH).await.len() == 100);
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_too_small_for_any_cache_is_reported() {
    let Some(volume) = Volume::tmpfs(4) else {
        return;
    };
    let tiers = open(&volume.path, 32 * MIB, 1024 * MIB).await;
    assert_eq!(why(&tiers), reason::DISK_TOO_SMALL);
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_version_left_makes_way() {
    let Some(volume) = Volume::tmpfs(64) else {
        return;
    };
    let other = volume.path.join("v0");
    fs::create_dir(&other).expect("it is made");
    fs::write(
        other.join("layout.json"),
        r#"{"cache":"vdt","regionBytes":1}"#,
    )
    .expect("it is written");
    fs::write(other.join("regions"), vec![7; 50 << 20]).expect("it is written");

    let mut options = options(&volume.path, 32 * MIB, 60 * MIB);
    options.disk.as_mut().expect("it is set").strict = true;
    let tiers = Tiers::open(options).await.expect("it opens");
    assert_eq!(tiers.stats().disk.state, DiskState::Ok);
    assert!(!other.exists());
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_others_fill_is_left_and_comes_back_smaller() {
    let Some(volume) = Volume::tmpfs(96) else {
        return;
    };
    let mut options = options(&volume.path, 32 * MIB, 80 * MIB);
    // All of it is there when it begins.
    options.disk.as_mut().expect("it is set").strict = true;
    let tiers = Tiers::open(options).await.expect("it opens");
    fill(&tiers, 0..150, LENGTH).await;
    assert_eq!(tiers.stats().disk.entries, 150);
    // Another program takes all that is left.
    let hog = volume.path.join("hog");
    let mut file = fs::File::create(&hog).expect("it is made");
    let megabyte = vec![7u8; MIB as usize];
    while std::io::Write::write_all(&mut file, &megabyte).is_ok() {}
    drop(file);

    fill(&tiers, 150..300, LENGTH).await;
    assert_eq!(why(&tiers), reason::DISK_FULL);
    assert!(
        tiers.get_memory(Class::Block, key(299)).is_some(),
        "memory goes on"
    );
    tiers.check_disk().await;
    assert_eq!(why(&tiers), reason::CACHE_SMALLER);
    // It lives with what it has, whatever comes.
    let failed = tiers.stats().disk.failed_writes;
    fill(&tiers, 300..600, LENGTH).await;
    let stats = tiers.stats().disk;
    assert_eq!(stats.failed_writes, failed, "{stats:?}");
    assert_eq!(why(&tiers), reason::CACHE_SMALLER);
    assert!(found(&tiers, 560..600, LENGTH).await.len() == 40);
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_grows_leaves_others_some_of_what_they_have_not_taken_yet() {
    let Some(volume) = Volume::tmpfs(96) else {
        return;
    };
    let mut options = options(&volume.path, 32 * MIB, 96 * MIB);
    let disk = options.disk.as_mut().expect("it is set");
    (disk.high_watermark_percent, disk.low_watermark_percent) = (50, 40);
    let tiers = Tiers::open(options).await.expect("it opens");
    fill(&tiers, 0..80, LENGTH).await;
    volume.take_all_but(16 * MIB);
    fill(&tiers, 80..200, LENGTH).await;
    assert_eq!(why(&tiers), reason::DISK_FULL);
    assert!(volume.free() > 6 * MIB, "{} bytes are free", volume.free());
    // It lives with what it may have now.
    tiers.check_disk().await;
    assert_eq!(why(&tiers), reason::CACHE_SMALLER);
    let failed = tiers.stats().disk.failed_writes;
    fill(&tiers, 300..500, LENGTH).await;
    let stats = tiers.stats().disk;
    assert_eq!(stats.failed_writes, failed, "{stats:?}");
    assert!(volume.free() > 6 * MIB, "{} bytes are free", volume.free());
    assert!(found(&tiers, 480..500, LENGTH).await.len() == 20);
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_others_need_has_its_space_back_while_the_process_lives() {
    let Some(volume) = Volume::tmpfs(256) else {
        return;
    };
    let mut options = options(&volume.path, 32 * MIB, 160 * MIB);
    options.disk.as_mut().expect("it is set").shared = true;
    let tiers = Tiers::open(options).await.expect("it opens");
    fill(&tiers, 0..600, LENGTH).await;
    volume.take_all_but(26 * MIB);
    tiers.check_disk().await;
    assert_eq!(why(&tiers), reason::DISK_FULL);
    // Files are gone at once, and their space when foyer's tasks are.
    let given_back = async {
        loop {
            tiers.check_disk().await;
            if volume.free() > 256 * MIB * 15 / 100 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let ended = tokio::time::timeout(std::time::Duration::from_secs(30), given_back).await;
    assert!(ended.is_ok(), "{} bytes are free", volume.free());
    assert_eq!(why(&tiers), reason::CACHE_SMALLER);
    assert!(!found(&tiers, 0..600, LENGTH).await.is_empty());
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_that_turns_read_only_is_left() {
    let Some(volume) = Volume::ext4(96) else {
        return;
    };
    let tiers = open(&volume.path, 32 * MIB, 64 * MIB).await;
    fill(&tiers, 0..100, LENGTH).await;
    // What ext4 does when the device below it fails. Newer kernels do not tell statvfs, so foyer's writes fail.
    if volume.fail().is_none() {
        skip(
            "this kernel does not let ext4 be told to fail",
            "/sys/fs/ext4",
        );
        tiers.close().await;
        return;
    }
    fill(&tiers, 100..150, LENGTH).await;
    assert_eq!(
        why(&tiers),
        reason::DISK_READ_ONLY,
        "{:?}",
        tiers.stats().disk
    );
    assert!(
        tiers.get_memory(Class::Block, key(149)).is_some(),
        "memory goes on"
    );
    tiers.check_disk().await;
    assert_eq!(
        why(&tiers),
        reason::DISK_READ_ONLY,
        "{:?}",
        tiers.stats().disk
    );
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_written_is_reported() {
    let Some(volume) = Volume::tmpfs(96) else {
        return;
    };
    assert!(volume.remount("remount,ro"));
    let tiers = open(&volume.path, 32 * MIB, 64 * MIB).await;
    assert_eq!(why(&tiers), reason::DISK_READ_ONLY);
    assert!(volume.remount("remount,rw"));
    tiers.check_disk().await;
    assert_eq!(tiers.stats().disk.state, DiskState::Ok);
    fill(&tiers, 0..10, LENGTH).await;
    assert_eq!(tiers.stats().disk.entries, 10);
    tiers.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_shrinks_is_left() {
    let Some(volume) = Volume::tmpfs(64) else {
        return;
    };
    let tiers = open(&volume.path, 32 * MIB, 40 * MIB).await;
    fill(&tiers, 0..50, LENGTH).await;
    assert!(volume.remount("remount,size=16m"));
    fill(&tiers, 50..150, LENGTH).await;
    assert_eq!(why(&tiers), reason::DISK_FULL);
    tiers.close().await;
}
