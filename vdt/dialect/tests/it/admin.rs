//! The admin surface over a server of straw.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use vdt_dialect::admin::Gate;
use vdt_dialect::{Admin, AdminError, Readiness, Reason, ServeOptions, serve};

use super::support::request;

#[derive(Default)]
struct Straw {
    ready: AtomicBool,
}

#[async_trait::async_trait]
impl Admin for Straw {
    async fn refresh(&self, table: Option<&str>, wait: bool) -> Result<Value, AdminError> {
        let table = table.unwrap_or("main.docs.t").to_owned();
        match table.as_str() {
            "none" => Err(AdminError::NotFound { table }),
            "down" => Err(AdminError::Unavailable {
                message: "the state store is away".into(),
            }),
            _ if wait => Ok(json!([{"table": table, "outcome": "Committed", "version": 7}])),
            _ => Ok(json!([{"table": table, "outcome": "Queued"}])),
        }
    }

    async fn tables(&self) -> Result<Value, AdminError> {
        Ok(json!([{"table": "main.docs.t", "version": 7}]))
    }

    async fn files(
        &self,
        table: &str,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Value, AdminError> {
        Ok(json!([table, after, limit]))
    }

    async fn rope(&self, table: &str, file: &str) -> Result<Value, AdminError> {
        Err(AdminError::NoFile {
            table: table.to_owned(),
            file: file.to_owned(),
        })
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

    async fn metrics(&self) -> String {
        "# EOF\n".into()
    }
}

async fn admin() -> (Arc<Straw>, SocketAddr) {
    let straw = Arc::new(Straw::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Gate::local().protect(vdt_dialect::admin::router(straw.clone()));
    tokio::spawn(serve(
        listener,
        router,
        ServeOptions::default(),
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
            r#"[{"outcome":"Queued","table":"main.docs.t"}]"#,
        ),
        (
            "POST",
            "/refresh?wait=true",
            200,
            r#"[{"outcome":"Committed","table":"main.docs.t","version":7}]"#,
        ),
        (
            "POST",
            "/refresh?table=u&wait=false",
            202,
            r#"[{"outcome":"Queued","table":"u"}]"#,
        ),
        (
            "POST",
            "/refresh?table=none",
            404,
            r#"{"error":"there is no table none"}"#,
        ),
        (
            "POST",
            "/refresh?table=down",
            503,
            r#"{"error":"not now: the state store is away"}"#,
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
            "POST",
            "/refresh?tabel=u",
            400,
            r#"{"error":"the query takes table= and wait=, once each; \"tabel\" is neither"}"#,
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
        (
            "GET",
            "/api/v1/tables/main/docs/t%20t/files?after=a.parquet&limit=3",
            200,
            r#"["main/docs/t t","a.parquet",3]"#,
        ),
        (
            "GET",
            "/api/v1/tables/main/docs/t/files",
            200,
            r#"["main/docs/t",null,null]"#,
        ),
        (
            "GET",
            "/api/v1/tables/main/docs/t/files?limit=-1",
            400,
            r#"{"error":"the query takes after= (a file name) and limit= (a number), once each"}"#,
        ),
        (
            "GET",
            "/api/v1/tables/main/docs/%ff/files",
            400,
            r#"{"error":"the path is no UTF-8"}"#,
        ),
        (
            "GET",
            "/api/v1/tables/main/docs/t/files/x.parquet",
            404,
            r#"{"error":"table main/docs/t has no file x.parquet"}"#,
        ),
        ("GET", "/api/v1/cache", 200, "null"),
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

#[tokio::test]
async fn the_page_loads_its_own_files_and_nothing_else() {
    let (_, address) = admin().await;
    let page = request(address, "GET", "/", &[]).await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let policy = page.header("content-security-policy").unwrap();
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{part} in {policy}");
    }
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let mut files: Vec<String> = vec!["page/main.js".into()];
    let mut seen = 0;
    let text = page.text();
    assert!(!text.contains("style=") && !text.contains("<script>") && !text.contains("//"));
    files.extend(named(&text, "href=\"page/").map(|name| format!("page/{name}")));
    while let Some(file) = files.pop() {
        let reply = request(address, "GET", &format!("/{file}"), &[]).await;
        assert_eq!(reply.status, 200, "{file}");
        let text = reply.text();
        if file.ends_with(".js") {
            files.extend(named(&text, "from \"./").map(|name| format!("page/{name}")));
        }
        seen += 1;
        assert!(seen < 50, "scripts import each other in circles");
    }
    assert!(seen >= 8, "{seen}");
}

/// What stands between `before` and the next quote.
fn named<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before)
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
}

#[tokio::test]
async fn other_sites_and_foreign_names_see_metrics_and_nothing_else() {
    let (_, address) = admin().await;
    let foreign = ("origin", "http://evil.example");
    for (method, target, headers, status) in [
        ("POST", "/refresh", [foreign], 403),
        ("GET", "/api/v1/tables", [foreign], 403),
        ("GET", "/", [("sec-fetch-site", "cross-site")], 403),
        ("GET", "/", [("authorization", "Bearer a.b.c")], 401),
        ("GET", "/metrics", [foreign], 200),
        ("GET", "/healthz", [foreign], 200),
    ] {
        let reply = request(address, method, target, &headers).await;
        assert_eq!(reply.status, status, "{method} {target} {headers:?}");
        assert_eq!(
            reply.header("www-authenticate").is_some(),
            status == 401,
            "{target}"
        );
    }
    let own = format!("http://{address}");
    let reply = request(address, "POST", "/refresh", &[("origin", &own)]).await;
    assert_eq!(reply.status, 202);
}
