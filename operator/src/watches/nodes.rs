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

/// Label that every node has.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// A label that one node alone has: its value is the name of the node, or its host name. Drivers of local volumes pin them to such labels of their own
/// (`topology.topolvm.io/node`, `openebs.io/nodename`); a zone is none, how few nodes it may have.
pub(crate) type Place = (String, String);

/// Nodes whose DELETE event was seen, by the labels that volumes are pinned to. A node that was never seen is not a node that is gone.
#[derive(Default)]
pub(crate) struct Nodes {
    gone: Mutex<HashMap<Place, Timestamp>>,
}

impl Nodes {
    /// Returns when the node with a label was deleted, if it was and did not come back.
    pub(crate) fn gone_since(&self, place: &Place) -> Option<Timestamp> {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.get(place).copied()
    }

    /// Takes down that a node is there, or since when it is not.
    pub(crate) fn see(&self, node: &impl ResourceExt, gone_since: Option<Timestamp>) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        for place in places(node) {
            match gone_since {
                Some(time) => drop(gone.insert(place, time)),
                None => drop(gone.remove(&place)),
            }
        }
    }
}

/// The labels that a node alone has.
fn places(node: &impl ResourceExt) -> Vec<Place> {
    let name = node.name_any();
    let host = node.labels().get(HOSTNAME).unwrap_or(&name);
    let labels = node.labels().iter();
    let mut places: Vec<Place> = labels
        .filter(|(_, value)| **value == name || *value == host)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    places.push((HOSTNAME.to_owned(), host.clone()));
    places
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
                    nodes.see(&node, None);
                }
                Ok(Some(Event::Delete(node))) => {
                    nodes.see(&node, Some(Timestamp::now()));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_known_by_the_labels_that_name_it() {
        let labels = json!({
            HOSTNAME: "ip-10-0-0-1", "topology.topolvm.io/node": "n1", "openebs.io/nodename": "n1",
            "topology.kubernetes.io/zone": "a", "pool": "nvme",
        });
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "n1", "labels": labels}})).unwrap();
        let nodes = Nodes::default();
        let is_gone = |key: &str, value: &str| {
            let place = (key.to_owned(), value.to_owned());
            nodes.gone_since(&place).is_some()
        };
        nodes.see(&node, Some(Timestamp::UNIX_EPOCH));
        assert!(is_gone(HOSTNAME, "ip-10-0-0-1"));
        assert!(is_gone("topology.topolvm.io/node", "n1"));
        assert!(is_gone("openebs.io/nodename", "n1"));
        // The only node of a zone is not the zone.
        assert!(!is_gone("topology.kubernetes.io/zone", "a"));
        assert!(!is_gone("pool", "nvme"));
        nodes.see(&node, None);
        assert!(!is_gone("topology.topolvm.io/node", "n1"));
    }
}
