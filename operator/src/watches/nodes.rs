//! Nodes that are gone, which is known of those alone that were seen: their deletion was seen too, or a new list does not have them any more.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
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
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::{Queue, config};

/// Label that every node has.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// Labels of nodes that went that are remembered, the newest: clusters that scale replace nodes all day long, and a claim is pinned to one that went
/// lately, if to any.
const GONE_MAX: usize = 10_000;

/// A label that one node alone has: its value is the name of the node, or its host name. Drivers of local volumes pin them to such labels of their own
/// (`topology.topolvm.io/node`, `openebs.io/nodename`); a zone is none, how few nodes it may have.
pub(crate) type Place = (String, String);

/// Nodes that were seen and went, by the labels that volumes are pinned to. A node that was never seen is not a node that is gone.
#[derive(Default)]
pub(crate) struct Nodes {
    gone: Mutex<HashMap<Place, Timestamp>>,
}

/// Nodes that are there, by name.
#[derive(Default)]
struct Seen {
    there: HashMap<String, Vec<Place>>,
    /// Names in a list that is not complete yet.
    listed: HashSet<String>,
}

impl Seen {
    /// Observes what a watch tells. Returns whether a node went.
    fn observe<N: ResourceExt>(&mut self, event: &Event<N>, nodes: &Nodes, now: Timestamp) -> bool {
        match event {
            Event::Init => self.listed.clear(),
            Event::Apply(node) | Event::InitApply(node) => {
                let places = places(node);
                nodes.see_places(&places, None);
                self.listed.insert(node.name_any());
                self.there.insert(node.name_any(), places);
            }
            Event::Delete(node) => {
                self.there.remove(&node.name_any());
                self.listed.remove(&node.name_any());
                nodes.see_places(&places(node), Some(now));
                return true;
            }
            // Of what went while nobody watched no event says so. When it did is not known, so its grace begins now.
            Event::InitDone => {
                let gone: Vec<String> = self
                    .there
                    .keys()
                    .filter(|name| !self.listed.contains(*name))
                    .cloned()
                    .collect();
                for places in gone.iter().filter_map(|name| self.there.remove(name)) {
                    nodes.see_places(&places, Some(now));
                }
                return !gone.is_empty();
            }
        }
        false
    }
}

impl Nodes {
    /// Returns when the node with a label was deleted, if it was and did not come back.
    pub(crate) fn gone_since(&self, place: &Place) -> Option<Timestamp> {
        let gone = self.gone.lock();
        gone.get(place).copied()
    }

    /// Takes down that a node is there, or since when it is not.
    #[cfg(test)]
    pub(crate) fn see(&self, node: &impl ResourceExt, gone_since: Option<Timestamp>) {
        self.see_places(&places(node), gone_since);
    }

    /// The same for the labels that it alone has.
    fn see_places(&self, places: &[Place], gone_since: Option<Timestamp>) {
        let mut gone = self.gone.lock();
        for place in places {
            match gone_since {
                Some(time) => drop(gone.insert(place.clone(), time)),
                None => drop(gone.remove(place)),
            }
        }
        if gone.len() > GONE_MAX {
            let mut times: Vec<Timestamp> = gone.values().copied().collect();
            let (_, oldest_kept, _) = times.select_nth_unstable(gone.len() - GONE_MAX);
            gone.retain(|_, time| *time >= *oldest_kept);
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
        let mut seen = Seen::default();
        let mut stream = Box::pin(stream);
        loop {
            match stream.try_next().await {
                Ok(Some(event)) => {
                    if seen.observe(&event, &nodes, Timestamp::now()) {
                        queue.send_all(&tables);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(
                        kind = "Node",
                        error = vdt_crds::chain(&error),
                        "a watch failed and is begun again"
                    )
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

    #[test]
    fn a_node_that_a_new_list_lacks_is_gone_and_one_that_nobody_saw_is_not() {
        let node = |name: &str| -> Node {
            serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
        };
        let (nodes, mut seen) = (Nodes::default(), Seen::default());
        let (first, later) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(9).unwrap());
        let mut list = |names: &[&str], now| {
            seen.observe(&Event::<Node>::Init, &nodes, now);
            for name in names {
                assert!(!seen.observe(&Event::InitApply(node(name)), &nodes, now));
            }
            seen.observe(&Event::<Node>::InitDone, &nodes, now)
        };
        let gone = |name: &str| nodes.gone_since(&(HOSTNAME.to_owned(), name.to_owned()));
        assert!(!list(&["a", "b"], first));
        assert!(list(&["a"], later));
        assert_eq!((gone("a"), gone("b"), gone("c")), (None, Some(later), None));
        // Told once, and taken back when it is there again.
        assert!(!list(&["a"], later));
        assert!(!list(&["a", "b"], later));
        assert_eq!(gone("b"), None);
    }

    #[test]
    fn the_newest_of_the_nodes_that_went_are_remembered() {
        let nodes = Nodes::default();
        let place = |number: usize| (HOSTNAME.to_owned(), format!("n{number}"));
        let time = |number: usize| Timestamp::from_second(i64::try_from(number).unwrap()).unwrap();
        for number in 0..GONE_MAX + 5 {
            nodes.see_places(&[place(number)], Some(time(number)));
        }
        assert_eq!(nodes.gone.lock().len(), GONE_MAX);
        assert_eq!(nodes.gone_since(&place(4)), None);
        for number in [5, GONE_MAX + 4] {
            assert_eq!(nodes.gone_since(&place(number)), Some(time(number)));
        }
    }
}
