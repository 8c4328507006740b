//! The manifests of a front door that runs: read again when they change, and followed as far as a running process can.
//!
//! | followed at once | not before the process is started again |
//! |---|---|
//! | tables that come and go, principals and what they may read, whether there are other pods | cache, TLS, whether there are keys at all |
//!
//! Manifests are followed all or none. Those that are not are told under `/api/v1/tables` and `/readyz`, in the log and by a metric, and the last
//! good ones stand, but for what they no longer leave to everybody: that is taken back at once. What waits for something else, such as a secret that is not there yet, is tried again every second.

use std::{path::PathBuf, sync::Arc};

use tokio::task::spawn_blocking;
use tracing::{error, info};
use vdt_crds::{
    Cache, VirtualTable,
    api::{RESTART_NEEDED, RefusedManifest},
    status::reason,
};
use vdt_dialect::HttpMetrics;

use crate::{
    admin::AdminState,
    config,
    files::{Follow, Taken},
    front::{Front, Problem},
    log::Notices,
    stack::declared_cache,
};

/// Follows manifests.
pub(crate) struct Follower {
    /// Files, and folders of them.
    pub(crate) config: Vec<PathBuf>,
    /// As declared at the start.
    pub(crate) cache: Cache,
    /// Takes principals.
    pub(crate) front: Arc<Front>,
    /// Takes tables, and tells what is not followed.
    pub(crate) admin: Arc<AdminState>,
    /// Takes whether there are other pods.
    pub(crate) notices: Notices,
    /// Counts.
    pub(crate) http: Option<HttpMetrics>,
}

impl Follower {
    /// Reads the manifests and follows them, or tells why not. Blocks for a few small files.
    fn take(&self) -> Taken {
        let tables = match config::load(&self.config) {
            Ok(tables) => tables,
            Err(bad) => {
                self.refuse(None, reason::INVALID_SPEC, bad.to_string());
                // It is read again when it changes.
                return Taken::Whole;
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
        self.notices.set_peers(has_peers(&tables));
        self.count(true);
        info!(tables = tables.len(), "changed manifests are in use");
        Taken::Whole
    }

    fn follow(&self, tables: &[VirtualTable]) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        if let Some(table) = tables.first()
            && declared_cache(tables) != self.cache
        {
            problems.push(Problem::fixed(table, "spec.server.cache"));
        }
        if !problems.is_empty() {
            self.front.narrow(tables);
            return Err(problems);
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
        self.count(false);
        match reason {
            RESTART_NEEDED => info!("changed manifests wait for a new process: {message}"),
            _ => error!("changed manifests are not used; what was in use stays in use: {message}"),
        }
    }

    fn count(&self, taken: bool) {
        if let Some(http) = &self.http {
            http.manifests_reloaded(taken);
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
    use tokio::sync::watch;
    use vdt_dialect::{DataSurface, Limits};

    use super::*;
    use crate::{
        front::FrontOptions,
        link::{Forward, LinkState, Socket},
    };

    /// A manifest with these lines below `server`.
    fn manifest(server: &str) -> String {
        format!(
            "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {{name: papers}}\nspec:\n  sources:\n  - {{name: f, type: File, file: {{path: .}}}}\n  server:\n    {server}\n"
        )
    }

    async fn status(front: &Front) -> u16 {
        let store = InMemory::new();
        let path = "main/default/papers/a.bin";
        store
            .put(&Path::from(path), "content".into())
            .await
            .expect("memory does not fail");
        let edge = front.edge(Limits::default());
        let surface = DataSurface::with(Arc::new(store), HttpMetrics::default(), edge);
        let request = http::Request::get(format!("/{path}"))
            .body(Empty::<Bytes>::new())
            .expect("a request");
        surface.handle(request).await.status().as_u16()
    }

    #[tokio::test]
    async fn what_asks_for_keys_now_is_taken_back_though_the_cache_waits_for_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("papers.yaml");
        std::fs::write(&file, manifest("access: {mode: Anonymous}")).expect("a file");
        let config = vec![file.clone()];
        let tables = config::load(&config).expect("a manifest");
        let options = FrontOptions {
            secrets_may_come: true,
            secrets_dir: Some(folder.path().to_owned()),
            ..FrontOptions::default()
        };
        let front = Arc::new(Front::load(&tables, &options).expect("a front"));
        let (_link, seen) = watch::channel(LinkState::default());
        let forward = Forward::new(Socket::new("/nowhere"));
        let follower = Follower {
            config,
            cache: declared_cache(&tables),
            front: Arc::clone(&front),
            admin: Arc::new(AdminState::new(seen, forward, &tables)),
            notices: Notices::new(),
            http: None,
        };
        assert_eq!(status(&front).await, 200);
        let keys = "access: {mode: Keys, principals: [{name: readers, secretRef: {name: key}}]}\n    cache: {memory: {capacity: 64Mi}}";
        std::fs::write(&file, manifest(keys)).expect("a file");
        assert!(matches!(follower.take(), Taken::Whole));
        assert_eq!(status(&front).await, 404);
    }
}
