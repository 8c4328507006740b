//! What a table's namespace shows of its pods: what the operator's preview is made of.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Pod},
};
use kube::Api;
use serde_json::json;
use vdt_operator::Live;

use crate::cluster::Cluster;

/// Reads a table's StatefulSet, ConfigMap and pods.
///
/// # Errors
/// One of them may not be read: without all of them nothing certain can be said.
pub(crate) async fn read(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<Live> {
    let client = || cluster.client.clone();
    let sets: Api<StatefulSet> = Api::namespaced(client(), namespace);
    let maps: Api<ConfigMap> = Api::namespaced(client(), namespace);
    let pods: Api<Pod> = Api::namespaced(client(), namespace);
    let config = Live::config_name(name);
    let what = |kind: &str, name: &str| format!("get {kind} {namespace}/{name}");
    let (what_set, what_config) = (what("StatefulSet", name), what("ConfigMap", &config));
    let what_pods = format!("list Pods of {namespace}");
    let selector = Live::selector(name);
    let (set, config, pods) = tokio::try_join!(
        cluster.ask(&what_set, sets.get_opt(name)),
        cluster.ask(&what_config, maps.get_opt(&config)),
        cluster.list(&what_pods, &pods, &selector),
    )?;
    Ok(Live {
        stateful_set: set.map(|set| json!(set)),
        config: config.map(|config| json!(config)),
        pods: pods.iter().map(|pod| json!(pod)).collect(),
    })
}
