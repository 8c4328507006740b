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
    build::{Kind, Shipped},
    controller::reconcile,
    fake_api::{Calls, fake_api_with, not_found},
    metrics::Metrics,
    names,
    status::gather::Pods,
    token::Signer,
    watches::{Watches, filled, pod_resource, table_ref},
};

fn pod(is_ready: bool) -> Value {
    let labels = names::labels("minimal");
    let status = if is_ready { "True" } else { "False" };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "minimal-0", "namespace": "docs", "uid": "u", "labels": labels},
        "status": {"phase": "Running", "podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": status}]},
    })
}

/// Looks at a table with one pod, whose admin API has this port, and an API server that takes everything and has nothing else.
fn context(watches: Watches, port: u16) -> (Arc<Context>, Calls) {
    context_with(watches, port, None)
}

/// The same where there is a StatefulSet.
fn context_with(watches: Watches, port: u16, set: Option<Value>) -> (Arc<Context>, Calls) {
    let (client, calls) = fake_api_with(move |method, path, sent| match (method, &set) {
        ("GET", Some(set)) if path.ends_with("/statefulsets/minimal") => (200, set.clone()),
        ("GET", _) => not_found(),
        _ => {
            let mut made = sent.clone();
            if path.ends_with("/status") {
                made["metadata"]["resourceVersion"] = "12".into();
            }
            (200, made)
        }
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
        lease: Duration::from_secs(15),
        memory: parking_lot::Mutex::new(HashMap::new()),
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

fn lines(calls: &Calls, verb: &str) -> Vec<String> {
    let calls = calls.lock().unwrap();
    let lines = calls.iter().map(|(line, _)| line.clone());
    lines.filter(|line| line.starts_with(verb)).collect()
}

/// Who owns what is of the table.
fn owners() -> Value {
    json!([{"apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable", "name": "minimal", "uid": "owner", "controller": true}])
}

#[tokio::test]
async fn a_set_that_lost_its_label_is_read_before_its_template_is_rendered() {
    let rendered = json!({"format": 99, "operator": "9.0.0"}).to_string();
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "minimal", "namespace": "docs", "uid": "s",
        "resourceVersion": "7", "ownerReferences": owners(), "annotations": {names::RENDERED: rendered}}});
    let (context, calls) = context_with(Watches::of(Vec::new()), 1, Some(set));
    reconcile(table(), context).await.unwrap();
    let patches = lines(&calls, "PATCH");
    assert!(
        !patches.iter().any(|line| line.contains("statefulsets")),
        "{patches:?}"
    );
}

#[tokio::test]
async fn a_port_stays_open_while_a_pod_of_before_may_need_it() {
    let rule = json!({"ports": [{"port": 1080, "protocol": "TCP"}]});
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "minimal", "namespace": "docs",
        "uid": "n", "resourceVersion": "7", "ownerReferences": owners()}, "spec": {"egress": [rule]}});
    let mut restricted = (*table()).clone();
    restricted.data["spec"]["server"]["networkPolicy"] = json!({"mode": "Restricted"});
    let restricted = Arc::new(restricted);
    let sent = |calls: &Calls, path: &str| {
        let calls = calls.lock().unwrap();
        let sent = calls
            .iter()
            .find(|(line, _)| line.starts_with("PATCH") && line.contains(path));
        sent.unwrap().1.clone()
    };
    let open = |calls: &Calls| {
        sent(calls, "/networkpolicies/")["spec"]["egress"]
            .to_string()
            .contains("1080")
    };
    let (context, calls) = context(Watches::of(vec![(Kind::NetworkPolicy, policy.clone())]), 1);
    reconcile(restricted.clone(), context).await.unwrap();
    assert!(!open(&calls), "there are no pods");
    let set = sent(&calls, "/statefulsets/");
    let latest = &set["spec"]["template"]["metadata"]["annotations"][names::TEMPLATE_HASH];
    for (hash, is_open) in [(json!("earlier"), true), (latest.clone(), false)] {
        let mut watches = Watches::of(vec![(Kind::NetworkPolicy, policy.clone())]);
        let mut pod = pod(true);
        pod["metadata"]["annotations"] = json!({names::TEMPLATE_HASH: hash});
        watches.pods = filled(&pod_resource(), vec![serde_json::from_value(pod).unwrap()]);
        let (context, calls) = self::context(watches, 1);
        reconcile(restricted.clone(), context).await.unwrap();
        assert_eq!(open(&calls), is_open, "{hash}");
    }
}

#[tokio::test]
async fn nothing_is_written_of_a_paused_table_of_another_operator() {
    for (operator, is_written) in [("vdt-system/vdt", true), ("other/vdt", false)] {
        let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": names::config("minimal"), "namespace": "docs",
            "uid": "c", "resourceVersion": "7", "ownerReferences": owners(), "annotations": {names::ACTING: operator}}});
        let watches = Watches::of(vec![(Kind::ConfigMap, config)]);
        let (context, calls) = context(watches, 1);
        let mut paused = (*table()).clone();
        let annotations = [(names::PAUSED.to_owned(), "true".to_owned())];
        paused.metadata.annotations = Some(annotations.into());
        reconcile(Arc::new(paused), context).await.unwrap();
        assert_eq!(!lines(&calls, "PATCH").is_empty(), is_written, "{operator}");
    }
}

#[tokio::test]
async fn a_status_is_not_written_again_before_the_store_has_it() {
    let (context, calls) = context(Watches::of(Vec::new()), 1);
    for (version, writes) in [("11", 1), ("11", 1), ("12", 2), ("13", 3)] {
        let mut seen = (*table()).clone();
        seen.metadata.resource_version = Some(version.to_owned());
        reconcile(Arc::new(seen), context.clone()).await.unwrap();
        let patches = lines(&calls, "PATCH");
        let statuses = patches.iter().filter(|line| line.ends_with("/status"));
        assert_eq!(statuses.count(), writes, "{version}");
    }
}

#[tokio::test]
async fn an_operator_that_waits_after_a_failure_answers_one_that_asks() {
    let config = |operator: &str, version: &str| {
        let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": names::config("minimal"), "namespace": "docs",
            "uid": "c", "resourceVersion": version, "ownerReferences": owners(), "annotations": {names::ACTING: operator}}});
        Watches::of(vec![(Kind::ConfigMap, config)])
    };
    let (mut context, calls) = context(config("vdt-system/vdt", "7"), 1);
    reconcile(table(), context.clone()).await.unwrap();
    let table_ref = table_ref("minimal", "docs");
    let memory = context.memory_of(&table_ref, "minimal", Some("owner".to_owned()));
    memory.lock().await.backoff.fail(Some(1), u32::MAX);
    calls.lock().unwrap().clear();
    reconcile(table(), context.clone()).await.unwrap();
    assert_eq!(lines(&calls, "PATCH"), [""; 0]);
    Arc::get_mut(&mut context).unwrap().watches = config("other/vdt", "8");
    reconcile(table(), context.clone()).await.unwrap();
    let (asked, sent) = calls.lock().unwrap()[0].clone();
    assert!(
        asked.starts_with("PATCH") && asked.contains("/configmaps/"),
        "{asked}"
    );
    assert_eq!(
        sent["metadata"]["annotations"][names::ACTING],
        "vdt-system/vdt"
    );
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
fn a_pod_has_to_be_started_anew_for_the_generation_that_it_said_so_of() {
    let mut answers = Answers::default();
    assert_eq!(answers.restarts(Some(2)), BTreeSet::new());
    let said = |pod: &str, refused: Value| {
        let manifest = json!({"generation": 1, "refused": refused});
        let table = json!({"table": "main/docs/t", "manifest": manifest});
        PodReport {
            uid: pod.to_owned(),
            tables: Some(vec![serde_json::from_value(table).unwrap()]),
            ..PodReport::default()
        }
    };
    let refused = |reason: &str, generation: Option<i64>| json!({"generation": generation, "reason": reason, "message": ""});
    answers.reports = Some(vec![
        said("follows", Value::Null),
        said("asks", refused("RestartNeeded", Some(2))),
        said("asked", refused("RestartNeeded", Some(1))),
        said("of no number", refused("RestartNeeded", None)),
        said("refuses", refused("InvalidSpec", Some(2))),
        PodReport::default(),
    ]);
    assert_eq!(answers.restarts(Some(2)), ["asks".to_owned()].into());
    assert_eq!(answers.restarts(Some(3)), BTreeSet::new());
    assert_eq!(answers.restarts(None), BTreeSet::new());
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
