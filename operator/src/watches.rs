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

mod kept;
mod nodes;
mod owned;
mod references;
mod tables;
mod undefined;

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::FutureExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject},
    runtime::{
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use tokio::{sync::mpsc, task::JoinSet};
use vdt_crds::VirtualTable;

use crate::{build::Kind, metrics::WorkQueue, names};

pub(crate) use kept::unpack;
pub(crate) use nodes::{Nodes, Place};
pub(crate) use references::ReferenceIndex;
#[cfg(test)]
pub(crate) use tests::filled;
pub(crate) use undefined::Undefined;

/// A table in the queue.
pub(crate) type TableRef = ObjectRef<DynamicObject>;

/// Stores of everything that is watched.
pub(crate) struct Watches {
    /// The VirtualTables.
    pub(crate) tables: Store<DynamicObject>,
    /// Their children, of the kinds that this cluster has.
    pub(crate) children: HashMap<Kind, Store<DynamicObject>>,
    /// Their pods.
    pub(crate) pods: Store<DynamicObject>,
    /// Nodes that are gone.
    pub(crate) nodes: Option<Arc<Nodes>>,
    /// Which table refers to which Secret or ConfigMap.
    pub(crate) references: Arc<ReferenceIndex>,
    /// Kinds that the cluster does not have.
    pub(crate) undefined: Undefined,
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
    /// Starts all watches. They run until `tasks` is dropped. The receiver gets tables once [`Watches::lead`] was called. `defined`: kinds of children that
    /// not every cluster has and this one does; `work` measures the queue.
    pub(crate) fn start(
        client: &Client,
        scope: &Scope,
        secrets: bool,
        defined: &HashSet<Kind>,
        work: WorkQueue,
        tasks: &mut JoinSet<()>,
    ) -> (Self, mpsc::UnboundedReceiver<TableRef>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let queue = Queue {
            sender,
            is_leading: Arc::new(AtomicBool::new(false)),
            work,
        };
        let tables = tables::start(scope.api(client, &table_resource()), queue.clone(), tasks);
        let children = Kind::BUILT_IN
            .into_iter()
            .chain(defined.iter().copied())
            .map(|kind| {
                let resource = kind.resource();
                let api = scope.api(client, &resource);
                (
                    kind,
                    owned::start(api, resource, tables.clone(), queue.clone(), tasks),
                )
            })
            .collect();
        let pods = {
            let resource = pod_resource();
            let api = scope.api(client, &resource);
            owned::start(api, resource, tables.clone(), queue.clone(), tasks)
        };
        let references = Arc::new(ReferenceIndex::default());
        if secrets {
            references::start::<Secret>(client, scope, references.clone(), queue.clone(), tasks);
            references::start::<ConfigMap>(client, scope, references.clone(), queue.clone(), tasks);
        }
        let nodes = match scope {
            Scope::Cluster => {
                let nodes = Arc::new(Nodes::default());
                nodes::start(client, nodes.clone(), tables.clone(), queue.clone(), tasks);
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
            undefined: Undefined::default(),
            queue,
        };
        (watches, receiver)
    }

    /// Returns once every store has seen a whole list, but for those of kinds that not every cluster has: what may not be listed holds nothing up.
    pub(crate) async fn synced(&self) {
        // An error means that the writer is gone, and with it this process.
        drop(self.tables.wait_until_ready().await);
        for store in Kind::BUILT_IN
            .iter()
            .filter_map(|kind| self.children.get(kind))
        {
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

    /// Returns the way into the queue.
    pub(crate) fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// Says whether what happens to children of a kind is seen.
    pub(crate) fn is_watched(&self, kind: Kind) -> bool {
        let store = self.children.get(&kind);
        let is_full = |store: &Store<DynamicObject>| {
            let ready = store.wait_until_ready().now_or_never();
            ready.is_some_and(|ready| ready.is_ok())
        };
        Kind::BUILT_IN.contains(&kind) || store.is_some_and(is_full)
    }

    /// Returns a child as last seen.
    pub(crate) fn child(&self, kind: Kind, name: &str, namespace: &str) -> Option<DynamicObject> {
        self.metadata(kind, name, namespace)
            .map(|found| unpack(&found))
    }

    /// The same without its fields.
    pub(crate) fn metadata(
        &self,
        kind: Kind,
        name: &str,
        namespace: &str,
    ) -> Option<Arc<DynamicObject>> {
        let store = self.children.get(&kind)?;
        store.get(&ObjectRef::new_with(name, kind.resource()).within(namespace))
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

    /// Returns the pods that the StatefulSet of a server selects, as last seen.
    pub(crate) fn pods_of(&self, server: &str, namespace: &str) -> Vec<Arc<DynamicObject>> {
        let selector = names::selector(server);
        self.pods.state_filter(|pod| {
            let has = |(name, value): (&&str, &String)| pod.labels().get(*name) == Some(value);
            pod.namespace().as_deref() == Some(namespace) && selector.iter().all(has)
        })
    }
}

fn belongs(object: &DynamicObject, server: &str, namespace: &str) -> bool {
    object.namespace().as_deref() == Some(namespace)
        && names::server_of(object.metadata.labels.as_ref()) == Some(server)
}

/// The way into the queue.
#[derive(Clone)]
pub(crate) struct Queue {
    sender: mpsc::UnboundedSender<TableRef>,
    is_leading: Arc<AtomicBool>,
    work: WorkQueue,
}

impl Queue {
    fn send_all(&self, tables: &Store<DynamicObject>) {
        for table in tables.state() {
            self.send(ObjectRef::from_obj_with(&table, table_resource()));
        }
    }

    /// Puts a table into the queue, if this process leads.
    pub(crate) fn send(&self, table: TableRef) {
        if self.is_leading.load(Ordering::SeqCst) {
            self.work.add(&table);
            // Without a receiver this process is about to end.
            drop(self.sender.send(table));
        }
    }
}

/// Lists bit by bit, so that a large cluster fits into little memory.
fn config() -> watcher::Config {
    watcher::Config::default().page_size(200)
}
