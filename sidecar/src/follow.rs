//! The manifests of a front door that runs: read again when they change, and followed as far as a running process can.
//!
//! | followed at once | not before the process is started again |
//! |---|---|
//! | tables that come and go, whom tokens are for, principals and what they may read, whether there are other pods | cache, TLS, whether there are keys at all |
//!
//! Manifests are followed all or none. Those that are not are told under `/api/v1/tables` and `/readyz`, in the log and by a metric, and the last
//! good ones stand, but for rights that the new ones do not give, which are taken away at once: a file that cannot be read counts there as it was read
//! last. What waits for something else than a change, such as a secret that is not there yet or a file that the system did not let be read, is tried
//! again every second.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::task::spawn_blocking;
use tracing::{error, info};
use vdt_crds::{
    Cache, VirtualTable,
    api::{RESTART_NEEDED, RefusedManifest},
    status::reason,
};
use vdt_dialect::{HttpMetrics, admin::Gate};

use crate::{
    admin::{AdminState, audiences},
    config::{self, Found},
    files::{Follow, Taken},
    front::{Front, Problem},
    log::Notices,
    stack::declared_cache,
};

/// Follows manifests.
pub(crate) struct Follower {
    /// Files, and folders of them.
    pub(crate) config: Vec<PathBuf>,
    /// Each file as it was read last.
    pub(crate) known: Mutex<Found>,
    /// As declared at the start.
    pub(crate) cache: Cache,
    /// Takes principals.
    pub(crate) front: Arc<Front>,
    /// Takes tables, and tells what is not followed.
    pub(crate) admin: Arc<AdminState>,
    /// Takes whom tokens of the admin listener are for.
    pub(crate) gate: Gate,
    /// Takes whether there are other pods.
    pub(crate) notices: Notices,
    /// Counts.
    pub(crate) http: Option<HttpMetrics>,
}

impl Follower {
    /// Reads the manifests and follows them, or tells why not. Blocks for a few small files.
    fn take(&self) -> Taken {
        let found = config::find(&self.config);
        let (whole, may_pass) = (found.whole(), found.may_pass());
        let known = self.remember(found);
        let tables = match whole {
            Ok(tables) => tables,
            Err(bad) => {
                self.front.narrow(&known);
                self.refuse(None, reason::INVALID_SPEC, bad.to_string());
                return match may_pass {
                    true => Taken::TryAgain,
                    // It is read again when it changes.
                    false => Taken::Whole,
                };
            }
        };
        if let Err(problems) = self.follow(&tables) {
            let needs_restart = problems.iter().all(|problem| problem.needs_restart);
            let reason = match needs_restart {
                true => RESTART_NEEDED,
                false => reason::INVALID_SPEC,
            };
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let newest = tables
                .iter()
                .filter_map(|table| table.metadata.generation)
                .max();
            self.refuse(newest, reason, lines.join("\n"));
            return match needs_restart {
                true => Taken::Whole,
                false => Taken::TryAgain,
            };
        }
        self.admin.redeclared(&tables);
        self.gate.redeclare(&audiences(&tables));
        self.notices.set_peers(has_peers(&tables));
        self.count(|http| http.manifests_reloaded(true));
        info!(tables = tables.len(), "changed manifests are in use");
        Taken::Whole
    }

    /// Remembers what was found, and returns the tables of every file as it was read last. What was kept of tables that are another resource's now is
    /// not served any more: the next thing is that others have rights to it.
    fn remember(&self, found: Found) -> Vec<VirtualTable> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.tables();
        *known = found.or_as(&known);
        let tables = known.tables();
        for table in &tables {
            let (path, owner) = (table.table_path(), table.owner());
            let is_it = |was: &VirtualTable| was.table_path() == path && was.owner() == owner;
            if !before.iter().any(is_it) {
                self.notices.changed_hands(&path);
            }
        }
        tables
    }

    fn follow(&self, tables: &[VirtualTable]) -> Result<(), Vec<Problem>> {
        if let Some(table) = tables.first()
            && declared_cache(tables) != self.cache
        {
            self.front.narrow(tables);
            return Err(vec![Problem::fixed(table, "spec.server.cache")]);
        }
        self.front.redeclare(tables)
    }

    fn refuse(&self, generation: Option<i64>, reason: &str, message: String) {
        let refused = RefusedManifest {
            generation,
            reason: reason.to_owned(),
            message,
        };
        let message = refused.message.clone();
        if !self.admin.refused(refused) {
            return;
        }
        match reason {
            RESTART_NEEDED => {
                self.count(HttpMetrics::manifests_need_restart);
                info!("changed manifests wait for a new process: {message}");
            }
            _ => {
                self.count(|http| http.manifests_reloaded(false));
                error!("changed manifests are not used; what was in use stays in use: {message}");
            }
        }
    }

    fn count(&self, count: impl FnOnce(&HttpMetrics)) {
        if let Some(http) = &self.http {
            count(http);
        }
    }
}

impl Follow for Arc<Follower> {
    async fn take(&mut self) -> Taken {
        let follower = Arc::clone(self);
        // The files may lie on a file system that hangs.
        let taken = spawn_blocking(move || Follower::take(&follower)).await;
        taken.unwrap_or(Taken::TryAgain)
    }
}

/// Several pods on one state name only checkpoints that every one of them lists by now.
pub(crate) fn has_peers(tables: &[VirtualTable]) -> bool {
    let mut servers = tables.iter().filter_map(|table| table.spec.server.as_ref());
    servers.any(|server| server.replicas > 1)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Empty;
    use object_store::{ObjectStoreExt, memory::InMemory, path::Path};
    use prometheus_client::{encoding::text::encode, registry::Registry};
    use tokio::sync::watch;
    use vdt_dialect::{DataSurface, Limits};

    use super::*;
    use crate::{
        front::FrontOptions,
        link::{Forward, LinkState, Socket},
    };

    const BOTH: &str = "access: {mode: Keys, principals: [{name: alice, secretRef: {name: alice}}, {name: bob, secretRef: {name: bob}}]}";
    const ALICE: &str =
        "access: {mode: Keys, principals: [{name: alice, secretRef: {name: alice}}]}";
    const OPEN: &str = "access: {mode: Anonymous}";

    /// A manifest with these lines below `server`.
    fn manifest(name: &str, server: &str) -> String {
        format!(
            "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {{name: {name}}}\nspec:\n  sources:\n  - {{name: f, type: File, file: {{path: .}}}}\n  server:\n    {server}\n"
        )
    }

    /// A front door and who follows its manifests. Alice and Bob have tokens of their names.
    struct Pod {
        folder: tempfile::TempDir,
        follower: Follower,
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
            let (_link, seen) = watch::channel(LinkState::default());
            let forward = Forward::new(Socket::new("/nowhere"));
            let follower = Follower {
                config,
                known: Mutex::new(found),
                cache: declared_cache(&tables),
                front,
                admin: Arc::new(AdminState::new(seen, forward, &tables)),
                gate: Gate::local(),
                notices: Notices::new(),
                http: None,
            };
            Self { folder, follower }
        }

        fn write(&self, file: &str, text: &str) -> Taken {
            std::fs::write(self.folder.path().join(file), text).expect("a file");
            self.follower.take()
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
            let surface = DataSurface::with(Arc::new(store), HttpMetrics::default(), edge);
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
        let taken = pod.write("papers.yaml", &manifest("papers", &keys));
        assert_eq!(taken, Taken::Whole);
        assert_eq!(pod.status("papers", None).await, 404);
    }

    #[tokio::test]
    async fn what_waits_for_a_restart_is_counted_as_such_and_not_as_refused() {
        let mut registry = Registry::default();
        let mut pod = Pod::new(&[("papers.yaml", &manifest("papers", OPEN))]);
        pod.follower.http = Some(HttpMetrics::register(&mut registry));
        let counted = |outcome: &str| {
            let mut text = String::new();
            encode(&mut text, &registry).expect("a String takes everything");
            let series =
                format!("vdt_http_reloads_total{{what=\"Manifests\",outcome=\"{outcome}\"}} ");
            let value = text.lines().find_map(|line| line.strip_prefix(&series));
            value.expect("a series").to_owned()
        };
        let cache = format!("{OPEN}\n    cache: {{memory: {{capacity: 64Mi}}}}");
        pod.write("papers.yaml", &manifest("papers", &cache));
        assert_eq!([counted("RestartNeeded"), counted("Refused")], ["1", "0"]);
        pod.write("papers.yaml", "{");
        assert_eq!([counted("RestartNeeded"), counted("Refused")], ["1", "1"]);
    }

    #[tokio::test]
    async fn tokens_are_for_the_tables_that_are_declared_now() {
        const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
        let mut pod = Pod::new(&[("papers.yaml", &manifest("papers", OPEN))]);
        let keys = [pod.folder.path().join("admin.pem")];
        std::fs::write(&keys[0], KEY).expect("a file");
        let tables = pod.follower.known.lock().expect("a lock").tables();
        let gate = crate::admin::gate(&keys, tables.iter());
        pod.follower.gate = gate.await.expect("a gate");
        let are_for = |pod: &Pod, table: &str| format!("{:?}", pod.follower.gate).contains(table);
        assert!(are_for(&pod, "default/papers") && !are_for(&pod, "default/manuals"));
        pod.write("manuals.yaml", &manifest("manuals", OPEN));
        assert!(are_for(&pod, "default/papers") && are_for(&pod, "default/manuals"));
        std::fs::remove_file(pod.folder.path().join("papers.yaml")).expect("a file");
        pod.write("manuals.yaml", &manifest("manuals", OPEN));
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
                assert_eq!(pod.write("papers.yaml", &text), Taken::Whole, "{rest}");
                assert!(pod.is_refused());
                assert_eq!(
                    pod.principals("papers").await,
                    [200, bob],
                    "{access} {rest}"
                );
                // What was taken comes back with manifests that are taken.
                pod.write("papers.yaml", &manifest("papers", BOTH));
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
        assert_eq!(pod.write("two.yaml", &manifest("two", ALICE)), Taken::Whole);
        for _ in 0..2 {
            assert_eq!(pod.principals("one").await, [200, 200]);
            assert_eq!(pod.principals("two").await, [200, 403]);
            assert_eq!(pod.status("three", Some("alice")).await, 403);
            // It is still not to be read.
            pod.write("one.yaml", "{{");
        }
        pod.write("one.yaml", &manifest("one", ALICE));
        assert_eq!(pod.principals("one").await, [200, 401]);
    }

    #[tokio::test]
    async fn a_file_that_the_system_does_not_let_be_read_is_tried_again() {
        let pod = Pod::new(&[("papers.yaml", &manifest("papers", BOTH))]);
        let file = pod.folder.path().join("papers.yaml");
        let follower = Follower {
            config: vec![file.clone()],
            ..pod.follower
        };
        let pod = Pod {
            folder: pod.folder,
            follower,
        };
        std::fs::remove_file(&file).expect("a file");
        assert_eq!(pod.follower.take(), Taken::TryAgain);
        assert_eq!(pod.principals("papers").await, [200, 200]);
        // What is wrong with its text is so until it changes.
        assert_eq!(pod.write("papers.yaml", "{"), Taken::Whole);
        assert_eq!(
            pod.write("papers.yaml", &manifest("papers", ALICE)),
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
        assert_eq!(pod.write("z.yaml", &twin), Taken::Whole);
        assert_eq!(pod.principals("papers").await, [200, 401]);
        assert_eq!(pod.status("papers", None).await, 403);
        assert!(pod.is_refused());
        // The other way round: what was public is not when one of two asks for keys.
        let twin = twin
            .replace(OPEN, ALICE)
            .replace("name: papers", "name: open");
        pod.write("z.yaml", &twin);
        assert_eq!(pod.status("open", None).await, 403);
        // What this version does not build is refused too, and who read goes on.
        let sums = manifest("papers", ALICE).replace("spec:", "spec:\n  checksum: SHA256");
        std::fs::remove_file(pod.folder.path().join("z.yaml")).expect("a file");
        pod.write("a.yaml", &sums);
        let told = config::find(&pod.follower.config).whole();
        let told = told.expect_err("not built").to_string();
        assert!(told.contains("a.yaml: spec.checksum"), "{told}");
        assert!(pod.is_refused());
        assert_eq!(pod.principals("papers").await, [200, 401]);
    }
}
