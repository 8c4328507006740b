//! Access without credentials: what is public is read by everybody, and nothing else of the store is there.

use std::sync::Arc;

use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt};
use vdt_dialect::access::Public;
use vdt_dialect::{Access, Edge};

use super::access::tables;
use super::support::{Served, Setup, get, request, serve_setup, shelf};

const KEYS: [&str; 5] = [
    "main/docs/open/a.bin",
    "main/docs/open_meta/a.bin",
    "main/docs/others/a.bin",
    "main/hidden/t/a.bin",
    "other/docs/t/a.bin",
];

async fn serve() -> (Served, Arc<Public>) {
    let public = Arc::new(Public::new(tables(&[
        "main/docs/open",
        "main/docs/open_meta",
    ])));
    let setup = Setup {
        edge: Edge {
            access: Access::Anonymous(Arc::clone(&public)),
            ..Edge::default()
        },
        ..Setup::default()
    };
    (serve_setup(shelf(&KEYS).await, setup).await, public)
}

#[tokio::test]
async fn what_is_not_public_is_not_there_whoever_signs() {
    let (served, _) = serve().await;
    let builder = || {
        AmazonS3Builder::new()
            .with_endpoint(format!("http://{}", served.address))
            .with_allow_http(true)
            .with_bucket_name("main")
            .with_region("eu-west-1")
    };
    let signing = builder()
        .with_access_key_id("any")
        .with_secret_access_key("any");
    for client in [builder().with_skip_signature(true), signing] {
        let client = client.build().unwrap();
        let read = client.get(&Path::from("docs/open/a.bin")).await.unwrap();
        assert_eq!(
            read.bytes().await.unwrap(),
            "content of main/docs/open/a.bin"
        );
        for key in ["docs/others/a.bin", "docs/others/none", "hidden/t/a.bin"] {
            let path = Path::from(key);
            let (get, head) = (client.get(&path).await, client.head(&path).await);
            assert!(matches!(get, Err(Error::NotFound { .. })), "{key}: {get:?}");
            assert!(matches!(head, Err(Error::NotFound { .. })), "{key}");
        }
        let listed: Vec<_> = client.list(None).try_collect().await.unwrap();
        let keys: Vec<_> = listed.iter().map(|meta| meta.location.as_ref()).collect();
        assert_eq!(keys, ["docs/open/a.bin", "docs/open_meta/a.bin"]);
        let others = Path::from("docs/others");
        let listed: Vec<_> = client.list(Some(&others)).try_collect().await.unwrap();
        assert!(listed.is_empty(), "{listed:?}");
        let level = client.list_with_delimiter(None).await.unwrap();
        assert_eq!(level.common_prefixes, [Path::from("docs")]);
    }
}

#[tokio::test]
async fn buckets_and_folders_are_those_above_what_is_public() {
    let (served, _) = serve().await;
    let buckets = get(served.address, "/").await;
    assert!(buckets.text().contains("<Name>main</Name>"));
    assert!(!buckets.text().contains("other"), "{}", buckets.text());
    let other = get(served.address, "/other?list-type=2").await;
    assert_eq!(other.status, 404, "{}", other.text());
    let found = async |folder: &str| {
        let depth = [("Depth", "1")];
        request(served.address, "PROPFIND", folder, &depth).await
    };
    let (root, docs) = (
        found("/v1/").await.text(),
        found("/v1/main/docs/").await.text(),
    );
    assert!(
        root.contains("/v1/main/") && !root.contains("/v1/other"),
        "{root}"
    );
    assert!(
        docs.contains("/open/") && docs.contains("/open_meta/") && !docs.contains("others"),
        "{docs}"
    );
    for (path, expected) in [
        ("/v1/main/docs/open/a.bin", 200),
        ("/v1/main/docs/others/a.bin", 404),
    ] {
        // No credentials would help, so none are asked for.
        let reply = get(served.address, path).await;
        assert_eq!(reply.status, expected, "{path}");
        assert!(reply.header("www-authenticate").is_none());
    }
    assert_eq!(found("/v1/main/docs/others/").await.status, 404);
    assert_eq!(found("/v1/other/").await.status, 404);
}

#[tokio::test]
async fn others_are_taken_for_requests_that_begin_from_now_on() {
    let (served, public) = serve().await;
    let status = async |table: &str| {
        let path = format!("/main/docs/{table}/a.bin");
        get(served.address, &path).await.status
    };
    assert_eq!(status("open_meta").await, 200);
    assert_eq!(status("others").await, 404);
    public.replace(tables(&["main/docs/others"]));
    assert_eq!(status("open_meta").await, 404);
    assert_eq!(status("others").await, 200);
}
