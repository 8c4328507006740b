//! What becomes of rights and of what is told, as manifests change.

use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::Empty;
use object_store::{ObjectStoreExt, memory::InMemory, path::Path};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
    sync::watch,
};
use vdt_dialect::{DataSurface, Limits};

use super::*;
use crate::{
    front::FrontOptions,
    link::{Forward, LinkState, Socket},
};

const BOTH: &str = "access: {mode: Keys, principals: [{name: alice, secretRef: {name: alice}}, {name: bob, secretRef: {name: bob}}]}";
const ALICE: &str = "access: {mode: Keys, principals: [{name: alice, secretRef: {name: alice}}]}";
const OPEN: &str = "access: {mode: Anonymous}";

/// A manifest with these lines below `server`.
fn manifest(name: &str, server: &str) -> String {
    format!(
        "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {{name: {name}}}\nspec:\n  sources:\n  - {{name: f, type: File, file: {{path: .}}}}\n  server:\n    {server}\n"
    )
}

/// The same access, of nothing that is published.
fn narrowed(access: &str) -> String {
    access.replace("}}", "}, tables: [none]}")
}

/// A front door and who follows its manifests. Alice and Bob have tokens of their names.
struct Pod {
    folder: tempfile::TempDir,
    follower: Arc<Follower>,
    served: Served,
}

/// What the server says of whose its tables are.
#[derive(Clone)]
enum Told {
    Owners(BTreeMap<String, String>),
    /// It does not know the question.
    Older,
    Nothing,
}

type Served = Arc<Mutex<Told>>;

/// Says whose the tables are.
async fn serve(listener: UnixListener, served: Served) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let served = Arc::clone(&served);
        tokio::spawn(async move {
            let mut request = [0; 1024];
            while stream.read(&mut request).await.is_ok_and(|bytes| bytes > 0) {
                let told = served.lock().clone();
                let (status, body) = match told {
                    Told::Owners(told) => ("200 OK", serde_json::to_string(&told).expect("texts")),
                    Told::Older => ("404 Not Found", String::new()),
                    Told::Nothing => ("503 Service Unavailable", String::new()),
                };
                let length = body.len();
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

impl Pod {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let secrets = folder.path().join("secrets");
        for name in ["alice", "bob"] {
            std::fs::create_dir_all(secrets.join(name)).expect("a folder");
            std::fs::write(secrets.join(name).join("token"), name).expect("a file");
        }
        for (file, text) in files {
            std::fs::write(folder.path().join(file), text).expect("a file");
        }
        let config = vec![folder.path().to_owned()];
        let found = config::find(&config);
        let tables = found.whole().expect("manifests");
        let options = FrontOptions {
            secrets_may_come: true,
            secrets_dir: Some(secrets),
            ..FrontOptions::default()
        };
        let front = Arc::new(Front::load(&tables, &options).expect("a front"));
        let path = folder.path().join("origin.sock");
        let served = Served::new(Mutex::new(Told::Older));
        let listener = UnixListener::bind(&path).expect("a socket");
        tokio::spawn(serve(listener, Arc::clone(&served)));
        let socket = Socket::new(path);
        let (_link, seen) = watch::channel(LinkState::default());
        let forward = Forward::new(&socket);
        let notices = Notices::new();
        let follower = Follower {
            config,
            known: Mutex::new(found),
            in_use: Mutex::new(tables.clone()),
            cache: declared_cache(&tables),
            owners: Owners::new(socket, notices.clone()),
            front,
            admin: Arc::new(AdminState::new(seen, forward, &tables, Registry::default())),
            gate: Gate::local(),
            notices,
            http: HttpMetrics::default(),
        };
        Self {
            folder,
            follower: Arc::new(follower),
            served,
        }
    }

    /// The server serves these tables, each with its owner, from now on.
    fn serves(&self, tables: &[(&str, &str)]) {
        let tables = tables.iter();
        let told =
            tables.map(|(table, owner)| (format!("main/default/{table}"), (*owner).to_owned()));
        *self.served.lock() = Told::Owners(told.collect());
    }

    fn follower(&mut self) -> &mut Follower {
        Arc::get_mut(&mut self.follower).expect("nobody else has it")
    }

    async fn write(&self, file: &str, text: &str) -> Taken {
        std::fs::write(self.folder.path().join(file), text).expect("a file");
        self.follower.take().await
    }

    /// The status of reading a table: for nobody by S3, for principals by HTTP.
    async fn status(&self, table: &str, token: Option<&str>) -> u16 {
        let store = InMemory::new();
        let path = format!("main/default/{table}/a.bin");
        store
            .put(&Path::from(path.as_str()), "content".into())
            .await
            .expect("memory does not fail");
        let edge = self.follower.front.edge(Limits::default());
        let surface = DataSurface::new(Arc::new(store), HttpMetrics::default(), edge);
        let request = match token {
            None => http::Request::get(format!("/{path}")),
            Some(token) => http::Request::get(format!("/v1/{path}"))
                .header("authorization", format!("Bearer {token}")),
        };
        let request = request.body(Empty::<Bytes>::new()).expect("a request");
        surface.handle(request).await.status().as_u16()
    }

    /// Whether it is told that the manifests are not in use.
    fn is_refused(&self) -> bool {
        let told = self.follower.admin.ready().reasons;
        told.iter()
            .any(|told| [reason::INVALID_SPEC, RESTART_NEEDED].contains(&&*told.reason))
    }

    /// Whether it is told that rights wait.
    fn rights_wait(&self) -> bool {
        let told = self.follower.admin.ready().reasons;
        told.iter().any(|told| told.reason == "RightsWait")
    }

    async fn principals(&self, table: &str) -> [u16; 2] {
        [
            self.status(table, Some("alice")).await,
            self.status(table, Some("bob")).await,
        ]
    }
}

#[tokio::test]
async fn what_asks_for_keys_now_is_taken_back_though_the_cache_waits_for_a_restart() {
    let pod = Pod::new(&[("papers.yaml", &manifest("papers", OPEN))]);
    assert_eq!(pod.status("papers", None).await, 200);
    let keys = format!("{BOTH}\n    cache: {{memory: {{capacity: 64Mi}}}}");
    let taken = pod.write("papers.yaml", &manifest("papers", &keys)).await;
    assert_eq!(taken, Taken::Whole);
    assert_eq!(pod.status("papers", None).await, 404);
}

#[tokio::test]
async fn what_waits_for_a_restart_is_counted_as_such_and_not_as_refused() {
    let mut registry = Registry::default();
    let mut pod = Pod::new(&[("papers.yaml", &manifest("papers", OPEN))]);
    pod.follower().http = HttpMetrics::register(&mut registry);
    let counted = |outcome: &str| {
        let mut text = String::new();
        encode(&mut text, &registry).expect("a String takes everything");
        let series = format!("vdt_http_reloads_total{{what=\"Manifests\",outcome=\"{outcome}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        value.expect("a series").to_owned()
    };
    let cache = format!("{OPEN}\n    cache: {{memory: {{capacity: 64Mi}}}}");
    pod.write("papers.yaml", &manifest("papers", &cache)).await;
    assert_eq!([counted("RestartNeeded"), counted("Refused")], ["1", "0"]);
    pod.write("papers.yaml", "{").await;
    assert_eq!([counted("RestartNeeded"), counted("Refused")], ["1", "1"]);
}

#[tokio::test]
async fn what_only_the_operator_acts_upon_waits_for_no_restart() {
    let of = |access: &str, grace: u32, issuer: &str| {
        let volume = format!("{{type: PersistentVolumeClaim, nodeLossGraceSeconds: {grace}}}");
        let tls = format!("{{mode: CertManager, issuerRef: {{name: {issuer}, kind: Issuer}}}}");
        let server = format!("{access}\n    cache: {{disk: {{volume: {volume}}}}}\n    tls: {tls}");
        manifest("papers", &server)
    };
    let pod = Pod::new(&[("papers.yaml", &of(ALICE, 300, "one"))]);
    assert_eq!(pod.principals("papers").await, [200, 401]);
    for (access, grace, issuer, may_read) in [
        (BOTH, 5, "one", [200, 200]),
        (ALICE, 5, "other", [200, 401]),
        (BOTH, 0, "one", [200, 200]),
    ] {
        let taken = pod.write("papers.yaml", &of(access, grace, issuer)).await;
        assert_eq!(taken, Taken::Whole);
        assert!(!pod.is_refused(), "{grace} {issuer}");
        assert_eq!(pod.principals("papers").await, may_read);
    }
    // All else of both sections does.
    let other = of(BOTH, 0, "one").replace("mode: CertManager", "mode: Disabled");
    let other = other.replace("issuerRef: {name: one, kind: Issuer}", "");
    pod.write("papers.yaml", &other).await;
    assert!(pod.is_refused());
}

#[tokio::test]
async fn tokens_are_for_the_tables_that_are_declared_now() {
    const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
    let mut pod = Pod::new(&[("papers.yaml", &manifest("papers", OPEN))]);
    let keys = [pod.folder.path().join("admin.pem")];
    std::fs::write(&keys[0], KEY).expect("a file");
    let tables = pod.follower.known.lock().tables();
    let gate = crate::admin::gate(&keys, tables.iter());
    pod.follower().gate = gate.await.expect("a gate");
    let are_for = |pod: &Pod, table: &str| format!("{:?}", pod.follower.gate).contains(table);
    assert!(are_for(&pod, "default/papers") && !are_for(&pod, "default/manuals"));
    pod.write("manuals.yaml", &manifest("manuals", OPEN)).await;
    assert!(are_for(&pod, "default/papers") && are_for(&pod, "default/manuals"));
    std::fs::remove_file(pod.folder.path().join("papers.yaml")).expect("a file");
    pod.write("manuals.yaml", &manifest("manuals", OPEN)).await;
    assert!(!are_for(&pod, "default/papers") && are_for(&pod, "default/manuals"));
}

#[tokio::test]
async fn who_is_revoked_is_out_at_once_whatever_else_the_manifest_waits_for() {
    let narrowed = BOTH.replace("name: bob}}", "name: bob}, tables: [none]}");
    for rest in [
        "cache: {memory: {capacity: 64Mi}}",
        "tls: {mode: Secret, secretRef: {name: tls}}",
        // Breaks a rule.
        "replicas: 257",
    ] {
        for (access, bob) in [(ALICE, 401), (&narrowed, 403)] {
            let pod = Pod::new(&[("papers.yaml", &manifest("papers", BOTH))]);
            assert_eq!(pod.principals("papers").await, [200, 200]);
            let text = manifest("papers", &format!("{access}\n    {rest}"));
            assert_eq!(
                pod.write("papers.yaml", &text).await,
                Taken::Whole,
                "{rest}"
            );
            assert!(pod.is_refused());
            assert_eq!(
                pod.principals("papers").await,
                [200, bob],
                "{access} {rest}"
            );
            // What was taken comes back with manifests that are taken.
            pod.write("papers.yaml", &manifest("papers", BOTH)).await;
            assert_eq!(pod.principals("papers").await, [200, 200]);
        }
    }
}

#[tokio::test]
async fn a_table_of_a_file_that_cannot_be_read_stays_and_the_others_are_narrowed() {
    let pod = Pod::new(&[
        ("one.yaml", &manifest("one", BOTH)),
        ("two.yaml", &manifest("two", BOTH)),
        ("three.yaml", &manifest("three", OPEN)),
    ]);
    std::fs::write(pod.folder.path().join("one.yaml"), "{").expect("a file");
    std::fs::remove_file(pod.folder.path().join("three.yaml")).expect("a file");
    assert_eq!(
        pod.write("two.yaml", &manifest("two", ALICE)).await,
        Taken::Whole
    );
    for _ in 0..2 {
        assert_eq!(pod.principals("one").await, [200, 200]);
        assert_eq!(pod.principals("two").await, [200, 403]);
        assert_eq!(pod.status("three", Some("alice")).await, 403);
        // It is still not to be read.
        pod.write("one.yaml", "{{").await;
    }
    pod.write("one.yaml", &manifest("one", ALICE)).await;
    assert_eq!(pod.principals("one").await, [200, 401]);
}

#[tokio::test]
async fn a_file_that_the_system_does_not_let_be_read_is_tried_again() {
    let mut pod = Pod::new(&[("papers.yaml", &manifest("papers", BOTH))]);
    let file = pod.folder.path().join("papers.yaml");
    pod.follower().config = vec![file.clone()];
    std::fs::remove_file(&file).expect("a file");
    assert_eq!(pod.follower.take().await, Taken::TryAgain);
    assert_eq!(pod.principals("papers").await, [200, 200]);
    // What is wrong with its text is so until it changes.
    assert_eq!(pod.write("papers.yaml", "{").await, Taken::Whole);
    assert_eq!(
        pod.write("papers.yaml", &manifest("papers", ALICE)).await,
        Taken::Whole
    );
    assert_eq!(pod.principals("papers").await, [200, 401]);
}

#[tokio::test]
async fn a_table_that_is_declared_twice_or_is_not_built_is_refused_and_never_public() {
    let twin = manifest("twin", OPEN).replace("spec:", "spec:\n  table: {name: papers}");
    let found = {
        let folder = tempfile::tempdir().expect("a folder");
        for (file, text) in [("a.yaml", &manifest("papers", ALICE)), ("z.yaml", &twin)] {
            std::fs::write(folder.path().join(file), text).expect("a file");
        }
        config::find(&[folder.path().to_owned()])
    };
    let told = found.whole().expect_err("declared twice").to_string();
    assert!(
        told.contains("z.yaml: table main.default.papers is declared by ")
            && told.contains("a.yaml too"),
        "{told}"
    );
    // Nor while the process runs, where another table is public.
    let pod = Pod::new(&[
        ("a.yaml", &manifest("papers", ALICE)),
        ("o.yaml", &manifest("open", OPEN)),
    ]);
    assert_eq!(pod.write("z.yaml", &twin).await, Taken::Whole);
    assert_eq!(pod.principals("papers").await, [200, 401]);
    assert_eq!(pod.status("papers", None).await, 403);
    assert!(pod.is_refused());
    // The other way round: what was public is not when one of two asks for keys.
    let twin = twin
        .replace(OPEN, ALICE)
        .replace("name: papers", "name: open");
    pod.write("z.yaml", &twin).await;
    assert_eq!(pod.status("open", None).await, 403);
    // What this version does not build is refused too, and who read goes on.
    let sums = manifest("papers", ALICE).replace("spec:", "spec:\n  checksum: SHA256");
    std::fs::remove_file(pod.folder.path().join("z.yaml")).expect("a file");
    pod.write("a.yaml", &sums).await;
    let told = config::find(&pod.follower.config).whole();
    let told = told.expect_err("not built").to_string();
    assert!(told.contains("a.yaml: spec.checksum"), "{told}");
    assert!(pod.is_refused());
    assert_eq!(pod.principals("papers").await, [200, 401]);
}

#[tokio::test]
async fn rights_of_a_new_owner_wait_until_the_server_serves_the_table_as_its_own() {
    let pod = Pod::new(&[("papers.yaml", &manifest("papers", ALICE))]);
    pod.serves(&[("papers", "default/papers")]);
    assert_eq!(pod.follower.take().await, Taken::Whole);
    assert_eq!(pod.principals("papers").await, [200, 401]);
    // Another resource declares the table, for both, and the server has not looked yet.
    let other = manifest("other", BOTH).replace("spec:", "spec:\n  table: {name: papers}");
    assert_eq!(pod.write("papers.yaml", &other).await, Taken::TryAgain);
    let others: [&[(&str, &str)]; 3] = [
        &[("papers", "default/papers")],
        &[("papers", "")],
        // It has let go of the one's, and does not serve the other's yet.
        &[],
    ];
    for served in others {
        pod.serves(served);
        assert_eq!(pod.follower.take().await, Taken::TryAgain, "{served:?}");
        assert_eq!(pod.principals("papers").await, [403, 403], "{served:?}");
        assert_eq!(pod.principals("papers_meta").await, [403, 403]);
    }
    // It says nothing at all.
    *pod.served.lock() = Told::Nothing;
    assert_eq!(pod.follower.take().await, Taken::TryAgain);
    assert_eq!(pod.principals("papers").await, [403, 403]);
    assert!(!pod.is_refused());
    assert!(pod.rights_wait());

    pod.serves(&[("papers", "default/other")]);
    assert_eq!(pod.follower.take().await, Taken::Whole);
    assert_eq!(pod.principals("papers").await, [200, 200]);
    // Who has them keeps them, whatever becomes of the server.
    *pod.served.lock() = Told::Nothing;
    assert_eq!(pod.follower.take().await, Taken::Whole);
    assert_eq!(pod.principals("papers").await, [200, 200]);
}

#[tokio::test]
async fn the_first_rights_wait_for_a_server_that_says_nothing_and_for_one_that_serves_anothers() {
    let pod = Pod::new(&[("papers.yaml", &manifest("papers", OPEN))]);
    let tables = pod.follower.known.lock().tables();
    *pod.served.lock() = Told::Nothing;
    let begun = pod.follower.begin(&tables);
    let begun = tokio::time::timeout(2 * ASK_AGAIN, begun);
    assert!(
        begun.await.is_err(),
        "nothing is served before it is known whose"
    );
    pod.serves(&[("papers", "default/former")]);
    assert!(!pod.follower.begin(&tables).await);
    assert_eq!(pod.status("papers", None).await, 404);
    pod.serves(&[("papers", "default/papers")]);
    assert_eq!(pod.follower.take().await, Taken::Whole);
    assert_eq!(pod.status("papers", None).await, 200);
    // A table that is new to both.
    let manuals = manifest("manuals", OPEN);
    assert_eq!(pod.write("manuals.yaml", &manuals).await, Taken::TryAgain);
    assert_eq!(pod.status("papers", None).await, 200);
    pod.serves(&[("papers", "default/papers"), ("manuals", "default/manuals")]);
    assert_eq!(pod.follower.take().await, Taken::Whole);
    assert_eq!(pod.status("manuals", None).await, 200);
}

#[tokio::test]
async fn who_comes_back_while_a_file_is_broken_is_asked_for_again() {
    let pod = Pod::new(&[
        ("papers.yaml", &manifest("papers", ALICE)),
        ("rest.yaml", &manifest("rest", ALICE)),
    ]);
    let other = manifest("other", BOTH).replace("spec:", "spec:\n  table: {name: papers}");
    pod.serves(&[("papers", "default/other"), ("rest", "default/rest")]);
    assert_eq!(pod.write("papers.yaml", &other).await, Taken::Whole);
    assert_eq!(pod.principals("papers").await, [200, 200]);
    // The server serves the former one's again, and a file is broken meanwhile.
    pod.serves(&[("papers", "default/papers"), ("rest", "default/rest")]);
    std::fs::write(pod.folder.path().join("rest.yaml"), "{").expect("a file");
    pod.write("papers.yaml", &manifest("papers", ALICE)).await;
    std::fs::write(pod.folder.path().join("rest.yaml"), manifest("rest", ALICE)).expect("a file");
    assert_eq!(pod.write("papers.yaml", &other).await, Taken::TryAgain);
    assert_eq!(pod.principals("papers").await, [403, 403]);
}

#[tokio::test]
async fn rights_that_wait_are_given_though_another_manifest_is_broken() {
    for (last, now, may_read) in [
        (ALICE, ALICE, [200, 401]),
        // As far as both give it: what is added waits, what is withdrawn ends.
        (ALICE, BOTH, [200, 401]),
        (BOTH, ALICE, [200, 401]),
        (BOTH, BOTH, [200, 200]),
    ] {
        let pod = Pod::new(&[
            ("papers.yaml", &manifest("papers", last)),
            ("rest.yaml", &manifest("rest", ALICE)),
        ]);
        let tables = pod.follower.known.lock().tables();
        pod.serves(&[("papers", "default/former"), ("rest", "default/rest")]);
        assert!(!pod.follower.begin(&tables).await);
        assert_eq!(pod.status("papers", Some("alice")).await, 403);
        pod.write("rest.yaml", "{").await;
        pod.write("new.yaml", &manifest("new", ALICE)).await;
        let taken = pod.write("papers.yaml", &manifest("papers", now)).await;
        assert_eq!(taken, Taken::TryAgain, "the server is asked again");
        assert_eq!(pod.status("papers", Some("alice")).await, 403);
        assert!(pod.rights_wait() && pod.is_refused());

        let own = ["papers", "rest", "new"].map(|table| (table, format!("default/{table}")));
        pod.serves(&own.each_ref().map(|(table, owner)| (*table, &**owner)));
        assert_eq!(pod.follower.take().await, Taken::Whole);
        assert_eq!(pod.principals("papers").await, may_read);
        assert_eq!(pod.status("rest", Some("alice")).await, 200);
        assert_eq!(
            pod.status("new", Some("alice")).await,
            403,
            "it is not taken"
        );
        assert!(!pod.rights_wait() && pod.is_refused());
        // What is withdrawn meanwhile comes back with the mend alone.
        pod.write("papers.yaml", &manifest("papers", &narrowed(last)))
            .await;
        pod.write("papers.yaml", &manifest("papers", last)).await;
        assert_eq!(pod.status("papers", Some("alice")).await, 403);
    }
}

#[tokio::test]
async fn rights_that_wait_are_given_though_the_manifests_wait_for_a_restart() {
    let pod = Pod::new(&[("papers.yaml", &manifest("papers", OPEN))]);
    let tables = pod.follower.known.lock().tables();
    pod.serves(&[("papers", "default/former")]);
    assert!(!pod.follower.begin(&tables).await);
    let cache = format!("{OPEN}\n    cache: {{memory: {{capacity: 64Mi}}}}");
    let taken = pod.write("papers.yaml", &manifest("papers", &cache)).await;
    assert_eq!(taken, Taken::TryAgain);
    assert_eq!(pod.status("papers", None).await, 404);
    pod.serves(&[("papers", "default/papers")]);
    assert_eq!(pod.follower.take().await, Taken::Whole);
    assert_eq!(pod.status("papers", None).await, 200);
    assert!(!pod.rights_wait() && pod.is_refused());
}

#[tokio::test]
async fn rights_that_wait_are_not_given_to_another_owner_while_a_manifest_is_broken() {
    let pod = Pod::new(&[
        ("papers.yaml", &manifest("papers", ALICE)),
        ("rest.yaml", &manifest("rest", ALICE)),
    ]);
    let tables = pod.follower.known.lock().tables();
    pod.serves(&[("papers", "default/other"), ("rest", "default/rest")]);
    assert!(!pod.follower.begin(&tables).await);
    pod.write("rest.yaml", "{").await;
    let other = manifest("other", BOTH).replace("spec:", "spec:\n  table: {name: papers}");
    assert_eq!(pod.write("papers.yaml", &other).await, Taken::Whole);
    assert_eq!(pod.principals("papers").await, [403, 401]);
    std::fs::write(pod.folder.path().join("rest.yaml"), manifest("rest", ALICE)).expect("a file");
    assert_eq!(pod.follower.take().await, Taken::Whole);
    assert_eq!(pod.principals("papers").await, [200, 200]);
}

#[tokio::test]
async fn rights_that_wait_are_tried_again_while_a_secret_is_in_the_way_of_them() {
    let mut pod = Pod::new(&[("papers.yaml", &manifest("papers", ALICE))]);
    let tables = pod.follower.known.lock().tables();
    let secrets = pod.folder.path().join("secrets");
    let options = FrontOptions {
        secrets_dir: Some(secrets.clone()),
        ..FrontOptions::default()
    };
    let front = Front::load(&tables, &options).expect("a front");
    pod.follower().front = Arc::new(front);
    pod.serves(&[("papers", "default/former")]);
    assert!(!pod.follower.begin(&tables).await);
    let cache = format!("{ALICE}\n    cache: {{memory: {{capacity: 64Mi}}}}");
    let token = secrets.join("alice/token");
    std::fs::remove_file(&token).expect("a file");
    pod.serves(&[("papers", "default/papers")]);
    let taken = pod.write("papers.yaml", &manifest("papers", &cache)).await;
    assert_eq!(taken, Taken::TryAgain);
    std::fs::write(&token, "alice").expect("a file");
    assert_eq!(pod.follower.take().await, Taken::Whole);
    assert_eq!(pod.status("papers", Some("alice")).await, 200);
}
