//! Walks of folders, and reads of what they list.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use object_store::path::Path as Key;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use vdt_store::source::SkipReason;

use super::{folder, folder_with, keys, list};

fn write(root: &Path, name: &[u8], content: &[u8]) {
    let path = root.join(OsStr::from_bytes(name));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// Names that are odd and must be served all the same.
fn odd_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "a b.pdf",
        " a",
        "a ",
        "a%20b",
        "a%",
        "a+b",
        "a#1",
        "a#b",
        "a?b",
        "a*b",
        "a:b",
        "a;b",
        "a\\b",
        "a|b",
        "a~",
        "\"quoted\"",
        "it's",
        "<x>&amp;",
        "{1}[2]^`",
        "ü.pdf",
        "u\u{308}.pdf",
        "日本語/資料.pdf",
        "😀",
        ".hidden",
        ".d/..x",
        "...",
        "a.d/..b/c",
        "-",
        "\u{a0}",
        "\u{fffd}",
        "a",
        "A",
        "b/c/d/e/f",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("n".repeat(255));
    // A key of 1,024 bytes.
    names.push(
        [
            "k".repeat(255),
            "l".repeat(255),
            "m".repeat(255),
            "n".repeat(254),
            "o".to_owned(),
        ]
        .join("/"),
    );
    assert_eq!(names.last().map(String::len), Some(1024));
    names
}

#[tokio::test]
async fn every_odd_name_is_listed_in_byte_order_and_read_under_its_key() {
    let root = tempfile::tempdir().unwrap();
    let files: BTreeMap<String, Vec<u8>> = odd_names()
        .into_iter()
        .enumerate()
        .map(|(n, name)| (name, vec![b'x'; n]))
        .collect();
    for (name, content) in &files {
        write(root.path(), name.as_bytes(), content);
    }
    let source = folder(root.path());
    let listing = list(&source).await;
    assert_eq!(
        keys(&listing),
        files.keys().map(String::as_str).collect::<Vec<_>>()
    );
    assert!(listing.skipped.is_empty(), "{:?}", listing.skipped);
    assert_eq!(
        listing.bytes,
        files
            .values()
            .map(|content| content.len() as u64)
            .sum::<u64>()
    );

    let store = source.store();
    for entry in &listing.entries {
        let key = Key::parse(&*entry.object.key).unwrap();
        let options = GetOptions {
            if_match: entry.object.etag.as_deref().map(str::to_owned),
            ..GetOptions::default()
        };
        let read = store.get_opts(&key, options).await.unwrap();
        assert_eq!(read.meta.size, entry.object.size);
        assert_eq!(
            read.meta.e_tag.as_deref().unwrap().trim_matches('"'),
            entry.object.etag.as_deref().unwrap()
        );
        assert_eq!(
            read.meta.last_modified.timestamp_millis(),
            entry.object.last_modified_ms
        );
        assert_eq!(
            read.bytes().await.unwrap(),
            files[&*entry.object.key],
            "{}",
            entry.object.key
        );
        assert!(source.declared(&entry.object.key));
    }
}

#[tokio::test]
async fn names_that_cannot_be_served_are_counted_by_reason() {
    let root = tempfile::tempdir().unwrap();
    for name in [
        &b"a\nb"[..],
        b"a\tb",
        b"\xff.pdf",
        b"sub\xfe/one",
        b"sub\xfe/two",
        b"new\nline/x",
        b"fine",
    ] {
        write(root.path(), name, b"x");
    }
    let listing = list(&folder(root.path())).await;
    assert_eq!(keys(&listing), ["fine"]);
    assert_eq!(listing.skipped[&SkipReason::ControlCharacter].count, 3);
    assert_eq!(listing.skipped[&SkipReason::NotUtf8].count, 3);
    assert!(
        listing.skipped[&SkipReason::NotUtf8]
            .examples
            .contains(&"sub\\xfe/one".to_owned())
    );
}

#[tokio::test]
async fn an_empty_folder_is_an_empty_listing() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("empty/deeper")).unwrap();
    let listing = list(&folder(root.path())).await;
    assert!(listing.entries.is_empty() && listing.skipped.is_empty());
    assert_eq!(listing.requests, 3, "folders read");
}

#[tokio::test]
async fn globs_choose_files_and_spare_folders() {
    let root = tempfile::tempdir().unwrap();
    for name in ["a.pdf", "b.png", "x/c.pdf", "drafts/d.pdf", "x/.git/e.pdf"] {
        write(root.path(), name.as_bytes(), b"x");
    }
    let source = folder_with(root.path(), &["**/*.pdf"], &["drafts/**", "**/.git/**"]).unwrap();
    let listing = list(&source).await;
    assert_eq!(keys(&listing), ["a.pdf", "x/c.pdf"]);
    assert_eq!(
        (listing.requests, listing.excluded),
        (2, 1),
        "excluded folders are not read"
    );
    assert!(
        source.declared("x/c.pdf") && !source.declared("b.png") && !source.declared("drafts/d.pdf")
    );
    assert!(!source.declared("a//b.pdf") && !source.declared("") && !source.declared("../a.pdf"));
}

#[tokio::test]
async fn a_large_folder_comes_in_parts_with_progress() {
    let root = tempfile::tempdir().unwrap();
    for n in 0..5_000 {
        std::fs::write(root.path().join(format!("{n:05}")), b"xy").unwrap();
    }
    let (calls, last) = (AtomicU64::new(0), AtomicU64::new(0));
    let progress = |artifacts: u64, bytes: u64| {
        calls.fetch_add(1, Ordering::Relaxed);
        assert_eq!(bytes, 2 * artifacts);
        assert!(last.swap(artifacts, Ordering::Relaxed) <= artifacts);
    };
    let listing = folder(root.path()).list(&progress).await.unwrap();
    assert_eq!(listing.entries.len(), 5_000);
    assert!(calls.load(Ordering::Relaxed) >= 5);
    assert_eq!(last.load(Ordering::Relaxed), 5_000);
}

#[test]
fn what_is_no_folder_is_told_at_once() {
    let root = tempfile::tempdir().unwrap();
    let missing = folder_with(&root.path().join("nowhere"), &[], &[]).unwrap_err();
    assert_eq!(missing.reason(), "SourceNotFound");
    assert!(
        missing.to_string().contains("nowhere") && missing.to_string().contains("papers"),
        "{missing}"
    );
    std::fs::write(root.path().join("file"), b"x").unwrap();
    let file = folder_with(&root.path().join("file"), &[], &[]).unwrap_err();
    assert!(matches!(file.reason(), "SourceInvalid"), "{file}");
    let glob = folder_with(root.path(), &["a["], &[]).unwrap_err();
    assert_eq!(glob.reason(), "SourceInvalid");
}

#[tokio::test]
async fn a_folder_that_vanishes_is_an_error_and_one_that_returns_is_listed() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("mount");
    std::fs::create_dir(&path).unwrap();
    let source = folder(&path);
    std::fs::remove_dir(&path).unwrap();
    assert_eq!(
        source.list(&|_, _| {}).await.unwrap_err().reason(),
        "SourceNotFound"
    );
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("a"), b"again").unwrap();
    assert_eq!(keys(&list(&source).await), ["a"]);
    assert_eq!(
        source
            .store()
            .get(&Key::from("a"))
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap(),
        "again".as_bytes()
    );
}

#[tokio::test]
async fn an_unreadable_folder_makes_the_listing_an_error() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let closed = root.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o0)).unwrap();
    if std::fs::read_dir(&closed).is_ok() {
        println!("skipped: this user may read every folder");
        return;
    }
    let error = folder(root.path()).list(&|_, _| {}).await.unwrap_err();
    assert_eq!(error.reason(), "AccessDenied");
    assert!(error.to_string().contains("closed"), "{error}");
    let left_out = folder_with(root.path(), &[], &["closed/**"]).unwrap();
    assert!(list(&left_out).await.entries.is_empty());
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn files_that_cannot_be_read_are_listed_and_counted() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    for (name, mode) in [("closed", 0o0), ("mine", 0o600), ("open", 0o644)] {
        let path = root.path().join(name);
        std::fs::write(&path, b"x").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::symlink("closed", root.path().join("link")).unwrap();
    if std::fs::read(root.path().join("closed")).is_ok() {
        println!("skipped: this user may read every file");
        return;
    }
    let listing = list(&folder(root.path())).await;
    assert_eq!(listing.entries.len(), 4);
    let mut examples = listing.unreadable.examples.clone();
    examples.sort();
    assert_eq!(examples, ["closed", "link"]);
    let warning = listing.warning().unwrap();
    assert!(
        warning.starts_with("2 files cannot be read by this user, first: "),
        "{warning}"
    );
}

#[tokio::test]
async fn ranges_and_conditions_are_honoured() {
    let root = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(root.path().join("f"), &content).unwrap();
    std::fs::write(root.path().join("empty"), b"").unwrap();
    let store = folder(root.path()).store();
    let key = Key::from("f");
    for (range, bytes) in [
        (GetRange::Bounded(0..1), 0..1),
        (GetRange::Bounded(262_143..262_145), 262_143..262_145),
        (GetRange::Bounded(999_999..2_000_000), 999_999..1_000_000),
        (GetRange::Bounded(1..999_999), 1..999_999),
        (GetRange::Offset(700_000), 700_000..1_000_000),
        (GetRange::Suffix(8), 999_992..1_000_000),
    ] {
        let options = GetOptions {
            range: Some(range),
            ..GetOptions::default()
        };
        let read = store.get_opts(&key, options).await.unwrap();
        assert_eq!(
            (read.range.clone(), read.meta.size),
            (bytes.start as u64..bytes.end as u64, 1_000_000)
        );
        assert_eq!(read.bytes().await.unwrap(), content[bytes]);
    }
    let beyond = GetOptions {
        range: Some(GetRange::Bounded(1_000_000..1_000_001)),
        ..GetOptions::default()
    };
    assert!(store.get_opts(&key, beyond).await.is_err());

    let head = store.head(&key).await.unwrap();
    let quoted = head.e_tag.clone().unwrap();
    for (tag, fits) in [
        (quoted.clone(), true),
        (quoted.replace('"', ""), true),
        ("other".to_owned(), false),
    ] {
        let options = GetOptions {
            if_match: Some(tag.clone()),
            ..GetOptions::default()
        };
        let read = store.get_opts(&key, options).await;
        assert_eq!(read.is_ok(), fits, "{tag}");
        assert!(fits || matches!(read, Err(Error::Precondition { .. })));
    }
    let unchanged = GetOptions {
        if_none_match: head.e_tag,
        ..GetOptions::default()
    };
    assert!(matches!(
        store.get_opts(&key, unchanged).await,
        Err(Error::NotModified { .. })
    ));
    assert!(matches!(
        store.get(&Key::from("nope")).await,
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        store.get(&Key::from("f/below")).await,
        Err(Error::NotFound { .. })
    ));
    assert!(
        store
            .get(&Key::from("empty"))
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_source_is_never_written_nor_listed_through_its_store() {
    use futures::TryStreamExt;
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("f"), b"x").unwrap();
    let store = folder(root.path()).store();
    let key = Key::from("f");
    assert!(matches!(
        store.put(&key, "y".into()).await,
        Err(Error::NotSupported { .. })
    ));
    assert!(matches!(
        store.delete(&key).await,
        Err(Error::NotSupported { .. })
    ));
    assert!(matches!(
        store.copy(&key, &Key::from("g")).await,
        Err(Error::NotSupported { .. })
    ));
    assert!(store.list(None).try_collect::<Vec<_>>().await.is_err());
    assert_eq!(std::fs::read(root.path().join("f")).unwrap(), b"x");
}

#[test]
fn the_context_says_where_artifacts_are() {
    let root = tempfile::tempdir().unwrap();
    let odd = root.path().join("my papers #1");
    std::fs::create_dir(&odd).unwrap();
    let source = folder(&odd);
    let context = source.context();
    assert!(
        context.url_prefix.starts_with("file:///")
            && context.url_prefix.ends_with("/my%20papers%20%231/")
    );
    assert_eq!(
        (&*context.name, &*context.prefix, context.etag_is_checksum),
        ("papers", "", false)
    );
    assert_eq!(context.id.len(), 16);
    assert_eq!(source.id(), folder(&odd).id());
    assert_ne!(source.id(), folder(root.path()).id());
    assert_ne!(
        source.fingerprint(),
        folder_with(&odd, &["*"], &[]).unwrap().fingerprint()
    );
    // The same folder by another way is another source: the way may lead elsewhere tomorrow.
    std::os::unix::fs::symlink(&odd, root.path().join("link")).unwrap();
    assert_ne!(source.id(), folder(&root.path().join("link")).id());
}

#[tokio::test]
async fn a_walk_survives_files_that_come_and_go() {
    let root = tempfile::tempdir().unwrap();
    for n in 0..200 {
        write(root.path(), format!("keep/{n}/f").as_bytes(), b"x");
    }
    let path = root.path().to_path_buf();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let busy = std::thread::spawn({
        let stop = stop.clone();
        move || {
            while !stop.load(Ordering::Relaxed) {
                for n in 0..20 {
                    write(&path, format!("come/{n}/f").as_bytes(), b"x");
                }
                std::fs::remove_dir_all(path.join("come")).unwrap();
            }
        }
    });
    let source = folder(root.path());
    for _ in 0..50 {
        let listing = list(&source).await;
        assert_eq!(
            listing
                .entries
                .iter()
                .filter(|entry| entry.object.key.starts_with("keep/"))
                .count(),
            200
        );
    }
    stop.store(true, Ordering::Relaxed);
    busy.join().unwrap();
}
