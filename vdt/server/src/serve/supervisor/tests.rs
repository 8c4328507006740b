use std::time::Duration;

use object_store::{memory::InMemory, path::Path};
use tokio::time::timeout;
use vdt_store::{OpenMode, SourceEnv};

use super::*;
use crate::tables::Visibility;

const TABLE: &str = "main/docs/manuals";

/// The manifest of a resource that names the table, over a folder that is not there.
fn declared(name: &str) -> Declared {
    let manifest = format!(
        "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {{name: {name}, namespace: docs}}\n\
         spec:\n  table: {{catalog: main, schema: docs, name: manuals}}\n  sources: [{{name: a, type: File, file: {{path: missing}}}}]\n"
    );
    let folder = std::env::temp_dir().join("vdt-no-such-folder");
    Declared {
        table: vdt_crds::parse(manifest.as_bytes()).unwrap().remove(0),
        env: SourceEnv {
            base_dir: folder,
            ..SourceEnv::default()
        },
        origin: format!("{name}.yaml"),
    }
}

struct Bed {
    supervisor: Supervisor,
    tables: Arc<Tables>,
}

impl Bed {
    /// A supervisor of `names`, on a state whose table docs/manuals owns.
    async fn new(names: &[&str]) -> Self {
        let declared = names.iter().map(|name| declared(name)).collect();
        Self::of(Loaded {
            declared,
            ..Loaded::default()
        })
        .await
    }

    /// One of what was `loaded`.
    async fn of(loaded: Loaded) -> Self {
        let memory = Arc::new(InMemory::new());
        let state = StateStore::from_store(memory, "memory", OpenMode::ReadWrite);
        let state = state.await.unwrap();
        state
            .claim(&Path::from(TABLE), "docs/manuals")
            .await
            .unwrap();
        let served = loaded.declared.iter().map(|one| Arc::new(pending(one)));
        let tables = Arc::new(Tables::new(served.collect(), loaded.problems.clone()));
        let origin = Arc::new(Origin::new(state.clone()));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let mut supervisor = Supervisor::new(tables.clone(), state, origin, tasks, stop);
        supervisor.start(loaded).await;
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
        comes
            .supervisor
            .apply(vec![declared(name)], Vec::new())
            .await;
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
    bed.supervisor
        .apply(vec![declared("copy")], Vec::new())
        .await;
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
    bed.supervisor
        .apply(vec![declared("manuals")], Vec::new())
        .await;
    tried(&bed.table()).await;
    assert_eq!(bed.shown(), Visibility::Visible);
    bed.end().await;
}

#[tokio::test]
async fn a_table_goes_on_though_another_file_declares_it_too() {
    let refused = || Problem {
        manifest: TABLE.to_owned(),
        origin: "manuals.yaml".to_owned(),
        message: "declared twice".to_owned(),
        may_pass: false,
    };
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
        bed.supervisor.apply(vec![other], vec![problem]).await;
        assert!(Arc::ptr_eq(&before, &bed.table()));
        assert_eq!(
            (bed.shown(), before.whose()),
            (Visibility::Visible, Claim::Ours)
        );
        let told = before.manifest().refused.map(|refused| refused.message);
        assert_eq!(told.as_deref(), Some("declared twice"));
        assert_eq!(*bed.tables.problems(), []);
        bed.supervisor
            .apply(vec![declared("manuals")], Vec::new())
            .await;
        assert_eq!(before.manifest().refused, None);
        // When it is declared no longer, the other one comes.
        bed.supervisor.apply(vec![copy()], Vec::new()).await;
        assert_eq!(before.whose(), Claim::Unclaimed);
        bed.end().await;
    }
}

#[tokio::test]
async fn of_two_that_declare_one_table_its_owner_goes_on_after_a_start_too() {
    let refused = || Problem {
        manifest: TABLE.to_owned(),
        origin: "manuals.yaml".to_owned(),
        message: "declared twice".to_owned(),
        may_pass: false,
    };
    let mut bed = Bed::of(Loaded {
        declared: vec![declared("copy")],
        problems: vec![refused()],
        doubles: vec![declared("manuals")],
    })
    .await;
    assert_eq!(bed.shown(), Visibility::Visible);
    let table = bed.table();
    let told = table.manifest().refused.map(|refused| refused.message);
    assert_eq!(told.as_deref(), Some("declared twice"));
    assert_eq!(*bed.tables.problems(), []);
    let owners = bed.supervisor.resources().map(VirtualTable::owner);
    assert_eq!(owners.collect::<Vec<_>>(), ["docs/manuals"]);
    // It is the same one when the manifests are read again, and when the other one is gone.
    let twice = (vec![declared("copy")], vec![refused()]);
    for (declared, problems) in [twice, (vec![declared("manuals")], Vec::new())] {
        bed.supervisor.apply(declared, problems).await;
        assert!(Arc::ptr_eq(&table, &bed.table()));
        assert_eq!(bed.shown(), Visibility::Visible);
    }
    assert_eq!(table.manifest().refused, None);
    bed.end().await;
}

#[tokio::test]
async fn a_twin_of_which_none_owns_the_table_claims_nothing() {
    let bed = Bed::of(Loaded {
        declared: vec![declared("copy")],
        problems: Vec::new(),
        doubles: vec![declared("other")],
    })
    .await;
    assert_eq!(bed.shown(), Visibility::Hidden);
    assert_eq!(bed.table().whose(), Claim::OfAnother);
    bed.end().await;
}

#[tokio::test]
async fn the_problem_of_a_twin_is_told_beside_the_table_that_is_declared() {
    let mut bed = Bed::new(&["manuals"]).await;
    let problem = Problem {
        manifest: TABLE.to_owned(),
        origin: "z.yaml".to_owned(),
        message: "declared twice".to_owned(),
        may_pass: false,
    };
    let problems = vec![problem];
    bed.supervisor
        .apply(vec![declared("manuals")], problems.clone())
        .await;
    assert_eq!(*bed.tables.problems(), problems);
    assert_eq!(bed.table().manifest().refused, None);
    bed.end().await;
}
