use std::path::Path;

use bytes::Bytes;
use http_body_util::Empty;
use object_store::{ObjectStoreExt, memory::InMemory, path::Path as Location};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vdt_dialect::{DataSurface, HttpMetrics, Limits};
use vdt_sidecar::front::FrontOptions;
use vdt_store::{OpenMode, Origin, StateStore};

use super::*;
use crate::{
    serve::supervisor::{Stores, pending},
    tables::{Problem, Tables},
};

/// A manifest whose principals are these, each a name and the Secret of its token.
fn manifest(name: &str, principals: &[(&str, &str)]) -> String {
    let principals: Vec<String> = principals
        .iter()
        .map(|(name, secret)| format!("{{name: {name}, secretRef: {{name: {secret}}}}}"))
        .collect();
    format!(
        "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {{name: {name}}}\nspec:\n  \
         sources: [{{name: f, type: File, file: {{path: .}}}}]\n  \
         server: {{access: {{mode: Keys, principals: [{}]}}}}\n",
        principals.join(", ")
    )
}

/// A data listener and the manifests that say who may read from it.
struct Bed {
    folder: tempfile::TempDir,
    sources: SourceArgs,
    rights: Rights,
}

impl Bed {
    /// Of manifests that can all be used.
    fn new(files: &[(&str, String)]) -> Self {
        let (bed, problems) = Self::with_problems(files);
        assert_eq!(problems, []);
        bed
    }

    fn with_problems(files: &[(&str, String)]) -> (Self, Vec<Problem>) {
        let folder = tempfile::tempdir().unwrap();
        let sources = SourceArgs {
            sources: Vec::new(),
            manifests: Some(folder.path().to_owned()),
            secrets_dir: Some(folder.path().join("secrets")),
            claims_dir: None,
        };
        for (file, text) in files {
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        for name in ["alice", "bob"] {
            secret(folder.path(), name);
        }
        let loaded = manifests::load_what_can_be(&sources);
        let tables: Vec<_> = loaded
            .declared
            .iter()
            .map(|one| one.table.clone())
            .collect();
        let options = FrontOptions {
            secrets_dir: sources.secrets_dir.clone(),
            ..FrontOptions::default()
        };
        let front = Arc::new(Front::load(&tables, &options).unwrap());
        let rights = Rights::new(front, Notices::new(), manifests::watched(&sources), &loaded);
        let bed = Self {
            folder,
            sources,
            rights,
        };
        (bed, loaded.problems)
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.path().join(file), text).unwrap();
    }

    fn take(&self) -> Taken {
        let loaded = manifests::load_what_can_be(&self.sources);
        self.rights
            .take(&loaded.declared, loaded.problems.is_empty())
    }

    /// What alice and bob are answered who read a table.
    async fn statuses(&self, table: &str) -> [u16; 2] {
        let store = InMemory::new();
        let path = format!("main/default/{table}/a.bin");
        let location = Location::from(path.as_str());
        store.put(&location, "content".into()).await.unwrap();
        let edge = self.rights.front.edge(Limits::default());
        let surface = DataSurface::new(Arc::new(store), HttpMetrics::default(), edge);
        let mut statuses = [0; 2];
        for (status, name) in statuses.iter_mut().zip(["alice", "bob"]) {
            let request = http::Request::get(format!("/v1/{path}"))
                .header("authorization", format!("Bearer {name}"))
                .body(Empty::<Bytes>::new());
            *status = surface.handle(request.unwrap()).await.status().as_u16();
        }
        statuses
    }
}

/// Writes a Secret, whose token is alice's or bob's by its name.
fn secret(folder: &Path, name: &str) {
    let secret = folder.join("secrets").join(name);
    std::fs::create_dir_all(&secret).unwrap();
    let token = if name.starts_with("alice") {
        "alice"
    } else {
        "bob"
    };
    std::fs::write(secret.join("token"), token).unwrap();
}

const BOTH: &[(&str, &str)] = &[("alice", "alice"), ("bob", "bob")];

#[tokio::test]
async fn who_is_revoked_is_out_though_another_manifest_cannot_be_used() {
    let bed = Bed::new(&[
        ("papers.yaml", manifest("papers", BOTH)),
        ("other.yaml", manifest("other", BOTH)),
    ]);
    let refused = manifest("other", BOTH).replace("sources:", "checksum: SHA256\n  sources:");
    for bad in ["{", &refused] {
        bed.write("other.yaml", bad);
        bed.write("papers.yaml", &manifest("papers", &BOTH[..1]));
        assert_eq!(bed.take(), Taken::Whole, "{bad}");
        assert_eq!(bed.statuses("papers").await, [200, 403], "{bad}");
        assert_eq!(bed.statuses("other").await, [200, 200], "{bad}");
        // What is newly given waits.
        bed.write("papers.yaml", &manifest("papers", BOTH));
        bed.take();
        assert_eq!(bed.statuses("papers").await, [200, 403], "{bad}");
        bed.write("other.yaml", &manifest("other", BOTH));
        bed.take();
        assert_eq!(bed.statuses("papers").await, [200, 200], "{bad}");
    }
}

#[tokio::test]
async fn of_a_table_that_two_declare_nobody_is_given_more_than_both_give_at_the_start_too() {
    let twin = manifest("twin", &BOTH[1..]).replace("spec:", "spec:\n  table: {name: papers}");
    let (bed, problems) = Bed::with_problems(&[
        ("papers.yaml", manifest("papers", BOTH)),
        ("twin.yaml", twin),
    ]);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(bed.statuses("papers").await, [403, 200]);
    bed.take();
    assert_eq!(bed.statuses("papers").await, [403, 200]);
    std::fs::remove_file(bed.folder.path().join("twin.yaml")).unwrap();
    bed.take();
    assert_eq!(bed.statuses("papers").await, [200, 200]);
}

#[tokio::test]
async fn tokens_are_for_the_resources_whose_tables_run() {
    const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
    let bed = Bed::new(&[("papers.yaml", manifest("papers", BOTH))]);
    let key = bed.folder.path().join("admin.pem");
    std::fs::write(&key, KEY).unwrap();
    let loaded = manifests::load_what_can_be(&bed.sources);
    let resources = loaded.declared.iter().map(|one| &one.table);
    let gate = vdt_sidecar::admin::gate(&[key], resources).await.unwrap();
    let takes = |name: &str| format!("{gate:?}").contains(&format!("\"default/{name}\""));

    let memory = Arc::new(InMemory::new());
    let state = StateStore::from_store(memory, "memory", OpenMode::ReadWrite);
    let state = state.await.unwrap();
    let served = loaded.declared.iter().map(|one| Arc::new(pending(one)));
    let tables = Arc::new(Tables::new(served.collect(), Vec::new()));
    let origin = Arc::new(Origin::new(state.clone()));
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let stores = Stores {
        state,
        origin,
        ours: Arc::default(),
    };
    let mut supervisor = Supervisor::new(tables, stores, tasks.clone(), stop.clone());
    supervisor.start(loaded).await;
    let mut follower = Follower::new(bed.sources.clone(), supervisor, gate.clone(), None);
    assert!(takes("papers") && !takes("other"));
    bed.write("other.yaml", &manifest("other", BOTH));
    follower.take().await;
    assert!(takes("papers") && takes("other"));
    // A mistake ends no table, and takes no token away.
    bed.write("other.yaml", "{");
    std::fs::remove_file(bed.folder.path().join("papers.yaml")).unwrap();
    follower.take().await;
    assert!(!takes("papers") && takes("other"));
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test]
async fn a_secret_that_comes_after_its_manifest_is_waited_for() {
    let bed = Bed::new(&[("papers.yaml", manifest("papers", BOTH))]);
    bed.write(
        "papers.yaml",
        &manifest("papers", &[("alice", "alice-next"), ("bob", "bob")]),
    );
    assert_eq!(bed.take(), Taken::TryAgain);
    assert_eq!(bed.statuses("papers").await, [401, 200]);
    secret(bed.folder.path(), "alice-next");
    assert_eq!(bed.take(), Taken::Whole);
    assert_eq!(bed.statuses("papers").await, [200, 200]);
}

#[tokio::test]
async fn a_folder_that_is_away_keeps_its_rights() {
    let mut seen = Seen::default();
    let mut folder = Bed::new(&[("papers.yaml", manifest("papers", BOTH))]);
    folder.sources.sources = vec![folder.folder.path().display().to_string()];
    let Loaded { declared, .. } = manifests::load_what_can_be(&folder.sources);
    assert_eq!(declared.len(), 2);
    seen.see(&[], &declared);
    seen.see(&[], &[]);
    assert_eq!(seen.tables().len(), 1);
}
