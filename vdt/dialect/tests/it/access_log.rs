//! What the access log says of a request, and what it never says.

use std::io::Write;
use std::sync::{Arc, Mutex, Once};

use serde_json::Value;
use tracing::instrument::WithSubscriber;
use tracing_subscriber::fmt::MakeWriter;
use vdt_dialect::access::{Principal, Secret, Tables};
use vdt_dialect::{Access, DataSurface, Edge, HttpMetrics, KeyRing};

use super::support::shelf;

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A place in the code whose first line comes while nobody listens is taken for one that nobody wants, and another test may write it just then: so
/// somebody always listens.
static LISTENED: Once = Once::new();

/// Sends one request to a surface with a principal, and returns what is logged of it, all of it and as JSON.
async fn logged(
    request: http::Request<http_body_util::Empty<bytes::Bytes>>,
) -> (String, Vec<Value>) {
    let ring = KeyRing::new(
        vec![Principal {
            name: "analyst".to_owned(),
            access_key: None,
            token: Some(Secret::new("hush-token")),
            tables: Tables::new(["main/docs/t".to_owned()]),
        }],
        Tables::new(["main/docs/open".to_owned()]),
    );
    let edge = Edge {
        access: Access::Keys(Arc::new(ring.unwrap())),
        ..Edge::default()
    };
    let store = shelf(&[
        "main/docs/t/a.bin",
        "main/docs/open/a.bin",
        "main/docs/open/failing.bin",
        "main/docs/open/denied/refused.bin",
        "main/docs/open/drifting/changed.bin",
        "main/docs/open/drifting/changed-later.bin",
        "main/docs/open/cut/changed-later.bin",
    ])
    .await;
    let surface = DataSurface::new(store, HttpMetrics::default(), edge);
    LISTENED.call_once(|| {
        let nowhere = tracing_subscriber::fmt().with_writer(std::io::sink);
        tracing::subscriber::set_global_default(nowhere.finish()).unwrap();
    });
    let kept = Kept::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_writer(kept.clone())
        .finish();
    async {
        let response = surface.handle(request).await;
        let id = response.headers().get("x-request-id").cloned();
        assert!(id.is_some());
        // Some are cut.
        drop(http_body_util::BodyExt::collect(response.into_body()).await);
    }
    .with_subscriber(subscriber)
    .await;
    let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines = lines.collect();
    (text, lines)
}

fn get(
    target: &str,
    headers: &[(&str, &str)],
) -> http::Request<http_body_util::Empty<bytes::Bytes>> {
    let mut request = http::Request::get(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(http_body_util::Empty::new()).unwrap()
}

#[tokio::test]
async fn a_line_says_who_asked_what_and_what_came_of_it() {
    let (text, lines) = logged(get(
        "/v1/main/docs/t/a.bin?x=query-is-not-logged",
        &[
            ("authorization", "Bearer hush-token"),
            ("user-agent", "duckdb/1.5 \"x\""),
            ("range", "bytes=0-6"),
            ("x-request-id", "client-7"),
            (
                "traceparent",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            ),
        ],
    ))
    .await;
    let [line] = &lines[..] else {
        panic!("one line: {text}")
    };
    assert_eq!(
        (line["target"].as_str(), line["level"].as_str()),
        (Some("vdt::access"), Some("INFO"))
    );
    let fields = &line["fields"];
    for (name, expected) in [
        ("principal", "analyst"),
        ("dialect", "Http"),
        ("operation", "GetObject"),
        ("method", "GET"),
        ("path", "/v1/main/docs/t/a.bin"),
        ("end", "whole"),
        ("user_agent", "duckdb/1.5 \\x22x\\x22"),
        ("request_id", "client-7"),
        ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("parent_span_id", "00f067aa0ba902b7"),
    ] {
        assert_eq!(fields[name], expected, "{name} in {text}");
    }
    assert_eq!(
        (&fields["status"], &fields["bytes"]),
        (&206.into(), &7.into())
    );
    assert_eq!(fields["span_id"].as_str().map(str::len), Some(16));
    let (first, whole) = (
        fields["first_byte_ms"].as_f64().unwrap(),
        fields["duration_ms"].as_f64().unwrap(),
    );
    assert!(first > 0.0 && first <= whole, "{text}");
    for secret in ["hush", "query-is-not-logged", "Bearer"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn refusals_are_logged_without_the_secret_that_was_tried() {
    let presigned = "/main/docs/t/a.bin?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AK%2F20240301%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20240301T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=5ec7e700000000000000000000000000000000000000000000000000005ec7e7&X-Amz-Security-Token=5ec7e7";
    for (request, status, code) in [
        (
            get(
                "/v1/main/docs/t/a.bin",
                &[("authorization", "Bearer 5ec7e7")],
            ),
            401,
            None,
        ),
        (
            get("/main/docs/t/a.bin", &[("authorization", "Bearer 5ec7e7")]),
            403,
            Some("AccessDenied"),
        ),
        (get(presigned, &[("host", "x")]), 403, Some("AccessDenied")),
    ] {
        let (text, lines) = logged(request).await;
        let line = lines
            .iter()
            .find(|line| line["target"] == "vdt::access")
            .unwrap();
        assert_eq!(line["fields"]["status"], status, "{text}");
        assert_eq!(line["fields"]["principal"], "-");
        assert_eq!(line["fields"]["code"].as_str(), code, "{text}");
        // s3s logs what it refuses; whoever sets up logging silences it. Ours is without.
        let ours: String = text
            .lines()
            .filter(|line| !line.contains("\"target\":\"s3s"))
            .collect();
        assert!(!ours.contains("5ec7e7"), "{ours}");
    }
}

#[tokio::test]
async fn who_was_denied_is_told() {
    let (text, lines) = logged(get(
        "/v1/main/docs/other/a.bin",
        &[("authorization", "Bearer hush-token")],
    ))
    .await;
    let fields = &lines[0]["fields"];
    assert_eq!(
        (&fields["status"], &fields["principal"]),
        (&403.into(), &"analyst".into()),
        "{text}"
    );
}

#[tokio::test]
async fn other_lines_of_a_request_carry_its_ids() {
    let (text, lines) = logged(get(
        "/v1/main/docs/open/failing.bin",
        &[("x-request-id", "client-8")],
    ))
    .await;
    let failed = lines.iter().find(|line| line["level"] == "ERROR").unwrap();
    assert_eq!(failed["span"]["request_id"], "client-8", "{text}");
    assert_eq!(
        failed["span"]["trace_id"].as_str().map(str::len),
        Some(32),
        "{text}"
    );
}

#[tokio::test]
async fn of_changed_sources_of_a_table_one_line_is_written_in_a_while() {
    let complaints = async |target: &str| {
        let (_, lines) = logged(get(target, &[])).await;
        let told = lines.iter().filter(|line| line["level"] != "INFO");
        let told = told.map(|line| (line["level"].clone(), line["fields"]["message"].clone()));
        told.collect::<Vec<_>>()
    };
    let change = || vec![("WARN".into(), "source object changed".into())];
    let first = complaints("/v1/main/docs/open/drifting/changed.bin").await;
    assert_eq!(first, change());
    for target in [
        "/v1/main/docs/open/drifting/changed.bin",
        "/main/docs/open/drifting/changed.bin",
        "/v1/main/docs/open/drifting/changed-later.bin",
    ] {
        assert_eq!(complaints(target).await, [], "{target}");
    }
    // In the middle of a body it is a change, too, and of another table another line.
    let cut = complaints("/v1/main/docs/open/cut/changed-later.bin").await;
    assert_eq!(cut, change());
    // A refusal of our credentials is told as seldom; what fails otherwise is told each time.
    let failure = || vec![("ERROR".into(), "read failed".into())];
    let refused = async || complaints("/v1/main/docs/open/denied/refused.bin").await;
    assert_eq!(refused().await, failure());
    assert_eq!(refused().await, []);
    for _ in 0..2 {
        let failing = complaints("/v1/main/docs/open/failing.bin").await;
        assert_eq!(failing, failure());
    }
}
