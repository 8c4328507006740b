//! The admin API of pods, through the API server.
//!
//! ```text
//! kubectl vt --WebSocket--> API server --> kubelet --> 127.0.0.1:8081 in the pod
//! ```
//!
//! A forwarded port arrives in the pod as a connection of its own machine, which the admin listener lets in: the right to forward ports in the
//! namespace is the right to ask. No answer is waited for longer than patience, or read beyond a bound, and few pods are asked at once. On cancel the
//! connection ends; a refresh that has begun goes on.

use std::{fmt, time::Duration};

use futures::{StreamExt, stream};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::Portforwarder};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use vdt_operator::{ADMIN_PORT, Live};

use crate::{
    cluster::{Cluster, explain, lacks_rights},
    table::Table,
};

/// Pods that are asked at once.
const CONCURRENCY: usize = 8;
/// Largest answer that is read, bytes. Of a few pods at a time it may be more than the operator, which asks all of them, reads.
const MAX_BYTES: usize = 4 << 20;
/// Selects the pods of all tables.
const ALL: &str = "app.kubernetes.io/component=server,app.kubernetes.io/name=vdt";
/// Label with the table that a pod serves.
const INSTANCE: &str = "app.kubernetes.io/instance";

/// A pod of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodRef {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// The table that it serves.
    pub(crate) table: String,
    /// Whether it takes traffic.
    pub(crate) is_ready: bool,
    /// Pending, Running, ...; Terminating on its way out.
    pub(crate) phase: String,
    /// Where it runs.
    pub(crate) node: Option<String>,
    /// Port of its admin API.
    pub(crate) port: u16,
    /// Ordinal in its StatefulSet: `manuals-10` comes after `manuals-9`.
    ordinal: u32,
}

impl PodRef {
    fn of(pod: &Pod) -> Self {
        let status = pod.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_ref());
        let is_ready = conditions
            .into_iter()
            .flatten()
            .any(|one| one.type_ == "Ready" && one.status == "True");
        let is_leaving = pod.metadata.deletion_timestamp.is_some();
        let ports = pod.spec.iter().flat_map(|spec| &spec.containers);
        let admin = ports
            .flat_map(|container| container.ports.iter().flatten())
            .find(|port| port.name.as_deref() == Some("admin"))
            .and_then(|port| u16::try_from(port.container_port).ok());
        let name = pod.name_any();
        Self {
            namespace: pod.namespace().unwrap_or_default(),
            table: pod.labels().get(INSTANCE).cloned().unwrap_or_default(),
            is_ready: is_ready && !is_leaving,
            phase: match is_leaving {
                true => "Terminating".to_owned(),
                false => status
                    .and_then(|status| status.phase.clone())
                    .unwrap_or_else(|| "Unknown".to_owned()),
            },
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            port: admin.unwrap_or(ADMIN_PORT),
            ordinal: name
                .rsplit_once('-')
                .and_then(|(_, ordinal)| ordinal.parse().ok())
                .unwrap_or_default(),
            name,
        }
    }

    /// Whether it can be asked.
    pub(crate) fn is_running(&self) -> bool {
        self.phase == "Running"
    }
}

/// The pods of one table, in their order.
pub(crate) async fn of_table(cluster: &Cluster, table: &Table) -> anyhow::Result<Vec<PodRef>> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &table.namespace);
    list(
        cluster,
        &api,
        &Live::selector(&table.name),
        &table.namespace,
    )
    .await
}

/// The pods of all tables of a namespace, or of all, in their order.
pub(crate) async fn of_all(cluster: &Cluster, everywhere: bool) -> anyhow::Result<Vec<PodRef>> {
    let api: Api<Pod> = match everywhere {
        true => Api::all(cluster.client.clone()),
        false => Api::namespaced(cluster.client.clone(), &cluster.namespace),
    };
    let place = if everywhere {
        "all namespaces"
    } else {
        &cluster.namespace
    };
    list(cluster, &api, ALL, place).await
}

async fn list(
    cluster: &Cluster,
    api: &Api<Pod>,
    selector: &str,
    place: &str,
) -> anyhow::Result<Vec<PodRef>> {
    let what = format!("list Pods of {place}");
    let pods = cluster.list(&what, api, selector).await?;
    let mut pods: Vec<PodRef> = pods.iter().map(PodRef::of).collect();
    pods.sort_by(|one, other| {
        let key = |pod: &PodRef| (pod.namespace.clone(), pod.table.clone(), pod.ordinal);
        key(one).cmp(&key(other))
    });
    Ok(pods)
}

/// Why a pod said nothing, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Silence(pub(crate) String);

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Asks the same of many pods, few at a time, and returns their answers in the order of `pods`.
pub(crate) async fn ask_each<T: DeserializeOwned>(
    cluster: &Cluster,
    pods: &[PodRef],
    path: &str,
) -> Vec<Result<T, Silence>> {
    stream::iter(pods)
        .map(|pod| async move {
            if !pod.is_running() {
                return Err(Silence(format!("the pod is {}", pod.phase)));
            }
            let mut door = Door::open(cluster, pod).await?;
            door.ask(Method::GET, path, cluster.patience).await
        })
        .buffered(CONCURRENCY)
        .collect()
        .await
}

/// A connection to the admin API of one pod.
pub(crate) struct Door {
    sender: http1::SendRequest<Empty<Bytes>>,
    pod: String,
    /// Drives the connection; ends with this.
    _driver: JoinSet<()>,
    forwarder: Portforwarder,
    port: u16,
}

impl Door {
    /// Connects. Bounded by patience.
    pub(crate) async fn open(cluster: &Cluster, pod: &PodRef) -> Result<Self, Silence> {
        let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &pod.namespace);
        let connect = async {
            let mut forwarder = api
                .portforward(&pod.name, &[pod.port])
                .await
                .map_err(|error| Silence(refused(pod, error)))?;
            let stream = forwarder
                .take_stream(pod.port)
                .ok_or_else(|| Silence("no port was forwarded".to_owned()))?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|error| Silence(error.to_string()))?;
            let mut driver = JoinSet::new();
            driver.spawn(async move { drop(connection.await) });
            Ok(Self {
                sender,
                pod: pod.name.clone(),
                _driver: driver,
                forwarder,
                port: pod.port,
            })
        };
        match tokio::time::timeout(cluster.patience, connect).await {
            Ok(door) => door,
            Err(_) => Err(late(cluster.patience)),
        }
    }

    /// Asks, and reads the answer as JSON.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        patience: Duration,
    ) -> Result<T, Silence> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            // A loopback name: the listener refuses others from its own machine (DNS rebinding).
            .header(header::HOST, format!("localhost:{}", self.port))
            .header(header::ACCEPT, "application/json")
            .body(Empty::new())
            .map_err(|error| Silence(error.to_string()))?;
        let answer = tokio::time::timeout(patience, self.exchange(request)).await;
        let (status, body) = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.why(error).await),
            Err(_) => return Err(late(patience)),
        };
        if !status.is_success() {
            let said = serde_json::from_slice::<serde_json::Value>(&body).unwrap_or_default();
            let said = said["error"].as_str().unwrap_or_default().to_owned();
            return Err(Silence(format!("{status}: {said}")));
        }
        serde_json::from_slice(&body).map_err(|error| {
            Silence(format!(
                "the answer of {} cannot be read: {error}",
                self.pod
            ))
        })
    }

    async fn exchange(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> Result<(StatusCode, Bytes), String> {
        let response = self.sender.send_request(request).await;
        let response = response.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BYTES);
        let body = body.collect().await.map_err(|error| error.to_string())?;
        Ok((status, body.to_bytes()))
    }

    /// The node says why a port could not be reached; the connection says only that it ended.
    async fn why(&mut self, error: String) -> Silence {
        let said = match self.forwarder.take_error(self.port) {
            Some(said) => tokio::time::timeout(Duration::from_secs(1), said).await,
            None => Ok(None),
        };
        match said {
            Ok(Some(said)) => Silence(said.trim().to_owned()),
            _ => Silence(error),
        }
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("pod", &self.pod)
            .finish_non_exhaustive()
    }
}

fn refused(pod: &PodRef, error: kube::Error) -> String {
    match &error {
        // A WebSocket is a GET, and newer API servers want the right to create beside it.
        kube::Error::Api(status) if lacks_rights(status) => format!(
            "you may not get and create pods/portforward in namespace {}",
            pod.namespace
        ),
        kube::Error::Api(status) if status.code == 404 => "the pod is gone".to_owned(),
        kube::Error::Api(status) => status.message.clone(),
        _ => format!("{:#}", explain("forwarding a port", error)),
    }
}

fn late(patience: Duration) -> Silence {
    Silence(format!("no answer within {} s", patience.as_secs()))
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A pod that runs and takes traffic.
    pub(crate) fn pod(name: &str) -> PodRef {
        PodRef::of(&object(name))
    }

    fn object(name: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "docs", "labels": {"app.kubernetes.io/instance": "manuals"}},
            "spec": {"nodeName": "n1", "containers": [{"name": "sidecar", "ports": [{"name": "data", "containerPort": 8080}, {"name": "admin", "containerPort": 9}]}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_is_read() {
        let pod = object("manuals-11");
        let read = PodRef::of(&pod);
        assert_eq!((read.ordinal, read.port, read.is_ready), (11, 9, true));
        assert!(read.is_running());
        let mut leaving = pod;
        leaving.metadata.deletion_timestamp = Some(vdt_crds::api::time(0));
        let read = PodRef::of(&leaving);
        assert!(!read.is_ready && !read.is_running());
    }
}
