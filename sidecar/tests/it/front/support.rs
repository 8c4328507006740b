//! Manifests, a folder of secrets, a certificate, and one request through a front door.

use std::fs;
use std::path::Path as FsPath;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Empty;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use vdt_crds::VirtualTable;
use vdt_dialect::{DataSurface, HttpMetrics, Limits};
use vdt_sidecar::front::Front;

/// A folder of secrets.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &FsPath {
        self.0.path()
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // As a whole, as editors and Kubernetes do.
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, path).unwrap();
    }
}

/// A manifest in namespace docs with these lines below `server`.
pub(crate) fn manifest(name: &str, server: &str) -> VirtualTable {
    let text = format!(
        "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {{name: {name}, namespace: docs}}\nspec:\n  sources:\n  - {{name: f, type: File, file: {{path: .}}}}\n  server:\n    {server}\n"
    );
    vdt_crds::parse(text.as_bytes()).unwrap().remove(0)
}

/// Certificate and key in PEM.
pub(crate) fn pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// The status of reading an object of a table of `main/docs` through the front door.
pub(crate) async fn status(front: &Front, table: &str, token: Option<&str>) -> u16 {
    let store = InMemory::new();
    let path = format!("main/docs/{table}/a.bin");
    store
        .put(&Path::from(path.as_str()), "content".into())
        .await
        .unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(store);
    let edge = front.edge(Limits::default());
    let surface = DataSurface::with(store, HttpMetrics::default(), edge);
    let mut request = http::Request::get(format!("/v1/{path}"));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    surface.handle(request).await.status().as_u16()
}
