//! Keys and tokens: real signatures by object_store, who may read what in both dialects, secrets that change under open streams.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use http::Method;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{Error, ObjectStore, ObjectStoreExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vdt_dialect::access::{AccessKey, Principal, Secret, Tables};
use vdt_dialect::{Access, Edge, KeyRing};

use super::support::{Reply, Served, Setup, Shelf, get, request, serve_setup, shelf};

const KEYS: [&str; 8] = [
    "main/docs/manuals/_delta_log/0.json",
    "main/docs/manuals/a.bin",
    "main/docs/manuals/slow.bin",
    "main/docs/manuals_meta/a.bin",
    "main/docs/manuals-old/a.bin",
    "main/docs/secret/a.bin",
    "main/hidden/t/a.bin",
    "other/docs/open/a.bin",
];

/// Reads `manuals` and `manuals_meta` by both dialects.
fn analyst(secret: &str, token: &str) -> Principal {
    Principal {
        name: "analyst".to_owned(),
        access_key: Some(AccessKey {
            id: "AKANALYST".to_owned(),
            secret: Secret::new(secret),
        }),
        token: Some(Secret::new(token)),
        tables: tables(&["main/docs/manuals", "main/docs/manuals_meta"]),
    }
}

/// Reads everything that is not public, by token.
fn auditor() -> Principal {
    Principal {
        name: "auditor".to_owned(),
        access_key: None,
        token: Some(Secret::new("auditor-token")),
        tables: tables(&[
            "main/docs/manuals",
            "main/docs/manuals-old",
            "main/docs/manuals_meta",
            "main/docs/secret",
            "main/hidden/t",
        ]),
    }
}

pub(crate) fn tables(paths: &[&str]) -> Tables {
    Tables::new(paths.iter().map(|path| (*path).to_owned()))
}

/// A server with both principals; `public` is what everybody may read.
async fn serve_keys(public: &[&str]) -> (Served, Arc<KeyRing>, Arc<Shelf>) {
    let principals = vec![analyst("secret", "analyst-token"), auditor()];
    let ring = Arc::new(KeyRing::new(principals, tables(public)).unwrap());
    let store = shelf(&KEYS).await;
    let setup = Setup {
        edge: Edge {
            access: Access::Keys(Arc::clone(&ring)),
            ..Edge::default()
        },
        ..Setup::default()
    };
    (serve_setup(store.clone(), setup).await, ring, store)
}

fn builder(served: &Served) -> AmazonS3Builder {
    AmazonS3Builder::new()
        .with_endpoint(format!("http://{}", served.address))
        .with_allow_http(true)
        .with_bucket_name("main")
        .with_region("eu-west-1")
}

fn signed(served: &Served, id: &str, secret: &str) -> AmazonS3 {
    builder(served)
        .with_access_key_id(id)
        .with_secret_access_key(secret)
        .build()
        .unwrap()
}

async fn denied(client: &AmazonS3, key: &str) -> String {
    match client.get(&Path::from(key)).await {
        Err(error @ Error::PermissionDenied { .. }) => format!("{error:?}"),
        other => panic!("{key}: {other:?}"),
    }
}

async fn listed(client: &AmazonS3, prefix: &str) -> object_store::Result<Vec<String>> {
    let all: Vec<_> = client.list(Some(&Path::from(prefix))).try_collect().await?;
    Ok(all.iter().map(|meta| meta.location.to_string()).collect())
}

#[tokio::test]
async fn signed_requests_read_what_their_principal_may() {
    let (served, _, _) = serve_keys(&[]).await;
    let plain = signed(&served, "AKANALYST", "secret");
    // As polars signs, and ClickHouse with an empty session token.
    let unsigned_body = builder(&served)
        .with_access_key_id("AKANALYST")
        .with_secret_access_key("secret")
        .with_unsigned_payload(true)
        .with_token("")
        .build()
        .unwrap();
    for client in [plain, unsigned_body] {
        let path = Path::from("docs/manuals/a.bin");
        let read = client.get(&path).await.unwrap().bytes().await.unwrap();
        assert_eq!(read, "content of main/docs/manuals/a.bin");
        assert_eq!(client.get_range(&path, 0..7).await.unwrap(), "content");
        assert_eq!(client.head(&path).await.unwrap().size, 34);
        let gone = client.get(&Path::from("docs/manuals/none")).await;
        assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
        // Not there, or not for this principal: the same answer.
        let mut answers = Vec::new();
        for key in [
            "docs/secret/a.bin",
            "docs/secret/none",
            "docs/none/a.bin",
            "docs/manuals-old/a.bin",
            "hidden/t/a.bin",
        ] {
            let answer = denied(&client, key).await;
            assert!(
                answer.contains("AccessDenied") && answer.contains("no right"),
                "{answer}"
            );
            let (_, document) = answer.split_once("<?xml").unwrap();
            answers.push(document.to_owned());
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");

        assert_eq!(
            listed(&client, "docs").await.unwrap(),
            [
                "docs/manuals/_delta_log/0.json",
                "docs/manuals/a.bin",
                "docs/manuals/slow.bin",
                "docs/manuals_meta/a.bin"
            ]
        );
        assert_eq!(
            listed(&client, "docs/manuals_meta").await.unwrap(),
            ["docs/manuals_meta/a.bin"]
        );
        assert!(
            listed(&client, "docs/manuals/none")
                .await
                .unwrap()
                .is_empty()
        );
        for prefix in ["docs/secret", "docs/none/_delta_log", "hidden"] {
            let answer = format!("{:?}", listed(&client, prefix).await);
            assert!(answer.contains("<Code>AccessDenied"), "{prefix}: {answer}");
        }
        let later: Vec<_> = client
            .list_with_offset(Some(&Path::from("docs")), &Path::from("docs/manuals/b"))
            .try_collect()
            .await
            .unwrap();
        assert_eq!(later.len(), 2, "{later:?}");
        let level = client
            .list_with_delimiter(Some(&Path::from("docs")))
            .await
            .unwrap();
        assert_eq!(
            level.common_prefixes,
            [Path::from("docs/manuals"), Path::from("docs/manuals_meta")]
        );
        let top = client.list_with_delimiter(None).await.unwrap();
        assert_eq!(top.common_prefixes, [Path::from("docs")]);
    }
    let other = builder(&served)
        .with_bucket_name("other")
        .with_access_key_id("AKANALYST")
        .with_secret_access_key("secret");
    denied(&other.build().unwrap(), "docs/open/a.bin").await;
}

#[tokio::test]
async fn who_is_not_known_is_refused_with_a_reason() {
    let (served, _, _) = serve_keys(&[]).await;
    let key = "docs/manuals/a.bin";
    let wrong_key = denied(&signed(&served, "AKNOBODY", "secret"), key).await;
    assert!(wrong_key.contains("InvalidAccessKeyId"), "{wrong_key}");
    let wrong_secret = denied(&signed(&served, "AKANALYST", "Secret"), key).await;
    assert!(
        wrong_secret.contains("SignatureDoesNotMatch"),
        "{wrong_secret}"
    );
    let unsigned = builder(&served).with_skip_signature(true).build().unwrap();
    let unsigned = denied(&unsigned, key).await;
    assert!(
        unsigned.contains("AccessDenied") && unsigned.contains("must be signed"),
        "{unsigned}"
    );
    // Tokens are of the other dialect, and there only known ones.
    let bearer = [("Authorization", "Bearer analyst-token")];
    let reply = request(served.address, "GET", "/main/docs/manuals/a.bin", &bearer).await;
    assert_eq!(reply.status, 403);
    assert!(
        reply.text().contains("bearer tokens are for /v1/"),
        "{}",
        reply.text()
    );
    for target in [
        "/",
        "/main",
        "/main?location",
        "/main?uploads",
        "/main/docs/secret/a.bin?versionId=3",
    ] {
        let reply = get(served.address, target).await;
        assert_eq!(reply.status, 403, "{target}: {}", reply.text());
    }
    assert_eq!(
        request(served.address, "HEAD", "/main", &[]).await.status,
        403
    );
    let metrics = served.metrics();
    assert!(
        metrics.contains("vdt_http_refused_total{dialect=\"S3\",reason=\"Unauthenticated\"} 10"),
        "{metrics}"
    );
    assert!(!metrics.contains("reason=\"Denied\""), "{metrics}");
}

#[tokio::test]
async fn a_signature_of_another_time_is_too_skewed() {
    let (served, _, _) = serve_keys(&[]).await;
    let headers = [
        ("x-amz-date", "20240301T120000Z"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        (
            "Authorization",
            "AWS4-HMAC-SHA256 Credential=AKANALYST/20240301/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=0000000000000000000000000000000000000000000000000000000000000000",
        ),
    ];
    let reply = request(served.address, "GET", "/main/docs/manuals/a.bin", &headers).await;
    assert_eq!(reply.status, 403);
    assert!(
        reply.text().contains("RequestTimeTooSkewed"),
        "{}",
        reply.text()
    );
    served
        .wait_for("vdt_http_refused_total{dialect=\"S3\",reason=\"Unauthenticated\"} 1")
        .await;
}

#[tokio::test]
async fn presigned_urls_carry_the_rights_of_their_signer_until_they_end() {
    let (served, ring, _) = serve_keys(&[]).await;
    let presign = async |id: &str, secret: &str, key: &str| {
        let life = Duration::from_secs(60);
        let client = signed(&served, id, secret);
        let url = client
            .signed_url(Method::GET, &Path::from(key), life)
            .await
            .unwrap();
        format!("{}?{}", url.path(), url.query().unwrap())
    };
    let good = presign("AKANALYST", "secret", "docs/manuals/a.bin").await;
    let reply = get(served.address, &good).await;
    assert_eq!(reply.text(), "content of main/docs/manuals/a.bin");
    for (target, code) in [
        (
            presign("AKANALYST", "secret", "docs/secret/a.bin").await,
            "AccessDenied",
        ),
        (
            presign("AKANALYST", "guess", "docs/manuals/a.bin").await,
            "SignatureDoesNotMatch",
        ),
        (
            presign("AKNOBODY", "secret", "docs/manuals/a.bin").await,
            "InvalidAccessKeyId",
        ),
        // Another object, another method, a longer life than was signed.
        (good.replace("a.bin", "slow.bin"), "SignatureDoesNotMatch"),
        (
            good.replace("Expires=60", "Expires=600"),
            "SignatureDoesNotMatch",
        ),
        (
            good.replace("Expires=60", "Expires=999999"),
            "AuthorizationQueryParametersError",
        ),
    ] {
        let reply = get(served.address, &target).await;
        assert!(
            reply.status >= 400 && reply.text().contains(code),
            "{target}: {}",
            reply.text()
        );
    }
    assert_eq!(
        request(served.address, "HEAD", &good, &[]).await.status,
        403
    );
    ring.replace(vec![analyst("new", "new-token")], Tables::default())
        .unwrap();
    assert_eq!(get(served.address, &good).await.status, 403);
}

#[tokio::test]
async fn tokens_open_the_http_dialect_as_bearer_or_password() {
    let (served, _, _) = serve_keys(&[]).await;
    let target = "/v1/main/docs/manuals/a.bin";
    let with = async |authorization: &str| {
        let headers = [("Authorization", authorization)];
        request(served.address, "GET", target, &headers).await
    };
    // anyone:analyst-token
    for good in [
        "Bearer analyst-token",
        "bearer auditor-token",
        "Basic YW55b25lOmFuYWx5c3QtdG9rZW4=",
    ] {
        assert_eq!(
            with(good).await.text(),
            "content of main/docs/manuals/a.bin",
            "{good}"
        );
    }
    for bad in [
        "Bearer analyst-toke",
        "Bearer analyst-token2",
        "Bearer ",
        "Basic YW55b25lOg==",
        "AWS4-HMAC-SHA256 x",
        "Digest x",
    ] {
        let reply = with(bad).await;
        assert_eq!(reply.status, 401, "{bad}");
        assert!(
            reply
                .header("www-authenticate")
                .is_some_and(|value| value.starts_with("Basic realm=")),
            "{reply:?}"
        );
    }
    let reply = get(served.address, target).await;
    assert_eq!(reply.status, 401);
    assert!(
        reply.text().contains("a token is needed"),
        "{}",
        reply.text()
    );
    // Methods are no secret.
    assert_eq!(
        request(served.address, "OPTIONS", target, &[]).await.status,
        200
    );
    assert_eq!(
        request(served.address, "PUT", target, &[]).await.status,
        405
    );
    let metrics = served.metrics();
    assert!(
        metrics.contains("vdt_http_refused_total{dialect=\"Http\",reason=\"Unauthenticated\"} 7"),
        "{metrics}"
    );
}

/// Statuses of GET, HEAD and PROPFIND by caller; what is not there and what may not be read do not differ.
#[tokio::test]
async fn rights_are_a_matrix_of_callers_and_tables() {
    let (served, _, _) = serve_keys(&["other/docs/open"]).await;
    let callers = [
        None,
        Some("Bearer analyst-token"),
        Some("Bearer auditor-token"),
    ];
    let matrix: [(&str, [u16; 3]); 12] = [
        ("/v1/other/docs/open/a.bin", [200, 200, 200]),
        ("/v1/main/docs/manuals/a.bin", [401, 200, 200]),
        ("/v1/main/docs/manuals/none", [401, 404, 404]),
        ("/v1/main/docs/manuals_meta/a.bin", [401, 200, 200]),
        ("/v1/main/docs/manuals-old/a.bin", [401, 403, 200]),
        ("/v1/main/docs/secret/a.bin", [401, 403, 200]),
        ("/v1/main/docs/secret/none", [401, 403, 404]),
        ("/v1/main/docs/none/a.bin", [401, 403, 403]),
        ("/v1/main/hidden/t/a.bin", [401, 403, 200]),
        ("/v1/nowhere/t/x/a.bin", [401, 403, 403]),
        ("/v1/main/docs", [401, 404, 404]),
        ("/v1/main/docs/man", [401, 403, 403]),
    ];
    for (target, statuses) in matrix {
        for (caller, expected) in callers.iter().zip(statuses) {
            let headers: Vec<_> = caller
                .iter()
                .map(|value| ("Authorization", *value))
                .collect();
            for method in ["GET", "HEAD"] {
                let reply = request(served.address, method, target, &headers).await;
                assert_eq!(reply.status, expected, "{method} {target} by {caller:?}");
            }
            // A PROPFIND of a folder above is answered, with what may be seen.
            let found = if target == "/v1/main/docs" && expected == 404 {
                207
            } else {
                expected
            };
            let expected = if found == 200 { 207 } else { found };
            let reply = request(served.address, "PROPFIND", target, &headers).await;
            assert_eq!(reply.status, expected, "PROPFIND {target} by {caller:?}");
        }
    }
    for (caller, depth, seen) in [
        (0, "1", &["/v1/other/"][..]),
        (1, "1", &["/v1/main/", "/v1/other/"]),
        (
            0,
            "infinity",
            &[
                "/v1/other/",
                "/v1/other/docs/",
                "/v1/other/docs/open/",
                "/v1/other/docs/open/a.bin",
            ],
        ),
    ] {
        let mut headers = vec![("Depth", depth)];
        headers.extend(
            callers[caller]
                .iter()
                .map(|value| ("Authorization", *value)),
        );
        let reply = request(served.address, "PROPFIND", "/v1/", &headers)
            .await
            .text();
        let hrefs: Vec<&str> = reply
            .split("<D:href>")
            .skip(1)
            .filter_map(|rest| rest.split_once('<').map(|(href, _)| href))
            .collect();
        assert_eq!(hrefs[1..], *seen, "{caller} {depth}");
    }
    let headers = [
        ("Depth", "infinity"),
        ("Authorization", "Bearer analyst-token"),
    ];
    let whole = request(served.address, "PROPFIND", "/v1/", &headers)
        .await
        .text();
    for hidden in ["secret", "hidden", "manuals-old"] {
        assert!(!whole.contains(hidden), "{whole}");
    }
    // Unsigned S3 sees what is public and no more.
    assert_eq!(
        get(served.address, "/other/docs/open/a.bin").await.status,
        200
    );
    assert_eq!(
        get(served.address, "/main/docs/manuals/a.bin").await.status,
        403
    );
    assert_eq!(get(served.address, "/main?list-type=2").await.status, 403);
    let buckets = get(served.address, "/").await.text();
    assert!(
        buckets.contains("<Name>other</Name>") && !buckets.contains("main"),
        "{buckets}"
    );
}

#[tokio::test]
async fn a_stream_goes_on_over_a_rotation_and_the_next_request_needs_the_new_secret() {
    let (served, ring, store) = serve_keys(&[]).await;
    let mut open = TcpStream::connect(served.address).await.unwrap();
    open.write_all(
        b"GET /v1/main/docs/manuals/slow.bin HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer analyst-token\r\nConnection: close\r\n\r\n",
    )
    .await
    .unwrap();
    let mut answer = Vec::new();
    while !answer.windows(7).any(|window| window == b"content") {
        assert!(open.read_buf(&mut answer).await.unwrap() > 0);
    }
    ring.replace(vec![analyst("rotated", "rotated-token")], Tables::default())
        .unwrap();

    let key = "docs/manuals/a.bin";
    let old = denied(&signed(&served, "AKANALYST", "secret"), key).await;
    assert!(old.contains("SignatureDoesNotMatch"), "{old}");
    assert!(
        signed(&served, "AKANALYST", "rotated")
            .get(&Path::from(key))
            .await
            .is_ok()
    );
    for (token, status) in [
        ("analyst-token", 401),
        ("auditor-token", 401),
        ("rotated-token", 200),
    ] {
        let value = format!("Bearer {token}");
        let headers = [("Authorization", value.as_str())];
        let reply = request(
            served.address,
            "GET",
            "/v1/main/docs/manuals/a.bin",
            &headers,
        )
        .await;
        assert_eq!(reply.status, status, "{token}");
    }
    // Keys that cannot be told apart change nothing.
    let twice = vec![analyst("one", "a"), analyst("two", "b")];
    assert!(ring.replace(twice, Tables::default()).is_err());
    assert!(
        signed(&served, "AKANALYST", "rotated")
            .get(&Path::from(key))
            .await
            .is_ok()
    );

    store.gate.add_permits(1);
    open.read_to_end(&mut answer).await.unwrap();
    let reply = Reply::parse(&answer).unwrap();
    assert!(
        reply.is_whole() && reply.text() == "content of main/docs/manuals/slow.bin",
        "{reply:?}"
    );
}
