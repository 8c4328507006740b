//! Where `--materialize` writes: a file that is there whole under its name, or as it was.
//!
//! The bytes go to `<name>.<process id>.part` beside it, which takes its place when all are on stable storage, and is removed
//! when that does not come to pass. Killed in between, the part stays. Standard output, pipes and devices are written as they come.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// See the module's documentation.
pub(super) enum Destination {
    Stream(Box<dyn Write + Send>),
    Whole(Part),
}

/// A file under another name than its own.
pub(super) struct Part {
    file: File,
    path: PathBuf,
    target: PathBuf,
}

impl Destination {
    /// Opens `target`; `-` is standard out.
    pub(super) fn open(target: &Path) -> io::Result<Self> {
        if target == Path::new("-") {
            return Ok(Self::Stream(Box::new(io::stdout())));
        }
        // What a link leads to is written, and the link stays.
        let (target, existing) = match fs::canonicalize(target) {
            Ok(target) => {
                let existing = fs::metadata(&target)?;
                (target, Some(existing))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (target.to_owned(), None),
            Err(error) => return Err(error),
        };
        if existing.as_ref().is_some_and(|found| !found.is_file()) {
            let file = File::options().write(true).open(&target)?;
            return Ok(Self::Stream(Box::new(file)));
        }
        let mut name = target
            .file_name()
            .map_or_else(OsString::new, OsString::from);
        name.push(format!(".{}.part", std::process::id()));
        let path = target.with_file_name(name);
        let file = File::create(&path)?;
        let part = Part { file, path, target };
        if let Some(existing) = existing {
            part.file.set_permissions(existing.permissions())?;
        }
        Ok(Self::Whole(part))
    }

    /// Gives the file its name, after all its bytes are on stable storage.
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            Self::Stream(mut stream) => stream.flush(),
            Self::Whole(part) => {
                part.file.sync_all()?;
                fs::rename(&part.path, &part.target)
            }
        }
    }
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stream(stream) => stream.write(bytes),
            Self::Whole(part) => part.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.flush(),
            Self::Whole(part) => part.file.flush(),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Nothing is left of one that has its own name.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .expect("it reads")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_not_finished_leaves_everything_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("out");
        for existing in [false, true] {
            if existing {
                fs::write(&target, "mine").expect("written");
            }
            let mut out = Destination::open(&target).expect("it opens");
            out.write_all(b"half").expect("written");
            drop(out);
            let left = names(folder.path());
            assert_eq!(left.len(), usize::from(existing), "{left:?}");
        }
        assert_eq!(fs::read(&target).expect("it reads"), b"mine");
    }

    #[test]
    fn what_is_finished_takes_the_place_of_what_was_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let (target, link) = (folder.path().join("out"), folder.path().join("link"));
        fs::write(&target, "mine, and longer").expect("written");
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&target, private).expect("set");
        symlink("out", &link).expect("linked");
        let mut out = Destination::open(&link).expect("it opens");
        out.write_all(b"whole").expect("written");
        assert_eq!(fs::read(&target).expect("it reads"), b"mine, and longer");
        out.finish().expect("it gets its name");
        assert_eq!(fs::read(&target).expect("it reads"), b"whole");
        let mode = fs::metadata(&target).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(names(folder.path()), ["link", "out"]);
        assert!(link.is_symlink());
    }

    #[test]
    fn a_device_stays_one() {
        let null = Path::new("/dev/null");
        let mut out = Destination::open(null).expect("it opens");
        out.write_all(b"bytes").expect("written");
        out.finish().expect("it ends");
        assert!(!fs::metadata(null).expect("there").is_file());
    }
}
