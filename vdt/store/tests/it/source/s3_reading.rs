//! Reads of buckets: what is asked, how it is signed, and what an answer becomes.

use object_store::path::Path as Key;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use vdt_store::source::{Source, SourceEnv};

use super::server::{Answer, Request, Server};
use super::{bucket, bucket_spec, list};

const CONTENT: &[u8] = b"0123456789";

/// One object `a b+%.pdf` with the tag `tag`.
fn object(request: &Request) -> Answer {
    if request.query.contains_key("list-type") {
        return Answer::new(
            200,
            "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
        );
    }
    if request.path != "/corp/a b+%.pdf" {
        return Answer::error(404, "NoSuchKey", "no such key");
    }
    if request
        .headers
        .get("if-match")
        .is_some_and(|tag| tag != "\"tag\"")
    {
        return Answer::error(412, "PreconditionFailed", "changed");
    }
    let mut headers = vec![
        ("etag", "\"tag\"".to_owned()),
        ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT".to_owned()),
    ];
    match request.headers.get("range").map(String::as_str) {
        Some("bytes=2-4") => {
            headers.push(("content-range", "bytes 2-4/10".to_owned()));
            Answer {
                headers,
                ..Answer::new(206, &CONTENT[2..5])
            }
        }
        Some(other) => panic!("{other}"),
        None => Answer {
            headers,
            ..Answer::new(200, CONTENT)
        },
    }
}

#[tokio::test]
async fn a_read_carries_range_version_and_quoted_tag() {
    let server = Server::start(object).await;
    let store = bucket(&server.url, "").store();
    let key = Key::parse("a b+%.pdf").unwrap();
    let options = GetOptions {
        range: Some(GetRange::Bounded(2..5)),
        if_match: Some("tag".to_owned()),
        version: Some("v1".to_owned()),
        ..GetOptions::default()
    };
    let read = store.get_opts(&key, options).await.unwrap();
    assert_eq!((read.range.clone(), read.meta.size), (2..5, 10));
    assert_eq!(read.bytes().await.unwrap(), &CONTENT[2..5]);
    let request = &server.seen()[0];
    assert_eq!(
        (
            request.headers["if-match"].as_str(),
            request.query("versionId")
        ),
        ("\"tag\"", "v1")
    );
}

#[tokio::test]
async fn a_changed_object_is_a_precondition_and_a_missing_one_not_found() {
    let server = Server::start(object).await;
    let store = bucket(&server.url, "").store();
    let key = Key::parse("a b+%.pdf").unwrap();
    let options = GetOptions {
        if_match: Some("old".to_owned()),
        ..GetOptions::default()
    };
    assert!(matches!(
        store.get_opts(&key, options).await,
        Err(Error::Precondition { .. })
    ));
    assert!(matches!(
        store.get(&Key::from("other")).await,
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        store.put(&key, "x".into()).await,
        Err(Error::NotSupported { .. })
    ));
}

#[tokio::test]
async fn lists_and_reads_are_signed_with_the_secret() {
    let secrets = tempfile::tempdir().unwrap();
    let secret = secrets.path().join("corp-ro");
    std::fs::create_dir(&secret).unwrap();
    for (key, value) in [
        ("accessKeyId", "AKEXAMPLE\n"),
        ("secretAccessKey", "secret\n"),
        ("sessionToken", "session\n"),
    ] {
        std::fs::write(secret.join(key), value).unwrap();
    }
    let env = SourceEnv {
        secrets_dir: Some(secrets.path().to_path_buf()),
        ..SourceEnv::default()
    };
    let server = Server::start(object).await;
    let source = Source::open(&bucket_spec(&server.url, "", true), &env).unwrap();
    list(&source).await;
    source
        .store()
        .get(&Key::parse("a b+%.pdf").unwrap())
        .await
        .unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    for request in seen {
        let authorization = &request.headers["authorization"];
        assert!(
            authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKEXAMPLE/"),
            "{authorization}"
        );
        assert_eq!(request.headers["x-amz-security-token"], "session");
    }
    assert!(
        !format!("{source:?}").contains("secret\""),
        "a secret is never printed"
    );
}

#[tokio::test]
async fn host_style_puts_the_bucket_into_the_host() {
    let server = Server::start(object).await;
    let mut spec = bucket_spec(&server.url.replace("127.0.0.1", "localhost"), "", false);
    spec.s3.as_mut().unwrap().path_style = Some(false);
    let source = Source::open(&spec, &SourceEnv::default()).unwrap();
    // `corp.localhost` is this machine where the resolver knows it.
    if source.list(&|_, _| {}).await.is_ok() {
        let request = &server.seen()[0];
        assert_eq!(request.path, "/");
        assert!(request.headers["host"].starts_with("corp.localhost:"));
    }
}

#[test]
fn the_id_of_a_bucket_is_its_place() {
    let id = |endpoint: &str, change: &dyn Fn(&mut vdt_crds::S3Bucket)| {
        let mut spec = bucket_spec(endpoint, "", false);
        change(spec.s3.as_mut().unwrap());
        Source::open(&spec, &SourceEnv::default())
            .unwrap()
            .id()
            .to_string()
    };
    let plain = id("http://s3.local:8333", &|_| {});
    assert_eq!(
        plain,
        id("http://S3.LOCAL:8333/", &|s3| s3.prefix =
            Some("x/".to_owned()))
    );
    assert_eq!(
        plain,
        id("http://s3.local:8333", &|s3| s3.region =
            Some("eu-west-1".to_owned()))
    );
    assert_eq!(
        plain,
        id("http://s3.local:8333", &|s3| s3.path_style = Some(false))
    );
    assert_ne!(plain, id("http://s3.local:8334", &|_| {}));
    assert_ne!(
        plain,
        id("http://s3.local:8333", &|s3| s3.bucket = "other".to_owned())
    );
    assert_eq!(id("http://h", &|_| {}), id("http://h:80", &|_| {}));
    let context = bucket("http://s3.local:8333", "m/").context();
    assert_eq!(
        (
            &*context.url_prefix,
            &*context.prefix,
            context.etag_is_checksum
        ),
        ("s3://corp/", "m/", true)
    );
}
