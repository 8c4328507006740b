//! object_store's own clients of S3 and WebDAV, over the dialects.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    ClientOptions, Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt,
};

use super::support::{serve, shelf};

const KEYS: [&str; 6] = [
    "main/docs/t/_delta_log/00000000000000000000.json",
    "main/docs/t/_delta_log/00000000000000000001.json",
    "main/docs/t/_delta_log/00000000000000000002.json",
    "main/docs/t/f.parquet",
    "main/docs/t/ä ö+%.bin",
    "main/docs/u/x.bin",
];
const LOG: &str = "docs/t/_delta_log";
const JSON: &str = "docs/t/_delta_log/00000000000000000001.json";
const CONTENT: &[u8] = b"content of main/docs/t/_delta_log/00000000000000000001.json";

fn builder(address: SocketAddr) -> AmazonS3Builder {
    AmazonS3Builder::new()
        .with_endpoint(format!("http://{address}"))
        .with_allow_http(true)
        .with_bucket_name("main")
        .with_region("us-east-1")
}

/// A client without keys, one with any keys, and one with a session token.
fn clients(address: SocketAddr) -> Vec<AmazonS3> {
    let signed = || {
        builder(address)
            .with_access_key_id("AKANY")
            .with_secret_access_key("any")
    };
    vec![
        builder(address).with_skip_signature(true).build().unwrap(),
        signed().build().unwrap(),
        signed()
            .with_token("session")
            .with_unsigned_payload(true)
            .build()
            .unwrap(),
    ]
}

fn names(metas: &[ObjectMeta]) -> Vec<&str> {
    metas.iter().map(|meta| meta.location.as_ref()).collect()
}

#[tokio::test]
async fn s3_clients_read_signed_or_not() {
    let served = serve(shelf(&KEYS).await).await;
    for client in clients(served.address) {
        let path = Path::from(JSON);
        let result = client.get(&path).await.unwrap();
        assert_eq!(result.meta.size, CONTENT.len() as u64);
        let tag = result.meta.e_tag.clone().unwrap();
        assert_eq!(result.bytes().await.unwrap(), CONTENT);
        let meta = client.head(&path).await.unwrap();
        assert_eq!(
            (meta.size, meta.e_tag.as_ref()),
            (CONTENT.len() as u64, Some(&tag))
        );
        assert_eq!(client.get_range(&path, 3..7).await.unwrap(), CONTENT[3..7]);
        assert_eq!(
            client.get_ranges(&path, &[0..2, 50..58]).await.unwrap(),
            [&CONTENT[0..2], &CONTENT[50..58]]
        );
        for (range, expected) in [
            (GetRange::Suffix(8), &CONTENT[CONTENT.len() - 8..]),
            (GetRange::Suffix(8000), CONTENT),
            (GetRange::Offset(50), &CONTENT[50..]),
            (GetRange::Bounded(50..5000), &CONTENT[50..]),
        ] {
            let options = GetOptions {
                range: Some(range),
                ..GetOptions::default()
            };
            assert_eq!(
                client
                    .get_opts(&path, options)
                    .await
                    .unwrap()
                    .bytes()
                    .await
                    .unwrap(),
                expected
            );
        }
        let odd = Path::parse("docs/t/ä ö+%.bin").unwrap();
        assert_eq!(
            client.get(&odd).await.unwrap().bytes().await.unwrap(),
            "content of main/docs/t/ä ö+%.bin"
        );

        let with = |options: GetOptions| client.get_opts(&path, options);
        let options = GetOptions {
            if_match: Some(tag.clone()),
            ..GetOptions::default()
        };
        assert!(with(options).await.is_ok());
        let options = GetOptions {
            if_match: Some("\"no\"".into()),
            ..GetOptions::default()
        };
        assert!(matches!(
            with(options).await,
            Err(Error::Precondition { .. })
        ));
        let options = GetOptions {
            if_none_match: Some(tag),
            ..GetOptions::default()
        };
        assert!(matches!(
            with(options).await,
            Err(Error::NotModified { .. })
        ));
        let options = GetOptions {
            if_modified_since: Some(meta.last_modified),
            ..GetOptions::default()
        };
        assert!(matches!(
            with(options).await,
            Err(Error::NotModified { .. })
        ));
        let gone = client.get(&Path::from("docs/t/none")).await;
        assert!(matches!(gone, Err(Error::NotFound { .. })));
    }
}

#[tokio::test]
async fn s3_clients_list_signed_or_not() {
    let served = serve(shelf(&KEYS).await).await;
    for client in clients(served.address) {
        let log = Path::from(LOG);
        let all: Vec<_> = client.list(Some(&log)).try_collect().await.unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!(all[1].size, CONTENT.len() as u64);
        // Clients start after a key that does not exist.
        let offset = Path::from(format!("{LOG}/00000000000000000001"));
        let later: Vec<_> = client
            .list_with_offset(Some(&log), &offset)
            .try_collect()
            .await
            .unwrap();
        assert_eq!(
            names(&later),
            [JSON, "docs/t/_delta_log/00000000000000000002.json"]
        );
        let level = client
            .list_with_delimiter(Some(&Path::from("docs/t")))
            .await
            .unwrap();
        assert_eq!(
            names(&level.objects),
            ["docs/t/f.parquet", "docs/t/ä ö+%.bin"]
        );
        assert_eq!(level.common_prefixes, [log]);
        let none: Vec<_> = client
            .list(Some(&Path::from("docs/none/_delta_log")))
            .try_collect()
            .await
            .unwrap();
        assert!(none.is_empty());
        let whole: Vec<_> = client.list(None).try_collect().await.unwrap();
        assert_eq!(whole.len(), KEYS.len());
    }
}

#[tokio::test]
async fn s3_writes_are_refused_as_denied() {
    let served = serve(shelf(&KEYS).await).await;
    for client in clients(served.address) {
        let path = Path::from("docs/t/_delta_log/00000000000000000003.json");
        // A body well beyond the socket's buffers.
        for content in [vec![0_u8; 10], vec![0_u8; 900 * 1024]] {
            let put = client.put(&path, content.into()).await;
            assert!(
                matches!(put, Err(Error::PermissionDenied { .. })),
                "{put:?}"
            );
        }
        let upload = client.put_multipart(&path).await;
        assert!(matches!(upload, Err(Error::PermissionDenied { .. })));
        let copied = client.copy(&Path::from(JSON), &path).await;
        assert!(
            matches!(copied, Err(Error::PermissionDenied { .. })),
            "{copied:?}"
        );
        assert!(client.delete(&Path::from(JSON)).await.is_err());
    }
}

#[tokio::test]
async fn presigned_urls_are_served() {
    use object_store::signer::Signer;
    let served = serve(shelf(&KEYS).await).await;
    let client = builder(served.address)
        .with_access_key_id("AK")
        .with_secret_access_key("s")
        .build()
        .unwrap();
    let url = client
        .signed_url(
            http::Method::GET,
            &Path::from(JSON),
            std::time::Duration::from_secs(60),
        )
        .await
        .unwrap();
    let target = format!("{}?{}", url.path(), url.query().unwrap());
    assert!(target.contains("X-Amz-Signature="));
    assert_eq!(
        super::support::get(served.address, &target).await.body,
        CONTENT
    );
}

#[tokio::test]
async fn webdav_clients_read_and_list() {
    let served = serve(shelf(&KEYS).await).await;
    // Its listings name paths from the root of the host, so that is what it is given.
    let client = HttpBuilder::new()
        .with_url(format!("http://{}", served.address))
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .build()
        .unwrap();
    let table = "v1/main/docs/t";
    let json = Path::from(format!("{table}/_delta_log/00000000000000000001.json"));
    assert_eq!(
        client.get(&json).await.unwrap().bytes().await.unwrap(),
        CONTENT
    );
    assert_eq!(client.head(&json).await.unwrap().size, CONTENT.len() as u64);
    assert_eq!(client.get_range(&json, 3..7).await.unwrap(), CONTENT[3..7]);
    let options = GetOptions {
        range: Some(GetRange::Suffix(8)),
        ..GetOptions::default()
    };
    let tail = client
        .get_opts(&json, options)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert_eq!(tail, CONTENT[CONTENT.len() - 8..]);
    let gone = client
        .get(&Path::from(format!("{table}/_delta_log/_last_checkpoint")))
        .await;
    assert!(matches!(gone, Err(Error::NotFound { .. })));

    let log = Path::from(format!("{table}/_delta_log"));
    let mut listed: Vec<_> = client.list(Some(&log)).try_collect().await.unwrap();
    listed.sort_by(|a, b| a.location.cmp(&b.location));
    assert_eq!(listed.len(), 3);
    assert_eq!(
        (listed[1].location.clone(), listed[1].size),
        (json, CONTENT.len() as u64)
    );
    let level = client
        .list_with_delimiter(Some(&Path::from(table)))
        .await
        .unwrap();
    assert_eq!(
        names(&level.objects),
        ["v1/main/docs/t/f.parquet", "v1/main/docs/t/ä ö+%.bin"]
    );
    assert_eq!(level.common_prefixes, [log]);
    let none = client
        .list(Some(&Path::from("v1/main/docs/none")))
        .try_collect::<Vec<_>>()
        .await;
    assert!(none.unwrap().is_empty());
}

#[tokio::test]
async fn a_folder_on_disk_is_served_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let content: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    store
        .put(
            &Path::from("main/docs/t/big.parquet"),
            content.clone().into(),
        )
        .await
        .unwrap();
    let served = serve(Arc::new(store)).await;
    for client in clients(served.address) {
        let path = Path::from("docs/t/big.parquet");
        let meta = client.head(&path).await.unwrap();
        assert_eq!(
            client.get(&path).await.unwrap().bytes().await.unwrap(),
            content
        );
        let options = GetOptions {
            range: Some(GetRange::Bounded(999_000..2_000_000)),
            if_match: meta.e_tag,
            ..GetOptions::default()
        };
        let tail = client
            .get_opts(&path, options)
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        assert_eq!(tail, content[999_000..]);
        let missing = client.get(&Path::from("docs/t")).await;
        assert!(
            matches!(missing, Err(Error::NotFound { .. })),
            "{missing:?}"
        );
        let level = client
            .list_with_delimiter(Some(&Path::from("docs/none")))
            .await
            .unwrap();
        assert!(level.objects.is_empty() && level.common_prefixes.is_empty());
    }
}
