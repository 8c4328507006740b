//! Nodes that are gone, which is known of those alone whose deletion was seen: a watch that was not there to see it knows nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::TryStreamExt;
use k8s_openapi::{api::core::v1::Node, jiff::Timestamp};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        reflector::Store,
        watcher::{self, Event},
    },
};
use tokio::task::JoinSet;

use super::{Queue, config};

/// Label by which nodes are pinned to.
pub(crate) const HOSTNAME: &str = "kubernetes.io/hostname";

/// Nodes whose DELETE event was seen, by the label that volumes are pinned to. A node that was never seen is not a node that is gone.
#[derive(Default)]
pub(crate) struct Nodes {
    gone: Mutex<HashMap<String, Timestamp>>,
}

impl Nodes {
    /// Returns when the node of a host name was deleted, if it was and did not come back.
    pub(crate) fn gone_since(&self, hostname: &str) -> Option<Timestamp> {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.get(hostname).copied()
    }

    /// Takes down that a node is there, or since when it is not.
    pub(crate) fn see(&self, hostname: &str, gone_since: Option<Timestamp>) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        match gone_since {
            Some(time) => drop(gone.insert(hostname.to_owned(), time)),
            None => drop(gone.remove(hostname)),
        }
    }
}

/// Watches nodes.
pub(super) fn start(
    client: &Client,
    nodes: Arc<Nodes>,
    tables: Store<DynamicObject>,
    queue: Queue,
    tasks: &mut JoinSet<()>,
) {
    let api: Api<PartialObjectMeta<Node>> = Api::all(client.clone());
    let stream = watcher::watcher(api, config()).default_backoff();
    tasks.spawn(async move {
        let mut stream = Box::pin(stream);
        loop {
            match stream.try_next().await {
                Ok(Some(Event::Apply(node) | Event::InitApply(node))) => {
                    nodes.see(&hostname(&node), None);
                }
                Ok(Some(Event::Delete(node))) => {
                    nodes.see(&hostname(&node), Some(Timestamp::now()));
                    queue.send_all(&tables);
                }
                Ok(Some(Event::Init | Event::InitDone)) => {}
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(kind = "Node", %error, "a watch failed and is begun again")
                }
            }
        }
    });
}

fn hostname(node: &PartialObjectMeta<Node>) -> String {
    node.labels()
        .get(HOSTNAME)
        .cloned()
        .unwrap_or_else(|| node.name_any())
}
