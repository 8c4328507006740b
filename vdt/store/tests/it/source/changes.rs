//! Files that change while they are read: right bytes or an error, never a mix.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use object_store::path::Path as Key;
use object_store::{Error, GetOptions, GetResult, ObjectStore, ObjectStoreExt};

use super::folder;

const SIZE: usize = 4 * 1024 * 1024;

fn overwrite(path: &Path, byte: u8) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    for offset in (0..SIZE).step_by(64 * 1024) {
        file.write_all_at(&[byte; 64 * 1024], offset as u64)
            .unwrap();
    }
}

/// The bytes of a body up to its end or its error.
async fn drain(result: GetResult) -> (Vec<u8>, Option<Error>) {
    let mut body = result.into_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(error) => return (bytes, Some(error)),
        }
    }
    (bytes, None)
}

#[tokio::test]
async fn an_overwrite_in_the_middle_cuts_the_body() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    std::fs::write(&path, vec![b'a'; SIZE]).unwrap();
    let read = folder(root.path())
        .store()
        .get(&Key::from("f"))
        .await
        .unwrap();
    let mut body = read.into_stream();
    let mut bytes = body.next().await.unwrap().unwrap().to_vec();
    tokio::time::sleep(Duration::from_millis(20)).await;
    overwrite(&path, b'b');
    let error = loop {
        match body.next().await {
            Some(Ok(piece)) => bytes.extend_from_slice(&piece),
            Some(Err(error)) => break error,
            None => panic!("the body ended as if nothing had happened"),
        }
    };
    assert!(matches!(error, Error::Precondition { .. }), "{error}");
    assert!(bytes.len() < SIZE && bytes.iter().all(|byte| *byte == b'a'));
    assert!(
        body.next().await.is_none() && body.next().await.is_none(),
        "a body that failed has ended"
    );
}

#[tokio::test]
async fn a_truncation_in_the_middle_cuts_the_body() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    std::fs::write(&path, vec![b'a'; SIZE]).unwrap();
    let read = folder(root.path())
        .store()
        .get(&Key::from("f"))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1_000_000)
        .unwrap();
    let (bytes, error) = drain(read).await;
    assert!(
        matches!(error, Some(Error::Precondition { .. })),
        "{error:?}"
    );
    assert!(bytes.len() < SIZE);
}

#[tokio::test]
async fn a_file_replaced_by_rename_is_read_to_its_end() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    std::fs::write(&path, vec![b'a'; SIZE]).unwrap();
    let store = folder(root.path()).store();
    let before = store.head(&Key::from("f")).await.unwrap();
    let read = store.get(&Key::from("f")).await.unwrap();
    std::fs::write(root.path().join("new"), vec![b'b'; SIZE]).unwrap();
    std::fs::rename(root.path().join("new"), &path).unwrap();
    let (bytes, error) = drain(read).await;
    assert!(error.is_none() && bytes == vec![b'a'; SIZE]);
    let stale = GetOptions {
        if_match: before.e_tag,
        ..GetOptions::default()
    };
    assert!(matches!(
        store.get_opts(&Key::from("f"), stale).await,
        Err(Error::Precondition { .. })
    ));
}

/// What the writer has finished, if it is not at it: ETag and content.
type Finished = Arc<Mutex<Option<(String, u8)>>>;

/// Reads with the ETag of each finished content while `change` makes the next, and checks every byte.
async fn never_mixed(rounds: usize, change: impl Fn(&Path, u8) + Send + 'static) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    std::fs::write(&path, vec![0; SIZE]).unwrap();
    let store = folder(root.path()).store();
    let finished = Finished::default();
    let done = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (finished, done) = (finished.clone(), done.clone());
        let store = store.clone();
        let runtime = tokio::runtime::Handle::current();
        move || {
            for round in 0..rounds {
                let byte = (round % 200) as u8 + 1;
                change(&path, byte);
                let etag = runtime
                    .block_on(store.head(&Key::from("f")))
                    .unwrap()
                    .e_tag
                    .unwrap();
                *finished.lock().unwrap() = Some((etag, byte));
                // Longer than a tick of the clock that files are stamped with: what settling ensures in a table.
                std::thread::sleep(Duration::from_millis(15 + (round % 7) as u64));
            }
            done.store(true, Ordering::Relaxed);
        }
    });
    let (mut whole, mut refused, mut cut) = (0, 0, 0);
    while !done.load(Ordering::Relaxed) {
        let Some((etag, byte)) = finished.lock().unwrap().clone() else {
            tokio::task::yield_now().await;
            continue;
        };
        let options = GetOptions {
            if_match: Some(etag),
            ..GetOptions::default()
        };
        match store.get_opts(&Key::from("f"), options).await {
            Err(Error::Precondition { .. } | Error::NotFound { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
            Ok(read) => {
                let (bytes, error) = drain(read).await;
                assert!(
                    bytes.iter().all(|read| *read == byte),
                    "bytes of another content"
                );
                match error {
                    None => {
                        assert_eq!(bytes.len(), SIZE);
                        whole += 1;
                    }
                    Some(Error::Precondition { .. }) => cut += 1,
                    Some(error) => panic!("{error}"),
                }
            }
        }
    }
    writer.join().unwrap();
    println!("{whole} whole, {refused} refused, {cut} cut");
    assert!(whole > 0, "no read came through");
}

#[tokio::test(flavor = "multi_thread")]
async fn overwrites_in_place_never_mix() {
    never_mixed(150, overwrite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replacements_by_rename_never_mix() {
    never_mixed(150, |path, byte| {
        let new = path.with_extension("new");
        std::fs::write(&new, vec![byte; SIZE]).unwrap();
        std::fs::rename(new, path).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rewrites_from_empty_never_mix() {
    never_mixed(150, |path, byte| {
        std::fs::write(path, vec![byte; SIZE]).unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_bodies_at_once_come_out_whole() {
    let root = tempfile::tempdir().unwrap();
    for n in 0..200_u32 {
        std::fs::write(root.path().join(n.to_string()), vec![n as u8; 700_000]).unwrap();
    }
    let store = folder(root.path()).store();
    let reads = futures::stream::iter(0..200_u32).map(|n| {
        let store = store.clone();
        async move {
            let read = store
                .get(&Key::from(n.to_string()))
                .await
                .unwrap()
                .bytes()
                .await
                .unwrap();
            assert!(read.len() == 700_000 && read.iter().all(|byte| *byte == n as u8));
        }
    });
    reads.buffer_unordered(200).collect::<Vec<()>>().await;
}
