//! TLS: real handshakes with a certificate authority of the test, both protocols, certificates that change under open streams.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{Certificate, ClientOptions, Error, ObjectStoreExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vdt_dialect::access::{AccessKey, Principal, Secret, Tables};
use vdt_dialect::tls::TlsError;
use vdt_dialect::{Access, Edge, KeyRing, Limits, PemPair, TlsReload};

use super::support::tls::{Authority, connect, shown};
use super::support::{Reply, Served, Setup, Shelf, exchange, serve_setup, shelf};

const KEYS: [&str; 2] = ["main/docs/t/a.bin", "main/docs/t/slow.bin"];
const GET_SLOW: &[u8] =
    b"GET /main/docs/t/slow.bin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const GET: &[u8] =
    b"GET /main/docs/t/a.bin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

async fn serve_tls(authority: &Authority, limits: Limits) -> (Served, Arc<TlsReload>, Arc<Shelf>) {
    let tls = Arc::new(TlsReload::new(&authority.issue()).unwrap());
    let store = shelf(&KEYS).await;
    let setup = Setup {
        limits,
        tls: Some(Arc::clone(&tls)),
        ..Setup::default()
    };
    let served = serve_setup(store.clone(), setup).await;
    (served, tls, store)
}

#[tokio::test]
async fn object_store_signs_and_reads_over_tls_in_both_protocols() {
    let authority = Authority::new();
    let analyst = Principal {
        name: "analyst".to_owned(),
        access_key: Some(AccessKey {
            id: "AK".to_owned(),
            secret: Secret::new("secret"),
        }),
        token: None,
        tables: Tables::new(["main/docs/t".to_owned()]),
    };
    let ring = KeyRing::new(vec![analyst], Tables::default()).unwrap();
    let setup = Setup {
        edge: Edge {
            access: Access::Keys(Arc::new(ring)),
            ..Edge::default()
        },
        tls: Some(Arc::new(TlsReload::new(&authority.issue()).unwrap())),
        ..Setup::default()
    };
    let served = serve_setup(shelf(&KEYS).await, setup).await;
    let certificate = Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    for http2 in [false, true] {
        let options = ClientOptions::new().with_root_certificate(certificate.clone());
        let client = |secret: &str| {
            AmazonS3Builder::new()
                .with_endpoint(format!("https://localhost:{}", served.address.port()))
                .with_client_options(if http2 {
                    options.clone().with_http2_only()
                } else {
                    options.clone()
                })
                .with_bucket_name("main")
                .with_region("us-east-1")
                .with_access_key_id("AK")
                .with_secret_access_key(secret)
                .build()
                .unwrap()
        };
        let path = Path::from("docs/t/a.bin");
        let read = client("secret").get(&path).await.unwrap();
        assert_eq!(read.bytes().await.unwrap(), "content of main/docs/t/a.bin");
        let wrong = client("guess").get(&path).await;
        assert!(
            matches!(wrong, Err(Error::PermissionDenied { .. })),
            "{wrong:?}"
        );
    }
    let metrics = served.metrics();
    assert!(
        metrics.contains("vdt_tls_handshakes_total{outcome=\"Completed\"}"),
        "{metrics}"
    );
    assert!(
        metrics.contains("vdt_tls_certificate_expiry_timestamp_seconds{} 2208988800"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_stream_goes_on_over_a_new_certificate_and_the_next_client_sees_it() {
    let authority = Authority::new();
    let (served, tls, store) = serve_tls(&authority, Limits::default()).await;
    let client = authority.client(&["http/1.1"]);
    let mut open = connect(&client, served.address).await.unwrap();
    let first = shown(&open);
    open.write_all(GET_SLOW).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(7).any(|window| window == b"content") {
        assert!(open.read_buf(&mut answer).await.unwrap() > 0);
    }

    tls.replace(&authority.issue()).unwrap();
    let next = connect(&client, served.address).await.unwrap();
    let second = shown(&next);
    assert_ne!(first, second);

    // A broken pair changes nothing.
    let (one, other) = (authority.issue(), authority.issue());
    let mixed = PemPair {
        key: other.key,
        ..one
    };
    assert!(matches!(
        tls.replace(&mixed),
        Err(TlsError::Mismatch { .. })
    ));
    assert_eq!(
        shown(&connect(&client, served.address).await.unwrap()),
        second
    );

    store.gate.add_permits(1);
    open.read_to_end(&mut answer).await.unwrap();
    let reply = Reply::parse(&answer).unwrap();
    assert!(
        reply.is_whole() && reply.text() == "content of main/docs/t/slow.bin",
        "{reply:?}"
    );
}

#[tokio::test]
async fn http2_carries_requests_side_by_side_and_is_only_spoken_when_asked_for() {
    let authority = Authority::new();
    let (served, _, store) = serve_tls(&authority, Limits::default()).await;
    let stream = connect(&authority.client(&["h2", "http/1.1"]), served.address)
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let request = |path: &str| {
        http::Request::get(format!("https://localhost{path}"))
            .body(Empty::<Bytes>::new())
            .unwrap()
    };
    let slow = sender
        .send_request(request("/main/docs/t/slow.bin"))
        .await
        .unwrap();
    // While the first answer waits, others pass it.
    for path in ["/main/docs/t/a.bin", "/v1/main/docs/t/a.bin"] {
        let answer = sender.send_request(request(path)).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.headers().contains_key("x-request-id"));
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "content of main/docs/t/a.bin");
    }
    store.gate.add_permits(1);
    let body = slow.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "content of main/docs/t/slow.bin");
    drop(sender);
    let _ = connection.await;

    for protocols in [&["http/1.1"][..], &[]] {
        let mut stream = connect(&authority.client(protocols), served.address)
            .await
            .unwrap();
        assert_ne!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        stream.write_all(GET).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(Reply::parse(&answer).unwrap().status, 200);
    }
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_told_so() {
    let authority = Authority::new();
    let (served, _, _) = serve_tls(&authority, Limits::default()).await;
    let answer = exchange(served.address, GET).await;
    let reply = Reply::parse(&answer).unwrap();
    assert_eq!(reply.status, 400);
    assert!(
        reply.is_whole() && reply.text().contains("https://"),
        "{reply:?}"
    );
    // Something that is neither just ends.
    assert_eq!(exchange(served.address, b"\x00\x01\x02").await, b"");
    served
        .wait_for("vdt_tls_handshakes_total{outcome=\"NotTls\"} 2")
        .await;
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_ended() {
    let authority = Authority::new();
    let limits = Limits {
        handshake_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let (served, _, _) = serve_tls(&authority, limits).await;
    for sent in [&b""[..], b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n"] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer));
        assert!(ended.await.is_ok(), "{sent:?} holds its connection");
    }
    served
        .wait_for("vdt_tls_handshakes_total{outcome=\"TimedOut\"} 2")
        .await;
    // Garbage after the first byte is an error of the handshake.
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(&[0x16; 600]).await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
    served
        .wait_for("vdt_tls_handshakes_total{outcome=\"Failed\"} 1")
        .await;
}

#[test]
fn broken_pairs_are_refused_with_the_file_and_a_remedy() {
    let authority = Authority::new();
    let pair = || authority.issue();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let bent = text(&pair().certificate).replace("MII", "MIJ");
    let cases = [
        (
            PemPair {
                certificate: Vec::new(),
                ..pair()
            },
            "tls.crt",
            "BEGIN CERTIFICATE",
        ),
        (
            PemPair {
                certificate: b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"
                    .to_vec(),
                ..pair()
            },
            "tls.crt",
            "again",
        ),
        (
            PemPair {
                certificate: bent.into_bytes(),
                ..pair()
            },
            "tls.crt",
            "again",
        ),
        (
            PemPair {
                key: b"no key".to_vec(),
                ..pair()
            },
            "tls.key",
            "PKCS #8",
        ),
        (
            PemPair {
                key: pair().certificate,
                ..pair()
            },
            "tls.key",
            "PKCS #8",
        ),
        (
            PemPair {
                key: b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_vec(),
                ..pair()
            },
            "tls.key",
            "P-256",
        ),
        (
            PemPair {
                key: pair().key,
                ..pair()
            },
            "tls.key",
            "first certificate of tls.crt",
        ),
    ];
    for (pair, file, remedy) in cases {
        let error = TlsReload::new(&pair).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(remedy), "{error}");
        assert!(!error.contains("PRIVATE"), "{error}");
    }
}
