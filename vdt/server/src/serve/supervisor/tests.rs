mod owners;

use std::{path::PathBuf, time::Duration};

use object_store::{ObjectStore, memory::InMemory, path::Path};
use tokio::time::timeout;
use vdt_store::{OpenMode, SourceEnv, StateStore};

use super::*;
use crate::{
    serve::overlap::{OwnFolders, leads},
    tables::{Claim, Visibility},
};

const TABLE: &str = "main/docs/manuals";

/// What lies nowhere.
fn folder() -> PathBuf {
    std::env::temp_dir().join("vdt-no-such-folder")
}

/// The manifest of a resource that names the table, over a folder that is not there.
fn declared(name: &str) -> Declared {
    let manifest = format!(
        "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {{name: {name}, namespace: docs}}\n\
         spec:\n  table: {{catalog: main, schema: docs, name: manuals}}\n  sources: [{{name: a, type: File, file: {{path: missing}}}}]\n"
    );
    Declared {
        table: vdt_crds::parse(manifest.as_bytes()).unwrap().remove(0),
        env: SourceEnv {
            base_dir: folder(),
            ..SourceEnv::default()
        },
        origin: format!("{name}.yaml"),
    }
}

/// Manifests that can be used.
fn all(names: &[&str]) -> Loaded {
    Loaded {
        declared: names.iter().map(|name| declared(name)).collect(),
        ..Loaded::default()
    }
}

/// What is told of a manifest because another one declares the same table.
fn twice(name: &str) -> Problem {
    Problem {
        manifest: TABLE.to_owned(),
        origin: format!("{name}.yaml"),
        message: "declared twice".to_owned(),
        may_pass: false,
    }
}

/// Two manifests of one table, in the order of their reading.
fn twins(first: &str, second: &str) -> Loaded {
    Loaded {
        declared: vec![declared(first)],
        problems: vec![twice(second)],
        doubles: vec![declared(second)],
    }
}

struct Bed {
    supervisor: Supervisor,
    tables: Arc<Tables>,
}

impl Bed {
    /// A supervisor of `names`, on a state whose table docs/manuals owns.
    async fn new(names: &[&str]) -> Self {
        Self::of(all(names)).await
    }

    /// One of what was `loaded`.
    async fn of(loaded: Loaded) -> Self {
        Self::on(Arc::new(InMemory::new()), loaded).await
    }

    /// One on a state of these objects.
    async fn on(objects: Arc<dyn ObjectStore>, loaded: Loaded) -> Self {
        let state = StateStore::from_store(objects, "memory", OpenMode::ReadWrite);
        let state = state.await.unwrap();
        state
            .claim(&Path::from(TABLE), "docs/manuals")
            .await
            .unwrap();
        let served = loaded.declared.iter().map(|one| Arc::new(pending(one)));
        let tables = Arc::new(Tables::new(served.collect(), loaded.problems.clone()));
        let origin = Arc::new(Origin::new(state.clone()));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let cache = folder().join("ours/cache");
        let ours = OwnFolders::find(Some(cache), None, leads).await.unwrap();
        let stores = Stores {
            state,
            origin,
            ours: Arc::new(ours),
        };
        let mut supervisor = Supervisor::new(tables.clone(), stores, tasks, stop);
        Box::pin(supervisor.start(loaded)).await;
        Self { supervisor, tables }
    }

    fn table(&self) -> Arc<Served> {
        self.tables.served()[0].clone()
    }

    fn shown(&self) -> Visibility {
        self.tables
            .visibility(&format!("{TABLE}/_delta_log/0.json"))
    }

    async fn end(self) {
        self.supervisor.stop.cancel();
        self.supervisor.tasks.close();
        self.supervisor.tasks.wait().await;
    }
}

/// Waits until the table has been tried once.
async fn tried(table: &Served) {
    let tried = async {
        while table.status().failures == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), tried).await.unwrap();
}

#[tokio::test]
async fn a_table_that_cannot_be_opened_is_shown_by_its_resource_alone() {
    for (name, claim, shown) in [
        ("manuals", Claim::Ours, Visibility::Visible),
        ("copy", Claim::OfAnother, Visibility::Hidden),
    ] {
        let started = Bed::new(&[name]).await;
        assert_eq!(started.table().whose(), claim, "{name}, before it is tried");
        tried(&started.table()).await;
        assert_eq!(started.shown(), shown, "{name}");
        started.end().await;

        let mut comes = Bed::new(&[]).await;
        comes.supervisor.apply(all(&[name])).await;
        tried(&comes.table()).await;
        assert_eq!(
            (comes.table().whose(), comes.shown()),
            (claim, shown),
            "{name}"
        );
        comes.end().await;
    }
}

#[tokio::test]
async fn another_resource_in_its_place_inherits_no_claim() {
    let mut bed = Bed::new(&["manuals"]).await;
    let before = bed.table();
    assert_eq!(bed.shown(), Visibility::Visible);
    bed.supervisor.apply(all(&["copy"])).await;
    assert_eq!(before.whose(), Claim::Unclaimed);
    assert_ne!(bed.shown(), Visibility::Visible);
    tried(&bed.table()).await;
    assert_eq!(bed.shown(), Visibility::Hidden);
    bed.end().await;
}

#[tokio::test]
async fn what_another_resource_takes_the_place_of_is_not_shown_before_anything_is_taken() {
    let mut bed = Bed::new(&["manuals"]).await;
    assert_eq!(bed.shown(), Visibility::Visible);
    bed.supervisor.release(&[declared("manuals")], &[]);
    assert_eq!(bed.shown(), Visibility::Visible);
    bed.supervisor.release(&[declared("copy")], &[]);
    assert_eq!(bed.shown(), Visibility::Hidden);
    bed.supervisor.apply(all(&["manuals"])).await;
    tried(&bed.table()).await;
    assert_eq!(bed.shown(), Visibility::Visible);
    bed.end().await;
}

#[tokio::test]
async fn a_table_goes_on_though_another_file_declares_it_too() {
    let refused = || twice("manuals");
    let unreadable = || Problem {
        manifest: "manuals.yaml".to_owned(),
        ..refused()
    };
    let copy = || declared("copy");
    let twin = || Declared {
        origin: "copy.yaml".to_owned(),
        ..declared("manuals")
    };
    for (other, problem) in [
        (copy(), refused()),
        (twin(), refused()),
        (copy(), unreadable()),
    ] {
        let mut bed = Bed::new(&["manuals"]).await;
        let before = bed.table();
        let loaded = Loaded {
            declared: vec![other],
            problems: vec![problem],
            doubles: Vec::new(),
        };
        bed.supervisor.apply(loaded).await;
        assert!(Arc::ptr_eq(&before, &bed.table()));
        assert_eq!(
            (bed.shown(), before.whose()),
            (Visibility::Visible, Claim::Ours)
        );
        let told = before.manifest().refused.map(|refused| refused.message);
        assert_eq!(told.as_deref(), Some("declared twice"));
        assert_eq!(*bed.tables.problems(), []);
        bed.supervisor.apply(all(&["manuals"])).await;
        assert_eq!(before.manifest().refused, None);
        // When it is declared no longer, the other one comes.
        bed.supervisor.apply(all(&["copy"])).await;
        assert_eq!(before.whose(), Claim::Unclaimed);
        bed.end().await;
    }
}

#[tokio::test]
async fn a_source_that_a_folder_of_ours_lies_in_is_refused_whenever_it_comes() {
    let around_ours = |mut loaded: Loaded| {
        for one in loaded.declared.iter_mut().chain(&mut loaded.doubles) {
            let file = one.table.spec.sources[0].file.as_mut().unwrap();
            file.path = Some("ours".to_owned());
        }
        loaded
    };
    for (start, comes) in [
        (&[][..], all(&["manuals"])),
        (&["copy"], twins("copy", "manuals")),
    ] {
        let mut bed = Bed::of(around_ours(all(start))).await;
        bed.supervisor.apply(around_ours(comes)).await;
        tried(&bed.table()).await;
        let (reason, message) = bed.table().status().error.unwrap();
        assert_eq!(reason, "ManifestInvalid");
        assert!(message.contains("lies inside the source"), "{message}");
        let field = "manuals.yaml: table main/docs/manuals: spec.sources[0].file.path is \"ours\"";
        assert!(message.starts_with(field), "{message}");
        bed.end().await;
    }
}
