//! A small API server: a few tables and pods, and the admin API of the pods behind forwarded ports.
//!
//! | pod | does |
//! |---|---|
//! | `*-0` | its port may not be forwarded |
//! | `*-1` | answers |
//! | `*-2` | takes the connection and says nothing |
//! | `*-9` | is Pending |
//! | `*-10` | its port is closed |

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
};

use futures::{SinkExt, StreamExt};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Bytes, service::service_fn, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

/// The server, for as long as it lives.
pub(crate) struct Fake {
    folder: tempfile::TempDir,
    /// Its port on this machine.
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Fake {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (bound, port) = std::sync::mpsc::channel();
        let heard = asked.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                bound.send(listener.local_addr().unwrap().port()).unwrap();
                tokio::select! {
                    () = accept(listener, heard) => {}
                    _ = stopped => {}
                }
            });
        });
        let port: u16 = port.recv().unwrap();
        let fake = Self {
            folder,
            port,
            asked,
            stop: Some(stop),
        };
        fake.known_as(json!({"server": format!("http://127.0.0.1:{port}")}));
        fake
    }

    /// Writes what the kubeconfig says of the cluster.
    pub(crate) fn known_as(&self, cluster: Value) {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "docs"}}],
        });
        std::fs::write(self.kubeconfig(), config.to_string()).unwrap();
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    /// What pods were asked: `<pod> <request line> <headers>`, in lower case but for the request line.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(self.stop.take());
    }
}

async fn accept(listener: TcpListener, asked: Arc<Mutex<Vec<String>>>) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let asked = asked.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let asked = asked.clone();
                async move { Ok::<_, std::convert::Infallible>(answer(request, asked)) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service)
                .with_upgrades();
            drop(connection.await);
        });
    }
}

fn answer(
    request: Request<hyper::body::Incoming>,
    asked: Arc<Mutex<Vec<String>>>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let query = request.uri().query().unwrap_or_default().to_owned();
    match parts.as_slice() {
        ["apis", "vdt.io", "v1alpha1", "namespaces", "forbidden", ..] => {
            status(403, &lacking("list", "virtualtables.vdt.io"))
        }
        [
            "apis",
            "vdt.io",
            "v1alpha1",
            "namespaces",
            "docs",
            "virtualtables",
        ] => list(["manuals", "silent"].map(table).to_vec()),
        [
            "apis",
            "vdt.io",
            "v1alpha1",
            "namespaces",
            _,
            "virtualtables",
            "missing",
        ] => status(404, "not found"),
        [
            "apis",
            "vdt.io",
            "v1alpha1",
            "namespaces",
            _,
            "virtualtables",
            "denied",
        ] if request.method() == Method::PATCH => {
            let said =
                "admission webhook \"fridays.example\" denied the request: no tables on Fridays";
            status(403, said)
        }
        [
            "apis",
            "vdt.io",
            "v1alpha1",
            "namespaces",
            _,
            "virtualtables",
            name,
        ] => json_answer(&table(name)),
        [
            "apis",
            "apps",
            "v1",
            "namespaces",
            _,
            "statefulsets",
            "unseen",
        ] => status(403, &lacking("get", "statefulsets.apps")),
        ["api", "v1", "namespaces", "docs", "pods"] => {
            let asks = |name: &str| query.contains(&format!("instance%3D{name}"));
            list(match () {
                () if asks("silent") => vec![pod("silent", 0)],
                () if asks("waiting") => vec![pod("waiting", 0), pod("waiting", 1)],
                () => [10, 1, 2, 0, 9]
                    .map(|ordinal| pod("manuals", ordinal))
                    .to_vec(),
            })
        }
        ["api", "v1", "namespaces", _, "pods"] => list(Vec::new()),
        ["api", "v1", "namespaces", _, "pods", name, "portforward"]
            if name.ends_with("-0") && !name.ends_with("10") =>
        {
            status(403, &lacking("create", "pods/portforward"))
        }
        ["api", "v1", "namespaces", _, "pods", name, "portforward"] => {
            assert!(query.contains("ports=8081"), "{query}");
            forward(request, (*name).to_owned(), asked)
        }
        _ => status(404, "not found"),
    }
}

fn forward(
    request: Request<hyper::body::Incoming>,
    pod: String,
    asked: Arc<Mutex<Vec<String>>>,
) -> Response<Full<Bytes>> {
    let accept = derive_accept_key(request.headers()[header::SEC_WEBSOCKET_KEY].as_bytes());
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(request).await.unwrap();
        play(upgraded, &pod, &asked).await;
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::UPGRADE, "websocket")
        .header(header::CONNECTION, "Upgrade")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .header(header::SEC_WEBSOCKET_PROTOCOL, "v4.channel.k8s.io")
        .body(Full::default())
        .unwrap()
}

/// Plays the node and the pod: one byte says the channel (0: bytes, 1: an error), the first message of each repeats the port.
async fn play(upgraded: Upgraded, pod: &str, asked: &Mutex<Vec<String>>) {
    let mut socket =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    let port = 8081_u16.to_le_bytes();
    for channel in [0_u8, 1] {
        let hello = vec![channel, port[0], port[1]];
        socket.send(Message::binary(hello)).await.unwrap();
    }
    if pod.ends_with("-10") {
        let refused = [&[1_u8][..], b"connection refused by the pod"].concat();
        drop(socket.send(Message::binary(refused)).await);
        drop(socket.close(None).await);
        return;
    }
    let mut text = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(bytes) = message else {
            continue;
        };
        text.extend_from_slice(&bytes[1..]);
        if !text.ends_with(b"\r\n\r\n") {
            continue;
        }
        let head = String::from_utf8(std::mem::take(&mut text)).unwrap();
        if pod.ends_with("-2") {
            continue;
        }
        let (line, headers) = head.split_once("\r\n").unwrap();
        let path = line.split(' ').nth(1).unwrap().to_owned();
        let before = {
            let mut asked = asked.lock().unwrap();
            let before = asked
                .iter()
                .filter(|one| one.starts_with(pod) && one.contains("/api/v1/tables"))
                .count();
            asked.push(format!(
                "{pod} {line} {}",
                headers.to_lowercase().replace("\r\n", " ")
            ));
            before
        };
        let body = admin(pod, &path, before).to_string();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let framed = [&[0_u8][..], answer.as_bytes()].concat();
        if socket.send(Message::binary(framed)).await.is_err() {
            return;
        }
    }
}

fn admin(pod: &str, path: &str, looks: usize) -> Value {
    let name = pod.rsplit_once('-').unwrap().0;
    match path {
        "/api/v1/cache" => json!({
            "tiers": {"memory": {"state": "Ok", "bytes": 256 << 20, "capacity": 512 << 20}},
            "hits": {"memory": 80, "disk": 10}, "misses": 10, "origin": {"up": true},
        }),
        "/api/v1/tables" => {
            let version = if name == "waiting" && looks > 0 { 4 } else { 3 };
            json!([{"table": format!("main/docs/{name}"), "version": version, "artifacts": 412, "lagSeconds": 7}])
        }
        _ => {
            json!([{"table": format!("main.docs.{name}"), "outcome": "Committed", "version": 4, "artifacts": 413, "added": 1, "changed": 0, "removed": 0}])
        }
    }
}

fn table(name: &str) -> Value {
    let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": "said so", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    json!({
        "apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable",
        "metadata": {"name": name, "namespace": "docs", "generation": 1, "uid": "u"},
        "spec": {
            "sources": [{"name": "bucket", "type": "S3", "s3": {"bucket": "corp", "anonymous": true}}], "suspend": name == "suspended",
            "server": {"replicas": 2, "state": {"type": "S3", "s3": {"bucket": "state"}}, "access": {"mode": "Anonymous"}},
        },
        "status": {
            "observedGeneration": 1, "version": 3, "artifacts": 412, "replicas": 2, "readyReplicas": 2, "updatedReplicas": 2,
            "conditions": [condition("Ready", "False", "SourceUnreachable"), condition("Available", "True", "Serving")],
        },
    })
}

fn pod(table: &str, ordinal: u32) -> Value {
    let phase = if ordinal == 9 { "Pending" } else { "Running" };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("{table}-{ordinal}"), "namespace": "docs", "labels": {"app.kubernetes.io/instance": table}},
        "spec": {"containers": [{"name": "sidecar", "ports": [{"name": "admin", "containerPort": 8081}]}]},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": if ordinal == 9 { "False" } else { "True" }}]},
    })
}

fn list(items: Vec<Value>) -> Response<Full<Bytes>> {
    json_answer(&json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items}))
}

/// What an API server says to a user who lacks a right.
fn lacking(verb: &str, resource: &str) -> String {
    format!(
        "{resource} \"x\" is forbidden: User \"u\" cannot {verb} resource \"{resource}\" in API group \"\" in the namespace \"docs\""
    )
}

fn status(code: u16, message: &str) -> Response<Full<Bytes>> {
    let reason = if code == 404 { "NotFound" } else { "Forbidden" };
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code});
    let mut answer = json_answer(&body);
    *answer.status_mut() = StatusCode::from_u16(code).unwrap();
    answer
}

fn json_answer(body: &Value) -> Response<Full<Bytes>> {
    Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap()
}
