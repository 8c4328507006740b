//! Several refreshers on one state store that do not see the same: an older listing, an older manifest, a source that does not answer.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStoreExt, memory::InMemory, path::Path as StatePath};
use tempfile::TempDir;
use vdt_rope::testing::{Recording, Request};
use vdt_store::{
    Clock, Definition, Edition, OpenMode, RefreshReport, SourceEnv, StateStore, StoreError,
    TableRefresh, log::TableLog, plan::ListedAt,
};

fn open(folder: &Path, spec: &str) -> Definition {
    let manifest = format!(
        "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {{name: many}}\nspec:\n{spec}  \
         refresh: {{intervalSeconds: 0, settleSeconds: 0}}\n"
    );
    let table = vdt_crds::parse(manifest.as_bytes())
        .expect("the manifest parses")
        .remove(0);
    let env = SourceEnv {
        base_dir: folder.to_owned(),
        ..SourceEnv::default()
    };
    Definition::open(&table, &env).expect("the manifest is valid")
}

const ONE: &str = "  sources:\n  - {name: here, type: File, file: {path: .}}\n";

fn edition(definition: Definition, generation: i64) -> Definition {
    Definition {
        edition: Some(Edition {
            uid: "0b1c".to_owned(),
            generation,
        }),
        ..definition
    }
}

async fn memory() -> StateStore {
    StateStore::from_store(Arc::new(InMemory::new()), "memory", OpenMode::ReadWrite)
        .await
        .expect("state")
}

fn refresh(definition: Definition, state: &StateStore) -> TableRefresh {
    let clock: Clock = Arc::new(|| 1_900_000_000_000);
    TableRefresh::new(Arc::new(definition), state.clone(), clock)
}

async fn run(refresh: &TableRefresh) -> RefreshReport {
    refresh.run(None).await.expect("it refreshes")
}

async fn ropes(state: &StateStore) -> Vec<(StatePath, Bytes)> {
    let listed = state.objects().list(None);
    let listed: Vec<_> = listed.try_collect().await.expect("it lists");
    let mut ropes = Vec::new();
    for meta in listed {
        if meta.location.as_ref().ends_with(".rope") {
            let found = state.objects().get(&meta.location).await.expect("there");
            ropes.push((meta.location, found.bytes().await.expect("it reads")));
        }
    }
    ropes
}

async fn put(state: &StateStore, path: &StatePath, rope: Bytes) {
    let put = state.objects().put(path, rope.into());
    put.await.expect("put");
}

fn write(folder: &TempDir, names: &[&str]) {
    for name in names {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, name).expect("written");
    }
}

#[tokio::test]
async fn a_listing_older_than_the_version_is_not_planned_on_it() {
    let folder = TempDir::new().expect("a folder");
    write(&folder, &["a", "b"]);
    let state = memory().await;
    let (slow, quick) = (
        refresh(open(folder.path(), ONE), &state),
        refresh(open(folder.path(), ONE), &state),
    );
    run(&slow).await;
    let snapshot = slow.log().snapshot().await.expect("the log reads");
    let stale = slow.definition().sources[0]
        .list(&|_, _| {})
        .await
        .expect("it lists");
    write(&folder, &["c"]);
    let newer = run(&quick).await;
    assert_eq!((newer.new, newer.artifacts), (1, 3));
    // The slow one has something to say of its own, so that it has to commit.
    let mut older = stale;
    Arc::make_mut(&mut older.entries[0].object).etag = Some("older".into());
    let listed_at = ListedAt {
        began_ms: i64::MAX,
        ended_ms: i64::MAX,
    };
    let done = slow.run_listed(snapshot, vec![Ok(older)], listed_at).await;
    assert!(done.expect("no error").is_none(), "it has to list again");
    let after = run(&slow).await;
    assert!(!after.committed);
    assert_eq!((after.version, after.artifacts), (newer.version, 3));
}

#[tokio::test]
async fn an_older_edition_serves_what_a_newer_one_committed() {
    let folder = TempDir::new().expect("a folder");
    write(&folder, &["a.pdf", "b.txt"]);
    let state = memory().await;
    let columns = format!(
        "{ONE}  schema:\n    columns:\n    - {{name: filename, from: {{artifact: Filename}}}}\n    \
         - {{name: data, from: {{artifact: Data}}}}\n"
    );
    let old = refresh(edition(open(folder.path(), ONE), 3), &state);
    let new = refresh(edition(open(folder.path(), &columns), 4), &state);
    assert!(run(&old).await.committed);
    let edited = run(&new).await;
    assert!(edited.committed);

    write(&folder, &["c.pdf"]);
    // What a newer vdt lays out may be in a form that this one does not read.
    let ropes = ropes(&state).await;
    for (path, rope) in &ropes {
        let mut newer = rope.to_vec();
        *newer.last_mut().expect("a version") += 1;
        put(&state, path, newer.into()).await;
    }
    let superseded = run(&old).await;
    assert!(!superseded.committed);
    // As after a restart: what was laid out here is not read.
    let again = refresh(edition(open(folder.path(), &columns), 4), &state);
    let error = again.run(None).await.expect_err("it needs the rows");
    assert_eq!(error.reason(), "StateNewer", "{error}");
    for (path, rope) in ropes {
        put(&state, &path, rope).await;
    }
    assert_eq!(
        (superseded.version, superseded.artifacts),
        (edited.version, 2)
    );
    let source = &superseded.sources[0];
    assert_eq!(source.reason, "Superseded");
    assert!(
        source.message.contains("generation 4"),
        "{}",
        source.message
    );
    assert!(!source.is_current());

    // The newer one goes on, and an edit that changes nothing about the files is no edit of the table.
    assert_eq!(run(&new).await.new, 1);
    let renumbered = refresh(edition(open(folder.path(), &columns), 5), &state);
    assert!(!run(&renumbered).await.committed);
    // A resource that was made again starts counting anew, and is listened to.
    let again = Definition {
        edition: Some(Edition {
            uid: "another".to_owned(),
            generation: 1,
        }),
        ..open(folder.path(), ONE)
    };
    assert!(run(&refresh(again, &state)).await.committed);
}

#[tokio::test]
async fn an_edit_waits_for_a_source_that_cannot_be_listed() {
    let (here, gone) = (
        TempDir::new().expect("a folder"),
        TempDir::new().expect("a folder"),
    );
    write(&here, &["a"]);
    write(&gone, &["1", "2", "3", "4"]);
    let spec = |exclude: &str| {
        format!(
            "  sources:\n  - {{name: here, type: File, file: {{path: {:?}}}}}\n  \
             - {{name: there, type: File, file: {{path: {:?}}}{exclude}}}\n",
            here.path(),
            gone.path()
        )
    };
    let root = Path::new("/");
    let state = memory().await;
    run(&refresh(open(root, &spec("")), &state)).await;
    // Three quarters are excluded: more than would be believed of a listing by itself.
    let edited = refresh(open(root, &spec(", exclude: ['[234]']")), &state);
    let away = gone.path().with_extension("away");
    fs::rename(gone.path(), &away).expect("renamed");
    write(&here, &["b"]);
    let report = run(&edited).await;
    assert_eq!((report.artifacts, report.new, report.deleted), (6, 1, 0));
    fs::rename(&away, gone.path()).expect("renamed");
    let report = run(&edited).await;
    assert_eq!((report.artifacts, report.deleted), (3, 3));
    assert!(report.sources.iter().all(|source| source.is_current()));
}

#[tokio::test]
async fn another_place_that_cannot_be_listed_keeps_the_rows_of_the_last() {
    let folders = [(); 3].map(|()| TempDir::new().expect("a folder"));
    let [here, last, next] = &folders;
    write(here, &["a"]);
    write(last, &["1", "2"]);
    write(next, &["3"]);
    let spec = |there: &TempDir| {
        format!(
            "  sources:\n  - {{name: here, type: File, file: {{path: {:?}}}}}\n  \
             - {{name: there, type: File, file: {{path: {:?}}}}}\n",
            here.path(),
            there.path()
        )
    };
    let root = Path::new("/");
    let state = memory().await;
    run(&refresh(open(root, &spec(last)), &state)).await;
    let moved = refresh(open(root, &spec(next)), &state);
    let away = next.path().with_extension("away");
    fs::rename(next.path(), &away).expect("renamed");
    write(here, &["b"]);
    // Both the table and its mirror are written, of which the mirror needs the rows of every source.
    assert_eq!(run(&moved).await.artifacts, 4);
    fs::rename(&away, next.path()).expect("renamed");
    let report = run(&moved).await;
    assert_eq!((report.artifacts, report.new, report.deleted), (3, 1, 2));
}

#[tokio::test]
async fn sources_with_the_same_names_are_all_in_the_table_without_data() {
    let folder = TempDir::new().expect("a folder");
    write(&folder, &["a/x", "a/y", "b/x", "b/y"]);
    let spec = "  sources:\n  - {name: a, type: File, file: {path: a}}\n  - {name: b, type: File, file: {path: b}}\n  \
                schema:\n    columns:\n    - {name: filename, from: {artifact: Filename}}\n    \
                - {name: data, from: {artifact: Data}}\n";
    let state = memory().await;
    let definition = open(folder.path(), spec);
    let meta = TableLog::new(state.clone(), definition.meta_path());
    run(&refresh(definition, &state)).await;
    let mirror = meta.snapshot().await.expect("it reads").expect("a version");
    let rows: u64 = mirror.files.iter().filter_map(|file| file.rows).sum();
    assert_eq!((mirror.files.len(), rows), (2, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_history_is_listed_once() {
    let folder = TempDir::new().expect("a folder");
    let recorded = Arc::new(Recording::new(Arc::new(InMemory::new())));
    let state = StateStore::from_store(recorded.clone(), "memory", OpenMode::ReadWrite)
        .await
        .expect("state");
    let refresh = refresh(open(folder.path(), ONE), &state);
    for number in 0..25 {
        write(&folder, &[&format!("{number:02}")]);
        assert!(run(&refresh).await.committed);
    }
    // The first that finds nothing to do looks at the mirror's ropes once.
    assert!(!run(&refresh).await.committed);
    recorded.take();
    assert!(!run(&refresh).await.committed);
    let requests = recorded.take();
    let offsets: Vec<_> = requests
        .iter()
        .filter_map(|request| match request {
            Request::List { offset, .. } => Some(offset.as_ref().map(ToString::to_string)),
            _ => None,
        })
        .collect();
    // Checkpoints are 11 commits apart; deltalake goes back from the version that it is given by a thousand at a time.
    let last_checkpoint = "many/_delta_log/00000000000000000021";
    let ours = |offset: &Option<String>| {
        let offset = offset.as_ref().expect("nothing lists all of it");
        offset.ends_with(last_checkpoint)
    };
    assert!(
        offsets.iter().filter(|offset| ours(offset)).count() > 0,
        "{offsets:?}"
    );
}

#[tokio::test]
async fn ropes_that_are_committed_are_not_written_again() {
    let folder = TempDir::new().expect("a folder");
    let names: Vec<String> = (0..40).map(|number| format!("{number:02}/x")).collect();
    write(
        &folder,
        &names.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let state = memory().await;
    let refresh = refresh(open(folder.path(), ONE), &state);
    run(&refresh).await;
    // The store in memory counts puts in its ETags.
    let ropes = async || -> BTreeMap<_, _> {
        let listed = state.objects().list(None);
        let listed: Vec<_> = listed.try_collect().await.expect("it lists");
        listed
            .into_iter()
            .filter(|meta| meta.location.as_ref().ends_with(".rope"))
            .map(|meta| (meta.location, meta.e_tag))
            .collect()
    };
    let before = ropes().await;
    let meta = |path: &object_store::path::Path| path.as_ref().contains("many_meta");
    assert_eq!(before.keys().filter(|path| meta(path)).count(), 1);
    // An edit of nothing that the files depend on lays all of them out again, and each comes out as it was.
    let excluded = format!(
        "{}\n",
        ONE.trim_end()
            .replace("path: .}", "path: .}, exclude: [none]")
    );
    let edited = self::refresh(open(folder.path(), &excluded), &state);
    assert!(run(&edited).await.committed);
    assert_eq!(ropes().await, before);
    // One new artifact: a file of its own, and another mirror.
    write(&folder, &["40/x"]);
    assert!(run(&edited).await.committed);
    let after = ropes().await;
    assert_eq!(after.len(), before.len() + 2);
    assert!(
        before
            .iter()
            .all(|(path, tag)| after.get(path) == Some(tag))
    );
}

#[tokio::test]
async fn a_folder_behind_a_link_that_is_switched_is_the_same_source_with_other_files() {
    let folder = TempDir::new().expect("a folder");
    write(
        &folder,
        &["old/a", "old/b", "new/a", "new/b", "new/c", "empty/.x"],
    );
    fs::remove_file(folder.path().join("empty/.x")).expect("removed");
    let link = folder.path().join("current");
    let lead_to = |target: &str| {
        drop(fs::remove_file(&link));
        std::os::unix::fs::symlink(target, &link).expect("linked");
    };
    lead_to("old");
    let state = memory().await;
    let first = refresh(open(&link, ONE), &state);
    let made = run(&first).await;
    assert_eq!((made.version, made.artifacts), (0, 2));

    lead_to("new");
    let switched = run(&first).await;
    let counts = (switched.new, switched.changed, switched.deleted);
    assert_eq!((switched.version, counts), (1, (1, 2, 0)));
    // Who starts now sees nothing else.
    let second = refresh(open(&link, ONE), &state);
    for refresh in [&second, &first] {
        let again = run(refresh).await;
        assert_eq!((again.version, again.committed), (1, false));
    }

    lead_to("empty");
    let held = run(&first).await;
    assert!(held.sources[0].is_held(), "{:?}", held.sources[0]);
    assert_eq!(held.artifacts, 3);
}

#[tokio::test]
async fn a_link_that_is_switched_to_a_folder_with_the_state_in_it_is_refused() {
    let folder = TempDir::new().expect("a folder");
    write(&folder, &["data/a"]);
    let link = folder.path().join("current");
    std::os::unix::fs::symlink("data", &link).expect("linked");
    let state = folder.path().join("state");
    let state = StateStore::open_directory(&state, OpenMode::ReadWrite);
    let state = state.await.expect("it opens");
    let table = refresh(open(&link, ONE), &state);
    assert_eq!(run(&table).await.artifacts, 1);

    for target in [".", "state", "state/main"] {
        fs::remove_file(&link).expect("removed");
        std::os::unix::fs::symlink(target, &link).expect("linked");
        let refused = run(&table).await;
        let source = &refused.sources[0];
        assert_eq!((refused.version, source.reason), (0, "SourceInvalid"));
        assert!(source.message.contains("the state"), "{}", source.message);
    }
}

/// What `store.json` says becomes something else.
async fn rewrite(state: &StateStore, from: &str, to: &str) {
    let path = StatePath::from("store.json");
    let found = state.objects().get(&path).await.expect("there");
    let found = found.bytes().await.expect("it reads");
    let text = str::from_utf8(&found).expect("text");
    assert!(text.contains(from), "{text}");
    put(state, &path, text.replace(from, to).into()).await;
}

#[tokio::test]
async fn who_runs_an_older_version_commits_nothing_upon_a_newer_format() {
    let folder = TempDir::new().expect("a folder");
    write(&folder, &["a"]);
    let state = memory().await;
    let old = refresh(open(folder.path(), ONE), &state);
    run(&old).await;
    write(&folder, &["b"]);
    let snapshot = old.log().snapshot().await.expect("the log reads");
    let listing = old.definition().sources[0].list(&|_, _| {}).await;
    let before = ropes(&state).await.len();

    rewrite(&state, "\"formatVersion\":1", "\"formatVersion\":2").await;
    let error = old.run(None).await.expect_err("it is newer");
    assert!(matches!(error, StoreError::NewerState { found: 2, .. }));
    assert_eq!(ropes(&state).await.len(), before, "nothing is put in vain");
    // One that was under way.
    let listed_at = ListedAt {
        began_ms: i64::MAX,
        ended_ms: i64::MAX,
    };
    let error = old.run_listed(snapshot, vec![listing], listed_at).await;
    let error = error.expect_err("it is newer");
    assert_eq!(error.reason(), "StateNewer", "{error}");
    let files = old.log().files().await.expect("it lists");
    assert_eq!(files.newest, Some(0));

    rewrite(&state, "\"formatVersion\":2", "\"formatVersion\":1").await;
    assert_eq!(run(&old).await.version, 1);
}

#[tokio::test]
async fn a_state_that_is_emptied_or_replaced_while_it_is_in_use_is_not_begun_anew() {
    let folder = TempDir::new().expect("a folder");
    write(&folder, &["a"]);
    let state = memory().await;
    let table = refresh(open(folder.path(), ONE), &state);
    run(&table).await;
    let id = state.info().store_id.to_string();
    let other = "6f9619ff-8b86-d011-b42d-00c04fc964ff";
    rewrite(&state, &id, other).await;
    let error = table.run(None).await.expect_err("it is another one");
    assert_eq!(error.reason(), "StateMissing", "{error}");
    rewrite(&state, other, &id).await;
    assert!(!run(&table).await.committed);

    let listed = state.objects().list(None).map_ok(|meta| meta.location);
    let listed: Vec<_> = listed.try_collect().await.expect("it lists");
    for path in listed {
        state.objects().delete(&path).await.expect("deleted");
    }
    let error = table.run(None).await.expect_err("it is empty");
    assert!(matches!(error, StoreError::StateGone { .. }), "{error}");
    let left: Vec<_> = state.objects().list(None).try_collect().await.expect("it");
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_table_whose_folders_are_removed_while_it_is_in_use_is_not_begun_anew() {
    let folder = TempDir::new().expect("a folder");
    write(&folder, &["a"]);
    let state = memory().await;
    let table = refresh(open(folder.path(), ONE), &state);
    run(&table).await;
    let below = |state: &StateStore| state.objects().list(None).map_ok(|meta| meta.location);
    // As a tool removes all of a bucket: in the order of keys, so that `store.json` is the last one.
    let listed: Vec<_> = below(&state).try_collect().await.expect("it lists");
    for path in listed.iter().filter(|path| path.as_ref() != "store.json") {
        state.objects().delete(path).await.expect("deleted");
    }
    let error = table.run(None).await.expect_err("its log is gone");
    assert!(
        matches!(error, StoreError::LogGone { version: 0, .. }),
        "{error}"
    );
    let left: Vec<_> = below(&state).try_collect().await.expect("it lists");
    assert!(
        left.iter()
            .all(|path| !path.as_ref().contains("_delta_log")),
        "{left:?}"
    );
}
