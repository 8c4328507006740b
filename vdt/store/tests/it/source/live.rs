//! A real S3 service: every odd key, more than a page of them, reads and refusals.
//!
//! Needs `VDT_TEST_S3` (an endpoint, such as `http://127.0.0.1:8333`), `VDT_TEST_S3_KEY` and `VDT_TEST_S3_SECRET`, for a
//! service that may be filled with test objects. Skipped with a line that says so where they are not set.

use std::collections::BTreeSet;
use std::path::Path;

use futures::StreamExt;
use http::Method;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{
    HttpClient, HttpConnector, HttpRequest, HttpRequestBody, ReqwestConnector,
};
use object_store::path::Path as Key;
use object_store::{ClientOptions, Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use vdt_crds::{S3Bucket, Versions};
use vdt_store::source::{SkipReason, Source, SourceEnv};

use super::{bucket_spec, keys, list};

/// A service to test against, with a bucket of its own.
struct Live {
    endpoint: String,
    bucket: String,
    credential: AwsCredential,
    http: HttpClient,
    secrets: tempfile::TempDir,
}

const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

impl Live {
    async fn start(test: &str) -> Option<Self> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (Some(endpoint), Some(key_id), Some(secret_key)) = (
            variable("VDT_TEST_S3"),
            variable("VDT_TEST_S3_KEY"),
            variable("VDT_TEST_S3_SECRET"),
        ) else {
            println!("skipped: {test} needs VDT_TEST_S3, VDT_TEST_S3_KEY and VDT_TEST_S3_SECRET");
            return None;
        };
        let http = ReqwestConnector::default()
            .connect(&ClientOptions::new().with_allow_http(true))
            .unwrap();
        let secrets = tempfile::tempdir().unwrap();
        let credential = AwsCredential {
            key_id,
            secret_key,
            token: None,
        };
        secret(secrets.path(), &credential.key_id, &credential.secret_key);
        let bucket = format!("vdt-{test}-{}", std::process::id());
        let live = Self {
            endpoint,
            bucket,
            credential,
            http,
            secrets,
        };
        live.send(Method::PUT, "", "", Vec::new()).await;
        Some(live)
    }

    async fn send(&self, method: Method, key: &str, query: &str, body: Vec<u8>) {
        let slash = if key.is_empty() { "" } else { "/" };
        let url = format!(
            "{}/{}{slash}{}{query}",
            self.endpoint,
            self.bucket,
            utf8_percent_encode(key, PATH)
        );
        let mut request = HttpRequest::new(HttpRequestBody::from(body));
        *request.method_mut() = method;
        *request.uri_mut() = url.parse().unwrap();
        AwsAuthorizer::new(&self.credential, "s3", "us-east-1").authorize(&mut request, None);
        let response = self.http.execute(request).await.unwrap();
        assert!(
            response.status().is_success(),
            "{key:?}: {}",
            response.status()
        );
    }

    async fn put(&self, key: &str, body: impl Into<Vec<u8>>) {
        self.send(Method::PUT, key, "", body.into()).await;
    }

    async fn put_all(&self, keys: impl IntoIterator<Item = String>) {
        futures::stream::iter(keys)
            .map(|key| async move { self.put(&key, key.as_bytes()).await })
            .buffer_unordered(16)
            .collect::<Vec<()>>()
            .await;
    }

    fn source(&self, prefix: &str, change: impl Fn(&mut S3Bucket)) -> Source {
        let mut spec = bucket_spec(&self.endpoint, prefix, true);
        let s3 = spec.s3.as_mut().unwrap();
        s3.bucket.clone_from(&self.bucket);
        change(s3);
        Source::open(&spec, &self.env()).unwrap()
    }

    fn env(&self) -> SourceEnv {
        SourceEnv {
            secrets_dir: Some(self.secrets.path().to_path_buf()),
            ..SourceEnv::default()
        }
    }
}

fn secret(secrets: &Path, key_id: &str, secret_key: &str) {
    let folder = secrets.join("corp-ro");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("accessKeyId"), key_id).unwrap();
    std::fs::write(folder.join("secretAccessKey"), secret_key).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_keys_are_listed_and_read() {
    let Some(live) = Live::start("odd").await else {
        return;
    };
    let kept = [
        "a b",
        "a+b",
        "a%b",
        "a%20b",
        "a-b",
        "a/b",
        "a.pdf",
        "\"q'",
        "#h",
        "ü",
        "日本/語.pdf",
        ".hidden",
        ".d/x",
        "a&b<c>",
        " lead",
        "trail ",
        "a*b",
        "a?b",
        "~t",
        "\u{fffd}",
        "man",
        "manuals/1",
        "manuals/2/x",
        "manx",
    ]
    .map(str::to_owned);
    let long = [[
        "k".repeat(255),
        "l".repeat(255),
        "m".repeat(255),
        "n".repeat(254),
        "o".to_owned(),
    ]
    .join("/")];
    let kept: BTreeSet<String> = kept.into_iter().chain(long).collect();
    live.put_all(kept.clone()).await;
    for key in ["a\nb", "a\tb"] {
        live.put(key, "x").await;
    }
    live.put("folder/", "").await;

    let source = live.source("", |_| {});
    let listing = list(&source).await;
    assert_eq!(
        keys(&listing),
        kept.iter().map(String::as_str).collect::<Vec<_>>()
    );
    assert_eq!(listing.skipped[&SkipReason::ControlCharacter].count, 2);
    assert_eq!(listing.skipped[&SkipReason::FolderMarker].count, 1);
    let store = source.store();
    for entry in &listing.entries {
        let key = Key::parse(&*entry.object.key).unwrap();
        let options = GetOptions {
            if_match: entry.object.etag.as_deref().map(str::to_owned),
            ..GetOptions::default()
        };
        let read = store.get_opts(&key, options).await.unwrap();
        assert_eq!(read.meta.size, entry.object.size);
        assert_eq!(
            read.meta.e_tag.as_deref().unwrap().trim_matches('"'),
            entry.object.etag.as_deref().unwrap()
        );
        assert_eq!(
            read.meta.last_modified.timestamp_millis(),
            entry.object.last_modified_ms
        );
        assert_eq!(read.bytes().await.unwrap(), entry.object.key.as_bytes());
    }
    assert_eq!(
        keys(&list(&live.source("man", |_| {})).await),
        ["manuals/1", "manuals/2/x", "manx"]
    );
    assert_eq!(
        keys(&list(&live.source("manuals/", |_| {})).await),
        ["manuals/1", "manuals/2/x"]
    );
    assert!(
        list(&live.source("nothing/", |_| {}))
            .await
            .entries
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_page_is_listed_whole() {
    let Some(live) = Live::start("pages").await else {
        return;
    };
    // Tree order and byte order differ: `d1`, `d1 x`, `d1-x` and `d1.x` stand around the folder `d1/`.
    let large =
        (0..2).flat_map(|f| (0..1_300).map(move |n| format!("large/d{f}/{n:04} {}", n % 7)));
    let mixed = (0..700).flat_map(|n| {
        ["", " x", "-x", ".x", "/a", "/b/c"]
            .map(|end| format!("mixed/d{n}{end}"))
            .into_iter()
            .filter(|key| !key.ends_with(|c: char| c.is_ascii_digit()))
    });
    let all: BTreeSet<String> = large.chain(mixed).collect();
    live.put_all(all.clone()).await;
    for prefix in ["", "large/", "mixed/", "mixed/d1", "large/d"] {
        let listing = list(&live.source(prefix, |_| {})).await;
        let expected: Vec<_> = all
            .iter()
            .filter(|key| key.starts_with(prefix))
            .map(String::as_str)
            .collect();
        assert_eq!(keys(&listing).len(), expected.len(), "{prefix}");
        assert_eq!(keys(&listing), expected, "{prefix}");
        println!(
            "{prefix:?}: {} keys in {} requests, {:?}",
            expected.len(),
            listing.requests,
            listing.elapsed
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_and_overwrites_of_a_large_object() {
    let Some(live) = Live::start("large").await else {
        return;
    };
    let content: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
    live.put("f", content.clone()).await;
    let source = live.source("", |_| {});
    let entry = list(&source).await.entries.remove(0);
    let key = Key::from("f");
    let read = |range, etag: &str| {
        let options = GetOptions {
            range,
            if_match: Some(etag.to_owned()),
            ..GetOptions::default()
        };
        let (store, key) = (source.store(), key.clone());
        async move { store.get_opts(&key, options).await }
    };
    let etag = entry.object.etag.as_deref().unwrap();
    let part = read(Some(GetRange::Bounded(9_999_000..10_001_000)), etag)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert_eq!(part, &content[9_999_000..10_001_000]);
    assert_eq!(
        read(None, etag).await.unwrap().bytes().await.unwrap(),
        content
    );
    live.put("f", "other").await;
    assert!(matches!(
        read(None, etag).await,
        Err(Error::Precondition { .. })
    ));
    assert_eq!(source.store().head(&key).await.unwrap().size, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_as_what_they_are() {
    let Some(live) = Live::start("refusals").await else {
        return;
    };
    let none = live.source("", |s3| s3.bucket = "vdt-no-such-bucket".to_owned());
    let error = none.list(&|_, _| {}).await.unwrap_err();
    assert_eq!(error.reason(), "SourceNotFound", "{error}");
    for (key_id, secret_key) in [("AKNOBODY", "x"), (&*live.credential.key_id, "wrong")] {
        let secrets = tempfile::tempdir().unwrap();
        secret(secrets.path(), key_id, secret_key);
        let env = SourceEnv {
            secrets_dir: Some(secrets.path().to_path_buf()),
            ..SourceEnv::default()
        };
        let mut spec = bucket_spec(&live.endpoint, "", true);
        spec.s3.as_mut().unwrap().bucket.clone_from(&live.bucket);
        let error = Source::open(&spec, &env)
            .unwrap()
            .list(&|_, _| {})
            .await
            .unwrap_err();
        assert_eq!(error.reason(), "CredentialsRejected", "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pinned_versions_stay_readable_after_an_overwrite() {
    let Some(live) = Live::start("versions").await else {
        return;
    };
    let on = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>Enabled</Status>\
              </VersioningConfiguration>";
    live.send(Method::PUT, "", "?versioning=", on.into()).await;
    for key in ["a", "b/c", "gone"] {
        live.put(key, "first").await;
        live.put(key, "second").await;
    }
    live.send(Method::DELETE, "gone", "", Vec::new()).await;
    let source = live.source("", |s3| s3.versions = Some(Versions::Pinned));
    let listing = list(&source).await;
    assert_eq!(keys(&listing), ["a", "b/c"]);
    live.put("a", "third").await;
    let entry = &listing.entries[0];
    let options = GetOptions {
        version: entry.object.version.as_deref().map(str::to_owned),
        if_match: entry.object.etag.as_deref().map(str::to_owned),
        ..GetOptions::default()
    };
    assert!(options.version.is_some());
    let read = source
        .store()
        .get_opts(&Key::from("a"), options)
        .await
        .unwrap();
    assert_eq!(read.bytes().await.unwrap(), "second".as_bytes());
}
