//! The front door, from manifests and secret files: what is refused at the start, who may read, what is taken while it runs.
#![allow(clippy::unwrap_used)]

mod public;
mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use rustix::fs::{CWD, Mode, mkfifoat};
use tokio_util::sync::CancellationToken;
use vdt_dialect::{Access, HttpMetrics, Limits};
use vdt_sidecar::front::{Front, FrontOptions, Outcome, Reload};

use self::support::{Folder, manifest, metrics_text, pair, status};

/// Two principals on manuals, one on its metadata only.
const KEYS: &str = "{mode: Keys, principals: [{name: analysts, secretRef: {name: analysts-key}}, {name: readers, secretRef: {name: readers-key}, tables: [\"*_meta\"]}]}";

const UNCHANGED: Reload = Reload {
    keys: Outcome::Unchanged,
    certificate: Outcome::Unchanged,
};

/// Of the keys alone.
fn of_keys(keys: Outcome) -> Reload {
    Reload { keys, ..UNCHANGED }
}

/// Of the certificate alone.
fn of_certificate(certificate: Outcome) -> Reload {
    Reload {
        certificate,
        ..UNCHANGED
    }
}

fn options(folder: &Folder) -> FrontOptions {
    FrontOptions {
        secrets_dir: Some(folder.path().to_owned()),
        ..FrontOptions::default()
    }
}

fn problems(tables: &[vdt_crds::VirtualTable], options: &FrontOptions) -> Vec<String> {
    let problems = Front::load(tables, options).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn principals_read_their_manifests_tables_as_far_as_their_globs_go() {
    let folder = Folder::new();
    folder.write("analysts-key/token", "analysts\n");
    folder.write("analysts-key/accessKeyId", "AKA\n");
    folder.write("analysts-key/secretAccessKey", "s\n");
    folder.write("readers-key/token", "readers");
    folder.write("other-key/token", "others");
    let tables = [
        manifest("manuals", &format!("access: {KEYS}")),
        manifest(
            "prices",
            "access: {mode: Keys, principals: [{name: others, secretRef: {name: other-key}}]}",
        ),
        manifest("open", "access: {mode: Anonymous}"),
    ];
    let front = Front::load(&tables, &options(&folder)).unwrap();
    assert!(matches!(front.access(), Access::Keys(_)) && front.tls().is_none());
    for (token, expected) in [
        (None, [401, 401, 401, 401, 200, 200]),
        (Some("analysts"), [200, 200, 403, 403, 200, 200]),
        (Some("readers"), [403, 200, 403, 403, 200, 200]),
        (Some("others"), [403, 403, 200, 200, 200, 200]),
        (Some("nobody"), [401, 401, 401, 401, 401, 401]),
    ] {
        let names = [
            "manuals",
            "manuals_meta",
            "prices",
            "prices_meta",
            "open",
            "open_meta",
        ];
        for (name, expected) in names.iter().zip(expected) {
            assert_eq!(
                status(&front, name, token).await,
                expected,
                "{name} by {token:?}"
            );
        }
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_field_and_a_remedy() {
    let folder = Folder::new();
    folder.write("half/accessKeyId", "AK");
    folder.write("empty/other", "x");
    folder.write("odd/token", "two words");
    folder.write("slash/accessKeyId", "a/b");
    folder.write("slash/secretAccessKey", "hush");
    folder.write("tls/tls.crt", "nothing");
    folder.write("tls/tls.key", &pair().1);
    let principals = ["half", "empty", "missing", "odd", "../out", "slash"]
        .map(|name| format!("{{name: p{}, secretRef: {{name: {name:?}}}}}", name.len()))
        .join(", ");
    let tables = [
        manifest(
            "one",
            &format!(
                "access: {{mode: Keys, principals: [{principals}]}}\n    tls: {{mode: Secret, secretRef: {{name: tls}}}}"
            ),
        ),
        manifest("two", "cache: {memory: {capacity: 64Mi}}"),
        manifest(
            "three",
            "access: {mode: Keys, principals: [{name: x, secretRef: {name: half}, tables: [\"a[\"]}]}",
        ),
    ];
    let told = problems(&tables, &options(&folder));
    let whole = told.join("\n");
    for expected in [
        "docs/one: spec.server.access.principals[0].secretRef: ",
        "has one of accessKeyId and secretAccessKey and not the other",
        "docs/one: spec.server.access.principals[1].secretRef: ",
        "holds no credentials",
        "docs/one: spec.server.access.principals[2].secretRef: ",
        "write accessKeyId and secretAccessKey for S3 clients, token for the others",
        "docs/one: spec.server.access.principals[3].secretRef: ",
        "write one word without spaces into it",
        "docs/one: spec.server.access.principals[4].secretRef.name: is not the name of a Secret, is \"../out\"",
        "accessKeyId holds a slash",
        "docs/one: spec.server.tls.secretRef.name: ",
        "tls/tls.crt holds no PEM certificate",
        "docs/two: spec.server.access: is not written, and the data listener can be reached from other machines",
        "docs/two: spec.server.tls: differs from that of docs/one",
        "docs/two: spec.server.cache: differs from that of docs/one",
        "docs/three: spec.server.access.principals[0].tables[0]: is not a glob",
    ] {
        assert!(whole.contains(expected), "{expected} in\n{whole}");
    }
    for secret in ["hush", "two words", "PRIVATE"] {
        assert!(!whole.contains(secret), "{whole}");
    }
    let nowhere = problems(&tables[..1], &FrontOptions::default());
    assert!(
        nowhere
            .iter()
            .any(|problem| problem.contains("give --secrets-dir")),
        "{nowhere:?}"
    );
}

#[test]
fn silence_means_everybody_on_loopback_only() {
    let tables = [manifest("quiet", "replicas: 1")];
    for (listen_is_loopback, allow_anonymous, good) in [
        (true, false, true),
        (false, true, true),
        (false, false, false),
    ] {
        let options = FrontOptions {
            listen_is_loopback,
            allow_anonymous,
            ..FrontOptions::default()
        };
        match Front::load(&tables, &options) {
            Ok(front) => {
                assert!(good && matches!(front.access(), Access::Anonymous(_)));
                let own_names = front.edge(Limits::default()).own_names;
                assert_eq!(own_names.are_required(), !allow_anonymous);
            }
            Err(problems) => assert!(!good, "{problems:?}"),
        }
    }
}

#[test]
fn one_key_for_two_principals_is_refused() {
    let folder = Folder::new();
    folder.write("shared/accessKeyId", "AK");
    folder.write("shared/secretAccessKey", "hush");
    let access = |name: &str| {
        format!(
            "access: {{mode: Keys, principals: [{{name: {name}, secretRef: {{name: shared}}}}]}}"
        )
    };
    // One principal of two manifests is one principal.
    let same = [manifest("a", &access("x")), manifest("b", &access("x"))];
    assert!(Front::load(&same, &options(&folder)).is_ok());
    let other = [manifest("a", &access("x")), manifest("b", &access("y"))];
    let told = problems(&other, &options(&folder));
    assert!(
        told[0].contains("AK belongs to x and to y") && !told[0].contains("hush"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_secret_that_kubernetes_swaps_is_taken_and_a_broken_one_is_not() {
    let folder = Folder::new();
    // As the kubelet mounts it: files are links into ..data, which is a link to a folder.
    for (version, token) in [
        ("..one", "first-token"),
        ("..two", "second-token"),
        ("..three", ""),
    ] {
        folder.write(&format!("analysts-key/{version}/token"), token);
    }
    let secret = folder.path().join("analysts-key");
    let swap = |version: &str| {
        symlink(version, secret.join("..new")).unwrap();
        fs::rename(secret.join("..new"), secret.join("..data")).unwrap();
    };
    swap("..one");
    symlink("..data/token", secret.join("token")).unwrap();
    let (certificate, key) = pair();
    folder.write("tls/tls.crt", &certificate);
    folder.write("tls/tls.key", &key);
    let tables = [manifest(
        "manuals",
        "access: {mode: Keys, principals: [{name: analysts, secretRef: {name: analysts-key}}]}\n    tls: {mode: Secret, secretRef: {name: tls}}",
    )];
    let front = Front::load(&tables, &options(&folder)).unwrap();
    let mut registry = Registry::default();
    let metrics = HttpMetrics::register(&mut registry);
    assert_eq!(front.reload(&metrics), UNCHANGED);
    assert_eq!(status(&front, "manuals", Some("first-token")).await, 200);

    swap("..two");
    assert_eq!(front.reload(&metrics), of_keys(Outcome::Taken));
    assert_eq!(front.reload(&metrics), UNCHANGED);
    assert_eq!(status(&front, "manuals", Some("first-token")).await, 401);
    assert_eq!(status(&front, "manuals", Some("second-token")).await, 200);

    // An empty token: the last good one goes on, and that is told once. None at all: nobody is let in any more.
    swap("..three");
    assert_eq!(front.reload(&metrics), of_keys(Outcome::Refused));
    assert_eq!(front.reload(&metrics), UNCHANGED);
    assert_eq!(status(&front, "manuals", Some("second-token")).await, 200);
    fs::remove_file(secret.join("token")).unwrap();
    assert_eq!(front.reload(&metrics), of_keys(Outcome::Refused));
    assert_eq!(status(&front, "manuals", Some("second-token")).await, 401);

    // The certificate without its key, then both.
    let (certificate, key) = pair();
    folder.write("tls/tls.crt", &certificate);
    assert_eq!(front.reload(&metrics), of_certificate(Outcome::Refused));
    folder.write("tls/tls.key", &key);
    assert_eq!(front.reload(&metrics), of_certificate(Outcome::Taken));

    let text = metrics_text(&registry);
    for line in [
        "vdt_http_reloads_total{what=\"Keys\",outcome=\"Taken\"} 1",
        "vdt_http_reloads_total{what=\"Keys\",outcome=\"Refused\"} 2",
        "vdt_http_reloads_total{what=\"Certificate\",outcome=\"Taken\"} 1",
        "vdt_http_reloads_total{what=\"Certificate\",outcome=\"Refused\"} 1",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

#[tokio::test]
async fn a_secret_that_is_of_no_use_is_not_in_the_way_of_others() {
    let folder = Folder::new();
    folder.write("analysts-key/token", "a-one");
    folder.write("readers-key/token", "r-one");
    let tables = [manifest("manuals", &format!("access: {KEYS}"))];
    let front = Front::load(&tables, &options(&folder)).unwrap();
    let mut registry = Registry::default();
    let metrics = HttpMetrics::register(&mut registry);
    let refused = of_keys(Outcome::Refused);
    let expect = async |expected: [(&str, u16); 4]| {
        for (token, expected) in expected {
            let answered = status(&front, "manuals_meta", Some(token)).await;
            assert_eq!(answered, expected, "{token}");
        }
    };
    // Broken: what it had goes on. The other is rotated all the same.
    folder.write("analysts-key/token", "two words");
    folder.write("readers-key/token", "r-two");
    assert_eq!(front.reload(&metrics), refused);
    expect([("a-one", 200), ("r-one", 401), ("r-two", 200), ("", 401)]).await;
    // Gone: that takes its rights away.
    fs::remove_dir_all(folder.path().join("analysts-key")).unwrap();
    folder.write("readers-key/token", "r-three");
    assert_eq!(front.reload(&metrics), refused);
    expect([
        ("a-one", 401),
        ("r-two", 401),
        ("r-three", 200),
        ("two", 401),
    ])
    .await;
    assert!(metrics_text(&registry).contains("vdt_http_principals_without_credentials 1\n"));
    // The token of another: the later of the two is left out, and only it.
    folder.write("analysts-key/token", "r-three");
    assert_eq!(front.reload(&metrics), refused);
    assert_eq!(status(&front, "manuals", Some("r-three")).await, 200);
    folder.write("readers-key/token", "r-four");
    let taken = of_keys(Outcome::Taken);
    assert_eq!(front.reload(&metrics), taken);
    expect([
        ("a-one", 401),
        ("r-three", 200),
        ("r-four", 200),
        ("r-two", 401),
    ])
    .await;
    assert!(metrics_text(&registry).contains("vdt_http_principals_without_credentials 0\n"));
}

#[tokio::test]
async fn in_a_pod_secrets_may_come_later() {
    let folder = Folder::new();
    folder.write("readers-key/token", "readers");
    let tables = [manifest(
        "manuals",
        &format!(
            "access: {KEYS}\n    tls: {{mode: CertManager, issuerRef: {{name: ca, kind: Issuer}}}}"
        ),
    )];
    let strict = options(&folder);
    let told = problems(&tables, &strict).join("\n");
    assert!(
        told.contains("analysts-key holds no credentials") && told.contains("tls.crt"),
        "{told}"
    );
    let pod = FrontOptions {
        secrets_may_come: true,
        ..strict
    };
    let front = Front::load(&tables, &pod).unwrap();
    let mut registry = Registry::default();
    let metrics = HttpMetrics::register(&mut registry);
    let refused = |what: &str| {
        let series = format!("vdt_http_reload_refused{{what=\"{what}\"}} 1\n");
        metrics_text(&registry).contains(&series)
    };
    assert_eq!(front.reload(&metrics), UNCHANGED);
    assert!(refused("Keys") && refused("Certificate"), "from the start");
    assert_eq!(
        status(&front, "manuals_meta", Some("readers")).await,
        200,
        "who has a secret is served"
    );
    assert_eq!(status(&front, "manuals", Some("analysts")).await, 401);
    assert!(front.tls().is_none());
    let mut secured = std::pin::pin!(front.secured());
    assert!(futures::poll!(secured.as_mut()).is_pending());

    folder.write("analysts-key/token", "analysts");
    let (certificate, key) = pair();
    folder.write("manuals-tls/tls.key", &key);
    folder.write("manuals-tls/tls.crt", &certificate);
    let both = Reload {
        keys: Outcome::Taken,
        certificate: Outcome::Taken,
    };
    assert_eq!(front.reload(&metrics), both);
    assert_eq!(status(&front, "manuals", Some("analysts")).await, 200);
    assert!(secured.await.is_some() && front.tls().is_some());
    assert!(!refused("Keys") && !refused("Certificate"));

    // What no manifest asks for any more is refused no more.
    folder.write("analysts-key/token", "two words");
    assert_eq!(front.reload(&metrics), of_keys(Outcome::Refused));
    assert!(refused("Keys"));
    let mut fewer = tables;
    let server = fewer[0].spec.server.as_mut().unwrap();
    let principals = &mut server.access.as_mut().unwrap().principals;
    principals.remove(0);
    front.redeclare(&fewer).unwrap();
    assert_eq!(front.reload(&metrics), UNCHANGED);
    assert!(!refused("Keys"));

    // What is wrong with a manifest does not come right by waiting.
    let wrong = [manifest("quiet", "replicas: 1")];
    assert!(Front::load(&wrong, &pod).is_err());
}

#[tokio::test]
async fn a_watch_takes_changes_until_it_is_cancelled() {
    let folder = Folder::new();
    folder.write("analysts-key/token", "first-token");
    let tables = [manifest(
        "manuals",
        "access: {mode: Keys, principals: [{name: analysts, secretRef: {name: analysts-key}}]}",
    )];
    let front = Arc::new(Front::load(&tables, &options(&folder)).unwrap());
    let cancel = CancellationToken::new();
    let watch = tokio::spawn(Arc::clone(&front).watch(HttpMetrics::default(), cancel.clone()));
    folder.write("analysts-key/token", "second-token!");
    while status(&front, "manuals", Some("second-token!")).await != 200 {
        tokio::task::yield_now().await;
    }
    cancel.cancel();
    watch.await.unwrap();
}

/// A file system that hangs, as far as a reader can tell.
#[tokio::test]
async fn a_look_that_hangs_does_not_hold_up_the_end_of_the_watch() {
    let folder = Folder::new();
    folder.write("analysts-key/token", "token");
    let tables = [manifest(
        "manuals",
        "access: {mode: Keys, principals: [{name: analysts, secretRef: {name: analysts-key}}]}",
    )];
    let front = Arc::new(Front::load(&tables, &options(&folder)).unwrap());
    let token = folder.path().join("analysts-key/token");
    fs::remove_file(&token).unwrap();
    mkfifoat(CWD, &token, Mode::RUSR | Mode::WUSR).unwrap();
    let cancel = CancellationToken::new();
    let watch = tokio::spawn(Arc::clone(&front).watch(HttpMetrics::default(), cancel.clone()));
    // Opens as soon as somebody reads, who then waits for what is never written.
    let opening = tokio::task::spawn_blocking(move || fs::File::create(token).unwrap());
    let writer = opening.await.unwrap();
    cancel.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(20), watch).await;
    ended.unwrap().unwrap();
    drop(writer);
}

#[test]
fn a_certificate_of_cert_manager_lies_in_the_secret_named_after_the_resource() {
    let folder = Folder::new();
    let (certificate, key) = pair();
    folder.write("manuals-tls/tls.crt", &certificate);
    folder.write("manuals-tls/tls.key", &key);
    let tables = [manifest(
        "manuals",
        "access: {mode: Anonymous}\n    tls: {mode: CertManager, issuerRef: {name: ca, kind: Issuer}}",
    )];
    let front = Front::load(&tables, &options(&folder)).unwrap();
    assert!(front.tls().is_some_and(|tls| tls.not_after().is_some()));
}

#[tokio::test]
async fn other_manifests_are_taken_whole_or_not_at_all() {
    let folder = Folder::new();
    folder.write("analysts-key/token", "analysts");
    folder.write("other-key/token", "others");
    let keys = |principals: &str| format!("access: {{mode: Keys, principals: [{principals}]}}");
    let analysts = "{name: analysts, secretRef: {name: analysts-key}}";
    let front = Front::load(&[manifest("manuals", &keys(analysts))], &options(&folder)).unwrap();
    let now = async |table: &str, token: &str| status(&front, table, Some(token)).await;

    // A principal and a table more; rights of the first one less.
    let others = "{name: others, secretRef: {name: other-key}}";
    let narrow = analysts.replace("}}", "}, tables: [\"*_meta\"]}");
    let tables = [
        manifest("manuals", &keys(&format!("{narrow}, {others}"))),
        manifest("prices", &keys(others)),
    ];
    front.redeclare(&tables).unwrap();
    assert_eq!(
        (
            now("manuals", "analysts").await,
            now("manuals_meta", "analysts").await
        ),
        (403, 200)
    );
    assert_eq!(
        (
            now("manuals", "others").await,
            now("prices", "others").await
        ),
        (200, 200)
    );
    // Their files are the ones that are looked at from now on.
    folder.write("other-key/token", "changed");
    let metrics = HttpMetrics::register(&mut Registry::default());
    assert_eq!(front.reload(&metrics).keys, Outcome::Taken);
    assert_eq!(now("prices", "changed").await, 200);

    for (manuals, restart, expected) in [
        (
            keys(&format!(
                "{analysts}, {{name: x, secretRef: {{name: missing}}}}"
            )),
            false,
            "holds no credentials",
        ),
        (
            format!(
                "{}\n    tls: {{mode: Secret, secretRef: {{name: tls}}}}",
                keys(analysts)
            ),
            true,
            "spec.server.tls",
        ),
    ] {
        // What the process serves is said once.
        let rest = manuals.split_once('\n').map_or("", |(_, rest)| rest);
        let prices = manifest("prices", &format!("{}\n{rest}", keys(others)));
        let problems = front
            .redeclare(&[manifest("manuals", &manuals), prices])
            .unwrap_err();
        assert!(problems[0].to_string().contains(expected), "{problems:?}");
        assert_eq!(
            problems.iter().all(|problem| problem.needs_restart),
            restart
        );
        assert_eq!(
            (
                now("prices", "changed").await,
                now("manuals_meta", "analysts").await,
                now("manuals", "analysts").await
            ),
            (200, 200, 403),
            "the last good ones stand, and nothing is given"
        );
        assert_eq!(now("manuals", "changed").await, 403, "nor left");
    }
    let problems = front
        .redeclare(&[
            manifest("manuals", "access: {mode: Anonymous}"),
            manifest("prices", "access: {mode: Anonymous}"),
        ])
        .unwrap_err();
    assert!(problems[0].needs_restart, "{problems:?}");
    assert!(problems[0].to_string().contains("spec.server.access.mode"));
    assert_eq!(
        (
            now("prices", "changed").await,
            now("manuals", "analysts").await,
            status(&front, "prices", None).await
        ),
        (200, 403, 401),
        "who may read for whom it will be public goes on to"
    );
    // What was taken away comes back with manifests that are taken, and a table that is declared no longer is nobody's.
    front.redeclare(&tables).unwrap();
    assert_eq!(now("manuals", "changed").await, 200);
    front.redeclare(&tables[..1]).unwrap();
    assert_eq!(now("prices", "changed").await, 403);
}

#[tokio::test]
async fn a_clash_of_credentials_costs_one_entry_and_not_all_of_its_name() {
    let folder = Folder::new();
    folder.write("one-key/token", "one");
    folder.write("two-key/token", "two");
    folder.write("others-key/token", "others");
    let readers = |secret: &str| {
        format!(
            "access: {{mode: Keys, principals: [{{name: readers, secretRef: {{name: {secret}}}}}]}}"
        )
    };
    let tables = [
        manifest("one", &readers("one-key")),
        manifest("other", &readers("others-key").replace("readers", "others")),
        manifest("two", &readers("two-key")),
    ];
    let front = Front::load(&tables, &options(&folder)).unwrap();
    // Rotated to what another principal has already.
    folder.write("two-key/token", "others");
    let metrics = HttpMetrics::register(&mut Registry::default());
    assert_eq!(front.reload(&metrics).keys, Outcome::Refused);
    for (table, token, expected) in [
        ("one", "one", 200),
        ("other", "others", 200),
        ("two", "two", 401),
        ("two", "others", 403),
    ] {
        let answered = status(&front, table, Some(token)).await;
        assert_eq!(answered, expected, "{table} by {token}");
    }
}
