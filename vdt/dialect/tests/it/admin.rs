//! The admin surface over a server of straw.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use vdt_dialect::{Admin, AdminError, Readiness, Reason, RefreshReport, serve};

use super::support::request;

#[derive(Default)]
struct Straw {
    ready: AtomicBool,
}

#[async_trait::async_trait]
impl Admin for Straw {
    async fn refresh(
        &self,
        table: Option<&str>,
        wait: bool,
    ) -> Result<Vec<RefreshReport>, AdminError> {
        let table = table.unwrap_or("main.docs.t").to_owned();
        match table.as_str() {
            "none" => Err(AdminError::NotFound { table }),
            "held" => Err(AdminError::Conflict {
                table,
                message: "its source shrank".into(),
            }),
            "down" => Err(AdminError::Unavailable {
                message: "the state store is away".into(),
            }),
            _ => Ok(vec![RefreshReport {
                table,
                outcome: if wait { "Committed" } else { "Queued" }.into(),
                version: wait.then_some(7),
                ..RefreshReport::default()
            }]),
        }
    }

    fn tables(&self) -> serde_json::Value {
        json!([{"table": "main.docs.t", "version": 7}])
    }

    fn ready(&self) -> Readiness {
        let ready = self.ready.load(Ordering::SeqCst);
        let reason = Reason {
            reason: "Listing".into(),
            message: "the first listing runs".into(),
        };
        Readiness {
            ready,
            reasons: if ready { vec![] } else { vec![reason] },
        }
    }

    fn metrics(&self) -> String {
        "# EOF\n".into()
    }
}

async fn admin() -> (Arc<Straw>, SocketAddr) {
    let straw = Arc::new(Straw::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = vdt_dialect::admin::router(straw.clone());
    tokio::spawn(serve(
        listener,
        router,
        std::future::pending(),
        Duration::ZERO,
    ));
    (straw, address)
}

#[tokio::test]
async fn refreshes_and_errors_are_json() {
    let (_, address) = admin().await;
    for (method, target, status, body) in [
        (
            "POST",
            "/refresh",
            202,
            r#"[{"table":"main.docs.t","outcome":"Queued"}]"#,
        ),
        (
            "POST",
            "/refresh?wait=true",
            200,
            r#"[{"table":"main.docs.t","outcome":"Committed","version":7}]"#,
        ),
        (
            "POST",
            "/refresh?table=u&wait=false",
            202,
            r#"[{"table":"u","outcome":"Queued"}]"#,
        ),
        (
            "POST",
            "/refresh?table=none",
            404,
            r#"{"error":"there is no table none"}"#,
        ),
        (
            "POST",
            "/refresh?table=held&wait",
            409,
            r#"{"error":"table held was not refreshed: its source shrank"}"#,
        ),
        (
            "POST",
            "/refresh?table=down",
            503,
            r#"{"error":"not refreshed: the state store is away"}"#,
        ),
        (
            "POST",
            "/refresh?wait=perhaps",
            400,
            r#"{"error":"wait is true or false"}"#,
        ),
        (
            "POST",
            "/refresh?table=a&table=b",
            400,
            r#"{"error":"the query takes table= and wait=, once each"}"#,
        ),
        (
            "GET",
            "/refresh",
            405,
            r#"{"error":"this path does not serve the method"}"#,
        ),
        ("GET", "/healthz", 200, r#"{"alive":true}"#),
        (
            "GET",
            "/api/v1/tables",
            200,
            r#"[{"table":"main.docs.t","version":7}]"#,
        ),
        (
            "GET",
            "/main/docs/t/a.bin",
            404,
            r#"{"error":"there is nothing here"}"#,
        ),
        ("GET", "/", 404, r#"{"error":"there is nothing here"}"#),
    ] {
        let reply = request(address, method, target, &[]).await;
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (status, body),
            "{method} {target}"
        );
        assert_eq!(
            reply.header("content-type"),
            Some("application/json"),
            "{method} {target}"
        );
    }
}

#[tokio::test]
async fn readiness_has_reasons() {
    let (straw, address) = admin().await;
    let reply = request(address, "GET", "/readyz", &[]).await;
    assert_eq!(reply.status, 503);
    assert_eq!(
        reply.text(),
        r#"{"ready":false,"reasons":[{"reason":"Listing","message":"the first listing runs"}]}"#
    );
    straw.ready.store(true, Ordering::SeqCst);
    let reply = request(address, "GET", "/readyz", &[]).await;
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (200, r#"{"ready":true,"reasons":[]}"#)
    );
}

#[tokio::test]
async fn metrics_are_openmetrics() {
    let (_, address) = admin().await;
    let reply = request(address, "GET", "/metrics", &[]).await;
    assert_eq!(
        reply.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert_eq!(reply.text(), "# EOF\n");
}
