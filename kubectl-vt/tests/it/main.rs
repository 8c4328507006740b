//! The binary against an API server's side of what it asks: tables, pods, and ports of pods forwarded over a WebSocket.

#![allow(clippy::unwrap_used, missing_docs)]

mod api;
mod proxy;

use std::{
    io::Read as _,
    process::{Command, Output, Stdio},
};

use api::Fake;
use serde_json::{Value, json};

fn command(fake: &Fake, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-vt"));
    command
        .args(args)
        .env("KUBECONFIG", fake.kubeconfig())
        .env_remove("NO_COLOR");
    command
}

fn run(fake: &Fake, args: &[&str]) -> (Output, String, String) {
    let output = command(fake, args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

#[test]
fn top_shows_who_answers_and_names_who_does_not() {
    let fake = Fake::start();
    let (output, out, err) = run(&fake, &["top", "manuals", "--request-timeout=1"]);
    assert!(output.status.success(), "{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("POD "), "{out}");
    // In the order of their numbers, not of their names.
    let pods: Vec<&str> = lines[1..]
        .iter()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        pods,
        [
            "manuals-0",
            "manuals-1",
            "manuals-2",
            "manuals-9",
            "manuals-10"
        ]
    );
    assert!(
        lines[2].contains("256Mi 50.0%") && lines[2].contains("90.0%"),
        "{out}"
    );
    for said in [
        "pod docs/manuals-0: you may not get and create pods/portforward in namespace docs",
        "pod docs/manuals-2: no answer within 1 s",
        "pod docs/manuals-9: the pod is Pending",
        "pod docs/manuals-10: connection refused by the pod",
    ] {
        assert!(err.contains(said), "{said} in {err}");
    }
    // A loopback name, no token, nothing that shows a proxy: what the admin listener lets in.
    let asked = fake.asked();
    assert!(
        asked
            .iter()
            .any(|one| one.starts_with("manuals-1 GET /api/v1/cache ")
                && one.contains("host: localhost:8081")),
        "{asked:?}"
    );
    assert!(
        !asked.iter().any(|one| one.contains("authorization")),
        "{asked:?}"
    );
}

#[test]
fn top_is_json_for_programs_and_fails_when_nobody_answers() {
    let fake = Fake::start();
    let (_, out, _) = run(
        &fake,
        &["top", "-n", "docs", "-o", "json", "--request-timeout=1"],
    );
    let all: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(all.as_array().unwrap().len(), 5);
    assert_eq!(all[1]["cache"]["hits"]["memory"], 80);
    assert!(all[0]["error"].is_string());
    let (output, out, err) = run(&fake, &["top", "-n", "empty"]);
    assert!(output.status.success());
    assert_eq!(
        (out.as_str(), err.as_str()),
        ("", "no pods of VirtualTables in namespace empty\n")
    );
    let (output, ..) = run(&fake, &["top", "silent"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn status_says_conditions_lag_and_what_to_do() {
    let fake = Fake::start();
    let (output, out, err) = run(&fake, &["status", "manuals", "--request-timeout=1"]);
    assert!(output.status.success(), "{err}");
    for part in [
        "docs/manuals: not ready (SourceUnreachable)\n",
        "version   3, 412 artifacts; the sources were so 7s ago\n",
        "manuals-1: memory 256Mi 50.0%, disk off, hits 90.0%\n",
        "manuals-2 was not asked, or did not answer: no answer within 1 s\n",
        "\nNEXT\n  check endpoint, region",
    ] {
        assert!(out.contains(part), "{part} in {out}");
    }
    let (_, out, _) = run(&fake, &["status", "--no-pods"]);
    assert!(out.starts_with("NAME      READY   REASON"), "{out}");
    let (_, out, _) = run(&fake, &["status", "-o", "yaml"]);
    assert!(out.contains("next: check endpoint"), "{out}");
}

#[test]
fn refresh_passes_over_silent_pods_and_waits_for_all_that_can_be_asked() {
    let fake = Fake::start();
    let (output, out, err) = run(
        &fake,
        &[
            "refresh",
            "waiting",
            "--wait",
            "--request-timeout=5",
            "--timeout=60",
        ],
    );
    assert!(output.status.success(), "{out}{err}");
    assert!(err.contains("pod waiting-0: you may not"), "{err}");
    assert_eq!(
        out,
        "docs/waiting: version 4: 413 artifacts (1 new, 0 changed, 0 gone)\n"
    );
    let asked = fake.asked();
    let posts: Vec<&String> = asked.iter().filter(|one| one.contains(" POST ")).collect();
    assert_eq!(posts.len(), 1, "{asked:?}");
    assert!(posts[0].starts_with("waiting-1 POST /refresh?table=main%2Fdocs%2Fwaiting&wait=true "));
    // The first look found the older version.
    let looks = asked
        .iter()
        .filter(|one| one.starts_with("waiting-1 GET /api/v1/tables "))
        .count();
    assert!(looks >= 2, "{asked:?}");
}

#[test]
fn refusals_are_explained_and_exit_with_one() {
    let fake = Fake::start();
    for (args, said) in [
        (
            &["status", "missing"][..],
            "error: there is no VirtualTable missing in namespace docs",
        ),
        (
            &["status", "-n", "forbidden"],
            "docs/kubernetes/plugin.md lists the verbs",
        ),
        (&["refresh", "missing"], "there is no VirtualTable"),
        (&["refresh", "suspended"], "is suspended"),
        (&["status", "--context", "nowhere"], "error: "),
    ] {
        let (output, out, err) = run(&fake, args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {err}");
        assert!(err.contains(said), "{said} in {err}");
        assert_eq!(out, "");
    }
    let (output, ..) = run(&fake, &["plan"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_plan_that_could_not_look_fails_and_says_why() {
    let fake = Fake::start();
    let (output, out, err) = run(&fake, &["plan", "manuals"]);
    assert!(output.status.success(), "{out}{err}");
    let (output, out, err) = run(&fake, &["plan", "unseen"]);
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    let said = "VirtualTable docs/unseen: not known\n  what follows cannot be told: get StatefulSet docs/unseen: statefulsets.apps \"x\" is forbidden";
    assert!(out.starts_with(said), "{out}");
    assert!(out.contains("lists the verbs"), "{out}");
    let (output, out, _) = run(&fake, &["plan", "unseen", "-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let plans: Value = serde_json::from_str(&out).unwrap();
    assert!(plans[0]["unknown"].is_string(), "{plans}");
}

#[test]
fn what_admission_denies_is_no_want_of_rights() {
    let fake = Fake::start();
    let manifest = |name: &str, namespace: &str| {
        let metadata = json!({"name": name, "namespace": namespace});
        let table = json!({"apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable", "metadata": metadata, "spec": {}});
        let file = fake.kubeconfig().with_file_name(name);
        std::fs::write(&file, table.to_string()).unwrap();
        file.into_os_string().into_string().unwrap()
    };
    let (output, out, err) = run(&fake, &["plan", "-f", &manifest("denied", "docs")]);
    assert_eq!(output.status.code(), Some(1), "{err}");
    let said = "VirtualTable docs/denied: refused by the API server\n  admission webhook \"fridays.example\" denied the request: no tables on Fridays\n";
    assert_eq!((out.as_str(), err.as_str()), (said, ""));
    let (output, out, err) = run(&fake, &["plan", "-f", &manifest("manuals", "forbidden")]);
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(err.contains("lists the verbs"), "{err}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let fake = Fake::start();
    let mut child = command(&fake, &["status"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    assert!(child.wait().unwrap().success(), "{err}");
    assert_eq!(err, "");
}

#[test]
fn completions_are_in_kubectls_protocol() {
    let fake = Fake::start();
    for (words, expected) in [
        (&["sta"][..], "status\n:4\n"),
        (&["status", "man"], "manuals\n:4\n"),
        (&["status", "-o", "y"], "yaml\n:4\n"),
        (&["plan", "-f", ""], ":0\n"),
        (&["status", "-n", "forbidden", ""], ":4\n"),
    ] {
        let args: Vec<&str> = ["__complete"].iter().chain(words).copied().collect();
        let (output, out, err) = run(&fake, &args);
        assert!(output.status.success(), "{err}");
        assert_eq!(out, expected, "{words:?}");
    }
}

#[test]
fn version_and_help_need_no_cluster() {
    let version = Command::new(env!("CARGO_BIN_EXE_kubectl-vt"))
        .arg("--version")
        .output()
        .unwrap();
    assert!(version.status.success());
    assert!(String::from_utf8_lossy(&version.stdout).contains(env!("CARGO_PKG_VERSION")));
}
