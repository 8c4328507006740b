//! Files that are read again when they change: manifests and secrets, as they lie on a laptop and as Kubernetes mounts them.
//!
//! They are looked at once a second, through symbolic links: Kubernetes swaps a `..data` link under everything that it mounts. A look needs nothing
//! of the file system that a network or an overlay may not have.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use vdt_crds::parse::MAX_BYTES;

use crate::process::every;

/// Between looks at files. The kubelet needs up to a second to bring a change that it was told of; a second more is nothing.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What files are like: for each its device, inode, size and times, or that it is not there.
pub type Fingerprint = Vec<Option<[i64; 6]>>;

/// What files are like now, through symbolic links.
pub fn fingerprint<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Fingerprint {
    paths
        .into_iter()
        .map(|path| {
            let meta = fs::metadata(path).ok()?;
            // Bits are compared, not numbers.
            Some([
                meta.dev().cast_signed(),
                meta.ino().cast_signed(),
                meta.size().cast_signed(),
                meta.mtime(),
                meta.mtime_nsec(),
                meta.ctime_nsec(),
            ])
        })
        .collect()
}

/// Whether a file is a manifest, by its name.
#[must_use]
pub fn is_manifest(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json")
}

/// The manifest files directly in `folder`, by name.
///
/// # Errors
/// Those of the file system.
pub fn manifests_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if is_manifest(&path) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads a manifest: all of it, or enough of what is too large for [`vdt_crds::parse()`].
///
/// # Errors
/// Those of the file system.
pub fn read_manifest(file: impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// What became of changed manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// All of them are in use, or will be when they are changed again.
    Whole,
    /// Some wait for something else than a change of theirs, a secret for example: they are tried again at the next look.
    TryAgain,
}

/// Reads changed manifests and does what they say.
pub trait Follow: Send {
    /// Called when they have changed, or were to be tried again.
    ///
    /// Cancel: when the process ends, wherever it is.
    fn take(&mut self) -> impl Future<Output = Taken> + Send;
}

/// Manifests, and what they were like when they were read last.
#[derive(Debug)]
pub struct Manifests {
    paths: Vec<PathBuf>,
    seen: Seen,
    try_again: bool,
}

/// Folders may gain and lose files.
type Seen = (Vec<PathBuf>, Fingerprint);

impl Manifests {
    /// Files, and folders of them, that are about to be read: what changes from now on is noticed.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let seen = look(&paths);
        Self {
            paths,
            seen,
            try_again: false,
        }
    }

    /// The same, taken by the first look though nothing has changed, if `try_again` says so.
    #[must_use]
    pub fn try_again(self, try_again: bool) -> Self {
        Self { try_again, ..self }
    }

    /// Has `follower` take the files whenever they have changed, until `stop`, which waits for no file system that hangs. Files that change while they
    /// are read are read again at the next look.
    pub async fn follow(self, follower: impl Follow, stop: CancellationToken) {
        stop.run_until_cancelled(self.looks(follower)).await;
    }

    async fn looks(mut self, mut follower: impl Follow) {
        let mut ticks = every(LOOK_EVERY);
        loop {
            ticks.tick().await;
            let paths = self.paths.clone();
            // They may lie on a file system that hangs.
            let now = match spawn_blocking(move || look(&paths)).await {
                Ok(now) => now,
                Err(error) => {
                    tracing::error!(%error, "the manifests could not be looked at");
                    continue;
                }
            };
            if now == self.seen && !self.try_again {
                continue;
            }
            self.seen = now;
            self.try_again = follower.take().await == Taken::TryAgain;
        }
    }
}

fn look(paths: &[PathBuf]) -> Seen {
    let mut all = Vec::new();
    for path in paths {
        all.push(path.clone());
        // A folder that cannot be read is like one without files; who reads it says so.
        all.extend(manifests_in(path).unwrap_or_default());
    }
    let fingerprint = fingerprint(&all);
    (all, fingerprint)
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::symlink,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
    };

    use super::*;

    /// A folder as the kubelet mounts a ConfigMap: files are links through `..data`, which is swapped.
    fn swap(folder: &Path, version: &str, files: &[(&str, &str)]) {
        let data = folder.join(version);
        fs::create_dir(&data).unwrap();
        for (name, text) in files {
            fs::write(data.join(name), text).unwrap();
            let link = folder.join(name);
            if fs::symlink_metadata(&link).is_err() {
                symlink(format!("..data/{name}"), &link).unwrap();
            }
        }
        symlink(version, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    }

    #[test]
    fn a_swapped_link_is_a_change_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        swap(folder.path(), "..one", &[("tables.yaml", "a")]);
        let paths = vec![folder.path().to_owned()];
        let first = look(&paths);
        assert_eq!(first, look(&paths));
        swap(folder.path(), "..two", &[("tables.yaml", "b")]);
        let second = look(&paths);
        assert_ne!(first, second);
        swap(
            folder.path(),
            "..three",
            &[("tables.yaml", "b"), ("more.json", "{}")],
        );
        assert_eq!(look(&paths).0.len(), 3);
        assert!(!look(&paths).0.contains(&folder.path().join("..data")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_taken_is_tried_at_every_look() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.yaml");
        fs::write(&file, "a").unwrap();
        let manifests = Manifests::new(vec![file.clone()]);
        let stop = CancellationToken::new();
        let calls = Arc::new(AtomicU32::new(0));
        let counting = Counting {
            calls: Arc::clone(&calls),
            file: file.clone(),
            stop: stop.clone(),
        };
        fs::write(&file, "ab").unwrap();
        manifests.follow(counting, stop).await;
        assert_eq!(calls.load(Ordering::Relaxed), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_take_that_hangs_does_not_hold_up_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.yaml");
        let manifests = Manifests::new(vec![file.clone()]);
        fs::write(&file, "a").unwrap();
        let stop = CancellationToken::new();
        let hanging = Hanging { stop: stop.clone() };
        let following = manifests.follow(hanging, stop);
        let ended = tokio::time::timeout(Duration::from_secs(60), following).await;
        assert!(ended.is_ok());
    }

    /// Is told to end while it takes, and does not.
    struct Hanging {
        stop: CancellationToken,
    }

    impl Follow for Hanging {
        async fn take(&mut self) -> Taken {
            self.stop.cancel();
            std::future::pending().await
        }
    }

    struct Counting {
        calls: Arc<AtomicU32>,
        file: PathBuf,
        stop: CancellationToken,
    }

    impl Follow for Counting {
        async fn take(&mut self) -> Taken {
            match self.calls.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => return Taken::TryAgain,
                // Changed while it is read: read again.
                2 => fs::write(&self.file, "longer than before").unwrap(),
                _ => self.stop.cancel(),
            }
            Taken::Whole
        }
    }
}
