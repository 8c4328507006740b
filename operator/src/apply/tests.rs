//! Against a played API server: what is asked, in which order, with which preconditions.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::{Api, Client, api::DynamicObject, client::Body};
use serde_json::{Value, json};

use super::delete_if_same;
use crate::build::Kind;

type Calls = Arc<Mutex<Vec<(String, Value)>>>;

/// A client whose requests are answered by `answer`, and what was asked.
fn played(
    answer: impl Fn(&str, &str) -> (u16, Value) + Clone + Send + Sync + 'static,
) -> (Client, Calls) {
    let calls = Calls::default();
    let seen = calls.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (seen, answer) = (seen.clone(), answer.clone());
        async move {
            let (head, body) = request.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            let line = format!("{} {}", head.method, head.uri.path());
            let sent = serde_json::from_slice(&bytes).unwrap_or_default();
            seen.lock().unwrap().push((line, sent));
            let (code, body) = answer(head.method.as_str(), head.uri.path());
            let response = Response::builder()
                .status(code)
                .body(Body::from(body.to_string().into_bytes()));
            Ok::<_, Infallible>(response.unwrap())
        }
    });
    (Client::new(service, "docs"), calls)
}

fn service(uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "manuals", "namespace": "docs", "uid": uid, "resourceVersion": "7"}})
}

fn not_found() -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "message": "no", "code": 404});
    (404, status)
}

fn api(client: Client) -> Api<DynamicObject> {
    Api::namespaced_with(client, "docs", &Kind::Service.resource())
}

#[tokio::test]
async fn a_delete_names_what_was_read_live() {
    let (client, calls) = played(|_, _| (200, service("u")));
    assert!(
        delete_if_same(&api(client), "Service", "manuals", Some("u"))
            .await
            .unwrap()
    );
    let calls = calls.lock().unwrap();
    assert_eq!(calls[0].0, "GET /api/v1/namespaces/docs/services/manuals");
    assert_eq!(
        calls[1].0,
        "DELETE /api/v1/namespaces/docs/services/manuals"
    );
    assert_eq!(
        calls[1].1["preconditions"],
        json!({"uid": "u", "resourceVersion": "7"})
    );
}

#[tokio::test]
async fn another_object_of_the_name_is_left_alone() {
    let (client, calls) = played(|_, _| (200, service("younger")));
    assert!(
        !delete_if_same(&api(client), "Service", "manuals", Some("u"))
            .await
            .unwrap()
    );
    assert_eq!(calls.lock().unwrap().len(), 1);
    let (client, calls) = played(|_, _| not_found());
    assert!(
        !delete_if_same(&api(client), "Service", "manuals", Some("u"))
            .await
            .unwrap()
    );
    assert_eq!(calls.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_object_that_changed_in_between_is_an_error_and_stays() {
    let (client, _) = played(|method, _| match method {
        "GET" => (200, service("u")),
        _ => (
            409,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Conflict", "message": "changed", "code": 409}),
        ),
    });
    let error = delete_if_same(&api(client), "Service", "manuals", Some("u"))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "delete of Service manuals failed");
}

#[tokio::test(start_paused = true)]
async fn references_are_asked_for_by_name_and_believed_for_a_while() {
    use crate::{
        build::References,
        dereference::{Known, dereference},
    };

    let (client, calls) = played(|_, path| {
        if path.ends_with("/secrets/corp-ro") {
            let metadata = json!({"name": "corp-ro", "resourceVersion": "5"});
            (
                200,
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}),
            )
        } else {
            not_found()
        }
    });
    let references = References {
        source_secrets: ["corp-ro".to_owned()].into(),
        claims: ["papers".to_owned()].into(),
        ..References::default()
    };
    let mut known = Known::default();
    let first = dereference(&client, "docs", &references, &mut known, true)
        .await
        .unwrap();
    assert_eq!(
        first.missing,
        [("PersistentVolumeClaim", "papers".to_owned())]
    );
    assert_eq!(first.versions["Secret/corp-ro"], "5");
    let asked = |calls: &Calls| {
        calls
            .lock()
            .unwrap()
            .drain(..)
            .map(|(line, _)| line)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        asked(&calls),
        [
            "GET /api/v1/namespaces/docs/persistentvolumeclaims/papers",
            "GET /api/v1/namespaces/docs/secrets/corp-ro",
        ]
    );
    // What is missing is asked for again, what was there is believed, until it is not.
    dereference(&client, "docs", &references, &mut known, false)
        .await
        .unwrap();
    assert_eq!(
        asked(&calls),
        ["GET /api/v1/namespaces/docs/persistentvolumeclaims/papers"]
    );
    tokio::time::advance(std::time::Duration::from_secs(601)).await;
    dereference(&client, "docs", &references, &mut known, false)
        .await
        .unwrap();
    assert_eq!(asked(&calls).len(), 2);
}
