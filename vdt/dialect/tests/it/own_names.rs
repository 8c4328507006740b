//! DNS rebinding: what is public because this machine alone reaches the listener is not told to a browser under the name of a site.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use vdt_dialect::access::{OwnNames, Principal, Public, Secret};
use vdt_dialect::{Access, Edge, KeyRing, TlsReload};

use super::access::tables;
use super::support::tls::{Authority, http2};
use super::support::{Reply, Served, Setup, exchange, serve_setup, shelf};

const KEYS: [&str; 1] = ["main/docs/open/a.bin"];
const S3: &str = "/main/docs/open/a.bin";
const HTTP: &str = "/v1/main/docs/open/a.bin";

fn required() -> Arc<OwnNames> {
    let own_names = Arc::new(OwnNames::default());
    own_names.require(true);
    own_names
}

fn anonymous() -> Access {
    Access::Anonymous(Arc::new(Public::new(tables(&["main/docs/open"]))))
}

async fn serve(access: Access, own_names: &Arc<OwnNames>, tls: Option<Arc<TlsReload>>) -> Served {
    let setup = Setup {
        edge: Edge {
            access,
            own_names: Arc::clone(own_names),
            ..Edge::default()
        },
        tls,
        ..Setup::default()
    };
    serve_setup(shelf(&KEYS).await, setup).await
}

/// Asks with these lines of headers and no others.
async fn ask(served: &Served, method: &str, target: &str, lines: &str) -> Reply {
    let text = format!("{method} {target} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n");
    Reply::parse(&exchange(served.address, text.as_bytes()).await).unwrap()
}

#[tokio::test]
async fn a_foreign_name_is_refused_with_what_to_do_and_own_names_are_served() {
    let served = serve(anonymous(), &required(), None).await;
    let port = served.address.port();
    for target in [S3, HTTP, "/main?list-type=2", "/"] {
        for host in [
            "localhost".to_owned(),
            format!("localhost:{port}"),
            format!("127.0.0.1:{port}"),
            // Forwarded to another port.
            "127.0.0.1:9".to_owned(),
            format!("[::1]:{port}"),
        ] {
            let reply = ask(&served, "GET", target, &format!("Host: {host}\r\n")).await;
            assert_eq!(reply.status, 200, "{target} of {host}: {}", reply.text());
        }
        let reply = ask(&served, "GET", target, "").await;
        assert_eq!(reply.status, 200, "{target} without a host");
        for lines in [
            "Host: evil.example\r\n".to_owned(),
            format!("Host: evil.example:{port}\r\n"),
            "Host: 192.0.2.1\r\n".to_owned(),
            "Host: localhost\r\nHost: evil.example\r\n".to_owned(),
            // Nobody looks at these here, so they prove nothing.
            "Host: evil.example\r\nAuthorization: Bearer any\r\n".to_owned(),
        ] {
            let reply = ask(&served, "GET", target, &lines).await;
            assert_eq!(reply.status, 403, "{target} with {lines:?}");
            assert!(!reply.text().contains("content of"));
        }
    }
    let lines = "Host: evil.example:8080\r\n";
    for (target, kind) in [(S3, "application/xml"), (HTTP, "text/plain; charset=utf-8")] {
        let reply = ask(&served, "GET", target, lines).await;
        assert_eq!(reply.header("content-type"), Some(kind));
        for expected in [
            "Host is \"evil.example:8080\"",
            "ask for localhost or a loopback address",
            "write spec.server.access",
            "--allow-anonymous",
        ] {
            assert!(reply.text().contains(expected), "{}", reply.text());
        }
        let head = ask(&served, "HEAD", target, lines).await;
        assert!(head.status == 403 && head.body.is_empty());
    }
    let s3 = ask(&served, "GET", S3, lines).await.text();
    assert!(s3.contains("<Code>AccessDenied</Code>"), "{s3}");
    let propfind = ask(&served, "PROPFIND", "/v1/main/docs/", lines).await;
    assert_eq!(propfind.status, 403);
    assert!(
        served
            .metrics()
            .contains("vdt_http_refused_total{dialect=\"Http\",reason=\"Denied\"}")
    );
}

#[tokio::test]
async fn where_a_manifest_says_who_may_read_every_name_is_served() {
    let own_names = Arc::new(OwnNames::default());
    let served = serve(anonymous(), &own_names, None).await;
    let status = async || {
        ask(&served, "GET", S3, "Host: data.example\r\n")
            .await
            .status
    };
    assert_eq!(status().await, 200);
    // For requests that begin from now on.
    own_names.require(true);
    assert_eq!(status().await, 403);
    own_names.require(false);
    assert_eq!(status().await, 200);
}

#[tokio::test]
async fn credentials_that_are_looked_at_hold_by_every_name() {
    let reader = Principal {
        name: "reader".to_owned(),
        access_key: None,
        token: Some(Secret::new("known")),
        tables: tables(&["main/docs/open"]),
    };
    let ring = KeyRing::new(vec![reader], tables(&["main/docs/open"])).unwrap();
    let served = serve(Access::Keys(Arc::new(ring)), &required(), None).await;
    for (lines, expected) in [
        ("", 403),
        ("Authorization: Bearer known\r\n", 200),
        ("Authorization: Bearer guessed\r\n", 401),
        ("Authorization: \r\n", 401),
    ] {
        let lines = format!("Host: data.example\r\n{lines}");
        let reply = ask(&served, "GET", HTTP, &lines).await;
        assert_eq!(reply.status, expected, "{lines:?}");
    }
    let presigned = format!("{S3}?X-Amz-Signature=guessed");
    let reply = ask(&served, "GET", &presigned, "Host: data.example\r\n").await;
    assert_eq!(reply.status, 403);
    assert_eq!(
        ask(&served, "GET", HTTP, "Host: localhost\r\n")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn over_http2_the_authority_is_the_name() {
    let authority = Authority::new();
    let tls = Arc::new(TlsReload::new(&authority.issue()).unwrap());
    let served = serve(anonymous(), &required(), Some(tls)).await;
    let (mut sender, connection) = http2(&authority, served.address).await;
    for (host, expected) in [
        ("localhost", 200),
        ("127.0.0.1:8080", 200),
        ("evil.example", 403),
    ] {
        for target in [S3, HTTP] {
            let request = http::Request::get(format!("https://{host}{target}"))
                .body(Empty::<Bytes>::new())
                .unwrap();
            let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            assert_eq!(parts.status, expected, "{host}{target}: {body:?}");
        }
    }
    drop(sender);
    let _ = connection.await;
}
