//! The API server, as a kubeconfig names it; and its refusals in words that help.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context;
use kube::{
    Api, Client, Config, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::Status,
};
use vdt_crds::VirtualTable;

use crate::{args::ClusterArgs, proxy};

/// Objects of one page of a list.
const PAGE: u32 = 500;
/// Most objects that are listed: more than a person reads, and a bound on memory.
const MOST: usize = 20_000;

/// A cluster and a namespace of it.
#[derive(Clone)]
pub(crate) struct Cluster {
    /// The API server.
    pub(crate) client: Client,
    /// The namespace that was asked for, or the context's.
    pub(crate) namespace: String,
    /// Whether it was asked for.
    pub(crate) is_asked: bool,
    /// Time for one answer.
    pub(crate) patience: Duration,
    /// What is to be said of a list that went on where it was left off.
    cut: Arc<OnceLock<String>>,
}

impl Cluster {
    /// Reads the kubeconfig. Nothing is asked yet.
    pub(crate) async fn connect(args: &ClusterArgs) -> anyhow::Result<Self> {
        let options = KubeConfigOptions {
            context: args.context.clone(),
            cluster: args.cluster.clone(),
            user: args.user.clone(),
        };
        let is_chosen = args.context.is_some() || args.cluster.is_some() || args.user.is_some();
        let (mut config, kubeconfig) = match &args.kubeconfig {
            Some(file) => {
                let kubeconfig = Kubeconfig::read_from(file)
                    .with_context(|| format!("reading kubeconfig {}", file.display()))?;
                let config = Config::from_custom_kubeconfig(kubeconfig.clone(), &options).await?;
                (config, Some(kubeconfig))
            }
            None if is_chosen => {
                let config = Config::from_kubeconfig(&options).await?;
                (config, Kubeconfig::read().ok())
            }
            None => {
                let config = Config::infer()
                    .await
                    .context("finding a cluster: set KUBECONFIG, or --kubeconfig")?;
                (config, Kubeconfig::read().ok())
            }
        };
        if let Some(cluster) = kubeconfig
            .as_ref()
            .and_then(|kubeconfig| proxy::chosen(kubeconfig, &options))
        {
            let written = cluster.proxy_url.as_deref();
            let variable = |name: &str| std::env::var(name).ok();
            config.proxy_url = proxy::proxy_of(&config.cluster_url, written, variable)?;
        }
        config.connect_timeout = Some(args.patience());
        // A forwarded port may be silent for long; answers are bounded where they are awaited.
        config.read_timeout = None;
        if let Some(user) = &args.impersonate {
            config.auth_info.impersonate = Some(user.clone());
        }
        if !args.impersonate_groups.is_empty() {
            config.auth_info.impersonate_groups = Some(args.impersonate_groups.clone());
        }
        let namespace = args
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        Ok(Self {
            client: Client::try_from(config).context("a client for the cluster")?,
            namespace,
            is_asked: args.namespace.is_some(),
            patience: args.patience(),
            cut: Arc::default(),
        })
    }

    /// The VirtualTables of a namespace, as JSON: one that this version cannot read is shown all the same.
    pub(crate) fn tables(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &table_resource())
    }

    /// Awaits an answer of the API server, for as long as patience lasts. `what` is what was tried, as "get VirtualTable docs/manuals".
    pub(crate) async fn ask<T>(
        &self,
        what: &str,
        answer: impl Future<Output = Result<T, kube::Error>>,
    ) -> anyhow::Result<T> {
        match tokio::time::timeout(self.patience, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(explain(what, error)),
            Err(_) => anyhow::bail!(
                "{what}: the API server did not answer within {} s (--request-timeout)",
                self.patience.as_secs()
            ),
        }
    }

    /// Reads one table.
    pub(crate) async fn table(&self, name: &str) -> anyhow::Result<DynamicObject> {
        let what = format!("get VirtualTable {}/{name}", self.namespace);
        let found = self
            .ask(&what, self.tables(&self.namespace).get_opt(name))
            .await?;
        found.with_context(|| {
            format!(
                "there is no VirtualTable {name} in namespace {}; kubectl get vt -A lists all",
                self.namespace
            )
        })
    }

    /// Lists tables, sorted by namespace and name.
    pub(crate) async fn list_tables(&self, all: bool) -> anyhow::Result<Vec<DynamicObject>> {
        let api = match all {
            true => Api::all_with(self.client.clone(), &table_resource()),
            false => self.tables(&self.namespace),
        };
        let place = if all {
            "all namespaces"
        } else {
            self.namespace.as_str()
        };
        let mut tables = self
            .list(&format!("list VirtualTables of {place}"), &api, "")
            .await?;
        tables.sort_by_key(|table| (table.namespace(), table.name_any()));
        Ok(tables)
    }

    /// Says which answer was only a part, if one was.
    pub(crate) fn cut(&self) -> Option<&str> {
        self.cut.get().map(String::as_str)
    }

    /// Lists all pages, up to [`MOST`] objects: then [`Cluster::cut`] says so. `selector` may be empty.
    pub(crate) async fn list<K>(
        &self,
        what: &str,
        api: &Api<K>,
        selector: &str,
    ) -> anyhow::Result<Vec<K>>
    where
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        self.list_most(what, api, selector, MOST).await
    }

    async fn list_most<K>(
        &self,
        what: &str,
        api: &Api<K>,
        selector: &str,
        most: usize,
    ) -> anyhow::Result<Vec<K>>
    where
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let mut params = ListParams::default().labels(selector).limit(PAGE);
        let mut items = Vec::new();
        loop {
            let page = self.ask(what, api.list(&params)).await?;
            items.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) if items.len() < most => params = params.continue_token(&token),
                Some(_) => {
                    // The first one is told.
                    let _ = self.cut.set(format!(
                        "{what}: left off after {}, what is shown is a part; narrow it with --namespace",
                        items.len()
                    ));
                    return Ok(items);
                }
                None => return Ok(items),
            }
        }
    }
}

/// How the API calls the resource.
pub(crate) fn table_resource() -> ApiResource {
    ApiResource::erase::<VirtualTable>(&())
}

/// Says what the API server said, and what to do about it.
pub(crate) fn explain(what: &str, error: kube::Error) -> anyhow::Error {
    let kube::Error::Api(status) = &error else {
        return anyhow::Error::new(error).context(what.to_owned());
    };
    let hint = match status.code {
        401 => "; log in again: the cluster does not know this user",
        403 if lacks_rights(status) => {
            "; docs/kubernetes/plugin.md lists the verbs that each command needs"
        }
        404 if what.contains("VirtualTable") => {
            "; is the definition installed? kubectl get crd virtualtables.vdt.io"
        }
        _ => "",
    };
    anyhow::anyhow!("{what}: {}{hint}", status.message)
}

/// Says whether an API server answers for want of rights: `User "jane" cannot get resource ...`, or what stands before one does, which says nothing in detail.
/// Policies, webhooks and quotas of admission answer with the same code, and name themselves.
pub(crate) fn lacks_rights(status: &Status) -> bool {
    let said = &status.message;
    let is_denied = said.contains(" is forbidden: User ") && said.contains(" cannot ");
    let is_of_kubernetes = status.details.is_some() || said.starts_with("admission webhook ");
    status.code == 403 && (is_denied || !is_of_kubernetes)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use k8s_openapi::api::core::v1::Pod;
    use kube::client::Body;

    use super::*;

    #[test]
    fn who_stands_before_the_api_server_speaks_of_rights_and_admission_of_the_manifest() {
        let webhook = r#"admission webhook "fridays.example" denied the request: no"#;
        let rights = r#"virtualtables.vdt.io "t" is forbidden: User "jane" cannot patch resource"#;
        let quota = r#"virtualtables.vdt.io "t" is forbidden: exceeded quota: q"#;
        for (code, message, has_details, lacks) in [
            (403, rights, true, true),
            (403, quota, true, false),
            (403, webhook, false, false),
            (403, "<html>403 Forbidden</html>", false, true),
            (422, "invalid", false, false),
        ] {
            let mut status = Status::failure(message, "").with_code(code);
            status.details = has_details.then(|| serde_json::from_str("{}").unwrap());
            assert_eq!(lacks_rights(&status), lacks, "{message}");
        }
    }

    #[tokio::test]
    async fn a_list_that_is_left_off_is_told() {
        for (next, is_cut) in [("more", true), ("", false)] {
            let answer = tower::service_fn(move |_: Request<Body>| async move {
                let page = format!(
                    r#"{{"kind": "PodList", "apiVersion": "v1", "metadata": {{"continue": "{next}"}}, "items": [{{}}, {{}}]}}"#
                );
                Ok::<_, Infallible>(Response::new(Body::from(page.into_bytes())))
            });
            let cluster = Cluster {
                client: Client::new(answer, "docs"),
                namespace: "docs".to_owned(),
                is_asked: false,
                patience: Duration::from_secs(60),
                cut: Arc::default(),
            };
            let api: Api<Pod> = Api::all(cluster.client.clone());
            let found = cluster.list_most("list Pods", &api, "", 4).await.unwrap();
            assert_eq!(found.len(), if is_cut { 4 } else { 2 });
            assert_eq!(
                cluster.cut(),
                is_cut.then_some(
                    "list Pods: left off after 4, what is shown is a part; narrow it with --namespace"
                )
            );
        }
    }
}
