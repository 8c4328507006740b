//! What a user is told when a bucket cannot be listed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use object_store::ObjectStoreExt;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, pki_types::PrivateKeyDer};
use vdt_crds::KeyRef;
use vdt_store::source::{Source, SourceEnv, SourceError};

use super::server::{Answer, Lister, Server};
use super::{bucket, bucket_spec, keys, list};

async fn error_at(endpoint: &str) -> SourceError {
    let source = Source::open(&bucket_spec(endpoint, "", false), &SourceEnv::default()).unwrap();
    source.list(&|_, _| {}).await.unwrap_err()
}

#[tokio::test]
async fn every_refusal_has_a_reason_and_a_remedy() {
    let region = |answer: Answer| Answer {
        headers: vec![("x-amz-bucket-region", "eu-west-1".to_owned())],
        ..answer
    };
    for (answer, reason, told) in [
        (
            Answer::error(404, "NoSuchBucket", "The specified bucket does not exist"),
            "SourceNotFound",
            "create the bucket",
        ),
        (
            Answer::error(403, "InvalidAccessKeyId", "no such key"),
            "CredentialsRejected",
            "InvalidAccessKeyId",
        ),
        (
            Answer::error(403, "SignatureDoesNotMatch", "no match"),
            "CredentialsRejected",
            "SignatureDoesNotMatch",
        ),
        (
            Answer::error(400, "ExpiredToken", "too old"),
            "CredentialsRejected",
            "ExpiredToken",
        ),
        (
            Answer::error(403, "RequestTimeTooSkewed", "late"),
            "CredentialsRejected",
            "clock",
        ),
        (
            Answer::error(403, "AccessDenied", "Access Denied"),
            "AccessDenied",
            "s3:ListBucket",
        ),
        (
            Answer::new(403, "nginx says no"),
            "AccessDenied",
            "nginx says no",
        ),
        (
            Answer::new(404, "<html>not here</html>"),
            "SourceNotFound",
            "does not speak S3",
        ),
        (
            region(Answer::error(301, "PermanentRedirect", "elsewhere")),
            "SourceInvalid",
            "write eu-west-1",
        ),
        (
            region(Answer::new(400, "")),
            "SourceInvalid",
            "write eu-west-1",
        ),
        (
            Answer::error(400, "AuthorizationHeaderMalformed", "expecting 'eu-west-3'"),
            "SourceInvalid",
            "eu-west-3",
        ),
        (
            Answer::new(200, "<html>hello</html>"),
            "ListingInvalid",
            "<html>",
        ),
        (Answer::new(200, "hello"), "ListingInvalid", "XML"),
        (
            Answer::new(200, vec![b' '; 17 * 1024 * 1024]),
            "ListingInvalid",
            "larger than",
        ),
    ] {
        let server = Server::start(move |_| answer.clone()).await;
        let error = error_at(&server.url).await;
        let text = error.to_string();
        assert_eq!(error.reason(), reason, "{text}");
        assert!(text.contains(told), "{text}");
        assert!(
            text.starts_with("source bucket: ") && text.contains("corp"),
            "{text}"
        );
        assert_eq!(server.seen().len(), 1, "not worth a second try: {text}");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_tried_again_and_named() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let started = std::time::Instant::now();
    let error = error_at(&endpoint).await;
    assert_eq!(error.reason(), "SourceUnreachable");
    assert!(
        error.to_string().contains(&endpoint) && error.to_string().contains("refused"),
        "{error}"
    );
    assert!(started.elapsed().as_secs() >= 2, "tried again");
}

#[tokio::test]
async fn tls_to_a_server_without_it_is_told_as_such() {
    let server = Server::start(|_| Answer::new(200, "")).await;
    let error = error_at(&server.url.replace("http:", "https:")).await;
    assert_eq!(error.reason(), "TlsFailed", "{error}");
    assert!(error.to_string().contains("caBundle"), "{error}");
}

#[test]
fn what_the_manifest_gets_wrong_is_told_before_any_request() {
    let env = SourceEnv::default();
    let open = |change: &dyn Fn(&mut vdt_crds::S3Bucket)| {
        let mut spec = bucket_spec("http://127.0.0.1:1", "", false);
        change(spec.s3.as_mut().unwrap());
        Source::open(&spec, &env).unwrap_err()
    };
    for endpoint in [
        "ftp://x",
        "not a url",
        "http://",
        "http://u:p@host",
        "http://host?x=1",
    ] {
        let error = open(&|s3| s3.endpoint = Some(endpoint.to_owned()));
        assert_eq!(error.reason(), "SourceInvalid", "{error}");
        assert!(
            !error.to_string().contains("u:p"),
            "a password is never shown: {error}"
        );
    }
    let no_bundle = open(&|s3| {
        s3.ca_bundle = Some(vdt_crds::KeyRef {
            name: "roots".to_owned(),
            key: "ca.crt".to_owned(),
        });
    });
    assert_eq!(no_bundle.reason(), "SecretMissing");
    assert!(
        no_bundle.to_string().contains("ConfigMap roots"),
        "{no_bundle}"
    );
    let elsewhere = vdt_crds::Source {
        kind: vdt_crds::SourceType::Gcs,
        ..bucket_spec("http://x", "", false)
    };
    assert_eq!(
        Source::open(&elsewhere, &env).unwrap_err().reason(),
        "SourceInvalid"
    );
}

#[test]
fn a_missing_secret_names_the_file_expected() {
    let secrets = tempfile::tempdir().unwrap();
    let env = SourceEnv {
        secrets_dir: Some(secrets.path().to_path_buf()),
        ..SourceEnv::default()
    };
    let spec = bucket_spec("http://127.0.0.1:1", "", true);
    let error = Source::open(&spec, &env).unwrap_err();
    assert_eq!(error.reason(), "SecretMissing");
    let file = secrets.path().join("corp-ro/accessKeyId");
    assert!(
        error.to_string().contains(&file.display().to_string()),
        "{error}"
    );
    let none = Source::open(&spec, &SourceEnv::default()).unwrap_err();
    assert!(none.to_string().contains("--secrets-dir"), "{none}");
}

#[tokio::test]
async fn a_certificate_is_trusted_by_its_bundle_alone() {
    // As the process does: two providers are linked in.
    drop(rustls::crypto::ring::default_provider().install_default());
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let lister = Lister::new(["a".to_owned()]);
    let tls = TlsAcceptor::from(Arc::new(config));
    let server = Server::start_with(Some(tls), move |request| lister.answer(request)).await;

    let error = error_at(&server.url).await;
    assert_eq!(error.reason(), "TlsFailed", "{error}");
    assert!(error.to_string().contains("caBundle"), "{error}");
    assert!(server.seen().is_empty(), "nothing was sent");

    let secrets = tempfile::tempdir().unwrap();
    let roots = secrets.path().join("configmap-roots");
    std::fs::create_dir(&roots).unwrap();
    std::fs::write(roots.join("ca.crt"), made.cert.pem()).unwrap();
    let mut spec = bucket_spec(&server.url, "", false);
    spec.s3.as_mut().unwrap().ca_bundle = Some(KeyRef {
        name: "roots".to_owned(),
        key: "ca.crt".to_owned(),
    });
    let env = SourceEnv {
        secrets_dir: Some(secrets.path().to_owned()),
        ..SourceEnv::default()
    };
    let source = Source::open(&spec, &env).unwrap();
    assert_eq!(keys(&list(&source).await), ["a"]);
}

#[tokio::test]
async fn what_may_be_listed_and_not_read_is_listed_and_the_read_is_refused() {
    let lister = Lister::new(["a".to_owned()]);
    let server = Server::start(move |request| match request.query("list-type") {
        "" => Answer::error(403, "AccessDenied", "Access Denied"),
        _ => lister.answer(request),
    })
    .await;
    let source = bucket(&server.url, "");
    assert_eq!(keys(&list(&source).await), ["a"]);
    let read = source.store().get(&"a".into()).await.unwrap_err();
    assert!(
        matches!(read, object_store::Error::PermissionDenied { .. }),
        "{read:?}"
    );
}

#[tokio::test]
async fn an_endpoint_that_comes_back_is_listed_again_by_the_same_source() {
    let is_down = Arc::new(AtomicBool::new(false));
    let down = is_down.clone();
    let lister = Lister::new(["a".to_owned()]);
    let server = Server::start(move |request| match down.load(SeqCst) {
        true => Answer::error(503, "ServiceUnavailable", "down"),
        false => lister.answer(request),
    })
    .await;
    let source = bucket(&server.url, "");
    assert_eq!(keys(&list(&source).await), ["a"]);
    is_down.store(true, SeqCst);
    let error = source.list(&|_, _| {}).await.unwrap_err();
    assert_eq!(error.reason(), "SourceUnreachable", "{error}");
    is_down.store(false, SeqCst);
    assert_eq!(keys(&list(&source).await), ["a"]);
}
