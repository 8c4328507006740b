use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use kube::{api::DynamicObject, runtime::events::Recorder};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    build::Shipped,
    controller::reconcile,
    metrics::Metrics,
    names,
    played::{Calls, not_found, played_with},
    status::gather::Pods,
    token::Signer,
    watches::{Watches, filled, pod_resource, table_ref},
};

fn pod(is_ready: bool) -> Value {
    let labels = json!({names::INSTANCE: "minimal", names::MANAGED_BY: names::OPERATOR});
    let status = if is_ready { "True" } else { "False" };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "minimal-0", "namespace": "docs", "uid": "u", "labels": labels},
        "status": {"phase": "Running", "podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": status}]},
    })
}

/// Looks at a table with one pod, whose admin API has this port, and an API server that takes everything and has nothing else.
fn context(watches: Watches, port: u16) -> (Arc<Context>, Calls) {
    let (client, calls) = played_with(|method, _, sent| match method {
        "GET" => not_found(),
        _ => (200, sent.clone()),
    });
    let context = Context {
        recorder: Recorder::new(client.clone(), names::OPERATOR.to_owned().into()),
        defined: HashSet::new(),
        client,
        watches,
        pods: Pods::new(Some(port)),
        signer: Signer::ephemeral(),
        shipped: Shipped {
            server_image: "server".to_owned(),
            sidecar_image: "sidecar".to_owned(),
            pull_policy: None,
            assign_ids: true,
            admin_keys: String::new(),
            namespace: "vdt-system".to_owned(),
            operator: "vdt-system/vdt".to_owned(),
        },
        metrics: Metrics::new(&mut Registry::default(), 8),
        ending: CancellationToken::new(),
        memory: std::sync::Mutex::new(HashMap::new()),
    };
    (Arc::new(context), calls)
}

fn table() -> Arc<DynamicObject> {
    let good = include_bytes!("../../../../crds/examples/good/minimal.yaml");
    let mut table = json!(vdt_crds::parse(good).unwrap().remove(0));
    table["metadata"]["namespace"] = "docs".into();
    table["metadata"]["uid"] = "owner".into();
    table["metadata"]["generation"] = 1.into();
    Arc::new(serde_json::from_value(table).unwrap())
}

/// Takes connections and never answers.
async fn hanging() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).await.unwrap()
}

#[tokio::test]
async fn a_look_does_not_wait_for_pods_that_hang_and_is_repeated_when_they_are_given_up() {
    let listener = hanging().await;
    let mut watches = Watches::of(Vec::new());
    let pods = vec![serde_json::from_value(pod(true)).unwrap()];
    watches.pods = filled(&pod_resource(), pods);
    let mut queued = watches.heard();
    let (context, calls) = context(watches, listener.local_addr().unwrap().port());
    let statuses = || {
        let calls = calls.lock().unwrap();
        let statuses = calls.iter().filter(|(line, _)| line.ends_with("/status"));
        statuses
            .map(|(_, sent)| sent["status"]["conditions"][0].clone())
            .collect::<Vec<_>>()
    };
    tokio::time::pause();
    let began = Instant::now();
    reconcile(table(), context.clone()).await.unwrap();
    assert!(began.elapsed() <= PATIENCE + Duration::from_millis(1));
    // What the operator before this one wrote stays until the pods had their time.
    assert_eq!(statuses(), [json!(null); 0]);
    assert_eq!(queued.recv().await.unwrap().name, "minimal");
    assert!(began.elapsed() >= Duration::from_secs(3));
    let began = Instant::now();
    reconcile(table(), context.clone()).await.unwrap();
    assert_eq!(statuses().len(), 1);
    // Nobody waits for them again, and they are asked later.
    tokio::time::advance(SILENT_MIN).await;
    reconcile(table(), context.clone()).await.unwrap();
    assert!(began.elapsed() <= SILENT_MIN + Duration::from_millis(1));
    assert_eq!(queued.recv().await.unwrap().name, "minimal");
}

#[tokio::test]
async fn silent_pods_are_left_alone_until_one_changes() {
    let listener = hanging().await;
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let (context, _) = context(Watches::of(Vec::new()), port);
    let table = table_ref("minimal", "docs");
    let mut answers = Answers::default();
    let view = |is_ready| PodView::of("minimal", &pod(is_ready)).unwrap();
    answers
        .gather(&context, &table, "main/docs/t", &[view(false)])
        .await;
    answers.take(said(false));
    let long_ago = Instant::now().checked_sub(ASK).unwrap();
    answers.at = Some(long_ago);
    answers
        .gather(&context, &table, "main/docs/t", &[view(false)])
        .await;
    assert_eq!(answers.at, Some(long_ago));
    answers
        .gather(&context, &table, "main/docs/t", &[view(true)])
        .await;
    assert_ne!(answers.at, Some(long_ago));
    // What a pod said is not what the next one of its name says.
    let mut another = view(true);
    another.uid = "younger".to_owned();
    answers.take(said(true));
    assert_eq!(answers.reports().unwrap().len(), 1);
    answers
        .gather(&context, &table, "main/docs/t", &[another])
        .await;
    assert!(
        answers
            .reports()
            .unwrap()
            .iter()
            .all(|report| !report.said_something())
    );
}

/// An answer of the pod, or none.
fn said(something: bool) -> Answer {
    let report = PodReport {
        uid: "u".to_owned(),
        tables: something.then(Vec::new),
        ..PodReport::default()
    };
    Answer {
        reports: vec![report],
        took: Duration::ZERO,
    }
}

#[test]
fn silence_is_waited_out_longer_each_time_and_only_that_of_pods_that_could_answer() {
    let mut answers = Answers {
        of: vec![("u".to_owned(), Some("127.0.0.1".to_owned()), true)],
        ..Answers::default()
    };
    let waits: Vec<u64> = (0..7)
        .map(|_| {
            answers.take(said(false));
            answers.silence().unwrap().as_secs()
        })
        .collect();
    assert_eq!(waits, [3, 6, 12, 24, 48, 60, 60]);
    answers.take(said(true));
    assert_eq!(answers.silence(), None);
    answers.of[0].1 = None;
    answers.take(said(false));
    assert_eq!(answers.silence(), None);
}
