//! What is done to pods: the steps of a roll, a touch that brings Secrets, a `suspend` that stops their refreshes.

use std::sync::Arc;

use kube::{
    Api,
    api::{DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::{
    ApplyError, Cluster, delete_if_same, is_not_found,
    rollout::{PodView, Step},
};
use crate::{
    build::{self, Kind},
    names, watches::pod_resource};

impl Cluster<'_> {
    pub(super) fn pods(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), self.namespace, &pod_resource())
    }

    /// Reads the pods of the server live.
    pub(crate) async fn live_pods(&self) -> Result<Vec<PodView>, ApplyError> {
        let selector = ListParams::default().labels(&names::selector_text(self.server));
        let pods = self.pods().list(&selector).await.map_err(ApplyError::api(
            "list",
            "Pod",
            self.server,
        ))?;
        Ok(pod_views(
            &pods.items.into_iter().map(Arc::new).collect::<Vec<_>>(),
        ))
    }

    /// Does what a roll needs now. Returns the pods that were touched.
    ///
    /// # Errors
    /// The API server does not take a step. Those before it are done.
    pub(crate) async fn step(&self, steps: &[Step]) -> Result<Vec<String>, ApplyError> {
        let mut done = Vec::new();
        if steps.is_empty() || !self.is_current().await? {
            return Ok(done);
        }
        for step in steps {
            match step {
                Step::Replace { name, uid, .. } => {
                    if delete_if_same(&self.pods(), "Pod", name, Some(uid)).await? {
                        tracing::info!(
                            pod = name,
                            namespace = self.namespace,
                            "replaced: its template changed"
                        );
                        done.push(name.clone());
                    }
                }
                Step::Resize { name, patch } => {
                    let params = PatchParams::default();
                    let resized = self
                        .pods()
                        .patch_subresource("resize", name, &params, &Patch::Strategic(patch))
                        .await;
                    match resized {
                        Ok(_) => {
                            tracing::info!(
                                pod = name,
                                namespace = self.namespace,
                                "CPU and memory changed in place"
                            );
                            done.push(name.clone());
                        }
                        // The cluster cannot, or not from this to that (a class of service that would change): a new pod can.
                        Err(kube::Error::Api(status))
                            if status.is_invalid()
                                || status.is_not_found()
                                || status.code == 405 =>
                        {
                            if delete_if_same(&self.pods(), "Pod", name, None).await? {
                                done.push(name.clone());
                            }
                        }
                        Err(error) => return Err(ApplyError::api("resize", "Pod", name)(error)),
                    }
                }
            }
        }
        Ok(done)
    }

    /// Touches the pods that have not heard of the latest Secrets and ConfigMaps: the kubelet then brings them at once.
    pub(crate) async fn reload(&self, pods: &[PodView], hash: &str) -> Result<(), ApplyError> {
        for pod in pods
            .iter()
            .filter(|pod| !pod.is_terminating && pod.reload.as_deref() != Some(hash))
        {
            let patch = json!({"metadata": {"annotations": {names::RELOAD: hash}}});
            let params = PatchParams {
                field_manager: Some(names::FIELD_MANAGER.to_owned()),
                ..PatchParams::default()
            };
            match self
                .pods()
                .patch(&pod.name, &params, &Patch::Merge(&patch))
                .await
            {
                Ok(_) => {}
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(ApplyError::api("patch", "Pod", &pod.name)(error)),
            }
        }
        Ok(())
    }

    /// Carries a `suspend` to the pods, and nothing else: the rest of the ConfigMap stays as it is. Returns the hash of what they are told.
    pub(crate) async fn suspend(&self) -> Result<Option<String>, ApplyError> {
        let name = names::config(self.server);
        let Some(live) = self.watches.child(Kind::ConfigMap, &name, self.namespace) else {
            return Ok(None);
        };
        let Some(text) = live.data["data"]["tables.yaml"].as_str() else {
            return Ok(None);
        };
        let suspended = text.replace("\n  suspend: false\n", "\n  suspend: true\n");
        let hash = build::hash(&json!(suspended));
        if suspended == text || !self.is_ours(Kind::ConfigMap, &live) {
            return Ok(Some(hash));
        }
        let patch = json!({"data": {"tables.yaml": suspended}});
        let params = PatchParams {
            field_manager: Some(names::FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.api(Kind::ConfigMap)
            .patch(&name, &params, &Patch::Merge(&patch))
            .await
            .map_err(ApplyError::api("patch", "ConfigMap", &name))?;
        Ok(Some(hash))
    }
}

/// Reads the pods of a server.
pub(crate) fn pod_views(pods: &[Arc<DynamicObject>]) -> Vec<PodView> {
    let mut views: Vec<PodView> = pods
        .iter()
        .filter_map(|pod| PodView::of(&json!(**pod)))
        .collect();
    views.sort_by_key(|pod| pod.ordinal);
    views
}
