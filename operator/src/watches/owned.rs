//! Children and pods, found by their label: whatever happens to one of them puts its table into the queue.

use futures::StreamExt;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject},
    runtime::{
        WatchStreamExt,
        reflector::{self, Store},
        watcher::{self, Event},
    },
};
use tokio::task::JoinSet;

use super::{
    Queue, config,
    kept::{pack, prune, prune_pod},
    table_ref,
};
use crate::names;

/// Watches objects of one kind.
pub(super) fn start(
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
                Err(error) => tracing::warn!(
                    kind = resource.kind,
                    error = vdt_crds::chain(&error),
                    "a watch failed and is begun again"
                ),
            }
        }
    });
    store
}
