//! Which ropes a refresh reads: those of files that it does not know, or that are not what the listing shows.

use std::{fs, sync::Arc};

use object_store::memory::InMemory;
use tempfile::TempDir;
use vdt_rope::testing::{Recording, Request};
use vdt_store::{
    Clock, Definition, OpenMode, RefreshReport, SourceEnv, StateStore, TableRefresh, log::TableLog,
};

/// A table of two folders over a state that records what is asked for.
struct Lab {
    folder: TempDir,
    recorded: Arc<Recording>,
    state: StateStore,
}

impl Lab {
    async fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        for name in ["here", "there"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let recorded = Arc::new(Recording::new(Arc::new(InMemory::new())));
        let state = StateStore::from_store(recorded.clone(), "memory", OpenMode::ReadWrite);
        Self {
            folder,
            recorded,
            state: state.await.expect("a state"),
        }
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.folder.path().join(name), content).expect("written");
    }

    fn refresh(&self, more: &str) -> TableRefresh {
        let manifest = format!(
            "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {{name: t}}\nspec:\n  sources:\n  \
             - {{name: here, type: File, file: {{path: here}}}}\n  - {{name: there, type: File, file: {{path: there}}}}\n  \
             refresh: {{intervalSeconds: 0, settleSeconds: 0}}\n{more}"
        );
        let table = vdt_crds::parse(manifest.as_bytes())
            .expect("the manifest parses")
            .remove(0);
        let env = SourceEnv {
            base_dir: self.folder.path().to_owned(),
            ..SourceEnv::default()
        };
        let definition = Definition::open(&table, &env).expect("the manifest is valid");
        let clock: Clock = Arc::new(|| 1_900_000_000_000);
        TableRefresh::new(Arc::new(definition), self.state.clone(), clock)
    }

    /// A refresh, and how many ropes of the table it read.
    async fn run(&self, refresh: &TableRefresh) -> (RefreshReport, usize) {
        self.recorded.take();
        let report = refresh.run(None).await.expect("it refreshes");
        let folder = format!("{}/", refresh.log().table());
        let is_rope = |request: &&Request| match request {
            Request::Get { location, .. } => {
                location.as_ref().starts_with(&folder) && location.as_ref().ends_with(".rope")
            }
            _ => false,
        };
        let requests = self.recorded.take();
        (report, requests.iter().filter(is_rope).count())
    }

    /// Commits a file for each artifact.
    async fn fill(&self, refresh: &TableRefresh, names: &[&str]) {
        for name in names {
            self.write(name, name);
            let (report, ropes) = self.run(refresh).await;
            assert_eq!((report.new, ropes), (1, 0), "what is laid out is known");
        }
    }
}

#[tokio::test]
async fn ropes_are_read_once_and_then_of_the_files_that_change() {
    let lab = Lab::new().await;
    let one = lab.refresh("");
    lab.fill(&one, &["here/a", "here/b", "here/c", "there/a"])
        .await;
    let (report, ropes) = lab.run(&one).await;
    assert_eq!((report.committed, report.artifacts, ropes), (false, 4, 0));
    assert_eq!(report.artifact_bytes, Some(25));

    // As after a restart.
    let two = lab.refresh("");
    for expected in [4, 0] {
        let (report, ropes) = lab.run(&two).await;
        assert_eq!((report.committed, ropes), (false, expected));
        assert_eq!(report.artifact_bytes, Some(25));
    }
    lab.write("here/b", "another content");
    let (report, ropes) = lab.run(&two).await;
    assert_eq!((report.changed, report.artifacts, ropes), (1, 4, 1));
    fs::remove_file(lab.folder.path().join("here/c")).expect("removed");
    let (report, ropes) = lab.run(&two).await;
    assert_eq!((report.deleted, report.artifacts, ropes), (1, 3, 1));
    let (report, ropes) = lab.run(&two).await;
    assert_eq!((report.committed, ropes), (false, 0));
    // What somebody else has committed is read, and no more.
    let (report, ropes) = lab.run(&one).await;
    assert_eq!((report.committed, report.artifacts, ropes), (false, 3, 1));
    let (report, ropes) = lab.run(&one).await;
    assert_eq!((report.committed, ropes), (false, 0));
}

#[tokio::test]
async fn an_edit_lays_out_what_is_known_without_reading_it() {
    let lab = Lab::new().await;
    let before = lab.refresh("");
    lab.fill(&before, &["here/a", "here/b"]).await;
    let columns = "  schema:\n    columns:\n    - {name: id, from: {artifact: Id}}\n    \
                   - {name: filename, from: {artifact: Filename}}\n    - {name: data, from: {artifact: Data}}\n";
    let edited = lab.refresh(columns);
    let (report, ropes) = lab.run(&edited).await;
    assert_eq!((report.committed, report.artifacts, ropes), (true, 2, 2));
    let (report, ropes) = lab.run(&edited).await;
    assert_eq!((report.committed, ropes), (false, 0));
    // And back, by one who knows files that are in the table no more.
    let (report, ropes) = lab.run(&before).await;
    assert_eq!((report.committed, report.artifacts, ropes), (true, 2, 1));
}

#[tokio::test]
async fn files_of_a_source_that_is_away_are_read_when_their_rows_are_needed() {
    let lab = Lab::new().await;
    let refresh = lab.refresh("");
    lab.fill(&refresh, &["here/a", "there/a", "there/b"]).await;
    let away = lab.folder.path().join("away");
    let there = lab.folder.path().join("there");
    fs::rename(&there, &away).expect("renamed");
    for _ in 0..2 {
        let (report, ropes) = lab.run(&refresh).await;
        assert_eq!((report.committed, report.artifacts, ropes), (false, 3, 0));
        assert_eq!(report.artifact_bytes, Some(20));
        assert!(report.has_failed());
    }
    // The table without data is made of all rows.
    lab.write("here/b", "here/b");
    let (report, ropes) = lab.run(&refresh).await;
    assert_eq!((report.new, report.artifacts, ropes), (1, 4, 2));
    assert_eq!(report.artifact_bytes, Some(26));
    let meta = TableLog::new(lab.state.clone(), refresh.definition().meta_path());
    let meta = meta.snapshot().await.expect("it reads").expect("a version");
    assert_eq!(meta.rows(), 4);

    fs::rename(&away, &there).expect("renamed");
    let (report, ropes) = lab.run(&refresh).await;
    assert_eq!((report.committed, report.artifacts, ropes), (false, 4, 0));
    // A source that has left the manifest leaves the table.
    let left = lab.refresh("").definition().as_ref().clone();
    let left = Definition {
        sources: left.sources[..1].to_vec(),
        ..left
    };
    let clock: Clock = Arc::new(|| 1_900_000_000_000);
    let left = TableRefresh::new(Arc::new(left), lab.state.clone(), clock);
    let (report, _) = lab.run(&left).await;
    assert_eq!((report.artifacts, report.deleted), (2, 2));
}
