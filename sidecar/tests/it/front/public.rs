//! What everybody may read: what manifests leave to everybody, and nothing else that a store holds.

use prometheus_client::registry::Registry;
use vdt_dialect::HttpMetrics;
use vdt_sidecar::front::{Front, FrontOptions};

use super::support::{Folder, bucket, manifest, status};

const OPEN: &str = "access: {mode: Anonymous}";
const KEYS: &str =
    "access: {mode: Keys, principals: [{name: analysts, secretRef: {name: analysts-key}}]}";

/// A folder with the token `analysts`, and what a front door in a pod is loaded with.
fn pod() -> (Folder, FrontOptions) {
    let folder = Folder::new();
    folder.write("analysts-key/token", "analysts");
    let options = FrontOptions {
        secrets_dir: Some(folder.path().to_owned()),
        secrets_may_come: true,
        ..FrontOptions::default()
    };
    (folder, options)
}

#[tokio::test]
async fn tables_of_others_in_the_same_state_are_not_there() {
    let front = Front::load(&[manifest("open", OPEN)], &FrontOptions::default()).unwrap();
    for token in [None, Some("any")] {
        for (table, expected) in [
            ("open", 200),
            ("open_meta", 200),
            ("others", 404),
            ("open-too", 404),
        ] {
            assert_eq!(status(&front, table, token).await, expected, "{table}");
        }
    }
    let held = ["open", "open_meta", "others", "another"];
    assert_eq!(bucket(&front, &held).await, ["open", "open_meta"]);
    assert!(bucket(&front, &held[2..]).await.is_empty());
}

#[tokio::test]
async fn a_table_that_asks_for_keys_is_not_read_without_while_its_manifest_waits_for_a_restart() {
    let (_folder, options) = pod();
    let front = Front::load(&[manifest("open", OPEN)], &options).unwrap();
    let more = [manifest("open", OPEN), manifest("closed", KEYS)];
    let problems = front.redeclare(&more).unwrap_err();
    assert!(problems.iter().all(|problem| problem.needs_restart));
    let held = ["open", "open_meta", "closed", "closed_meta"];
    assert_eq!(bucket(&front, &held).await, ["open", "open_meta"]);
    assert_eq!(status(&front, "closed", None).await, 404);

    // The open one asks for keys too, and that cannot be taken either.
    let closed = [manifest("open", KEYS), manifest("new", OPEN)];
    front.redeclare(&closed).unwrap_err();
    assert_eq!(status(&front, "open", None).await, 404);
    assert_eq!(status(&front, "new", None).await, 404, "nothing is given");
    // What was taken back comes back with manifests that are taken.
    front.redeclare(&[manifest("open", OPEN)]).unwrap();
    assert_eq!(status(&front, "open", None).await, 200);
}

#[tokio::test]
async fn a_table_that_is_withdrawn_is_not_read_though_it_is_held() {
    let both = [manifest("open", OPEN), manifest("other", OPEN)];
    let front = Front::load(&both, &FrontOptions::default()).unwrap();
    let held = ["open", "open_meta", "other", "other_meta"];
    assert_eq!(bucket(&front, &held).await, held);
    front.redeclare(&both[..1]).unwrap();
    assert_eq!(status(&front, "other", None).await, 404);
    assert_eq!(status(&front, "other_meta", None).await, 404);
    assert_eq!(bucket(&front, &held).await, ["open", "open_meta"]);
    front.redeclare(&[]).unwrap();
    assert!(bucket(&front, &held).await.is_empty());
}

#[tokio::test]
async fn beside_keys_what_is_public_no_longer_is_taken_back_too() {
    let (_folder, options) = pod();
    let tables = [manifest("closed", KEYS), manifest("open", OPEN)];
    let front = Front::load(&tables, &options).unwrap();
    assert_eq!(status(&front, "open", None).await, 200);
    let tls = format!("{KEYS}\n    tls: {{mode: Secret, secretRef: {{name: tls}}}}");
    front.redeclare(&[manifest("closed", &tls)]).unwrap_err();
    assert_eq!(status(&front, "open", None).await, 401);
    assert_eq!(status(&front, "open", Some("analysts")).await, 403);
    assert_eq!(
        status(&front, "closed", Some("analysts")).await,
        200,
        "the last good ones stand"
    );
    let metrics = HttpMetrics::register(&mut Registry::default());
    front.reload(&metrics);
    assert_eq!(status(&front, "open", None).await, 401);
}

/// As `vdt serve` does with tables that it could not open, whatever the others say of access.
#[tokio::test]
async fn what_is_not_opened_is_not_its_own_principals_to_read_either() {
    let (_folder, options) = pod();
    let tls = "tls: {mode: Secret, secretRef: {name: tls}}";
    for rest in [
        manifest("open", OPEN),
        manifest("open", &format!("{OPEN}\n    {tls}")),
    ] {
        // The only one that asks for keys is not opened, nor is what else the process was started with.
        let tables = [manifest("closed", KEYS), manifest("open", OPEN)];
        for by_redeclaring in [false, true] {
            let front = Front::load(&tables, &options).unwrap();
            assert_eq!(status(&front, "closed", Some("analysts")).await, 200);
            let shown = std::slice::from_ref(&rest);
            match by_redeclaring {
                true => assert!(front.redeclare(shown).is_err()),
                false => front.narrow(shown),
            }
            assert_eq!(status(&front, "closed", Some("analysts")).await, 401);
            assert_eq!(status(&front, "closed_meta", Some("analysts")).await, 401);
            assert_eq!(status(&front, "open", None).await, 200);
            let metrics = HttpMetrics::register(&mut Registry::default());
            front.reload(&metrics);
            assert_eq!(status(&front, "closed", Some("analysts")).await, 401);
        }
    }
}

#[tokio::test]
async fn what_is_public_by_silence_is_for_those_who_name_this_machine() {
    let (_folder, pod) = pod();
    let options = FrontOptions {
        listen_is_loopback: true,
        ..pod
    };
    let quiet = "replicas: 1";
    let both = [manifest("quiet", quiet), manifest("open", OPEN)];
    let front = Front::load(&both, &options).unwrap();
    let required = || front.edge(vdt_dialect::Limits::default()).own_names;
    assert!(required().are_required());
    // No manifest is silent any more, then one is again, also where it cannot be taken.
    front.redeclare(&both[1..]).unwrap();
    assert!(!required().are_required());
    let tls = format!("{quiet}\n    tls: {{mode: Secret, secretRef: {{name: tls}}}}");
    front.redeclare(&[manifest("open", &tls)]).unwrap_err();
    assert!(required().are_required());
    assert_eq!(status(&front, "open", None).await, 200);
    assert_eq!(status(&front, "quiet", None).await, 404);
}
