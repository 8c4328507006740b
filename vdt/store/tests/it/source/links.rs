//! Symbolic links and special files.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use object_store::path::Path as Key;
use object_store::{Error, GetOptions, ObjectStore, ObjectStoreExt};
use rustix::fs::{CWD, Mode, mkfifoat};
use vdt_store::source::SkipReason;

use super::{folder, keys, list};

fn write(path: impl AsRef<Path>, content: &str) {
    let path = path.as_ref();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

#[tokio::test]
async fn links_are_followed_inside_the_folder_only() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("root");
    write(root.join("data/a"), "inside");
    write(outer.path().join("secret"), "outside");
    write(outer.path().join("private/s"), "outside");
    std::fs::create_dir(outer.path().join("root-2")).unwrap();
    write(outer.path().join("root-2/x"), "outside");
    symlink("data/a", root.join("relative")).unwrap();
    symlink(root.join("data/a"), root.join("absolute")).unwrap();
    symlink("../root/data/a", root.join("out-and-in")).unwrap();
    symlink("relative", root.join("twice")).unwrap();
    symlink("data", root.join("folder")).unwrap();
    symlink(root.join("data"), root.join("folder-absolute")).unwrap();
    symlink("../secret", root.join("out-relative")).unwrap();
    symlink(outer.path().join("secret"), root.join("out-absolute")).unwrap();
    symlink("../private", root.join("out-folder")).unwrap();
    symlink("../root-2", root.join("out-sibling")).unwrap();
    symlink("/proc/self/environ", root.join("out-proc")).unwrap();
    symlink("nowhere", root.join("broken")).unwrap();
    symlink("circle", root.join("circle")).unwrap();

    let source = folder(&root);
    let listing = list(&source).await;
    let inside = [
        "absolute",
        "data/a",
        "folder-absolute/a",
        "folder/a",
        "out-and-in",
        "relative",
        "twice",
    ];
    assert_eq!(keys(&listing), inside);
    let skipped = |reason| {
        listing
            .skipped
            .get(&reason)
            .map_or(0, |skipped| skipped.count)
    };
    assert_eq!(skipped(SkipReason::LinkOutside), 5);
    assert_eq!(skipped(SkipReason::LinkBroken), 1);
    assert_eq!(skipped(SkipReason::LinkLoop), 1);

    let store = source.store();
    for entry in &listing.entries {
        let read = store.get(&Key::from(&*entry.object.key)).await.unwrap();
        assert_eq!(
            read.meta.e_tag.as_deref().unwrap().trim_matches('"'),
            entry.object.etag.as_deref().unwrap()
        );
        assert_eq!(
            read.bytes().await.unwrap(),
            "inside".as_bytes(),
            "{}",
            entry.object.key
        );
    }
    for key in [
        "out-relative",
        "out-absolute",
        "out-folder/s",
        "out-sibling/x",
        "out-proc",
        "broken",
        "circle",
        "data",
    ] {
        assert!(
            matches!(
                store.get(&Key::from(key)).await,
                Err(Error::NotFound { .. })
            ),
            "{key}"
        );
    }
}

#[tokio::test]
async fn links_into_a_folder_above_end() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path();
    write(root.join("a/f"), "x");
    write(root.join("b/g"), "x");
    symlink("..", root.join("a/up")).unwrap();
    symlink(".", root.join("self")).unwrap();
    symlink("../b", root.join("a/to-b")).unwrap();
    symlink("../a", root.join("b/to-a")).unwrap();
    let listing = list(&folder(root)).await;
    assert_eq!(keys(&listing), ["a/f", "a/to-b/g", "b/g", "b/to-a/f"]);
    assert_eq!(
        listing.skipped.keys().collect::<Vec<_>>(),
        [&SkipReason::LinkLoop]
    );
}

#[tokio::test]
async fn links_side_by_side_do_not_multiply_without_end() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path();
    // Each of 24 folders has two links to the next: 2^24 paths lead to the last.
    for n in 0..24 {
        write(root.join(format!("d{n:02}/f")), "x");
        for side in ["l", "r"] {
            symlink(
                format!("../d{:02}", n + 1),
                root.join(format!("d{n:02}/{side}")),
            )
            .unwrap();
        }
    }
    write(root.join("d24/f"), "x");
    let listing = list(&folder(root)).await;
    assert!(
        listing.entries.len() < 24 * 512,
        "{}",
        listing.entries.len()
    );
    assert!(listing.skipped[&SkipReason::LinkLoop].count > 0);
}

#[tokio::test]
async fn links_across_folders_do_not_multiply_without_end() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path();
    // Ten folders that link to each other: 3.6 million paths lead through eight of them.
    for n in 0..10 {
        std::fs::create_dir(root.join(format!("d{n}"))).unwrap();
        for other in (0..10).filter(|other| *other != n) {
            symlink(format!("../d{other}"), root.join(format!("d{n}/{other}"))).unwrap();
        }
    }
    write(root.join("d3/f"), "x");
    let listing = list(&folder(root)).await;
    assert!(listing.requests <= 100_000 + 11, "{}", listing.requests);
    assert!(listing.skipped[&SkipReason::LinkLoop].count > 0);
    assert!(keys(&listing).contains(&"d3/f"));
}

#[tokio::test]
async fn pipes_and_sockets_are_counted_and_never_opened() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path();
    write(root.join("f"), "x");
    mkfifoat(CWD, root.join("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
    let _socket = UnixListener::bind(root.join("socket")).unwrap();
    symlink("pipe", root.join("to-pipe")).unwrap();
    let source = folder(root);
    let listing = list(&source).await;
    assert_eq!(keys(&listing), ["f"]);
    assert_eq!(listing.skipped[&SkipReason::SpecialFile].count, 3);
    for key in ["pipe", "socket", "to-pipe"] {
        assert!(
            matches!(
                source.store().get(&Key::from(key)).await,
                Err(Error::NotFound { .. })
            ),
            "{key}"
        );
    }
}

#[tokio::test]
async fn a_folder_behind_a_link_is_the_one_that_it_leads_to_now() {
    let outer = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(outer.path()).unwrap();
    for release in ["42", "43"] {
        write(root.join("releases").join(release).join("f"), release);
    }
    // The very same file in both: nothing but the folder tells one from the other.
    let [old, new] = ["42", "43"].map(|release| root.join("releases").join(release));
    write(old.join("same"), "same");
    std::fs::hard_link(old.join("same"), new.join("same")).unwrap();
    let current = root.join("current");
    let lead_to = |release: &str| {
        symlink(format!("releases/{release}"), root.join("new")).unwrap();
        std::fs::rename(root.join("new"), &current).unwrap();
    };
    lead_to("42");
    let source = folder(&current);
    let etags = async || {
        let listing = list(&source).await;
        assert_eq!(keys(&listing), ["f", "same"]);
        let entries = listing.entries.iter();
        let etags = entries.map(|entry| entry.object.etag.clone().unwrap());
        etags.collect::<Vec<_>>()
    };
    let read = async |key: &str, etag: &str| {
        let options = GetOptions {
            if_match: Some(etag.to_owned()),
            ..GetOptions::default()
        };
        let read = source.store().get_opts(&Key::from(key), options).await?;
        read.bytes().await
    };
    let first = etags().await;
    assert_eq!(read("f", &first[0]).await.unwrap(), "42".as_bytes());

    lead_to("43");
    for (key, etag) in ["f", "same"].into_iter().zip(&first) {
        let error = read(key, etag).await.unwrap_err();
        assert!(matches!(error, Error::Precondition { .. }), "{error}");
    }
    let second = etags().await;
    assert!(
        first.iter().all(|etag| !second.contains(etag)),
        "{first:?} {second:?}"
    );
    assert_eq!(read("f", &second[0]).await.unwrap(), "43".as_bytes());
    assert_eq!(read("same", &second[1]).await.unwrap(), "same".as_bytes());

    // The source is what was declared, also for whoever opens it now.
    assert_eq!(folder(&current).fingerprint(), source.fingerprint());
    assert_ne!(folder(&new).id(), source.id());
    assert!(source.context().url_prefix.ends_with("/current/"));

    lead_to("42");
    assert_eq!(etags().await, first);
    std::fs::remove_file(&current).unwrap();
    let error = source.list(&|_, _| {}).await.unwrap_err();
    assert_eq!(error.reason(), "SourceNotFound");
}

#[tokio::test]
async fn a_path_with_parents_is_the_folder_that_it_leads_to() {
    let outer = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(outer.path()).unwrap();
    write(root.join("data/f"), "x");
    write(root.join("elsewhere/deep/g"), "x");
    symlink("elsewhere/deep", root.join("link")).unwrap();
    let plain = folder(&root.join("data"));
    assert_eq!(folder(&root.join("data/./../data")).id(), plain.id());
    // Above of what the link leads to.
    let above = folder(&root.join("link/.."));
    assert_eq!(above.id(), folder(&root.join("elsewhere")).id());
    assert_eq!(keys(&list(&above).await), ["deep/g"]);
}
