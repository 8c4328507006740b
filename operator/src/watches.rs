//! What the operator sees of the cluster: one reflector a kind, and a queue of the tables that something happened to.
//!
//! ```text
//! VirtualTables ---- generation, pause, deletion ----+
//! children by label managed-by -- any change --------+--> queue --> reconcile     (only the leader reads it)
//! pods by the same label ------- any change ---------+
//! Nodes (cluster scope) -------- DELETE -------------+
//! Secrets, ConfigMaps (only with secrets.watch): metadata of all, of which nothing is kept but what a table refers to
//! ```
//!
//! All replicas keep their stores full, so that one that takes over begins at once and has seen the deletions before. Objects are kept as JSON without
//! managed fields: a resource that this version cannot read is then a condition, not a broken watch. Stores may be stale; whoever deletes looks again.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Node, Secret},
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, PartialObjectMeta, TypeMeta},
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef, Store},
        watcher::{self, Event},
    },
};
use tokio::{sync::mpsc, task::JoinSet};
use vdt_crds::VirtualTable;

use crate::{build::Kind, names};

/// Label by which nodes are pinned to.
pub(crate) const HOSTNAME: &str = "kubernetes.io/hostname";

/// A table in the queue.
pub(crate) type TableRef = ObjectRef<DynamicObject>;

/// Stores of everything that is watched.
pub(crate) struct Watches {
    /// The VirtualTables.
    pub(crate) tables: Store<DynamicObject>,
    /// Their children that every cluster knows.
    pub(crate) children: HashMap<Kind, Store<DynamicObject>>,
    /// Their pods.
    pub(crate) pods: Store<DynamicObject>,
    /// Nodes that are gone.
    pub(crate) nodes: Option<Arc<Nodes>>,
    /// Which table refers to which Secret or ConfigMap.
    pub(crate) references: Arc<ReferenceIndex>,
    queue: Queue,
}

/// Namespace, or the whole cluster.
#[derive(Clone, Debug)]
pub(crate) enum Scope {
    /// All namespaces, and nodes.
    Cluster,
    /// One namespace.
    Namespace(String),
}

impl Scope {
    fn api(&self, client: &Client, resource: &ApiResource) -> Api<DynamicObject> {
        match self {
            Self::Cluster => Api::all_with(client.clone(), resource),
            Self::Namespace(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        }
    }
}

/// How the API calls the resource.
pub(crate) fn table_resource() -> ApiResource {
    ApiResource::erase::<VirtualTable>(&())
}

/// How the API calls pods.
pub(crate) fn pod_resource() -> ApiResource {
    ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&())
}

/// The table of a name, in the queue.
pub(crate) fn table_ref(name: &str, namespace: &str) -> TableRef {
    ObjectRef::new_with(name, table_resource()).within(namespace)
}

impl Watches {
    /// Starts all watches. They run until `tasks` is dropped. The receiver gets tables once [`Watches::lead`] was called.
    pub(crate) fn start(
        client: &Client,
        scope: &Scope,
        secrets: bool,
        tasks: &mut JoinSet<()>,
    ) -> (Self, mpsc::UnboundedReceiver<TableRef>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let queue = Queue {
            sender,
            is_leading: Arc::new(AtomicBool::new(false)),
        };
        let tables = start_tables(scope.api(client, &table_resource()), queue.clone(), tasks);
        let children = Kind::BUILT_IN
            .into_iter()
            .map(|kind| {
                let resource = kind.resource();
                let api = scope.api(client, &resource);
                (
                    kind,
                    start_owned(api, resource, tables.clone(), queue.clone(), tasks),
                )
            })
            .collect();
        let pods = {
            let resource = pod_resource();
            let api = scope.api(client, &resource);
            start_owned(api, resource, tables.clone(), queue.clone(), tasks)
        };
        let references = Arc::new(ReferenceIndex::default());
        if secrets {
            start_metadata::<Secret>(client, scope, references.clone(), queue.clone(), tasks);
            start_metadata::<ConfigMap>(client, scope, references.clone(), queue.clone(), tasks);
        }
        let nodes = match scope {
            Scope::Cluster => {
                let nodes = Arc::new(Nodes::default());
                start_nodes(client, nodes.clone(), tables.clone(), queue.clone(), tasks);
                Some(nodes)
            }
            Scope::Namespace(_) => None,
        };
        let watches = Self {
            tables,
            children,
            pods,
            nodes,
            references,
            queue,
        };
        (watches, receiver)
    }

    /// Returns once every store has seen a whole list.
    pub(crate) async fn synced(&self) {
        // An error means that the writer is gone, and with it this process.
        drop(self.tables.wait_until_ready().await);
        for store in self.children.values() {
            drop(store.wait_until_ready().await);
        }
        drop(self.pods.wait_until_ready().await);
    }

    /// Puts every table into the queue, and from now on those that something happens to.
    pub(crate) fn lead(&self) {
        self.queue.is_leading.store(true, Ordering::SeqCst);
        self.queue.send_all(&self.tables);
    }

    /// Stops to fill the queue.
    pub(crate) fn follow(&self) {
        self.queue.is_leading.store(false, Ordering::SeqCst);
    }

    /// Returns a child as last seen.
    pub(crate) fn child(&self, kind: Kind, name: &str, namespace: &str) -> Option<DynamicObject> {
        let store = self.children.get(&kind)?;
        let found = store.get(&ObjectRef::new_with(name, kind.resource()).within(namespace))?;
        Some(unpack(&found))
    }

    /// Returns the children of a kind that belong to a server, as last seen; of kinds other than claims their metadata.
    pub(crate) fn children_of(
        &self,
        kind: Kind,
        server: &str,
        namespace: &str,
    ) -> Vec<Arc<DynamicObject>> {
        let Some(store) = self.children.get(&kind) else {
            return Vec::new();
        };
        store.state_filter(|object| belongs(object, server, namespace))
    }

    /// Returns the pods of a server, as last seen.
    pub(crate) fn pods_of(&self, server: &str, namespace: &str) -> Vec<Arc<DynamicObject>> {
        self.pods
            .state_filter(|object| belongs(object, server, namespace))
    }
}

fn belongs(object: &DynamicObject, server: &str, namespace: &str) -> bool {
    object.namespace().as_deref() == Some(namespace)
        && names::server_of(object.metadata.labels.as_ref()) == Some(server)
}

/// The way into the queue.
#[derive(Clone)]
struct Queue {
    sender: mpsc::UnboundedSender<TableRef>,
    is_leading: Arc<AtomicBool>,
}

impl Queue {
    fn send_all(&self, tables: &Store<DynamicObject>) {
        for table in tables.state() {
            self.send(ObjectRef::from_obj_with(&table, table_resource()));
        }
    }

    fn send(&self, table: TableRef) {
        if self.is_leading.load(Ordering::SeqCst) {
            // Without a receiver this process is about to end.
            drop(self.sender.send(table));
        }
    }
}

/// Lists bit by bit, so that a large cluster fits into little memory.
fn config() -> watcher::Config {
    watcher::Config::default().page_size(200)
}

fn start_tables(
    api: Api<DynamicObject>,
    queue: Queue,
    tasks: &mut JoinSet<()>,
) -> Store<DynamicObject> {
    let writer = reflector::store::Writer::new(table_resource());
    let store = writer.as_reader();
    let all = store.clone();
    let stream = watcher::watcher(api, config())
        .default_backoff()
        .modify(|table| {
            prune(table, &table_resource());
            pack(table);
        });
    tasks.spawn(async move {
        let mut acted_upon = ActedUpon::default();
        let mut stream = Box::pin(reflector::reflector(writer, stream));
        while let Some(event) = stream.next().await {
            match event {
                Ok(event) => acted_upon.heed(event, &all, &queue),
                Err(error) => tracing::warn!(kind = "VirtualTable", %error, "a watch failed and is begun again"),
            }
        }
    });
    store
}

/// What is acted upon of a table: uid, generation and pause.
type Seen = (Option<String>, Option<i64>, Option<String>);

/// What was last put into the queue of each table.
#[derive(Default)]
struct ActedUpon(HashMap<TableRef, Seen>);

impl ActedUpon {
    /// Puts a table into the queue if something changed that is acted upon. Our own writes of status are not.
    fn heed(&mut self, event: Event<DynamicObject>, all: &Store<DynamicObject>, queue: &Queue) {
        match event {
            Event::Apply(table) => {
                let key = ObjectRef::from_obj_with(&table, table_resource());
                let paused = table.annotations().get(names::PAUSED).cloned();
                let seen = (table.uid(), table.metadata.generation, paused);
                if self.0.insert(key.clone(), seen.clone()) != Some(seen) {
                    queue.send(key);
                }
            }
            Event::Delete(table) => {
                let key = ObjectRef::from_obj_with(&table, table_resource());
                self.0.remove(&key);
                queue.send(key);
            }
            // A new list: of what went while nobody watched no event says so.
            Event::InitDone => {
                self.0.retain(|table, _| all.get(table).is_some());
                queue.send_all(all);
            }
            Event::Init | Event::InitApply(_) => {}
        }
    }
}

fn start_owned(
    api: Api<DynamicObject>,
    resource: ApiResource,
    tables: Store<DynamicObject>,
    queue: Queue,
    tasks: &mut JoinSet<()>,
) -> Store<DynamicObject> {
    let writer = reflector::store::Writer::new(resource.clone());
    let store = writer.as_reader();
    let of = resource.clone();
    let config = config().labels(&format!("{}={}", names::MANAGED_BY, names::OPERATOR));
    let stream = watcher::watcher(api, config)
        .default_backoff()
        .modify(move |object| {
            prune(object, &of);
            match of.kind.as_str() {
                "Pod" => prune_pod(object),
                // Small, and looked at as a whole.
                "PersistentVolumeClaim" => {}
                _ => pack(object),
            }
        });
    tasks.spawn(async move {
        let mut stream = Box::pin(reflector::reflector(writer, stream));
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Apply(object) | Event::Delete(object)) => {
                    if let Some(server) = names::server_of(object.metadata.labels.as_ref()) {
                        let namespace = object.namespace().unwrap_or_default();
                        queue.send(table_ref(server, &namespace));
                    }
                }
                // A new list: what went while nobody watched is not in it, and no event says so.
                Ok(Event::InitDone) => queue.send_all(&tables),
                Ok(Event::Init | Event::InitApply(_)) => {}
                Err(error) => tracing::warn!(kind = resource.kind, %error, "a watch failed and is begun again"),
            }
        }
    });
    store
}

/// Drops what nobody reads, and says what the object is: items of a list do not.
fn prune(object: &mut DynamicObject, resource: &ApiResource) {
    object.metadata.managed_fields = None;
    object.types = Some(TypeMeta {
        api_version: resource.api_version.clone(),
        kind: resource.kind.clone(),
    });
}

/// Packs the fields of an object into one text: as JSON values they take ten times the memory, and most of them are looked at every few minutes.
fn pack(object: &mut DynamicObject) {
    object.data = serde_json::Value::String(object.data.to_string());
}

/// Returns an object with its fields, as it was before [`pack`].
pub(crate) fn unpack(object: &DynamicObject) -> DynamicObject {
    let data = match &object.data {
        serde_json::Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
        other => other.clone(),
    };
    DynamicObject {
        types: object.types.clone(),
        metadata: object.metadata.clone(),
        data,
    }
}

/// Keeps what a pod is judged by.
fn prune_pod(pod: &mut DynamicObject) {
    let Some(data) = pod.data.as_object_mut() else {
        return;
    };
    if let Some(spec) = data.get_mut("spec").and_then(|spec| spec.as_object_mut()) {
        spec.retain(|name, _| {
            ["containers", "initContainers", "nodeName"].contains(&name.as_str())
        });
        for list in spec.values_mut() {
            for container in list
                .as_array_mut()
                .into_iter()
                .flatten()
                .filter_map(|one| one.as_object_mut())
            {
                container.retain(|name, _| ["name", "resources", "image"].contains(&name.as_str()));
            }
        }
    }
}

/// Which tables refer to a Secret or ConfigMap, by kind, namespace and name.
#[derive(Default)]
pub(crate) struct ReferenceIndex {
    index: Mutex<HashMap<(String, String, String), BTreeSet<String>>>,
    /// Tables, by namespace and name, of whose references one changed.
    changed: Mutex<BTreeSet<(String, String)>>,
}

impl ReferenceIndex {
    /// Replaces what a table refers to.
    pub(crate) fn set(
        &self,
        table: &str,
        namespace: &str,
        references: &BTreeSet<(&'static str, String)>,
    ) {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.retain(|(kind, of, name), tables| {
            if of == namespace
                && !references
                    .iter()
                    .any(|(other, wanted)| other == kind && wanted == name)
            {
                tables.remove(table);
            }
            !tables.is_empty()
        });
        for (kind, name) in references {
            let key = ((*kind).to_owned(), namespace.to_owned(), name.clone());
            index.entry(key).or_default().insert(table.to_owned());
        }
    }

    /// Says whether something that a table refers to changed since this was last asked.
    pub(crate) fn take_changed(&self, table: &str, namespace: &str) -> bool {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.remove(&(namespace.to_owned(), table.to_owned()))
    }

    fn change(&self, table: &str, namespace: &str) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.insert((namespace.to_owned(), table.to_owned()));
    }

    /// Returns the tables that refer to an object.
    fn tables(&self, kind: &str, namespace: &str, name: &str) -> Vec<String> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        index.get(&key).into_iter().flatten().cloned().collect()
    }
}

/// Watches the metadata of all objects of a kind and keeps none of it.
fn start_metadata<K>(
    client: &Client,
    scope: &Scope,
    references: Arc<ReferenceIndex>,
    queue: Queue,
    tasks: &mut JoinSet<()>,
) where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    let api: Api<PartialObjectMeta<K>> = match scope {
        Scope::Cluster => Api::all(client.clone()),
        Scope::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
    };
    let stream = watcher::watcher(api, config()).default_backoff();
    tasks.spawn(async move {
        let mut stream = Box::pin(stream);
        let kind = K::kind(&());
        loop {
            match stream.try_next().await {
                Ok(Some(
                    Event::Apply(object) | Event::Delete(object) | Event::InitApply(object),
                )) => {
                    let namespace = object.namespace().unwrap_or_default();
                    for table in references.tables(&kind, &namespace, &object.name_any()) {
                        references.change(&table, &namespace);
                        queue.send(table_ref(&table, &namespace));
                    }
                }
                Ok(Some(Event::Init | Event::InitDone)) => {}
                Ok(None) => break,
                Err(error) => tracing::warn!(%kind, %error, "a watch failed and is begun again"),
            }
        }
    });
}

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

fn start_nodes(
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
