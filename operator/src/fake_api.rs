//! A fake API server: what was asked, and answers that a test makes up.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde_json::{Value, json};

/// Method and path of what was asked, and its body.
pub(crate) type Calls = Arc<Mutex<Vec<(String, Value)>>>;

/// Code of an answer that never comes.
pub(crate) const HANGS: u16 = 0;

/// A client whose requests are answered by `answer`, and what was asked.
pub(crate) fn fake_api(
    answer: impl Fn(&str, &str) -> (u16, Value) + Clone + Send + Sync + 'static,
) -> (Client, Calls) {
    fake_api_with(move |method, path, _| answer(method, path))
}

/// The same where an answer depends on what was sent.
pub(crate) fn fake_api_with(
    answer: impl Fn(&str, &str, &Value) -> (u16, Value) + Clone + Send + Sync + 'static,
) -> (Client, Calls) {
    let calls = Calls::default();
    let seen = calls.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (seen, answer) = (seen.clone(), answer.clone());
        async move {
            let (head, body) = request.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            let line = format!("{} {}", head.method, head.uri.path());
            let sent: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let (code, body) = answer(head.method.as_str(), head.uri.path(), &sent);
            seen.lock().unwrap().push((line, sent));
            if code == HANGS {
                std::future::pending::<()>().await;
            }
            let response = Response::builder()
                .status(code)
                .body(Body::from(body.to_string().into_bytes()));
            Ok::<_, Infallible>(response.unwrap())
        }
    });
    (Client::new(service, "docs"), calls)
}

/// The answer of a refusal.
pub(crate) fn refusal(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": "no", "code": code});
    (code, status)
}

/// The answer where there is nothing.
pub(crate) fn not_found() -> (u16, Value) {
    refusal(404, "NotFound")
}
