//! Binding the socket, and who may connect to it.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use rustix::process::geteuid;
use tokio::net::{UnixListener, UnixStream};
use tracing::warn;
use vdt_dialect::{Listen, Peer};

/// Longest path of a socket (unix(7), sun_path), with its closing zero.
const PATH_BYTES_MAX: usize = 108;

/// A listener that serves processes of its own user and of root. Removes its file at the end.
#[derive(Debug)]
pub(crate) struct Guarded {
    listener: UnixListener,
    uid: u32,
    file: SocketFile,
}

/// The socket's file, which goes with the listener unless another one has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.inode);
        if is_ours {
            // A file that stays is replaced by the next server.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Binds the socket at `path`; its folder is made if it is missing.
///
/// # Errors
/// When another server answers there, when something else lies there, and those of the file system.
pub(crate) async fn bind(path: &Path) -> anyhow::Result<Guarded> {
    let shown = path.display();
    if path.as_os_str().len() >= PATH_BYTES_MAX {
        bail!(
            "--origin-socket {shown} has more than {} bytes, which no socket's path may have; give a shorter one",
            PATH_BYTES_MAX - 1
        );
    }
    let uid = geteuid().as_raw();
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    close_folder(folder, path, uid)
        .with_context(|| format!("the folder of --origin-socket {shown}"))?;
    make_way(path).await?;
    let listener = UnixListener::bind(path).with_context(|| format!("--origin-socket {shown}"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("--origin-socket {shown}"))?;
    let found = fs::symlink_metadata(path).with_context(|| format!("--origin-socket {shown}"))?;
    Ok(Guarded {
        listener,
        uid,
        file: SocketFile {
            path: path.to_owned(),
            inode: (found.dev(), found.ino()),
        },
    })
}

/// Makes the folder, or closes one that is ours and holds nothing else. Any other is left as it is: closing a folder that others
/// use would be worse than relying on the check of who connects.
fn close_folder(folder: &Path, socket: &Path, uid: u32) -> io::Result<()> {
    let made = fs::DirBuilder::new().mode(0o700).create(folder);
    match made {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let found = fs::metadata(folder)?;
    if found.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    let is_alone = fs::read_dir(folder)?.all(|entry| {
        entry.is_ok_and(|entry| Some(entry.file_name().as_os_str()) == socket.file_name())
    });
    if found.uid() == uid && is_alone {
        return fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    }
    warn!(
        folder = %folder.display(),
        "the socket's folder is open to other users; only the check of who connects keeps them out"
    );
    Ok(())
}

/// Removes a socket that nobody listens on.
async fn make_way(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("--origin-socket {shown}")),
        Ok(found) if !found.file_type().is_socket() => {
            bail!("--origin-socket {shown} is there and is no socket; give another path")
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => bail!(
            "another server answers at --origin-socket {shown}; stop it, or give another path"
        ),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).with_context(|| format!("removing the left-over socket {shown}"))
        }
        Err(error) => Err(error).with_context(|| format!("--origin-socket {shown}")),
    }
}

impl Listen for Guarded {
    type Stream = UnixStream;

    async fn accept(&mut self) -> io::Result<(UnixStream, Peer)> {
        loop {
            let (stream, peer) = Listen::accept(&mut self.listener).await?;
            if is_let_in(peer, self.uid) {
                return Ok((stream, peer));
            }
            warn!(%peer, socket = %self.file.path.display(), "connection refused: the socket is for its own user");
        }
    }
}

/// Whether `peer` may connect to a socket of the user `uid`: that user may, and root. Whom the kernel does not tell of may not.
fn is_let_in(peer: Peer, uid: u32) -> bool {
    match peer {
        Peer::Unix { uid: Some(theirs) } => theirs == uid || theirs == 0,
        Peer::Unix { uid: None } | Peer::Tcp(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_folder_is_closed_and_the_file_goes_with_the_listener() {
        let work = tempfile::tempdir().unwrap();
        let path = work.path().join("run").join("origin.sock");
        let bound = bind(&path).await.unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(mode(&path), 0o600);
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn only_its_own_user_and_root_are_let_in() {
        let unix = |uid| Peer::Unix { uid };
        let tcp = Peer::Tcp((std::net::Ipv4Addr::LOCALHOST, 7).into());
        for (peer, uid, expected) in [
            (unix(Some(1000)), 1000, true),
            (unix(Some(0)), 1000, true),
            (unix(Some(0)), 0, true),
            (unix(Some(1001)), 1000, false),
            (unix(Some(1000)), 0, false),
            (unix(None), 0, false),
            (tcp, 0, false),
        ] {
            assert_eq!(is_let_in(peer, uid), expected, "{peer} of {uid}");
        }
    }

    #[tokio::test]
    async fn a_left_over_socket_is_replaced_and_a_live_one_is_not() {
        let work = tempfile::tempdir().unwrap();
        let path = work.path().join("origin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let live = bind(&path).await.unwrap();
        let refused = bind(&path).await.unwrap_err().to_string();
        assert!(refused.contains("another server answers"), "{refused}");
        drop(live);
        fs::write(&path, "no socket").unwrap();
        let refused = bind(&path).await.unwrap_err().to_string();
        assert!(refused.contains("no socket"), "{refused}");
    }

    #[tokio::test]
    async fn a_folder_that_others_use_is_left_open() {
        let work = tempfile::tempdir().unwrap();
        fs::set_permissions(work.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(work.path().join("other"), "").unwrap();
        let _bound = bind(&work.path().join("origin.sock")).await.unwrap();
        let mode = fs::metadata(work.path()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o755);
    }
}
