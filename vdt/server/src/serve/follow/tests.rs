use std::path::Path;

use bytes::Bytes;
use http_body_util::Empty;
use object_store::{ObjectStoreExt, memory::InMemory, path::Path as Location};
use vdt_dialect::{DataSurface, HttpMetrics, Limits};
use vdt_sidecar::front::FrontOptions;

use super::*;

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
    fn new(files: &[(&str, String)]) -> Self {
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
        let (declared, problems) = manifests::load_what_can_be(&sources);
        assert_eq!(problems, []);
        let tables: Vec<_> = declared.iter().map(|one| one.table.clone()).collect();
        let options = FrontOptions {
            secrets_dir: sources.secrets_dir.clone(),
            ..FrontOptions::default()
        };
        let front = Arc::new(Front::load(&tables, &options).unwrap());
        let rights = Rights::new(
            front,
            Notices::new(),
            manifests::watched(&sources),
            &declared,
        );
        Self {
            folder,
            sources,
            rights,
        }
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.path().join(file), text).unwrap();
    }

    fn take(&self) -> Taken {
        let (declared, problems) = manifests::load_what_can_be(&self.sources);
        self.rights.take(&declared, problems.is_empty())
    }

    /// What alice and bob are answered who read a table.
    async fn statuses(&self, table: &str) -> [u16; 2] {
        let store = InMemory::new();
        let path = format!("main/default/{table}/a.bin");
        let location = Location::from(path.as_str());
        store.put(&location, "content".into()).await.unwrap();
        let edge = self.rights.front.edge(Limits::default());
        let surface = DataSurface::with(Arc::new(store), HttpMetrics::default(), edge);
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
    let (declared, _) = manifests::load_what_can_be(&folder.sources);
    assert_eq!(declared.len(), 2);
    seen.see(&[], &declared);
    seen.see(&[], &[]);
    assert_eq!(seen.tables().len(), 1);
}
