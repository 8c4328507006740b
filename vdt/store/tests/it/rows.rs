//! Rows of a version: read back from their ropes, kept while their file is there, changed when it is.

use std::{
    fs::{self, File},
    io::Write,
    sync::Arc,
};

use object_store::{GetOptions, ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use tempfile::TempDir;
use vdt_crds::{VirtualTable, chain};
use vdt_store::{
    Clock, Definition, OpenMode, RefreshReport, SourceEnv, StateStore, StoreError, TableRefresh,
    log::TableLog,
    plan::ListedAt,
    source::{Entry, Listing},
};

fn refresh(folder: &TempDir, state: &StateStore, exclude: &[&str]) -> TableRefresh {
    let mut table = VirtualTable::for_folder(std::path::Path::new("/papers"));
    table.spec.refresh.settle_seconds = 0;
    table.spec.sources[0].exclude = exclude.iter().map(|glob| (*glob).to_owned()).collect();
    let env = SourceEnv {
        base_dir: folder.path().to_owned(),
        ..SourceEnv::default()
    };
    let definition = Arc::new(Definition::open(&table, &env).expect("a folder opens"));
    let clock: Clock = Arc::new(|| 1_900_000_000_000);
    TableRefresh::new(definition, state.clone(), clock)
}

/// A folder and a refresh of it, into memory.
struct Lab {
    folder: TempDir,
    state: StateStore,
    refresh: TableRefresh,
}

impl Lab {
    async fn new(names: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        for name in names {
            fs::write(folder.path().join(name), name).expect("written");
        }
        let state =
            StateStore::from_store(Arc::new(InMemory::new()), "memory", OpenMode::ReadWrite)
                .await
                .expect("state");
        let refresh = refresh(&folder, &state, &[]);
        let lab = Self {
            folder,
            state,
            refresh,
        };
        lab.run().await;
        lab
    }

    async fn run(&self) -> RefreshReport {
        self.refresh.run(None).await.expect("it refreshes")
    }

    async fn list(&self) -> Listing {
        let source = &self.refresh.definition().sources[0];
        source.list(&|_, _| {}).await.expect("it lists")
    }

    /// A refresh with a listing that lacks `key`.
    async fn run_without(&self, key: &str) -> RefreshReport {
        self.run_with(|entry| &*entry.object.key != key).await
    }

    /// A refresh with a listing of those that `is_listed`.
    async fn run_with(&self, is_listed: impl Fn(&Entry) -> bool) -> RefreshReport {
        let mut listing = self.list().await;
        listing.entries.retain(is_listed);
        let snapshot = self.refresh.log().snapshot().await.expect("the log reads");
        let listed_at = ListedAt {
            began_ms: i64::MAX,
            ended_ms: i64::MAX,
        };
        let done = self
            .refresh
            .run_listed(snapshot, vec![Ok(listing)], listed_at);
        done.await.expect("it refreshes").expect("it commits")
    }

    async fn ropes(&self) -> Vec<Path> {
        let snapshot = self.refresh.log().snapshot().await.expect("the log reads");
        let table = self.refresh.log().table().clone();
        let rope = |path: &str| table.clone().join(path.replace(".parquet", ".rope"));
        let files = snapshot.expect("a version").files;
        files.iter().map(|file| rope(&file.path)).collect()
    }
}

#[tokio::test]
async fn a_file_that_a_listing_has_missed_keeps_its_row() {
    let lab = Lab::new(&["a", "b", "c"]).await;
    let missed = lab.run_without("b").await;
    assert!(!missed.committed, "row and id are as they were");
    assert_eq!((missed.artifacts, missed.deleted), (3, 0));
    assert!(missed.listing_seconds > 0.0, "the look counts");

    // What it is now counts.
    fs::write(lab.folder.path().join("b"), "written anew").expect("written");
    let changed = lab.run_without("b").await;
    assert_eq!(
        (changed.artifacts, changed.changed, changed.deleted),
        (3, 1, 0)
    );
    assert!(!lab.run().await.committed, "it is in the table as listed");

    fs::remove_file(lab.folder.path().join("b")).expect("removed");
    fs::create_dir(lab.folder.path().join("b")).expect("a folder of that name is no file");
    let gone = lab.run_without("b").await;
    assert_eq!((gone.artifacts, gone.deleted), (2, 1));
}

#[tokio::test]
async fn an_emptied_folder_is_held_without_a_look_at_everything() {
    let few = Lab::new(&["a", "b", "c"]).await;
    let found = few.run_with(|_| false).await;
    assert!(found.sources[0].is_current(), "{:?}", found.sources[0]);

    let names: Vec<String> = (0..1_500).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let many = Lab::new(&names).await;
    let emptied = many.run_with(|_| false).await;
    assert!(emptied.sources[0].is_held(), "{:?}", emptied.sources[0]);
    assert_eq!((emptied.artifacts, emptied.deleted), (1_500, 0));
    // Less than half, which would be deleted.
    let missed = many.run_with(|entry| entry.object.key.len() > 2).await;
    assert!(missed.sources[0].is_current());
    assert_eq!((missed.artifacts, missed.deleted), (1_500, 0));
}

#[tokio::test]
async fn a_file_that_the_globs_leave_out_now_is_not_looked_for() {
    let lab = Lab::new(&["a", "b", "c"]).await;
    let edited = refresh(&lab.folder, &lab.state, &["b"]);
    let report = edited.run(None).await.expect("it refreshes");
    assert_eq!((report.artifacts, report.deleted), (2, 1));
}

#[tokio::test]
async fn a_write_that_keeps_size_and_time_is_a_change() {
    let lab = Lab::new(&["a", "b"]).await;
    let path = lab.folder.path().join("b");
    let before: Entry = lab.list().await.entries.remove(1);
    let mut file = File::options().write(true).open(&path).expect("opens");
    let time = file.metadata().expect("there").modified().expect("a time");
    // Longer than a tick of the clock that files are stamped with.
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    file.write_all(b"X").expect("written");
    file.set_modified(time).expect("set back");
    let after: Entry = lab.list().await.entries.remove(1);
    assert_eq!(
        (after.object.size, after.object.last_modified_ms),
        (before.object.size, before.object.last_modified_ms)
    );

    let store = lab.refresh.definition().sources[0].store();
    let read = async |entry: &Entry| {
        let options = GetOptions {
            if_match: entry.object.etag.as_deref().map(str::to_owned),
            ..GetOptions::default()
        };
        store.get_opts(&Path::from("b"), options).await
    };
    let old = read(&before).await;
    assert!(
        matches!(old, Err(object_store::Error::Precondition { .. })),
        "{old:?}"
    );
    let new = read(&after).await.expect("it reads").bytes().await;
    assert_eq!(new.expect("it reads"), "X".as_bytes());

    let report = lab.run().await;
    assert_eq!(
        (report.changed, report.new, report.deleted, report.artifacts),
        (1, 0, 0, 2)
    );
}

#[tokio::test]
async fn a_rope_under_the_name_of_another_is_refused() {
    let lab = Lab::new(&["a"]).await;
    fs::write(lab.folder.path().join("b"), "b").expect("written");
    lab.run().await;
    let ropes = lab.ropes().await;
    let [one, other] = ropes.as_slice() else {
        panic!("two files: {ropes:?}");
    };
    let objects = lab.state.objects();
    let read = async |path| {
        let found = objects.get(path).await.expect("there");
        found.bytes().await.expect("it reads")
    };
    let (of_one, of_other) = (read(one).await, read(other).await);
    objects.put(one, of_other.into()).await.expect("put");
    objects.put(other, of_one.into()).await.expect("put");
    // As after a restart: what was laid out here is not read.
    let again = refresh(&lab.folder, &lab.state, &[]);
    let error = again.run(None).await.expect_err("rows of others");
    assert!(matches!(error, StoreError::Rope { .. }), "{error:?}");
    let told = chain(&error);
    for rope in [one, other] {
        let name = rope.filename().expect("a name").replace(".rope", "");
        assert!(told.contains(&name), "{told}");
    }
}

#[tokio::test]
async fn a_rope_of_the_table_without_data_that_was_lost_or_damaged_is_made_again() {
    let lab = Lab::new(&["a", "b"]).await;
    let meta = TableLog::new(lab.state.clone(), lab.refresh.definition().meta_path());
    let snapshot = async || meta.snapshot().await.expect("it reads").expect("a version");
    let before = snapshot().await;
    let name = before.files[0].path.replace(".parquet", ".rope");
    let rope = meta.table().clone().join(name);
    let objects = lab.state.objects();
    let read = async || {
        let found = objects.get(&rope).await.expect("there");
        found.bytes().await.expect("it reads")
    };
    let stored = read().await;
    let (whole, middle) = (stored.to_vec(), stored.len() / 2);
    let mut flipped = whole.clone();
    flipped[middle] ^= 1;
    let short = whole[..middle].to_vec();
    for damage in [None, Some(Vec::new()), Some(flipped), Some(short)] {
        objects.delete(&rope).await.expect("deleted");
        if let Some(left) = damage {
            objects.put(&rope, left.into()).await.expect("put");
        }
        // As after a restart: what was seen once is not looked for again.
        let again = refresh(&lab.folder, &lab.state, &[]);
        assert!(!again.run(None).await.expect("it refreshes").committed);
        assert_eq!(read().await, stored);
        assert_eq!(snapshot().await.version, before.version);
    }
}
