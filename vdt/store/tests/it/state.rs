//! The state store: one writer a directory, one owner a table, refusal of what a newer version wrote.

use std::fs;

use object_store::{ObjectStoreExt, PutMode, PutOptions, path::Path};
use tempfile::TempDir;
use vdt_store::{OpenMode, StateStore, StoreError};

#[tokio::test]
async fn a_directory_has_one_writer() {
    let folder = TempDir::new().expect("a folder");
    let held = StateStore::open_directory(folder.path(), OpenMode::ReadWrite)
        .await
        .expect("the first opens");
    let second = StateStore::open_directory(folder.path(), OpenMode::ReadWrite).await;
    assert!(matches!(second, Err(StoreError::Locked { .. })));
    StateStore::open_directory(folder.path(), OpenMode::ReadOnly)
        .await
        .expect("a reader needs no lock");
    drop(held);
    StateStore::open_directory(folder.path(), OpenMode::ReadWrite)
        .await
        .expect("the lock is gone");
}

#[tokio::test]
async fn the_store_id_stays() {
    let folder = TempDir::new().expect("a folder");
    let first = StateStore::open_directory(folder.path(), OpenMode::ReadWrite)
        .await
        .expect("opens");
    let id = first.info().store_id;
    drop(first);
    let again = StateStore::open_directory(folder.path(), OpenMode::ReadWrite)
        .await
        .expect("opens");
    assert_eq!(again.info().store_id, id);
}

#[tokio::test]
async fn a_newer_state_is_refused_and_left_alone() {
    let folder = TempDir::new().expect("a folder");
    for newer in [
        r#"{"formatVersion":999,"storeId":"6f9619ff-8b86-d011-b42d-00c04fc964ff"}"#,
        r#"{"formatVersion":999,"stores":["another form"]}"#,
    ] {
        fs::write(folder.path().join("store.json"), newer).expect("written");
        let opened = StateStore::open_directory(folder.path(), OpenMode::ReadWrite).await;
        assert!(matches!(
            opened,
            Err(StoreError::NewerState { found: 999, .. })
        ));
        assert_eq!(
            fs::read_to_string(folder.path().join("store.json")).expect("reads"),
            newer
        );
    }
}

#[tokio::test]
async fn a_reader_makes_nothing() {
    let folder = TempDir::new().expect("a folder");
    let missing = folder.path().join("state");
    let opened = StateStore::open_directory(&missing, OpenMode::ReadOnly).await;
    assert!(matches!(opened, Err(StoreError::NoState { .. })));
    assert!(!missing.exists());
}

#[tokio::test]
async fn a_table_has_one_owner() {
    let folder = TempDir::new().expect("a folder");
    let state = StateStore::open_directory(folder.path(), OpenMode::ReadWrite)
        .await
        .expect("opens");
    let table = Path::from("main/default/papers");
    state.claim(&table, "default/papers").await.expect("free");
    state
        .claim(&table, "default/papers")
        .await
        .expect("the same owner");
    let other = state.claim(&table, "docs/papers").await;
    let Err(StoreError::OtherOwner { held_by, .. }) = other else {
        panic!("another owner got it: {other:?}");
    };
    assert_eq!(held_by, "default/papers");
}

#[tokio::test]
async fn who_has_claimed_a_table_claims_it_again_without_a_write() {
    let folder = TempDir::new().expect("a folder");
    let open = |mode| StateStore::open_directory(folder.path(), mode);
    let table = Path::from("main/default/papers");
    let state = open(OpenMode::ReadWrite).await.expect("opens");
    state.claim(&table, "default/papers").await.expect("free");
    let reader = open(OpenMode::ReadOnly).await.expect("opens");
    reader.claim(&table, "default/papers").await.expect("ours");
    let other = reader.claim(&table, "docs/papers").await;
    assert!(matches!(other, Err(StoreError::OtherOwner { .. })));
    let free = reader.claim(&Path::from("main/default/free"), "x").await;
    assert!(matches!(free, Err(StoreError::State { .. })));
}

#[tokio::test]
async fn create_is_put_if_absent_and_staged_files_are_hidden_and_removed() {
    let folder = TempDir::new().expect("a folder");
    let state = StateStore::open_directory(folder.path(), OpenMode::ReadWrite)
        .await
        .expect("opens");
    let path = Path::from("main/default/t/_delta_log/00000000000000000000.json");
    let create = || PutOptions::from(PutMode::Create);
    state
        .objects()
        .put_opts(&path, "one".into(), create())
        .await
        .expect("absent");
    let again = state
        .objects()
        .put_opts(&path, "two".into(), create())
        .await;
    assert!(matches!(
        again,
        Err(object_store::Error::AlreadyExists { .. })
    ));
    let body = state
        .objects()
        .get(&path)
        .await
        .expect("there")
        .bytes()
        .await
        .expect("reads");
    assert_eq!(&body[..], b"one");
    let rope = format!("{}-5.rope", "0123456789abcdef".repeat(2));
    let staged = [
        "store.json#0".to_owned(),
        "main/default/t/_vdt/owner.json#1".to_owned(),
        format!("main/default/t/{rope}#2"),
        "main/default/t/_delta_log/00000000000000000001.json#7".to_owned(),
        "main/default/t/_delta_log/00000000000000000001.checkpoint.parquet#8".to_owned(),
    ];
    let staged = staged.map(|name| folder.path().join(name));
    for path in &staged {
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, "half").expect("written");
    }
    drop(state);
    StateStore::open_directory(folder.path(), OpenMode::ReadWrite)
        .await
        .expect("opens");
    for path in &staged {
        assert!(!path.exists(), "{}", path.display());
    }
}

#[tokio::test]
async fn a_folder_that_becomes_a_state_directory_keeps_its_files() {
    let folder = TempDir::new().expect("a folder");
    let theirs = [
        "Invoice #12",
        "notes.json#1",
        "papers/report.json#1",
        "papers/2024/x.parquet#7",
        "papers/2024/q1/y.rope#3",
        "papers/2024/q1/_delta_log/notes.json#4",
    ];
    let theirs = theirs.map(|name| folder.path().join(name));
    for path in &theirs {
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, "theirs").expect("written");
    }
    let open = || StateStore::open_directory(folder.path(), OpenMode::ReadWrite);
    for _ in 0..2 {
        drop(open().await.expect("opens"));
        for path in &theirs {
            assert!(path.exists(), "{}", path.display());
        }
    }
}

#[tokio::test]
async fn what_could_not_be_put_leaves_nothing_behind() {
    let folder = TempDir::new().expect("a folder");
    let state = StateStore::open_directory(folder.path(), OpenMode::ReadWrite)
        .await
        .expect("opens");
    let table = folder.path().join("main/default/t");
    // A folder lies where the file belongs: it is written, and cannot be moved there.
    fs::create_dir_all(table.join("a.rope/x")).expect("made");
    for _ in 0..3 {
        let path = Path::from("main/default/t/a.rope");
        let put = state.objects().put(&path, "one".into());
        put.await.expect_err("it cannot be put");
    }
    let left: Vec<_> = fs::read_dir(&table)
        .expect("it reads")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(left, ["a.rope"]);
}
