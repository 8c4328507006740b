//! Manifests, a folder of secrets, a certificate, and one request through a front door.

use std::fs;
use std::path::Path as FsPath;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use prometheus_client::{encoding::text::encode, registry::Registry};
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

/// What Prometheus is told.
pub(crate) fn metrics_text(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text
}

/// Certificate and key in PEM.
pub(crate) fn pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// The status of reading an object of a table of `main/docs` through the front door.
pub(crate) async fn status(front: &Front, table: &str, token: Option<&str>) -> u16 {
    let path = format!("main/docs/{table}/a.bin");
    let request = http::Request::get(format!("/v1/{path}"));
    let request = match token {
        Some(token) => request.header("authorization", format!("Bearer {token}")),
        None => request,
    };
    answer(front, &[&path], request).await.0
}

/// What an S3 client that shows nothing finds in the bucket `main` of a store that holds these tables of `main/docs`.
pub(crate) async fn bucket(front: &Front, tables: &[&str]) -> Vec<String> {
    let paths: Vec<String> = tables
        .iter()
        .map(|table| format!("main/docs/{table}/a.bin"))
        .collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let request = http::Request::get("/main?list-type=2");
    let (status, text) = answer(front, &paths, request).await;
    if status == 404 {
        return Vec::new();
    }
    assert_eq!(status, 200, "{text}");
    let keys = text.split("<Key>docs/").skip(1);
    keys.filter_map(|rest| Some(rest.split_once('/')?.0.to_owned()))
        .collect()
}

/// Status and body of a request to a front door before a store that holds these objects.
async fn answer(front: &Front, objects: &[&str], request: http::request::Builder) -> (u16, String) {
    let store = InMemory::new();
    for path in objects {
        let path = Path::from(*path);
        store.put(&path, "content".into()).await.unwrap();
    }
    let store: Arc<dyn ObjectStore> = Arc::new(store);
    let edge = front.edge(Limits::default());
    let surface = DataSurface::new(store, HttpMetrics::default(), edge);
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let (parts, body) = surface.handle(request).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (
        parts.status.as_u16(),
        String::from_utf8(body.to_vec()).unwrap(),
    )
}
